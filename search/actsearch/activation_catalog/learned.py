"""Forms with parameters that are learned with the weights; training starts from a known function.

In the formula language each ``param`` is a parameter of its own, so a published form in which one parameter stands
twice is written with as many parameters in another place; the family of functions is the same.
"""

from __future__ import annotations

from collections.abc import Mapping

from actsearch.activation_catalog.rows import PER, Hyperparameter, Row, Value

__all__ = ["LEARNED", "START_SLOPE", "start_slopes"]

START_SLOPE = 0.25
"""Below 0, of the function that a largest of pieces starts from: leaky_relu."""


def start_slopes(pieces: int) -> tuple[float, ...]:
    """Even slopes from 1 down to START_SLOPE: the largest of lines through 0 with these is leaky_relu(START_SLOPE)."""
    return tuple(1 - (1 - START_SLOPE) * index / (pieces - 1) for index in range(pieces))


def _max_affine(values: Mapping[str, Value]) -> str:
    """Lines through the origin: training starts from leaky_relu(START_SLOPE)."""
    per = values["per"]
    text = ""
    for slope in start_slopes(int(values["pieces"])):
        piece = f'param({slope}, per="{per}") * x + param(0.0, per="{per}")'
        text = f"max({text}, {piece})" if text else piece
    return text


def _apl(values: Mapping[str, Value]) -> str:
    """relu(x) plus hinges that open to the left, all of slope 0 at the start, at even places from 0 to -2."""
    hinges, per = int(values["hinges"]), values["per"]
    text = "max(x, 0)"
    for index in range(hinges):
        place = -2.0 * index / max(1, hinges - 1)
        text += f' + param(0.0, per="{per}") * max(0, param({place}, per="{per}") - x)'
    return text


_START = Hyperparameter("start", "leaky_relu", searched=False)

