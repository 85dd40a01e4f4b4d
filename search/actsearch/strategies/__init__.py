"""What to try next: functions of a study's history. To add a strategy, add a file and a line to ``STRATEGIES``."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from actsearch.checks import check_known
from actsearch.errors import SpaceError
from actsearch.strategies.auto import Auto
from actsearch.strategies.base import Context, Earlier, Feature, Strategy
from actsearch.strategies.bayesian import Bayesian
from actsearch.strategies.by_site import WARM_START
from actsearch.strategies.genetic import Genetic
from actsearch.strategies.gradient import Gradient
from actsearch.strategies.groups import SiteGroups
from actsearch.strategies.random_search import RandomSearch
from actsearch.strategies.space import Space

__all__ = [
    "STRATEGIES",
    "WARM_START",
    "Auto",
    "Bayesian",
    "DEFAULT",
    "Context",
    "Earlier",
    "Feature",
    "Genetic",
    "Gradient",
    "RandomSearch",
    "SiteGroups",
    "Space",
    "Strategy",
    "make_strategy",
    "refuse_unsupported",
]

STRATEGIES: Mapping[str, type[Strategy]] = MappingProxyType(
    {
        "auto": Auto,
        "random": RandomSearch,
        "bayesian": Bayesian,
        "genetic": Genetic,
        "gradient": Gradient,
    }
)
"""Strategies by name."""

DEFAULT = Auto.name
"""What a study takes where none is given."""


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
    if isinstance(what, Mapping):
        settings = {**STRATEGIES[name].before, **settings}
    try:
        return STRATEGIES[name](**settings)
    except TypeError as error:
        raise SpaceError(f"strategy {name}: {error}") from None


def refuse_unsupported(
    strategy: Strategy, *, directions: int = 1, groups: bool = False, pruning: bool = False
) -> None:
    """Refuse a study that asks for what its strategy has not declared.

    Args:
        strategy: of the study.
        directions: how many objectives there are.
        groups: whether groups of sites have activations of their own.
        pruning: whether trials are given up early.

    Raises:
        SpaceError: says what is missing, and which strategies have it.
    """
    asked = {Feature.OBJECTIVES: directions > 1, Feature.GROUPS: groups, Feature.PRUNING: pruning}
    for feature, is_asked in asked.items():
        if is_asked and feature not in strategy.supports:
            able = [name for name, kind in STRATEGIES.items() if feature in kind.supports]
            raise SpaceError(
                f"strategy {strategy.name!r} does not support {feature.value}; "
                f"those that do: {', '.join(able) or 'none'}"
            )
