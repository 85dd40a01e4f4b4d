"""How long a training is, and where it is evaluated: after each epoch, or after so many steps."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from actsearch.checks import check_field, check_integer, check_one_of
from actsearch.errors import TaskError

if TYPE_CHECKING:
    from actsearch.task.task import Task

__all__ = ["budget_settings", "check_budget", "default_eval_every"]

_MOST = 2**31 - 1  # the number of an epoch or step is stored in 32 bits
_EVALUATIONS = 10  # of a training in steps, unless the task says where


def check_budget(task: Task) -> None:
    """Refuse settings of a budget that do not go together.

    Raises:
        TaskError: a number is not one of those allowed, or two settings do not go together.
    """
    check_field(task, "epochs", check_integer, TaskError, low=1, high=_MOST)
    check_field(task, "accumulate_grad_batches", check_integer, TaskError, low=1)
    for name in ("steps", "eval_every", "patience"):
        if getattr(task, name) is not None:
            check_field(task, name, check_integer, TaskError, low=1, high=_MOST)
    check_one_of("schedule_every", task.schedule_every, ("step", "epoch", None), TaskError)
    check_one_of("tune_lr", task.tune_lr, ("auto", True, False), TaskError)
    if task.steps is None:
        if task.eval_every is not None:
            raise TaskError(
                "eval_every= counts training steps: give steps= in the place of epochs="
            )
        return
    _check_steps(task, task.steps)


def _check_steps(task: Task, steps: int) -> None:
    if task.eval_every is not None and task.eval_every > steps:
        raise TaskError(
            f"eval_every={task.eval_every} is more than steps={steps}: give at most {steps}"
        )
    if task.schedule_every == "epoch":
        raise TaskError(
            "schedule_every='epoch' needs a budget in epochs, and steps= has none: give epochs=, or step the schedule "
            "every batch"
        )
    batches = task.accumulate_grad_batches
    for name, value in (("steps", steps), ("eval_every", task.eval_every)):
        if value is not None and value % batches:
            raise TaskError(
                f"{name}={value} must be a multiple of accumulate_grad_batches={batches}: a step of the optimizer may "
                "not be cut in two"
            )


def default_eval_every(steps: int, accumulated: int) -> int:
    """Steps from one evaluation to the next: ten evaluations, each after a whole step of the optimizer."""
    share = -(-steps // _EVALUATIONS)
    return min(steps, -(-share // accumulated) * accumulated)


def budget_settings(task: Task) -> dict[str, Any]:
    """What of the budget decides results, as JSON data; settings that older versions lacked only where they are set."""
    settings: dict[str, Any] = {}
    if task.steps is None:
        settings["epochs"] = task.epochs
    else:
        settings |= {"steps": task.steps, "eval_every": task.evaluation_interval}
    defaults = {
        "schedule_every": "step",
        "patience": None,
        "tune_lr": "auto",
        "accumulate_grad_batches": 1,
    }
    for name, usual in defaults.items():
        if (value := getattr(task, name)) not in (usual, None):
            settings[name] = value
    return settings
