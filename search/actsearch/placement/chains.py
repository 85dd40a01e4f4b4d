"""An activation that is written in several calls: ``x * torch.sigmoid(x)``, a helper for mish, ``torch.sin(30 * x)``.

Such a chain starts and ends in one tensor and computes each number from one number. What is put there stands in the
place of one of its calls, the carrier; the calls before it and after it then pass on what they are given.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from types import CodeType
from typing import Any

from torch import Tensor

from actsearch.placement.dataflow import Step, Value, fill, values_in
from actsearch.placement.elementwise import is_in_a_row
from actsearch.placement.execution import FunctionCall, Key

__all__ = ["Chain", "Chains", "Operand", "Pass", "Replay"]

Operand = int | str
"""Where a call is given a tensor: position, or name of a keyword."""


@dataclass(frozen=True)
class Pass:
    """A call of a chain that passes on what it is given, once something else stands in the chain's place.

    Attributes:
        call: which.
        operand: what it passes on.
    """

    call: FunctionCall
    operand: Operand


@dataclass(frozen=True)
class Chain:
    """Calls that are one activation together.

    Attributes:
        carrier: the call, or the path of the module, in whose place something else is put.
        operand: what the carrier is given.
        passes: the calls before and after it, which then pass on what they are given.
        passing_modules: paths of modules that do.
        steps: all calls of the chain, in order.
        start: what it is computed from.
        end: what it gives.
        helper: code of the function of the user's that makes these calls and no others; None if they are not in one.
        writes: whether a call writes over what it is given.
    """

    carrier: Key
    operand: Operand
    passes: tuple[Pass, ...]
    passing_modules: tuple[str, ...]
    steps: tuple[Step, ...]
    start: Value
    end: Value
    helper: CodeType | None
    writes: bool

    @property
    def signature(self) -> tuple[Any, ...]:
        """Equal for runs of the same chain."""
        return (
            self.carrier,
            self.operand,
            self.passes,
            self.passing_modules,
            frozenset(self.members),
        )

    @property
    def is_in_a_row(self) -> bool:
        """Whether each call is given what the one before gives, so that a single known one can stand for itself."""
        return is_in_a_row(self.steps)

    @property
    def learns(self) -> bool:
        """Whether parameters of the model stand in it."""
        return any(
            value.kind == "weight" for s in self.steps for value in values_in((s.args, s.kwargs))
        )

    @property
    def members(self) -> set[Key]:
        """The activations that it is made of."""
        return {step.key for step in self.steps if step.key is not None}


class Replay:
    """A chain as a function of one tensor: its calls, made again with the numbers that stood there."""

    def __init__(
        self, steps: Iterable[Step], start: Value, end: Value, *, by_example: bool = False
    ) -> None:
        """Args:
        steps: the calls, in order.
        start: what they are computed from.
        end: what they give.
        by_example: whether one number stands for a weight or constant that has several.
        """
        positions: dict[Value, int] = {start: 0}
        calls = []
        for step in steps:
            template = fill(
                (step.args, dict(step.kwargs)), Value, lambda v: _leaf(v, positions, by_example)
            )
            positions[step.results[0]] = len(positions)
            calls.append((step.function, *template))
        self._calls = tuple(calls)
        self._end = positions[end]

    def __call__(self, x: Tensor) -> Tensor:
        """What the chain gives for a tensor of any shape."""
        values = [x]
        for function, args, kwargs in self._calls:
            # a call may write over what it is given
            given = fill((args, kwargs), _Position, lambda at: values[at.index].clone())
            values.append(function(*given[0], **given[1]))
        return values[self._end]


@dataclass(frozen=True)
class _Position:
    index: int


def _leaf(value: Value, positions: Mapping[Value, int], by_example: bool) -> Any:
    if value in positions:
        return _Position(positions[value])
    return value.example if by_example else value.tensor


@dataclass(frozen=True)
class Chains:
    """The chains of a pass.

    Attributes:
        found: by carrier.
        torn: activations that are part of one that cannot be replaced as a whole, with what they are part of.
    """

    found: Mapping[Key, Chain]
    torn: Mapping[Key, str]
