"""The user's learning-rate schedule: made, looked through to its end, and stepped when its turn comes."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Sequence
from typing import Any
from weakref import WeakSet

import torch
from torch import nn
from torch.optim.lr_scheduler import LRScheduler, ReduceLROnPlateau

from actsearch.errors import TaskError
from actsearch.task import Task
from actsearch.task.task import SCHEDULES
from actsearch.training.measures import Measures
from actsearch.training.optimizer import build_for_model, build_for_parameters, takes_model

__all__ = [
    "Schedule",
    "build_schedule",
    "check_schedule",
    "schedule_steps",
    "uses_learning_rate",
]

_LOOKED_THROUGH = 20_000  # steps of a schedule at most, which take about half a second
_NOTHING = 1e-6  # of its largest rate: below it nothing is learned any more
_LITTLE = 1e-3  # of its largest rate: below it from the middle on, and at nothing in the end, epochs were meant


def schedule_steps(task: Task, batches: int | None, evaluations: int) -> int | None:
    """How often a schedule is stepped in a training of so many evaluations; None where that is not known.

    Args:
        task: its budget.
        batches: in an epoch; None where the data do not know.
        evaluations: of the training.
    """
    share = task.accumulate_grad_batches
    if task.schedule_every == "epoch":
        return evaluations
    if task.steps is not None:
        return task.position(evaluations) // share
    return None if batches is None else -(-batches // share) * evaluations


def build_schedule(
    task: Task, optimizer: torch.optim.Optimizer, total_steps: int | None
) -> LRScheduler | None:
    """The task's schedule, or None.

    Raises:
        TaskError: when the number of steps is needed but the data does not know its length, or what should make the
            schedule does not.
    """
    if task.schedule is None:
        return None
    if total_steps is None:
        raise TaskError(
            "a schedule needs training data that knows its length: give the data a __len__, or steps="
        )
    make = SCHEDULES[task.schedule] if isinstance(task.schedule, str) else task.schedule
    try:
        schedule = make(optimizer, total_steps)
    except Exception as error:  # the user's function: anything
        groups = len(optimizer.param_groups)
        hint = "" if groups == 1 else (
            f"; the optimizer has {groups} groups of parameters, one of them for what activations learn: give a value "
            "for each of optimizer.param_groups"
        )  # fmt: skip
        raise TaskError(
            f"schedule= is called with (optimizer, total_steps): {type(error).__name__}: {error}{hint}"
        ) from error
    if schedule is None:
        raise TaskError("schedule= is called with (optimizer, total_steps) and returned None")
    return schedule


class Schedule:
    """A schedule in a training; every method does nothing where it is not its turn, or there is no schedule."""

    def __init__(
        self, task: Task, optimizer: torch.optim.Optimizer, total_steps: int | None
    ) -> None:
        self._scheduler = build_schedule(task, optimizer, total_steps)
        self._every = "evaluation" if self.follows_plateaus else _unit(task)
        self._direction = task.resolved_metric.direction

    @property
    def follows_plateaus(self) -> bool:
        """Whether it goes by what is measured."""
        return isinstance(self._scheduler, ReduceLROnPlateau)

    def after_step(self) -> None:
        """The optimizer made a step."""
        if self._scheduler is not None and self._every == "step":
            self._scheduler.step()

    def after_epoch(self) -> None:
        """A pass over the training data has ended."""
        if self._scheduler is not None and self._every == "epoch":
            self._scheduler.step()

    def after_evaluation(self, measures: Measures) -> None:
        """Validation data were measured.

        ``ReduceLROnPlateau(mode="min")`` goes by the loss, where that is measured, ``mode="max"`` by the metric.

        Raises:
            TaskError: its mode is not that of the metric.
        """
        scheduler = self._scheduler
        if not isinstance(scheduler, ReduceLROnPlateau):
            return
        value = measures.loss if scheduler.mode == "min" else None
        if value is None:
            other = "maximize" if scheduler.mode == "min" else "minimize"
            if self._direction == other:
                right = "max" if scheduler.mode == "min" else "min"
                raise TaskError(
                    f"ReduceLROnPlateau(mode={scheduler.mode!r}) waits for the wrong end of {measures.metric.name}: "
                    f"give mode={right!r}"
                )
            value = measures.value
        assert value is not None
        scheduler.step(value)


_seen: WeakSet[Task] = WeakSet()
"""Tasks whose schedule was looked through."""


def check_schedule(task: Task, model: nn.Module, total_steps: int | None) -> None:
    """Step the task's own schedule to its end, without training; once for each task.

    Raises:
        TaskError: it ends before the training does, or lowers the rate to nothing before half of it.
    """
    if not callable(task.schedule) or task in _seen:
        return
    optimizer = build_for_model(task, model, task.lr)
    schedule = build_schedule(task, optimizer, total_steps)
    if schedule is None or total_steps is None or isinstance(schedule, ReduceLROnPlateau):
        return
    planned = getattr(schedule, "total_steps", None)
    if isinstance(planned, int) and planned < total_steps:
        raise TaskError(
            f"schedule= is made for {planned} steps, and this training has {total_steps}: give it the number of steps "
            "that it is called with, as schedule=lambda optimizer, total_steps: ..."
        )
    rates = _rates(schedule, optimizer, min(total_steps, _LOOKED_THROUGH))
    where = _where_it_vanishes(rates, total_steps)
    if where is not None:
        advice = (
            "say schedule_every='epoch' if it counts epochs"
            if task.schedule_every is None and task.steps is None
            else f"let it count up to {total_steps}"
        )
        raise TaskError(
            f"schedule= is stepped after every {_unit(task)}, and from {_unit(task)} {where} of {total_steps} on the "
            f"learning rate is below {_NOTHING:g} of its largest: {advice}"
        )
    is_open = task.schedule_every is None and task.steps is None and task.epochs < total_steps
    if is_open and len(set(rates)) > 1:
        _refuse_two_readings(task, model, rates, schedule, total_steps)
    _seen.add(task)


_HORIZONS = (
    "step_size",
    "milestones",
    "_milestones",
    "T_max",
    "T_0",
    "total_iters",
    "step_size_up",
)
"""What torch's schedules call the numbers of steps after which they change."""


