"""What a search may propose."""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from actsearch.catalog import CATALOG
from actsearch.errors import SpaceError, nearest
from actsearch.expression import Limits, parse
from actsearch.operators import OPERATORS

__all__ = ["Space"]

Names = str | Sequence[str] | None


@dataclass(frozen=True)
class Space:
    """The activations and operators a search may use.

    Attributes:
        activations: catalog names; None for the recommended tier, "all" for every hidden activation.
        operators: names of operators for composed formulas; None for the recommended ones, "all" for every one.
        max_size: largest number of nodes of a composed formula.
        max_depth: largest number of levels of a composed formula.
        sites: "shared", one activation for every hidden site.
    """

    activations: Names = None
    operators: Names = None
    max_size: int = 25
    max_depth: int = 6
    sites: str = "shared"

    def __post_init__(self) -> None:
        self._check_limits()
        for name in self.activation_names:
            if name in CATALOG and CATALOG[name].role != "hidden":
                raise SpaceError(
                    f"{name} is an output activation: it is never placed at hidden sites"
                )
        _check(self.activation_names, CATALOG.names(role="hidden"), "activation")
        _check(self.operator_names, list(OPERATORS), "operator")

    @functools.cached_property
    def activation_names(self) -> tuple[str, ...]:
        """Catalog names in the space."""
        hidden = CATALOG.names(role="hidden")
        recommended = [name for name in hidden if CATALOG[name].tier == "recommended"]
        return _chosen(self.activations, recommended, hidden, "activation")

    @functools.cached_property
    def operator_names(self) -> tuple[str, ...]:
        """Operator names in the space."""
        every = [name for name, row in OPERATORS.items() if row.weight > 0]
        recommended = [name for name in every if OPERATORS[name].recommended]
        return _chosen(self.operators, recommended, every, "operator")

    def _check_limits(self) -> None:
        for name, low, high in (
            ("max_size", 3, Limits.SIZE),
            ("max_depth", 2, Limits.DEPTH),
        ):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
                raise SpaceError(f"{name} must be an integer from {low} to {high}, not {value!r}")
        if self.sites != "shared":
            raise SpaceError(
                f"sites={self.sites!r}: this version searches one activation for all hidden sites, "
                "sites='shared'; place(model, {path: activation}) sets single sites"
            )

    def to_json(self) -> dict[str, Any]:
        """Every setting as JSON data: names spelt out, so that a larger catalog changes nothing, and as given."""
        return {
            "activations": list(self.activation_names),
            "operators": list(self.operator_names),
            "max_size": self.max_size,
            "max_depth": self.max_depth,
            "sites": self.sites,
            "given": {
                "activations": _plain(self.activations),
                "operators": _plain(self.operators),
            },
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Space:
        """Read :meth:`to_json` output; the names are those of its time.

        Raises:
            SpaceError: for settings that this version does not know.
        """
        settings = {key: value for key, value in data.items() if key != "given"}
        try:
            return cls(**settings)
        except TypeError as error:
            raise SpaceError(f"stored space cannot be read: {error}") from None

    def outside(self, name: str | None, formula: str) -> str:
        """Why an activation lies outside of the space; empty for one inside.

        Args:
            name: of a catalog row; None for a composed formula.
            formula: the formula.
        """
        if name is not None:
            return (
                "" if name in self.activation_names else f"uses {name}, which is not in the space"
            )
        tree = parse(formula)
        if foreign := sorted(set(tree.operators) - set(self.operator_names)):
            return f"uses {', '.join(foreign)}, not among the operators of the space"
        if tree.size > self.max_size:
            return f"has {tree.size} nodes, the space allows {self.max_size}"
        if tree.depth > self.max_depth:
            return f"has {tree.depth} levels, the space allows {self.max_depth}"
        return ""

    def differences(self, stored: Mapping[str, Any]) -> list[str]:
        """How this space differs from a stored one; what is None here is not compared."""
        found = []
        mine = self.to_json()
        for key, before in stored.items():
            if key == "given" or mine.get(key) == before:
                continue
            if key in mine["given"]:
                given = mine["given"][key]
                if given is None or given == stored.get("given", {}).get(key):
                    continue
                added = sorted(set(mine[key]) - set(before))
                missing = sorted(set(before) - set(mine[key]))
                if added or missing:
                    found.append(f"space {key}: added {added}, missing {missing}")
            else:
                found.append(f"space {key}: {mine.get(key)!r}, stored {before!r}")
        return found


def _plain(names: Names) -> Any:
    return names if names is None or isinstance(names, str) else list(names)


def _chosen(names: Names, recommended: list[str], every: list[str], kind: str) -> tuple[str, ...]:
    if names is None:
        return tuple(recommended)
    if names == "all":
        return tuple(every)
    if isinstance(names, str) or not all(isinstance(name, str) for name in names):
        raise SpaceError(f"{kind}s must be None, 'all' or a list of names, not {names!r}")
    return tuple(dict.fromkeys(names))


def _check(names: tuple[str, ...], known: list[str], kind: str) -> None:
    if not names:
        raise SpaceError(f"the space holds no {kind}: name at least one")
    for name in names:
        if name not in known:
            raise SpaceError(f"unknown {kind} {name!r}" + nearest(name, known))
