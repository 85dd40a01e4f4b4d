"""The operators a formula may use: one row each. To add an operator, add a row.

The table holds no torch: ``function`` is the dotted name of the implementation, looked up once, when
:mod:`actsearch.activation` binds it. Semantics are plain IEEE: ``log(-1)`` is NaN, ``1/0`` is infinite;
nothing is silently protected, and screening refuses candidates that this harms.
"""

from __future__ import annotations

import string
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from actsearch.errors import FormulaError

__all__ = ["OPERATORS", "Operator"]


@dataclass(frozen=True)
class Operator:
    """One operator of the formula language.

    Attributes:
        name: how it is called in a formula, ``sigmoid(x)``; infix operators have a ``symbol`` as well.
        arity: number of arguments; the fewest if it takes any number of them.
        latex: template with one field for each argument, or with one field for all of them, joined.
        cost: forward plus backward work in rough units of one addition.
        function: dotted name of the implementation on tensors.
        symbol: infix or prefix symbol, if it has one.
        precedence: binding strength of the symbol; 9 for calls.
        weight: prior weight with which composing strategies pick it. Rows below 0.5 are outside the default
            space: they often leave the real numbers, are costly, or only repeat what is there.
        family: operators of one family are not nested in each other by genetic search
            (no exp in exp, no sin in sin); None has no limit.
        uses_x: the implementation takes the input x as an extra first argument.
        joint: LaTeX between the arguments of an operator that takes any number of them; None for a fixed number.
        learned: start values of learned numbers that follow the arguments. In a formula they may be left out, or
            written out as ``param(...)`` or a number.
    """

    name: str
    arity: int
    latex: str
    cost: float
    function: str
    symbol: str | None = None
    precedence: int = 9
    weight: float = 1.0
    family: str | None = None
    uses_x: bool = False
    joint: str | None = None
    learned: tuple[float, ...] = ()

    @property
    def recommended(self) -> bool:
        """Whether the default space holds it."""
        return self.weight >= 0.5

    def __post_init__(self) -> None:
        if not self.name.isidentifier():
            raise FormulaError(f"operator name {self.name!r} is not an identifier")
        if self.arity not in (1, 2):
            raise FormulaError(f"operator {self.name}: arity must be 1 or 2, not {self.arity}")
        if self.joint is not None and (self.symbol or self.learned or self.arity != 2):
            raise FormulaError(
                f"operator {self.name}: any number of arguments means two or more, without symbol or learned numbers"
            )
        fields = 1 if self.joint is not None else self.arity + len(self.learned)
        if _fields(self.latex) != fields:
            raise FormulaError(f"operator {self.name}: the LaTeX template needs {fields} '{{}}'")

    @property
    def drawn(self) -> int:
        """Number of arguments with which composing strategies draw it: with two, a sum is an addition."""
        return 3 if self.name in ("sum", "prod") else self.arity

    def accepts(self, count: int) -> bool:
        """Whether it may stand before so many arguments, learned numbers left out or not."""
        if self.joint is not None:
            return count >= self.arity
        return count in (self.arity, self.arity + len(self.learned))


def _fields(template: str) -> int:
    """How many different fields a format text has."""
    names = [name for _, name, _, _ in string.Formatter().parse(template) if name is not None]
    return len(names) if "" in names else len(set(names))


def _function(name: str) -> str:
    return rf"\operatorname{{{{{name}}}}}\left({{}}\right)"


_NN = "torch.nn.functional."
_OWN = "actsearch.activation.primitives."
_BESSEL = "actsearch.activation.bessel."

