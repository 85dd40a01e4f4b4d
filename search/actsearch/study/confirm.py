"""The steps to a verdict: choose finalists, tune their learning rates, test, compare."""

from __future__ import annotations

import dataclasses
import functools
import logging
import statistics
from collections.abc import Callable, Sequence
from typing import Any, Literal, cast

from actsearch.errors import StudyError
from actsearch.evaluation import Candidate, Objective, make_subject
from actsearch.execution import Executor, Local
from actsearch.records import StudyRecord, TrialRecord, TrialState
from actsearch.report import (
    STOPPED,
    KeptWeights,
    Measured,
    PairedTest,
    Verdict,
    compute_verdict,
    count_comparisons,
    objective_names,
)
from actsearch.seeds import seed_list
from actsearch.storage import Lease, Storage, versions
from actsearch.study.contender import Contender, identity
from actsearch.study.finalists import choose_finalists, gather_pool
from actsearch.study.forecast import WITHOUT_ROWS, describe_power
from actsearch.study.limits import ConfirmLimits
from actsearch.study.preparation import LATER, resolve_direction, task_differences
from actsearch.study.progress import Progress
from actsearch.study.question import Question
from actsearch.study.race import Race, Runner, forecast_race
from actsearch.study.rate import stored_rate
from actsearch.study.rate_grid import RateGrid
from actsearch.study.tested_rows import TestedRows
from actsearch.study.trainings import Stopped, Trainings, VerdictTraining
from actsearch.study.unfinished import Unfinished, activations_json, digest

__all__ = ["Confirmation", "TooEarly"]

_log = logging.getLogger("actsearch")


class TooEarly(StudyError):
    """A limit, or Ctrl-C, ended a verdict before anything was compared."""


