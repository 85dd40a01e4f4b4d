"""A trial of shape learning: copies of a task's model, one curve for each group of sites, and what came out."""

from __future__ import annotations

import dataclasses
import statistics
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from actsearch.activation_catalog import CATALOG
from actsearch.activations import Activation, build_at_start, describe, value_and_gradient
from actsearch.errors import ActsearchError, TaskError
from actsearch.evaluation.candidate import Candidate
from actsearch.evaluation.request import Request
from actsearch.evaluation.stacked import Stacker
from actsearch.evaluation.task_analysis import TaskAnalysis
from actsearch.records import (
    CURVES,
    TRAININGS,
    ActivationRecord,
    CandidateRecord,
    EvaluationRecord,
    Outcome,
    TrialState,
)
from actsearch.seeds import derive
from actsearch.task import Task
from actsearch.training.loop import seed_streams
from actsearch.training.measures import NonFinite
from actsearch.training.shape import (
    LearnedCurve,
    LearnedShape,
    ShapeRecipe,
    SharedCurve,
    check_shape,
    learn_shape,
)
from actsearch.training.stack import Member

__all__ = ["check_shape_learning", "run_shape_pass"]

_DIGITS = 9  # of a number of a curve, as it is stored
RECIPE = ShapeRecipe()


def run_shape_pass(analysis: TaskAnalysis, request: Request) -> Outcome:
    """Learn the shape of the activations that a candidate begins with.

    Its state is PRUNED: the copies do not train to the end of the task's budget, and what they reach is no value of an
    activation that could be compared with others.

    Args:
        analysis: of the task.
        request: for a candidate with :data:`actsearch.records.SHAPE` as its operation.
    """
    seed = derive(request.seeds[0], "shape", request.number)
    lr = analysis.task.lr if request.lr is None else request.lr
    try:
        ways = (
            (True, False) if Stacker(analysis).may_stack(_as_tried(request.record)) else (False,)
        )
        for stacked in ways:
            members, curves = _make_copies(analysis, request.record, seed, lr, RECIPE.copies)
            try:
                shape = learn_shape(
                    analysis.task, members, curves, RECIPE, seed,
                    turn=request.record.turn, stacked=stacked,
                )  # fmt: skip
            except (TaskError, NonFinite):
                raise
            except Exception:  # as of memory: each by itself takes less
                if not stacked:
                    raise
            else:
                return _outcome(shape, [member.seed for member in members], analysis.task)
    except Exception as error:  # the user's model, data or loss: anything
        return Outcome(TrialState.FAILED, None, reason=f"shape learning: {_first_line(error)}")
    raise AssertionError("one of the ways returns")


def check_shape_learning(analysis: TaskAnalysis, record: CandidateRecord) -> None:
    """Fail now rather than in a trial.

    Args:
        analysis: of the task.
        record: where the first pass begins.

    Raises:
        TaskError: the data cannot be divided, the loss is not finite, or no gradient arrives at an activation.
    """
    if not analysis.task.diagnostics:
        raise TaskError(
            "shape learning reads what names have learned in the network from its diagnostics: leave out "
            "diagnostics=False, or choose another strategy"
        )
    try:
        members, curves = _make_copies(analysis, record, 0, analysis.task.lr, 1)
        check_shape(analysis.task, members, curves, RECIPE)
    except ActsearchError:
        raise
    except NonFinite as error:
        raise TaskError(
            f"{error} in a fresh model with {_as_tried(record).label}, which is where shape learning begins: mend the "
            "task's loss or data"
        ) from error
    except Exception as error:  # the user's model, data or loss: anything
        raise TaskError(
            f"shape learning is not possible with this task, as its loss on data that are held back cannot be "
            f"differentiated by a piecewise linear activation: {_first_line(error)}; choose another strategy"
        ) from error


def _first_line(error: Exception) -> str:
    lines = str(error).splitlines()
    return lines[0] if lines else type(error).__name__