# one row an activation: the formatter would give every argument a line of its own
# fmt: off
LEARNED: tuple[Row, ...] = (
    Row("prelu", "max(x, 0) + param(init, per=per) * min(x, 0)", "He et al. 2015, arXiv:1502.01852", 2015,
        (Hyperparameter("init", 0.25, -1.0, 1.0), PER), tier="recommended"),
    Row("swish", "x * sigmoid(param(beta, per=per) * x)",
        "Ramachandran et al. 2017, arXiv:1710.05941, with learned beta", 2017,
        (Hyperparameter("beta", 1.0, 0.1, 10.0, log=True), PER), tier="recommended"),
    Row("max_affine", _max_affine({"pieces": 2, "per": "tensor"}),
        "after Goodfellow et al. 2013, arXiv:1302.4389 (maxout): the largest of several learned lines of one number",
        2013, (Hyperparameter("pieces", 2, choices=(2, 3, 4)), PER), tier="recommended", writer=_max_affine),
    Row("maxout", "max(x1, ..., xk)",
        "Goodfellow et al. 2013, arXiv:1302.4389: the largest of k affine maps for each channel; "
        "placed, the layer before is made k times as wide",
        2013, (Hyperparameter("pieces", 2, choices=(2, 3, 4)),), elementwise=False, widens="pieces"),
    Row("pelu", "param(a, per=per) * elu(x / param(b, per=per))", "Trottier et al. 2016, arXiv:1605.09332",
        2016,
        (Hyperparameter("a", 1.0, 0.1, 10.0, log=True), Hyperparameter("b", 1.0, 0.1, 10.0, log=True), PER)),
    Row("apl", _apl({"hinges": 2, "per": "tensor"}),
        "Agostinelli et al. 2014, arXiv:1412.6830, adaptive piecewise linear; starts as relu", 2014,
        (Hyperparameter("hinges", 2, choices=(1, 2, 3, 5)), PER), writer=_apl),
    Row("acon_c", "param(a, per=per) * silu(param(b, per=per) * x) + param(c, per=per) * x",
        "Ma et al. 2021, arXiv:2009.04759: (p1 - p2) x sigmoid(beta (p1 - p2) x) + p2 x, "
        "with a = 1 / beta, b = beta (p1 - p2), c = p2; starts as silu",
        2021,
        (Hyperparameter("a", 1.0, 0.1, 10.0, log=True),
         Hyperparameter("b", 1.0, 0.1, 10.0, log=True), Hyperparameter("c", 0.0, -1.0, 1.0), PER)),
    Row("srelu",
        "x + param(right_bend, per=per) * relu(x - param(1.0, per=per))"
        " - param(left_bend, per=per) * relu(param(-1.0, per=per) - x)",
        "Jin et al. 2016, arXiv:1512.07030: slopes left and right of two learned thresholds, 1 between them",
        2016,
        (Hyperparameter("left_bend", -1.0, -2.0, 0.0), Hyperparameter("right_bend", 0.0, -1.0, 1.0), PER)),
    Row("star_relu", "param(scale, per=per) * square(relu(x)) + param(bias, per=per)",
        "Yu et al. 2022, arXiv:2210.13452; start values normalise the output for N(0, 1)", 2022,
        (Hyperparameter("scale", 0.8944, 0.1, 3.0, log=True), Hyperparameter("bias", -0.4472, -1.0, 1.0), PER)),
    Row("xielu",
        "piecewise((0.5 + softplus(param(negative, per=per))) * (expm1(min(x, 0)) - x),"
        " softplus(param(positive, per=per)) * square(x)) + 0.5 * x",
        "Huang & Schlag 2024, arXiv:2411.13010; starts with alpha_p = alpha_n = 0.8, beta = 0.5", 2024,
        (Hyperparameter("positive", 0.2033823208, -3.0, 3.0),
         Hyperparameter("negative", -1.0502256128, -3.0, 3.0), PER)),
    Row("dyt", "param(1.0, per=per) * tanh(param(alpha) * x) + param(0.0, per=per)",
        "Zhu et al. 2025, arXiv:2503.10622, dynamic tanh", 2025,
        (Hyperparameter("alpha", 0.5, 0.05, 5.0, log=True), PER)),
    Row("learned_snake", "x + square(sin(param(a, per=per) * x)) / param(a, per=per)",
        "Ziyin et al. 2020, arXiv:2006.08195, with learned frequency and amplitude", 2020,
        (Hyperparameter("a", 1.0, 0.1, 10.0, log=True), PER)),
    Row("learned_softplus", "softplus(param(beta, per=per) * x) / param(beta, per=per)",
        "softplus with learned sharpness and scale", 2020,
        (Hyperparameter("beta", 1.0, 0.1, 10.0, log=True), PER)),
    Row("frelu", "relu(x) + param(bias, per=per)", "Qiu et al. 2017, arXiv:1706.08098, flexible ReLU", 2017,
        (Hyperparameter("bias", -0.4, -2.0, 1.0), PER)),
    Row("blu", "param(beta, per=per) * (sqrt(square(x) + 1) - 1) + x", "Godfrey 2019, bendable linear unit",
        2019, (Hyperparameter("beta", 0.5, -1.0, 1.0), PER)),
    Row("sinlu", "(x + param(a, per=per) * sin(param(b, per=per) * x)) * sigmoid(x)", "Paul et al. 2022, SinLU",
        2022, (Hyperparameter("a", 1.0, -2.0, 2.0), Hyperparameter("b", 1.0, 0.1, 10.0, log=True), PER)),
    Row("rational", "(a0 + a1 x + ... + am x^m) / (1 + |b1 x + ... + bn x^n|)",
        "Molina et al. 2019, arXiv:1907.06732 (Pade activation units, safe form); starts as another function",
        2019,
        (Hyperparameter("numerator", 5, choices=(2, 3, 4, 5, 6, 7)),
         Hyperparameter("denominator", 4, choices=(1, 2, 3, 4, 5)), _START, PER),
        fitted=True, aliases=("pade",)),
    Row("piecewise_linear", "a + b x + c1 relu(x - t1) + ... + ck relu(x - tk)",
        "Zhou et al. 2021, arXiv:2104.03693 (PWLU), as hinges at fixed places; starts as another function",
        2021, (Hyperparameter("knots", 7, choices=(3, 5, 7, 9, 13)), _START, PER), fitted=True,
        aliases=("pwlu",)),
    Row("mixture", "w1 f1(x) + ... + wn fn(x)",
        "Manessi & Rozza 2018, arXiv:1801.09403: a learned sum of known functions; starts as the first", 2018,
        (Hyperparameter("members", "relu, tanh, silu", searched=False), PER), fitted=True),
)
# fmt: on
