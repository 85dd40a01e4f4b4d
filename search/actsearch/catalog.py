"""The activations people use: one row each. To add an activation, add a row to ``ACTIVATIONS``.

``formula`` says what the row computes, in the project's own language with the row's hyperparameters as further
names. ``function``, where given, is the dotted name of torch's own fused implementation of the same function; it
takes the hyperparameters as keywords. Rows that no formula can say completely (random slopes, straight-through
gradients, softmax) are built in :mod:`actsearch.activation.special` under their name.
"""

from __future__ import annotations

import math
import numbers
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, Literal

from actsearch.errors import ActivationError, nearest
from actsearch.expression import Expression, parse

__all__ = ["ACTIVATIONS", "CATALOG", "Catalog", "Hyperparameter", "Role", "Row", "Tier", "Value"]

Value = float | int | str
Role = Literal["hidden", "output"]
Tier = Literal["recommended", "standard", "control"]


@dataclass(frozen=True)
class Hyperparameter:
    """A setting of an activation, fixed before training: a closed range, or one of some choices.

    ``log`` says that a search should draw it on a logarithmic scale.
    """

    name: str
    default: Value
    low: float = -math.inf
    high: float = math.inf
    choices: tuple[Value, ...] = ()
    log: bool = False

    def checked(self, value: Value, owner: str) -> Value:
        """Return the value in its type, or raise ActivationError with the range."""
        where = f"{owner}: {self.name}={value!r}"
        if self.choices:
            for choice in self.choices:
                if value == choice and isinstance(value, str) == isinstance(choice, str):
                    return choice
            raise ActivationError(f"{where} is not one of {', '.join(map(repr, self.choices))}")
        if isinstance(value, bool) or not isinstance(value, numbers.Real):
            raise ActivationError(f"{where} is not a number")
        if not self.low <= value <= self.high:
            raise ActivationError(f"{where} is outside its range [{self.low:g}, {self.high:g}]")
        if not isinstance(self.default, int):
            return float(value)
        if value != int(value):
            raise ActivationError(f"{where} is not a whole number")
        return int(value)


@dataclass(frozen=True)
class Row:
    """One activation of the catalog.

    Attributes:
        name: what users call it.
        formula: its meaning as text over x and the hyperparameters, or a function that writes it.
        source: paper or page that defines it.
        year: when it was published.
        hyperparameters: settings with default and range.
        tier: "recommended" is the default search space; "control" rows are for comparison only.
        role: "hidden", or "output" for those never mixed into hidden layers.
        function: dotted name of torch's implementation, or None to compute the formula.
        fixed: keywords always passed to ``function``.
        elementwise: False when an output depends on more than its own input.
        random: True when training draws random numbers.
        straight_through: True when the gradient is a chosen surrogate, not the derivative.
    """

    name: str
    formula: str | Callable[[Mapping[str, Value]], str]
    source: str
    year: int
    hyperparameters: tuple[Hyperparameter, ...] = ()
    tier: Tier = "standard"
    role: Role = "hidden"
    function: str | None = None
    fixed: Mapping[str, Value] = field(default_factory=dict)
    elementwise: bool = True
    random: bool = False
    straight_through: bool = False

    def bind(self, given: Mapping[str, Value]) -> dict[str, Value]:
        """Complete given hyperparameters with the defaults.

        Raises:
            ActivationError: unknown name, or a value outside its range.
        """
        known = {setting.name: setting for setting in self.hyperparameters}
        for name in given:
            if name not in known:
                hint = nearest(name, known) if known else "; it has none"
                raise ActivationError(f"{self.name} has no hyperparameter {name!r}{hint}")
        return {
            name: setting.checked(given.get(name, setting.default), self.name)
            for name, setting in known.items()
        }

    def text(self, values: Mapping[str, Value]) -> str:
        """The formula with hyperparameters put in, as ``parse`` reads it."""
        return str(self.expression(values)) if self.elementwise else f"{self.name}(x)"

    def expression(self, values: Mapping[str, Value]) -> Expression:
        """The formula as a tree, for elementwise rows."""
        if not self.elementwise:
            raise ActivationError(
                f"{self.name} is not elementwise: it has no formula in one variable"
            )
        template = self.formula if isinstance(self.formula, str) else self.formula(values)
        return parse(template, values)

    def label(self, values: Mapping[str, Value]) -> str:
        """Name with the hyperparameters that differ from their defaults."""
        shown = [
            f"{setting.name}={_short(values[setting.name])}"
            for setting in self.hyperparameters
            if setting.name in values and values[setting.name] != setting.default
        ]
        return f"{self.name}({', '.join(shown)})" if shown else self.name


