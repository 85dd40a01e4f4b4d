"""The trials of a study as its driver knows them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from actsearch.activations import describe
from actsearch.errors import ActsearchError
from actsearch.records import TrialRecord, TrialState
from actsearch.report import rank_key

__all__ = ["History", "readable"]


class History:
    """Every trial by its number; what is asked after each one is kept up to date instead of counted anew.

    Attributes:
        trained: how many were trained to an end.
        best: the first of the leaderboard, or None while no trial is complete.
    """

    def __init__(self, direction: str | None, trials: Iterable[TrialRecord] = ()) -> None:
        self._direction = direction
        self._trials: dict[int, TrialRecord] = {}
        self._open: dict[int, TrialRecord] = {}
        self._first: dict[str, int] = {}  # by identity
        self._unknown = 0
        self.trained = 0
        self.best: TrialRecord | None = None
        self._place: tuple[float, int] | None = None
        for trial in trials:
            self.put(trial)

    def put(self, trial: TrialRecord) -> None:
        """Take a new trial, or the new state of an open one; what has ended stays as it is."""
        before = self._trials.get(trial.number)
        assert before is None or before.state.is_open
        self._trials[trial.number] = trial
        if trial.state.is_open:
            self._open[trial.number] = trial
        else:
            self._open.pop(trial.number, None)
        self.trained += trial.state.is_trained
        if trial.fingerprint and trial.state is not TrialState.DUPLICATE:
            first = self._first.get(trial.fingerprint, trial.number)
            self._first[trial.fingerprint] = min(first, trial.number)
        place = rank_key(trial, self._direction)
        if place is not None and (self._place is None or place < self._place):
            self.best, self._place = trial, place

    def __iter__(self) -> Iterator[TrialRecord]:
        """In order of number."""
        return (self._trials[number] for number in sorted(self._trials))

    def backwards(self) -> Iterator[TrialRecord]:
        """From the last number on."""
        return (self._trials[number] for number in sorted(self._trials, reverse=True))

    @property
    def last(self) -> TrialRecord | None:
        """The one with the largest number."""
        return self._trials[max(self._trials)] if self._trials else None

    def __contains__(self, number: int) -> bool:
        return number in self._trials

    @property
    def waiting(self) -> list[TrialRecord]:
        """Trials still to be trained, in order of number."""
        return [self._open[number] for number in sorted(self._open)]

    @property
    def first_unknown(self) -> int:
        """The smallest number that no trial has here: trials from it on may have been enqueued meanwhile."""
        while self._unknown in self._trials:
            self._unknown += 1
        return self._unknown

    def known(self, before: int | None = None) -> dict[str, int]:
        """First trial of each identity; only of trials with a smaller number, if one is given."""
        if before is None:
            return dict(self._first)
        return {key: number for key, number in self._first.items() if number < before}


def readable(trials: Sequence[TrialRecord]) -> list[TrialRecord]:
    """Trials whose activations can be read; those of others were changed by another program."""
    return [trial for trial in trials if _is_readable(trial)]


def _is_readable(trial: TrialRecord) -> bool:
    try:
        return all(
            set(describe(item).hyperparameters) == set(item.hyperparameters)
            for item in trial.candidate.activations.values()
        )
    except (ActsearchError, TypeError, ValueError):
        return False
