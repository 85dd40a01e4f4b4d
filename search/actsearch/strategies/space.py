"""What a search may propose."""

from __future__ import annotations

import functools
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from actsearch.activation_catalog import CATALOG
from actsearch.bounds import PROPERTIES, is_property
from actsearch.checks import check_field, check_integer, check_known, check_one_of
from actsearch.errors import SpaceError
from actsearch.expression import Call, Expression, Limits, is_well_formed, parse
from actsearch.operators import OPERATORS
from actsearch.strategies.groups import SiteGroups

__all__ = ["Space"]

Names = str | Sequence[str] | None

_BANDS = 3


@dataclass(frozen=True)
class Space:
    """The activations and operators a search may use.

    Attributes:
        activations: catalog names; None for the recommended tier, "all" for every hidden activation.
        operators: names of operators for composed formulas; None for the recommended ones, "all" for every one.
        max_size: largest number of nodes of a composed formula.
        max_depth: largest number of levels of a composed formula.
        sites: which sites share an activation: "shared", all hidden ones; "per_depth", those of one band of depth;
            "per_site", none; or groups by pattern, as ``{"generator.*": None, "discriminator.*": None}``, where
            patterns that are given one name are one group, as ``{"stem.*": "ends", "head.*": "ends", "body.*": None}``.
            A pattern is a path, or as ``acs.place`` takes it; hidden sites that none matches stay as they are.
        depth_bands: for "per_depth", how many bands of equally many sites; 3 by default.
        learned: whether forms with numbers that are learned with the weights may be proposed; False for fixed forms
            alone, which add no parameter to the model.
        require: properties that every activation must have, learned numbers at their start and near it: "smooth" (no
            kink), "monotone", "bounded", "lipschitz<=1" (or another number), "odd", "even", "cheap" (at most twice
            the operators of gelu), "onnx", "int8". They are decided by interval bounds from -20 to 20; what lacks one,
            or cannot be shown to have it, is REJECTED with a point that shows it.

    Example:
        >>> acs.Space(activations=["relu", "gelu"], operators=["add", "mul", "tanh"]).operator_names
        ('add', 'mul', 'tanh')
        >>> acs.Space(sites="per_depth", depth_bands=2).depth_bands
        2
    """

    activations: Names = None
    operators: Names = None
    max_size: int = 25
    max_depth: int = 6
    sites: str | Mapping[str, str | None] = "shared"
    depth_bands: int | None = None
    learned: bool = True
    require: Sequence[str] = ()

    def __post_init__(self) -> None:
        check_field(self, "max_size", check_integer, SpaceError, low=3, high=Limits.SIZE)
        check_field(self, "max_depth", check_integer, SpaceError, low=2, high=Limits.DEPTH)
        self._check_sites()
        for name in self.activation_names:
            if name in CATALOG and CATALOG[name].role != "hidden":
                raise SpaceError(
                    f"{name} is an output activation: it is never placed at hidden sites"
                )
        _check_names(self.activation_names, CATALOG.names(role="hidden"), "activation")
        _check_names(self.operator_names, OPERATORS, "operator")
        self._check_learned()
        self._check_required()

    @functools.cached_property
    def activation_names(self) -> tuple[str, ...]:
        """Catalog names in the space."""
        hidden = [
            name
            for name in CATALOG.names(role="hidden")
            if not CATALOG[name].given and (self.learned or not CATALOG[name].learned)
        ]
        recommended = [name for name in hidden if CATALOG[name].tier == "recommended"]
        return _choose_names(self.activations, recommended, hidden, "activation")

    @functools.cached_property
    def operator_names(self) -> tuple[str, ...]:
        """Operator names in the space."""
        every = [
            name
            for name, row in OPERATORS.items()
            if row.weight > 0 and (self.learned or not row.learned)
        ]
        recommended = [name for name in every if OPERATORS[name].recommended]
        return _choose_names(self.operators, recommended, every, "operator")

    @functools.cached_property
    def _operators(self) -> frozenset[str]:
        return frozenset(self.operator_names)

    def _check_learned(self) -> None:
        check_one_of("learned", self.learned, (True, False), SpaceError)
        if self.learned:
            return
        learned = [name for name in self.activation_names if CATALOG[name].learned]
        learned += [name for name in self.operator_names if OPERATORS[name].learned]
        if learned:
            raise SpaceError(
                f"learned=False leaves out forms with learned numbers, and {', '.join(learned)} has some"
            )

    def _check_required(self) -> None:
        if isinstance(self.require, str) or not isinstance(self.require, Sequence):
            raise SpaceError(
                f"require must be a list of properties, as ('smooth', 'monotone'), not {self.require!r}"
            )
        for name in self.require:
            if not is_property(name):
                check_known("property", name, [*PROPERTIES, "lipschitz<=1"], SpaceError)
        object.__setattr__(self, "require", tuple(dict.fromkeys(self.require)))
        if {"odd", "even"} <= set(self.require):
            raise SpaceError("require: only 0 is both odd and even; take one of them")

    def _check_sites(self) -> None:
        if isinstance(self.sites, Mapping):
            _check_patterns(self.sites)
        elif self.sites not in ("shared", "per_depth", "per_site"):
            raise SpaceError(
                f"sites must be 'shared', 'per_depth', 'per_site' or a mapping from patterns, not {self.sites!r}"
            )
        if self.depth_bands is None:
            return
        check_field(self, "depth_bands", check_integer, SpaceError, low=1)
        if self.sites != "per_depth":
            raise SpaceError(
                f"depth_bands={self.depth_bands} is for sites='per_depth', and sites={self.sites!r}"
            )

    @property
    def bands(self) -> int:
        """How many bands of depth "per_depth" has."""
        return self.depth_bands or _BANDS

    def site_groups(self) -> SiteGroups | None:
        """The groups of sites; None for "per_site", whose groups are known from the model."""
        if isinstance(self.sites, Mapping):
            return SiteGroups.named(self.sites)
        if self.sites == "per_depth":
            return SiteGroups.bands(self.bands)
        return SiteGroups.shared() if self.sites == "shared" else None

    def to_json(self) -> dict[str, Any]:
        """Every setting as JSON data: names in full, so that a larger catalog changes nothing, and as given."""
        return {
            "activations": list(self.activation_names),
            "operators": list(self.operator_names),
            "max_size": self.max_size,
            "max_depth": self.max_depth,
            "learned": self.learned,
            "sites": dict(self.sites) if isinstance(self.sites, Mapping) else self.sites,
            **({"depth_bands": self.bands} if self.sites == "per_depth" else {}),
            **({"require": list(self.require)} if self.require else {}),
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
        if tree.parameters and not self.learned:
            return "has learned numbers, which the space leaves out"
        if foreign := sorted(set(tree.operators) - set(self.operator_names)):
            return f"uses {', '.join(foreign)}, not among the operators of the space"
        if tree.size > self.max_size:
            return f"has {tree.size} nodes, the space allows {self.max_size}"
        if tree.depth > self.max_depth:
            return f"has {tree.depth} levels, the space allows {self.max_depth}"
        return ""

    def allows(self, tree: Expression) -> bool:
        """Whether a composed formula keeps the rules of composing.

        Within size and depth; each operator depends on x; exponents are numbers; no operator of a family (exponential,
        periodic, power) inside another of the same family; operators of the space alone, and learned numbers only
        where the space has them.
        """
        return (
            isinstance(tree, Call)
            and tree.size <= self.max_size
            and tree.depth <= self.max_depth
            and tree.operators <= self._operators
            and (self.learned or not tree.parameters)
            and is_well_formed(tree)
        )

    def differences(self, stored: Mapping[str, Any]) -> list[str]:
        """How this space differs from a stored one; what is None here is not compared."""
        differences = []
        mine = self.to_json()
        # what was given as None or "all" is compared as given: a larger catalog must not lock an old study
        # older studies store neither
        for key, before in {"learned": True, "require": [], **stored}.items():
            if key == "given" or mine.get(key, []) == before:
                continue
            if key in mine["given"]:
                given = mine["given"][key]
                if given is None or given == stored.get("given", {}).get(key):
                    continue
                added = sorted(set(mine[key]) - set(before))
                missing = sorted(set(before) - set(mine[key]))
                if added or missing:
                    differences.append(f"space {key}: added {added}, missing {missing}")
            else:
                differences.append(f"space {key}: {mine.get(key, [])!r}, stored {before!r}")
        return differences


def _check_patterns(patterns: Mapping[str, str | None]) -> None:
    if not patterns:
        raise SpaceError("sites={} names no group: give patterns, as {'generator.*': None}")
    for pattern, name in patterns.items():
        if not isinstance(pattern, str) or not pattern:
            raise SpaceError(f"sites: {pattern!r} is not a pattern of site names")
        if name is not None and (not isinstance(name, str) or not name):
            raise SpaceError(
                f"sites[{pattern!r}] must be the name of a group, or None for one of its own, not {name!r}"
            )
    if len(patterns) > 1 and "*" in patterns:
        raise SpaceError(
            "sites: the pattern '*' matches every site, and so overlaps with the others"
        )


def _plain(names: Names) -> Any:
    return names if names is None or isinstance(names, str) else list(names)


def _choose_names(
    names: Names, recommended: list[str], every: list[str], kind: str
) -> tuple[str, ...]:
    if names is None:
        return tuple(recommended)
    if names == "all":
        return tuple(every)
    if isinstance(names, str) or not all(isinstance(name, str) for name in names):
        raise SpaceError(f"{kind}s must be None, 'all' or a list of names, not {names!r}")
    return tuple(dict.fromkeys(names))


def _check_names(names: tuple[str, ...], known: Iterable[str], kind: str) -> None:
    if not names:
        raise SpaceError(f"the space holds no {kind}: name at least one")
    for name in names:
        check_known(kind, name, known, SpaceError)
