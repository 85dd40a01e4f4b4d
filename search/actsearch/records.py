"""What is written down about a search: frozen data, no behaviour, no torch."""

from __future__ import annotations

import enum
import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

__all__ = [
    "CURVE_POINTS",
    "HISTOGRAM_EDGES",
    "SHARED",
    "ActivationRecord",
    "RunGoal",
    "CandidateRecord",
    "Curve",
    "Diagnostics",
    "EpochRecord",
    "EvaluationRecord",
    "Outcome",
    "Score",
    "SiteDiagnostics",
    "StudyRecord",
    "TrialRecord",
    "TrialState",
]

SHARED = "*"
"""Group name of an activation placed at every hidden site. Only placement and storage need it: see CandidateRecord."""


class TrialState(enum.Enum):
    """Where a trial stands.

    REJECTED trials were screened out and never trained; a DUPLICATE has the identity of an earlier trial.
    """

    WAITING = "WAITING"
    RUNNING = "RUNNING"
    COMPLETE = "COMPLETE"
    PRUNED = "PRUNED"
    FAILED = "FAILED"
    REJECTED = "REJECTED"
    DUPLICATE = "DUPLICATE"

    @property
    def is_trained(self) -> bool:
        """Whether the trial was trained to an end, well or badly."""
        return self in (TrialState.COMPLETE, TrialState.PRUNED, TrialState.FAILED)

    @property
    def is_open(self) -> bool:
        """Whether the trial still has to be trained."""
        return self in (TrialState.WAITING, TrialState.RUNNING)


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
    """

    activations: Mapping[str, ActivationRecord]
    operation: str = ""
    parents: tuple[int, ...] = ()

    @classmethod
    def shared(
        cls, item: ActivationRecord, operation: str = "", parents: tuple[int, ...] = ()
    ) -> CandidateRecord:
        """One activation for all hidden sites."""
        return cls({SHARED: item}, operation, parents)

    @property
    def is_baseline(self) -> bool:
        """Whether this is the user's model unchanged."""
        return not self.activations

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

    def aligned(
        self, other: CandidateRecord
    ) -> list[tuple[ActivationRecord | None, ActivationRecord | None]]:
        """The activations of two candidates in each group that one of them names, ordered by group."""
        groups = self.by_group.keys() | other.by_group.keys()
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
        return self._joined("formula")

    @property
    def label(self) -> str:
        """Short text for tables."""
        return self._joined("label")

    def _joined(self, what: str) -> str:
        if (one := self.single) is not None:
            return str(getattr(one, what))
        groups: dict[str, list[str]] = {}
        for group, item in self.activations.items():
            groups.setdefault(str(getattr(item, what)), []).append(group)
        return "; ".join(f"{', '.join(names)}: {text}" for text, names in groups.items())


@dataclass(frozen=True)
class EpochRecord:
    """Measurements of one epoch; non-finite numbers are kept as they are, None was not measured."""

    epoch: int  # 1-based
    train_loss: float | None = None
    train_metric: float | None = None
    valid_loss: float | None = None
    valid_metric: float | None = None
    seconds: float = 0.0


HISTOGRAM_EDGES = tuple(-5 + 0.5 * step for step in range(21))
"""Between the bins of :attr:`SiteDiagnostics.histogram`; the first bin is all below, the last all from the last on."""


@dataclass(frozen=True)
class SiteDiagnostics:
    """What was seen at one site in one pass over a fixed batch. x is what arrives there, y = f(x) what leaves.

    Numbers that are not finite are kept as they are; None could not be measured.

    Attributes:
        site: path of the site.
        shape: of x, samples first.
        mean: of x over all its numbers.
        sd: standard deviation of x.
        histogram: share of x in each bin between :data:`HISTOGRAM_EDGES`, 22 in all.
        dead: share of units that are 0 for every sample. A unit is one number of y for one sample; in a convolution
            each position of each channel.
        zeros: share of y that is exactly 0.
        saturation: share of x at which |f'(x)| is below 0.001; None where y has another shape.
        gain: effective gain, sqrt(E[y^2] / E[x^2]): what a site does to the second moment, which the next layer's
            weights multiply (He et al. 2015, arXiv:1502.01852, eq. 7).
        gradient_norm: norm of the loss's gradient with respect to x (as Glorot and Bengio 2010, fig. 7, look at it);
            None where no gradient arrives, as before frozen layers.
        learned: the activation's learned numbers by name; of more than 256, so many quantiles.
    """

    site: str
    shape: tuple[int, ...]
    mean: float | None
    sd: float | None
    histogram: tuple[float, ...]
    dead: float | None
    zeros: float | None
    saturation: float | None
    gain: float | None
    gradient_norm: float | None
    learned: Mapping[str, tuple[float, ...]] = field(default_factory=dict)


