"""Where a search by gradients stands: read from its history alone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from actsearch.records import FROZEN, LEARNED, NAMED, TrialRecord, TrialState
from actsearch.strategies.base import Context
from actsearch.strategies.gradient.shapes import Shape, read_shapes

__all__ = ["Round", "current_round", "is_complete"]


@dataclass(frozen=True)
class Round:
    """From the first pass of shape learning to the last name.

    Attributes:
        index: of the round, from 0.
        passes: trials of shape learning, in order.
        curves: trials of learned curves.
        names: trials of names whose numbers learn, or that have none.
        frozen: trials of names whose numbers were learned.
    """

    index: int
    passes: tuple[TrialRecord, ...] = ()
    curves: tuple[TrialRecord, ...] = ()
    names: tuple[TrialRecord, ...] = ()
    frozen: tuple[TrialRecord, ...] = ()

    def learned(self, context: Context) -> list[tuple[TrialRecord, tuple[Shape, ...]]]:
        """The passes that came to their end, with what they have learned for each group."""
        groups = context.site_groups
        found = [(trial, read_shapes(trial, groups)) for trial in self.passes]
        return [(trial, shapes) for trial, shapes in found if shapes is not None]

    def best(self, context: Context) -> tuple[TrialRecord, tuple[Shape, ...]]:
        """The pass whose copies did best on validation data; of equals the later one."""
        sign = 1 if context.direction == "maximize" else -1
        learned = self.learned(context)
        values = [
            -float("inf") if trial.value is None else sign * trial.value for trial, _ in learned
        ]
        return learned[max(range(len(learned)), key=lambda i: (values[i], i))]


def current_round(history: Sequence[TrialRecord]) -> Round:
    """The last round, as far as it has come."""
    index, own = 0, _Parts([], [], [], [])
    for trial in history:
        operation = trial.candidate.operation
        if trial.candidate.learns_shape:
            if own.curves:  # another round begins
                index, own = index + 1, _Parts([], [], [], [])
            own.passes.append(trial)
        elif own.passes:
            table = {LEARNED: own.curves, NAMED: own.names, FROZEN: own.frozen}
            if operation in table:
                table[operation].append(trial)
    return Round(index, tuple(own.passes), tuple(own.curves), tuple(own.names), tuple(own.frozen))


@dataclass
class _Parts:
    passes: list[TrialRecord]
    curves: list[TrialRecord]
    names: list[TrialRecord]
    frozen: list[TrialRecord]


def is_complete(trial: TrialRecord) -> bool:
    """Whether a trial has a value that can be compared."""
    return trial.state is TrialState.COMPLETE and trial.value is not None
