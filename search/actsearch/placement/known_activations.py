"""The activations that torch knows as functions and as methods of a tensor, and those that only behave like one."""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch._ops import OpOverload, OpOverloadPacket
from torch.nn import functional as F
from torch.nn.modules import activation as torch_activations

from actsearch.activations import Activation
from actsearch.placement.function_module import FunctionModule
from actsearch.placement.script_modules import is_scripted
from actsearch.seeds import global_streams

__all__ = [
    *("CALLS", "GATES", "IN_PLACE", "METHODS", "MODULES", "MULTIPLYING", "NORMALISING", "PASSING", "PASSING_MODULES"),
    *("PART_OF_GRID", "SHIFTING", "SQUASHING", "equivalent_class", "is_activation", "is_line", "kernel_name"),
    *("function_name", "known_name", "make_grid"),
]  # fmt: skip

NORMALISING = ("softmax", "softmin", "log_softmax")
"""Functions whose outputs depend on more than their own input."""

SQUASHING = ("sigmoid", "tanh", "hardsigmoid", "logsigmoid")
"""Functions that at the very end of a model are part of what it predicts."""

GATES = ("sigmoid", "hardsigmoid")
"""Functions that open a gate where their result multiplies something else."""

_FUNCTIONAL = (
    *("relu", "relu6", "elu", "selu", "celu", "leaky_relu", "prelu", "rrelu", "gelu", "silu", "mish", "hardswish"),
    *("hardtanh", "hardshrink", "softshrink", "tanhshrink", "softsign", "softplus", "threshold", "glu"),
    *SQUASHING,
    *NORMALISING,
)  # fmt: skip


def _known_calls() -> dict[Callable[..., Any], str]:
    """What a call of a known function arrives as, with the function's name."""
    calls: dict[Callable[..., Any], str] = {torch.special.expit: "sigmoid"}
    for name in _FUNCTIONAL:
        for home in (F, torch, Tensor, torch.special):
            for variant in (name, f"{name}_"):  # in place
                if callable(function := getattr(home, variant, None)):
                    calls[function] = name
    return calls


CALLS = _known_calls()
"""Name by function: ``F.relu``, ``torch.relu``, ``torch.Tensor.relu`` and their in-place forms are all "relu"."""

IN_PLACE = frozenset(
    function for function in CALLS if str(getattr(function, "__name__", "")).endswith("_")
)
"""Those that write their result over their argument."""

METHODS = {
    variant: name
    for name in _FUNCTIONAL
    for variant in (name, f"{name}_")
    if hasattr(Tensor, variant)
}
"""Name by method of a tensor."""

MODULES: tuple[type[nn.Module], ...] = (
    Activation,
    FunctionModule,
    *(
        getattr(torch_activations, name)
        for name in torch_activations.__all__
        if name != "MultiheadAttention"
    ),
)
"""Classes of modules that are activations."""


PASSING_MODULES = (nn.Identity, nn.Flatten, nn.Unflatten, nn.modules.dropout._DropoutNd)
"""Modules that change no number, or in training alone."""

PASSING = frozenset(
    "view reshape flatten unflatten unsqueeze squeeze expand expand_as permute transpose t contiguous to float half "
    "type_as type clone dropout dropout2d repeat masked_fill movedim swapaxes __getitem__ getitem".split()
)
"""Names of functions and methods whose result is still the activation's."""

SHIFTING = frozenset(
    "add add_ __add__ __radd__ __iadd__ iadd sub sub_ rsub __sub__ __rsub__ __isub__ isub neg __neg__ div truediv "
    "__truediv__ true_divide".split()
)
"""Likewise, where the other operand is a number or a buffer."""

MULTIPLYING = frozenset(
    "mul mul_ multiply __mul__ __rmul__ __imul__ imul matmul __matmul__ bmm baddbmm einsum".split()
)
"""Names of functions that an activation's result may be a gate in."""

PART_OF_GRID = (slice(1, None), slice(2, None), slice(1, None), slice(2, None))
"""Of what :func:`make_grid` gives: a function of each number alone gives the same there for it and for the whole."""

# fused attention and losses are made of the kernels of these, which are then no activations
_KERNELS = frozenset(set(CALLS.values()) - {*NORMALISING, "logsigmoid"})


