"""Running an objective on a candidate: whatever happens in it becomes an outcome, never an exception."""

from __future__ import annotations

import dataclasses
import itertools
import logging
import math
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from actsearch.evaluation.candidate import Candidate
from actsearch.evaluation.request import Request
from actsearch.evaluation.run import Phase, Run, TrialPruned
from actsearch.halving import EXEMPT, RungTracker
from actsearch.records import (
    LEARNED_NUMBERS,
    TRAININGS,
    EvaluationRecord,
    Outcome,
    TrialState,
)

__all__ = [
    "ObjectiveCallable",
    "SeedRun",
    "aggregate",
    "evaluate",
    "seed_result",
    "with_pruning",
]

ObjectiveCallable = Callable[[Any, Any], float | Mapping[str, float]]

_log = logging.getLogger("actsearch")

_CPU = torch.device("cpu")

_MOST_LEARNED = 8  # numbers of an activation that are kept with its trial
_LONGEST = 2000  # characters of a message that are kept with the trial; the log has all of it


def evaluate(
    objective: ObjectiveCallable,
    request: Request,
    tracker: RungTracker | None = None,
    *,
    device: torch.device = _CPU,
    is_own: bool = True,
) -> Outcome:
    """Train a candidate under each seed of a request.

    Args:
        objective: any ``objective(candidate, run) -> float or {name: float}``, a Task among them; of a mapping, the
            first entry is optimised.
        request: what is trained, and how.
        tracker: follows the first training, and may end the trial there.
        device: where to train, passed to the objective.
        is_own: whether the objective is the user's own function, whose exceptions are logged.

    Returns:
        COMPLETE with the mean over seeds; FAILED with the reason if any seed gave no finite number; PRUNED if the
        objective raised :class:`TrialPruned`, ours or Optuna's.
    """
    started = time.perf_counter()
    runs: list[SeedRun] = []
    for seed in request.seeds:
        follower = None if runs else tracker
        run = Run(
            seed, request.number, request.phase, device, request.epochs, follower, request.lr, request.diagnose
        )  # fmt: skip
        runs.append(_evaluate_seed(Candidate(request.record), objective, run, is_own))
        if runs[-1].state is not TrialState.COMPLETE:
            break
    outcome = aggregate(runs, request.phase, time.perf_counter() - started)
    return with_pruning(outcome, tracker)


def with_pruning(outcome: Outcome, tracker: RungTracker | None) -> Outcome:
    """Write down what a pruner decided: of the trial, not of a seed."""
    if tracker is None:
        return outcome
    if outcome.state is TrialState.PRUNED and outcome.evaluations[0].reason == tracker.reason:
        share = {} if tracker.share is None else {TRAININGS: round(tracker.share, 3)}
        attrs = {**outcome.user_attrs, **share}
        return dataclasses.replace(outcome, reason=tracker.reason, user_attrs=attrs)
    if tracker.exempt_at is not None:
        attrs = {**outcome.user_attrs, EXEMPT: tracker.exempt_at}
        return dataclasses.replace(outcome, user_attrs=attrs)
    return outcome


@dataclass(frozen=True)
class SeedRun:
    """How one training ended, and whether the objective asked for the phase."""

    evaluation: EvaluationRecord
    state: TrialState
    asked_for_phase: bool


def aggregate(runs: Sequence[SeedRun], phase: Phase, seconds: float) -> Outcome:
    """The outcome of a candidate's trainings, up to the first that did not end well."""
    last = next((i for i, run in enumerate(runs) if run.state is not TrialState.COMPLETE), None)
    state, reason = TrialState.COMPLETE, ""
    if last is not None:
        runs = runs[: last + 1]
        state = runs[last].state
        reason = f"seed {runs[last].evaluation.seed}: {runs[last].evaluation.reason}"
    evaluations = tuple(run.evaluation for run in runs)
    values = [item.value for item in evaluations if item.value is not None]
    failed = state is TrialState.FAILED
    return Outcome(
        state,
        None if failed or not values else statistics.fmean(values),
        None if failed else _spread(values, evaluations),
        evaluations,
        reason,
        seconds,
        validation_only=phase == "confirm" and not any(run.asked_for_phase for run in runs),
        user_attrs=_learned_numbers(evaluations) if phase == "search" else {},
    )


