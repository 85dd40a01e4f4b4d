"""Operators that torch lacks, and the binding of operator rows to their implementations."""

from __future__ import annotations

import functools
import importlib
import operator
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, fx

from actsearch.errors import ActivationError
from actsearch.operators import OPERATORS, Operator

__all__ = [
    "bind",
    "crelu",
    "cube",
    "gate",
    "gauss",
    "hardsigmoid",
    "hardsigmoid_slope",
    "identity",
    "largest",
    "logsigmoid",
    "import_callable",
    "is_tracing",
    "keep_in_graph",
    "mix",
    "piecewise",
    "product",
    "smallest",
    "softmax2d",
    "total",
]


def identity(a: Tensor) -> Tensor:
    """The argument itself."""
    return a


def cube(a: Tensor) -> Tensor:
    """a^3, by multiplication: faster than a power."""
    return a * a * a


def gauss(a: Tensor) -> Tensor:
    """exp(-a^2)."""
    return torch.exp(-torch.square(a))


def gate(a: Tensor, b: Tensor) -> Tensor:
    """sigmoid(a) * b."""
    return torch.sigmoid(a) * b


def piecewise(x: Tensor, left: Tensor, right: Tensor) -> Tensor:
    """Left where the input x is negative, right elsewhere; NaN stays NaN."""
    zero = x.detach().clamp(0, 0)  # or NaN; adding it is cheaper than a second where
    return torch.where(x < 0, left, right).add_(zero)


def logsigmoid(a: Tensor) -> Tensor:
    """log(sigmoid(a)), without the overflow that this would have far to the left."""
    if torch.onnx.is_in_onnx_export():
        return -F.softplus(-a)  # torch's exporter would write the log of a sigmoid
    return F.logsigmoid(a)


def hardsigmoid(a: Tensor) -> Tensor:
    """torch's in every bit of value and gradient, with the second derivative 0, of which torch has none."""
    if not torch.is_grad_enabled() or is_tracing():
        return F.hardsigmoid(a)
    slope = F.hardtanh(a, -3, 3) * _SIXTH
    return F.hardsigmoid(a.detach()) + (slope - slope.detach())  # adds exactly 0 to the value


def hardsigmoid_slope(gradient: Tensor, a: Tensor) -> Tensor:
    """The gradient of its argument."""
    slope: Tensor = torch.ops.aten.hardtanh_backward(gradient * _SIXTH, a, -3, 3)
    return slope


_SIXTH = float(
    torch.tensor(1 / 6)
)  # in single precision, as the kernel of torch's gradient holds it


def mix(a: Tensor, b: Tensor, weight: Tensor) -> Tensor:
    """(1 - weight) a + weight b."""
    return a + weight * (b - a)


def largest(*arguments: Tensor) -> Tensor:
    """The largest of two tensors or more; those that tie share the gradient in equal parts."""
    if len(arguments) == 2:
        return torch.maximum(*arguments)
    return _stack_tensors(arguments).amax(0)


def smallest(*arguments: Tensor) -> Tensor:
    """The smallest of two tensors or more; those that tie share the gradient in equal parts."""
    if len(arguments) == 2:
        return torch.minimum(*arguments)
    return _stack_tensors(arguments).amin(0)


@fx.wrap  # torch.fx has no dtypes and axes to look at
def _stack_tensors(arguments: tuple[Tensor, ...]) -> Tensor:
    """Along a new first axis; numbers, tensors without axes, take the dtype of the others."""
    dtype = next((item.dtype for item in arguments if item.dim()), arguments[0].dtype)
    whole = torch.broadcast_tensors(*(item.to(dtype) for item in arguments))  # type: ignore[no-untyped-call]
    return torch.stack(whole)


def total(*arguments: Tensor) -> Tensor:
    """The sum of two tensors or more, from the left."""
    return functools.reduce(operator.add, arguments)


def product(*arguments: Tensor) -> Tensor:
    """The product of two tensors or more, from the left."""
    return functools.reduce(operator.mul, arguments)


