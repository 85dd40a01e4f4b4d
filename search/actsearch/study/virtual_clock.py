"""A clock on which every trial takes as long as it trains, counted in epochs: the same on every machine.

V workers take trials in order of their numbers, each as soon as it is free. What ends when, and what a trial is
compared with at a rung, follows from that and from the values alone. What is really trained when, and for how long,
only decides how far the clock can be told: it stands still where a trial is not trained yet on which the next moment
depends (conservative simulation: Chandy and Misra 1979).
"""

from __future__ import annotations

import collections
import math
from collections.abc import Iterable
from dataclasses import dataclass, field

from actsearch.halving import Competition, RungTracker

__all__ = ["VirtualClock"]


@dataclass
class _Entry:
    """A trial on the clock.

    Attributes:
        number: of the trial.
        since: when it was proposed; it does not begin before.
        length: epochs, or steps, of all its trainings, where it comes to their end.
        competes: whether it is compared with others at rungs.
        start: when it began; None while it waits.
        values: by epoch or step, of the first training, as far as they are known.
        has_ended: whether it was really trained to an end.
        is_sound: whether that end is one with a value.
        rung: the next one that it may come to.
        end: when it ends; None while that is not known.
        tracker: follows it from rung to rung.
    """

    number: int
    since: int
    length: int
    competes: bool
    start: int | None = None
    values: dict[int, float] = field(default_factory=dict)
    has_ended: bool = False
    is_sound: bool = False
    rung: int = 0
    end: int | None = None
    tracker: RungTracker | None = None

    @property
    def is_pruned(self) -> bool:
        return self.tracker is not None and self.tracker.pruned_at is not None


