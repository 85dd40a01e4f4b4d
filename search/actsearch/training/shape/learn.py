"""One pass of shape learning: fresh copies of a model train, and a curve that they share learns what helps them."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from actsearch.errors import TaskError
from actsearch.records import EpochRecord
from actsearch.task import Batches, Task
from actsearch.training.convention import keep_reading
from actsearch.training.measures import NonFinite
from actsearch.training.optimizer import needs_closure
from actsearch.training.shape.copies import AloneCopies, Copies, Part, StackedCopies
from actsearch.training.shape.curve import InputMoments, LearnedCurve, learning
from actsearch.training.shape.recipe import ShapeRecipe
from actsearch.training.shape.split import split_training_data
from actsearch.training.shape.update import CurveUpdate
from actsearch.training.stack import Member

__all__ = ["LearnedShape", "check_shape", "learn_shape"]

Array = npt.NDArray[np.float64]


@dataclass(frozen=True)
class LearnedShape:
    """What a pass gave.

    Attributes:
        x: points of each curve by group, ``(n,)``.
        y: values there, ``(n,)``.
        density: share of the inputs around each point, ``(n,)``.
        epochs: of each copy, a record for each evaluation.
        trainings: what it took, in trainings of the task as it is.
        stacked: whether the copies were trained in one pass.
        seconds: wall time.
    """

    x: Mapping[str, Array]
    y: Mapping[str, Array]
    density: Mapping[str, Array]
    epochs: tuple[tuple[EpochRecord, ...], ...]
    trainings: float
    stacked: bool
    seconds: float


def learn_shape(
    task: Task,
    members: Sequence[Member],
    curves: Mapping[str, LearnedCurve],
    recipe: ShapeRecipe,
    seed: int,
    *,
    turn: tuple[int, int] = (1, 1),
    stacked: bool,
) -> LearnedShape:
    """Train copies of a model, and the curves that stand at their sites with them.

    In turn: the weights make a step on one part of the training data, as the task trains them, while the curves are as
    fixed as any function; then the curves make one on the other part, down the gradient of the copies' losses, while
    the weights stay. The gradients never mix: neither level sees the other's.

    Args:
        task: data, loss, optimizer and budget.
        members: the copies, with the curves in place.
        curves: by group.
        recipe: how.
        seed: of the division of the data.
        turn: which pass this is, from 1, of how many.
        stacked: whether to try to train the copies in one pass.

    Raises:
        TaskError: the data cannot be divided, or no gradient arrives at a curve.
        NonFinite: a loss is not a number.
        Unstackable: the copies cannot be trained in one pass; they are used up, and have to be made anew.
    """
    started = time.perf_counter()
    parts = _divide(task, recipe, len(members), seed)
    seen = parts[0][0]
    evaluations = seen.evaluations
    if task.steps is None:  # epochs of fewer samples have fewer steps
        evaluations = max(1, round(evaluations * recipe.length / (1 - recipe.held)))
    copies, is_stacked = _start(parts, members, evaluations, stacked)
    course = _Course(curves, recipe, copies, _count_steps(seen, evaluations), turn)
    epochs: list[list[EpochRecord]] = [[] for _ in members]
    with copies.environment():
        for evaluation in range(1, evaluations + 1):
            if evaluation == evaluations:
                course.count_density()
            records = copies.train_to(evaluation, course.after_step)
            for own, record in zip(epochs, records, strict=True):
                own.append(record)
    whole = _count_steps(task, task.evaluations)
    return LearnedShape(
        {group: curve.grid.numpy() for group, curve in curves.items()},
        {group: curve.values.detach().double().cpu().numpy() for group, curve in curves.items()},
        {group: _at_points(curve, recipe.reach) for group, curve in curves.items()},
        tuple(map(tuple, epochs)),
        len(members) * (course.steps + course.curve_steps) / whole,
        is_stacked,
        time.perf_counter() - started,
    )


def check_shape(
    task: Task, members: Sequence[Member], curves: Mapping[str, LearnedCurve], recipe: ShapeRecipe
) -> None:
    """Divide the data and take one gradient, as :func:`learn_shape` will; the models are used up.

    Raises:
        TaskError: the data cannot be divided, no gradient arrives at a curve, the loss is finite with the activation
            but not with a curve in its place, or the optimizer takes closures.
        NonFinite: the loss is not finite with the activation itself.
    """
    copies = AloneCopies(_divide(task, recipe, len(members), 0), members, 1)
    optimizer = copies.runs[0].update.optimizer
    if needs_closure(optimizer):
        raise TaskError(
            f"shape learning changes the activation between the steps of the weights, and {type(optimizer).__name__} "
            "builds on a loss that stays the same: give another optimizer, or choose another strategy"
        )
    with copies.environment():
        try:
            copies.on_held_data(lambda losses: None)
        except NonFinite:
            raise NonFinite("the task's own loss is not finite") from None
        for curve in curves.values():
            curve.begin(-recipe.reach, recipe.reach)
        update = CurveUpdate(list(curves.values()), recipe, 0, 1)
        try:
            with learning(curves.values()):
                copies.on_held_data(update.take)
        except NonFinite as error:
            raise TaskError(
                f"{error}, though with the activation itself it is finite: choose another strategy"
            ) from None


def _divide(task: Task, recipe: ShapeRecipe, copies: int, seed: int) -> list[Part]:
    parts = []
    for seen, held in split_training_data(task, recipe.held, copies, seed):
        own = task.replace(train=seen, test=None, **_shorter(task, recipe.length))
        keep_reading(task, own)
        parts.append((own, held))
    return parts


def _shorter(task: Task, length: float) -> dict[str, Any]:
    """Settings of a budget in steps that is a share of the task's."""
    if task.steps is None:
        return {}
    whole = task.accumulate_grad_batches
    steps = max(whole, round(task.steps * length / whole) * whole)
    return {"steps": steps, "eval_every": min(steps, task.evaluation_interval)}


