"""One call of optimize: propose, screen, hand out, write down."""

from __future__ import annotations

import contextlib
import dataclasses
import logging
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from typing import Literal, cast

from torch import Tensor

from actsearch.errors import ActsearchError, StorageError, StudyError
from actsearch.evaluation import Evaluator
from actsearch.evaluation.evaluate import ObjectiveCallable
from actsearch.evaluation.stacked import LARGEST_STACK
from actsearch.execution import Executor, Job, Local, Work
from actsearch.records import CandidateRecord, Curve, Outcome, StudyRecord, TrialRecord, TrialState
from actsearch.screening import Identity, identify, samples_of, screen
from actsearch.seeds import seed_list
from actsearch.storage import Lease, Storage
from actsearch.strategies import Context, SiteGroups, Space, make_strategy
from actsearch.study import preparation
from actsearch.study.directions import objectives_of, settled
from actsearch.study.history import History, readable
from actsearch.study.limits import Limits
from actsearch.study.progress import Progress
from actsearch.study.site_groups import SITE_GROUPS, StudyGroups
from actsearch.study.stopping import StopSignals
from actsearch.task import Task

__all__ = ["Driver"]

_log = logging.getLogger("actsearch")

_IDLE_PROPOSALS = 200  # so many in a row without a trained one end the call
_VERDICT = 343  # trainings of a confirmation as it is by default, three to four learning rates for each seed
_SAME_FAILURES = 10  # so many first trials that fail in one way mean that the objective is wrong

Listener = Callable[[TrialRecord], None]


