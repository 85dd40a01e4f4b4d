"""The steps to a verdict: choose finalists, tune their learning rates, test, compare."""

from __future__ import annotations

import dataclasses
import functools
import logging
import statistics
from collections.abc import Sequence
from typing import Any, Literal, cast

import numpy as np

from actsearch.checks import check_integer, check_number
from actsearch.errors import StudyError
from actsearch.evaluation import Candidate, Objective, make_subject
from actsearch.records import (
    RunGoal,
    Score,
    StudyRecord,
    TrialRecord,
    TrialState,
)
from actsearch.report import (
    KeptWeights,
    Measured,
    SharedRows,
    Verdict,
    compute_verdict,
    count_comparisons,
    leaderboard,
    no_complete_trial,
    objective_names,
    pareto_front,
    shrunken_means,
)
from actsearch.seeds import seed_list
from actsearch.storage import Lease, Storage, versions
from actsearch.study.alarms import describe_equal_scores
from actsearch.study.clones import near_clone
from actsearch.study.contender import Contender, identity, same_training
from actsearch.study.preparation import LATER, resolve_direction, task_differences
from actsearch.study.progress import Progress
from actsearch.study.rate import stored_rate
from actsearch.study.rate_grid import RateGrid
from actsearch.study.trainings import Trainings
from actsearch.study.unfinished import Unfinished, activations_json, digest

__all__ = ["Confirmation"]

_log = logging.getLogger("actsearch")

_POOL = 4  # candidates looked at again for each finalist wanted
_FRESH_SEEDS = 3  # for choosing finalists on validation data