def _learned_numbers(evaluations: Sequence[EvaluationRecord]) -> Mapping[str, Any]:
    """What activations have learned at each site, the mean over seeds; of those that learn a few numbers each."""
    by_site: dict[str, list[list[float]]] = {}
    for evaluation in evaluations:
        for site in evaluation.diagnostics.end if evaluation.diagnostics is not None else ():
            if site.learned and all(len(values) == 1 for values in site.learned.values()):
                numbers = [site.learned[name][0] for name in sorted(site.learned)]
                by_site.setdefault(site.site, []).append(numbers)
    if not by_site or any(len(rows[0]) > _MOST_LEARNED for rows in by_site.values()):
        return {}
    means = {
        site: [statistics.fmean(column) for column in zip(*rows, strict=True)]
        for site, rows in by_site.items()
        if len(rows) == len(evaluations) and all(map(math.isfinite, itertools.chain(*rows)))
    }
    return {LEARNED_NUMBERS: means}


def _evaluate_seed(
    candidate: Candidate, objective: ObjectiveCallable, run: Run, is_own: bool
) -> SeedRun:
    started = time.perf_counter()
    state, value, reason = TrialState.COMPLETE, None, ""
    metrics: Mapping[str, float] = {}
    try:
        value, metrics = _parse_result(objective(candidate, run))
    except (Exception, SystemExit) as error:  # a script that ends itself must not end the search
        if _is_pruned_error(error):
            state, value = TrialState.PRUNED, run.last_reported
            reason = _error_text(error) or run.reason_to_prune or "pruned by the objective"
            return seed_result(run, state, value, metrics, reason, time.perf_counter() - started)
        reason = f"{type(error).__name__}: {_error_text(error)}"
        if is_own:
            _log.warning("the objective raised on %s", candidate, exc_info=error)
    return seed_result(run, state, value, metrics, reason, time.perf_counter() - started)


def _is_pruned_error(error: BaseException) -> bool:
    """Whether an exception ends a trial early: ours, or Optuna's of an objective written for it.

    Optuna's is known by its name, since this floor does without Optuna.
    """
    if isinstance(error, TrialPruned):
        return True
    return any(
        cls.__name__ == "TrialPruned" and cls.__module__.partition(".")[0] == "optuna"
        for cls in type(error).__mro__
    )


def seed_result(
    run: Run,
    state: TrialState,
    value: float | None,
    metrics: Mapping[str, float],
    reason: str,
    seconds: float,
) -> SeedRun:
    """Write down how one training ended: without a finite value it has failed."""
    if value is None and state is TrialState.COMPLETE:
        state = TrialState.FAILED
        reason = run.stopped or reason or "the objective returned no number"
    elif value is not None and not math.isfinite(value):
        state, value, reason = TrialState.FAILED, None, f"the objective returned {value}"
    return SeedRun(run.record(value, metrics, reason, seconds), state, run.asked_for_phase)


def _error_text(error: BaseException) -> str:
    """An exception's text, such that a database takes it."""
    try:
        text = str(error)
    except Exception:  # a user's own class may fail at this too
        return "(its message cannot be shown)"
    if len(text) > _LONGEST:
        text = f"{text[:_LONGEST]} ... ({len(text)} characters)"
    return text.encode("utf-8", "backslashreplace").decode()


def _parse_result(result: Any) -> tuple[float | None, Mapping[str, float]]:
    """The value and all metrics of what an objective returned; (None, {}) for an empty mapping."""
    if isinstance(result, Mapping):
        metrics = {str(name): _to_number(value) for name, value in result.items()}
        return (next(iter(metrics.values())) if metrics else None), metrics
    value = _to_number(result)
    return value, {"value": value}


def _to_number(value: Any) -> float:
    if isinstance(value, (str, bytes, bool)) or value is None:
        raise TypeError(
            f"the objective returned {type(value).__name__}; expected a number or a mapping of numbers"
        )
    return float(value)


def _spread(values: list[float], evaluations: Sequence[EvaluationRecord]) -> float | None:
    """Standard deviation over seeds; with one seed, over the last quarter of a Task's epochs (at least three).

    Reports of a callable are of whatever it likes to report, and mostly on their way down: they tell of no noise.
    """
    if len(values) >= 2:
        return statistics.stdev(values)
    records = evaluations[0].epochs if evaluations else ()
    epochs = [epoch.valid_metric for epoch in records if epoch.train_loss is not None]
    last = [value for value in epochs[-max(3, len(epochs) // 4) :] if value is not None]
    return statistics.stdev(last) if len(last) >= 2 else None