_ROWS = (
    # arithmetic: precedence 1 (+ -), 2 (* /), 3 (unary -), 4 (**)
    Operator("add", 2, "{} + {}", 1, "operator.add", "+", 1, weight=4),
    Operator("sub", 2, "{} - {}", 1, "operator.sub", "-", 1, weight=2),
    Operator("mul", 2, r"{} \cdot {}", 1, "operator.mul", "*", 2, weight=4),
    Operator("div", 2, r"\frac{{{}}}{{{}}}", 2, "operator.truediv", "/", 2),
    Operator("neg", 1, "-{}", 1, "operator.neg", "-", 3),
    Operator("pow", 2, "{{{}}}^{{{}}}", 4, "operator.pow", "**", 4, weight=0.5, family="power"),
    # two arguments or more
    Operator("max", 2, r"\max\left({}\right)", 1, _OWN + "largest", weight=2, joint=", "),
    Operator("min", 2, r"\min\left({}\right)", 1, _OWN + "smallest", weight=2, joint=", "),
    Operator("sum", 2, r"\left({}\right)", 2, _OWN + "total", weight=0.3, joint=" + "),
    Operator("prod", 2, r"\left({}\right)", 2, _OWN + "product", weight=0.3, joint=r" \cdot "),
    Operator(
        "gate", 2, r"\sigma\left({}\right) \cdot \left({}\right)", 4, _OWN + "gate", weight=2
    ),
    Operator(
        "piecewise",
        2,
        r"\begin{{cases}} {} & x < 0 \\ {} & x \geq 0 \end{{cases}}",
        2,
        _OWN + "piecewise",
        uses_x=True,
    ),
    Operator(
        "mix",
        2,
        r"\left(\left(1 - {2}\right) \cdot \left({0}\right) + {2} \cdot \left({1}\right)\right)",
        4,
        _OWN + "mix",
        learned=(0.5,),
    ),
    # piecewise-polynomial
    Operator("identity", 1, r"\left({}\right)", 0, _OWN + "identity", weight=0),
    Operator("abs", 1, r"\left|{}\right|", 1, "torch.abs"),
    Operator("sign", 1, _function("sign"), 1, "torch.sign", weight=0.2),
    Operator("relu", 1, _function("ReLU"), 1, "torch.relu", weight=2),
    Operator("square", 1, r"\left({}\right)^{{2}}", 1, "torch.square", family="power"),
    Operator("cube", 1, r"\left({}\right)^{{3}}", 2, _OWN + "cube", weight=0.5, family="power"),
    Operator("hardsigmoid", 1, _function("hardsigmoid"), 2, _NN + "hardsigmoid"),
    # roots, quotients, logarithms
    Operator("sqrt", 1, r"\sqrt{{{}}}", 2, "torch.sqrt", weight=0.3),
    Operator("reciprocal", 1, r"\frac{{1}}{{{}}}", 2, "torch.reciprocal", weight=0.3),
    Operator("log", 1, r"\log\left({}\right)", 3, "torch.log", weight=0.3),
    Operator("log1p", 1, r"\log\left({} + 1\right)", 3, "torch.log1p", weight=0.3),
    # exponentials
    Operator("exp", 1, r"e^{{{}}}", 3, "torch.exp", weight=0.7, family="exponential"),
    Operator("expm1", 1, r"\left(e^{{{}}} - 1\right)", 3, "torch.expm1", family="exponential"),
    Operator(
        "sinh", 1, r"\sinh\left({}\right)", 4, "torch.sinh", weight=0.5, family="exponential"
    ),
    Operator(
        "cosh", 1, r"\cosh\left({}\right)", 4, "torch.cosh", weight=0.3, family="exponential"
    ),
    Operator("gauss", 1, r"e^{{-\left({}\right)^{{2}}}}", 4, _OWN + "gauss", family="exponential"),
    # periodic
    Operator("sin", 1, r"\sin\left({}\right)", 3, "torch.sin", family="periodic"),
    Operator("cos", 1, r"\cos\left({}\right)", 3, "torch.cos", weight=0.5, family="periodic"),
    Operator("sinc", 1, _function("sinc"), 4, "torch.sinc", weight=0.5, family="periodic"),
    # sigmoidal
    Operator("tanh", 1, r"\tanh\left({}\right)", 3, "torch.tanh", weight=2),
    Operator("sigmoid", 1, r"\sigma\left({}\right)", 3, "torch.sigmoid", weight=2),
    Operator(
        "logsigmoid",
        1,
        r"\log\left(\sigma\left({}\right)\right)",
        4,
        _OWN + "logsigmoid",
        weight=0.3,
    ),
    Operator("atan", 1, r"\arctan\left({}\right)", 3, "torch.atan"),
    Operator("asinh", 1, r"\operatorname{{arsinh}}\left({}\right)", 4, "torch.asinh"),
    Operator("softsign", 1, _function("softsign"), 3, _NN + "softsign"),
    Operator("erf", 1, _function("erf"), 4, "torch.erf"),
    Operator("erfc", 1, _function("erfc"), 4, "torch.erfc", weight=0.3),
    Operator("i0e", 1, _function("i0e"), 6, _BESSEL + "i0e", weight=0.2),
    Operator("i1e", 1, _function("i1e"), 6, _BESSEL + "i1e", weight=0.2),
    # known activations as building blocks
    Operator("softplus", 1, _function("softplus"), 4, _NN + "softplus"),
    Operator("elu", 1, _function("ELU"), 3, _NN + "elu"),
    Operator("selu", 1, _function("SELU"), 3, _NN + "selu"),
    Operator("silu", 1, _function("SiLU"), 3, _NN + "silu"),
    Operator("gelu", 1, _function("GELU"), 4, _NN + "gelu"),
    Operator("mish", 1, _function("Mish"), 5, _NN + "mish"),
)


def _table(rows: tuple[Operator, ...]) -> Mapping[str, Operator]:
    table = {row.name: row for row in rows}
    if len(table) != len(rows):
        raise FormulaError("two operators have one name")
    return MappingProxyType(table)


OPERATORS: Mapping[str, Operator] = _table(_ROWS)
"""Every operator by name."""
