"""In which parts a formula differs from its parent."""

from __future__ import annotations

import random

import pytest

import actsearch as acs
from actsearch.expression import Call, Expression, Number, X, find_difference


def marked(parent: str, child: str) -> str:
    found = find_difference(acs.parse(parent), acs.parse(child))
    text = "".join(piece for piece, _ in found.parts)
    assert text == str(acs.parse(child))
    return "".join(f"[{piece}]" if changed else piece for piece, changed in found.parts)


@pytest.mark.parametrize(
    ("parent", "child", "expected"),
    [
        ("x * tanh(x)", "x * tanh(x)", "x * tanh(x)"),
        ("x * tanh(x)", "x * sigmoid(x)", "x * [sigmoid(x)]"),
        ("x * tanh(2 * x)", "x * tanh(3 * x)", "x * tanh([3] * x)"),
        ("x * tanh(x)", "tanh(x)", "[tanh(x)]"),
        # in any order where arguments commute, and in no other where they do not
        ("tanh(x) * x", "x * tanh(x)", "x * tanh(x)"),
        ("sin(x) + tanh(x)", "tanh(x) + cos(x)", "tanh(x) + [cos(x)]"),
        ("max(x, tanh(x) * 2)", "max(2 * tanh(x), x)", "max(2 * tanh(x), x)"),
        ("x - tanh(x)", "tanh(x) - x", "[tanh(x)] - [x]"),
        ("x / 2", "2 / x", "[2] / [x]"),
        # none of the arguments is as it was: so that least is changed
        ("sin(2 * x) + tanh(3 * x)", "tanh(4 * x) + sin(5 * x)", "tanh([4] * x) + sin([5] * x)"),
        ("sum(x, sin(x), cos(2 * x))", "sum(cos(3 * x), x, tanh(x))", "sum(cos([3] * x), x, [tanh(x)])"),
        ("sum(x, sin(x), 1)", "sum(x, sin(x))", "[sum(x, sin(x))]"),
        # brackets stand outside of what is marked
        ("x * (x + 1)", "x * (x - 1)", "x * ([x - 1])"),
        ("(x + 1) ** 2", "(x + 2) ** 2", "(x + [2]) ** 2"),
        ("neg(2) * x", "neg(3) * x", "neg([3]) * x"),
        ("-x * 2", "-tanh(x) * 2", "-[tanh(x)] * 2"),
        ("mix(x, sin(x), 0.1)", "mix(x, sin(x), 0.2)", "mix(x, sin(x), [0.2])"),
        ("param(1.0) * x", 'param(1.0, per="channel") * x', '[param(1.0, per="channel")] * x'),
    ],
)  # fmt: skip
def test_changed_subtrees_are_the_smallest(parent: str, child: str, expected: str) -> None:
    assert marked(parent, child) == expected


def test_share_counts_nodes() -> None:
    found = find_difference(acs.parse("x * tanh(2 * x)"), acs.parse("x * tanh(3 * x)"))
    assert found.share == pytest.approx(1 / 6)
    assert find_difference(acs.parse("x"), acs.parse("tanh(x)")).share == 1
    assert find_difference(acs.parse("x"), acs.parse("x")).share == 0


def test_a_formula_within_the_other_is_told() -> None:
    inner, outer = acs.parse("x * tanh(x)"), acs.parse("sin(tanh(x) * x)")
    assert find_difference(inner, outer).holds_parent
    assert find_difference(outer, inner).is_part
    alone = find_difference(acs.parse("x"), outer)
    assert not alone.holds_parent
    assert not alone.is_part


def _random_tree(source: random.Random, depth: int) -> Expression:
    if depth == 0 or source.random() < 0.2:
        return source.choice([X, Number(1), Number(-2)])
    name, arity = source.choice([("add", 2), ("sub", 2), ("tanh", 1), ("mul", 2), ("sum", 3)])
    return Call(name, tuple(_random_tree(source, depth - 1) for _ in range(arity)))


def _replace(tree: Expression, path: list[int], new: Expression) -> Expression:
    if not path:
        return new
    assert isinstance(tree, Call)
    arguments = list(tree.arguments)
    arguments[path[0]] = _replace(arguments[path[0]], path[1:], new)
    return Call(tree.operator, tuple(arguments))


@pytest.mark.parametrize("seed", range(100))
def test_no_more_is_marked_than_was_replaced(seed: int) -> None:
    source = random.Random(seed)
    parent = node = _random_tree(source, 5)
    path: list[int] = []
    while node.children and source.random() < 0.7:
        path.append(source.randrange(len(node.children)))
        node = node.children[path[-1]]
    new = _random_tree(source, 2)
    child = _replace(parent, path, new)
    found = find_difference(parent, child)
    assert "".join(piece for piece, _ in found.parts) == str(child)
    assert found.share * child.size <= new.size + 1e-9
    assert (found.share == 0) == (not any(changed for _, changed in found.parts))


def test_large_formulas_are_compared_at_once() -> None:
    def deep(leaf: str) -> Expression:
        tree = acs.parse(leaf)
        for number in range(45):
            tree = Call("add", (tree, Call("mul", (X, Number(number)))))
        return tree

    found = find_difference(deep("tanh(x)"), deep("sin(x)"))
    assert [piece for piece, changed in found.parts if changed] == ["sin(x)"]
