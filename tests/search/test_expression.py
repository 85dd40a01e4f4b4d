"""Formulas as trees: text, JSON, LaTeX and measures, on random trees and on examples by hand."""

from __future__ import annotations

import dataclasses
import json
import os
import pickle
import re
import subprocess
import sys
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import actsearch as acs
from actsearch.expression import Call, Expression, Limits, Number, Parameter, X
from actsearch.operators import OPERATORS

_THOROUGH = settings(max_examples=100, deadline=None, derandomize=True)

_UNARY = sorted(name for name, row in OPERATORS.items() if row.arity == 1)
_BINARY = sorted(name for name, row in OPERATORS.items() if row.arity == 2)
_numbers = st.one_of(
    st.integers(-12, 12).map(float),
    st.floats(-1e9, 1e9, allow_nan=False),
    st.sampled_from([1e-300, 5e-324, 0.1, 1e9, -1e9, 123456789.125, -0.0]),
)
_leaves = st.one_of(
    st.just(X),
    _numbers.map(Number),
    st.builds(Parameter, _numbers, st.sampled_from(["tensor", "channel"])),
)


def _call(name: str, *arguments: Expression) -> Call:
    try:
        return Call(name, arguments)
    except acs.FormulaError:  # a power of two numbers that is too large
        return Call("add", arguments)


trees = st.recursive(
    _leaves,
    lambda inner: st.one_of(
        st.builds(_call, st.sampled_from(_UNARY), inner),
        st.builds(_call, st.sampled_from(_BINARY), inner, inner),
        st.builds(
            lambda name, items: _call(name, *items),
            st.sampled_from(["sum", "prod", "max", "min"]),
            st.lists(inner, min_size=2, max_size=5),
        ),
        st.builds(_call, st.just("mix"), inner, inner, st.builds(Parameter, _numbers)),
        st.builds(_call, st.just("mix"), inner, inner, _numbers.map(Number)),
        st.builds(_call, st.just("pow"), inner, inner),
        st.builds(_call, st.just("neg"), inner),
    ),
    max_leaves=14,
)


@_THOROUGH
@given(trees)
def test_reading_the_text_of_a_tree_gives_the_tree_back(tree: Expression) -> None:
    again = acs.parse(str(tree))
    assert again == tree
    assert hash(again) == hash(tree)
    assert str(again) == str(tree)


@_THOROUGH
@given(trees)
def test_reading_the_json_of_a_tree_gives_the_tree_back(tree: Expression) -> None:
    stored = json.dumps(tree.to_json(), allow_nan=False)
    assert acs.Expression.from_json(json.loads(stored)) == tree


@_THOROUGH
@given(trees)
def test_size_depth_and_operators_are_those_of_the_nested_lists(tree: Expression) -> None:
    def measured(data: Any) -> tuple[int, int, set[str]]:
        if not isinstance(data, list):
            return 1, 1, set()
        parts = [measured(item) for item in data[1:]]
        names = {data[0]}.union(*(part[2] for part in parts))
        return 1 + sum(part[0] for part in parts), 1 + max(part[1] for part in parts), names

    assert (tree.size, tree.depth, set(tree.operators)) == measured(tree.to_json())


@_THOROUGH
@given(trees)
def test_what_a_tree_has_of_x_and_of_learned_numbers_is_what_its_nodes_are(
    tree: Expression,
) -> None:
    nodes = list(tree.walk())
    assert list(tree.parameters) == [node for node in nodes if isinstance(node, Parameter)]
    calls = [node for node in nodes if isinstance(node, Call)]
    assert tree.uses_x == (X in nodes or any(call.row.uses_x for call in calls))


@_THOROUGH
@given(trees)
def test_latex_has_balanced_braces_and_brackets(tree: Expression) -> None:
    text = tree.latex()
    depth = 0
    for brace in re.findall(r"[{}]", text):
        depth += 1 if brace == "{" else -1
        assert depth >= 0
    assert depth == 0
    assert "{}" not in text
    assert text.count(r"\left") == text.count(r"\right")
    assert text.count(r"\begin{cases}") == text.count(r"\end{cases}")


def test_measures_of_swish_are_those_counted_by_hand() -> None:
    tree = acs.parse("x * sigmoid(param(1.0) * x)")
    assert (tree.size, tree.depth) == (6, 4)
    assert tree.operators == {"mul", "sigmoid"}
    assert tree.parameters == (Parameter(1.0),)
    assert acs.parse("x").depth == 1