class Driver:
    """Drives one study through one call of optimize; the only writer of its trials meanwhile."""

    def __init__(
        self,
        storage: Storage,
        study: StudyRecord,
        objective: ObjectiveCallable,
        executor: Executor | None,
        should_stop: Callable[[], bool],
    ) -> None:
        self._storage = storage
        self._study = study
        self._objective = objective
        self._executor = executor or Local()
        self._should_stop = should_stop
        self._signals = StopSignals(study.name, self._executor)
        self._lease: Lease = storage.lease(study)
        self._history = History(study.direction)
        self._trained = 0
        self._idle = 0
        self._deadline: float | None = None  # of the monotonic clock
        self._groups = StudyGroups(SiteGroups.shared(), {})
        self._samples: dict[str, list[Tensor]] = {}
        self._work = Work(Evaluator(objective), tuple(self._seeds()))

    def prepare(self, *, accept_changed_task: bool) -> StudyRecord:
        """Check the objective against the study, and write down direction and task the first time."""
        self._study = self._storage.study(self._study.name)  # another process may have set them
        direction = preparation.resolved_direction(self._study, self._objective)
        several = settled(self._study, self._objective)
        described = preparation.describe_objective(self._objective)
        if isinstance(self._objective, Task):
            preparation.check_model(self._objective)
        self._groups = StudyGroups.of(Space.from_json(self._study.space), self._objective)
        attrs = dict(self._study.user_attrs)
        if self._groups.groups != SiteGroups.shared():
            if (known := attrs.get(SITE_GROUPS)) is not None:
                self._groups.check_same(known, self._study.name)
            attrs[SITE_GROUPS] = self._groups.to_json()
        changes = dict[str, object](several)
        if self._study.direction is None:
            changes["direction"] = direction
        if self._study.task is None:
            changes["task"] = described
        elif different := preparation.task_differences(self._study.task, described):
            self._accept(different, accept_changed_task)
            changes["task"] = described
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
        with self._holding(), contextlib.closing(self._executor):
            self._read_history()
            left = limits.remaining(0, self._history.trained)
            if left == 0:
                return
            self._lease.publish_goal(limits.run_goal(left, self._history.trained))
            self._say_forecast(left)
            with Progress(self._study.name, left, show_progress) as progress, self._signals:
                self._loop(limits, listeners, progress)

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
        self._samples = preparation.group_samples(self._objective, self._groups.sites)
        self._dtype = preparation.training_dtype(self._objective)
        if (stacker := self._work.evaluator.stacker) is not None:
            stacker.largest = self._largest_stack()
        self._work.evaluator.objectives = objectives_of(self._study)
        if "latency" in self._study.objectives and not self._history.trained:
            _log.warning(
                "study %s measures time: another run with the same seed will not make the same trials",
                self._study.name,
            )
        self._work.evaluator.competition = preparation.competition(
            self._storage, self._study, self._objective
        )

    def _say_forecast(self, count: int | None) -> None:
        if (
            not isinstance(self._objective, Task)
            or not count
            or not _log.isEnabledFor(logging.INFO)
        ):
            return
        each = preparation.forecast_seconds(self._objective)
        seconds = each * len(self._seeds())
        _log.info(
            "study %s: one at a time about %.2g s a trial, %.0f an hour, %d trials in about %.0f s; "
            "a verdict over 5 finalists with 10 seeds in about %.0f s",
            self._study.name, seconds, 3600 / seconds, count, seconds * count, each * _VERDICT,
        )  # fmt: skip

    def _loop(self, limits: Limits, listeners: Sequence[Listener], progress: Progress) -> None:
        if limits.timeout is not None:
            self._deadline = time.monotonic() + limits.timeout
        while not self._is_over():
            left = limits.remaining(self._trained, self._history.trained)
            if left == 0:
                return
            if not (waiting := self._history.waiting):
                if not self._read_enqueued() and not self._propose():
                    return
                continue
            ready = [trial for trial in self._checked(waiting) if trial.state.is_open]
            if ready:
                allowed = ready[:left]
                self._train(allowed[: self._batch(allowed)], listeners, progress)

    def _is_over(self) -> bool:
        """Whether nothing more is to be started, whatever is left."""
        is_late = self._deadline is not None and time.monotonic() >= self._deadline
        return is_late or self._should_stop() or self._signals.number is not None

    def _batch(self, ready: Sequence[TrialRecord]) -> int:
        """How many of the trials that may be trained are trained, and stored, together."""
        jobs = [Job(trial.number, trial.candidate) for trial in ready]
        return self._executor.batch_for(jobs, self._work)

    # proposing

    def _read_enqueued(self) -> bool:
        """Trials that were enqueued since this call of optimize began; whether there are any."""
        found = self._storage.trials(self._study.id, since=self._history.first_unknown)
        new = [trial for trial in found if trial.number not in self._history]
        self._take(new)
        return bool(new)

    def _take(self, trials: Iterable[TrialRecord]) -> None:
        for trial in trials:
            self._history.put(trial)

    def _propose(self) -> bool:
        """One logical batch, stored whole; False when nothing more is to be expected."""
        history = list(self._history)
        context = Context(
            Space.from_json(self._study.space),
            self._study.seed,
            cast(Literal["maximize", "minimize"], self._study.direction),
            self._groups.groups,
            self._study.directions,
        )
        candidates = self._proposals(history, context)
        if not candidates:
            _log.warning("study %s: the strategy has nothing more to propose", self._study.name)
            return False
        known = self._history.known()
        records: list[TrialRecord] = []
        for candidate in candidates:
            records.append(self._screened(candidate, known, -1 - len(records)))
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

    def _proposals(self, history: list[TrialRecord], context: Context) -> list[CandidateRecord]:
        strategy = make_strategy(self._study.strategy)
        try:
            return strategy.propose(history, strategy.batch_size(history, context), context)
        except (ActsearchError, KeyError, TypeError, ValueError):
            sound = readable(history)
            if len(sound) == len(history):
                raise
            _log.warning(
                "study %s: %d stored trials are no activations and are left out: see actsearch doctor",
                self._study.name, len(history) - len(sound),
            )  # fmt: skip
            return strategy.propose(sound, strategy.batch_size(sound, context), context)

    def _screened(
        self, candidate: CandidateRecord, known: dict[str, int], number: int
    ) -> TrialRecord:
        """A proposal as a trial: refused, a repetition, or waiting to be trained."""
        try:
            identity = identify(self._groups.groups.normalized(candidate))
        except (ActsearchError, RuntimeError, ValueError, TypeError) as error:
            return TrialRecord(
                number, TrialState.REJECTED, candidate, reason=str(error).splitlines()[0]
            )
        if (original := known.get(identity.identity)) is not None:
            return self._trial(TrialState.DUPLICATE, candidate, identity, duplicate_of=original)
        known[identity.identity] = number
        screening = screen(candidate, self._samples, self._dtype)
        if not screening.passed:
            return self._trial(TrialState.REJECTED, candidate, identity, reason=screening.reason)
        return self._trial(TrialState.WAITING, candidate, identity, warnings=screening.warnings)

    @staticmethod
    def _trial(
        state: TrialState,
        candidate: CandidateRecord,
        identity: Identity,
        *,
        reason: str = "",
        warnings: tuple[str, ...] = (),
        duplicate_of: int | None = None,
    ) -> TrialRecord:
        return TrialRecord(
            -1,
            state,
            candidate,
            reason=reason,
            warnings=warnings,
            duplicate_of=duplicate_of,
            fingerprint=identity.identity,
            alias=identity.alias,
            mirror=identity.mirror,
        )

    def _checked(self, waiting: Sequence[TrialRecord]) -> list[TrialRecord]:
        """Trials that a user enqueued are screened when their turn comes."""
        checked = []
        for trial in waiting:
            if not trial.fingerprint:
                known = self._history.known(before=trial.number)
                result = self._screened(trial.candidate, known, trial.number)
                trial = dataclasses.replace(
                    trial,
                    state=result.state,
                    reason=result.reason,
                    warnings=result.warnings,
                    duplicate_of=result.duplicate_of,
                    fingerprint=result.fingerprint,
                    alias=result.alias,
                    mirror=result.mirror,
                )
                self._storage.screen_trial(self._study.id, trial, self._lease, _curves([trial]))
                self._history.put(trial)
            checked.append(trial)
        return checked

    # training

    def _seeds(self) -> list[int]:
        """The study's seeds: the same for every trial."""
        wanted = getattr(self._objective, "seeds", 1)
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
        with contextlib.closing(self._executor.run(jobs, self._work)) as answers:
            for part in answers:
                outcomes = {job.number: outcome for job, outcome in part if self._counts(outcome)}
                ended = [open_trials.pop(number) for number in outcomes]
                if ended:
                    self._store(ended, outcomes, started, listeners, progress)
                if self._is_over():
                    self._executor.stop()
        if open_trials:  # the executor was told to stop
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
        self._note_memory()
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
            progress.advance(ended, self._history.best)
            for listener in listeners:
                listener(ended)
        self._check_failures(len(outcomes))

    def _note_memory(self) -> None:
        """Write down that a stack ran out of memory and is smaller from now on, also when the study is resumed."""
        stacker = self._work.evaluator.stacker
        if stacker is None or stacker.largest >= self._largest_stack():
            return
        attrs = {**self._study.user_attrs, "largest_stack": stacker.largest}
        self._storage.update_study(self._study.id, self._lease, user_attrs=attrs)
        self._study = dataclasses.replace(self._study, user_attrs=attrs)

    def _largest_stack(self) -> int:
        return int(self._study.user_attrs.get("largest_stack", LARGEST_STACK))

    def _check_failures(self, latest: int) -> None:
        """An objective that fails whatever it is given is wrong; the failures are stored all the same."""
        count = self._history.trained
        if not count - latest < _SAME_FAILURES <= count:
            return
        trained = [trial for trial in self._history if trial.state.is_trained]
        reasons = {trial.reason for trial in trained}
        if len(reasons) == 1 and all(trial.state is TrialState.FAILED for trial in trained):
            raise StudyError(
                f"the first {len(trained)} trials of study {self._study.name!r} all failed in the same way: "
                f"{reasons.pop()}; mend the objective and start a new study"
            )


def _curves(trials: Iterable[TrialRecord]) -> dict[bytes, Curve]:
    """The functions of the trials that are to be trained, as the dashboard draws them."""
    return samples_of(trial.candidate for trial in trials if trial.state.is_open)