def _short(value: Value) -> str:
    return value if isinstance(value, str) else f"{value:.3g}"


def _max_affine(values: Mapping[str, Value]) -> str:
    """Slopes from 1 down to 1/4 through the origin: training starts from leaky_relu(0.25)."""
    pieces, per = int(values["pieces"]), values["per"]
    text = ""
    for index in range(pieces):
        slope = 1 - 0.75 * index / (pieces - 1)
        piece = f'param({slope}, per="{per}") * x + param(0.0, per="{per}")'
        text = f"max({text}, {piece})" if text else piece
    return text


_PER = Hyperparameter("per", "tensor", choices=("tensor", "channel"))
_TORCH = "torch.nn.functional."

ACTIVATIONS: tuple[Row, ...] = (
    Row("identity", "x", "control: layers collapse to one affine map", 1958, tier="control"),
    Row(
        "step",
        "piecewise(0, 1)",
        "Rosenblatt 1958; straight-through gradient 1 on [-1, 1]: Bengio et al. 2013, arXiv:1308.3432",
        1958,
        tier="control",
        straight_through=True,
    ),
    Row(
        "relu",
        "relu(x)",
        "Nair & Hinton 2010; derivative at 0: Bertoin et al. 2021, arXiv:2106.12915",
        2010,
        (Hyperparameter("grad_at_zero", 0.0, choices=(0.0, 0.5, 1.0)),),
        tier="recommended",
    ),
    Row(
        "leaky_relu",
        "max(x, 0) + negative_slope * min(x, 0)",
        "Maas et al. 2013",
        2013,
        (Hyperparameter("negative_slope", 0.01, 0.0, 1.0),),
        tier="recommended",
        function=_TORCH + "leaky_relu",
    ),
    Row(
        "prelu",
        "max(x, 0) + param(init, per=per) * min(x, 0)",
        "He et al. 2015, arXiv:1502.01852",
        2015,
        (Hyperparameter("init", 0.25, -1.0, 1.0), _PER),
        tier="recommended",
    ),
    Row(
        "rrelu",
        "max(x, 0) + (lower + upper) / 2 * min(x, 0)",
        "Xu et al. 2015, arXiv:1505.00853; the slope is drawn anew in training, its mean used after",
        2015,
        (Hyperparameter("lower", 0.125, 0.0, 0.25), Hyperparameter("upper", 1 / 3, 0.25, 1.0)),
        tier="recommended",
        random=True,
    ),
    Row(
        "elu",
        "max(x, 0) + alpha * expm1(min(x, 0))",
        "Clevert et al. 2015, arXiv:1511.07289",
        2015,
        (Hyperparameter("alpha", 1.0, 0.1, 3.0, log=True),),
        tier="recommended",
        function=_TORCH + "elu",
    ),
    Row(
        "selu",
        "1.0507009873554805 * (max(x, 0) + 1.6732632423543772 * expm1(min(x, 0)))",
        "Klambauer et al. 2017, arXiv:1706.02515",
        2017,
        tier="recommended",
        function=_TORCH + "selu",
    ),
    Row(
        "celu",
        "max(x, 0) + alpha * expm1(min(x, 0) / alpha)",
        "Barron 2017, arXiv:1704.07483",
        2017,
        (Hyperparameter("alpha", 1.0, 0.1, 3.0, log=True),),
        function=_TORCH + "celu",
    ),
    Row(
        "gelu",
        "x * 0.5 * (1 + erf(x * 0.7071067811865476))",
        "Hendrycks & Gimpel 2016, arXiv:1606.08415",
        2016,
        tier="recommended",
        function=_TORCH + "gelu",
    ),
    Row(
        "gelu_tanh",
        "0.5 * x * (1 + tanh(0.7978845608028654 * (x + 0.044715 * cube(x))))",
        "Hendrycks & Gimpel 2016, arXiv:1606.08415, the tanh approximation",
        2016,
        function=_TORCH + "gelu",
        fixed={"approximate": "tanh"},
    ),
    Row(
        "silu",
        "x * sigmoid(x)",
        "Elfwing et al. 2017, arXiv:1702.03118",
        2017,
        tier="recommended",
        function=_TORCH + "silu",
    ),
    Row(
        "swish",
        "x * sigmoid(param(beta, per=per) * x)",
        "Ramachandran et al. 2017, arXiv:1710.05941, with learned beta",
        2017,
        (Hyperparameter("beta", 1.0, 0.1, 10.0, log=True), _PER),
        tier="recommended",
    ),
    Row(
        "mish",
        "x * tanh(softplus(x))",
        "Misra 2019, arXiv:1908.08681",
        2019,
        tier="recommended",
        function=_TORCH + "mish",
    ),
    Row(
        "softplus",
        "softplus(beta * x) / beta",
        "Dugas et al. 2001",
        2001,
        (Hyperparameter("beta", 1.0, 0.1, 10.0, log=True),),
        tier="recommended",
        function=_TORCH + "softplus",
    ),
    Row(
        "softsign",
        "x / (1 + abs(x))",
        "Bergstra et al. 2009",
        2009,
        tier="recommended",
        function=_TORCH + "softsign",
    ),
    Row("sigmoid", "sigmoid(x)", "Rumelhart et al. 1986", 1986, function="torch.sigmoid"),
    Row("tanh", "tanh(x)", "LeCun 1989", 1989, tier="recommended", function="torch.tanh"),
    Row(
        "hardtanh",
        "min(max(x, min_val), max_val)",
        "Collobert 2004",
        2004,
        (Hyperparameter("min_val", -1.0, -10.0, 0.0), Hyperparameter("max_val", 1.0, 0.1, 10.0)),
        function=_TORCH + "hardtanh",
    ),
    Row(
        "hardsigmoid",
        "min(max(x + 3, 0), 6) / 6",
        "Courbariaux et al. 2015, arXiv:1511.00363; scaled as in torch",
        2015,
        function=_TORCH + "hardsigmoid",
    ),
    Row(
        "hardswish",
        "x * min(max(x + 3, 0), 6) / 6",
        "Howard et al. 2019, arXiv:1905.02244",
        2019,
        tier="recommended",
        function=_TORCH + "hardswish",
    ),
    Row(
        "sin",
        "sin(omega * x)",
        "Sitzmann et al. 2020, arXiv:2006.09661",
        2020,
        (Hyperparameter("omega", 1.0, 0.1, 30.0, log=True),),
        tier="recommended",
    ),
    Row(
        "maxout",
        _max_affine,
        "Goodfellow et al. 2013, arXiv:1302.4389, elementwise: the largest of several learned lines",
        2013,
        (Hyperparameter("pieces", 2, choices=(2, 3, 4)), _PER),
        tier="recommended",
    ),
    Row(
        "softmax",
        "softmax(x)",
        "Bridle 1990; over one dimension of the tensor",
        1990,
        (Hyperparameter("dim", -1, -8, 8),),
        role="output",
        function=_TORCH + "softmax",
        elementwise=False,
    ),
)


