"""The modules that compute activations."""

from __future__ import annotations

import functools
import types
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, fx, nn

from actsearch.activation_catalog import CATALOG
from actsearch.activations.lean import LeanProgram, can_be_lean
from actsearch.activations.primitives import import_callable, is_tracing
from actsearch.activations.program import Program, compile_expression
from actsearch.devices import widest_float
from actsearch.errors import ActivationError
from actsearch.expression import Expression, parse
from actsearch.records import ActivationRecord

__all__ = [
    "Activation",
    "FormulaActivation",
    "RandomActivation",
    "reseed_random_activations",
    "to_any_device",
]


class Activation(nn.Module):
    """Base of every activation that actsearch builds: input and output of one shape, any shape.

    Rows that widen the layer before them, and gates, have an output of another shape.

    Attributes:
        record: formula, catalog name and hyperparameters.
        channels: number of channels of learned per-channel parameters, or None.
        channel_axis: axis of the input that holds the channels.
    """

    def __init__(self, record: ActivationRecord) -> None:
        super().__init__()
        self.record = record
        self.channels: int | None = None
        self.channel_axis = 1
        self.bind_forward()

    def bind_forward(self) -> None:
        """Give this instance a forward with code of its own; called again when its class changed."""
        function = _copy_code(type(self).forward, self.record.formula, self.record.label)
        self.forward = types.MethodType(function, self)

    @property
    def formula(self) -> str:
        """The formula as text."""
        return self.record.formula

    @property
    def expression(self) -> Expression:
        """The formula as a tree; FormulaError for activations that are not elementwise."""
        return parse(self.record.formula)

    def extra_repr(self) -> str:
        """Label and channels for ``print(model)``."""
        return self.record.label + (f", channels={self.channels}" if self.channels else "")

    def __dir__(self) -> list[str]:
        """Without ``expression`` where it raises: torch.jit.trace reads every attribute that is listed."""
        names: list[str] = super().__dir__()  # type: ignore[no-untyped-call]
        if self.record.name is not None and not CATALOG[self.record.name].elementwise:
            names.remove("expression")
        return names

    def __prepare_scriptable__(self) -> Activation:
        """Called by ``torch.jit.script``, which reads source and would stop somewhere inside of it.

        Raises:
            ActivationError: always.
        """
        raise ActivationError(
            f"{self.record.label}: torch.jit.script cannot compile a formula, which is computed step by step; record "
            "the model by torch.jit.trace(model, sample) or torch.export.export(model, (sample,)), or put the source "
            "that acs.to_python writes in its place"
        )

    def __getstate__(self) -> dict[str, Any]:
        return {key: value for key, value in self.__dict__.items() if key != "forward"}

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)  # type: ignore[no-untyped-call]
        self.bind_forward()

    def _replicate_for_data_parallel(self) -> Activation:
        replica: Activation = super()._replicate_for_data_parallel()  # type: ignore[no-untyped-call]
        replica.bind_forward()  # it was copied bound to the original
        return replica


@functools.lru_cache(maxsize=1024)
def _copy_code(forward: Callable[..., Tensor], formula: str, label: str) -> Callable[..., Tensor]:
    """The method with a code object of its own for each activation.

    torch.compile keeps what it compiled by code object, at most eight versions of one; with one code for all
    formulas the ninth to be compiled would be refused. Equal activations share theirs, and what was compiled.
    """
    assert isinstance(forward, types.FunctionType)
    code = forward.__code__.replace(co_name=f"forward of {label}")
    return types.FunctionType(
        code, forward.__globals__, forward.__name__, forward.__defaults__, forward.__closure__
    )


class FunctionActivation(Activation):
    """A catalog row that torch computes itself, in one fused call."""

    def __init__(self, record: ActivationRecord, function: str, keywords: dict[str, Any]) -> None:
        super().__init__(record)
        self._dotted = function
        self._keywords = keywords
        self._function = import_callable(function)

    def forward(self, x: Tensor) -> Tensor:
        """Apply the function elementwise; shape kept."""
        return self._function(x, **self._keywords)

    def __getstate__(self) -> dict[str, Any]:
        return {key: value for key, value in super().__getstate__().items() if key != "_function"}

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)
        self._function = import_callable(self._dotted)