def keep_in_graph(result: Tensor) -> Tensor:
    """The result itself; its derivative depends on it, with slope 0, for autograd too.

    That of maximum, minimum, where, addition and multiplication by a number does not depend on it: to differentiate
    it once more, as physics-informed models do, is an error there and 0 for torch's own piecewise-linear modules.
    A leaky ReLU of slope 1 changes no bit of values and gradients.
    """
    if torch.onnx.is_in_onnx_export():
        return result  # a node that does nothing
    return F.leaky_relu(result, 1.0)


def softmax2d(x: Tensor) -> Tensor:
    """Softmax over the channels of (batch, channels, height, width) or (channels, height, width)."""
    return torch.softmax(x, dim=-3)


def crelu(x: Tensor, dim: int = 1) -> Tensor:
    """relu(x) beside relu(-x): twice as long along one dimension."""
    return torch.cat([torch.relu(x), torch.relu(-x)], dim=dim)


def is_tracing() -> bool:
    """Whether torch.jit.trace records what is computed: sizes are then tensors, which no code may ask."""
    return bool(torch.jit.is_tracing())  # type: ignore[attr-defined, no-untyped-call]


def import_callable(dotted: str) -> Callable[..., Tensor]:
    """The callable behind a dotted name of our own tables (never of user text)."""
    module, _, name = dotted.rpartition(".")
    function: Callable[..., Tensor] = getattr(importlib.import_module(module), name)
    return function


@functools.cache
def bind(name: str) -> Callable[..., Tensor]:
    """The implementation of an operator, checked once on set points.

    Raises:
        ActivationError: if shape, dtype or gradient are not those of an elementwise function.
    """
    row = OPERATORS[name]
    function = import_callable(row.function)
    least = row.arity + len(row.learned) + row.uses_x
    for count in (least, least + 1) if row.separator is not None else (least,):
        _check(row, function, count)
    if row.expected is not None:
        _check_value(row, function)
    return function


def _check_value(row: Operator, function: Callable[..., Tensor]) -> None:
    """Compare with the value that the row gives."""
    numbers = (
        [0.4, 1.3, 0.7] if row.uses_x else [0.4, 1.3][: row.arity] + [0.25] * len(row.learned)
    )
    for dtype, rtol in ((torch.float64, 1e-12), (torch.float32, 1e-5)):
        value = function(*(torch.tensor([number], dtype=dtype) for number in numbers))
        if not torch.allclose(value, torch.tensor([row.expected], dtype=dtype), rtol=rtol, atol=0):
            raise ActivationError(
                f"operator {row.name!r}: {row.function} gives {value.item()!r} at {numbers}, not {row.expected!r}"
            )


def _check(row: Operator, function: Callable[..., Tensor], count: int) -> None:
    # every operator of the table is finite and smooth there
    points = torch.linspace(0.15, 0.85, 6, dtype=torch.float64).reshape(2, 3)
    arguments = [points * (1 + 0.1 * index) for index in range(count)]
    for index in range(count):
        _check_argument(row, function, arguments, index)
    whole, part = function(*arguments), function(*(values[1:, :2] for values in arguments))
    if not torch.allclose(part, whole[1:, :2], rtol=1e-12, atol=0):
        raise ActivationError(f"operator {row.name!r}: {row.function} is not elementwise")


def _check_argument(
    row: Operator, function: Callable[..., Tensor], arguments: list[Tensor], index: int
) -> None:
    """Compare autograd's derivative in one argument with a central difference."""

    def along(value: Tensor) -> Any:
        return function(*arguments[:index], value, *arguments[index + 1 :])

    point = arguments[index].clone().requires_grad_()
    with torch.enable_grad():
        result = along(point)
        if (
            not isinstance(result, Tensor)
            or result.shape != point.shape
            or result.dtype != point.dtype
        ):
            raise ActivationError(f"operator {row.name!r}: {row.function} changes shape or dtype")
        if result.requires_grad:
            (slope,) = torch.autograd.grad(result.sum(), point, allow_unused=True)
        else:
            slope = None
    step = 1e-6  # the error of a central difference, step**2 + eps / step, is then far below the tolerance
    expected = (along(point.detach() + step) - along(point.detach() - step)) / (2 * step)
    slope = torch.zeros_like(expected) if slope is None else slope
    if not torch.allclose(slope, expected, rtol=1e-5, atol=1e-7):
        raise ActivationError(
            f"operator {row.name!r}: gradient of {row.function} is not its derivative"
        )
