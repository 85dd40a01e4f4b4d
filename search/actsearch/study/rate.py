"""The learning rate that a study's trials train with, chosen with the model unchanged before the first of them."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from actsearch.evaluation import Subject
from actsearch.records import StudyRecord
from actsearch.report import RATE, chosen_rate
from actsearch.report.verdict.table import format_value
from actsearch.seeds import seed_list
from actsearch.study.rate_grid import RateGrid

__all__ = [
    "RATE",
    "adapt_rate",
    "choose_rate",
    "may_choose_rate",
    "stored_rate",
    "unfinished_scores",
]

_log = logging.getLogger("actsearch")

_FRESH_SEEDS = (
    2  # under which a better rate has to prove itself: the best of several is partly luck
)
_FINALISTS = 2  # rates that may: with one seed, the best of several is often not the best one


def may_choose_rate(subject: Subject) -> bool:
    """Whether a new study is to try rates before its first trial: those of its objective can be set, and may be."""
    return subject.tune_lr is not False and subject.learning_rate is not None


def adapt_rate(
    attrs: Mapping[str, Any], study: StudyRecord, described: Mapping[str, Any], subject: Subject
) -> dict[str, Any]:
    """The study's attributes when a changed task is accepted.

    Scores of a sweep that was interrupted are those of another task, so it begins anew. A rate that was chosen holds
    while the task trains as before; where its own rate, optimizer or schedule is another one, that is trained with.
    """
    known, before = attrs.get(RATE), study.task or {}
    others = {key: value for key, value in attrs.items() if key != RATE}
    if not isinstance(known, dict):
        return others
    if "used" not in known:
        return {**others, RATE: {}} if may_choose_rate(subject) else others
    same = all(before.get(key) == described.get(key) for key in _TRAINING)
    if subject.tune_lr is not False and same:
        return dict(attrs)
    if known["used"] != known.get("given"):
        _log.warning(
            "study %s: trials train with the task's own lr from here on, and not with %s, which was chosen before",
            study.name, known["used"],
        )  # fmt: skip
    return others


_TRAINING = ("lr", "optimizer", "schedule", "schedule_every", "weight_decay", "batch_size")
"""Keys of a task's description that a learning rate belongs to."""


def unfinished_scores(study: StudyRecord) -> dict[tuple[float, int], float | None]:
    """Scores by rate and seed of a sweep that was interrupted; what is no such thing is tried again."""
    known = study.user_attrs.get(RATE)
    scores: dict[tuple[float, int], float | None] = {}
    items = known.get("unfinished") if isinstance(known, dict) else None
    for item in items if isinstance(items, list) else ():
        match item:
            case [float(lr), int(seed), float() | None as value]:
                scores[lr, seed] = value
    return scores


def stored_rate(study: StudyRecord, subject: Subject) -> float | None:
    """The rate that was chosen for a study; None where trials train at the objective's own.

    A task whose ``lr`` was changed since, and accepted, is trained at that.
    """
    chosen = chosen_rate(study.user_attrs)
    return chosen.used if chosen and chosen.given == subject.learning_rate else None


