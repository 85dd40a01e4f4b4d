"""What each row of the catalog computes by its paper, in numpy and scipy, independent of the formula language.

A new row brings its definition along, as its ``reference``; those here also say where they bend or jump.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import special

import actsearch as acs
from actsearch.activation_catalog import Hyperparameter, Row

__all__ = ["CASES", "GRID", "STEP", "Array", "Case"]

Array = npt.NDArray[np.float64]
Function = Callable[[Array], Array]

_POSITIVE = [1, 2, 3, 6, 0.37, 0.5, 2.2, 20.5, 700, 1e-6]
GRID = np.array([0.0, -0.0, *_POSITIVE, *(-x for x in _POSITIVE)])
STEP = 2e-4  # of difference quotients


@dataclass(frozen=True)
class Case:
    """A row with settings, what it computes by its paper, and where it has no second derivative."""

    name: str
    settings: dict[str, Any]
    closed_form: Function
    kinks: tuple[float, ...] = ()

    def __str__(self) -> str:
        return "-".join([self.name, *(str(value) for value in self.settings.values())])


def _ramp(slope: float) -> Function:
    return lambda x: np.where(x > 0, x, slope * x)


def _through(*points: tuple[float, float]) -> Function:
    """Linear between points, and beyond them as between the last two."""
    (a, fa), (b, fb), *_ = points
    *_, (y, fy), (z, fz) = points
    xs, ys = zip(*points, strict=True)

    def through(x: Array) -> Array:
        left, right = fa + (x - a) * ((fb - fa) / (b - a)), fz + (x - z) * ((fz - fy) / (z - y))
        return np.where(x < a, left, np.where(x > z, right, np.interp(x, xs, ys)))

    return through


def _elu(scale: float, alpha: float, width: float = 1.0) -> Function:
    return lambda x: scale * np.where(x > 0, x, alpha * np.expm1(np.minimum(x, 0) / width))


def _largest(*slopes: float) -> Function:
    return lambda x: np.max([slope * x for slope in slopes], axis=0)


def _softplus(x: Array) -> Array:
    return np.logaddexp(0, x)


def _gelu(x: Array) -> Array:
    value: Array = x * special.ndtr(x)
    return value


def _split(left: Function, right: Function) -> Function:
    """One function below 0 and another from there on."""
    return lambda x: np.where(x < 0, left(np.minimum(x, 0)), right(np.maximum(x, 0)))


def _single(value: float) -> float:
    """As a learned number holds it, in single precision."""
    return float(np.float32(value))


def _pelu(a: float, b: float) -> Function:
    """Trottier et al. 2016, eq. (3)."""
    return _split(lambda x: a * np.expm1(x / b), lambda x: a / b * x)


def _acon_c(p1: float, p2: float, beta: float) -> Function:
    """Ma et al. 2021, eq. (8)."""
    return lambda x: (p1 - p2) * x * special.expit(beta * (p1 - p2) * x) + p2 * x


def _srelu(left_slope: float, right_slope: float) -> Function:
    """Jin et al. 2016, eq. (1), with thresholds -1 and 1."""
    return lambda x: np.where(
        x >= 1, 1 + right_slope * (x - 1), np.where(x <= -1, -1 + left_slope * (x + 1), x)
    )


def _xielu(positive: float, negative: float) -> Function:
    """Huang & Schlag 2024: a_p x^2 + b x above 0; a_n (e^x - 1 - x) + b x below; b = 0.5."""
    above, below = np.log1p(np.exp(positive)), 0.5 + np.log1p(np.exp(negative))
    return _split(lambda x: below * (np.expm1(x) - x) + 0.5 * x, lambda x: above * x**2 + 0.5 * x)


def _smu(alpha: float, mu: float) -> Function:
    return lambda x: ((1 + alpha) * x + (1 - alpha) * x * special.erf(mu * (1 - alpha) * x)) / 2


def _smu_1(alpha: float, mu: float) -> Function:
    return lambda x: ((1 + alpha) * x + np.hypot((1 - alpha) * x, mu)) / 2


def _bounded_leaky(upper: float) -> Function:
    return lambda x: np.where(x < 0, 0.01 * x, np.where(x <= upper, x, 0.01 * (x - upper) + upper))


_relu = _ramp(0)

# learned numbers start in single precision: their settings here are exact in it
_COMMON = [
    Case("identity", {}, lambda x: x),
    *(Case("relu", {"grad_at_zero": g}, _ramp(0), (0,)) for g in (0.0, 0.5, 1.0)),
    Case("leaky_relu", {}, _ramp(0.01), (0,)),
    *(Case("leaky_relu", {"negative_slope": s}, _ramp(s), (0,)) for s in (0.2, 1.0)),
    Case("rrelu", {}, _ramp((1 / 8 + 1 / 3) / 2), (0,)),
    Case("rrelu", {"lower": 0.05, "upper": 0.3}, _ramp(0.175), (0,)),
    Case("rrelu", {"lower": 0.25, "upper": 1.0}, _ramp(0.625), (0,)),
    Case("elu", {}, _elu(1, 1), (0,)),
    *(Case("elu", {"alpha": a}, _elu(1, a), (0,)) for a in (0.1, 2.5)),
    Case("selu", {}, _elu(1.0507009873554804934, 1.6732632423543772848), (0,)),
    Case("celu", {}, _elu(1, 1), (0,)),
    *(Case("celu", {"alpha": a}, _elu(1, a, a), (0,)) for a in (0.4, 3.0)),
    Case("gelu", {}, _gelu),
    Case(
        "gelu_tanh",
        {},
        lambda x: x / 2 * (1 + np.tanh(np.sqrt(2 / np.pi) * (x + 0.044715 * x**3))),
    ),
    Case("quick_gelu", {}, lambda x: x * special.expit(1.702 * x)),
    Case("gelu_10", {}, lambda x: np.clip(_gelu(x), -10, 10)),
    Case("silu", {}, lambda x: x * special.expit(x)),
    Case("mish", {}, lambda x: x * np.tanh(_softplus(x))),
    Case("hard_mish", {}, lambda x: x / 2 * np.clip(x + 2, 0, 2), (-2, 0)),
    Case("softplus", {}, _softplus),
    Case("softplus", {"beta": 0.5}, lambda x: _softplus(0.5 * x) / 0.5),
    Case("softplus", {"beta": 7.0}, lambda x: _softplus(7 * x) / 7),
    Case("sqrtsoftplus", {}, lambda x: np.sqrt(_softplus(x))),
    Case("softsign", {}, lambda x: x / (1 + np.abs(x)), (0,)),
    Case("sigmoid", {}, special.expit),
    Case("logsigmoid", {}, special.log_expit),
    Case("tanh", {}, np.tanh),
    Case("tanhshrink", {}, lambda x: x - np.tanh(x)),
    Case("hardtanh", {}, lambda x: np.clip(x, -1, 1), (-1, 1)),
    Case("hardtanh", {"min_val": -3, "max_val": 0.5}, lambda x: np.clip(x, -3, 0.5), (-3, 0.5)),
    Case("hardtanh", {"min_val": 0, "max_val": 6}, lambda x: np.clip(x, 0, 6), (0, 6)),
    Case("hardsigmoid", {}, lambda x: np.clip(x + 3, 0, 6) / 6, (-3, 3)),
    Case("hardswish", {}, lambda x: x * np.clip(x + 3, 0, 6) / 6, (-3, 3)),
    Case("relu6", {}, lambda x: np.clip(x, 0, 6), (0, 6)),
    Case("relu2", {}, lambda x: np.maximum(x, 0) ** 2, (0,)),
    Case("sin", {}, np.sin),
    Case("sin", {"omega": 0.5}, lambda x: np.sin(0.5 * x)),
    Case("sin", {"omega": 30.0}, lambda x: np.sin(30 * x)),
    Case("threshold", {}, lambda x: np.where(x > 1, x, 0), (1,)),
    Case(
        "threshold", {"threshold": -0.5, "value": 2.0}, lambda x: np.where(x > -0.5, x, 2), (-0.5,)
    ),
    Case("hardshrink", {}, lambda x: np.where(np.abs(x) > 0.5, x, 0), (-0.5, 0.5)),
    Case("hardshrink", {"lambd": 2}, lambda x: np.where(np.abs(x) > 2, x, 0), (-2, 2)),
    *(
        Case(
            "softshrink",
            settings,
            lambda x, size=size: np.sign(x) * np.maximum(np.abs(x) - size, 0),  # type: ignore[misc]
            (-size, size),
        )
        for settings, size in (({}, 0.5), ({"lambd": 2.0}, 2.0))
    ),
    Case("laplace", {}, lambda x: (1 + special.erf((x - 0.707107) / (0.282095 * np.sqrt(2)))) / 2),
    Case("laplace", {"mu": 0.25, "sigma": 1.5}, lambda x: special.ndtr((x - 0.25) / 1.5)),
]

_LEARNED = [
    Case("prelu", {}, _ramp(0.25), (0,)),
    *(Case("prelu", {"init": s}, _ramp(s), (0,)) for s in (-0.5, 0.75)),
    Case("swish", {}, lambda x: x * special.expit(x)),
    Case("swish", {"beta": 0.5}, lambda x: x * special.expit(0.5 * x)),
    Case("swish", {"beta": 3.0}, lambda x: x * special.expit(3 * x)),
    Case("max_affine", {}, _largest(1, 0.25), (0,)),
    Case("max_affine", {"pieces": 3}, _largest(1, 0.625, 0.25), (0,)),
    Case("max_affine", {"pieces": 4}, _largest(1, 0.75, 0.5, 0.25), (0,)),
    Case("pelu", {}, _pelu(1, 1), (0,)),
    Case("pelu", {"a": 2.0, "b": 0.5}, _pelu(2, 0.5), (0,)),
    *(Case("apl", settings, _relu, (0,)) for settings in ({}, {"hinges": 1}, {"hinges": 5})),
    Case("acon_c", {}, _acon_c(1, 0, 1)),
    Case("acon_c", {"a": 0.5, "b": 2.0, "c": -0.5}, _acon_c(0.5, -0.5, 2)),
    Case("srelu", {}, _srelu(0, 1), (-1, 1)),
    Case("srelu", {"left_bend": -0.5, "right_bend": 0.5}, _srelu(0.5, 1.5), (-1, 1)),
    Case("star_relu", {}, lambda x: _single(0.8944) * _relu(x) ** 2 + _single(-0.4472), (0,)),
    Case("star_relu", {"scale": 2.0, "bias": 0.5}, lambda x: 2 * _relu(x) ** 2 + 0.5, (0,)),
    Case(
        "xielu", {}, _xielu(_single(np.log(np.expm1(0.8))), _single(np.log(np.expm1(0.3)))), (0,)
    ),
    Case("xielu", {"positive": 1.0, "negative": -0.5}, _xielu(1, -0.5), (0,)),
    Case("dyt", {}, lambda x: np.tanh(0.5 * x)),
    Case("dyt", {"alpha": 2.0}, lambda x: np.tanh(2 * x)),
    Case("learned_snake", {}, lambda x: x + np.sin(x) ** 2),
    Case("learned_snake", {"a": 2.0}, lambda x: x + np.sin(2 * x) ** 2 / 2),
    Case("learned_softplus", {}, _softplus),
    Case("learned_softplus", {"beta": 2.0}, lambda x: _softplus(2 * x) / 2),
    Case("frelu", {}, lambda x: _relu(x) + _single(-0.4), (0,)),
    Case("frelu", {"bias": 0.25}, lambda x: _relu(x) + 0.25, (0,)),
    Case("blu", {}, lambda x: 0.5 * (np.hypot(x, 1) - 1) + x),
    Case("blu", {"beta": -0.75}, lambda x: -0.75 * (np.hypot(x, 1) - 1) + x),
    Case("sinlu", {}, lambda x: (x + np.sin(x)) * special.expit(x)),
    Case("sinlu", {"a": 0.5, "b": 2.0}, lambda x: (x + 0.5 * np.sin(2 * x)) * special.expit(x)),
]

_LITERATURE = [
    Case("elish", {}, lambda x: special.expit(x) * _elu(1, 1)(x), (0,)),
    Case(
        "hard_elish",
        {},
        lambda x: np.maximum(0, np.minimum(1, (x + 1) / 2)) * _elu(1, 1)(x),
        (-1, 0, 1),
    ),
    Case("brelu", {}, lambda x: np.clip(x, 0, 1), (0, 1)),
    Case("brelu", {"upper": 2.2}, lambda x: np.clip(x, 0, 2.2), (0, 2.2)),
    Case("bounded_leaky_relu", {}, _bounded_leaky(1), (0, 1)),
    Case("bounded_leaky_relu", {"upper": 6.0}, _bounded_leaky(6), (0, 6)),
    Case("drelu", {}, lambda x: np.where(x > -0.05, x, -0.05), (-0.05,)),
    Case("drelu", {"delta": 1.0}, lambda x: np.where(x > -1, x, -1), (-1,)),
    Case("shifted_relu", {}, lambda x: np.where(x > -1, x, -1), (-1,)),
    Case("shifted_relu", {"threshold": 0.5}, lambda x: np.where(x > 0.5, x, 0.5), (0.5,)),
    Case("very_leaky_relu", {}, _ramp(1 / 3), (0,)),
    Case("serf", {}, lambda x: x * special.erf(_softplus(x))),
    Case("tanhexp", {}, lambda x: x * np.tanh(np.exp(x))),
    Case("lisht", {}, lambda x: x * np.tanh(x)),
    Case("snake", {}, lambda x: x + np.sin(x) ** 2),
    Case("snake", {"a": 3.0}, lambda x: x + (1 - np.cos(6 * x)) / 6),
    Case("gaussian", {}, lambda x: np.exp(-(x**2))),
    Case("isru", {}, lambda x: x / np.hypot(1, x)),
    Case("isru", {"alpha": 0.5}, lambda x: x / np.sqrt(1 + 0.5 * x**2)),
    Case("isrlu", {}, _split(lambda x: x / np.hypot(1, x), lambda x: x), (0,)),
    Case("isrlu", {"alpha": 2.0}, _split(lambda x: x / np.sqrt(1 + 2 * x**2), lambda x: x), (0,)),
    Case("eelu", {}, lambda x: -x * special.erf(np.exp(-x))),
    Case("gelu_sinc", {}, lambda x: _gelu(x) * (1 + 0.5 * np.sinc(x))),
    Case("gelu_sine", {}, lambda x: _gelu(x) + 0.1 * np.sin(x)),
    Case("logish", {}, lambda x: x * np.log1p(special.expit(x))),
    Case("smish", {}, lambda x: x * np.tanh(np.log1p(special.expit(x)))),
    Case("phish", {}, lambda x: x * np.tanh(_gelu(x))),
    Case("e_swish", {}, lambda x: 1.5 * x * special.expit(x)),
    Case("e_swish", {"beta": 1.25}, lambda x: 1.25 * x * special.expit(x)),
    Case("aptx", {}, lambda x: (1 + np.tanh(x)) * 0.5 * x),
    Case("mila", {}, lambda x: x * np.tanh(_softplus(x - 0.25))),
    Case("mila", {"beta": 0.5}, lambda x: x * np.tanh(_softplus(x + 0.5))),
    Case("suish", {}, lambda x: np.maximum(x, x * np.exp(-np.abs(x))), (0,)),
    Case("gcu", {}, lambda x: x * np.cos(x)),
    Case("nlrelu", {}, lambda x: np.log1p(np.maximum(x, 0)), (0,)),
    Case("nlrelu", {"beta": 2.0}, lambda x: np.log1p(2 * np.maximum(x, 0)), (0,)),
    Case("squareplus", {}, lambda x: (x + np.hypot(x, 2)) / 2),
    Case("squareplus", {"b": 1.0}, lambda x: (x + np.hypot(x, 1)) / 2),
    Case("bent_identity", {}, lambda x: (np.hypot(x, 1) - 1) / 2 + x),
    Case("atan", {}, np.arctan),
    Case("asinh", {}, np.arcsinh),
    Case("cos", {}, np.cos),
    Case("cos", {"omega": 2.0}, lambda x: np.cos(2 * x)),
    Case("sinc", {}, lambda x: special.spherical_jn(0, np.abs(x))),
    Case("abs", {}, np.abs, (0,)),
    Case("exp", {}, np.exp),
    Case("square", {}, lambda x: x**2),
    Case("cube", {}, lambda x: x**3),
    Case("symlog", {}, lambda x: np.sign(x) * np.log1p(np.abs(x)), (0,)),
    Case("penalized_tanh", {}, lambda x: np.where(x > 0, 1, 0.25) * np.tanh(x), (0,)),
    Case("penalized_tanh", {"a": 0.5}, lambda x: np.where(x > 0, 1, 0.5) * np.tanh(x), (0,)),
    Case("lecun_tanh", {}, lambda x: 1.7159 * np.tanh(2 / 3 * x)),
    Case("flatten_t_swish", {}, lambda x: _relu(x) * special.expit(x) - 0.2, (0,)),
    Case("flatten_t_swish", {"t": 0.25}, lambda x: _relu(x) * special.expit(x) + 0.25, (0,)),
    Case("cosrelu", {}, lambda x: _relu(x) + np.cos(x), (0,)),
    Case("sinrelu", {}, lambda x: _relu(x) + np.sin(x), (0,)),
    Case("colu", {}, lambda x: x / (1 - x * np.exp(-(x + np.exp(x))))),
    Case("smu", {}, _smu(0.25, 1)),
    Case("smu", {"alpha": 0.0, "mu": 10.0}, _smu(0, 10)),
    Case("smu_1", {}, _smu_1(0.25, 0.5)),
    Case("smu_1", {"alpha": 0.0, "mu": 1.0}, _smu_1(0, 1)),
    Case("dsilu", {}, lambda x: special.expit(x) + x * special.expit(x) * special.expit(-x)),
    Case("cloglog", {}, lambda x: -np.expm1(-np.exp(x))),
    Case("loglog", {}, lambda x: np.exp(-np.exp(-x))),
    Case("probit", {}, special.ndtr),
    Case("erf", {}, special.erf),
    Case("elliott", {}, lambda x: (x / (1 + np.abs(x)) + 1) / 2, (0,)),
    Case(
        "sqnl",
        {},
        lambda x: np.where(np.abs(x) > 2, np.sign(x), x - np.sign(x) * x**2 / 4),
        (-2, 0, 2),
    ),
    Case("shifted_softplus", {}, lambda x: np.logaddexp(np.log(0.5), x + np.log(0.5))),
    Case("elu_plus_one", {}, _split(np.exp, lambda x: x + 1), (0,)),
    *(
        Case("repu", {"power": p}, lambda x, p=p: np.where(x > 0, x**p, 0), (0,))  # type: ignore[misc]
        for p in (2, 3, 4)
    ),
    Case("rootsig", {}, lambda x: x / (1 + np.hypot(1, x))),
    Case("mexican_hat", {}, lambda x: (1 - x**2) * np.exp(-(x**2) / 2)),
    Case("morlet", {}, lambda x: np.cos(5 * x) * np.exp(-(x**2) / 2)),
    Case("tanhsoft1", {}, lambda x: np.tanh(0.87 * x) * _softplus(x)),
    Case("tanhsoft1", {"alpha": 2.0}, lambda x: np.tanh(2 * x) * _softplus(x)),
    Case("tanhsoft2", {}, lambda x: x * np.tanh(0.6 * np.exp(x))),
    Case("tanhsoft2", {"beta": 2.0, "gamma": 0.5}, lambda x: x * np.tanh(2 * np.exp(0.5 * x))),
    Case("gish", {}, lambda x: x * np.log1p(-np.expm1(-np.exp(x)))),
    Case("pflu", {}, lambda x: x / 2 * (1 + x / np.hypot(1, x))),
    Case(
        "laplace_gated",
        {},
        lambda x: x * (1 - np.sign(x) * np.expm1(-np.abs(x))) / 2,
        (0,),
    ),
    Case("cauchy_gated", {}, lambda x: x * (np.arctan(x) / np.pi + 0.5)),
    Case("swim", {}, lambda x: x / 2 * (1 + 0.5 * x / np.sqrt(1 + x**2))),
    Case("swim", {"k": 1.5}, lambda x: x / 2 * (1 + 1.5 * x / np.sqrt(1 + x**2))),
    Case("sqrelu_shifted", {}, lambda x: _relu(x) ** 2 - 0.5, (0,)),
    Case("sqrelu_shifted", {"bias": 0.25}, lambda x: _relu(x) ** 2 - 0.25, (0,)),
    Case("sigmoid_shifted", {}, lambda x: np.tanh(x / 2)),
]


def _cases_of(row: Row) -> Iterator[Case]:
    """A row with a reference of its own, at its defaults and away from them."""
    for away in (False, True) if row.hyperparameters else (False,):
        settings = {item.name: _away(item) for item in row.hyperparameters} if away else {}
        names = {"np": np, "special": special, **row.bind(settings)}

        def closed_form(x: Array, names: dict[str, Any] = names) -> Array:
            return np.asarray(eval(row.reference, {**names, "x": x})) + 0 * x

        yield Case(row.name, settings, closed_form, _kinks(closed_form))


def _away(setting: Hyperparameter) -> Any:
    """Another value than the default; exact in single precision, as learned numbers start in it."""
    if setting.choices:
        return next(choice for choice in setting.choices if choice != setting.default)
    assert not isinstance(setting.default, str)
    if isinstance(setting.default, int):
        return setting.default + (1 if setting.default < setting.high else -1)
    end = (
        setting.high
        if setting.high - setting.default > setting.default - setting.low
        else setting.low
    )
    return round((setting.default + end) * 8) / 16


def _kinks(function: Function) -> tuple[float, ...]:
    """The points of the grid near which difference quotients over two widths disagree."""

    def slope(step: float) -> Array:
        near = function(GRID + step) - function(GRID - step)
        far = function(GRID + 2 * step) - function(GRID - 2 * step)
        return (8 * near - far) / (12 * step)

    with np.errstate(all="ignore"):
        wide, narrow = slope(STEP), slope(STEP / 2)
    return tuple(GRID[~np.isclose(wide, narrow, rtol=1e-8, atol=1e-9)].tolist())


_SPLINES = [
    Case("linear_spline", {}, _relu, (0,)),
    Case("linear_spline", {"points": "-2:1 -1:0 0.5:0.25 1:2"}, _through((-2, 1), (-1, 0), (0.5, 0.25), (1, 2)),
         (-1, 0.5)),
    Case("linear_spline", {"points": "0:0.5 1:0.25"}, _through((0, 0.5), (1, 0.25))),
]  # fmt: skip

CASES = [
    *_COMMON,
    *_SPLINES,
    *_LEARNED,
    *_LITERATURE,
    *(case for row in acs.catalog.values() if row.reference for case in _cases_of(row)),
]