def _start(
    parts: Sequence[Part], members: Sequence[Member], evaluations: int, stacked: bool
) -> tuple[Copies, bool]:
    if stacked and len(members) > 1:
        return StackedCopies(parts, members, evaluations), True
    return AloneCopies(parts, members, evaluations), False


def _count_steps(task: Task, evaluations: int) -> int:
    """Steps of one training up to an evaluation."""
    if task.steps is not None:
        return task.position(evaluations)
    per_epoch = Batches(task.train, task.batch_size, task.torch_device(), 0).steps
    return (per_epoch or 1) * evaluations


def _at_points(curve: LearnedCurve, reach: float) -> Array:
    """Shares of the inputs, half of an interval's to each of its ends.

    In a pass of a single step nothing arrives once the grid is there: then a normal density, which the grid assumes.
    """
    assert curve.density is not None
    intervals = curve.density.numpy()
    if not intervals.sum() > 0:
        z = np.linspace(-reach, reach, len(intervals))
        intervals = np.exp(-z * z / 2)
    at_points = np.zeros(len(intervals) + 1)
    at_points[:-1] += intervals / 2
    at_points[1:] += intervals / 2
    return np.asarray(at_points / at_points.sum())


class _Course:
    """When the curves learn, from step to step.

    Attributes:
        steps: of the weights so far.
        curve_steps: of the curves so far.
    """

    def __init__(
        self,
        curves: Mapping[str, LearnedCurve],
        recipe: ShapeRecipe,
        copies: Copies,
        total: int,
        turn: tuple[int, int],
    ) -> None:
        self.steps = 0
        self.curve_steps = 0
        self._curves = dict(curves)
        self._recipe = recipe
        self._copies = copies
        self._warm = max(1, round(total * recipe.warm))
        self._learning = max(1, total - self._warm)
        self._turn = turn
        self._update: CurveUpdate | None = None
        for curve in self._curves.values():
            curve.moments = InputMoments()

    def count_density(self) -> None:
        """Count what arrives from here on."""
        for curve in self._curves.values():
            curve.count_density()

    def after_step(self) -> None:
        """The copies have made one more step."""
        self.steps += 1
        if self.steps < self._warm:
            return
        if self._update is None:
            self._update = self._begin()
        with learning(self._curves.values()):
            self._copies.on_held_data(self._update.take)
        self.curve_steps += 1

    def _begin(self) -> CurveUpdate:
        """Lay the grids where the inputs are; from here on the curves learn."""
        for group, curve in self._curves.items():
            moments = curve.moments
            assert moments is not None
            if not math.isfinite(moments.sd):
                raise NonFinite(f"what arrives at {group} became {moments.sd}")
            if moments.sd == 0:
                raise TaskError(
                    f"what arrives at {group} is one number for every sample, so that there is no shape to learn; "
                    "choose another strategy"
                )
            reach = self._recipe.reach * moments.sd
            curve.begin(moments.mean - reach, moments.mean + reach)
            curve.moments = None
        at, passes = self._turn
        curves, steps = list(self._curves.values()), self._learning
        return CurveUpdate(curves, self._recipe, (at - 1) * steps, passes * steps)
