"""One call of optimize: propose, screen, hand out, write down."""

from __future__ import annotations

import contextlib
import logging
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace

from actsearch.errors import StorageError, StudyError
from actsearch.evaluation import LARGEST_STACK, Objective, make_subject
from actsearch.execution import Executor, Job, Local, Work
from actsearch.records import Outcome, StudyRecord, TrialRecord, TrialState
from actsearch.seeds import seed_list
from actsearch.storage import Lease, Storage
from actsearch.strategies import SiteGroups, Space
from actsearch.study.alarms import all_failed, check_failures, describe_equal_values
from actsearch.study.baseline import ATTRIBUTE, baseline_label
from actsearch.study.directions import is_timed, resolve_objectives, study_objectives
from actsearch.study.forecast import describe_gain, log_forecast, log_workers
from actsearch.study.held import describe_held, read_held, without_held
from actsearch.study.history import History
from actsearch.study.intake import Intake
from actsearch.study.limits import Limits
from actsearch.study.preparation import (
    make_competition,
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
from actsearch.study.trial_times import TrialTimes
from actsearch.study.virtual_flow import VirtualFlow, check_clock
from actsearch.training.pace import following

__all__ = ["Driver"]

_log = logging.getLogger("actsearch")

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
        self._has_told_gain = self._is_alone = False
        self._deadline: float | None = None  # of the monotonic clock
        self._times = TrialTimes()
        self._groups = StudyGroups(SiteGroups.shared(), {})
        self._flow: VirtualFlow | None = None
        self._training: dict[int, TrialRecord] = {}  # what was handed out and is not stored yet
        self._held: dict[int, Outcome] = {}  # what ended and is not decided on

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
        check_strategy(replace(self._study, direction=direction), self._groups, self._subject)
        changes = dict[str, object](several)
        if self._study.direction is None:
            changes["direction"] = direction
        if self._study.task is None:
            changes["task"] = described
            named = replace(self._study, objectives=tuple(several.get("objectives", ())))
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
                lambda: self._executor.forecast_seconds(self._work), self._workers,
            )  # fmt: skip
            log_workers(
                self._study,
                self._proposer.parallel,
                lambda: self._proposer.batch_size(self._history),
                self._workers,
            )
            with Progress(self._study.name, left, show_progress) as progress, self._signals:
                self._loop(limits, listeners, progress)
            if self._trained and (failed := all_failed(self._history)):
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
        self._times = TrialTimes(trials)
        self._proposer = Proposer(self._study, self._groups, self._subject)
        self._intake = Intake(
            self._storage, self._study, self._lease, self._history, self._proposer
        )
        self._held = read_held(self._storage, self._study, self._history.waiting)
        seeds = tuple(self._seeds())
        self._flow = self._replay(seeds)
        own = {trial.number for trial in self._history if trial.candidate.is_baseline}
        self._work = Work(
            self._subject,
            seeds,
            make_competition(self._study, self._subject)
            if self._flow is not None
            else read_competition(self._storage, self._study, self._subject, own),
            study_objectives(self._study),
            int(self._study.user_attrs.get("largest_stack", LARGEST_STACK)),
            stored_rate(self._study, self._subject),
            self._flow,
        )
        if is_timed(self._study) and not self._history.trained:
            _log.warning(
                "study %s measures time: another run with the same seed will not make the same trials",
                self._study.name,
            )

    def _replay(self, seeds: Sequence[int]) -> VirtualFlow | None:
        """With ``parallel``, the virtual clock as it stood after the stored trials."""
        workers = self._proposer.parallel
        if workers is None:
            return None
        competition = make_competition(self._study, self._subject)
        check_clock(competition)
        flow = VirtualFlow(workers, self._history, self._subject, seeds, competition)
        flow.take = self._take_more
        self._intake.flow = flow
        for trial in self._history.waiting:
            self._intake.screen(trial)
        steps = competition.steps() if competition is not None else ()
        curves = self._storage.curves(self._study.id, steps) if competition is not None else {}
        flow.replay(list(self._history), curves)
        return flow

    def _choose_rate(self, progress: Progress) -> None:
        """Try learning rates with the model unchanged, where that is wanted and was not done."""
        known = self._study.user_attrs.get(RATE)
        if not isinstance(known, dict) or "used" in known:
            return
        progress.clear()
        sweep = RateSweep(
            self._executor,
            replace(self._work, competition=None, objectives=None, flow=None),
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
        self._work = replace(self._work, lr=lr)

    def _loop(self, limits: Limits, listeners: Sequence[Listener], progress: Progress) -> None:
        if limits.timeout is not None:
            self._deadline = time.monotonic() + limits.timeout
        self._limits, self._listeners, self._progress = limits, listeners, progress
        self._choose_rate(progress)
        self._take_up_held()
        while not self._is_over():
            left = self._count_left()
            ready = None if left == 0 else self._intake.find_ready(left, self._training)
            if ready is None and not self._training:
                return
            if ready is None:
                self._put_back()  # what was taken up hangs on more than is left
            elif ready:
                allowed = self._in_time(ready[:left])
                together = self._batch(allowed)
                if together > 1 and not self._has_told_gain and self._subject.stack_gain > 1:
                    self._has_told_gain = True
                    each = self._times.together(self._subject.stack_gain)
                    text = describe_gain(self._study, self._subject, each, left, self._workers)
                    announce(text, progress.is_shown)
                self._train(allowed[:together])
        self._put_back()

    def _is_over(self) -> bool:
        """Whether nothing more is to be started, whatever is left."""
        is_late = self._deadline is not None and time.monotonic() >= self._deadline
        return is_late or self._should_stop() or self._signals.number is not None

    @property
    def _workers(self) -> int:
        """Of the executor: passes that run side by side."""
        return int(getattr(self._executor, "count", 1))

    def _in_time(self, ready: Sequence[TrialRecord]) -> Sequence[TrialRecord]:
        """Those that are expected to end in time, at least one: a pass in which many train cannot be ended early."""
        if self._deadline is None or not isinstance(self._executor, Local):
            return ready
        return self._times.fitting(ready, self._deadline - time.monotonic())

    def _batch(self, ready: Sequence[TrialRecord]) -> int:
        """How many of the trials that may be trained are trained, and stored, together."""
        jobs = [Job(trial.number, trial.candidate) for trial in ready]
        return self._executor.batch_for(jobs, self._work)

    # training

    def _seeds(self) -> list[int]:
        """The study's seeds: the same for every trial."""
        wanted = self._subject.seeds
        if isinstance(wanted, int):
            return seed_list(self._study.seed, "search", wanted)
        return [int(seed) for seed in wanted]

    def _train(self, trials: Sequence[TrialRecord]) -> None:
        """What the executor takes together: marked RUNNING, trained, and stored as it ends."""
        jobs = self._hand_out(trials)
        self._is_alone = len(jobs) == 1 and self._flow is None
        # closed also on an exception, whose traceback would keep it, and its processes, alive
        with (
            following(self._progress.follow),
            contextlib.closing(self._executor.run(jobs, self._work)) as answers,
        ):
            for part in answers:
                ended = {
                    j.number: outcome for j, outcome in part.outcomes if self._counts(outcome)
                }
                self._keep_largest_stack(part.largest_stack)
                held = {j.number: outcome for j, outcome in part.held if self._counts(outcome)}
                if self._flow is not None:
                    self._flow.end(ended)
                    new, ended = ended.keys(), self._flow.settle()
                    held = {n: one for n, one in self._flow.undecided.items() if n in new}
                self._store(ended)
                self._hold(held)
                if self._is_over():
                    self._executor.stop()
        self._put_back()

    def _put_back(self) -> None:
        """Let trials wait again that were stopped, or whose decision hangs on such."""
        if self._flow is not None:
            self._flow.forget()
        if self._training:
            self._storage.put_back_trials(self._study.id, list(self._training), self._lease)
            self._training = {}

    def _count_left(self) -> int | None:
        """How many more trials may be handed out; None for no limit on their number."""
        busy = len(self._training)
        return self._limits.remaining(self._trained + busy, self._history.trained + busy)

    def _hand_out(self, trials: Sequence[TrialRecord]) -> list[Job]:
        """Mark trials RUNNING, and make them jobs."""
        numbers = [trial.number for trial in trials]
        started = self._storage.start_trials(self._study.id, numbers, self._lease)
        self._training |= {trial.number: replace(trial, started=started) for trial in trials}
        return [
            Job(trial.number, trial.candidate, known=self._held.get(trial.number))
            for trial in trials
        ]

    def _take_more(self) -> list[Job]:
        """With ``parallel``, jobs for an executor whose workers are free while others train."""
        assert self._flow is not None
        self._store(self._flow.settle())
        if self._is_over():
            return []
        left = self._count_left()
        if left == 0:
            return []
        ready = self._intake.find_ready(left, self._training)
        return self._hand_out(ready) if ready else []

    def _counts(self, outcome: Outcome) -> bool:
        """Whether a trial ended by itself: a signal may have ended processes that it needed as well."""
        return self._signals.number is None or outcome.state is not TrialState.FAILED

    def _hold(self, outcomes: Mapping[int, Outcome]) -> None:
        """Keep what ended and is not decided on, in one transaction."""
        if outcomes:
            described = {n: describe_held(self._study, one) for n, one in outcomes.items()}
            self._storage.hold_trials(self._study.id, outcomes, described, self._lease)
            self._held |= outcomes

    def _take_up_held(self) -> None:
        """With ``parallel``, let the clock know what an earlier driver has trained and not decided on."""
        if self._flow is None or not self._held:
            return
        left = self._count_left()
        known = [one for one in self._history.waiting[:left] if one.number in self._held]
        self._hand_out(known)
        self._flow.end({trial.number: self._held[trial.number] for trial in known})
        self._store(self._flow.settle())

    def _store(self, outcomes: Mapping[int, Outcome]) -> None:
        """What ended together, in one transaction."""
        if not outcomes:
            return
        completed = self._storage.finish_trials(self._study.id, outcomes, self._lease)
        for number, outcome in outcomes.items():
            trial = self._training.pop(number)
            self._held.pop(number, None)
            ended = replace(
                trial,
                state=outcome.state,
                value=outcome.value,
                values=outcome.values,
                spread=outcome.spread,
                reason=outcome.reason,
                seconds=outcome.seconds,
                user_attrs={**without_held(trial.user_attrs), **outcome.user_attrs},
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
            self._progress.advance(ended, self._history.best)
            for listener in self._listeners:
                listener(ended)
                self._lease.check_process()  # it may have forked, with nothing left to be written that would tell
        self._times.note(outcomes.values(), is_alone=self._is_alone)
        check_failures(self._study.name, self._history, len(outcomes))

    def _keep_largest_stack(self, size: int) -> None:
        """Write down that a stack ran out of memory and is smaller from now on, also when the study is resumed."""
        if size >= self._work.largest_stack:
            return
        self._set_attribute("largest_stack", size)
        self._work = replace(self._work, largest_stack=size)

    def _set_attribute(self, name: str, value: object) -> None:
        attrs = {**self._study.user_attrs, name: value}
        self._storage.update_study(self._study.id, self._lease, user_attrs=attrs)
        self._study = replace(self._study, user_attrs=attrs)
