"""An activation, and what a trial puts into the model."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

__all__ = [
    "BASELINE",
    "CATALOG_ROW",
    "CURVES",
    "CURVE_POINTS",
    "FROZEN",
    "LEARNED",
    "COMPUTED_ON",
    "HELD",
    "LEARNED_NUMBERS",
    "NAMED",
    "SHAPE",
    "SHARED",
    "TRAININGS",
    "UNEXPLAINED",
    "ActivationRecord",
    "CandidateRecord",
    "Curve",
    "say_pass",
]

SHARED = "*"
"""Group name of an activation placed at every hidden site. Only placement and storage need it: see CandidateRecord."""


BASELINE = "baseline"
CATALOG_ROW = "catalog"  # in studies of before also called baseline
"""What the user's model unchanged is called as an operation, as an identity, and by users."""

_TURN = re.compile(r" (\d{1,4}) of (\d{1,4})$")
SHAPE = "shape learning"
"""Operation of a candidate that is not tried as it is: with it begins an activation that copies of the model learn.

As stored, it says which pass this is: ``"shape learning 1 of 2"``."""

LEARNED, NAMED, FROZEN = "learned curve", "name", "frozen name"
"""Operations: a curve as it was learned, a formula for it whose numbers learn, and one with these numbers fixed."""

CURVES = "curves"
"""Key of a trial's user attributes: what a pass of shape learning gave, for each key of its groups ``x``, ``y`` and
``density``, lists of one length."""

TRAININGS = "trainings"
"""Likewise: what it took, in trainings of the task as it is."""

HELD = "held_result"
"""User attribute of a trial that is trained while a pruner has not decided on it: what came of it."""

COMPUTED_ON = "computed_on"
"""Likewise: of a trial that a GPU has trained, or for which deterministic algorithms were asked, the device with its
name, and whether TF32 and deterministic algorithms were in force."""

UNEXPLAINED = "unexplained"
"""Likewise: of a name for a learned curve, the share of the curve's variance under the density of its inputs that
``a * name + b`` leaves over, for the first key of each group."""

LEARNED_NUMBERS = "learned_numbers"
"""Likewise: of a trial whose activations learn a few numbers, these at the end, as a list for each path of a site."""


def say_pass(number: int | None = None, curve: int | None = None) -> str:
    """Why a pass of shape learning is not an activation, and where its curve is.

    Args:
        number: of its trial, if that is known.
        curve: number of the trial that trained its curve, if there is one.
    """
    who = "this" if number is None else f"trial {number}"
    where = (
        'user_attrs["curves"] of its trial has the curve that it learned, and the best curve of a round is trained as '
        "a trial of its own"
        if curve is None
        else f"its curve was trained as trial {curve}"
    )
    return f"{who} is a pass of shape learning, which has no activation of its own: {where}"


@dataclass(frozen=True)
class ActivationRecord:
    """One activation: its formula, and the catalog row and hyperparameters if it is one.

    Attributes:
        formula: text that ``acs.parse`` reads (for non-elementwise rows, the row's name on x).
        name: catalog name, or None for a composed formula.
        hyperparameters: complete settings of the catalog row.
        label: short text for tables.
    """

    formula: str
    name: str | None = None
    hyperparameters: Mapping[str, float | int | str] = field(default_factory=dict)
    label: str = ""

    def to_json(self) -> dict[str, Any]:
        """A JSON object with every field."""
        return {
            "formula": self.formula,
            "name": self.name,
            "hyperparameters": dict(self.hyperparameters),
            "label": self.label,
        }

    @property
    def digest(self) -> bytes:
        """Hash of everything that decides which function it is: equal digests, equal functions."""
        data = json.dumps(self.to_json() | {"label": ""}, sort_keys=True, default=str)
        return hashlib.sha256(data.encode("utf-8", "backslashreplace")).digest()[:16]

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> ActivationRecord:
        """Read :meth:`to_json` output."""
        return cls(str(data["formula"]), data["name"], data["hyperparameters"], str(data["label"]))


CURVE_POINTS = tuple(
    # Inputs mostly lie within [-3, 3]. A tenth apart, so that kinks at multiples of 0.1 fall on a point there.
    tenth / 10
    for tenth in (*range(-60, -30, 3), *range(-30, 31), *range(33, 61, 3))
)
"""Where the function of a trial is sampled to be drawn: 81 points on [-6, 6]."""


