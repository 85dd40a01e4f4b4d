"""The learning rate that a study's trials train with, chosen with the model unchanged before the first of them."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from typing import Any

from actsearch.evaluation import LARGEST_STACK, Request, Subject
from actsearch.records import CandidateRecord, StudyRecord
from actsearch.report.verdict.table import format_value
from actsearch.seeds import seed_list
from actsearch.study.rate_grid import RateGrid

__all__ = ["RATE", "choose_rate", "may_choose_rate", "stored_rate"]

_log = logging.getLogger("actsearch")

RATE = "learning_rate"
"""Key of the study's user attributes: the rates that were tried, with their scores, and the one that is used.

It is empty until they are tried, and absent where none are to be, as in studies that were stored before."""

_FRESH_SEEDS = 2  # under which a better rate has to prove itself
_SHARE = 0.5  # of what it gained, at each of these: the best of several is partly luck


def may_choose_rate(subject: Subject) -> bool:
    """Whether a new study is to try rates before its first trial: those of its objective can be set, and may be."""
    return subject.tune_lr is not False and subject.learning_rate is not None


def stored_rate(study: StudyRecord, subject: Subject) -> float | None:
    """The rate that was chosen for a study; None where trials train at the objective's own.

    A task whose ``lr`` was changed since, and accepted, is trained at that.
    """
    if not isinstance(known := study.user_attrs.get(RATE), dict):
        return None
    given, used = known.get("given"), known.get("used")
    if given != subject.learning_rate or used == given:
        return None
    return used if isinstance(used, float) and 0 < used < float("inf") else None


def choose_rate(
    subject: Subject,
    study: StudyRecord,
    seeds: Sequence[int],
    should_stop: Callable[[], bool],
) -> dict[str, Any] | None:
    """Train the model unchanged at a grid of rates, on validation data; what is to be stored under :data:`RATE`.

    A rate that is better in the first sweep is trained under fresh seeds beside the given one, and is used where it
    keeps half of its gain under each of them; with ``tune_lr=True`` the best of the sweep is used as it is.

    Args:
        subject: what the study optimises; its learning rate can be set.
        study: with a direction.
        seeds: the study's; the first one is used.
        should_stop: asked between passes.

    Returns:
        None if it was stopped.
    """
    sign = 1 if study.direction == "maximize" else -1
    grid = RateGrid(subject.learning_rate, sign)
    scores: dict[int, float | None] = {}
    wanted: Sequence[int] = grid.first
    while wanted:
        found = _train(subject, [(step, seeds[0]) for step in wanted], grid, should_stop)
        if found is None:
            return None
        scores |= dict(zip(wanted, found, strict=True))
        wanted = grid.outward(scores)
    best = grid.best(scores)
    used = best
    if best != 0 and subject.tune_lr != True:  # noqa: E712 -- it may be the word "auto"
        fresh = seed_list(study.seed, "learning rate", _FRESH_SEEDS)
        pairs = [(step, seed) for seed in fresh for step in (0, best)]
        found = _train(subject, pairs, grid, should_stop)
        if found is None:
            return None
        gains = [
            _gain(given, other, sign)
            for given, other in (
                (scores[0], scores[best]),
                *zip(found[::2], found[1::2], strict=True),
            )
        ]
        flat = grid.is_flat(scores[0], scores[best])
        if flat or any(gain < _SHARE * gains[0] for gain in gains):
            used = 0
    chosen = {
        "given": grid.rate(0),
        "used": grid.rate(used),
        "tried": [[grid.rate(step), scores[step]] for step in sorted(scores)],
    }
    _tell(study, subject.metric, chosen, scores, used, best, grid)
    return chosen


def _gain(given: float | None, other: float | None, sign: int) -> float:
    """By how much the other rate is better; all there is where the given one diverges alone."""
    if other is None:
        return float("-inf")
    return float("inf") if given is None else sign * (other - given)


def _train(
    subject: Subject,
    wanted: Sequence[tuple[int, int]],
    grid: RateGrid,
    should_stop: Callable[[], bool],
) -> list[float | None] | None:
    """The scores of the model unchanged at steps of the grid under seeds; None if it was stopped."""
    record = CandidateRecord.baseline()
    rest = [Request(record, (seed,), lr=grid.rate(step), diagnose=False) for step, seed in wanted]
    scores: list[float | None] = []
    largest = LARGEST_STACK
    while rest:
        if should_stop():
            return None
        part = rest[: subject.batch_for(rest, largest)]
        outcomes = subject.train(part, largest_stack=largest)
        largest = outcomes.largest_stack
        scores += [outcome.value for outcome in outcomes]
        rest = rest[len(part) :]
    return scores


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
    else:
        _log.info(
            "study %s: trials train with the given lr, %.2g: %s %s",
            study.name, chosen["given"], tried,
            "none is better" if best == 0 else f"{named(best)} is not clearly better than {named(0)}",
        )  # fmt: skip
