"""What bred formulas have of their parents is the parents' own: not made, checked or computed again."""

from __future__ import annotations

from types import MappingProxyType
from typing import Any

import numpy as np
import pytest
from deap.gp import PrimitiveTree

from actsearch.expression import Call, Expression, is_well_formed, parse
from actsearch.naming.functions import FUNCTIONS, Numbers
from actsearch.strategies.genetic.trees import from_tree, to_tree
from actsearch.strategies.surrogate import curves
from actsearch.strategies.surrogate.curves import compute_curve, compute_curves


def _call(text: str) -> Call:
    tree = parse(text)
    assert isinstance(tree, Call)
    return tree


def test_an_unchanged_tree_is_the_formula_it_was_made_of() -> None:
    tree = parse("mix(sin(x), tanh(2 * x), param(0.3)) + x")
    assert from_tree(to_tree(tree)) is tree


def test_a_part_that_is_put_elsewhere_stays_the_same_object() -> None:
    host, donor = _call("tanh(x) + sin(2 * x)"), _call("x * gauss(x - 1)")
    nodes, part = to_tree(host), to_tree(donor.arguments[1])
    child = from_tree(PrimitiveTree([*nodes[:1], *part, *nodes[nodes.searchSubtree(3)]]))
    assert child == parse("gauss(x - 1) + sin(2 * x)")
    assert child.children == (donor.arguments[1], host.arguments[1])
    assert child.children[1] is host.arguments[1]


@pytest.mark.parametrize(
    ("formula", "expected"),
    [
        ("sin(tanh(x)) + sin(x)", True),
        ("sin(tanh(sin(x)))", False),  # of one family, however far apart
        ("sin(x + cos(x))", False),
        ("tanh(2) * x", False),
        ("tanh(x + exp(1 * 2))", False),
        ("relu(x) ** 2", True),
        ("x ** x", False),
    ],
)
def test_a_formula_is_well_formed_where_all_its_parts_are(formula: str, expected: bool) -> None:
    assert is_well_formed(parse(formula)) is expected
    assert is_well_formed(Call("relu", (parse(formula),))) is expected


class TestCurves:
    TEXTS = (
        "tanh(x) + sin(2*x)", "gate(sin(2*x), x)", "log(x)", "x", "3 - 1", "piecewise(0.1*x, sin(2*x))",
        "param(0.5)*cos(x)", "0/0 + 1/(x - x)", "reciprocal(0) + x", "max(x, 0, sin(2*x))",
    )  # fmt: skip

    def test_those_of_many_are_those_of_each(self) -> None:
        together = compute_curves([parse(text) for text in self.TEXTS])
        for text, curve in zip(self.TEXTS, together, strict=True):
            alone = compute_curve(text)
            if curve is None or alone is None:
                assert curve is alone, text
            else:
                assert np.array_equal(curve, alone), text

    def test_what_cannot_be_computed_has_none_and_leaves_the_others_theirs(self) -> None:
        found = compute_curves([parse(text) for text in self.TEXTS])
        missing = {text for text, curve in zip(self.TEXTS, found, strict=True) if curve is None}
        assert missing == {"log(x)", "0/0 + 1/(x - x)", "reciprocal(0) + x"}

    def test_what_is_no_formula_has_none(self) -> None:
        assert compute_curve("dropout(x)") is None
        assert compute_curve("x +") is None

    def test_there_may_be_none_to_compute(self) -> None:
        assert compute_curves([]) == []

    def test_a_part_of_several_formulas_is_computed_once(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        calls: list[str] = []

        def counted(name: str) -> Any:
            def compute(*arguments: Numbers) -> Any:
                calls.append(name)
                return FUNCTIONS[name](*arguments)

            return compute

        table = MappingProxyType({name: counted(name) for name in FUNCTIONS})
        monkeypatch.setattr(curves, "FUNCTIONS", table)
        shared = parse("sin(2 * x)")
        family: list[Expression] = [Call(name, (shared,)) for name in ("tanh", "relu", "abs")]
        assert all(curve is not None for curve in compute_curves(family))
        assert sorted(calls) == ["abs", "mul", "relu", "sin", "tanh"]
