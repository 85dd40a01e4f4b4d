"""The operators a formula may use. To add one that torch has a function for, add a row: nothing else.

The table holds no torch: ``function`` is the dotted name of the implementation, looked up once, when
:mod:`actsearch.activations` binds it. Semantics are plain IEEE: ``log(-1)`` is NaN, ``1/0`` is infinite;
nothing is silently protected, and screening refuses candidates that this harms.
"""

from __future__ import annotations

import string
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from actsearch.checks import check_one_of
from actsearch.errors import FormulaError

__all__ = ["OPERATORS", "Operator"]

_RECOMMENDED = 0.5  # smallest weight of the default space


@dataclass(frozen=True)
class Operator:
    r"""One operator of the formula language.

    Attributes:
        name: how it is called in a formula, ``sigmoid(x)``; infix operators have a ``symbol`` as well.
        arity: number of arguments; the fewest if it takes any number of them.
        latex: template with one field for each argument, or with one field for all of them, joined. What is written
            ``\operatorname{name}(...)`` is read back, when the LaTeX is tested, as ``reference``.
        cost: forward plus backward work in rough units of one addition.
        function: dotted name of the implementation on tensors.
        reference: its definition in numpy (``np``) and ``scipy.special`` (``special``) over the arguments a, b, c, and
            the input x if it uses that. Tests compare value, gradient and LaTeX with it; it is never run otherwise.
        symbol: infix or prefix symbol, if it has one.
        precedence: binding strength of the symbol; 9 for calls.
        weight: prior weight with which composing strategies pick it. From 0.5 on it is in the default space, above 0
            among ``operators="all"``; at 0 it is only drawn where a space names it. Rows below 0.5 often leave the
            real numbers, are costly, or only repeat what is there.
        family: operators of one family are not nested in each other by genetic search
            (no exp in exp, no sin in sin); None has no limit.
        uses_x: the implementation takes the input x as an extra first argument.
        separator: LaTeX between the arguments of an operator that takes any number of them; None for a fixed number.
        drawn_arity: number of arguments with which composing strategies draw it, if that is not ``arity``.
        number_choices: numbers among which random formulas draw the second argument, which in every composed formula
            has to be a number; empty where it may be any formula.
        learned: start values of learned numbers that follow the arguments. In a formula they may be left out, or
            written out as ``param(...)`` or a number.
        code: template for exported source, in torch alone (``torch``, ``F``), one field for each argument, or, with a
            ``separator``, one for all of them, joined by ``code_separator``; needed where ``function`` is one of ours
            that no symbol stands for.
        code_separator: source between the arguments of an operator that takes any number of them.
        code_of_two: template for two arguments, where an operator that takes any number has a shorter one for these.
        expected: its value for the arguments 0.4 and 1.3, learned numbers 0.25, to be compared when it is bound; for
            an operator that uses x, for x = 0.4 and the arguments 1.3 and 0.7.
    """

    name: str
    arity: int
    latex: str
    cost: float
    function: str
    reference: str = ""
    symbol: str | None = None
    precedence: int = 9
    weight: float = 0.0
    family: str | None = None
    uses_x: bool = False
    separator: str | None = None
    drawn_arity: int | None = None
    number_choices: tuple[float, ...] = ()
    learned: tuple[float, ...] = ()
    expected: float | None = None
    code: str | None = None
    code_separator: str = ", "
    code_of_two: str | None = None

    @property
    def recommended(self) -> bool:
        """Whether the default space holds it."""
        return self.weight >= _RECOMMENDED

    def __post_init__(self) -> None:
        where = f"operator {self.name!r}"
        if not isinstance(self.name, str) or not self.name.isidentifier():
            raise FormulaError(f"{where}: the name must be an identifier")
        check_one_of(f"{where}: arity", self.arity, (1, 2), FormulaError)
        if self.separator is not None and (self.symbol or self.learned or self.arity != 2):
            raise FormulaError(
                f"{where}: any number of arguments means two or more, without symbol or learned numbers"
            )
        if self.separator is None and self.code_of_two is not None:
            raise FormulaError(f"{where}: code_of_two belongs to a row with a separator")
        fields = 1 if self.separator is not None else self.arity + len(self.learned)
        for column, wanted in (("latex", fields), ("code", fields), ("code_of_two", 2)):
            template = getattr(self, column)
            if template is not None and _count_fields(template) != wanted:
                raise FormulaError(
                    f"{where}: {column} must have {wanted} '{{}}', not {template!r}"
                )

    @property
    def usual_arity(self) -> int:
        """Number of arguments with which composing strategies draw it."""
        return self.arity if self.drawn_arity is None else self.drawn_arity

    def accepts(self, count: int) -> bool:
        """Whether it may stand before so many arguments, learned numbers left out or not."""
        if self.separator is not None:
            return count >= self.arity
        return count in (self.arity, self.arity + len(self.learned))