@pytest.mark.parametrize(
    "text",
    [
        "-x**2",
        "(-x)**2",
        "2**x**0.5",
        "(2**x)**0.5",
        "x**-1",
        "x - 1 - x*x",
        "x - (1 - x*x)",
        "x / 3 / x / 7",
        "x / (3 / x)",
        "-x * 3 - -x",
        "--x",
        "-(-2) * x",
        "+x - +2",
        "1 - 2 * x ** 3 / 4 + 5",
        " \t( x\n + 1 ) ",
        "1_000 * x + 0x10 + .5 + 2e-3",
    ],
)
def test_infix_text_means_what_it_means_in_python(text: str) -> None:
    module = acs.activation(text).double()
    for x in (0.7, 2.5):
        expected = eval(text.strip(), {"x": x})
        assert module(torch.tensor(x).double()).item() == pytest.approx(expected, rel=1e-6)
        assert acs.activation(str(acs.parse(text))).double()(torch.tensor(x)) == pytest.approx(
            expected, rel=1e-6
        )


def test_a_minus_before_a_number_is_a_number_and_before_anything_else_an_operator() -> None:
    assert acs.parse("-2") == Number(-2)
    assert acs.parse("neg(2)") == Call("neg", (Number(2),))
    assert acs.parse("-x") == acs.parse("neg(x)") == Call("neg", (X,))
    assert acs.parse("-0.0") == Number(0)


@pytest.mark.parametrize(
    ("text", "latex"),
    [
        ("x / 2", r"\frac{x}{2}"),
        ("x - (1 - x)", r"x - \left(1 - x\right)"),
        ("(x + 1) * -2", r"\left(x + 1\right) \cdot \left(-2\right)"),
        ("2**x", "{2}^{x}"),
        ("gate(x, 3)**2", r"{\left(\sigma\left(x\right) \cdot \left(3\right)\right)}^{2}"),
        ("(x / 2)**2", r"{\left(\frac{x}{2}\right)}^{2}"),
        ("1e-7 * x", r"1 \cdot 10^{-7} \cdot x"),
        ('param(1, per="channel") * x', r"\theta_{0,c} \cdot x"),
        ("param(1.0) * x + param(1.0)", r"\theta_{0} \cdot x + \theta_{1}"),
        ("sum(x, 1, -x)", r"\left(x + 1 + \left(-x\right)\right)"),
        ("prod(x, x + 1, 2)", r"\left(x \cdot \left(x + 1\right) \cdot 2\right)"),
        ("log1p(-x)", r"\log\left(-x + 1\right)"),
        ("logsigmoid(x) * x", r"\log\left(\sigma\left(x\right)\right) \cdot x"),
        (
            "piecewise(0, x) + 1",
            r"\left(\begin{cases} 0 & x < 0 \\ x & x \geq 0 \end{cases}\right) + 1",
        ),
    ],
)
def test_latex_says_what_the_formula_means(text: str, latex: str) -> None:
    assert acs.parse(text).latex() == latex


def test_trees_are_immutable_values_that_can_be_keys_and_travel() -> None:
    tree = acs.parse('sin(x) + param(0.5, per="channel")')
    twin = pickle.loads(pickle.dumps(tree))
    assert {tree: 1}[twin] == 1
    assert tree != acs.parse("sin(x) + param(0.5)")
    assert acs.parse(tree) is tree
    with pytest.raises(dataclasses.FrozenInstanceError):
        tree.operator = "cos"  # type: ignore[attr-defined]


def test_a_tree_that_was_a_key_is_found_in_another_process() -> None:
    """There the texts it is made of have other hashes."""
    tree = acs.parse("sin(x) + tanh(x)")
    assert hash(tree) == hash(acs.parse(str(tree)))
    code = (
        "import pickle, sys; from actsearch.expression import parse; "
        "assert pickle.loads(bytes.fromhex(sys.argv[1])) in {parse('sin(x) + tanh(x)')}"
    )
    given = pickle.dumps(tree).hex()
    environment = {**os.environ, "PYTHONHASHSEED": "1"}
    subprocess.run([sys.executable, "-c", code, given], check=True, env=environment)


def test_the_largest_tree_that_json_may_hold_can_be_written_and_read_as_text() -> None:
    row: list[Expression] = [Parameter(-2.2250738585072014e-308, "channel")] * 150
    while len(row) > 1:
        pairs = [Call("piecewise", pair) for pair in zip(row[::2], row[1::2], strict=False)]
        row = [*pairs, *row[2 * len(pairs) :]]
    assert row[0].size == Limits.SIZE - 1
    assert acs.parse(str(row[0])) == acs.Expression.from_json(row[0].to_json()) == row[0]