class Confirmation:
    """One call of ``study.confirm``."""

    def __init__(
        self,
        storage: Storage,
        study: StudyRecord,
        objective: Objective,
        question: Question,
        limits: ConfirmLimits | None = None,
        tell: Callable[[str], None] | None = None,
        executor: Executor | None = None,
        listen: Callable[[VerdictTraining], bool] = lambda training: False,
    ) -> None:
        """Args:
        storage: where the study is kept.
        study: as it is stored.
        objective: of its search.
        question: what is asked.
        limits: when it ends before the answer is known.
        tell: is told what a reader should know before it ends; the log by default.
        executor: where trainings run; in this process by default.
        listen: is told of each that has ended; whether to end with it.
        """
        self._executor = executor or Local()
        self._listen = listen
        self._question = question
        self._limits = limits or ConfirmLimits()
        self._tell = tell or (lambda text: _log.info("study %s: %s", study.name, text))
        self._subject = make_subject(objective)
        self._subject.check_test()
        self._storage = storage
        self._study = study
        own = question.baseline
        self._baseline = Candidate.baseline() if own is None else Candidate.of(own)
        self._direction = cast(
            Literal["maximize", "minimize"], resolve_direction(study, self._subject)
        )
        self._names = objective_names(study)
        self._sign = 1 if self._direction == "maximize" else -1
        rate = stored_rate(study, self._subject) or self._subject.learning_rate
        if question.lrs and rate is None:
            raise StudyError(
                "lrs= cannot be tried: the rates of training do not follow a learning rate of the objective"
            )
        self._grid = RateGrid(rate, self._sign, question.lrs)
        self._rows = TestedRows(self._subject, question)
        self._looks = self._rows.looks

    @property
    def trainings(self) -> int:
        """How many have ended so far, those of interrupted calls included."""
        return self._trainings.count if hasattr(self, "_trainings") else 0

    def verdict(self, trials: Sequence[TrialRecord], show_progress: bool) -> Verdict:
        """Make the verdict and store it, or read the stored one."""
        self._check_same_task()
        pool = gather_pool(self._study, trials, self._question.top_k, self._direction)
        key = self._key(pool)
        if (stored := self._read_stored(key)) is not None:
            return stored
        self._check_budget(pool, gather_pool(self._study, trials, 1, self._direction))
        self._seconds = self._estimate_seconds(trials)
        shared, tested = self._rows.shared(), self._rows.digest()
        self._rows.check()
        lease = self._storage.lease(self._study)
        lease.acquire()
        try:
            if (stored := self._read_stored(key)) is not None:
                return stored  # another process made it just now
            self._unfinished = Unfinished(
                self._storage, self._study, key, self._subject.device_type, lease
            )
            lease.publish_goal(self._limits.run_goal(self._forecast(pool)))
            self._log_forecast(pool)
            title, done = f"{self._study.name} confirm", self._unfinished.left
            with (
                Progress(title, self._forecast(pool), show_progress, "run", done) as bar,
                self._executor,
            ):
                self._bar = bar
                self._trainings = Trainings(
                    self._subject,
                    self._grid,
                    bar,
                    self._unfinished,
                    executor=self._executor,
                    with_rows=self._question.covers != "seeds",
                    divided=self._rows.by_seed(self._seeds()),
                    listen=self._listen,
                )
                verdict = dataclasses.replace(
                    self._compute_verdict(pool, lease),
                    shared_rows=shared,
                    test_data=tested,
                    groups=self._rows.groups,
                )
            if self._question.covers != verdict.covers and self._subject.has_model:
                _log.warning("study %s: %s", self._study.name, WITHOUT_ROWS)
            if not verdict.cut:  # its trainings stay stored, and another call goes on with them
                self._storage.add_confirmation(self._study.id, key, verdict.to_json(), lease)
        finally:
            lease.release()
        return verdict

    def _read_stored(self, key: str) -> Verdict | None:
        stored = self._storage.find_confirmation(self._study.id, key)
        if stored is None:
            return None
        _log.info(
            "study %s: this verdict was made before, read from the storage", self._study.name
        )
        return Verdict.from_json(stored.verdict)

    def _estimate_seconds(self, trials: Sequence[TrialRecord]) -> float:
        """Of a training, by those of the search."""
        seconds = [trial.seconds for trial in trials if trial.state is TrialState.COMPLETE]
        seeds = self._subject.seeds
        return statistics.median(seconds) / (seeds if isinstance(seeds, int) else len(seeds))

    def _log_forecast(self, pool: list[Contender]) -> None:
        runs, done = self._forecast(pool), self._unfinished.left
        if done:
            _log.info(
                "study %s: the verdict goes on where it was: %d of about %d trainings are stored",
                self._study.name, done, runs,
            )  # fmt: skip
        _log.info(
            "study %s: a verdict of about %d trainings in about %.0f s",
            self._study.name, runs, max(0, runs - done) * self._seconds,
        )  # fmt: skip

    @functools.cached_property
    def _description(self) -> dict[str, Any]:
        """What the verdict is known by; without what a study of an earlier version does not hold of its task."""
        described = self._subject.describe()
        if self._study.task is not None:
            for key in set(LATER) - set(self._study.task):
                described.pop(key, None)
        return described

    def _check_same_task(self) -> None:
        """The finalists were chosen for one task; another one needs a search of its own."""
        given = self._study.task or self._description
        different = task_differences(given, self._description, ignoring=("seeds",))
        if different:
            lines = "\n  ".join(different)
            raise StudyError(
                f"the task differs from the one that study {self._study.name!r} searched with:\n  {lines}"
            )

    def _compute_verdict(self, pool: list[Contender], lease: Lease) -> Verdict:
        share = self._subject.pretrained_share()
        baseline = Contender(self._baseline.record, None)
        finalists = pool
        if not self._names and not self._may_train(len(pool) + 1):
            raise TooEarly(
                f"{self._limits} was used up before the finalists were chosen: give more"
            )
        if not self._names:
            try:
                finalists = choose_finalists(
                    self._trainings, self._study, pool, baseline,
                    top_k=self._question.top_k, sign=self._sign, metric=self._subject.metric,
                )  # fmt: skip
            except Stopped:
                raise TooEarly(
                    f"{STOPPED} ended the verdict before the finalists were chosen"
                ) from None
        seeds = self._seeds()
        comparisons = self._comparisons(finalists, seeds)
        earlier = self._storage.count_looks(self._study, self._test_data(), comparisons, lease)
        contenders = (baseline, *finalists)
        self._bar.expect(max(0, self._forecast_race(len(contenders)) - self._unfinished.left))
        total = self._trainings.count + self._forecast_race(len(contenders))
        lease.publish_goal(self._limits.run_goal(total))
        test = PairedTest(
            earlier + len(comparisons), self._direction, self._looks, self._question.min_effect
        )
        if text := describe_power(pool, test, self._subject):
            self._tell(text)
        records = [item.record for item in contenders]
        is_catalog = [item.is_catalog for item in contenders]
        limit = self._may_train if self._limits.is_set else None
        race = Race(
            self._trainings, self._grid, records, seeds, test, is_catalog, limit,
            takes_interrupt=self._limits.takes_interrupt,
        )  # fmt: skip
        runners = race.run()
        if not all(runner.runs for runner in runners):
            raise TooEarly(
                f"{race.ended_by} ended the verdict before each finalist had trained twice"
                if race.ended_by
                else f"{self._limits} was used up before each finalist had trained twice: give more, or a smaller top_k"
            )
        cut = (race.ended_by or str(self._limits)) if race.is_cut else ""
        measured = [
            self._measure(item, runner) for item, runner in zip(contenders, runners, strict=True)
        ]
        verdict = compute_verdict(
            measured[0],
            measured[1:],
            study_name=self._study.name,
            metric=self._subject.metric,
            direction=self._direction,
            # one look may be taken sooner, as no result but a limit decided when
            looks=(len(runners[0].runs),)
            if race.is_cut and len(self._looks) == 1
            else self._looks,
            cut=cut,
            earlier_comparisons=earlier,
            min_effect=self._question.min_effect,
            validation_only=any(runner.is_blind for runner in runners),
            splits=min(self._rows.count, len(runners[0].runs)),
        )
        given = self._subject.keeps_given_weights
        return dataclasses.replace(
            verdict,
            kept_weights=share and KeptWeights(*share, given=given),
            trainings=self._trainings.count,
            settings=self._subject.settings(),
        )

    def _seeds(self) -> list[int]:
        return seed_list(self._study.seed, f"confirm {self._unfinished.number}", self._looks[-1])

    def _comparisons(self, finalists: Sequence[Contender], seeds: Sequence[int]) -> list[str]:
        """A key for each comparison, of everything that its result depends on.

        The study is part of it, and the moment at which this confirmation was begun: what a task or an objective
        describes of itself is not its source text, and equal descriptions do not prove equal results. So a study
        that is made again, and a confirmation that begins anew, are looked at again.
        """
        common = [
            self._study.id,
            self._study.created,
            versions(),
            self._unfinished.begun,
            self._subject.device_type,
            self._description,
            list(seeds),
            activations_json(self._baseline.record),
        ]
        each = [[item.number, activations_json(item.record)] for item in finalists]
        count = count_comparisons([item.is_catalog for item in finalists])
        with_catalog = [each] * (count - len(each))
        return [digest([*common, pair]) for pair in (*each, *with_catalog)]

    def _measure(self, contender: Contender, runner: Runner) -> Measured:
        """Scores on test data at the tuned and at the given learning rate."""
        chosen = runner.choose(self._grid)
        tuned = [run[step].test for run, step in zip(runner.runs, chosen, strict=True)]
        if contender.number is None and all(value is None for value in tuned):
            raise StudyError(
                f"the baseline could not be trained: {self._trainings.last_reason}; if its loss diverged, "
                "lower the learning rate, or name an activation, as in baseline='relu'"
            )
        label = self._baseline_label() if contender.number is None else contender.record.label
        return Measured(
            label if contender.record.is_baseline else contender.record.formula,
            label,
            tuned,
            [run[0].test for run in runner.runs if 0 in run],
            self._grid.rate(statistics.median_low(chosen)),
            contender.number,
            contender.is_catalog,
            contender.record.to_json(),
            contender.others,
            len(tuned) if runner.is_at_end(self._grid) else 0,
            tuple(rate for step in chosen if (rate := self._grid.rate(step)) is not None),
            [run[step].without for run, step in zip(runner.runs, chosen, strict=True)],
        )

    # names and bookkeeping

    def _baseline_label(self) -> str:
        """What the baseline is called: the types of activation that the user's model has."""
        if not self._baseline.record.is_baseline:
            return self._baseline.label
        return self._subject.baseline_label()

    def _test_data(self) -> str:
        """What the looks are counted on."""
        return self._subject.test_id(self._study.id)

    def _key(self, pool: list[Contender]) -> str:
        """Hash of everything this verdict depends on."""
        top_k, looks, min_effect, *more = self._question.key()
        data = [
            [contender.number for contender in pool],
            top_k,
            looks,
            identity(self._baseline.record),
            min_effect,
            self._description,
            self._test_data(),
            *more,
            *self._rows.key,
        ]
        return digest(data)

    # limits

    def _check_budget(self, pool: list[Contender], alone: list[Contender]) -> None:
        """Refuse a budget that is used up before anything is compared.

        Args:
            pool: of the verdict.
            alone: of one with a single finalist.
        """
        if (budget := self._limits.budget) is None:
            return
        seeds = min(2, self._looks[-1])

        def least(top_k: int, candidates: list[Contender]) -> int:
            finalists = len(candidates) if self._names else min(top_k + 1, len(candidates))
            choice = 0 if self._names else len(candidates) + 1
            return choice + seeds * len(self._grid.first) * (finalists + 1)

        if budget < (needed := least(self._question.top_k, pool)):
            raise TooEarly(
                f"budget={budget} trainings are too few: to choose {self._question.top_k} finalists and train them "
                f"and the baseline under {seeds} seeds takes {needed}, with top_k=1 {least(1, alone)}; "
                f"an answer takes more, about {self._forecast(pool)}"
            )

    def _may_train(self, count: int) -> bool:
        """Whether so many further trainings are within the limits."""
        budget, timeout = self._limits.budget, self._limits.timeout
        if budget is not None and self._trainings.count + count > budget:
            return False
        if timeout is None:
            return True
        if (new := count - self._unfinished.left) <= 0:
            return True
        spent = self._limits.spent
        each = spent / self._trainings.made if self._trainings.made else self._seconds
        return spent + new * each <= timeout

    def _forecast(self, pool: list[Contender]) -> int:
        """About how many trainings this takes."""
        if self._names:
            return self._forecast_race(len(pool) + 1)
        contenders = min(self._question.top_k, len(pool)) + 2
        return len(pool) + 1 + self._forecast_race(contenders)

    def _forecast_race(self, contenders: int) -> int:
        return forecast_race(
            contenders,
            self._looks[-1],
            is_race=len(self._looks) > 1,
            has_rates=len(self._grid.first) > 1,
        )