class Catalog(Mapping[str, Row]):
    """Rows by name: ``catalog["leaky_relu"]``, ``catalog.names(tier="recommended")``."""

    def __init__(self, rows: tuple[Row, ...]) -> None:
        self._rows = MappingProxyType({row.name: row for row in rows})
        if len(self._rows) != len(rows):
            raise ActivationError("two catalog rows have one name")

    def names(self, tier: Tier | None = None, role: Role | None = None) -> list[str]:
        """Names in table order, of one tier or role if given."""
        return [
            row.name
            for row in self._rows.values()
            if tier in (None, row.tier) and role in (None, row.role)
        ]

    def __getitem__(self, name: str) -> Row:
        if name not in self._rows:
            raise ActivationError(f"no activation is called {name!r}" + nearest(name, self._rows))
        return self._rows[name]

    def get(self, name: str, default: Any = None) -> Any:
        """The row, or the default: Mapping's own get would expect a KeyError."""
        return self._rows.get(name, default)

    def __contains__(self, name: object) -> bool:
        return name in self._rows

    def __iter__(self) -> Iterator[str]:
        return iter(self._rows)

    def __len__(self) -> int:
        return len(self._rows)


CATALOG = Catalog(ACTIVATIONS)
"""Every row by name; ``acs.catalog`` for users."""
