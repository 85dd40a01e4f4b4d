"""What to try next: functions of a study's history. To add a strategy, add a file and a line to ``STRATEGIES``."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from actsearch.checks import check_known
from actsearch.errors import SpaceError
from actsearch.strategies.base import Context, Strategy, observations, value_of, worst_value
from actsearch.strategies.bayesian import Bayesian
from actsearch.strategies.by_site import WARM_START, BySite, phase_of
from actsearch.strategies.genetic import Genetic
from actsearch.strategies.groups import SiteGroups
from actsearch.strategies.random_search import RandomSearch
from actsearch.strategies.space import Space

__all__ = [
    "STRATEGIES",
    "WARM_START",
    "Bayesian",
    "BySite",
    "Context",
    "Genetic",
    "RandomSearch",
    "SiteGroups",
    "Space",
    "Strategy",
    "make_strategy",
    "observations",
    "phase_of",
    "value_of",
    "worst_value",
]

STRATEGIES: Mapping[str, type[Strategy]] = MappingProxyType(
    {
        "random": RandomSearch,
        "bayesian": Bayesian,
        "genetic": Genetic,
    }
)
"""Strategies by name."""


def make_strategy(what: str | Strategy | Mapping[str, Any]) -> Strategy:
    """A strategy from its name, from stored settings, or as it is.

    Raises:
        SpaceError: unknown name or settings.
    """
    if isinstance(what, Strategy):
        return what
    if isinstance(what, Mapping):
        name, settings = what.get("name"), what.get("settings", {})
    elif isinstance(what, str):
        name, settings = what, {}
    else:
        raise SpaceError(f"strategy must be a name or a strategy such as Genetic(), not {what!r}")
    name = check_known("strategy", name, STRATEGIES, SpaceError)
    try:
        return STRATEGIES[name](**settings)
    except TypeError as error:
        raise SpaceError(f"strategy {name}: {error}") from None
