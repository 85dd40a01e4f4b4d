"""Identity over a whole search space: 5,103 formulas binary(unary(x), unary(x)), as PANGAEA and Act-Bench span it."""

from __future__ import annotations

import collections
import itertools
import time

import pytest

import actsearch as acs
from actsearch.screening import identify

UNARY = (
    "relu elu selu silu softplus softsign hardsigmoid sigmoid logsigmoid tanh sinh cosh asinh atan erf erfc exp "
    "expm1 abs square reciprocal neg identity i0e i1e sin cos"
).split()
BINARY = ["+", "-", "*", "/", "**", "max", "min"]

# of the 5,103 formulas: a change of the operators or of identity changes it, knowingly
CLASSES = 3246
SECONDS = 60.0


def _formula(binary: str, left: str, right: str) -> str:
    first, second = f"{left}(x)", f"{right}(x)"
    if binary.isalpha():
        return f"{binary}({first}, {second})"
    return f"{first} {binary} {second}"


def _space() -> list[str]:
    return [_formula(*choice) for choice in itertools.product(BINARY, UNARY, UNARY)]


def test_the_space_is_the_published_one() -> None:
    assert len(UNARY) == len(set(UNARY)) == 27
    assert len(set(_space())) == 7 * 27 * 27 == 5103


@pytest.mark.slow
def test_a_whole_space_is_told_apart_in_less_than_a_minute() -> None:
    started = time.perf_counter()
    classes = collections.defaultdict(list)
    for text in _space():
        classes[acs.fingerprint(text)].append(text)
    seconds = time.perf_counter() - started
    largest = max(classes.values(), key=len)
    print(
        f"\n5103 formulas, {len(classes)} classes in {seconds:.1f} s; the largest has {len(largest)}"
    )
    print(" ".join(f"[{text}]" for text in largest))
    assert seconds < SECONDS
    assert len(classes) == CLASSES
    for binary in ("+", "*", "max", "min"):  # each pair in both orders: at most n (n + 1) / 2
        found = {
            acs.fingerprint(_formula(binary, *pair)) for pair in itertools.product(UNARY, UNARY)
        }
        assert len(found) <= 27 * 28 // 2


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("sigmoid(x) * identity(x)", "silu"),
        ("identity(x) * sigmoid(x)", "silu(x) + 0"),
        ("relu(x) + neg(x)", "relu(x) - identity(x)"),
        ("max(identity(x), neg(x))", "abs(x) / 1"),
        ("identity(x) * identity(x)", "square(x)"),
        ("identity(x) + neg(x)", "identity(x) - identity(x)"),
        ("cosh(x) - sinh(x)", "exp(-x)"),
        ("cosh(x) + sinh(x)", "exp(x)"),
        ("sinh(x) / cosh(x)", "tanh"),
        ("sin(x) / cos(x)", "sin(x) * (1 / cos(x))"),
        ("erf(x) + erfc(x)", "sigmoid(x) / sigmoid(x)"),
        ("exp(x) * reciprocal(x)", "exp(x) / identity(x)"),
        ("softplus(x) + logsigmoid(x)", "x"),
        ("softplus(x) - identity(x)", "softplus(-x)"),
        ("expm1(x) / exp(x)", "1 - exp(-x)"),
        ("elu(x) - relu(x)", "-(relu(x) - elu(x))"),
        ("square(x) / identity(x)", "cube(x) / square(x)"),
        ("min(exp(x), expm1(x))", "expm1(x)"),
        ("exp(x) ** identity(x)", "exp(x * x)"),
        ("abs(x) * reciprocal(x)", "abs(x) / identity(x)"),
    ],
)
def test_formulas_that_are_equal_on_paper_are_one_class(one: str, other: str) -> None:
    assert acs.fingerprint(one) == acs.fingerprint(other)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("sigmoid(x) * tanh(x)", "sigmoid(x) * erf(x)"),
        ("tanh(x) - sin(x)", "sin(x) - tanh(x)"),
        ("sinh(x) / cosh(x)", "cosh(x) / sinh(x)"),
        ("exp(x) ** identity(x)", "identity(x) ** exp(x)"),
        ("max(relu(x), elu(x))", "min(relu(x), elu(x))"),
        ("elu(x) + relu(x)", "elu(x) + selu(x)"),
        ("softplus(x) * sigmoid(x)", "softplus(x) * hardsigmoid(x)"),
        ("i0e(x) * identity(x)", "i1e(x) * identity(x)"),
        ("tanh(x) + square(x)", "atan(x) + square(x)"),
    ],
)
def test_formulas_that_differ_on_paper_are_different_classes(one: str, other: str) -> None:
    assert acs.fingerprint(one) != acs.fingerprint(other)


@pytest.mark.parametrize(
    ("one", "other"),
    [("relu(x) + neg(x)", "relu(-x)"), ("relu(x) - elu(x)", "-expm1(min(x, 0))")],
)
def test_equal_values_with_another_gradient_at_zero_are_an_alias_only(
    one: str, other: str
) -> None:
    assert identify(one).alias == identify(other).alias
    assert identify(one).identity != identify(other).identity
