"""The tree: a variable, numbers, learned parameters and operator calls.

Trees are immutable, hashable and compare by structure. ``parse(str(tree)) == tree`` holds for every tree.
"""

from __future__ import annotations

import itertools
import math
import reprlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar, Literal

from actsearch.checks import is_number, nearest
from actsearch.errors import FormulaError
from actsearch.operators import OPERATORS, Operator

__all__ = [
    "Call",
    "Expression",
    "Limits",
    "Number",
    "Parameter",
    "Scope",
    "Variable",
    "X",
    "from_json",
]

Scope = Literal["tensor", "channel"]
"""One learned number for the whole tensor, or one for each channel."""

_ATOM = 9  # binds stronger than every operator: needs no brackets
_UNARY_MINUS = 3  # between * and **, as in Python


class Limits:
    """What a formula may measure; beyond it, reading stops with a :class:`FormulaError`."""

    LENGTH: ClassVar[int] = 20_000  # characters; the longest text of SIZE nodes has about 15,000
    SIZE: ClassVar[int] = 300  # nodes
    DEPTH: ClassVar[int] = 50  # levels; Python's own parser stops at about 200 brackets
    NUMBER: ClassVar[float] = 1e9  # largest absolute value of a number


class Expression:
    """A formula in one variable x. Make one with :func:`parse`.

    Attributes:
        size: number of nodes, numbers and x included.
        depth: number of levels; 1 for x alone.
        operators: names of the operators used.

    Example:
        >>> e = acs.parse("x * sigmoid(param(1.0) * x)")
        >>> e.size, e.depth, sorted(e.operators)
        (6, 4, ['mul', 'sigmoid'])
        >>> acs.Expression.from_json(e.to_json()) == acs.parse(str(e)) == e
        True
    """

    @property
    def children(self) -> tuple[Expression, ...]:
        """Direct arguments, left to right."""
        return ()

    @cached_property
    def size(self) -> int:
        """Number of nodes in the tree."""
        return 1 + sum(child.size for child in self.children)

    @cached_property
    def depth(self) -> int:
        """Number of levels of the tree."""
        return 1 + max((child.depth for child in self.children), default=0)

    @cached_property
    def operators(self) -> frozenset[str]:
        """Names of the operators used."""
        # of the children, which formulas that are bred from each other share, and so know already
        own = (self.operator,) if isinstance(self, Call) else ()
        return frozenset(own).union(*(child.operators for child in self.children))

    @cached_property
    def parameters(self) -> tuple[Parameter, ...]:
        """Learned parameters in order of appearance; each occurrence is a parameter of its own."""
        if isinstance(self, Parameter):
            return (self,)
        return tuple(itertools.chain.from_iterable(child.parameters for child in self.children))

    @cached_property
    def uses_x(self) -> bool:
        """Whether the variable occurs at all."""
        own = isinstance(self, Variable) or (isinstance(self, Call) and self.row.uses_x)
        return own or any(child.uses_x for child in self.children)

    def walk(self) -> Iterator[Expression]:
        """Every node, parents before children, left to right."""
        yield self
        for child in self.children:
            yield from child.walk()

    def latex(self) -> str:
        r"""The formula as LaTeX, without surrounding dollar signs.

        Learned numbers are ``\theta_{0}``, ``\theta_{1}``, ... as in the ``state_dict`` of the module, and
        ``\theta_{0,c}`` for one of each channel.
        """
        return self._latex(itertools.count())[0]

    def to_json(self) -> Any:
        """The formula as nested lists, strings and numbers; :meth:`from_json` reads it back."""
        raise TypeError(f"{type(self).__name__} is abstract")

    @staticmethod
    def from_json(data: Any) -> Expression:
        """Read :meth:`to_json` output.

        Raises:
            FormulaError: for anything that is not a formula, or beyond the limits.
        """
        return from_json(data)

    def __str__(self) -> str:
        return self._string

    @cached_property
    def _string(self) -> str:
        return self._text()[0]

    def __repr__(self) -> str:
        return f"parse({str(self)!r})"

    def _text(self) -> tuple[str, int]:
        """Text and how strongly it binds."""
        raise TypeError(f"{type(self).__name__} is abstract")

    def _latex(self, numbers: Iterator[int]) -> tuple[str, int]:
        """LaTeX and how strongly it binds; ``numbers`` counts the learned numbers."""
        raise TypeError(f"{type(self).__name__} is abstract")


@dataclass(frozen=True, repr=False)
class Variable(Expression):
    """The input x."""

    def to_json(self) -> Any:
        """The letter x."""
        return "x"

    def _text(self) -> tuple[str, int]:
        return "x", _ATOM

    def _latex(self, numbers: Iterator[int]) -> tuple[str, int]:
        return "x", _ATOM