def _make_copies(
    analysis: TaskAnalysis, record: CandidateRecord, seed: int, lr: float, count: int
) -> tuple[list[Member], dict[str, LearnedCurve]]:
    """Fresh models with shared curves at their sites."""
    record = _as_tried(record)
    keys = _keys_by_path(analysis, record)
    curves = {
        key: LearnedCurve(_function(item, analysis.device), RECIPE.points, analysis.device)
        for key, item in record.activations.items()
    }
    members = []
    for copy in range(count):
        own_seed = derive(seed, "copy", copy)
        placement = analysis.place(Candidate(record), own_seed)
        model = placement.model.to(analysis.device)
        for path, key in keys.items():
            _put(model, path, SharedCurve(record.activations[key], curves[key]))
        seed_streams(model, own_seed)
        members.append(Member(model, tuple(keys), own_seed, lr))
    return members, curves


def _as_tried(record: CandidateRecord) -> CandidateRecord:
    """What a pass begins with, as a candidate like any other."""
    return dataclasses.replace(record, operation="")


def _keys_by_path(analysis: TaskAnalysis, record: CandidateRecord) -> dict[str, str]:
    """For each site that is replaced, the key of its group: found with a different activation for each key."""
    names = {f"0:0 1:{index + 1}": key for index, key in enumerate(record.activations)}
    marked = {key: describe("linear_spline", points=points) for points, key in names.items()}
    placement = analysis.place(Candidate(CandidateRecord(marked)), 0)
    keys = {}
    for item in placement.replaced:
        module = placement.model.get_submodule(item.path)
        assert isinstance(module, Activation)
        keys[item.path] = names[str(module.record.hyperparameters["points"])]
    return keys


def _function(item: ActivationRecord, device: torch.device) -> Any:
    """An activation as a function of tensors of any shape, with learned numbers as they start.

    Raises:
        TaskError: it is not one function of one number, or has no slope.
    """
    row = CATALOG[item.name] if item.name else None
    why = ""
    if row is not None and (not row.elementwise or row.random):
        why = "not a fixed function of one number"
    elif row is not None and row.straight_through or not _has_slope(item):
        why = "a step: its derivative is 0 wherever it has one"
    if why:
        raise TaskError(
            f"shape learning cannot begin with {item.label}, which is {why}; begin with another activation, as "
            "Gradient(start='relu')"
        )
    module = build_at_start(item).to(device).eval().requires_grad_(False)

    def function(x: Tensor) -> Tensor:
        result: Tensor = module(x.unsqueeze(-1)).squeeze(-1)
        return result

    return function


def _has_slope(item: ActivationRecord) -> bool:
    points = torch.linspace(-3, 3, 61).unsqueeze(1)
    return bool(value_and_gradient(build_at_start(item), points)[1].abs().max() > 0)


def _put(model: nn.Module, path: str, module: nn.Module) -> None:
    parent, _, name = path.rpartition(".")
    module.train(model.get_submodule(path).training)
    setattr(model.get_submodule(parent), name, module)


def _outcome(shape: LearnedShape, seeds: Sequence[int], task: Task) -> Outcome:
    seconds = shape.seconds / len(seeds)
    evaluations = tuple(
        EvaluationRecord(seed, epochs[-1].valid_metric, {}, epochs, seconds)
        for seed, epochs in zip(seeds, shape.epochs, strict=True)
    )
    values = [item.value for item in evaluations if item.value is not None]
    last = f"{'epoch' if task.steps is None else 'step'} {shape.epochs[0][-1].epoch}"
    curves = "one curve" if len(shape.x) == 1 else "one curve for each group of sites"
    return Outcome(
        TrialState.PRUNED,
        statistics.fmean(values) if len(values) == len(seeds) else None,
        statistics.stdev(values) if len(values) > 1 else None,
        evaluations,
        reason=f"a pass of shape learning: {len(seeds)} fresh copies of the model, trained up to {last} with "
        f"{curves}; it took as long as {shape.trainings:.2g} trainings",
        seconds=shape.seconds,
        user_attrs={CURVES: _as_json(shape), TRAININGS: round(shape.trainings, 3)},
    )


def _as_json(shape: LearnedShape) -> Mapping[str, Any]:
    def numbers(values: Any) -> list[float]:
        return [float(f"{value:.{_DIGITS}g}") for value in values]

    return {
        key: {
            "x": numbers(shape.x[key]),
            "y": numbers(shape.y[key]),
            "density": numbers(shape.density[key]),
        }
        for key in shape.x
    }
