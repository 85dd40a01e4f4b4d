"""From a strategy to trials: proposed together, screened, and compared with what is known already."""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Mapping, Sequence
from typing import Literal, cast

import torch
from torch import Tensor

from actsearch.errors import ActsearchError
from actsearch.records import (
    BASELINE,
    SHAPE,
    ActivationRecord,
    CandidateRecord,
    StudyRecord,
    TrialRecord,
    TrialState,
)
from actsearch.screening import identify, screen
from actsearch.strategies import Context, SiteGroups, Space, make_strategy
from actsearch.study.history import History, readable

__all__ = ["Proposer"]

_log = logging.getLogger("actsearch")


class Proposer:
    """Makes the next trials of a study; stores nothing."""

    def __init__(
        self,
        study: StudyRecord,
        groups: SiteGroups,
        samples: Mapping[str, Sequence[Tensor]],
        dtype: torch.dtype,
        own: Mapping[str, ActivationRecord],
        sites: Mapping[str, Sequence[str]],
    ) -> None:
        """Args:
        study: whose.
        groups: of its sites.
        samples: what arrives at the sites of each group.
        dtype: precision in which activations compute.
        own: what the model has at the sites of each group.
        sites: paths of these.
        """
        self._study = study
        self._groups = groups
        self._samples = {group: list(tensors) for group, tensors in samples.items()}
        self._dtype = dtype
        self._own = own
        self._sites = sites

    def propose(self, history: History) -> list[TrialRecord]:
        """One logical batch, screened; empty where the strategy has nothing more.

        The strategy does not see the model unchanged: its proposals are what they are without that trial.
        """
        trials = [trial for trial in history if not trial.candidate.is_baseline]
        context = self.context()
        known = history.known()
        records: list[TrialRecord] = []
        for candidate in self._candidates(trials, context):
            screened = self._screen(candidate, known, -1 - len(records))
            records.append(dataclasses.replace(screened, user_attrs=dict(candidate.attrs)))
        return records

    def context(self) -> Context:
        """What the strategy may know besides the history."""
        return Context(
            Space.from_json(self._study.space),
            self._study.seed,
            cast(Literal["maximize", "minimize"], self._study.direction),
            self._groups,
            self._study.directions,
            self._own,
            self._sites,
        )

    def _candidates(self, trials: list[TrialRecord], context: Context) -> list[CandidateRecord]:
        strategy = make_strategy(self._study.strategy)
        try:
            return strategy.propose(trials, strategy.batch_size(trials, context), context)
        except (ActsearchError, KeyError, TypeError, ValueError):
            sound = readable(trials)
            if len(sound) == len(trials):
                raise
            _log.warning(
                "study %s: %d stored trials are not valid activations and are left out: see actsearch doctor",
                self._study.name, len(trials) - len(sound),
            )  # fmt: skip
            return strategy.propose(sound, strategy.batch_size(sound, context), context)

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
        screening = screen(candidate, self._samples, self._dtype)
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
