"""One call of optimize: propose, screen, hand out, write down."""

from __future__ import annotations

import contextlib
import dataclasses
import logging
import statistics
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import datetime

from actsearch.errors import StorageError, StudyError
from actsearch.evaluation import LARGEST_STACK, Objective, make_subject
from actsearch.execution import Executor, Job, Local, Work
from actsearch.records import Curve, Outcome, StudyRecord, TrialRecord, TrialState
from actsearch.screening import sample_curves
from actsearch.seeds import seed_list
from actsearch.storage import Lease, Storage
from actsearch.strategies import SiteGroups, Space
from actsearch.study.alarms import describe_equal_values
from actsearch.study.baseline import ATTRIBUTE, baseline_label, missing_baseline
from actsearch.study.directions import is_timed, resolve_objectives, study_objectives
from actsearch.study.forecast import describe_gain, log_forecast
from actsearch.study.history import History
from actsearch.study.limits import Limits
from actsearch.study.preparation import (
    read_competition,
    resolve_direction,
    task_differences,
)
from actsearch.study.progress import Progress, announce
from actsearch.study.proposing import Proposer, check_strategy
from actsearch.study.rate import (
    RATE,
    adapt_rate,
    choose_rate,
    may_choose_rate,
    stored_rate,
    unfinished_scores,
)
from actsearch.study.rate_sweep import RateSweep
from actsearch.study.site_groups import SITE_GROUPS, StudyGroups
from actsearch.study.stopping import StopSignals
from actsearch.training.pace import following

__all__ = ["Driver"]

_log = logging.getLogger("actsearch")

_IDLE_PROPOSALS = 200  # so many in a row without a trained one end the call
_SAME_FAILURES = 10  # so many first trials that fail for one reason: the objective is wrong

Listener = Callable[[TrialRecord], None]


