"""Which calls compute each number of a tensor from one number, and what curve that is."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from actsearch.placement.dataflow import Step, Value, call_name, draws, fill
from actsearch.placement.known_activations import NORMALISING, PART_OF_GRID, is_line

__all__ = [
    "curve_of",
    "is_affine",
    "is_in_a_row",
    "lies_between_0_and_1",
    "may_be_elementwise",
    "may_be_part",
]

# what looks elementwise and is no function of a number: it cuts gradients, makes another view, or is a layer
_EXCLUDED = frozenset(
    "detach data forward requires_grad view view_as reshape expand expand_as getitem get is_floating_point size "
    "shape dim numel set copy fill linear conv1d conv2d conv3d matmul embedding layer_norm batch_norm "
    "group_norm".split()
) | frozenset(NORMALISING)


def may_be_part(function: Any) -> bool:
    """Whether a function may be part of a chain, as far as its name goes; most are not elementwise all the same."""
    name = call_name(function)
    return bool(name) and name not in _EXCLUDED and not draws(name)


def may_be_elementwise(step: Step) -> bool:
    """Whether a step may compute each number from the one at its place, as far as names and shapes go."""
    if step.is_layer or len(step.results) != 1 or not step.operands:
        return False
    if not isinstance(step.key, str) and not may_be_part(step.function):
        return False
    result = step.results[0].shape
    return all(
        value.shape is None or result is None or value.shape == result for value in step.operands
    )


def curve_of(step: Step, curves: Mapping[Value, Tensor]) -> Tensor | None:
    """What a step gives over the grid; None if it does not compute each number from the one at its place."""
    try:
        with torch.no_grad():
            whole = _evaluate(step, curves)
            part = _evaluate(step, {value: curve[PART_OF_GRID] for value, curve in curves.items()})
    except Exception:  # whatever it needs, it is not one tensor of any shape
        return None
    grid = next(iter(curves.values()))
    if not isinstance(whole, Tensor) or whole.shape != grid.shape or whole.is_quantized:
        return None
    alone = whole[PART_OF_GRID]
    if part.shape != alone.shape:
        return None
    same = torch.allclose(alone.double(), part.double(), equal_nan=True)
    return whole if same else None


def _evaluate(step: Step, curves: Mapping[Value, Tensor]) -> Any:
    def given(value: Value) -> Any:
        if value in curves:
            return curves[value].clone()
        if value.example is None:
            raise ValueError("an unknown constant")
        return value.example.clone()

    args, kwargs = fill((step.args, dict(step.kwargs)), Value, given)
    return step.function(*args, **kwargs)


def is_affine(step: Step, grid: Tensor) -> bool:
    """Whether a step of one operand only scales and shifts it."""
    if len(step.operands) != 1:
        return False
    curve = curve_of(step, {step.operands[0]: grid})
    return curve is not None and curve.is_floating_point() and is_line(grid, curve)


def is_in_a_row(steps: Sequence[Step]) -> bool:
    """Whether each step is given what the one before gives, and nothing else."""
    given = [step.operands for step in steps]
    return all(len(operands) == 1 for operands in given) and len({o[0] for o in given}) == len(
        given
    )


def lies_between_0_and_1(function: Callable[[Tensor], Any]) -> bool:
    """Whether an activation is a step from 0 to 1, however it is written."""
    x = torch.linspace(-12, 12, 97)
    try:
        with torch.no_grad():
            y = function(x)
    except Exception:  # it learns for each channel, or takes more arguments
        return False
    if not isinstance(y, Tensor) or y.shape != x.shape or not y.is_floating_point():
        return False
    rises = bool((y.diff() >= -1e-4).all())
    return (
        rises and bool(y.min() > -1e-3) and bool(y.max() < 1 + 1e-3) and bool(y[-1] - y[0] > 0.5)
    )