class VirtualClock:
    """V workers, and the trials of a study on them.

    Attributes:
        now: epochs, or steps, since the study began.
        given_up: by number, the epoch or step at which a trial was pruned.
    """

    def __init__(self, workers: int, competition: Competition | None = None) -> None:
        """Args:
        workers: how many.
        competition: by which trials are pruned, no trial entered; None where none is.
        """
        self.now = 0
        self.given_up: dict[int, int] = {}
        self._workers = workers
        self._competition = competition
        steps = competition.steps() if competition is not None else None
        self._rungs = steps[:-1] if steps else []
        self._entries: dict[int, _Entry] = {}
        self._waiting: collections.deque[_Entry] = collections.deque()
        self._running: dict[int, _Entry] = {}
        self._over: set[int] = set()
        # in order of number: whose rungs are not all decided, and whose final value may tell at which rungs to compare
        self._undecided: list[_Entry] = []
        self._unentered: collections.deque[_Entry] = collections.deque()

    # what is known of trials

    def add(self, number: int, length: int, *, since: int = 0, competes: bool = True) -> None:
        """A trial that is to be trained; in order of numbers.

        Args:
            number: of the trial.
            length: epochs, or steps, of all its trainings.
            since: when it was proposed.
            competes: whether it is compared with others at rungs.
        """
        entry = _Entry(number, since, length, competes and bool(self._rungs))
        self._entries[number] = entry
        self._waiting.append(entry)

    def __contains__(self, number: int) -> bool:
        return number in self._entries

    def report(self, number: int, curve: Iterable[tuple[int, float]]) -> None:
        """Values that a trial has really come to under its first seed, (epoch or step, value)."""
        self._entries[number].values.update(curve)

    def end(self, number: int, *, is_sound: bool) -> None:
        """A trial was really trained to an end, and all its values are reported.

        Args:
            number: of the trial.
            is_sound: whether it came to a value at the end of its training, unless it is pruned.
        """
        entry = self._entries[number]
        entry.has_ended, entry.is_sound = True, is_sound

    def reopen(self, number: int) -> None:
        """A trial will be trained again."""
        self._entries[number].has_ended = False

    # what follows from it

    def is_over(self, number: int) -> bool:
        """Whether a trial has ended by now, so that proposals may know of it."""
        return number in self._over

    def is_decided(self, number: int) -> bool:
        """Whether it is known if a trial is pruned; it is of one that competes with none."""
        return self._entries[number].end is not None or not self._entries[number].competes

    def tracker(self, number: int) -> RungTracker | None:
        """What the pruner says of a trial; None where it says nothing of it."""
        return self._entries[number].tracker

    def curve(self, number: int) -> list[tuple[int, float]]:
        """What is known of a trial's values, (epoch or step, value)."""
        return sorted(self._entries[number].values.items())

    @property
    def is_busy(self) -> bool:
        """Whether any worker has a trial."""
        return bool(self._running or self._waiting)

    def advance(self) -> int:
        """Let time pass until a worker has nothing to do, or until it is not known what comes next.

        Returns:
            How many workers wait for a trial to be proposed.
        """
        while True:
            self._begin()
            self.decide()
            if not self._waiting and len(self._running) < self._workers:
                return self._workers - len(self._running)
            if not self._step():
                return 0

    def let_pass(self) -> bool:
        """Nothing is proposed now: let time pass until a trial ends; False where none does, or it is not known."""
        self.decide()
        return bool(self._running) and self._step()

    def decide(self) -> None:
        """Decide at each rung on those of which all is known, in order of numbers: that is the order of time.

        All trials train alike, so whoever began first is first at each rung.
        """
        lowest = math.inf  # rung to which all with smaller numbers have been decided
        kept = []
        for entry in self._undecided:
            while entry.end is None and entry.rung < lowest and self._decide(entry):
                pass
            if entry.end is None:
                lowest = min(lowest, entry.rung)
                kept.append(entry)
        self._undecided = kept

    def _begin(self) -> None:
        """Free workers take what waits, as soon as it was proposed."""
        while self._waiting and len(self._running) < self._workers:
            entry = self._waiting[0]
            if entry.since > self.now:
                if self._running:
                    return
                self.now = entry.since
            self._waiting.popleft()
            entry.start = self.now
            self._running[entry.number] = entry
            if entry.competes and self._competition is not None:
                entry.tracker = self._competition.track(entry.number, self.now)
                self._undecided.append(entry)
                self._unentered.append(entry)
            else:
                entry.end = self.now + entry.length

    def _step(self) -> bool:
        """The next end, or False where it is not known whose that is; ends at one moment are in order of number."""
        entry = min(self._running.values(), key=lambda one: (self._earliest_end(one), one.number))
        if entry.end is None or not (entry.has_ended or entry.is_pruned):
            return False
        self.now = entry.end
        del self._running[entry.number]
        self._over.add(entry.number)
        return True

    def _earliest_end(self, entry: _Entry) -> int:
        if entry.end is not None:
            return entry.end
        assert entry.start is not None
        return entry.start + self._rungs[entry.rung]

    def _decide(self, entry: _Entry) -> bool:
        """Decide on a trial at its next rung; False where that cannot be done yet."""
        assert entry.start is not None
        assert entry.tracker is not None
        assert self._competition is not None
        step = self._rungs[entry.rung]
        value = entry.values.get(step)
        if value is None:
            if not entry.has_ended:
                return False
            if (
                not entry.is_sound
            ):  # it failed on the way: that is known where it would have come to the rung
                entry.end = entry.start + step
                return True
        elif not self._is_open_known(entry, entry.start + step):
            return False
        else:
            before = len(entry.tracker.values)
            entry.tracker.report(step, value)
            for rung in range(before, len(entry.tracker.values)):  # none of an exempt trial
                self._competition.enter_value(rung, value)
            if entry.is_pruned:
                entry.end = entry.start + step
                self.given_up[entry.number] = step
                return True
        entry.rung += 1
        if entry.rung == len(self._rungs):
            entry.end = entry.start + entry.length
        return True

    def _is_open_known(self, entry: _Entry, at: int) -> bool:
        """Whether it is known if trials are compared by then, which those tell that have ended by then."""
        assert self._competition is not None
        self._enter_ends()
        if self._competition.is_known:
            return True
        earlier = [
            one
            for one in self._unentered
            if one.number < entry.number and one.start is not None and one.start + one.length <= at
        ]
        return not self._competition.may_be_known(len(earlier))

    def _enter_ends(self) -> None:
        """Final values, in order of number: that is the order in which trials come to their end."""
        assert self._competition is not None
        while self._unentered and not self._competition.is_known:
            entry = self._unentered[0]
            if entry.end is None or not (entry.has_ended or entry.is_pruned):
                return
            self._unentered.popleft()
            final = self._competition.end
            if entry.tracker is not None and final in entry.values and not entry.is_pruned:
                entry.tracker.report(final, entry.values[final])
                assert entry.start is not None
                self._competition.enter_end(entry.tracker, entry.start + entry.length)