class Driver:
    """Drives one study through one call of optimize; the only writer of its trials meanwhile."""

    def __init__(
        self,
        storage: Storage,
        study: StudyRecord,
        objective: Objective,
        executor: Executor | None,
        should_stop: Callable[[], bool],
    ) -> None:
        self._storage = storage
        self._study = study
        self._subject = make_subject(objective)
        self._executor = executor or Local()
        self._should_stop = should_stop
        self._signals = StopSignals(study.name, self._executor)
        self._lease: Lease = storage.lease(study)
        self._history = History(study.direction)
        self._trained = 0
        self._idle = 0
        self._has_told_gain = False
        self._deadline: float | None = None  # of the monotonic clock
        self._each: float | None = None  # seconds of a trial
        self._groups = StudyGroups(SiteGroups.shared(), {})

    def prepare(self, *, accept_changed_task: bool) -> StudyRecord:
        """Check the objective against the study, and write down direction and task the first time."""
        self._study = self._storage.study(self._study.name)  # another process may have set them
        direction = resolve_direction(self._study, self._subject)
        several = resolve_objectives(self._study, self._subject)
        described = self._subject.describe()
        self._subject.check()
        self._groups = StudyGroups.of(Space.from_json(self._study.space), self._subject)
        attrs = dict(self._study.user_attrs)
        if self._groups.groups != SiteGroups.shared():
            if (known := attrs.get(SITE_GROUPS)) is not None:
                self._groups.check_same(known, self._study.name)
            attrs[SITE_GROUPS] = self._groups.to_json()
        check_strategy(
            dataclasses.replace(self._study, direction=direction), self._groups, self._subject
        )
        changes = dict[str, object](several)
        if self._study.direction is None:
            changes["direction"] = direction
        if self._study.task is None:
            changes["task"] = described
            named = dataclasses.replace(
                self._study, objectives=tuple(several.get("objectives", ()))
            )
            if label := baseline_label(named, self._subject):
                attrs[ATTRIBUTE] = label
            if may_choose_rate(self._subject):
                attrs[RATE] = {}
        elif different := task_differences(self._study.task, described):
            self._accept(different, accept_changed_task)
            changes["task"] = described
            attrs = adapt_rate(attrs, self._study, described, self._subject)
            attrs["task_changes"] = [*attrs.get("task_changes", []), different]
        if attrs != dict(self._study.user_attrs):
            changes["user_attrs"] = attrs
        if changes:
            with self._holding():
                self._storage.update_study(self._study.id, self._lease, **changes)
            self._study = self._storage.study(self._study.name)
        return self._study

    def _accept(self, different: Sequence[str], accept: bool) -> None:
        lines = "\n  ".join(different)
        if not accept:
            raise StudyError(
                f"the task differs from the one of study {self._study.name!r}, so values would not compare; "
                f"make a new study, or say task_changed='accept':\n  {lines}"
            )
        _log.warning("study %s goes on with a changed task:\n  %s", self._study.name, lines)

    def run(self, limits: Limits, listeners: Sequence[Listener], show_progress: bool) -> None:
        """Train trials until a limit is reached, or a signal came: that is then handed on."""
        self._drive(limits, listeners, show_progress)
        self._signals.pass_on()

    def _drive(self, limits: Limits, listeners: Sequence[Listener], show_progress: bool) -> None:
        with self._holding(), self._executor:
            self._read_history()
            left = limits.remaining(0, self._history.trained)
            if left == 0:
                return
            self._lease.publish_goal(limits.run_goal(left, self._history.trained))
            for remark in self._proposer.remarks():
                _log.warning("study %s: %s", self._study.name, remark)
            self._executor.open(self._work)
            log_forecast(
                self._study, self._subject, len(self._work.seeds), left,
                lambda: self._executor.forecast_seconds(self._work),
            )  # fmt: skip
            with Progress(self._study.name, left, show_progress) as progress, self._signals:
                self._loop(limits, listeners, progress)
            if self._trained and (failed := self._all_failed()):
                _log.warning(
                    "study %s: all %d trials failed, the last one: %s",
                    self._study.name, len(failed), failed[-1].reason,
                )  # fmt: skip
            if self._trained and (
                text := describe_equal_values(self._history, self._subject.metric)
            ):
                _log.warning("study %s: %s", self._study.name, text)

    @contextlib.contextmanager
    def _holding(self) -> Iterator[None]:
        """Hold the lease; where something went wrong, giving it back may fail as well, and that is not what to say."""
        self._lease.acquire()
        try:
            yield
        except BaseException:
            with contextlib.suppress(StorageError):
                self._lease.release()
            raise
        self._lease.release()

    def _read_history(self) -> None:
        trials = self._storage.trials(self._study.id)
        self._history = History(self._study.direction, trials)
        if seconds := [trial.seconds for trial in trials if trial.state is TrialState.COMPLETE]:
            self._each = statistics.median(seconds)
        own = {trial.number for trial in self._history if trial.candidate.is_baseline}
        self._proposer = Proposer(self._study, self._groups, self._subject)
        self._work = Work(
            self._subject,
            tuple(self._seeds()),
            read_competition(self._storage, self._study, self._subject, own),
            study_objectives(self._study),
            int(self._study.user_attrs.get("largest_stack", LARGEST_STACK)),
            stored_rate(self._study, self._subject),
        )
        if is_timed(self._study) and not self._history.trained:
            _log.warning(
                "study %s measures time: another run with the same seed will not make the same trials",
                self._study.name,
            )

    def _choose_rate(self, progress: Progress) -> None:
        """Try learning rates with the model unchanged, where that is wanted and was not done."""
        known = self._study.user_attrs.get(RATE)
        if not isinstance(known, dict) or "used" in known:
            return
        progress.clear()
        sweep = RateSweep(
            self._executor,
            dataclasses.replace(self._work, competition=None, objectives=None),
            unfinished_scores(self._study),
            store=lambda scores: self._set_attribute(RATE, {"unfinished": scores}),
            is_over=self._is_over,
            counts=self._counts,
        )
        chosen = choose_rate(self._subject, self._study, self._work.seeds[0], sweep.train)
        if chosen is None:
            return  # the loop ends as well
        self._set_attribute(RATE, chosen)
        lr = stored_rate(self._study, self._subject)
        self._work = dataclasses.replace(self._work, lr=lr)

    def _loop(self, limits: Limits, listeners: Sequence[Listener], progress: Progress) -> None:
        if limits.timeout is not None:
            self._deadline = time.monotonic() + limits.timeout
        self._choose_rate(progress)
        while not self._is_over():
            left = limits.remaining(self._trained, self._history.trained)
            if left == 0:
                return
            if not (waiting := self._history.waiting):
                if not self._read_enqueued() and not self._propose():
                    return
                continue
            ready = [trial for trial in self._screen_enqueued(waiting) if trial.state.is_open]
            if ready:
                allowed = self._in_time(ready[:left])
                together = self._batch(allowed)
                if together > 1 and not self._has_told_gain and self._subject.stack_gain > 1:
                    self._has_told_gain = True
                    text = describe_gain(self._study, self._subject, self._each, left)
                    announce(text, progress.is_shown)
                self._train(allowed[:together], listeners, progress)

    def _is_over(self) -> bool:
        """Whether nothing more is to be started, whatever is left."""
        is_late = self._deadline is not None and time.monotonic() >= self._deadline
        return is_late or self._should_stop() or self._signals.number is not None

    def _in_time(self, ready: Sequence[TrialRecord]) -> Sequence[TrialRecord]:
        """Those that are expected to end in time, at least one: a pass in which many train cannot be ended early."""
        if self._deadline is None or not isinstance(self._executor, Local):
            return ready
        if self._each is None:
            return ready[:1]  # which shows how long it takes
        most = (self._deadline - time.monotonic()) / max(self._each, 1e-9)
        return ready[: max(1, int(min(most, len(ready))))]

    def _batch(self, ready: Sequence[TrialRecord]) -> int:
        """How many of the trials that may be trained are trained, and stored, together."""
        jobs = [Job(trial.number, trial.candidate) for trial in ready]
        return self._executor.batch_for(jobs, self._work)

    # proposing

    def _read_enqueued(self) -> bool:
        """Trials that were enqueued since this call of optimize began; whether there are any."""
        trials = self._storage.trials(self._study.id, since=self._history.first_unknown)
        new = [trial for trial in trials if trial.number not in self._history]
        self._take(new)
        return bool(new)

    def _take(self, trials: Iterable[TrialRecord]) -> None:
        for trial in trials:
            self._history.put(trial)

    def _propose(self) -> bool:
        """One logical batch, stored whole, the first with the model unchanged; False when no more is to be expected."""
        if new := missing_baseline(self._study, self._history):
            self._take(self._storage.add_trials(self._study.id, new, self._lease))
        records = self._proposer.propose(self._history)
        if not records:
            _log.warning("study %s: the strategy has nothing more to propose", self._study.name)
            return False
        stored = self._storage.add_trials(self._study.id, records, self._lease, _curves(records))
        self._take(stored)
        if any(trial.state.is_open for trial in stored):
            self._idle = 0
            return True
        self._idle += len(stored)
        if self._idle >= _IDLE_PROPOSALS:
            _log.warning(
                "study %s: %d proposals in a row were refused or known already; "
                "widen the space or change the strategy",
                self._study.name, self._idle,
            )  # fmt: skip
            return False
        return True

    def _screen_enqueued(self, waiting: Sequence[TrialRecord]) -> list[TrialRecord]:
        """Trials that a user enqueued are screened when their turn comes."""
        screened = []
        for trial in waiting:
            if not trial.fingerprint:
                trial = self._proposer.screen_enqueued(trial, self._history)
                self._storage.screen_trial(self._study.id, trial, self._lease, _curves([trial]))
                self._history.put(trial)
            screened.append(trial)
        return screened

    # training

    def _seeds(self) -> list[int]:
        """The study's seeds: the same for every trial."""
        wanted = self._subject.seeds
        if isinstance(wanted, int):
            return seed_list(self._study.seed, "search", wanted)
        return [int(seed) for seed in wanted]

    def _train(
        self, trials: Sequence[TrialRecord], listeners: Sequence[Listener], progress: Progress
    ) -> None:
        """What the executor takes together: marked RUNNING, trained, and stored as it ends."""
        open_trials = {trial.number: trial for trial in trials}
        started = self._storage.start_trials(self._study.id, list(open_trials), self._lease)
        jobs = [Job(trial.number, trial.candidate) for trial in trials]
        # closed also on an exception, whose traceback would keep it, and its processes, alive
        with (
            following(progress.follow),
            contextlib.closing(self._executor.run(jobs, self._work)) as answers,
        ):
            for part in answers:
                outcomes = {
                    j.number: outcome for j, outcome in part.outcomes if self._counts(outcome)
                }
                self._keep_largest_stack(part.largest_stack)
                ended = [open_trials.pop(number) for number in outcomes]
                if ended:
                    self._store(ended, outcomes, started, listeners, progress)
                if self._is_over():
                    self._executor.stop()
        if open_trials:  # the executor was stopped
            self._storage.put_back_trials(self._study.id, list(open_trials), self._lease)

    def _counts(self, outcome: Outcome) -> bool:
        """Whether a trial ended by itself: a signal may have ended processes that it needed as well."""
        return self._signals.number is None or outcome.state is not TrialState.FAILED

    def _store(
        self,
        trials: Sequence[TrialRecord],
        outcomes: Mapping[int, Outcome],
        started: datetime,
        listeners: Sequence[Listener],
        progress: Progress,
    ) -> None:
        """What ended together, in one transaction."""
        completed = self._storage.finish_trials(self._study.id, outcomes, self._lease)
        for trial in trials:
            outcome = outcomes[trial.number]
            ended = dataclasses.replace(
                trial,
                state=outcome.state,
                value=outcome.value,
                values=outcome.values,
                spread=outcome.spread,
                reason=outcome.reason,
                seconds=outcome.seconds,
                user_attrs={**trial.user_attrs, **outcome.user_attrs},
                started=started,
                completed=completed,
            )
            self._history.put(ended)
            self._trained += 1
            if ended.candidate.is_baseline and ended.state is TrialState.FAILED:
                _log.warning(
                    "study %s: your model unchanged could not be trained: %s",
                    self._study.name,
                    ended.reason,
                )
            progress.advance(ended, self._history.best)
            for listener in listeners:
                listener(ended)
                self._lease.check_process()  # it may have forked, with nothing left to be written that would tell
        # of those that ended last: more in one pass take less each
        self._each = statistics.median(outcome.seconds for outcome in outcomes.values())
        self._check_failures(len(outcomes))

    def _keep_largest_stack(self, size: int) -> None:
        """Write down that a stack ran out of memory and is smaller from now on, also when the study is resumed."""
        if size >= self._work.largest_stack:
            return
        self._set_attribute("largest_stack", size)
        self._work = dataclasses.replace(self._work, largest_stack=size)

    def _set_attribute(self, name: str, value: object) -> None:
        attrs = {**self._study.user_attrs, name: value}
        self._storage.update_study(self._study.id, self._lease, user_attrs=attrs)
        self._study = dataclasses.replace(self._study, user_attrs=attrs)

    def _check_failures(self, latest: int) -> None:
        """An objective that fails whatever it is given is wrong; the failures are stored all the same."""
        count = self._history.trained
        if not count - latest < _SAME_FAILURES <= count:
            return
        failed = self._all_failed()
        reasons = {trial.reason for trial in failed}
        if len(reasons) == 1:
            raise StudyError(
                f"the first {len(failed)} trials of study {self._study.name!r} all failed in the same way: "
                f"{reasons.pop()}; fix the objective and start a new study"
            )

    def _all_failed(self) -> list[TrialRecord]:
        """The trials that were trained, if every one of them failed."""
        trained = [trial for trial in self._history if trial.state.is_trained]
        return trained if all(trial.state is TrialState.FAILED for trial in trained) else []


def _curves(trials: Iterable[TrialRecord]) -> dict[bytes, Curve]:
    """The functions of the trials that are to be trained, as the dashboard draws them."""
    return sample_curves(trial.candidate for trial in trials if trial.state.is_open)