def known_name(value: Any) -> str | None:
    """The name of a known function; None for anything else."""
    try:
        return CALLS.get(value)
    except TypeError:  # not hashable
        return None


def kernel_name(operator: Any) -> str | None:
    """The activation function that an operator of ``torch.ops.aten`` computes; None for anything else."""
    if isinstance(operator, OpOverload):
        operator = operator.overloadpacket
    if not isinstance(operator, OpOverloadPacket):
        return None
    name = operator.__name__.rstrip("_")
    return name if name in _KERNELS else None


def function_name(module: nn.Module) -> str:
    """Name of the function that a module is, as far as the sets of names here go: its class in small letters."""
    if isinstance(module, FunctionModule):
        return module.name
    name = type(module).__name__.lower()
    return {"logsoftmax": "log_softmax", "softmax2d": "softmax"}.get(name, name)


def equivalent_class(module: nn.Module) -> type[nn.Module]:
    """Class of a module; of a function, that of torch's module for it: ``nn.LeakyReLU`` for leaky_relu."""
    if not isinstance(module, FunctionModule):
        return type(module)
    name = module.name.replace("_", "")
    return next((kind for kind in MODULES if kind.__name__.lower() == name), FunctionModule)


def is_activation(module: nn.Module) -> bool:
    """Whether a module is an activation: one of torch's or ours, or one that behaves so.

    A class of somebody else's counts if it has no submodules but activations, at most two learned numbers, takes one
    argument, and on a few points computes each output from its own input, and not as a line. What only hands on to one
    activation that it holds is none itself.
    """
    if isinstance(module, MODULES):
        return True
    # those of torch.ao are observers, which would take note of the points
    if type(module).__module__.startswith(("torch.nn.", "torch.ao.")) or is_scripted(module):
        return False
    if "_actsearch_calls" in vars(module):  # it holds what it calls for us to replace
        return False
    children = list(module.children())
    if not all(is_activation(child) for child in children):
        return False
    if sum(parameter.numel() for parameter in module.parameters()) > 2 or not _takes_one_argument(
        module
    ):
        return False
    training = module.training
    with global_streams:
        try:
            with torch.no_grad(), torch.random.fork_rng(devices=[]):
                is_curve = _is_elementwise_curve(module.eval())
                return is_curve and not any(_agree(module, child) for child in children)
        except Exception:  # whatever it needs, it is not one tensor of any shape
            return False
        finally:
            module.train(training)


def _agree(one: nn.Module, other: nn.Module) -> bool:
    x = torch.linspace(-4, 4, 33)
    return torch.equal(one(x.clone()), other(x.clone()))


def _takes_one_argument(module: nn.Module) -> bool:
    try:
        parameters = inspect.signature(module.forward).parameters.values()
    except (TypeError, ValueError):
        return False
    needed = [item for item in parameters if item.default is item.empty]
    return len(needed) == 1 and needed[0].kind in (
        inspect.Parameter.POSITIONAL_ONLY,
        inspect.Parameter.POSITIONAL_OR_KEYWORD,
    )


def _is_elementwise_curve(module: nn.Module) -> bool:
    x = make_grid().to(next(module.parameters(), torch.empty(0)))
    y = module(x.clone())
    if not isinstance(y, Tensor) or y.shape != x.shape or not y.is_floating_point():
        return False
    alone = module(x[PART_OF_GRID].clone())
    return torch.allclose(y[PART_OF_GRID], alone, equal_nan=True) and not is_line(x, y)


def make_grid() -> Tensor:
    """Points at which curves are compared, in an order in which nothing is sorted; shape (2, 4, 3, 5)."""
    sizes = (2, 4, 3, 5)  # all different, so that no axis is taken for another
    order = torch.randperm(math.prod(sizes), generator=torch.Generator().manual_seed(0))
    # 4 is where the usual activations have bent
    return torch.linspace(-4, 4, math.prod(sizes))[order].reshape(sizes)


def is_line(x: Tensor, y: Tensor) -> bool:
    """Whether y is a line over x, which may be in any order."""
    x, y = x.flatten().double(), y.flatten().double()
    low, high = x.argmin(), x.argmax()
    line = y[low] + (y[high] - y[low]) * (x - x[low]) / (x[high] - x[low])
    return bool(torch.allclose(y, line, rtol=1e-4, atol=1e-4))