class FormulaActivation(Activation):
    """A composed formula, computed operator by operator.

    Learned parameters are named ``theta_0``, ``theta_1``, ... in order of appearance: scalars, or of shape
    ``(channels,)``.

    Attributes:
        is_lean: whether autograd keeps the input alone, see :mod:`actsearch.activations.lean`.
    """

    is_lean = False

    def __init__(
        self,
        record: ActivationRecord,
        tree: Expression,
        channels: int | None = None,
        channel_axis: int = 1,
    ) -> None:
        super().__init__(record)
        self.channels = channels
        self.channel_axis = channel_axis
        self._program: Program = compile_expression(tree)
        self._tree = tree
        for index, parameter in enumerate(self._program.parameters):
            per_channel = parameter.per == "channel"
            if per_channel and channels is None:
                raise ActivationError(
                    f"{record.label} learns one parameter per channel: give channels=, "
                    "or place it with a sample input so that they can be inferred"
                )
            shape = (channels,) if per_channel and channels is not None else ()
            start = torch.full(shape, parameter.init)
            self.register_parameter(f"theta_{index}", nn.Parameter(start))
        for index, value in enumerate(self._program.numbers):
            number = torch.tensor(value, dtype=torch.float64)  # 0-d: does not promote its partner
            self.register_buffer(f"number_{index}", number, persistent=False)
        if all(parameter.per == "tensor" for parameter in self._program.parameters):
            self.channels = None
        self._lean: LeanProgram | None = None

    def make_lean(self) -> None:
        """From now on keep the input alone for the backward pass."""
        self.is_lean = True
        if self._program.uses_x:  # a constant keeps nothing
            self._lean = LeanProgram(self._program, self._leaves, _widen)

    def forward(self, x: Tensor) -> Tensor:
        """Apply the formula elementwise; shape kept.

        Raises:
            ActivationError: when per-channel parameters do not fit the input.
        """
        if self.record.name == "prelu":
            x = _autocast(x)
        if self._lean is not None and can_be_lean(x):
            return self._lean(x, self._theta)
        wide = _widen(x)
        return _cast_like(x, self._run(wide, self._leaves(wide, self._theta)))

    @property
    def _theta(self) -> list[Tensor]:
        """The learned numbers, in order; in a stack rows of those of all members."""
        return [getattr(self, f"theta_{index}") for index in range(len(self._program.parameters))]

    @property
    def program_key(self) -> Any:
        """Equal for formulas that differ in what they have learned alone, per tensor or per channel."""
        program = self._program
        steps = tuple(program.steps), program.result, program.uses_x
        return self.record.name == "prelu", tuple(program.leaves), tuple(program.numbers), *steps

    def for_several(self, x: Tensor, learned: Sequence[Tensor]) -> Tensor:
        """Apply the formula as several modules would that have learned different numbers, side by side.

        Args:
            x: shape ``(modules, ...)``.
            learned: each parameter of all modules, in order, in a shape that meets x.
        """
        if self.record.name == "prelu":
            x = _autocast(x)
        wide = _widen(x)
        leaves = [
            _cast_like(wide, learned[leaf[1]])
            if isinstance(leaf, tuple) and leaf[0] == "theta"
            else self._leaf(leaf, wide, ())
            for leaf in self._program.leaves
        ]
        return _cast_like(x, self._run(wide, leaves))

    def _run(self, x: Tensor, leaves: Sequence[Any]) -> Tensor:
        program = self._program
        values: list[Any] = [x, *leaves]
        for step in program.steps:
            values.append(step.function(*[values[index] for index in step.arguments]))
            for index in step.last_uses:
                values[index] = None  # what the backward pass needs of it, autograd keeps
        result: Tensor = values[program.result]
        return result if program.uses_x else torch.zeros_like(x) + result

    def _leaves(self, x: Tensor, theta: Sequence[Tensor]) -> list[float | Tensor]:
        """What the program begins with, for an input; learned numbers in its dtype, and in a shape that meets it."""
        return [self._leaf(leaf, x, theta) for leaf in self._program.leaves]

    def _leaf(
        self, leaf: float | tuple[str, int], x: Tensor, theta: Sequence[Tensor]
    ) -> float | Tensor:
        if not isinstance(leaf, tuple):
            return leaf
        kind, index = leaf
        if kind == "number":
            return self.get_buffer(f"number_{index}")
        tensor = _cast_like(x, theta[index])
        if self.channels is not None:
            return _view_by_channel(tensor, x, self.channel_axis, self.record.label)
        return tensor

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> FormulaActivation:
        """Numbers of the formula move to other devices, and keep their digits in half precision."""
        super()._apply(to_any_device(fn), recurse)  # type: ignore[no-untyped-call]
        for index, value in enumerate(self._program.numbers):
            number = self.get_buffer(f"number_{index}")
            if number.dtype.itemsize == 2:
                wide = widest_float(number.device)
                self._buffers[f"number_{index}"] = number.new_tensor(value, dtype=wide)
        return self

    def __getstate__(self) -> dict[str, Any]:
        left_out = ("_program", "_lean")
        return {key: value for key, value in super().__getstate__().items() if key not in left_out}

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)
        self._program = compile_expression(self._tree)
        self._lean = None
        if self.is_lean:
            self.make_lean()

    def _replicate_for_data_parallel(self) -> Activation:
        replica = super()._replicate_for_data_parallel()
        assert isinstance(replica, FormulaActivation)
        if replica.is_lean:
            replica.make_lean()
        return replica


