"""One line of a verdict."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from actsearch.errors import ActivationError
from actsearch.records import ActivationRecord, CandidateRecord, Diagnostics
from actsearch.report.verdict import stored
from actsearch.storage import tolerant
from actsearch.storage.tolerant import UNREADABLE, one_line

__all__ = ["VerdictRow", "Word", "read_row"]

_ROUNDING = 1e-13

Word = Literal[
    "better",
    "worse",
    "not distinguishable",
    "equivalent",
    "too few seeds",
    "left early",
    "baseline",
]
"""Read from the interval; "left early" is who left a race before there were enough seeds for any other word."""


@dataclass(frozen=True)
class VerdictRow:
    """One line of a verdict.

    Attributes:
        formula: formula of the candidate, or label of the baseline.
        label: short text for tables.
        mean: mean score over the seeds, at the tuned learning rate. Over splits, where other seeds test other rows, of
            a line with fewer seeds than the baseline: the baseline's mean and the difference.
        difference: mean paired difference to the baseline, in the metric's units; of a winner somewhat optimistic, as
            it won by it, while the interval holds.
        low: lower end of the simultaneous 95 % interval of the difference; -inf for "left early".
        high: upper end; inf for "left early".
        p_value: of the two-sided paired t test, adjusted for comparisons and looks: below .05 where the interval leaves
            out 0.
        verdict: the word read from the interval.
        values: the scores, a diverged seed as the worst value seen.
        as_given: mean score at the learning rate of the search, over the first ``as_given_seeds``.
        learning_rate: the tuned learning rate, median over seeds, if one was chosen.
        diverged: how many seeds diverged.
        number: trial number.
        is_catalog: whether it is a catalog row.
        activation: the activation as JSON data, as in ``ActivationRecord.to_json``; of several ``{"groups": {...}}``;
            None for the model unchanged.
        others: its values in the study's other objectives, as the search measured them; not compared.
        at_grid_end: of how many seeds the best learning rate is the last one that was tried, so that a better one may
            lie beyond: of all or none, as the mean over seeds says; in verdicts of before, of those that say so alone.
        learning_rates: those chosen, one for each seed; empty where none was, or a version before this stored it.
        as_given_seeds: after how many the rate of the search was given up, as it lost to another; 0 where it was not.

    Example:
        >>> def objective(candidate, run):
        ...     noise = torch.randn(8, generator=torch.Generator().manual_seed(run.seed))
        ...     return candidate.module()(noise).square().mean().item()
        >>> study = acs.create_study(study_name="confirmed", direction="minimize")
        >>> study.optimize(objective, n_trials=3, show_progress_bar=False)
        >>> verdict = study.confirm(objective, top_k=1, seeds=8, baseline="relu", show_progress_bar=False)
        >>> row = verdict.rows[0]
        >>> row.low <= row.difference <= row.high
        True
    """

    formula: str
    label: str
    mean: float
    difference: float
    low: float
    high: float
    p_value: float
    verdict: Word
    values: tuple[float, ...]
    as_given: float
    learning_rate: float | None = None
    diverged: int = 0
    number: int | None = None
    is_catalog: bool = False
    activation: Mapping[str, Any] | None = None
    others: Mapping[str, float] = field(default_factory=dict)
    at_grid_end: int = 0
    learning_rates: tuple[float, ...] = ()
    as_given_seeds: int = 0
    _read_diagnostics: Callable[[int], Diagnostics | None] | None = field(
        default=None, repr=False, compare=False
    )

    @property
    def diagnostics(self) -> Diagnostics | None:
        """What its trial recorded in the search; None where there is none, and where the verdict was read alone."""
        if self._read_diagnostics is None or self.number is None:
            return None
        return self._read_diagnostics(self.number)

    def __getstate__(self) -> dict[str, Any]:
        """Without the way to the study, which belongs to this process; so a copy is read alone."""
        return {key: value for key, value in vars(self).items() if key != "_read_diagnostics"}

    @property
    def is_at_grid_end(self) -> bool:
        """Whether the best learning rate of half of the seeds or more is the last one that was tried."""
        tuned = self.learning_rate is not None and self.verdict != "left early"
        return tuned and 2 * self.at_grid_end >= len(self.values) > 0

    @property
    def tuning_gain(self) -> float:
        """By how much the mean at the tuned learning rate exceeds that at the rate of the search, same seeds."""
        tried = self.values[: self.as_given_seeds] if self.as_given_seeds else self.values
        gain = sum(tried) / len(tried) - self.as_given
        return 0.0 if abs(gain) < _ROUNDING * abs(self.as_given) else gain

    @property
    def untuned(self) -> float:
        """``as_given`` beside ``mean``: where seeds test other rows, both are as if of the baseline's seeds."""
        shift = self.mean - sum(self.values) / len(self.values) if self.values else 0.0
        return self.as_given + (0.0 if abs(shift) < _ROUNDING * abs(self.mean) else shift)

    @property
    def is_damaged(self) -> bool:
        """Whether its activation was stored and cannot be read; ``formula`` then says why."""
        return self.label == UNREADABLE and self.activation is None

    @property
    def candidate(self) -> CandidateRecord:
        """What it stands for; without activations, the model unchanged.

        Raises:
            ActivationError: what was stored cannot be read.
        """
        if self.is_damaged:
            raise ActivationError(
                f"what this line of a verdict stands for cannot be read ({one_line(self.formula)}): "
                "the database was changed by another program, or holds what a newer version wrote"
            )
        if self.activation is not None:
            groups = CandidateRecord.groups_in(self.activation)
            return CandidateRecord({str(key): _read(item) for key, item in groups.items()})
        if self.verdict == "baseline":
            return CandidateRecord({}, operation="baseline")
        return CandidateRecord.shared(ActivationRecord(self.formula))


def _read(item: Any) -> ActivationRecord:
    """JSON data of an activation; what is not valid is refused where it is used."""
    return tolerant.activation(dict(item) if isinstance(item, Mapping) else item)


def read_row(data: Mapping[str, Any]) -> VerdictRow:
    """A stored row; numbers that were not finite are texts there."""
    rate, trial = map(data.get, ("learning_rate", "number"))
    what = stored.read_placed(data)
    names = ("mean", "difference", "low", "high", "p_value", "as_given")
    numbers: dict[str, Any] = {name: stored.read_number(data[name]) for name in names}
    others = (data.get("others") or {}).items()
    return VerdictRow(
        formula=what.formula,
        label=what.label,
        verdict=stored.read_word(data["verdict"], Word),
        values=stored.read_numbers(data["values"]),
        learning_rate=None if rate is None else stored.read_number(rate),
        diverged=stored.read_count(data.get("diverged", 0)),
        number=None if trial is None else stored.read_count(trial),
        is_catalog=bool(data.get("is_catalog")),
        activation=what.activation,
        at_grid_end=stored.read_count(data.get("at_grid_end", 0)),
        others={one_line(name): stored.read_number(value) for name, value in others},
        learning_rates=stored.read_numbers(data.get("learning_rates", ())),
        as_given_seeds=stored.read_count(data.get("as_given_seeds", 0)),
        **numbers,
    )
