r"""LaTeX says what the formula means: sympy reads it back, and the values agree.

sympy's reader knows neither ``\operatorname`` nor ``cases`` nor ``\left|``; before it reads, these become calls of
functions under their names, and a learned number its start value. Brackets, products, powers and fractions are read as
they stand.
"""

from __future__ import annotations

import math
import operator
import re
from collections.abc import Callable
from functools import partial, reduce
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import sympy
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from operator_references import reference
from scipy import special
from sympy.parsing.latex import parse_latex

import actsearch as acs
from actsearch.expression import Call, Expression, Number, Parameter, X
from actsearch.operators import OPERATORS

Array = npt.NDArray[np.float64]

_X = np.array([-2.3, -0.7, 0.4, 1.9])

_REWRITTEN = (
    (r"\\operatorname\{([^{}]*)\}", lambda found: "\\" + _letters(found[1])),
    (r"\\begin\{cases\}", lambda _: r"\cases("),
    (r" & x < 0 \\\\ ", lambda _: ","),
    (r" & x \\geq 0 \\end\{cases\}", lambda _: ")"),
    (r"\\left\|", lambda _: r"\Abs("),
    (r"\\right\|", lambda _: ")"),
    (r"\\(left|right)(?=[()])", lambda _: ""),  # the size of a bracket
)


def _letters(name: str) -> str:
    """A name without digits, as a LaTeX command must be."""
    return name.replace("0", "zero").replace("1", "one")


FUNCTIONS: dict[str, Callable[..., Any]] = {
    "Abs": np.abs,
    "asinh": np.arcsinh,
    "atan": np.arctan,
    "cases": lambda left, right: np.where(_X < 0, left, right),
    "cos": np.cos,
    "cosh": np.cosh,
    "log": lambda a, _base: np.log(a),
    "max": lambda *several: np.max(np.broadcast_arrays(*several), axis=0),
    "min": lambda *several: np.min(np.broadcast_arrays(*several), axis=0),
    "sigma": special.expit,
    "sin": np.sin,
    "sinh": np.sinh,
    "tanh": np.tanh,
} | {
    _letters(command[1]): partial(reference, row)
    for row in OPERATORS.values()
    if (command := re.match(r"\\operatorname\{\{(\w+)\}\}", row.latex))
}
"""What each name in a LaTeX text stands for; of an operator's own command, the reference in its row."""


def read(latex: str, starts: list[float]) -> Any:
    """The text as a tree of sympy; the reader must take all of it."""
    latex = re.sub(
        r"\\theta_\{(\d+)(?:,c)?\}", lambda found: f"({starts[int(found[1])]:.10f})", latex
    )
    for pattern, replacement in _REWRITTEN:
        latex = re.sub(pattern, replacement, latex)
    return parse_latex(latex, strict=True)


def value(tree: Any) -> Any:
    """A tree of sympy at the points, in float64; nothing is simplify on the way."""
    if tree.is_Symbol:
        return {"x": _X, "e": math.e}[tree.name]
    if tree.is_Number or tree is sympy.E:
        return np.float64(float(tree))
    arguments = [value(argument) for argument in tree.args]
    if tree.is_Add or tree.is_Mul:
        return reduce(operator.add if tree.is_Add else operator.mul, arguments)
    return np.power(*arguments) if tree.is_Pow else FUNCTIONS[type(tree).__name__](*arguments)


def values(tree: Expression, dtype: torch.dtype) -> Array:
    """What the formula's module computes at the points."""
    x = torch.tensor(_X, dtype=dtype).unsqueeze(1)
    module = acs.activation(tree, channels=1).to(dtype)
    return np.asarray(module(x).detach().double().squeeze(1).numpy())


def assert_read_back(tree: Expression, rtol: float = 1e-8) -> None:
    expected = values(tree, torch.float64)
    with np.errstate(all="ignore"):
        found = np.broadcast_to(
            value(read(tree.latex(), [item.init for item in tree.parameters])), expected.shape
        )
    good = np.isfinite(expected)
    assert good.any()
    np.testing.assert_allclose(
        found[good], expected[good], rtol=rtol, atol=1e-10, err_msg=f"{tree}\n{tree.latex()}"
    )


@pytest.mark.parametrize(
    "name",
    [
        # those that are written by a name alike are read alike: of them, the first is in the gate
        pytest.param(name, marks=pytest.mark.slow) if name != "sign" and "operatorname" in row.latex else name
        for name, row in OPERATORS.items()
    ],
)  # fmt: skip
def test_every_operator_is_read_back_as_operand_of_every_other(name: str) -> None:
    arguments = (acs.parse("-x"), acs.parse("x - 3"))
    row = OPERATORS[name]
    call = Call(name, (*arguments, X)[: 3 if row.separator is not None else row.arity])
    context = "2 - ({0}) * ({0}) * 3 + (({0}) - (1 - ({0}))) / (-({0}))**2 - 1.5**({0})"
    assert_read_back(acs.parse(context.format(call)))


_NUMBERS = st.one_of(
    st.integers(-12, 12).map(float),
    st.integers(-99, 99).map(lambda tenths: tenths / 10),
    st.sampled_from([1e-5, -2.5e-7, 3e7]),
)
_STARTS = st.integers(-40, 40).map(lambda eighths: eighths / 8)  # float32 holds them exactly
_LEAVES = st.one_of(
    st.just(X),
    st.just(X),
    _NUMBERS.map(Number),
    st.builds(Parameter, _STARTS, st.sampled_from(["tensor", "channel"])),
)


def _call(name: str, *arguments: Expression) -> Expression:
    try:
        return Call(name, arguments)
    except acs.FormulaError:  # a power of two numbers that is none
        return Call("add", arguments)


def _of_arity(count: int) -> st.SearchStrategy[str]:
    return st.sampled_from([name for name, row in OPERATORS.items() if row.arity == count])


_INFIX = st.sampled_from(
    [name for name, row in OPERATORS.items() if row.symbol and row.arity == 2]
)

_TREES = st.recursive(
    _LEAVES,
    lambda inner: st.one_of(
        st.builds(_call, _of_arity(1), inner),
        st.builds(_call, _of_arity(2), inner, inner),
        st.builds(_call, _INFIX, inner, inner),
        st.builds(_call, _INFIX, inner, inner),
        st.builds(_call, st.just("neg"), inner),
    ),
    max_leaves=8,
)


@settings(max_examples=10, deadline=None, derandomize=True)
@given(_TREES)
def test_random_formulas_are_read_back(tree: Expression) -> None:
    single, double = values(tree, torch.float32), values(tree, torch.float64)
    assume(np.isfinite(double).any())
    assume(np.allclose(single, double, rtol=1e-3, equal_nan=True))  # rounding does not decide it
    assert_read_back(tree)


@pytest.mark.parametrize("name", acs.catalog.names(tier="recommended"))
def test_recommended_rows_are_read_back(name: str) -> None:
    tree = acs.parse(acs.activation(name, channels=1).formula)
    assert_read_back(tree, rtol=2e-5)  # LaTeX shows six digits of a number