def to_any_device(fn: Callable[[Tensor], Tensor]) -> Callable[[Tensor], Tensor]:
    """What moves a module's tensors, for numbers in double precision too where a device has none."""

    def move(tensor: Tensor) -> Tensor:
        try:
            return fn(tensor)
        except (TypeError, RuntimeError):
            if tensor.dtype != torch.float64 or isinstance(tensor, nn.Parameter):
                raise
            return fn(tensor.float())

    return move


# Wrapped, torch.fx keeps them as they are: it cannot look at the dtype and the shape of what it has not got yet.


@fx.wrap
def _autocast(x: Tensor) -> Tensor:
    """As torch.autocast does with torch's own PReLU, alone among modules: in its precision, whatever comes in."""
    device = x.device.type
    is_autocast = torch.amp.is_autocast_available(device) and torch.is_autocast_enabled(device)
    if is_autocast and x.dtype != torch.float64:
        return x.to(torch.get_autocast_dtype(device))
    return x


@fx.wrap
def _widen(x: Tensor) -> Tensor:
    """Half precision in a wider one, from which the result is rounded once, as in the kernels of torch's own modules.

    A formula that rounded or overflowed at each step would be another function. bfloat16 reaches as far as single
    precision, where a square of it overflows. Double precision does not, but graphics cards are slow with it.
    """
    if x.dtype.itemsize > 2:
        return x
    is_exported = (
        torch.onnx.is_in_onnx_export()
    )  # of many functions, ONNX Runtime has none in double precision
    return x.double() if x.device.type == "cpu" and not is_exported else x.float()


@fx.wrap
def _cast_like(x: Tensor, tensor: Tensor) -> Tensor:
    return tensor if tensor.dtype == x.dtype else tensor.to(x.dtype)


@fx.wrap
def _view_by_channel(tensor: Tensor, x: Tensor, axis: int, label: str) -> Tensor:
    """A parameter in the shape that meets its axis of the input; one for all channels as it is."""
    if tensor.dim() != 1:
        return tensor
    count = tensor.shape[0]
    fits = -x.dim() <= axis < x.dim() and (is_tracing() or x.shape[axis] == count)
    if not fits:
        raise ActivationError(
            f"{label} has parameters for {count} channels on axis {axis}, "
            f"but the input has shape {tuple(x.shape)}; build it with the channels of that axis"
        )
    shape = [1] * x.dim()
    shape[axis] = count
    return tensor.view(shape)


class RandomActivation(Activation):
    """An activation that draws numbers while training, from a generator of its own.

    The generator is seeded by :func:`reseed_random_activations`, so that it shifts no other random stream.
    """

    def __init__(self, record: ActivationRecord) -> None:
        super().__init__(record)
        self._generators: dict[str, torch.Generator] = {}
        self._seed = 0

    def reseed(self, seed: int) -> None:
        """Start the stream of random numbers anew."""
        self._seed = seed
        self._generators.clear()

    def generator(self, device: torch.device) -> torch.Generator:
        """The stream of random numbers on a device."""
        key = str(device)
        if key not in self._generators:
            self._generators[key] = torch.Generator(device).manual_seed(self._seed)
        return self._generators[key]

    def __getstate__(self) -> dict[str, Any]:
        return {**super().__getstate__(), "_generators": {}}


def reseed_random_activations(model: nn.Module, seed: int) -> None:
    """Give every activation in a model that draws random numbers its own stream, derived from one seed."""
    modules = [module for module in model.modules() if isinstance(module, RandomActivation)]
    for index, module in enumerate(modules):
        # 2**32 / golden ratio: multiples of it lie apart, whatever the seed
        module.reseed((seed + 0x9E3779B9 * (index + 1)) % 2**63)


def build_function_activation(record: ActivationRecord) -> FunctionActivation | None:
    """The fused implementation of a catalog row, if torch has one."""
    row = CATALOG[record.name] if record.name else None
    if row is None or row.function is None:
        return None
    return FunctionActivation(record, row.function, {**row.fixed, **record.hyperparameters})