class Curve(NamedTuple):
    """A function and its derivative at points: three arrays of shape ``(n,)``."""

    x: npt.NDArray[np.float64]
    y: npt.NDArray[np.float64]
    dy: npt.NDArray[np.float64]


@dataclass(frozen=True)
class CandidateRecord:
    """What a trial puts into the model.

    Attributes:
        activations: activation by group of sites, as ``acs.place`` takes them: a path, a pattern, or a band as
            ``"depth:1/3"``; ``{"*": ...}`` for one shared by all hidden sites, empty for the user's model unchanged.
        operation: how a strategy made it ("catalog", "crossover", "user", ...).
        parents: numbers of the trials it was made from.
        name: label of the user's model unchanged; of others it is that of their activations.
        attrs: what its strategy wants to be kept with its trial, as JSON data.
    """

    activations: Mapping[str, ActivationRecord]
    operation: str = ""
    parents: tuple[int, ...] = ()
    name: str = field(default="", compare=False)
    attrs: Mapping[str, Any] = field(default_factory=dict, compare=False)

    @classmethod
    def shared(
        cls, item: ActivationRecord, operation: str = "", parents: tuple[int, ...] = ()
    ) -> CandidateRecord:
        """One activation for all hidden sites."""
        return cls({SHARED: item}, operation, parents)

    @classmethod
    def baseline(cls, name: str = "") -> CandidateRecord:
        """The user's model unchanged, with its label."""
        return cls({}, BASELINE, name=name)

    @property
    def is_baseline(self) -> bool:
        """Whether this is the user's model unchanged."""
        return not self.activations

    @property
    def learns_shape(self) -> bool:
        """Whether this is where a pass of shape learning begins."""
        return self.operation.startswith(SHAPE)

    @property
    def turn(self) -> tuple[int, int]:
        """Of a pass of shape learning: which one it is, from 1, of how many that go together."""
        found = _TURN.search(self.operation)
        at, count = (int(found[1]), int(found[2])) if found else (1, 1)
        return (at, count) if 1 <= at <= count else (1, 1)

    @property
    def single(self) -> ActivationRecord | None:
        """The activation of all hidden sites; None where groups have their own, and for the model unchanged."""
        return self.activations.get(SHARED) if len(self.activations) == 1 else None

    @property
    def by_group(self) -> dict[str, ActivationRecord]:
        """The activations of groups of sites; empty where one is shared by all."""
        return {group: item for group, item in self.activations.items() if group != SHARED}

    def at(self, group: str) -> ActivationRecord | None:
        """The activation of a group: its own, or the one for all other sites; None if there is neither."""
        return self.activations.get(group, self.activations.get(SHARED))

    def align(
        self, other: CandidateRecord
    ) -> list[tuple[ActivationRecord | None, ActivationRecord | None]]:
        """The activations of two candidates in each group that one of them names, ordered by group."""
        groups = self.by_group.keys() | other.by_group.keys()
        # the shared activation stands in every group; by itself it is compared where both have one
        if not groups or (SHARED in self.activations and SHARED in other.activations):
            groups.add(SHARED)
        return [(self.at(group), other.at(group)) for group in sorted(groups)]

    def uniform(self, item: ActivationRecord) -> CandidateRecord:
        """A candidate with one activation in each group of this one."""
        return CandidateRecord(dict.fromkeys(self.activations or (SHARED,), item))

    def to_json(self) -> dict[str, Any] | None:
        """A shared activation's own data, those of several under "groups", None for the model unchanged."""
        if self.is_baseline:
            return None
        if (item := self.single) is not None:
            return item.to_json()
        return {"groups": {group: item.to_json() for group, item in self.activations.items()}}

    @staticmethod
    def groups_in(data: Any) -> Any:
        """Data of activations by group in :meth:`to_json` output; nothing is checked."""
        return data["groups"] if isinstance(data, dict) and "groups" in data else {SHARED: data}

    @property
    def formula(self) -> str:
        """Formula of the shared activation, or ``groups: formula`` parts joined by semicolons."""
        return self._join("formula")

    @property
    def label(self) -> str:
        """Short text for tables."""
        if self.is_baseline:
            return self.name
        text = self._join("label")
        return f"a shape that begins as {text}" if self.learns_shape else text

    def _join(self, what: str) -> str:
        if (one := self.single) is not None:
            return str(getattr(one, what))
        groups: dict[str, list[str]] = {}
        for group, item in self.activations.items():
            groups.setdefault(str(getattr(item, what)), []).append(group)
        return "; ".join(f"{', '.join(names)}: {text}" for text, names in groups.items())