def choose_rate(
    subject: Subject,
    study: StudyRecord,
    seed: int,
    train: Callable[[Sequence[tuple[float, int]]], Sequence[float | None] | None],
) -> dict[str, Any] | None:
    """Train the model unchanged at a grid of rates, on validation data; what is to be stored under :data:`RATE`.

    The two best rates of the sweep, where they are better than the given one, are trained beside it under fresh seeds.
    One is used that gains, under every seed, more than its own scores differ between seeds: other activations often
    need smaller rates than the model's own, so that a rate is not changed for a little. Of two such, the nearer to the
    given one, unless the other is clearly better. With ``tune_lr=True`` the best of the sweep is used as it is.

    Args:
        subject: what the study optimises; its learning rate can be set.
        study: with a direction.
        seed: the study's first one.
        train: gives the score of the model unchanged at each rate and seed, None where it diverged; None if stopped.

    Returns:
        None if it was stopped.
    """
    sign = 1 if study.direction == "maximize" else -1
    grid = RateGrid(subject.learning_rate, sign)
    scores: dict[int, float | None] = {}
    wanted: Sequence[int] = grid.first
    while wanted:
        found = train([(_rate(grid, step), seed) for step in wanted])
        if found is None:
            return None
        scores |= dict(zip(wanted, found, strict=True))
        wanted = grid.outward(scores)
    best = used = grid.best(scores)
    count = len(scores)
    if best != 0 and subject.tune_lr == "auto":
        finalists = grid.ranked(scores)[:_FINALISTS]
        steps = [0, *finalists[: finalists.index(0) if 0 in finalists else None]]
        fresh = seed_list(study.seed, "learning rate", _FRESH_SEEDS)
        found = train([(_rate(grid, step), seed) for step in steps for seed in fresh])
        if found is None:
            return None
        count += len(found)
        again = [found[i : i + _FRESH_SEEDS] for i in range(0, len(found), _FRESH_SEEDS)]
        used = _choose(
            {step: [scores[step], *own] for step, own in zip(steps, again, strict=True)}, grid
        )
    chosen = {
        "given": grid.rate(0),
        "used": grid.rate(used),
        "tried": [[grid.rate(step), scores[step]] for step in sorted(scores)],
        "trainings": count,
    }
    _tell(study, subject.metric, chosen, scores, used, best, grid)
    return chosen


def _rate(grid: RateGrid, step: int) -> float:
    rate = grid.rate(step)
    assert rate is not None  # rates are chosen where there is one
    return rate


def _choose(scores: Mapping[int, Sequence[float | None]], grid: RateGrid) -> int:
    """From the given rate on outwards, the last step that is clearly better than the one chosen so far."""
    chosen = 0
    for step in sorted(scores, key=abs):
        if _is_clearly_better(scores[step], scores[chosen], grid):
            chosen = step
    return chosen


def _is_clearly_better(
    new: Sequence[float | None], old: Sequence[float | None], grid: RateGrid
) -> bool:
    """Whether scores are better under every seed, by more than they differ between seeds; where the old ones diverge,
    whatever does not is better."""
    reached = [value for value in new if value is not None]
    if len(reached) < len(new):
        return False
    spread = max(reached) - min(reached)
    return all(
        before is None
        or (
            grid.is_better(now, before)
            and abs(now - before) > spread
            and not grid.is_flat(now, before)
        )
        for now, before in zip(reached, old, strict=True)
    )


def _tell(
    study: StudyRecord,
    metric: str,
    chosen: dict[str, Any],
    scores: dict[int, float | None],
    used: int,
    best: int,
    grid: RateGrid,
) -> None:
    """Say which rate the trials train with, and why."""

    def named(step: int) -> str:
        value = scores[step]
        return f"{grid.rate(step):.2g} ({'diverged' if value is None else format_value(value)})"

    tried = f"of {len(scores)} learning rates tried with your model unchanged"
    if used:
        _log.warning(
            "study %s: trials train with lr %.2g, not %.2g: %s it has the best %s, %s against %s; "
            "Task(tune_lr=False) keeps the given one%s",
            study.name, chosen["used"], chosen["given"], tried, metric, named(used), named(0),
            "; a better one may lie beyond" if grid.ends_at_best(scores) else "",
        )  # fmt: skip
        return
    level = logging.INFO if best == 0 else logging.WARNING
    _log.log(
        level, "study %s: trials train with the given lr, %.2g: %s %s",
        study.name, chosen["given"], tried,
        "none is better" if best == 0 else
        f"none is clearly better under {1 + _FRESH_SEEDS} seeds; under the first, {named(best)} is, against {named(0)}",
    )  # fmt: skip