class Confirmation:
    """One call of ``study.confirm``."""

    def __init__(
        self,
        storage: Storage,
        study: StudyRecord,
        objective: Objective,
        top_k: int,
        seeds: int,
        baseline: Any,
        min_effect: float | None,
    ) -> None:
        top_k = check_integer("top_k", top_k, StudyError, low=1)
        seeds = check_integer("seeds", seeds, StudyError, low=2)
        if min_effect is not None:
            min_effect = check_number("min_effect", min_effect, StudyError, above=0)
        self._subject = make_subject(objective)
        self._subject.check_test()
        self._storage = storage
        self._study = study
        self._top_k = top_k
        self._count = seeds
        self._min_effect = min_effect
        self._baseline = Candidate.baseline() if baseline is None else Candidate.of(baseline)
        self._direction = cast(
            Literal["maximize", "minimize"], resolve_direction(study, self._subject)
        )
        self._names = objective_names(study)
        self._sign = 1 if self._direction == "maximize" else -1
        rate = stored_rate(study, self._subject) or self._subject.learning_rate
        self._grid = RateGrid(rate, self._sign)

    def verdict(self, trials: Sequence[TrialRecord], show_progress: bool) -> Verdict:
        """Make the verdict and store it, or read the stored one."""
        self._check_same_task()
        pool = self._gather_pool(trials)
        key = self._key(pool)
        if (stored := self._read_stored(key)) is not None:
            return stored
        shared = tuple(
            SharedRows(item.other, item.shared, item.rows, item.relabelled)
            for item in self._subject.rows_in_test()
        )
        lease = self._storage.lease(self._study)
        lease.acquire()
        try:
            if (stored := self._read_stored(key)) is not None:
                return stored  # another process made it just now
            lease.publish_goal(RunGoal("confirm"))
            self._unfinished = Unfinished(
                self._storage, self._study, key, self._subject.device_type, lease
            )
            self._log_forecast(trials, pool)
            title, done = f"{self._study.name} confirm", self._unfinished.left
            with Progress(title, self._forecast(pool), show_progress, "run", done) as bar:
                self._bar = bar
                self._trainings = Trainings(self._subject, self._grid, bar, self._unfinished)
                verdict = dataclasses.replace(
                    self._compute_verdict(pool, lease), shared_rows=shared
                )
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

    def _log_forecast(self, trials: Sequence[TrialRecord], pool: list[Contender]) -> None:
        seconds = [trial.seconds for trial in trials if trial.state is TrialState.COMPLETE]
        seeds = self._subject.seeds
        each = statistics.median(seconds) / (seeds if isinstance(seeds, int) else len(seeds))
        runs, done = self._forecast(pool), self._unfinished.left
        if done:
            _log.info(
                "study %s: the verdict goes on where it was: %d of about %d trainings are stored",
                self._study.name, done, runs,
            )  # fmt: skip
        _log.info(
            "study %s: a verdict of about %d trainings in about %.0f s",
            self._study.name, runs, max(0, runs - done) * each,
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
        finalists = pool if self._names else self._choose_finalists(pool, baseline)
        seeds = seed_list(self._study.seed, f"confirm {self._unfinished.number}", self._count)
        comparisons = self._comparisons(finalists, seeds)
        earlier = self._storage.count_looks(self._study, self._test_data(), comparisons, lease)
        contenders = (baseline, *finalists)
        expected = len(contenders) * self._count * self._runs_each()
        self._bar.expect(max(0, expected - self._unfinished.left))
        runs = self._trainings.tune([item.record for item in contenders], seeds)
        measured = [self._measure(item, own) for item, own in zip(contenders, runs, strict=True)]
        verdict = compute_verdict(
            measured[0][0],
            [item for item, _ in measured[1:]],
            study_name=self._study.name,
            metric=self._subject.metric,
            direction=self._direction,
            earlier_comparisons=earlier,
            min_effect=self._min_effect,
            validation_only=any(blind for _, blind in measured),
        )
        given = self._subject.keeps_given_weights
        return dataclasses.replace(
            verdict,
            kept_weights=share and KeptWeights(*share, given=given),
            trainings=self._trainings.count,
            settings=self._subject.settings(),
        )

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

    # step 1: finalists

    def _gather_pool(self, trials: Sequence[TrialRecord]) -> list[Contender]:
        """The best trials, and the best catalog row besides; with several objectives, of the front."""
        if self._names:
            return self._pick_from_front(trials)
        ranked = _candidates(leaderboard(trials, self._direction), trials)
        contenders = [
            Contender(trial.candidate, trial.number, trial.value or 0.0) for trial in ranked
        ]
        pool = contenders[: _POOL * self._top_k]
        if not any(contender.is_catalog for contender in pool):
            pool += [contender for contender in contenders if contender.is_catalog][:1]
        return pool

    def _pick_from_front(self, trials: Sequence[TrialRecord]) -> list[Contender]:
        """``top_k`` of the Pareto front, best in the first objective and best in the others included."""
        front = pareto_front(trials, self._study.directions)
        ranked = _candidates(leaderboard(front, self._direction), trials)
        last, wanted = len(ranked) - 1, min(self._top_k, len(ranked))
        positions = {round(last * index / max(1, wanted - 1)) for index in range(wanted)}
        return [
            Contender(
                trial.candidate,
                trial.number,
                trial.value or 0.0,
                others={
                    name: value
                    for name, value in zip(self._names[1:], trial.values[1:], strict=True)
                    if value is not None
                },
            )
            for trial in (ranked[position] for position in sorted(positions))
        ]

    def _choose_finalists(self, pool: list[Contender], baseline: Contender) -> list[Contender]:
        """Fresh seeds on validation data, then the best by shrunken mean without near-clones."""
        seeds = seed_list(self._study.seed, "confirm validation", _FRESH_SEEDS)
        wanted = [
            (position, item.record, seed, 0)
            for position, item in enumerate((baseline, *pool))
            for seed in seeds
        ]
        scores = self._trainings.scores(wanted, "valid")
        for contender in (baseline, *pool):
            contender.fresh = [scores.pop(0) for _ in seeds]
        if text := describe_equal_scores(
            [item.fresh for item in (baseline, *pool)], self._subject.metric
        ):
            raise StudyError(text)
        table = self._table(pool)
        shrunk = shrunken_means(table, [contender.searched for contender in pool]) * self._sign
        means = table.mean(axis=1) * self._sign
        order = sorted(range(len(pool)), key=lambda index: (-shrunk[index], -means[index], index))
        kept: list[Contender] = []
        catalog: Contender | None = None
        for index in order:
            contender = pool[index]
            if same_training(contender, baseline):
                continue
            if contender.is_catalog and catalog is None:
                catalog = contender
            if len(kept) < self._top_k and not any(
                near_clone(contender.record, other.record) for other in kept
            ):
                kept.append(contender)
        if not kept:
            raise StudyError(
                "every candidate equals the baseline on all seeds: there is nothing to confirm"
            )
        composed = any(not contender.is_catalog for contender in kept)
        if composed and catalog is not None and not any(item.is_catalog for item in kept):
            kept.append(catalog)
        return kept

    def _table(self, contenders: Sequence[Contender]) -> np.ndarray[Any, Any]:
        """Validation scores, shape (contenders, seeds); a diverged seed is the worst value seen."""
        values = [
            score.test for item in contenders for score in item.fresh if score.test is not None
        ]
        if not values:
            raise StudyError("no candidate could be trained again: " + self._trainings.last_reason)
        worst = min(values) if self._sign > 0 else max(values)
        return np.array(
            [
                [worst if score.test is None else score.test for score in item.fresh]
                for item in contenders
            ]
        )

    # steps 2 and 3: learning rates on validation data, scores on test data

    def _measure(
        self, contender: Contender, runs: Sequence[dict[int, Score]]
    ) -> tuple[Measured, bool]:
        """Scores on test data at the tuned and at the given learning rate; whether the objective was blind.

        Args:
            contender: whose.
            runs: for each seed, the score by step of the grid.
        """
        chosen = [self._trainings.best_step(scores) for scores in runs]
        tuned = [scores[step].test for scores, step in zip(runs, chosen, strict=True)]
        if contender.number is None and all(value is None for value in tuned):
            raise StudyError(
                f"the baseline could not be trained: {self._trainings.last_reason}; if its loss diverged, "
                "lower the learning rate, or name an activation, as in baseline='relu'"
            )
        label = self._baseline_label() if contender.number is None else contender.record.label
        measured = Measured(
            label if contender.record.is_baseline else contender.record.formula,
            label,
            tuned,
            [scores[0].test for scores in runs],
            self._grid.rate(statistics.median_low(chosen)),
            contender.number,
            contender.is_catalog,
            contender.record.to_json(),
            contender.others,
            sum(self._trainings.ends_at_best(scores) for scores in runs),
            tuple(rate for step in chosen if (rate := self._grid.rate(step)) is not None),
        )
        return measured, any(scores[0].blind for scores in runs)

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
        data = [
            [contender.number for contender in pool],
            self._top_k,
            self._count,
            identity(self._baseline.record),
            self._min_effect,
            self._description,
            self._test_data(),
        ]
        return digest(data)

    def _runs_each(self) -> int:
        """Trainings for one contender and seed: three learning rates, and one more in about half of the cases."""
        return 1 if self._subject.learning_rate is None else 4

    def _forecast(self, pool: list[Contender]) -> int:
        """About how many trainings this takes."""
        if self._names:
            return (len(pool) + 1) * self._count * self._runs_each()
        contenders = min(self._top_k, len(pool)) + 2
        return (len(pool) + 1) * _FRESH_SEEDS + contenders * self._count * self._runs_each()


def _candidates(ranked: Sequence[TrialRecord], trials: Sequence[TrialRecord]) -> list[TrialRecord]:
    """Trials without that of the model unchanged, with which each of them is compared anyway.

    Raises:
        StudyError: there is none.
    """
    candidates = [trial for trial in ranked if not trial.candidate.is_baseline]
    if not candidates and ranked:
        raise StudyError(
            "nothing is complete but the trial of the model unchanged: "
            "call study.optimize(task, n_trials=...) for candidates to compare with it"
        )
    if not candidates:
        raise no_complete_trial(trials)
    return candidates
