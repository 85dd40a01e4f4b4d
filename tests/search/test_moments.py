"""Moments and gains for normal input: closed forms, and scipy's quad between kinks known by hand."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
import torch
from scipy import integrate, special

import actsearch as acs

_PI = math.pi

# mean and second moment, by pencil
CLOSED: dict[str, tuple[dict[str, Any], float, float]] = {
    "identity": ({}, 0, 1),
    "x - 3": ({}, -3, 10),
    "relu": ({}, 1 / math.sqrt(2 * _PI), 1 / 2),
    "leaky_relu": ({"negative_slope": 0.2}, 0.8 / math.sqrt(2 * _PI), (1 + 0.04) / 2),
    "prelu": ({}, 0.75 / math.sqrt(2 * _PI), (1 + 1 / 16) / 2),
    "step": ({}, 1 / 2, 1 / 2),
    "sign(x)": ({}, 0, 1),
    "abs(x)": ({}, math.sqrt(2 / _PI), 1),
    "square(x)": ({}, 1, 3),
    "cube(x)": ({}, 0, 15),
    "x**9": ({}, 0, 34459425),
    "sin": ({"omega": 2.0}, 0, (1 - math.exp(-8)) / 2),
    "sin(30*x)": ({}, 0, (1 - math.exp(-1800)) / 2),
    "cos(x)": ({}, math.exp(-1 / 2), (1 + math.exp(-2)) / 2),
    "exp(x)": ({}, math.exp(1 / 2), math.exp(2)),
    "exp(4*x)": ({}, math.exp(8), math.exp(32)),
    "exp(x**2 / 5)": ({}, math.sqrt(5 / 3), math.sqrt(5)),
    "gauss(x)": ({}, 1 / math.sqrt(3), 1 / math.sqrt(5)),
    "gelu": ({}, 1 / (2 * math.sqrt(_PI)), 1 / 3 + 1 / (2 * _PI * math.sqrt(3))),
    "log(abs(x))": (
        {},
        -(math.log(2) + 0.5772156649015329) / 2,
        _PI**2 / 8 + (math.log(2) + 0.5772156649015329) ** 2 / 4,
    ),
    "param(2.0)": ({}, 2, 4),
    "1000000000 * x": ({}, 0, 1e18),
}

# the function, and where it has kinks or jumps
INTEGRATED: dict[str, tuple[Callable[[float], float], tuple[float, ...]]] = {
    "hardtanh": (lambda z: min(max(z, -1), 1), (-1, 1)),
    "hardswish": (lambda z: z * min(max(z + 3, 0), 6) / 6, (-3, 3)),
    "hardsigmoid": (lambda z: min(max(z + 3, 0), 6) / 6, (-3, 3)),
    "elu": (lambda z: z if z > 0 else math.expm1(z), ()),
    "rrelu": (lambda z: z if z > 0 else z * (1 / 8 + 1 / 3) / 2, ()),
    "tanh": (math.tanh, ()),
    "sigmoid": (lambda z: 1 / (1 + math.exp(-z)), ()),
    "silu": (lambda z: z / (1 + math.exp(-z)), ()),
    "softplus": (lambda z: math.log1p(math.exp(z)), ()),
    "mish": (lambda z: z * math.tanh(math.log1p(math.exp(z))), ()),
    "softsign": (lambda z: z / (1 + abs(z)), ()),
    "max_affine": (lambda z: max(z, z / 4), ()),
    "abs(x - 0.3)": (lambda z: abs(z - 0.3), (0.3,)),
    "relu(x - 2.71)": (lambda z: max(z - 2.71, 0), (2.71,)),
    "sign(x - 1.234567)": (lambda z: math.copysign(1, z - 1.234567), (1.234567,)),
    "max(x + 0.77, 0.1*x)": (lambda z: max(z + 0.77, 0.1 * z), (-0.77 / 0.9,)),
    "sqrt(abs(x - 0.123))": (lambda z: math.sqrt(abs(z - 0.123)), (0.123,)),
    "gauss(50 * (x - 0.77))": (lambda z: math.exp(-((50 * (z - 0.77)) ** 2)), (0.7, 0.77, 0.84)),
    "0.00001 * abs(x - 0.3)": (lambda z: 1e-5 * abs(z - 0.3), (0.3,)),
}


def _expected(f: Callable[[float], float], kinks: tuple[float, ...], power: int) -> float:
    edges = sorted({*range(-12, 13), *kinks})
    parts = [
        integrate.quad(
            lambda z: f(z) ** power * math.exp(-z * z / 2), a, b, epsabs=1e-15, epsrel=1e-12
        )[0]
        for a, b in pairwise(edges)
    ]
    return math.fsum(parts) / math.sqrt(2 * _PI)


@pytest.mark.parametrize("what", list(CLOSED))
def test_moments_are_those_worked_out_by_hand(what: str) -> None:
    settings, mean, second = CLOSED[what]
    result = acs.moments(acs.activation(what, **settings))
    assert result.second == pytest.approx(second, rel=1e-7)
    assert result.mean == pytest.approx(mean, rel=1e-7, abs=1e-7 * math.sqrt(second))


@pytest.mark.parametrize("what", list(INTEGRATED))
def test_moments_are_those_integrated_between_kinks(what: str) -> None:
    f, kinks = INTEGRATED[what]
    mean, second = (_expected(f, kinks, power) for power in (1, 2))
    result = acs.moments(what)
    assert result.second == pytest.approx(second, rel=1e-7)
    assert result.mean == pytest.approx(mean, rel=1e-7, abs=1e-7 * math.sqrt(second))


_PLACES = (
    *(0.25 * k + off for k in range(-12, 13, 4) for off in (0, 1e-3, -1e-3, 1e-9, -1e-9)),
    *(0.125 + 1e-4, 0.251, 1.001, 9.5),
    *(float(place) for place in np.random.default_rng(0).uniform(-5, 5, 30)),
)


@pytest.mark.parametrize("place", _PLACES)
def test_a_jump_is_found_wherever_it_is(place: float) -> None:
    beyond = special.ndtr(-place)
    assert acs.moments(f"relu(sign(x - {place!r}))") == pytest.approx((beyond, beyond), abs=1e-12)
    mean, second = acs.moments(acs.activation("threshold", threshold=place))  # value 0
    assert mean == pytest.approx(_density(place), abs=1e-12)
    assert second == pytest.approx(beyond + place * _density(place), abs=1e-12)


# sqrt(square) bends without a sign change of its argument
@pytest.mark.parametrize(
    "formula", ["abs(x - {})", "sqrt(square(x - {}))", "max(x, {0}) - min(x, {0})"]
)
@pytest.mark.parametrize("place", _PLACES)
def test_a_kink_is_found_wherever_it_is(formula: str, place: float) -> None:
    mean, second = acs.moments(formula.format(place))
    assert mean == pytest.approx(
        2 * _density(place) + place * (2 * special.ndtr(place) - 1), abs=1e-10
    )
    assert second == pytest.approx(1 + place**2, rel=1e-10)


@pytest.mark.parametrize("place", [0.1, 0.374, 1.2499])
def test_a_narrow_peak_is_found_where_an_argument_is_zero(place: float) -> None:
    for scale in (1e2, 1e3, 1e6):
        spread = 1 + 2 * scale**2
        mean = math.exp(-((scale * place) ** 2) / spread) / math.sqrt(spread)
        for formula in (
            f"gauss({scale} * (x - {place}))",
            f"exp(-square({scale} * x - {scale * place}))",
        ):
            assert acs.moments(formula).mean == pytest.approx(mean, rel=1e-8)


@pytest.mark.parametrize("half", [0.005, 1e-4, 1e-7])
def test_a_narrow_window_is_found_around_the_zero_of_an_inner_argument(half: float) -> None:
    inside = special.ndtr(0.31 + half) - special.ndtr(0.31 - half)
    mean, second = acs.moments(f"relu(sign({half} - abs(x - 0.31)))")
    assert (mean, second) == pytest.approx((inside, inside), abs=1e-12)
    hat = acs.moments(f"relu(1 - abs(x - 0.31) / {half})").mean
    assert hat == pytest.approx(
        half * _density(0.31) * (1 - half**2 * (1 - 0.31**2) / 12), rel=1e-7
    )


def test_learned_places_of_kinks_are_those_of_the_module() -> None:
    act = acs.activation("relu(sign(x - param(1.0)))")
    with torch.no_grad():
        act.get_parameter("theta_0").fill_(0.251)
    expected = special.ndtr(-act.get_parameter("theta_0").item())
    assert acs.moments(act).mean == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("edge", [0.2491, 0.7495, 1.001])
def test_settings_of_rows_move_their_kinks_and_jumps(edge: float) -> None:
    outside = 2 * special.ndtr(-edge)  # E[1; |z| > edge]
    beyond = outside + 2 * edge * _density(edge)  # E[z^2; |z| > edge]
    shrunk = acs.moments(acs.activation("hardshrink", lambd=edge))
    assert shrunk.second == pytest.approx(beyond, abs=1e-11)
    clipped = acs.moments(acs.activation("hardtanh", min_val=-edge, max_val=edge))
    assert clipped.second == pytest.approx(1 - beyond + edge**2 * outside, abs=1e-11)


@pytest.mark.parametrize(
    ("what", "expected"),
    [
        ("identity", 1.0),
        ("relu", math.sqrt(2)),
        ("step", math.sqrt(2)),
        ("abs(x)", 1.0),
        ("3 * x", 1 / 3),
        ("square(x)", 1 / math.sqrt(3)),
        ("sin", math.sqrt(2 / (1 - math.exp(-2)))),
        (
            "tanh",
            1.5925374197228312,
        ),  # 1/sqrt(0.39429449039746), E[tanh(z)^2] from mpmath at 30 digits
    ],
)
def test_the_gain_keeps_the_second_moment_of_a_layer_at_one(what: str, expected: float) -> None:
    assert acs.gain(what) == pytest.approx(expected, rel=1e-8)


@pytest.mark.parametrize("slope", [0.01, 0.2, 1.0])
def test_the_gain_of_leaky_relu_is_that_of_he_et_al(slope: float) -> None:
    module = acs.activation("leaky_relu", negative_slope=slope)
    assert acs.gain(module) == pytest.approx(math.sqrt(2 / (1 + slope**2)), rel=1e-9)


@pytest.mark.parametrize("scale", [1e-8, 1e-3, 1e6])
def test_the_gain_of_a_scaled_function_is_scaled_back(scale: float) -> None:
    expected = 1 / (scale * math.sqrt(1.09 * special.ndtr(-0.3) - 0.3 * _density(0.3)))
    assert acs.gain(f"{scale} * relu(x - 0.3)") == pytest.approx(expected, rel=1e-7)


def _density(z: float) -> float:
    return math.exp(-z * z / 2) / math.sqrt(2 * _PI)


@pytest.mark.parametrize(
    "what",
    ["0*x", "relu(0)", "x - x", "log(x)", "sqrt(x)", "1/x", "1/(x - 0.5)", "exp(x*x)", "x + 1/0"]
    + ["exp(exp(x))", "exp(x**2 / 3)", "1/sqrt(abs(x))", "sqrt(abs(x) - 1)"],
)
def test_a_function_whose_second_moment_is_zero_or_not_finite_has_no_gain(what: str) -> None:
    start = time.perf_counter()
    with pytest.raises(acs.ActivationError, match="has no gain: E"):
        acs.gain(what)
    assert time.perf_counter() - start < 2  # a search asks for every formula it composes


def test_an_infinite_moment_is_infinite_and_a_mean_may_exist_without_it() -> None:
    mean, second = acs.moments("exp(x**2 / 3)")
    assert mean == pytest.approx(math.sqrt(3), rel=1e-7)
    assert second == math.inf
    assert math.isnan(acs.moments("log(x)").mean)


def test_softmax_has_neither_moments_nor_gain() -> None:
    for function in (acs.moments, acs.gain):
        with pytest.raises(acs.ActivationError, match="softmax is not a function of one number"):
            function("softmax")


def test_moments_take_names_formulas_trees_and_modules_alike() -> None:
    expected = acs.moments("silu")
    for what in ("x * sigmoid(x)", acs.parse("x * sigmoid(x)"), acs.activation("silu")):
        assert acs.moments(what) == pytest.approx(expected, rel=1e-9)
    assert acs.moments(acs.activation("swish", channels=5)) == pytest.approx(expected, rel=1e-7)
