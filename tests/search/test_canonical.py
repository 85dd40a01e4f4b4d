"""The canonical form: one spelling for trivially equal formulas, and never another function."""

from __future__ import annotations

from collections import Counter
from random import Random

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import actsearch as acs
from actsearch.activations import value_and_gradient
from actsearch.expression import Call, Expression, Number, Parameter, X, canonical
from actsearch.operators import OPERATORS

_THOROUGH = settings(max_examples=80, deadline=None, derandomize=True)

# Many of the cases that the canonical form looks for: sums, products, signs, zeros and ones.
_UNARY = ["neg", "neg", "identity", "sin", "tanh", "exp", "relu", "square"]
_BINARY = [
    "add",
    "add",
    "mul",
    "mul",
    "max",
    "min",
    "sub",
    "div",
    "pow",
    "gate",
    "piecewise",
    "mix",
]
_SEVERAL = ["sum", "prod", "max", "min"]
_leaves = st.one_of(
    st.just(X),
    st.sampled_from([0.0, 1.0, -1.0, 2.0, 0.5]).map(Number),
    st.sampled_from([0.7, 1.0, -0.3]).map(Parameter),
)


def _call(name: str, *arguments: Expression) -> Call:
    try:
        return Call(name, arguments)
    except acs.FormulaError:  # such as 0 ** -1
        return Call("add", arguments)


trees = st.recursive(
    _leaves,
    lambda inner: st.one_of(
        st.builds(_call, st.sampled_from(_UNARY), inner),
        st.builds(_call, st.sampled_from(_BINARY), inner, inner),
        st.builds(
            lambda name, items: Call(name, tuple(items)),
            st.sampled_from(_SEVERAL),
            st.lists(inner, min_size=2, max_size=4),
        ),
        inner.map(lambda tree: Call("max", (tree, tree))),
        inner.map(lambda tree: Call("neg", (Call("neg", (tree,)),))),
    ),
    max_leaves=8,
)

_POINTS = torch.tensor([[-1.37], [-0.41], [0.23], [0.89], [1.71]], dtype=torch.float64)


def _curve(tree: Expression) -> tuple[torch.Tensor, torch.Tensor]:
    return value_and_gradient(acs.activation(tree).double(), _POINTS)


@_THOROUGH
@given(trees)
def test_the_canonical_form_has_the_same_values_and_gradients(tree: Expression) -> None:
    form = canonical(tree)
    value, gradient = _curve(tree)
    new_value, new_gradient = _curve(form)
    torch.testing.assert_close(new_value, value, rtol=1e-9, atol=1e-12, equal_nan=True)
    sound = value.isfinite() & gradient.isfinite()
    largest = float(gradient[sound].abs().max()) if sound.any() else 1.0
    torch.testing.assert_close(
        new_gradient[sound], gradient[sound], rtol=1e-9, atol=1e-12 * max(largest, 1.0)
    )


@_THOROUGH
@given(trees)
def test_the_canonical_form_is_its_own_and_no_larger(tree: Expression) -> None:
    form = canonical(tree)
    assert canonical(form) == form
    assert form.size <= tree.size


@_THOROUGH
@given(trees, st.randoms(use_true_random=False))
def test_the_order_in_which_sums_and_products_are_typed_does_not_matter(
    tree: Expression, rng: Random
) -> None:
    def shuffled(node: Expression) -> Expression:
        if not isinstance(node, Call):
            return node
        arguments = [shuffled(child) for child in node.arguments]
        if node.operator in {"add", "mul", "max", "min", "sum", "prod"}:
            rng.shuffle(arguments)
        return Call(node.operator, tuple(arguments))

    assert canonical(shuffled(tree)) == canonical(tree)


@_THOROUGH
@given(trees.filter(lambda tree: bool(tree.parameters)))
def test_the_canonical_form_keeps_every_learned_parameter(tree: Expression) -> None:
    def counted(form: Expression) -> Counter[tuple[str, float]]:
        # mix(a, b, w) may become mix(b, a, 1 - w)
        return Counter((item.per, round(abs(item.init - 0.5), 9)) for item in form.parameters)

    assert counted(canonical(tree)) == counted(tree)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("x + 1", "1 + x"),
        ("sin(x) * x", "x * sin(x)"),
        ("max(x, 0)", "max(0, x)"),
        ("x + 0", "x"),
        ("1 * x", "x"),
        ("x / 1", "x"),
        ("x ** 1", "x"),
        ("x - 0", "x"),
        ("--x", "x"),
        ("identity(x)", "x"),
        ("max(tanh(x), tanh(x))", "tanh(x)"),
        ("neg(3) + x", "-3 + x"),
        ("(x + 0) * sin(1 * x)", "sin(x) * x"),
        ("sum(x, 0, tanh(x))", "tanh(x) + x"),
        ("sum(x, 1, 2, sin(x))", "sum(sin(x), 3, x)"),
        ("prod(x, sin(x), 1)", "sin(x) * x"),
        ("max(x, 0, x)", "max(0, x)"),
        ("min(x, 2, 1 + 0)", "min(1, x)"),
        ("x + 2 * 3", "x + 6"),
        ("x * sqrt(4) ** 3", "8 * x"),
        ("mix(tanh(x), x, param(0.2))", "mix(x, tanh(x), param(0.8))"),
    ],
)
def test_trivially_equal_formulas_have_one_canonical_form(one: str, other: str) -> None:
    assert canonical(acs.parse(one)) == canonical(acs.parse(other))


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("x - 1", "1 - x"),
        ("x / 2", "2 / x"),
        ("x ** 2", "2 ** x"),
        ("gate(x, 1)", "gate(1, x)"),
        ("piecewise(x, 1)", "piecewise(1, x)"),
        ("max(param(1.0), param(1.0))", "param(1.0)"),
        ("0 * x", "0"),
        ("param(1.0) * x", "x"),
        ("mix(x, tanh(x))", "x + tanh(x)"),
        ("x + 1 / 0", "x"),
        ("sum(x, param(0.0))", "x"),
    ],
)
def test_different_functions_keep_different_canonical_forms(one: str, other: str) -> None:
    assert canonical(acs.parse(one)) != canonical(acs.parse(other))


def test_every_commutative_operator_really_commutes() -> None:
    a, b = torch.tensor([0.3, -1.2, 2.5]), torch.tensor([1.9, 0.4, -0.6])
    for name, row in OPERATORS.items():
        if row.arity == 2 and not row.uses_x:
            one, other = acs.parse(f"{name}(x, 2)"), acs.parse(f"{name}(2, x)")
            same_form = canonical(one) == canonical(other)
            forward, backward = (acs.activation(tree)(torch.cat([a, b])) for tree in (one, other))
            assert not same_form or torch.allclose(forward, backward, rtol=1e-6), name