X = Variable()


def _check_number(value: float, what: str) -> float:
    if not is_number(value):
        raise FormulaError(f"{what} must be a number, not {value!r}")
    if not abs(value) <= Limits.NUMBER:  # also refuses NaN
        raise FormulaError(f"{what} must be finite and at most {Limits.NUMBER:g} in size")
    return float(value) + 0.0  # -0.0 becomes 0.0


def _digits(value: float) -> str:
    # below 1e15 a float holds every integer exactly
    return str(int(value)) if value == int(value) and abs(value) < 1e15 else repr(value)


def _latex_digits(value: float, digits: int) -> str:
    mantissa, _, exponent = f"{value:.{digits}g}".partition("e")
    return mantissa if not exponent else rf"{mantissa} \cdot 10^{{{int(exponent)}}}"


@dataclass(frozen=True, repr=False)
class Number(Expression):
    """A fixed number."""

    value: float

    def __post_init__(self) -> None:
        object.__setattr__(self, "value", _check_number(self.value, "number"))

    def to_json(self) -> Any:
        """The number itself."""
        return self.value

    def _text(self) -> tuple[str, int]:
        return _digits(self.value), _ATOM if self.value >= 0 else _UNARY_MINUS

    def _latex(self, numbers: Iterator[int]) -> tuple[str, int]:
        text = _latex_digits(self.value, 6)
        return text, _ATOM if self.value >= 0 and "^" not in text else _UNARY_MINUS


@dataclass(frozen=True, repr=False)
class Parameter(Expression):
    """A number learned with the weights, starting at ``init``, shared or one per channel."""

    init: float
    per: Scope = "tensor"

    def __post_init__(self) -> None:
        object.__setattr__(self, "init", _check_number(self.init, "start value of a parameter"))
        if self.per not in ("tensor", "channel"):
            raise FormulaError(f"per must be 'tensor' or 'channel', not {self.per!r}")

    def to_json(self) -> Any:
        """A mapping with ``param`` (start value) and ``per`` (scope)."""
        return {"param": self.init, "per": self.per}

    def _text(self) -> tuple[str, int]:
        init = _digits(self.init) if self.init != int(self.init) else repr(self.init)
        return f"param({init})" if self.per == "tensor" else f'param({init}, per="channel")', _ATOM

    def _latex(self, numbers: Iterator[int]) -> tuple[str, int]:
        return rf"\theta_{{{next(numbers)}{',c' if self.per == 'channel' else ''}}}", _ATOM


