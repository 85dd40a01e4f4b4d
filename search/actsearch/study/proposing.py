"""From a strategy to trials: proposed together, screened, and compared with what is known already."""

from __future__ import annotations

import dataclasses
import functools
import logging
from collections.abc import Iterable
from typing import Literal, cast

from torch import Tensor

from actsearch.errors import ActsearchError
from actsearch.evaluation import Subject
from actsearch.records import (
    BASELINE,
    SHAPE,
    CandidateRecord,
    StudyRecord,
    TrialRecord,
    TrialState,
)
from actsearch.screening import identify, screen
from actsearch.strategies import WARM_START, Context, Space, Strategy, make_strategy
from actsearch.study.earlier import read_earlier
from actsearch.study.history import History, readable
from actsearch.study.preparation import group_samples
from actsearch.study.site_groups import StudyGroups

__all__ = ["Proposer", "check_strategy"]

_log = logging.getLogger("actsearch")

_GIVEN = (WARM_START, "user")  # operations of what no strategy has proposed


def check_strategy(study: StudyRecord, groups: StudyGroups, subject: Subject) -> None:
    """Refuse what a strategy that learns shapes cannot be used on, before anything is spent.

    Args:
        study: with a direction.
        groups: of its sites.
        subject: what it optimises.

    Raises:
        TaskError: its model or data do not allow it.
        SpaceError: the groups or the model's own activations do not.
    """
    strategy = make_strategy(study.strategy)
    if strategy.learns_shapes:
        first = strategy.first_pass(Proposer(study, groups, subject).context)
        subject.check_shape_learning(strategy.name, first)


class Proposer:
    """Makes the next trials of a study; stores nothing."""

    def __init__(self, study: StudyRecord, groups: StudyGroups, subject: Subject) -> None:
        """Args:
        study: whose.
        groups: of its sites.
        subject: what it optimises.
        """
        self._study = study
        self._groups = groups.groups
        self._study_groups = groups
        self._subject = subject

    @functools.cached_property
    def _samples(self) -> dict[str, list[Tensor]]:
        """What arrives at the sites of each group."""
        return group_samples(self._subject, self._study_groups.sites)

    def propose(
        self,
        history: History,
        seen: Iterable[TrialRecord] | None = None,
        most: int | None = None,
    ) -> list[TrialRecord]:
        """One logical batch, screened; empty where the strategy has nothing more.

        The strategy does not see the model unchanged: its proposals are what they are without that trial.

        Args:
            history: every trial.
            seen: the trials as the strategy sees them; as they are by default.
            most: how many are wanted at most, once anything was trained; None for a logical batch.
        """
        given = history if seen is None else seen
        trials = [trial for trial in given if not trial.candidate.is_baseline]
        known = history.known()
        records: list[TrialRecord] = []
        for candidate in self._candidates(trials, most):
            screened = self._screen(candidate, known, -1 - len(records))
            records.append(dataclasses.replace(screened, user_attrs=dict(candidate.attrs)))
        return records

    @property
    def parallel(self) -> int | None:
        """Workers of the strategy's virtual clock; None where a logical batch ends before the next."""
        return make_strategy(self._study.strategy).parallel

    def batch_size(self, history: History) -> int:
        """Of the next logical batch."""
        trials = readable([trial for trial in history if not trial.candidate.is_baseline])
        return make_strategy(self._study.strategy).batch_size(trials, self.context)

    def remarks(self) -> list[str]:
        """What the strategy cannot make use of, and why, as sentences."""
        return make_strategy(self._study.strategy).remarks(self.context)

    @functools.cached_property
    def context(self) -> Context:
        """What the strategy may know besides the history."""
        return Context(
            Space.from_json(self._study.space),
            self._study.seed,
            cast(Literal["maximize", "minimize"], self._study.direction),
            self._groups,
            self._study.directions,
            self._study_groups.own_activations(self._subject),
            self._study_groups.all_sites(self._subject),
            read_earlier(self._study),
        )

    def _candidates(self, trials: list[TrialRecord], most: int | None) -> list[CandidateRecord]:
        strategy, context = make_strategy(self._study.strategy), self.context
        try:
            return strategy.propose(trials, self._count(strategy, trials, most), context)
        except (ActsearchError, KeyError, TypeError, ValueError):
            sound = readable(trials)
            if len(sound) == len(trials):
                raise
            _log.warning(
                "study %s: %d stored trials are not valid activations and are left out: see actsearch doctor",
                self._study.name, len(trials) - len(sound),
            )  # fmt: skip
            return strategy.propose(sound, self._count(strategy, sound, most), context)

    def _count(self, strategy: Strategy, trials: list[TrialRecord], most: int | None) -> int:
        """How many are proposed; whole batches until one of them has ended, as they learn from nothing."""
        size = strategy.batch_size(trials, self.context)
        if most is None or strategy.proposes_in_steps:
            return size
        has_learned = any(
            trial.state.is_trained and trial.candidate.operation not in _GIVEN for trial in trials
        )
        return min(size, most) if has_learned else size

    def screen_enqueued(self, trial: TrialRecord, history: History) -> TrialRecord:
        """A trial that a user enqueued, screened when its turn comes."""
        known = history.known(before=trial.number)
        screened = self._screen(trial.candidate, known, trial.number)
        return dataclasses.replace(
            trial,
            state=screened.state,
            reason=screened.reason,
            warnings=screened.warnings,
            duplicate_of=screened.duplicate_of,
            fingerprint=screened.fingerprint,
            alias=screened.alias,
            mirror=screened.mirror,
        )

    def _screen(
        self, candidate: CandidateRecord, known: dict[str, int], number: int
    ) -> TrialRecord:
        """A proposal as a trial: refused, a repetition, or waiting to be trained."""
        trial = TrialRecord(number, TrialState.WAITING, candidate)
        if candidate.is_baseline:
            return self._screen_baseline(trial, known)
        if candidate.learns_shape:
            return self._screen_pass(trial, known, number)
        try:
            identity = identify(self._groups.normalize(candidate))
        except (ActsearchError, RuntimeError, ValueError, TypeError) as error:
            reason = str(error).splitlines()[0]
            return dataclasses.replace(trial, state=TrialState.REJECTED, reason=reason)
        trial = dataclasses.replace(
            trial, fingerprint=identity.identity, alias=identity.alias, mirror=identity.mirror
        )
        if (original := known.get(identity.identity)) is not None:
            return dataclasses.replace(trial, state=TrialState.DUPLICATE, duplicate_of=original)
        known[identity.identity] = number
        screening = screen(
            candidate, self._samples, self._subject.dtype, self.context.space.require
        )
        if screening.passed:
            return dataclasses.replace(trial, warnings=screening.warnings)
        return dataclasses.replace(trial, state=TrialState.REJECTED, reason=screening.reason)

    @staticmethod
    def _screen_pass(trial: TrialRecord, known: dict[str, int], number: int) -> TrialRecord:
        """Shape learning: each pass is one of its own, whatever it begins with."""
        count = sum(key.startswith(f"{SHAPE} ") for key in known)
        fingerprint = f"{SHAPE} {count + 1}"
        known[fingerprint] = number
        return dataclasses.replace(trial, fingerprint=fingerprint)

    @staticmethod
    def _screen_baseline(trial: TrialRecord, known: dict[str, int]) -> TrialRecord:
        """The model unchanged: it is what the others are compared with, so nothing is refused of it."""
        trial = dataclasses.replace(trial, fingerprint=BASELINE)
        if (original := known.get(BASELINE)) is not None:
            return dataclasses.replace(trial, state=TrialState.DUPLICATE, duplicate_of=original)
        return trial
