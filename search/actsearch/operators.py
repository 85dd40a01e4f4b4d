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
        at: its value for the arguments 0.4 and 1.3, learned numbers 0.25, to be compared when it is bound; for an
            operator that uses x, for x = 0.4 and the arguments 1.3 and 0.7.
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
    at: float | None = None

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
    Operator("add", 2, "{} + {}", 1, "operator.add", "+", 1, weight=4, at=1.7),
    Operator("sub", 2, "{} - {}", 1, "operator.sub", "-", 1, weight=2, at=-0.9),
    Operator("mul", 2, r"{} \cdot {}", 1, "operator.mul", "*", 2, weight=4, at=0.52),
    Operator("div", 2, r"\frac{{{}}}{{{}}}", 2, "operator.truediv", "/", 2, at=0.3076923076923077),
    Operator("neg", 1, "-{}", 1, "operator.neg", "-", 3, at=-0.4),
    Operator(
        "pow",
        2,
        "{{{}}}^{{{}}}",
        4,
        "operator.pow",
        "**",
        4,
        weight=0.5,
        family="power",
        at=0.30386311717294956,
    ),
    # two arguments or more
    Operator("max", 2, r"\max\left({}\right)", 1, _OWN + "largest", weight=2, joint=", ", at=1.3),
    Operator("min", 2, r"\min\left({}\right)", 1, _OWN + "smallest", weight=2, joint=", ", at=0.4),
    Operator("sum", 2, r"\left({}\right)", 2, _OWN + "total", weight=0.3, joint=" + ", at=1.7),
    Operator(
        "prod", 2, r"\left({}\right)", 2, _OWN + "product", weight=0.3, joint=r" \cdot ", at=0.52
    ),
    Operator(
        "gate",
        2,
        r"\sigma\left({}\right) \cdot \left({}\right)",
        4,
        _OWN + "gate",
        weight=2,
        at=0.7782939581461876,
    ),
    Operator(
        "piecewise",
        2,
        r"\begin{{cases}} {} & x < 0 \\ {} & x \geq 0 \end{{cases}}",
        2,
        _OWN + "piecewise",
        uses_x=True,
        at=0.7,
    ),
    Operator(
        "mix",
        2,
        r"\left(\left(1 - {2}\right) \cdot \left({0}\right) + {2} \cdot \left({1}\right)\right)",
        4,
        _OWN + "mix",
        learned=(0.5,),
        at=0.625,
    ),
    # piecewise-polynomial
    Operator("identity", 1, r"\left({}\right)", 0, _OWN + "identity", weight=0, at=0.4),
    Operator("abs", 1, r"\left|{}\right|", 1, "torch.abs", at=0.4),
    Operator("sign", 1, _function("sign"), 1, "torch.sign", weight=0.2, at=1.0),
    Operator("relu", 1, _function("ReLU"), 1, "torch.relu", weight=2, at=0.4),
    Operator("square", 1, r"\left({}\right)^{{2}}", 1, "torch.square", family="power", at=0.16),
    Operator(
        "cube", 1, r"\left({}\right)^{{3}}", 2, _OWN + "cube", weight=0.5, family="power", at=0.064
    ),
    Operator(
        "hardsigmoid", 1, _function("hardsigmoid"), 2, _NN + "hardsigmoid", at=0.5666666666666667
    ),
    # roots, quotients, logarithms
    Operator("sqrt", 1, r"\sqrt{{{}}}", 2, "torch.sqrt", weight=0.3, at=0.6324555320336759),
    Operator("reciprocal", 1, r"\frac{{1}}{{{}}}", 2, "torch.reciprocal", weight=0.3, at=2.5),
    Operator("log", 1, r"\log\left({}\right)", 3, "torch.log", weight=0.3, at=-0.9162907318741551),
    Operator(
        "log1p",
        1,
        r"\log\left({} + 1\right)",
        3,
        "torch.log1p",
        weight=0.3,
        at=0.33647223662121295,
    ),
    # exponentials
    Operator(
        "exp",
        1,
        r"e^{{{}}}",
        3,
        "torch.exp",
        weight=0.7,
        family="exponential",
        at=1.4918246976412703,
    ),
    Operator(
        "expm1",
        1,
        r"\left(e^{{{}}} - 1\right)",
        3,
        "torch.expm1",
        family="exponential",
        at=0.4918246976412703,
    ),
    Operator(
        "sinh",
        1,
        r"\sinh\left({}\right)",
        4,
        "torch.sinh",
        weight=0.5,
        family="exponential",
        at=0.4107523258028155,
    ),
    Operator(
        "cosh",
        1,
        r"\cosh\left({}\right)",
        4,
        "torch.cosh",
        weight=0.3,
        family="exponential",
        at=1.0810723718384547,
    ),
    Operator(
        "gauss",
        1,
        r"e^{{-\left({}\right)^{{2}}}}",
        4,
        _OWN + "gauss",
        family="exponential",
        at=0.8521437889662113,
    ),
    # periodic
    Operator(
        "sin", 1, r"\sin\left({}\right)", 3, "torch.sin", family="periodic", at=0.38941834230865047
    ),
    Operator(
        "cos",
        1,
        r"\cos\left({}\right)",
        3,
        "torch.cos",
        weight=0.5,
        family="periodic",
        at=0.9210609940028851,
    ),
    Operator(
        "sinc",
        1,
        _function("sinc"),
        4,
        "torch.sinc",
        weight=0.5,
        family="periodic",
        at=0.756826728640657,
    ),
    # sigmoidal
    Operator("tanh", 1, r"\tanh\left({}\right)", 3, "torch.tanh", weight=2, at=0.3799489622552249),
    Operator(
        "sigmoid", 1, r"\sigma\left({}\right)", 3, "torch.sigmoid", weight=2, at=0.598687660112452
    ),
    Operator(
        "logsigmoid",
        1,
        r"\log\left(\sigma\left({}\right)\right)",
        4,
        _OWN + "logsigmoid",
        weight=0.3,
        at=-0.5130152523999526,
    ),
    Operator("atan", 1, r"\arctan\left({}\right)", 3, "torch.atan", at=0.3805063771123649),
    Operator(
        "asinh",
        1,
        r"\operatorname{{arsinh}}\left({}\right)",
        4,
        "torch.asinh",
        at=0.39003531977071526,
    ),
    Operator("softsign", 1, _function("softsign"), 3, _NN + "softsign", at=0.2857142857142857),
    Operator("erf", 1, _function("erf"), 4, "torch.erf", at=0.42839235504666845),
    Operator("erfc", 1, _function("erfc"), 4, "torch.erfc", weight=0.3, at=0.5716076449533315),
    Operator("i0e", 1, _function("i0e"), 6, _BESSEL + "i0e", weight=0.2, at=0.6974021705595332),
    Operator("i1e", 1, _function("i1e"), 6, _BESSEL + "i1e", weight=0.2, at=0.13676322429582918),
    # known activations as building blocks
    Operator("softplus", 1, _function("softplus"), 4, _NN + "softplus", at=0.9130152523999526),
    Operator("elu", 1, _function("ELU"), 3, _NN + "elu", at=0.4),
    Operator("selu", 1, _function("SELU"), 3, _NN + "selu", at=0.4202803949421922),
    Operator("silu", 1, _function("SiLU"), 3, _NN + "silu", at=0.2394750640449808),
    Operator("gelu", 1, _function("GELU"), 4, _NN + "gelu", at=0.2621686966441297),
    Operator("mish", 1, _function("Mish"), 5, _NN + "mish", at=0.2890305340723632),
)


def _table(rows: tuple[Operator, ...]) -> Mapping[str, Operator]:
    table = {row.name: row for row in rows}
    if len(table) != len(rows):
        raise FormulaError("two operators have one name")
    return MappingProxyType(table)


OPERATORS: Mapping[str, Operator] = _table(_ROWS)
"""Every operator by name."""
