"""From one activation for all sites to one for each group: what every strategy does alike."""

from __future__ import annotations

import abc
import contextlib
import random
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from typing import Literal

from actsearch.errors import ActsearchError
from actsearch.records import SHARED, ActivationRecord, CandidateRecord, TrialRecord, TrialState
from actsearch.screening import fingerprint, identify
from actsearch.seeds import derive
from actsearch.strategies.base import Context, Strategy, observations, value_of, worst_value
from actsearch.strategies.groups import SiteGroups

__all__ = ["WARM_START", "BySite", "Child", "Draw", "Member", "Standing", "phase_of"]

WARM_START = "warm start"
"""Operation of candidates that a study took over from another one."""

_SHARED = 32  # shared candidates before groups begin to differ
_EACH = 8  # candidates that change one group, for each group, before groups are mixed
_MOST = 64  # and so many for all groups: a network of many sites must come to mixing as well
_TRIES = 20  # attempts at one candidate that is new
_ONE, _MIXED = "one group", "mixed groups"

Phase = Literal["shared", "one", "mixed"]
Draw = Callable[[int, ActivationRecord], ActivationRecord]
"""A new activation for a group, given its number and the activation it has."""
Child = tuple[Sequence[ActivationRecord], tuple[int, ...]]
"""An activation for each group, and the numbers of the trials they come from."""


def phase_of(history: Sequence[TrialRecord], context: Context) -> Phase:
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


@dataclass(frozen=True)
class Member:
    """A trial as its activations by group."""

    number: int
    items: tuple[ActivationRecord, ...]
    value: float


class Standing:
    """What a search by site knows from its history.

    Attributes:
        phase: "one" or "mixed".
        members: every observation that is made by the groups, in order of number.
        best: the complete one with the best value, the earlier of equals.
    """

    def __init__(self, history: Sequence[TrialRecord], context: Context, phase: Phase) -> None:
        groups, worst = context.site_groups, worst_value(history, context)
        self.phase = phase
        self.members = [
            Member(trial.number, items, value_of(trial, worst))
            for trial in observations(history, rejected=False)
            if (items := groups.items(trial.candidate)) is not None
        ]
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

    def changing(self, rng: random.Random) -> list[int]:
        """Groups to change: each in turn; when mixing, a random one, and with probability 1/2 each one more."""
        if self.phase == "one":
            return [self._turn % self._count]
        count = 1
        while count < self._count and rng.random() < 0.5:
            count += 1
        return sorted(rng.sample(range(self._count), count))


class BySite(Strategy):
    """A strategy for one activation at all sites, and from the best of these on for one in each group of sites.

    First the strategy's own proposals, at every site. Then the best candidate so far with a new activation in one
    group, each group in turn: block coordinate search. Then mixtures, which change one group or several. The rules of
    :func:`phase_of` read the history alone. What is new is judged group by group: two candidates are the same when
    they have the same function in each.

    A subclass says how it draws a new activation for one group, and may say how it mixes.
    """

    batch: int

    @abc.abstractmethod
    def shared_size(self, history: Sequence[TrialRecord], context: Context) -> int:
        """How many shared candidates are proposed together now."""

    @abc.abstractmethod
    def shared(
        self, history: Sequence[TrialRecord], n: int, context: Context
    ) -> list[CandidateRecord]:
        """Up to n shared candidates; those of the history that are not shared are to be left aside."""

    @abc.abstractmethod
    def drawing(
        self, history: Sequence[TrialRecord], context: Context, standing: Standing
    ) -> AbstractContextManager[Draw]:
        """A source of new activations for one group."""

    def mixed(self, standing: Standing, context: Context, rng: random.Random, draw: Draw) -> Child:
        """A candidate of the last phase; here the best one with some groups changed."""
        return _changed(standing.best, standing.changing(rng), draw)

    def batch_size(self, history: Sequence[TrialRecord], context: Context) -> int:
        """As the strategy says for shared candidates; ``batch`` later."""
        if phase_of(history, context) == "shared":
            return self.shared_size(_as_shared(history, context.site_groups), context)
        return self.batch

    def propose(
        self, history: Sequence[TrialRecord], n: int, context: Context
    ) -> list[CandidateRecord]:
        """Shared candidates, then such that change one group, then mixtures."""
        groups, phase = context.site_groups, phase_of(history, context)
        if phase == "shared":
            found = self.shared(_as_shared(history, groups), n, context)
            if groups == SiteGroups.shared():
                return found
            if found or len(groups) < 2 or not any(_is_start(one, groups) for one in history):
                return [_spread(candidate, groups) for candidate in found]
            phase = "one"  # the space has no other shared ones
        standing = Standing(history, context, phase)
        rng = random.Random(derive(context.proposal_seed(history), "groups"))
        seen = {trial.fingerprint for trial in history}
        with self.drawing(history, context, standing) as draw:
            made = [self._new(standing, context, rng, draw, seen) for _ in range(n)]
        return [candidate for candidate in made if candidate is not None]

    def _new(
        self,
        standing: Standing,
        context: Context,
        rng: random.Random,
        draw: Draw,
        seen: set[str],
    ) -> CandidateRecord | None:
        """A candidate that is new if that can be had in a number of attempts; None where none could be made."""
        candidate = None
        for _ in range(_TRIES):
            with contextlib.suppress(
                ActsearchError
            ):  # numbers of a formula grew beyond the limits
                if standing.phase == "one":
                    items, parents = _changed(standing.best, standing.changing(rng), draw)
                    operation = _ONE
                else:
                    items, parents = self.mixed(standing, context, rng, draw)
                    operation = _MIXED
                made = context.site_groups.candidate(items, operation, parents)
                identity = identify(made).identity
                candidate = made
                if identity not in seen:
                    seen.add(identity)
                    break
        standing.advance()
        return candidate


def _changed(base: Member, groups: Sequence[int], draw: Draw) -> Child:
    items = list(base.items)
    for group in groups:
        items[group] = draw(group, items[group])
    return items, (base.number,)


def _as_shared(history: Sequence[TrialRecord], groups: SiteGroups) -> Sequence[TrialRecord]:
    """A history in which candidates with one activation in every group are written as shared ones."""
    return history if groups.whole else list(_rewritten(history, groups))


def _rewritten(history: Sequence[TrialRecord], groups: SiteGroups) -> Iterator[TrialRecord]:
    for trial in history:
        items = groups.items(trial.candidate)
        if items is None or any(item != items[0] for item in items[1:]):
            yield trial
            continue
        candidate = replace(trial.candidate, activations={SHARED: items[0]})
        identity = trial.fingerprint
        if identity:
            with contextlib.suppress(ActsearchError):
                identity = fingerprint(items[0])
        yield replace(trial, candidate=candidate, fingerprint=identity)


def _spread(candidate: CandidateRecord, groups: SiteGroups) -> CandidateRecord:
    """A shared candidate as the groups write it."""
    items = [candidate.activations[SHARED]] * len(groups)
    return groups.candidate(items, candidate.operation, candidate.parents)
