"""Which candidates of a search a verdict looks at, chosen on validation data alone."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from actsearch.errors import StudyError
from actsearch.records import Score, StudyRecord, TrialRecord
from actsearch.report import leaderboard, no_complete_trial, objective_names, pareto_front
from actsearch.seeds import seed_list
from actsearch.study.alarms import describe_equal_scores
from actsearch.study.clones import near_clone
from actsearch.study.contender import Contender, same_training
from actsearch.study.trainings import Trainings

__all__ = ["POOL", "choose_finalists", "gather_pool"]

POOL = 3
"""Candidates that are looked at again for each finalist that is wanted."""

_MORE = 2  # fresh seeds, where one tells nothing apart


def gather_pool(
    study: StudyRecord, trials: Sequence[TrialRecord], top_k: int, direction: str
) -> list[Contender]:
    """The best trials, and the best catalog row besides; with several objectives, of the front.

    Raises:
        StudyError: there is nothing to compare.
    """
    if names := objective_names(study):
        return _pick_from_front(study, trials, top_k, direction, names)
    contenders = [
        Contender(trial.candidate, trial.number, trial.value or 0.0)
        for trial in _candidates(leaderboard(trials, direction), trials)
    ]
    pool = contenders[: POOL * top_k]
    if not any(contender.is_catalog for contender in pool):
        pool += [contender for contender in contenders if contender.is_catalog][:1]
    return pool


def _pick_from_front(
    study: StudyRecord,
    trials: Sequence[TrialRecord],
    top_k: int,
    direction: str,
    names: Sequence[str],
) -> list[Contender]:
    """``top_k`` of the Pareto front, best in the first objective and best in the others included."""
    front = pareto_front(trials, study.directions)
    ranked = _candidates(leaderboard(front, direction), trials)
    last, wanted = len(ranked) - 1, min(top_k, len(ranked))
    positions = {round(last * index / max(1, wanted - 1)) for index in range(wanted)}
    return [
        Contender(
            trial.candidate,
            trial.number,
            trial.value or 0.0,
            others={
                name: value
                for name, value in zip(names[1:], trial.values[1:], strict=True)
                if value is not None
            },
        )
        for trial in (ranked[position] for position in sorted(positions))
    ]


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


def choose_finalists(
    trainings: Trainings,
    study: StudyRecord,
    pool: Sequence[Contender],
    baseline: Contender,
    *,
    top_k: int,
    sign: int,
    metric: str,
) -> list[Contender]:
    """A fresh seed on validation data, then the best by the mean of it and the search, without near-clones.

    Args:
        trainings: trains.
        study: whose seed decides the fresh one.
        pool: of which.
        baseline: what a finalist must differ from.
        top_k: how many; the best catalog row comes besides, where all of them are composed.
        sign: 1 where larger values are better, else -1.
        metric: what is scored.

    Raises:
        StudyError: nothing can be told apart, or nothing differs from the baseline.
    """
    seeds = seed_list(study.seed, "confirm validation", 1 + _MORE)
    every = (baseline, *pool)
    _train_fresh(trainings, every, seeds[:1])
    if describe_equal_scores([item.fresh for item in every], metric):
        # scores on a few rows may coincide under one seed
        _train_fresh(trainings, every, seeds[1:])
        if text := describe_equal_scores([item.fresh for item in every], metric):
            raise StudyError(text)
    fresh = _fill([item.fresh for item in pool], sign, trainings.last_reason).mean(axis=1)
    searched = np.array([contender.searched for contender in pool])
    means = sign * (fresh + searched) / 2
    order = sorted(range(len(pool)), key=lambda index: (-means[index], index))
    kept: list[Contender] = []
    catalog: Contender | None = None
    for index in order:
        contender = pool[index]
        if same_training(contender, baseline):
            continue
        if contender.is_catalog and catalog is None:
            catalog = contender
        if len(kept) < top_k and not any(
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


def _train_fresh(trainings: Trainings, every: Sequence[Contender], seeds: Sequence[int]) -> None:
    """Contenders under further fresh seeds, on validation data."""
    wanted = [
        (position, item.record, seed, 0) for position, item in enumerate(every) for seed in seeds
    ]
    scores = iter(trainings.scores(wanted, "valid"))
    for contender in every:
        contender.fresh += [next(scores) for _ in seeds]


def _fill(fresh: Sequence[Sequence[Score]], sign: int, reason: str) -> np.ndarray[Any, Any]:
    """Validation scores, shape (contenders, seeds); a diverged seed is the worst value seen."""
    values = [score.test for own in fresh for score in own if score.test is not None]
    if not values:
        raise StudyError("no candidate could be trained again: " + reason)
    worst = min(values) if sign > 0 else max(values)
    return np.array(
        [[worst if score.test is None else score.test for score in own] for own in fresh]
    )