def _count_fields(template: str) -> int:
    """How many different fields a format text has."""
    names = [name for _, name, _, _ in string.Formatter().parse(template) if name is not None]
    return len(names) if "" in names else len(set(names))


def _function(name: str) -> str:
    return rf"\operatorname{{{{{name}}}}}\left({{}}\right)"


_NN = "torch.nn.functional."
_OWN = "actsearch.activations.primitives."
_BESSEL = "actsearch.activations.bessel."

# one row an operator, on one or two lines: the formatter would take fifteen for each
# fmt: off
_ROWS = (
    # arithmetic: precedence 1 (+ -), 2 (* /), 3 (unary -), 4 (**)
    Operator("add", 2, "{} + {}", 1, "operator.add",
             "a + b", symbol="+", precedence=1, weight=4, expected=1.7),
    Operator("sub", 2, "{} - {}", 1, "operator.sub",
             "a - b", symbol="-", precedence=1, weight=2, expected=-0.9),
    Operator("mul", 2, r"{} \cdot {}", 1, "operator.mul",
             "a * b", symbol="*", precedence=2, weight=4, expected=0.52),
    Operator("div", 2, r"\frac{{{}}}{{{}}}", 2, "operator.truediv",
             "a / b", symbol="/", precedence=2, weight=1, expected=0.3076923076923077),
    Operator("neg", 1, "-{}", 1, "operator.neg",
             "-a", symbol="-", precedence=3, weight=1, expected=-0.4),
    Operator("pow", 2, "{{{}}}^{{{}}}", 4, "operator.pow",
             "np.power(a, b)", symbol="**", precedence=4, weight=0.5, family="power", expected=0.30386311717294956,
             number_choices=(2.0, 3.0)),
    # two arguments or more; a sum or product is drawn with three, as with two it is an addition or multiplication
    Operator("max", 2, r"\max\left({}\right)", 1, _OWN + "largest",
             "np.maximum(a, b)", weight=2, separator=", ", expected=1.3, code_of_two="torch.maximum({}, {})",
             code="torch.stack(torch.broadcast_tensors({})).amax(0)"),
    Operator("min", 2, r"\min\left({}\right)", 1, _OWN + "smallest",
             "np.minimum(a, b)", weight=2, separator=", ", expected=0.4, code_of_two="torch.minimum({}, {})",
             code="torch.stack(torch.broadcast_tensors({})).amin(0)"),
    Operator("sum", 2, r"\left({}\right)", 2, _OWN + "total",
             "a + b", weight=0.3, separator=" + ", drawn_arity=3, expected=1.7,
             code="({})", code_separator=" + "),
    Operator("prod", 2, r"\left({}\right)", 2, _OWN + "product",
             "a * b", weight=0.3, separator=r" \cdot ", drawn_arity=3, expected=0.52,
             code="({})", code_separator=" * "),
    Operator("gate", 2, r"\sigma\left({}\right) \cdot \left({}\right)", 4, _OWN + "gate",
             "special.expit(a) * b", weight=2, expected=0.7782939581461876, code="torch.sigmoid({0}) * ({1})"),
    Operator("piecewise", 2, r"\begin{{cases}} {} & x < 0 \\ {} & x \geq 0 \end{{cases}}", 2, _OWN + "piecewise",
             "np.where(x < 0, a, b)", weight=1, uses_x=True, expected=0.7, code="piecewise(x, {0}, {1})"),
    Operator("mix", 2, r"\left(\left(1 - {2}\right) \cdot \left({0}\right) + {2} \cdot \left({1}\right)\right)", 4,
             _OWN + "mix", "(1 - c) * a + c * b", weight=1, learned=(0.5,), expected=0.625, code="mix({0}, {1}, {2})"),
    # piecewise-polynomial
    Operator("identity", 1, r"\left({}\right)", 0, _OWN + "identity", "a", expected=0.4, code="{0}"),
    Operator("abs", 1, r"\left|{}\right|", 1, "torch.abs", "np.abs(a)", weight=1, expected=0.4),
    Operator("sign", 1, _function("sign"), 1, "torch.sign",
             "np.sign(a)", weight=0.2, expected=1.0),
    Operator("relu", 1, _function("ReLU"), 1, "torch.relu",
             "np.maximum(a, 0)", weight=2, expected=0.4),
    Operator("square", 1, r"\left({}\right)^{{2}}", 1, "torch.square",
             "a**2", weight=1, family="power", expected=0.16),
    Operator("cube", 1, r"\left({}\right)^{{3}}", 2, _OWN + "cube",
             "a**3", weight=0.5, family="power", expected=0.064, code="({0}) ** 3"),
    Operator("hardsigmoid", 1, _function("hardsigmoid"), 2, _OWN + "hardsigmoid",
             "np.clip(a / 6 + 0.5, 0, 1)", weight=1, expected=0.5666666666666667, code="F.hardsigmoid({0})"),
    # roots, quotients, logarithms
    Operator("sqrt", 1, r"\sqrt{{{}}}", 2, "torch.sqrt",
             "np.sqrt(a)", weight=0.3, expected=0.6324555320336759),
    Operator("reciprocal", 1, r"\frac{{1}}{{{}}}", 2, "torch.reciprocal",
             "1 / a", weight=0.3, expected=2.5),
    Operator("log", 1, r"\log\left({}\right)", 3, "torch.log",
             "np.log(a)", weight=0.3, expected=-0.9162907318741551),
    Operator("log1p", 1, r"\log\left({} + 1\right)", 3, "torch.log1p",
             "np.log(1 + a)", weight=0.3, expected=0.33647223662121295),
    # exponentials
    Operator("exp", 1, "e^{{{}}}", 3, "torch.exp",
             "np.exp(a)", weight=0.7, family="exponential", expected=1.4918246976412703),
    Operator("expm1", 1, r"\left(e^{{{}}} - 1\right)", 3, "torch.expm1",
             "np.exp(a) - 1", weight=1, family="exponential", expected=0.4918246976412703),
    Operator("sinh", 1, r"\sinh\left({}\right)", 4, "torch.sinh",
             "np.sinh(a)", weight=0.5, family="exponential", expected=0.4107523258028155),
    Operator("cosh", 1, r"\cosh\left({}\right)", 4, "torch.cosh",
             "np.cosh(a)", weight=0.3, family="exponential", expected=1.0810723718384547),
    Operator("gauss", 1, r"e^{{-\left({}\right)^{{2}}}}", 4, _OWN + "gauss",
             "np.exp(-(a**2))", weight=1, family="exponential", expected=0.8521437889662113,
             code="torch.exp(-torch.square({0}))"),
    # periodic
    Operator("sin", 1, r"\sin\left({}\right)", 3, "torch.sin",
             "np.sin(a)", weight=1, family="periodic", expected=0.38941834230865047),
    Operator("cos", 1, r"\cos\left({}\right)", 3, "torch.cos",
             "np.cos(a)", weight=0.5, family="periodic", expected=0.9210609940028851),
    Operator("sinc", 1, _function("sinc"), 4, "torch.sinc",
             "np.sinc(a)", weight=0.5, family="periodic", expected=0.756826728640657),
    # sigmoidal
    Operator("tanh", 1, r"\tanh\left({}\right)", 3, "torch.tanh",
             "np.tanh(a)", weight=2, expected=0.3799489622552249),
    Operator("sigmoid", 1, r"\sigma\left({}\right)", 3, "torch.sigmoid",
             "special.expit(a)", weight=2, expected=0.598687660112452),
    Operator("logsigmoid", 1, r"\log\left(\sigma\left({}\right)\right)", 4, _OWN + "logsigmoid",
             "special.log_expit(a)", weight=0.3, expected=-0.5130152523999526, code="F.logsigmoid({0})"),
    Operator("atan", 1, r"\arctan\left({}\right)", 3, "torch.atan",
             "np.arctan(a)", weight=1, expected=0.3805063771123649),
    Operator("asinh", 1, r"\operatorname{{arsinh}}\left({}\right)", 4, "torch.asinh",
             "np.arcsinh(a)", weight=1, expected=0.39003531977071526),
    Operator("softsign", 1, _function("softsign"), 3, _NN + "softsign",
             "a / (1 + np.abs(a))", weight=1, expected=0.2857142857142857),
    Operator("erf", 1, _function("erf"), 4, "torch.erf",
             "special.erf(a)", weight=1, expected=0.42839235504666845),
    Operator("erfc", 1, _function("erfc"), 4, "torch.erfc",
             "special.erfc(a)", weight=0.3, expected=0.5716076449533315),
    Operator("i0e", 1, _function("i0e"), 6, _BESSEL + "i0e",
             "special.i0e(a)", weight=0.2, expected=0.6974021705595332, code="torch.special.i0e({0})"),
    Operator("i1e", 1, _function("i1e"), 6, _BESSEL + "i1e",
             "special.i1e(a)", weight=0.2, expected=0.13676322429582918, code="torch.special.i1e({0})"),
    # known activations as building blocks
    Operator("softplus", 1, _function("softplus"), 4, _NN + "softplus",
             "np.logaddexp(0, a)", weight=1, expected=0.9130152523999526),
    Operator("elu", 1, _function("ELU"), 3, _NN + "elu",
             "np.where(a > 0, a, np.exp(np.minimum(a, 0)) - 1)", weight=1, expected=0.4),
    Operator("selu", 1, _function("SELU"), 3, _NN + "selu",
             "1.0507009873554805 * np.where(a > 0, a, 1.6732632423543772 * (np.exp(np.minimum(a, 0)) - 1))",
             weight=1, expected=0.4202803949421922),
    Operator("silu", 1, _function("SiLU"), 3, _NN + "silu",
             "a * special.expit(a)", weight=1, expected=0.2394750640449808),
    Operator("gelu", 1, _function("GELU"), 4, _NN + "gelu",
             "a * special.ndtr(a)", weight=1, expected=0.2621686966441297),
    Operator("mish", 1, _function("Mish"), 5, _NN + "mish",
             "a * np.tanh(np.logaddexp(0, a))", weight=1, expected=0.2890305340723632),
)
# fmt: on


def _table(rows: tuple[Operator, ...]) -> Mapping[str, Operator]:
    table = {row.name: row for row in rows}
    if len(table) != len(rows):
        raise FormulaError("two operators have one name")
    return MappingProxyType(table)


OPERATORS: Mapping[str, Operator] = _table(_ROWS)
"""Every operator by name."""
