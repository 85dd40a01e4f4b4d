"""A formula as a list of steps: leaves first, then one operator a step, equal subtrees computed once."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import torch
from torch import Tensor

from actsearch.activations.primitives import bind, keep_in_graph
from actsearch.expression import Call, Expression, Number, Parameter, Variable

__all__ = ["Program", "Step", "compile_expression", "fold"]


@dataclass(frozen=True)
class Step:
    """One operator call by name: positions of its arguments in the list of values, and of those no later step needs."""

    function: Callable[..., Tensor]
    arguments: tuple[int, ...]
    last_uses: tuple[int, ...] = ()
    name: str = ""


@dataclass
class Program:
    """What a formula module executes.

    Values are kept in one list: the input x, then the leaves, then the result of each step.

    Attributes:
        leaves: Python numbers as they are; ("theta", i) for parameter i; ("number", i) for a number
            that its operator needs as a tensor.
        parameters: learned parameters in order of appearance.
        numbers: values of the numbers needed as tensors.
        steps: the operator calls in order; without any, the last leaf or x is the result.
        result: position of the result.
        uses_x: whether the result depends on x.
    """

    leaves: list[float | tuple[str, int]] = field(default_factory=list)
    parameters: list[Parameter] = field(default_factory=list)
    numbers: list[float] = field(default_factory=list)
    steps: list[Step] = field(default_factory=list)
    result: int = 0
    uses_x: bool = True


def compile_expression(tree: Expression) -> Program:
    """Translate a formula; numbers are folded in float64."""
    return _Compiler(tree).program


class _Compiler:
    """Two passes: collect the leaves, so that their positions are known, then the steps."""

    def __init__(self, tree: Expression) -> None:
        self.program = Program(parameters=list(tree.parameters), uses_x=tree.uses_x)
        self.program.leaves = [("theta", index) for index in range(len(self.program.parameters))]
        self._parameters_seen = 0
        self._pending: list[tuple[str, tuple[_Slot, ...]]] = []
        self._known: dict[Expression, _Slot] = {}
        slot = self._slot(tree)
        first_step = 1 + len(self.program.leaves)

        def position(slot: _Slot) -> int:
            return slot.index if not slot.is_step else first_step + slot.index

        self.program.result = position(slot)
        kept = {self.program.result, *range(first_step)}
        for name, slots in reversed(self._pending):
            arguments = tuple(position(argument) for argument in slots)
            last_uses = tuple(set(arguments) - kept)
            kept.update(last_uses)
            self.program.steps.append(Step(bind(name), arguments, last_uses, name))
        self.program.steps.reverse()
        if tree.uses_x and _has_constant_slope(tree):
            kept_step = Step(keep_in_graph, (self.program.result,), name="keep_in_graph")
            self.program.steps.append(kept_step)
            self.program.result = first_step + len(self._pending)

    def _slot(self, tree: Expression) -> _Slot:
        if isinstance(tree, Variable):
            return _Slot(0)
        if isinstance(tree, Parameter):
            self._parameters_seen += 1
            return _Slot(self._parameters_seen)  # parameters are the first leaves, in order
        if tree in self._known:
            return self._known[tree]
        slot = self._constant(tree)
        if slot is None and isinstance(tree, Call):
            slot = self._call(tree)
        assert slot is not None
        if not tree.parameters:  # each occurrence of a parameter is one of its own
            self._known[tree] = slot
        return slot

    def _constant(self, tree: Expression) -> _Slot | None:
        if tree.uses_x or tree.parameters:
            return None
        return self._leaf(fold(tree))

    def _leaf(self, leaf: float | tuple[str, int]) -> _Slot:
        self.program.leaves.append(leaf)
        return _Slot(len(self.program.leaves))

    def _call(self, tree: Call) -> _Slot:
        needs_tensors = tree.row.symbol is None
        arguments = [_Slot(0)] if tree.row.uses_x else []
        for argument in tree.arguments:
            if needs_tensors and not argument.uses_x and not argument.parameters:
                self.program.numbers.append(fold(argument))
                arguments.append(self._leaf(("number", len(self.program.numbers) - 1)))
            else:
                arguments.append(self._slot(argument))
        self._pending.append((tree.operator, tuple(arguments)))
        return _Slot(len(self._pending) - 1, is_step=True)


@dataclass(frozen=True)
class _Slot:
    """Position of a value: 0 is x, leaves count from 1, steps from 0 behind the leaves."""

    index: int
    is_step: bool = False


def _has_constant_slope(tree: Expression) -> bool:
    """Whether autograd's derivative in x depends on x nowhere, as that of a formula of lines and kinks."""
    if not isinstance(tree, Call) or not tree.uses_x:
        return True
    with_x = [argument.uses_x for argument in tree.arguments]
    if tree.operator == "div":
        is_linear = not with_x[1]
    elif tree.operator == "gate":  # a sigmoid times the other
        is_linear = not with_x[0]
    elif tree.operator in ("mul", "prod"):
        is_linear = sum(with_x) == 1
    else:
        is_linear = tree.operator in _PIECEWISE_LINEAR
    return is_linear and all(map(_has_constant_slope, tree.arguments))


_PIECEWISE_LINEAR = frozenset(
    ("add", "sub", "neg", "sum", "max", "min", "piecewise", "mix", "identity", "sign")
)


def fold(tree: Expression) -> float:
    """Value of a formula without x and parameters, with torch's IEEE semantics; -0.0 becomes 0.0."""
    if isinstance(tree, Number):
        return tree.value
    assert isinstance(tree, Call)
    arguments = [torch.tensor(fold(argument), dtype=torch.float64) for argument in tree.arguments]
    return float(bind(tree.operator)(*arguments)) + 0.0
