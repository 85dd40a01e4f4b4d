"""From one activation for all sites to one for each group: what every strategy does alike."""

from __future__ import annotations

import abc
import contextlib
import random
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import replace
from typing import Literal

from actsearch.errors import ActsearchError
from actsearch.records import ActivationRecord, CandidateRecord, TrialRecord, TrialState
from actsearch.screening import fingerprint
from actsearch.seeds import derive
from actsearch.strategies.base import Context, Strategy
from actsearch.strategies.groups import SiteGroups
from actsearch.strategies.population import CandidateBatch, Child, Member, list_members

__all__ = ["WARM_START", "BySite", "BySiteState", "GroupSampler", "current_phase"]

WARM_START = "warm start"
"""Operation of candidates that a study took over from another one."""

_SHARED = 32  # shared candidates before groups begin to differ
_EACH = 8  # candidates that change one group, for each group, before groups are mixed
_MOST = 64  # and so many for all groups: a network of many sites must come to mixing as well
_ATTEMPTS = 20  # at one candidate that is new
_ONE, _MIXED = "one group", "mixed groups"

Phase = Literal["shared", "one", "mixed"]


def current_phase(history: Sequence[TrialRecord], context: Context) -> Phase:
    """What is proposed next: a shared activation, the best candidate with one group changed, or with several.

    Shared ones until 32 were proposed and one is complete; of a study with a warm start, until one is complete. Then
    8 for each group, 64 at most, that change one group; then mixtures.
    """
    groups = context.site_groups
    if len(groups) < 2 or not any(_is_start(trial, groups) for trial in history):
        return "shared"
    is_warm = any(trial.candidate.operation == WARM_START for trial in history)
    if not is_warm and sum(groups.is_shared(trial.candidate) for trial in history) < _SHARED:
        return "shared"
    return "one" if _changed_one(history) < min(_EACH * len(groups), _MOST) else "mixed"


def _is_start(trial: TrialRecord, groups: SiteGroups) -> bool:
    return (
        trial.state is TrialState.COMPLETE
        and trial.value is not None
        and groups.items(trial.candidate) is not None
    )


def _changed_one(history: Sequence[TrialRecord]) -> int:
    return sum(trial.candidate.operation == _ONE for trial in history)


class BySiteState:
    """What a search by site knows from its history.

    Attributes:
        phase: "one" or "mixed".
        members: every observation that is made by the groups, in order of number.
        best: the complete one with the best value, the earlier of equals.
    """

    def __init__(self, history: Sequence[TrialRecord], context: Context, phase: Phase) -> None:
        groups = context.site_groups
        self.phase = phase
        self.members = list(list_members(history, context, groups))
        sign = -1 if context.direction == "maximize" else 1
        complete = {trial.number for trial in history if _is_start(trial, groups)}
        self.best = min(
            (member for member in self.members if member.number in complete),
            key=lambda member: (sign * member.value, member.number),
        )
        self._count = len(groups)
        self._turn = _changed_one(history)

    def advance(self) -> None:
        """One candidate was made: the next group has its turn."""
        self._turn += 1

    def choose_groups(self, rng: random.Random) -> list[int]:
        """Groups to change: each in turn; when mixing, a random one, and with probability 1/2 each one more."""
        if self.phase == "one":
            return [self._turn % self._count]
        count = 1  # mostly few: what is good in one group mostly stays so when another one changes
        while count < self._count and rng.random() < 0.5:
            count += 1
        return sorted(rng.sample(range(self._count), count))


class GroupSampler:
    """A source of new activations for groups of sites, for one proposal.

    Attributes:
        sample: gives a new activation for a group, from its number and the activation it has.
    """

    def __init__(self, sample: Callable[[int, ActivationRecord], ActivationRecord]) -> None:
        self.sample = sample

    def change(self, base: Member, groups: Sequence[int], operation: str) -> Child:
        """A member with a new activation in some groups."""
        items = list(base.items)
        for group in groups:
            items[group] = self.sample(group, items[group])
        return items, operation, (base.number,)

    def mix(self, state: BySiteState, rng: random.Random) -> Child:
        """A candidate of the last phase; here the best one with some groups changed."""
        return self.change(state.best, state.choose_groups(rng), _MIXED)