@dataclass(frozen=True, repr=False)
class Call(Expression):
    """An operator applied to arguments; learned numbers of the operator that are left out are put in."""

    operator: str
    arguments: tuple[Expression, ...]

    def __post_init__(self) -> None:
        row = OPERATORS.get(self.operator)
        if row is None:
            raise FormulaError(
                f"unknown operator {self.operator!r}" + nearest(self.operator, OPERATORS)
            )
        if not row.accepts(len(self.arguments)):
            more = " or more" if row.separator is not None else " or 3" if row.learned else ""
            raise FormulaError(
                f"{self.operator} takes {row.arity}{more} argument{'s' * (row.arity > 1)}, "
                f"not {len(self.arguments)}"
            )
        if row.learned:
            self._complete(row)
        if self.operator == "pow":
            self._check_power()

    def _complete(self, row: Operator) -> None:
        """Put in learned numbers that were left out."""
        own, given = self.arguments[: row.arity], self.arguments[row.arity :]
        if not all(isinstance(number, (Number, Parameter)) for number in given):
            raise FormulaError(
                f"what follows the {row.arity} arguments of {row.name} must be a number or param(...)"
            )
        object.__setattr__(
            self, "arguments", own + (given or tuple(Parameter(start) for start in row.learned))
        )

    def _check_power(self) -> None:
        """Refuse a power of two numbers that is itself no acceptable number, such as 9**9**9."""
        base, exponent = (_constant(argument) for argument in self.arguments)
        if base is None or exponent is None:
            return
        try:
            _check_number(math.pow(base, exponent), "power")
        except (OverflowError, ValueError):
            raise FormulaError(
                f"the power of {base:g} and {exponent:g} is not a number up to {Limits.NUMBER:g}"
            ) from None

    def __hash__(self) -> int:
        return self._hash

    @cached_property
    def _hash(self) -> int:
        # once for each part: a formula that shares parts with many others is looked up in tables as they are
        return hash((self.operator, self.arguments))

    def __reduce__(self) -> tuple[type[Call], tuple[str, tuple[Expression, ...]]]:
        return Call, (self.operator, self.arguments)  # text has another hash in another process

    @property
    def row(self) -> Operator:
        """The operator's row."""
        return OPERATORS[self.operator]

    @property
    def children(self) -> tuple[Expression, ...]:
        """The arguments, left to right."""
        return self.arguments

    def to_json(self) -> Any:
        """A list: operator name, then the arguments."""
        return [self.operator, *(argument.to_json() for argument in self.arguments)]

    def _text(self) -> tuple[str, int]:
        return self._write([argument._text() for argument in self.arguments])

    def _write(self, parts: Sequence[tuple[str, int]]) -> tuple[str, int]:
        """Text and how strongly it binds, from those of the arguments."""
        row = self.row
        literal = row.name == "neg" and isinstance(self.arguments[0], Number)
        if row.symbol is None or literal:  # -(2) would be read back as the number -2
            return f"{row.name}({', '.join(text for text, _ in parts)})", _ATOM
        own = row.precedence
        if row.arity == 1:
            return row.symbol + _parenthesize(*parts[0], at_least=own), own
        right_associative = row.name == "pow"
        left = _parenthesize(*parts[0], at_least=own + right_associative)
        right = _parenthesize(*parts[1], at_least=own + (not right_associative))
        return f"{left} {row.symbol} {right}", own

    def _latex(self, numbers: Iterator[int]) -> tuple[str, int]:
        row, parts = self.row, [argument._latex(numbers) for argument in self.arguments]
        if row.separator is not None:
            return row.latex.format(row.separator.join(self._bracket_all(parts))), _ATOM
        if row.symbol is None:
            plain = [_bracket(*part, at_least=1) for part in parts[: row.arity]]
            weights = [_bracket(*part, at_least=_ATOM) for part in parts[row.arity :]]
            text = row.latex.format(*plain, *weights)
            return text, 0 if row.name == "piecewise" else _ATOM  # nothing closes its cases
        if row.name == "div":
            return row.latex.format(parts[0][0], parts[1][0]), _ATOM
        own = row.precedence
        if row.name == "pow":  # the exponent stands in braces of its own
            # a superscript on a call's LaTeX would seem to belong to its end
            text, binding = parts[0]
            base = _bracket(text, 0 if self.arguments[0].children else binding, at_least=own + 1)
            return row.latex.format(base, parts[1][0]), own
        *left, (text, binding) = parts
        last = _bracket(text, 0 if text.startswith("-") else binding, at_least=own + 1)
        return row.latex.format(*(_bracket(*part, at_least=own) for part in left), last), own

    def _bracket_all(self, parts: list[tuple[str, int]]) -> list[str]:
        """Arguments of a sum, product or list, bracketed where the whole could be read otherwise."""
        strength = {"sum": 2, "prod": 3}.get(self.operator)
        if strength is None:
            return [_bracket(*part, at_least=1) for part in parts]
        return [
            _bracket(text, 0 if text.startswith("-") else binding, at_least=strength)
            for text, binding in parts
        ]


def _constant(tree: Expression) -> float | None:
    """Value of a number or a power of numbers; None for anything else."""
    if isinstance(tree, Number):
        return tree.value
    if isinstance(tree, Call) and tree.operator == "pow":
        base, exponent = (_constant(argument) for argument in tree.arguments)
        return None if base is None or exponent is None else math.pow(base, exponent)
    return None


def _parenthesize(text: str, binding: int, at_least: int) -> str:
    return text if binding >= at_least else f"({text})"


def _bracket(text: str, binding: int, at_least: int) -> str:
    return text if binding >= at_least else rf"\left({text}\right)"


def from_json(data: Any, depth: int = 1) -> Expression:
    """Read what :meth:`Expression.to_json` wrote; nothing in it is ever evaluated.

    Raises:
        FormulaError: unknown shape, unknown operator, or beyond :class:`Limits`.
    """
    if depth > Limits.DEPTH:
        raise FormulaError(f"formula is nested more than {Limits.DEPTH} levels deep")
    if data == "x":
        return X
    if isinstance(data, (int, float)):
        return Number(data)
    if isinstance(data, Mapping) and set(data) == {"param", "per"}:
        return Parameter(data["param"], data["per"])
    if isinstance(data, (list, tuple)) and data and isinstance(data[0], str):
        tree = Call(data[0], tuple(from_json(item, depth + 1) for item in data[1:]))
        if tree.size > Limits.SIZE:
            raise FormulaError(f"formula has more than {Limits.SIZE} nodes")
        return tree
    raise FormulaError(f"not a formula: {reprlib.repr(data)}")