@dataclass(frozen=True)
class Diagnostics:
    """What one training was like inside.

    Attributes:
        start: the sites before the first step, in the order in which they first run.
        end: likewise after the last epoch; empty if training did not come to its end.
        parameters_added: numbers that the changed model learns beyond those of the user's own.
        loss_gap: validation loss less training loss in the last epoch; None where one was not measured.
    """

    start: tuple[SiteDiagnostics, ...]
    end: tuple[SiteDiagnostics, ...] = ()
    parameters_added: int | None = None
    loss_gap: float | None = None

    @property
    def gradient_ratio(self) -> float | None:
        """Gradient norm at the first site divided by that at the last, in the newest pass.

        Far below 1, gradients vanish on their way back; far above, they explode. None with fewer than two norms.
        """
        norms = [site.gradient_norm for site in self.newest if site.gradient_norm is not None]
        if len(norms) < 2:
            return None
        if norms[-1] == 0:
            return float("nan") if norms[0] == 0 else float("inf")
        return norms[0] / norms[-1]

    @property
    def sparsity(self) -> float | None:
        """Share of zeros, the mean over the sites, in the newest pass."""
        shares = [site.zeros for site in self.newest if site.zeros is not None]
        return sum(shares) / len(shares) if shares else None

    @property
    def newest(self) -> tuple[SiteDiagnostics, ...]:
        """``end``, or ``start`` where training did not come to its end."""
        return self.end or self.start


@dataclass(frozen=True)
class EvaluationRecord:
    """One training of a candidate under one seed."""

    seed: int
    value: float | None
    metrics: Mapping[str, float] = field(default_factory=dict)
    epochs: tuple[EpochRecord, ...] = ()
    seconds: float = 0.0
    reason: str = ""  # why it ended early, if it did
    diagnostics: Diagnostics | None = None


@dataclass(frozen=True)
class Outcome:
    """What became of a candidate: a value, or the reason why there is none.

    Attributes:
        state: COMPLETE, PRUNED or FAILED.
        value: mean over seeds of the metric at the last epoch; None unless COMPLETE or PRUNED. With several objectives,
            that of the first.
        spread: standard deviation over seeds, or, with one seed, over its last epochs.
        evaluations: one record a seed.
        reason: why it failed or was pruned.
        validation_only: in a confirmation, the objective did not tell search from confirmation.
        user_attrs: further data to be kept with the trial.
        values: of every objective where there are several, the first included; else empty.
    """

    state: TrialState
    value: float | None
    spread: float | None = None
    evaluations: tuple[EvaluationRecord, ...] = ()
    reason: str = ""
    seconds: float = 0.0
    validation_only: bool = False
    user_attrs: Mapping[str, Any] = field(default_factory=dict)
    values: tuple[float, ...] = ()


@dataclass(frozen=True)
class Score:
    """One training of a verdict.

    Attributes:
        valid: its score on validation data; None where it diverged.
        test: on test data, while finalists are chosen on validation data; None where it diverged.
        blind: the objective did not tell search from confirmation.
        losses: of each epoch, on validation data where they were measured.
        reason: why there is no score.
    """

    valid: float | None
    test: float | None
    blind: bool
    losses: tuple[float | None, ...] = ()
    reason: str = field(default="", compare=False)


@dataclass(frozen=True)
class TrialRecord:
    """One row of a study.

    Attributes:
        number: 0-based position in the study.
        fingerprint: identity, see ``acs.fingerprint``; empty when it could not be computed.
        alias: hash of the values alone.
        mirror: hash of the mirror class; equal for f(x), f(-x), -f(x) and -f(-x).
        duplicate_of: number of the trial with the same identity, for DUPLICATE.
        warnings: what screening noticed without refusing.
        validation: as above for evaluations; only filled when asked for.
        proposed_with: versions of python and the libraries that proposed it; empty where that was not yet stored.
        trained_with: likewise, that trained it.
        values: of every objective, ``value`` first, where the study has several; else empty.
    """

    number: int
    state: TrialState
    candidate: CandidateRecord
    value: float | None = None
    spread: float | None = None
    reason: str = ""
    fingerprint: str = ""
    alias: str = ""
    mirror: str = ""
    duplicate_of: int | None = None
    warnings: tuple[str, ...] = ()
    user_attrs: Mapping[str, Any] = field(default_factory=dict)
    evaluations: tuple[EvaluationRecord, ...] = ()
    seconds: float = 0.0
    created: datetime | None = None  # UTC
    started: datetime | None = None
    completed: datetime | None = None
    proposed_with: Mapping[str, str] = field(default_factory=dict)
    trained_with: Mapping[str, str] = field(default_factory=dict)
    values: tuple[float | None, ...] = ()


@dataclass(frozen=True)
class RunGoal:
    """What the process that drives a study is about.

    Attributes:
        purpose: "search" or "confirm".
        target: number of trained trials of the study at which the search ends; None where no number was asked for.
        until: when it ends at the latest; None where no time was asked for.
        since: when it began.
    """

    purpose: str
    target: int | None = None
    until: datetime | None = None
    since: datetime | None = None


@dataclass(frozen=True)
class StudyRecord:
    """A study's settings as stored.

    Attributes:
        direction: "maximize" or "minimize"; None until a task or the user has said it.
        space: what may be proposed, as JSON data with every name spelt out.
        strategy: name and settings of the strategy.
        task: description of the task first optimised; None before.
        versions: versions of python, torch, optuna, deap and actsearch that made the study.
        pruner: name and settings of the pruner; None where nothing is pruned.
        directions: of every objective where there are several, ``direction`` first; else empty.
        objectives: their names; empty while nobody has named them.
    """

    id: int
    name: str
    seed: int
    direction: str | None
    space: Mapping[str, Any]
    strategy: Mapping[str, Any]
    task: Mapping[str, Any] | None = None
    versions: Mapping[str, str] = field(default_factory=dict)
    user_attrs: Mapping[str, Any] = field(default_factory=dict)
    created: datetime | None = None
    pruner: Mapping[str, Any] | None = None
    directions: tuple[str, ...] = ()
    objectives: tuple[str, ...] = ()
