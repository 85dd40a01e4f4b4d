"""What a row of the catalog says."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, Literal, get_args

from actsearch.checks import (
    check_integer,
    check_number,
    check_one_of,
    is_number,
    nearest,
    short_repr,
)
from actsearch.errors import ActivationError
from actsearch.expression import Expression, Limits, parse

__all__ = ["PER", "Catalog", "Hyperparameter", "Role", "Row", "Tier", "Value"]

Value = float | int | str
Role = Literal["hidden", "output", "gate"]
Tier = Literal["recommended", "standard", "control"]

_DIGITS = 3  # of a number in a label, and of one that a search draws


@dataclass(frozen=True)
class Hyperparameter:
    """A setting of an activation, fixed before training: a closed range, or one of some choices.

    ``log`` says that a search should draw it on a logarithmic scale, ``searched`` whether it draws it at all. A
    setting with a text as default and without choices takes any text.
    """

    name: str
    default: Value
    low: float = -math.inf
    high: float = math.inf
    choices: tuple[Value, ...] = ()
    log: bool = False
    searched: bool = True

    def round(self, value: Value) -> Value:
        """A number that a search drew, as tables show it and people copy it: to 3 digits, within the range."""
        if self.choices or not isinstance(value, float):
            return value
        return min(max(float(f"{value:.{_DIGITS}g}"), self.low), self.high)

    def check(self, value: Value, owner: str) -> Value:
        """Return the value in its type, or raise ActivationError with the range."""
        name = f"{owner}: {self.name}"
        if self.choices:
            return check_one_of(name, value, self.choices, ActivationError)
        if isinstance(self.default, str):
            if not isinstance(value, str) or len(value) > Limits.LENGTH:
                raise ActivationError(
                    f"{name} must be a text of at most {Limits.LENGTH} characters, not {short_repr(value)}"
                )
            return value
        low, high = max(self.low, -Limits.NUMBER), min(self.high, Limits.NUMBER)
        if not isinstance(self.default, int):
            return float(check_number(name, value, ActivationError, low=low, high=high))
        if is_number(value) and float(value).is_integer():
            value = int(value)  # JSON may hold 3 as 3.0
        return check_integer(name, value, ActivationError, low=int(low), high=int(high))


@dataclass(frozen=True)
class Row:
    """One activation of the catalog.

    Attributes:
        name: what users call it.
        formula: its meaning as text over x and the hyperparameters.
        source: paper or page that defines it.
        year: when it was published.
        hyperparameters: settings with default and range.
        tier: "recommended" is the default search space; "control" rows are for comparison only.
        role: "hidden"; "output" or "gate" (those that change the shape) are never mixed into hidden layers.
        function: dotted name of torch's implementation, or None to compute the formula.
        fixed: keywords always passed to ``function``.
        elementwise: False when an output depends on more than its own input.
        widens: name of the setting that says how many times as wide the layer before a hidden site becomes; the module
            then returns as many times fewer channels than it takes. None for every row that needs no wider layer.
        random: True when training draws random numbers.
        straight_through: True when the gradient is a chosen surrogate, not the derivative.
        fitted: True when the formula's start values are fitted to another function; ``formula`` is then for
            reading only, and :mod:`actsearch.activations.fitted` writes the real one.
        given: True when its numbers say the function, so that a search never draws it by itself.
        writer: writes the formula where its length depends on a hyperparameter; ``formula`` is then that of the
            defaults.
        aliases: further names under which torch, timm or transformers know it.
        reference: its published definition in numpy (``np``) and ``scipy.special`` (``special``) over x and the
            hyperparameters by name, with which tests compare value and gradient; "" where the tests have it.
    """

    name: str
    formula: str
    source: str
    year: int
    hyperparameters: tuple[Hyperparameter, ...] = ()
    tier: Tier = "standard"
    role: Role = "hidden"
    function: str | None = None
    fixed: Mapping[str, Value] = field(default_factory=dict)
    elementwise: bool = True
    widens: str | None = None
    random: bool = False
    straight_through: bool = False
    fitted: bool = False
    given: bool = False
    aliases: tuple[str, ...] = ()
    writer: Callable[[Mapping[str, Value]], str] | None = None
    reference: str = ""

    @property
    def learned(self) -> bool:
        """Whether it has numbers that are learned with the weights; which, ``acs.activation(name)`` shows."""
        return self.fitted or (
            self.elementwise and bool(self.expression(self.bind({})).parameters)
        )

    @property
    def searched(self) -> tuple[Hyperparameter, ...]:
        """The hyperparameters that a search draws; the others keep their defaults."""
        return tuple(setting for setting in self.hyperparameters if setting.searched)

    def bind(self, given: Mapping[str, Value]) -> dict[str, Value]:
        """Complete given hyperparameters with the defaults.

        Raises:
            ActivationError: unknown name, or a value outside its range.
        """
        known = {setting.name: setting for setting in self.hyperparameters}
        for name in given:
            if name not in known:
                hint = nearest(name, known) if known else "; it has none"
                raise ActivationError(
                    f"{self.name} has no hyperparameter {short_repr(name)}{hint}"
                )
        return {
            name: setting.check(given.get(name, setting.default), self.name)
            for name, setting in known.items()
        }

    def width(self, values: Mapping[str, Value]) -> int:
        """How many times as wide as without it the layer before must be: 1 unless the row widens."""
        return 1 if self.widens is None else int(values[self.widens])

    def text(self, values: Mapping[str, Value]) -> str:
        """The formula with hyperparameters put in, as ``parse`` reads it."""
        return str(self.expression(values)) if self.elementwise else f"{self.name}(x)"

    def expression(self, values: Mapping[str, Value]) -> Expression:
        """The formula as a tree, for elementwise rows."""
        if not self.elementwise:
            raise ActivationError(
                f"{self.name} is not elementwise: it has no formula in one variable"
            )
        if self.fitted:
            raise ActivationError(
                f"the start values of {self.name} are fitted: acs.activation({self.name!r}).formula has them"
            )
        return parse(self.formula if self.writer is None else self.writer(values), values)

    def label(self, values: Mapping[str, Value]) -> str:
        """Name with the hyperparameters that differ from their defaults; of points, how many and where."""
        if self.given:
            points = str(values["points"]).split()
            ends = [points[0].split(":")[0], points[-1].split(":")[0]] if points else ["", ""]
            return f"{self.name}({len(points)} points from {ends[0]} to {ends[1]})"
        shown = [
            f"{setting.name}={_short(values[setting.name])}"
            for setting in self.hyperparameters
            if setting.name in values and values[setting.name] != setting.default
        ]
        return f"{self.name}({', '.join(shown)})" if shown else self.name


def _short(value: Value) -> str:
    return value if isinstance(value, str) else f"{value:.{_DIGITS}g}"


PER = Hyperparameter("per", "tensor", choices=("tensor", "channel"))
"""Whether a learned form has one set of parameters for the tensor or one for each channel."""


class Catalog(Mapping[str, Row]):
    """Rows by name: ``catalog["leaky_relu"]``, ``catalog.names(tier="recommended")``; ``search/CATALOG.md`` lists them.

    An unknown name raises :class:`actsearch.ActivationError` with the nearest ones.

    Example:
        >>> acs.catalog["leaky_relu"].formula
        'max(x, 0) + negative_slope * min(x, 0)'
        >>> acs.catalog.names(role="gate")
        ['glu', 'crelu']
    """

    def __init__(self, rows: tuple[Row, ...]) -> None:
        self._rows = MappingProxyType({row.name: row for row in rows})
        self._aliases = MappingProxyType(
            {alias: row.name for row in rows for alias in row.aliases}
        )
        known = [name for row in rows for name in (row.name, *row.aliases)]
        if len(known) != len(set(known)):
            raise ActivationError("two catalog rows have one name")

    def names(self, tier: Tier | None = None, role: Role | None = None) -> list[str]:
        """Names in table order, of one tier or role if given.

        Raises:
            ActivationError: ``tier`` or ``role`` is not a valid one.
        """
        check_one_of("tier", tier, (None, *get_args(Tier)), ActivationError)
        check_one_of("role", role, (None, *get_args(Role)), ActivationError)
        return [
            row.name
            for row in self._rows.values()
            if tier in (None, row.tier) and role in (None, row.role)
        ]

    def __getitem__(self, name: str) -> Row:
        if name not in self:
            known = {*self._rows, *self._aliases}
            raise ActivationError(
                f"no activation is called {short_repr(name)}{nearest(name, known)}"
            )
        return self._rows[self._aliases.get(name, name)]

    def get(self, name: str, default: Any = None) -> Any:
        """The row, or the default: Mapping's own get would expect a KeyError."""
        return self[name] if name in self else default

    def __contains__(self, name: object) -> bool:
        return name in self._rows or name in self._aliases

    def __iter__(self) -> Iterator[str]:
        return iter(self._rows)

    def __len__(self) -> int:
        return len(self._rows)