class BySite(Strategy):
    """A strategy for one activation at all sites, and from the best of these on for one in each group of sites.

    First the strategy's own proposals, at every site. Then the best candidate so far with a new activation in one
    group, each group in turn: block coordinate search. Then mixtures, which change one group or several. The rules of
    :func:`current_phase` read the history alone. Candidates are compared group by group: two are the same when they
    have the same function in each.

    A subclass says how it samples a new activation for one group, and may say how it mixes.
    """

    batch: int

    def shared_batch_size(self, history: Sequence[TrialRecord], context: Context) -> int:
        """How many shared candidates are proposed together now; ``batch`` where a subclass says nothing else."""
        return self.batch

    @abc.abstractmethod
    def propose_shared(
        self, history: Sequence[TrialRecord], n: int, context: Context
    ) -> list[CandidateRecord]:
        """Up to n shared candidates; those of the history that are not shared are to be left aside."""

    @abc.abstractmethod
    def open_sampler(
        self, history: Sequence[TrialRecord], context: Context, state: BySiteState
    ) -> AbstractContextManager[GroupSampler]:
        """A source of new activations for groups, open while one batch is proposed."""

    def batch_size(self, history: Sequence[TrialRecord], context: Context) -> int:
        """As the strategy says for shared candidates; ``batch`` later."""
        if current_phase(history, context) == "shared":
            return self.shared_batch_size(_as_shared(history, context.site_groups), context)
        return self.batch

    def propose(
        self, history: Sequence[TrialRecord], n: int, context: Context
    ) -> list[CandidateRecord]:
        """Shared candidates, then such that change one group, then mixtures."""
        groups, phase = context.site_groups, current_phase(history, context)
        if phase == "shared":
            candidates = self.propose_shared(_as_shared(history, groups), n, context)
            if groups == SiteGroups.shared():
                return candidates
            if candidates or len(groups) < 2 or not any(_is_start(one, groups) for one in history):
                return [groups.normalize(candidate) for candidate in candidates]
            phase = "one"  # the space has no other shared ones
        state = BySiteState(history, context, phase)
        # a stream of its own: how a strategy draws activations must not move which groups are chosen
        rng = random.Random(derive(context.proposal_seed(history), "groups"))
        batch = CandidateBatch(history, groups)
        with self.open_sampler(history, context, state) as sampler:

            def make() -> Child:
                if state.phase == "one":
                    return sampler.change(state.best, state.choose_groups(rng), _ONE)
                items, _, parents = sampler.mix(state, rng)
                return items, _MIXED, parents

            for _ in range(n):
                # a repetition costs no training, and a batch without any candidate would end the search
                batch.add(make, _ATTEMPTS, may_repeat=True)
                state.advance()
        return batch.accepted


def _as_shared(history: Sequence[TrialRecord], groups: SiteGroups) -> Sequence[TrialRecord]:
    """A history in which candidates with one activation in every group are written as shared ones."""
    return history if groups.covers_all_sites else list(_rewrite(history, groups))


def _rewrite(history: Sequence[TrialRecord], groups: SiteGroups) -> Iterator[TrialRecord]:
    for trial in history:
        items = groups.items(trial.candidate)
        if items is None or any(item != items[0] for item in items[1:]):
            yield trial
            continue
        old = trial.candidate
        # of all groups together, which the shared activation alone has not
        identity = trial.fingerprint
        if identity:
            with contextlib.suppress(ActsearchError):
                identity = fingerprint(items[0])
        shared = CandidateRecord.shared(items[0], old.operation, old.parents)
        yield replace(trial, candidate=shared, fingerprint=identity)