def _refuse_two_readings(
    task: Task, model: nn.Module, rates: Sequence[float], schedule: LRScheduler, total_steps: int
) -> None:
    """Refuse a schedule that does not depend on the number of steps: what it counts may be epochs or steps.

    One that changes at half of the steps or later counts these.

    Raises:
        TaskError: what to say.
    """
    horizons = _horizons(schedule)
    if max(horizons.values(), default=0) >= total_steps / 2:
        return
    optimizer = build_for_model(task, model, task.lr)
    longer = build_schedule(task, optimizer, 2 * total_steps)
    if longer is None or _rates(longer, optimizer, len(rates)) != rates:
        return
    what = max(horizons.items(), key=lambda item: item[1], default=None)
    named = "has its own course" if what is None else f"has {what[0]}={what[1]}"
    raise TaskError(
        f"schedule= {named}, whatever the number of steps, and may count the {task.epochs} epochs or the {total_steps} "
        "steps: say schedule_every='epoch' or schedule_every='step'"
    )


def _horizons(schedule: Any) -> dict[str, int]:
    """The largest of each of the numbers by which a schedule, and those it is made of, count."""
    found: dict[str, int] = {}
    for name in _HORIZONS:
        value = getattr(schedule, name, None)
        values = list(value) if isinstance(value, Iterable) else [value]
        if numbers := [int(item) for item in values if isinstance(item, (int, float))]:
            found[name.lstrip("_")] = max(numbers)
    for part in getattr(schedule, "_schedulers", ()):
        for name, value in _horizons(part).items():
            found[name] = max(value, found.get(name, 0))
    return found


def _where_it_vanishes(rates: Sequence[float], total_steps: int) -> int | None:
    """The step from which on a schedule leaves nothing to be learned, where that comes too early; None elsewhere.

    Usual schedules are at a tenth or more by the middle, also where they end at 0.
    """
    highest = max(rates)
    middle = min(total_steps, len(rates)) // 2  # of a long training, as far as was looked
    if len(rates) < 2:
        return None
    end = 1 + max(step for step, rate in enumerate(rates, 1) if rate >= _NOTHING * highest)
    is_early = end <= middle + 1 or max(rates[middle:]) < _LITTLE * highest
    return end if is_early and end <= len(rates) else None


def _unit(task: Task) -> str:
    return "epoch" if task.schedule_every == "epoch" else "step"


def _rates(schedule: LRScheduler, optimizer: torch.optim.Optimizer, steps: int) -> list[float]:
    """The largest rate of any group, step by step.

    Raises:
        TaskError: the schedule cannot be stepped so often.
    """
    rates = [max(float(group["lr"]) for group in optimizer.param_groups)]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that the optimizer makes no steps
        for step in range(1, steps):
            try:
                schedule.step()
            except Exception as error:  # the user's own class: anything
                raise TaskError(
                    f"schedule= fails at step {step} of {steps}: {type(error).__name__}: {error}"
                ) from error
            rates.append(max(float(group["lr"]) for group in optimizer.param_groups))
    return rates


def uses_learning_rate(task: Task) -> bool:
    """Whether the rates of a training follow the task's ``lr``: a schedule or optimizer of the user's may set its own.

    Both are built for a parameter of their own, or for the model where the optimizer is given that, at two rates.
    """
    try:
        return _first_rates(task, task.lr) != _first_rates(task, 3 * task.lr)
    except (
        Exception
    ):  # as an optimizer for other shapes alone; what is wrong with it is said when it trains
        return True


def _first_rates(task: Task, lr: float) -> list[float]:
    if takes_model(task.optimizer):
        optimizer = build_for_model(task, task.build(), lr)
    else:
        parameter = nn.Parameter(torch.zeros(2, 2))
        parameter.grad = torch.zeros(2, 2)
        optimizer = build_for_parameters(task, [parameter], [], lr)
    # some refuse to be stepped at their end
    schedule = build_schedule(task, optimizer, 2 * _PROBED)
    rates = []
    for _ in range(_PROBED):
        rates += [float(group["lr"]) for group in optimizer.param_groups]
        optimizer.step()
        if schedule is not None and not isinstance(schedule, ReduceLROnPlateau):
            schedule.step()
    return rates


_PROBED = (
    16  # steps: a schedule that starts at a rate of 0 or at one of its own may follow lr later
)
