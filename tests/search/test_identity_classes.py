"""Identity over a whole search space: 5,103 formulas binary(unary(x), unary(x)), as PANGAEA and Act-Bench span it."""

from __future__ import annotations

import collections
import itertools
import math
import time

import numpy as np
import numpy.typing as npt
import pytest
import torch
from scipy import special
from scipy.spatial import distance

import actsearch as acs
from actsearch.activations import value_and_gradient
from actsearch.screening import identify

UNARY = (
    "relu elu selu silu softplus softsign hardsigmoid sigmoid logsigmoid tanh sinh cosh asinh atan erf erfc exp "
    "expm1 abs square reciprocal neg identity i0e i1e sin cos"
).split()
BINARY = ["+", "-", "*", "/", "**", "max", "min"]

# of the 5,103 formulas: a change of the operators or of identity changes it, knowingly
CLASSES = 3258
MIRROR_CLASSES = 2536
SECONDS = 60.0
TOGETHER = 1e-6  # as a share of the scale, or of a number beyond it


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


@pytest.mark.slow
def test_classes_are_those_of_comparing_numbers() -> None:
    """Rounding might cut a function in two: no class spreads, and no two classes lie together."""
    classes = collections.defaultdict(list)
    for text in _space():
        classes[acs.fingerprint(text)].append(_numbers(text))
    for members in classes.values():
        assert max(float(np.abs(other - members[0]).max()) for other in members) < TOGETHER
    firsts = np.array([members[0] for members in classes.values()])
    apart = distance.pdist(firsts, "chebyshev")
    assert apart.min() > TOGETHER


@pytest.mark.slow
def test_mirror_classes_are_those_of_comparing_numbers() -> None:
    """No class holds a function that is no image of its first, and no two classes hold images of one function."""
    classes: dict[str, list[str]] = collections.defaultdict(list)
    for text in _space():
        classes[acs.fingerprint(text, mirror=True)].append(text)
    largest = max(classes.values(), key=len)
    print(f"\n5103 formulas, {len(classes)} mirror classes; the largest has {len(largest)}")
    firsts = np.array([_values(members[0]) for members in classes.values()])
    for members, first in zip(classes.values(), firsts, strict=True):
        for other in members:
            assert min(np.abs(image - first).max() for image in _images(other)) < TOGETHER, other
    for index in range(1, 4):
        images = np.array([_images(members[0])[index] for members in classes.values()])
        apart = distance.cdist(firsts, images, "chebyshev")
        np.fill_diagonal(apart, np.inf)
        assert apart.min() > TOGETHER
    assert distance.pdist(firsts, "chebyshev").min() > TOGETHER
    assert len(classes) == MIRROR_CLASSES


def _images(text: str) -> list[npt.NDArray[np.float64]]:
    mirrored = text.replace("(x)", "(-x)")
    return [_values(image) for image in (text, mirrored, f"-({text})", f"-({mirrored})")]


def _values(text: str) -> npt.NDArray[np.float64]:
    return _numbers(text)[[*range(75), -1]]


def _numbers(text: str) -> npt.NDArray[np.float64]:
    """Values and gradients in units of the function's scale on N(0, 1), logarithmic beyond it, and that scale; what
    is not finite as itself, far off, but at 0 without the sign of an infinity.
    """
    ranks = (np.arange(64) + 0.5) / 64
    kinks = [-6, -3, -2, -1, -0.5, -0.0, 0.5, 1, 2, 3, 6]
    points = torch.from_numpy(np.concatenate([special.ndtri(ranks), kinks]))
    value, gradient = value_and_gradient(acs.activation(text).double(), points)
    central = value[:64]
    finite = central[torch.isfinite(central)].abs()
    unit = (float(finite.max()) if len(finite) else 0.0) or 1.0
    numbers = torch.cat([value, gradient]) / unit
    beyond = numbers.sign() * (1 + numbers.abs().clamp_min(1).log())
    numbers = torch.where(numbers.abs() > 1, beyond, numbers)
    numbers = torch.cat([numbers, torch.tensor([math.log(unit)])])
    found: npt.NDArray[np.float64] = numbers.nan_to_num(nan=1e9, posinf=2e9, neginf=-2e9).numpy()
    zero = 64 + kinks.index(0)
    for index in (zero, zero + len(points)):  # of the value, of the gradient
        if found[index] == -2e9:
            found[index] = 2e9
    return found


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


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("exp(x) ** relu(x)", "exp(x) ** abs(x)"),
        ("cosh(x) ** relu(x)", "cosh(x) ** identity(x)"),
        ("relu(x) / erfc(x)", "abs(x) / erfc(x)"),
        ("hardsigmoid(x) / erfc(x)", "erf(x) / erfc(x)"),
    ],
)
def test_functions_that_explode_are_still_told_apart(one: str, other: str) -> None:
    assert acs.fingerprint(one) != acs.fingerprint(other)
