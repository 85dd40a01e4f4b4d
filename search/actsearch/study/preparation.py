"""What is checked once before any trial: direction, task, model."""

from __future__ import annotations

import difflib
import logging
import time
from collections.abc import Collection, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from actsearch.errors import StudyError
from actsearch.evaluation import Candidate
from actsearch.evaluation.evaluate import ObjectiveCallable
from actsearch.evaluation.run import sample_of
from actsearch.halving import Competition, SuccessiveHalving
from actsearch.placement import place, pre_activations
from actsearch.records import SHARED, StudyRecord
from actsearch.seeds import derive
from actsearch.storage import Storage
from actsearch.task import Task
from actsearch.training import Overlap, check_data, check_task, fit, isolated_random

__all__ = [
    "check_model",
    "competition",
    "describe_objective",
    "forecast_seconds",
    "group_samples",
    "resolved_direction",
    "rows_in_test",
    "site_samples",
    "task_differences",
    "training_dtype",
]

_log = logging.getLogger("actsearch")

_SCREENED_SITES = 8
_DIFFERENT_LINES = 10
_SCREENED_SAMPLES = 128


def resolved_direction(study: StudyRecord, objective: ObjectiveCallable) -> str:
    """Which way is better: as the study says, or the metric's own.

    Raises:
        StudyError: if they contradict each other, or nobody says it.
    """
    if not callable(objective):
        raise StudyError(
            "the objective must be a Task or a function objective(candidate, run), "
            f"not {type(objective).__name__}"
        )
    own = objective.resolved_metric.direction if isinstance(objective, Task) else None
    if own is not None and study.direction not in (None, own):
        assert isinstance(objective, Task)
        raise StudyError(
            f"study {study.name!r} would {study.direction} {objective.resolved_metric.name}, "
            f"which is there to {own}: leave direction= out, or make the study anew"
        )
    if (direction := study.direction or own) is None:
        raise StudyError(
            "nobody says which way is better: create_study(direction='maximize') or 'minimize'"
        )
    return direction


def describe_objective(objective: ObjectiveCallable) -> dict[str, Any]:
    """What the stored results depend on besides the candidate, as JSON data."""
    if isinstance(objective, Task):
        return objective.describe()
    name = getattr(objective, "__qualname__", type(objective).__qualname__)
    return {"objective": str(name)}


def task_differences(
    stored: Mapping[str, Any], given: Mapping[str, Any], ignoring: Collection[str] = ()
) -> list[str]:
    """What changed in a task, a line each; of a model, the lines of its repr that differ."""
    found = []
    for key in sorted({*stored, *given} - set(ignoring)):
        before, now = stored.get(key), given.get(key)
        if before == now:
            continue
        if isinstance(before, list) and isinstance(now, list) and key == "model":
            lines = [line for line in difflib.ndiff(before, now) if line[0] in "+-"]
            found += [f"{key} {line}" for line in lines[:_DIFFERENT_LINES]]
        else:
            found.append(f"{key}: {now!r}, stored {before!r}")
    return found


def check_model(task: Task) -> None:
    """Fail now rather than in every trial.

    Raises:
        TaskError: model, data, loss and metric do not fit together, or nothing sound can come from the data.
        PlacementError: the model has nothing to replace.
    """
    with isolated_random(derive(0, "init")):
        model = task.build()
    check_data(task, lambda: model)
    placed = place(model, "relu", sample=sample_of(task, model)).model
    check_task(task, placed)


def rows_in_test(objective: ObjectiveCallable) -> tuple[Overlap, ...]:
    """What the test data of a task share with the data of the search, for its verdict.

    Raises:
        TaskError: nothing sound can come from the data.
    """
    if not isinstance(objective, Task):
        return ()

    def build() -> nn.Module:
        with isolated_random(derive(0, "init")):
            return objective.build()

    return check_data(objective, build, for_test=True)


def forecast_seconds(task: Task) -> float:
    """Seconds that one training of the unchanged model is expected to take, from one epoch of it."""
    with isolated_random(derive(0, "init")):
        model = Candidate.baseline().place(task.build()).model
    short = task.replace(epochs=1)
    started = time.perf_counter()
    fit(short, model, 0)
    return (time.perf_counter() - started) * task.epochs


def competition(
    storage: Storage, study: StudyRecord, objective: ObjectiveCallable
) -> Competition | None:
    """What the stored trials of a study reached at the rungs of its pruner; None where there is no pruner."""
    if study.pruner is None:
        return None
    pruner = SuccessiveHalving.from_json(study.pruner)
    budget = objective.epochs if isinstance(objective, Task) else None
    assert study.direction is not None
    found = Competition(pruner, study.direction, study.seed, budget)
    steps = None if budget is None else pruner.steps_before(budget)
    found.read(storage.curves(study.id, steps))
    return found


def site_samples(objective: ObjectiveCallable) -> list[Tensor]:
    """What arrives at the hidden sites of a task's own model, for screening; empty for other objectives."""
    seen = list(_pre_activations(objective).values())
    step = max(1, -(-len(seen) // _SCREENED_SITES))
    return seen[::step]


def group_samples(
    objective: ObjectiveCallable, sites: Mapping[str, Sequence[str]]
) -> dict[str, list[Tensor]]:
    """The same by group, for an activation that stands at some of the sites; all sites are the group ``"*"``.

    Args:
        objective: a task; of others there are no samples.
        sites: paths of the sites of each group.
    """
    seen = _pre_activations(objective)
    found = {
        group: [seen[path] for path in paths if path in seen] for group, paths in sites.items()
    }
    return found | {SHARED: list(seen.values())}


def _pre_activations(objective: ObjectiveCallable) -> dict[str, Tensor]:
    """What arrives at each hidden site of a task's own model, by path."""
    if not isinstance(objective, Task):
        return {}
    with isolated_random(derive(0, "init")):
        model = objective.build()
    inputs = _inputs(objective, model)
    if inputs is None:
        return {}
    device = next((p.device for p in model.parameters()), torch.device("cpu"))
    seen = pre_activations(model, _moved(inputs, device))
    return {path: item.inputs.float().cpu() for path, item in seen.items()}


def training_dtype(objective: ObjectiveCallable) -> torch.dtype:
    """The precision in which a task's activations compute."""
    if not isinstance(objective, Task):
        return torch.float32
    if objective.amp is not None:
        return torch.bfloat16
    with isolated_random(derive(0, "init")):
        model = objective.build()
    dtypes = [p.dtype for p in model.parameters() if p.is_floating_point()]
    return dtypes[0] if dtypes else torch.float32


def _inputs(task: Task, model: nn.Module) -> Any:
    if isinstance(task.train, tuple) and task.step is None:
        inputs = tuple(tensor[:_SCREENED_SAMPLES] for tensor in task.train[:-1])
        return inputs[0] if len(inputs) == 1 else inputs
    return sample_of(task, model)


def _moved(inputs: Any, device: torch.device) -> Any:
    if isinstance(inputs, tuple):
        return tuple(_moved(item, device) for item in inputs)
    if isinstance(inputs, Mapping):
        return {key: _moved(item, device) for key, item in inputs.items()}
    return inputs.to(device) if isinstance(inputs, Tensor) else inputs
