"""A formula with constants that are still free, as a program that computes it for many sets of constants at once.

Free constants stand in the tree as ``param(...)``, fixed ones as numbers. Several places may share one constant, as
both alpha in ``max(x, 0) + alpha * expm1(min(x, 0) / alpha)`` do.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from actsearch.activation_catalog import Value
from actsearch.expression import Call, Expression, Number, Parameter, Variable, canonical
from actsearch.naming.functions import FUNCTIONS, Numbers

__all__ = ["Form", "replace_parameters"]

_MULTIPLIES = frozenset({"mul", "prod", "div"})
_NEUTRAL = frozenset({"mul", "prod", "add", "sum"})  # a factor 1 or a term 0 can be left out
_SIMPLE = (1.0, -1.0, 0.5, -0.5, 2.0, -2.0)


@dataclass(frozen=True)
class Form:
    """A family of functions.

    Attributes:
        tree: the formula; each free constant is a parameter that starts at its current value.
        ties: for each parameter of the tree, in order, which constant it is; () if each is one of its own.
        low: smallest value of each constant; () for no bounds of its own.
        high: largest value of each constant.
        settings: further values that are simple for each constant, such as the default of a hyperparameter.
        row: name of the catalog row; "" for a composed formula.
        free: names of the row's hyperparameters among the constants, of which they are the last.
        given: its other hyperparameters that are not at their defaults.
    """

    tree: Expression
    ties: tuple[int, ...] = ()
    low: tuple[float, ...] = ()
    high: tuple[float, ...] = ()
    settings: tuple[tuple[float, ...], ...] = ()
    row: str = ""
    free: tuple[str, ...] = ()
    given: tuple[tuple[str, Value], ...] = ()

    @cached_property
    def places(self) -> tuple[int, ...]:
        """Which constant stands at each parameter of the tree."""
        return self.ties or tuple(range(len(self.tree.parameters)))

    @cached_property
    def start(self) -> Numbers:
        """Current values of the constants; (constants,)."""
        values = np.zeros(max(self.places, default=-1) + 1)
        for place, parameter in zip(self.places, self.tree.parameters, strict=True):
            values[place] = parameter.init
        return values

    @cached_property
    def bounds(self) -> tuple[Numbers, Numbers]:
        """Smallest and largest values of the constants."""
        count = len(self.start)
        low = np.array(self.low) if self.low else np.full(count, -np.inf)
        high = np.array(self.high) if self.high else np.full(count, np.inf)
        return low, high

    @cached_property
    def simple(self) -> tuple[tuple[float, ...], ...]:
        """For each constant the values that make the formula shorter or easier to read."""
        factors = dict(zip(self.places, _is_factor(self.tree), strict=True))
        found = []
        for place in range(len(self.start)):
            own = self.settings[place] if self.settings else ()
            values = own + _SIMPLE + (() if factors[place] else (0.0,))
            low, high = (bound[place] for bound in self.bounds)
            found.append(tuple(v for v in dict.fromkeys(values) if low <= v <= high))
        return tuple(found)

    def compute(self, constants: Numbers, x: Numbers) -> Numbers:
        """Values for each set of constants; (sets, constants), (points,) -> (sets, points)."""
        return self._program(constants, x)

    @cached_property
    def _program(self) -> Callable[[Numbers, Numbers], Numbers]:
        steps = _compile(self.tree, self.places)

        def run(constants: Numbers, x: Numbers) -> Numbers:
            values: list[object] = []
            for step in steps:
                if isinstance(step, float):
                    values.append(step)
                elif isinstance(step, int):
                    values.append(x if step < 0 else constants[:, step, None])
                else:
                    function, arguments = step
                    values.append(function(*[x if i < 0 else values[i] for i in arguments]))
            result = np.asarray(values[-1], dtype=np.float64)
            shape = (len(constants), len(x))
            return result if result.shape == shape else np.broadcast_to(result, shape)

        return run

    @cached_property
    def depths(self) -> Numbers:
        """How deep in the formula each constant stands."""
        found = np.zeros(len(self.start))
        for place, depth in zip(self.places, _depths(self.tree), strict=True):
            found[place] = max(found[place], depth)
        return found

    @cached_property
    def short_size(self) -> int:
        """Nodes that are left where every constant turns out to be superfluous."""
        return self.tree.size - 2 * sum(_is_beside(self.tree))

    def put(self, constants: Sequence[float] | Numbers) -> Form:
        """The same family with other current values."""
        values = iter([float(constants[place]) for place in self.places])
        tree = replace_parameters(self.tree, lambda old: Parameter(next(values)))
        return replace(self, tree=tree)

    def write(self, constants: Sequence[float] | Numbers) -> Expression:
        """The formula with numbers in place of the constants, without what 0 and 1 make superfluous."""
        values = iter([float(constants[place]) for place in self.places])
        return canonical(replace_parameters(self.tree, lambda old: Number(next(values))))


_Step = float | int | tuple[Callable[..., object], tuple[int, ...]]


def _compile(tree: Expression, places: Sequence[int]) -> list[_Step]:
    """Steps in order; a number, the place of a constant (-1: the input), or a function with positions of arguments."""
    steps: list[_Step] = []
    left = iter(places)
    known: dict[object, int] = {}

    def add(step: _Step) -> int:
        # equal subtrees over the same constants are computed once: a row holds b * x + c wherever x stands
        if step not in known:
            known[step] = len(steps)
            steps.append(step)
        return known[step]

    def visit(node: Expression) -> int:
        if isinstance(node, Variable):
            return add(-1)
        if isinstance(node, Parameter):
            return add(int(next(left)))
        if isinstance(node, Number):
            key = ("number", node.value)  # 1.0 and the place 1 are equal, and hash alike
            if key not in known:
                known[key] = len(steps)
                steps.append(float(node.value))
            return known[key]
        assert isinstance(node, Call)
        arguments = tuple(visit(argument) for argument in node.arguments)
        if node.row.uses_x:
            arguments = (-1, *arguments)
        return add((FUNCTIONS[node.operator], arguments))

    last = visit(tree)
    if (
        last != len(steps) - 1
    ):  # the whole is a part that was met before; cannot be, but for a lone leaf
        steps.append((FUNCTIONS["identity"], (last,)))
    return steps


def replace_parameters(tree: Expression, change: Callable[[Parameter], Expression]) -> Expression:
    """The tree with each parameter, in order, replaced."""
    if isinstance(tree, Parameter):
        return change(tree)
    if not isinstance(tree, Call):
        return tree
    return Call(tree.operator, tuple(replace_parameters(item, change) for item in tree.arguments))


def _is_factor(tree: Expression) -> Iterator[bool]:
    """For each parameter, in order, whether it multiplies what stands beside it."""
    if isinstance(tree, Parameter):
        yield False
    elif isinstance(tree, Call):
        for item in tree.arguments:
            if isinstance(item, Parameter):
                yield tree.operator in _MULTIPLIES
            else:
                yield from _is_factor(item)


def _depths(tree: Expression, depth: int = 1) -> Iterator[int]:
    """For each parameter, in order, its level."""
    if isinstance(tree, Parameter):
        yield depth
    for item in tree.children:
        yield from _depths(item, depth + 1)


def _is_beside(tree: Expression) -> Iterator[bool]:
    """For each parameter, in order, whether it stands beside one other argument."""
    if isinstance(tree, Call):
        for item in tree.arguments:
            if isinstance(item, Parameter):
                yield len(tree.arguments) == 2 and tree.operator in _NEUTRAL
            else:
                yield from _is_beside(item)
