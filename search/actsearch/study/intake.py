"""How trials come into a study: proposed by its strategy or enqueued by its user, screened, and stored."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence
from dataclasses import replace

from actsearch.records import Curve, StudyRecord, TrialRecord
from actsearch.screening import sample_curves
from actsearch.storage import Lease, Storage
from actsearch.study.baseline import missing_baseline
from actsearch.study.history import History
from actsearch.study.proposing import Proposer
from actsearch.study.virtual_flow import PROPOSED_AT, VirtualFlow

__all__ = ["Intake"]

_log = logging.getLogger("actsearch")

_IDLE_PROPOSALS = 200  # so many in a row without a trained one end the call


class Intake:
    """Puts new trials into the storage, the history and, with ``parallel``, on the virtual clock.

    Attributes:
        flow: the trials on the virtual clock; None without one.
    """

    def __init__(
        self,
        storage: Storage,
        study: StudyRecord,
        lease: Lease,
        history: History,
        proposer: Proposer,
    ) -> None:
        """Args:
        storage: where they go.
        study: whose.
        lease: of the study, held.
        history: of the study.
        proposer: of the study.
        """
        self.flow: VirtualFlow | None = None
        self._storage = storage
        self._study = study
        self._lease = lease
        self._history = history
        self._proposer = proposer
        self._idle: int | None = None  # proposals in a row that nobody trains; None: to be counted
        self._has_warned = False

    def find_ready(self, most: int | None, busy: Iterable[int]) -> Sequence[TrialRecord] | None:
        """Trials that may be trained next, and maybe none yet; None when no more are to be expected.

        Args:
            most: how many at most, or None; with ``parallel``.
            busy: numbers of those in training; with ``parallel``.
        """
        if self.flow is not None:
            return self.flow.find_ready(most, set(busy), self._fill) or None
        if not (waiting := self._history.waiting):
            return [] if self._read_enqueued() or self._propose() else None
        return [trial for trial in map(self.screen, waiting) if trial.state.is_open]

    def _fill(self, idle: int) -> bool:
        """Find trials for idle workers of the virtual clock; False where there are none now.

        At one moment of the clock that is said once: how often an executor asks must not count.
        """
        if self._read_enqueued():
            return True
        if self._idle is None:
            self._idle = _count_refused(self._history)
        assert self.flow is not None
        last = self._history.last
        at = None if last is None else last.user_attrs.get(PROPOSED_AT)
        if self._idle >= _IDLE_PROPOSALS and at == self.flow.now:
            self._warn_idle()
            return False
        return self._propose(idle)

    def _read_enqueued(self) -> bool:
        """Trials that were enqueued since this call of optimize began; whether there are any."""
        trials = self._storage.trials(self._study.id, since=self._history.first_unknown)
        new = [trial for trial in trials if trial.number not in self._history]
        self._take(new)
        return bool(new)

    def _take(self, trials: Iterable[TrialRecord]) -> None:
        for trial in trials:
            self._history.put(trial)
            if self.flow is not None:
                self.flow.enrol(self.screen(trial, since=self.flow.now))

    def _add(self, records: Sequence[TrialRecord]) -> list[TrialRecord]:
        """Store new trials, and take them up."""
        stored = self._storage.add_trials(self._study.id, records, self._lease, _curves(records))
        if self.flow is not None and stored[0].number > self._history.first_unknown:
            self._read_enqueued()  # something came between, and the clock takes trials in order
        else:
            self._take(stored)
        return stored

    def _propose(self, idle: int | None = None) -> bool:
        """One logical batch, stored whole, the first with the model unchanged; False when no more is to be expected.

        Args:
            idle: with ``parallel``, how many workers of the virtual clock have nothing to do.
        """
        if new := missing_baseline(self._study, self._history):
            self._add(new)
        if self.flow is None or idle is None:
            records = self._proposer.propose(self._history)
        else:
            made = self._proposer.propose(self._history, self.flow.seen(), idle)
            at = {PROPOSED_AT: self.flow.now}
            records = [replace(one, user_attrs={**one.user_attrs, **at}) for one in made]
        if not records:
            self._warn("the strategy has nothing more to propose")
            return False
        stored = self._add(records)
        if any(trial.state.is_open for trial in stored):
            self._idle = 0
            return True
        self._idle = (self._idle or 0) + len(stored)
        if self._idle < _IDLE_PROPOSALS:
            return True
        self._warn_idle()
        return False

    def _warn_idle(self) -> None:
        self._warn(
            f"{self._idle} proposals in a row were refused or known already; widen the space or change the strategy"
        )

    def _warn(self, why: str) -> None:
        """Say why the search ends, once; while trials train on the clock, others may be proposed when these end."""
        if self._has_warned or (self.flow is not None and self.flow.is_busy):
            return
        self._has_warned = True
        _log.warning("study %s: %s", self._study.name, why)

    def screen(self, trial: TrialRecord, since: int = 0) -> TrialRecord:
        """A trial that a user enqueued, screened when its turn comes; others as they are.

        Args:
            trial: which waits, or not.
            since: time on the virtual clock at which it came, where there is one.
        """
        if trial.fingerprint or not trial.state.is_open:
            return trial
        if since:
            trial = replace(trial, user_attrs={**trial.user_attrs, PROPOSED_AT: since})
        trial = self._proposer.screen_enqueued(trial, self._history)
        self._storage.screen_trial(self._study.id, trial, self._lease, _curves([trial]))
        self._history.put(trial)
        return trial


def _count_refused(history: History) -> int:
    """Trials behind the last that was, or will be, trained."""
    trained = (trial.state.is_open or trial.state.is_trained for trial in history.backwards())
    return next((count for count, is_trained in enumerate(trained) if is_trained), 0)


def _curves(trials: Iterable[TrialRecord]) -> dict[bytes, Curve]:
    """The functions of the trials that are to be trained, as the dashboard draws them."""
    return sample_curves(trial.candidate for trial in trials if trial.state.is_open)
