"""Learned forms: where each starts, that it moves from there, and how it lives in a module."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
from torch import Tensor, nn

import actsearch as acs
from actsearch.records import ActivationRecord, CandidateRecord
from actsearch.screening import screen

Array = npt.NDArray[np.float64]

LEARNED = [
    name
    for name, row in acs.catalog.items()
    if any(setting.name == "per" for setting in row.hyperparameters)
]

# form, its settings, the function it starts from, and how far off it may be on [-3, 3]
STARTS: list[tuple[str, dict[str, Any], str, float]] = [
    ("swish", {}, "silu", 1e-15),
    ("acon_c", {}, "silu", 1e-15),
    ("prelu", {"init": 0.0}, "relu", 0),
    ("max_affine", {}, "max(x, 0) + 0.25*min(x, 0)", 1e-15),
    ("max_affine", {"pieces": 4}, "max(x, 0) + 0.25*min(x, 0)", 1e-15),
    ("apl", {}, "relu", 0),
    ("apl", {"hinges": 5}, "relu", 0),
    ("pelu", {}, "elu", 1e-15),
    ("srelu", {}, "max(x, -1)", 0),
    ("dyt", {"alpha": 1.0}, "tanh", 1e-15),
    ("learned_snake", {}, "snake", 1e-15),
    ("learned_softplus", {}, "softplus", 1e-14),
    ("star_relu", {"scale": 1.0, "bias": -0.5}, "sqrelu_shifted", 1e-15),
    ("frelu", {"bias": 0.0}, "relu", 0),
    ("blu", {}, "bent_identity", 1e-15),
    ("mixture", {}, "relu", 0),
    ("mixture", {"members": "gelu, sin"}, "gelu", 1e-15),
    ("mixture", {"members": "hard_swish, gelu_new, swish"}, "hardswish", 1e-15),
    ("rational", {}, "leaky_relu", 0.035),
    ("rational", {"start": "relu"}, "relu", 0.035),
    ("rational", {"start": "gelu"}, "gelu", 1e-3),
    ("rational", {"start": "tanh"}, "tanh", 1e-5),
    ("rational", {"start": "silu"}, "silu", 1e-5),
    ("rational", {"start": "x*tanh(x)", "numerator": 6}, "lisht", 1e-3),
    ("piecewise_linear", {}, "leaky_relu", 1e-7),
    ("piecewise_linear", {"start": "relu"}, "relu", 1e-7),
    ("piecewise_linear", {"start": "gelu"}, "gelu", 0.07),
    ("piecewise_linear", {"start": "tanh"}, "tanh", 0.07),
    ("piecewise_linear", {"start": "silu"}, "silu", 0.07),
    ("piecewise_linear", {"start": "silu", "knots": 13}, "silu", 0.011),
    ("piecewise_linear", {"start": "tanh", "knots": 13}, "tanh", 0.016),
]


def _grid(low: float = -3, high: float = 3) -> Tensor:
    return torch.linspace(low, high, 241, dtype=torch.float64)


def _value(what: str, x: Tensor, **settings: Any) -> Tensor:
    with torch.no_grad():
        value: Tensor = acs.activation(what, **settings).double()(x)
    return value


@pytest.mark.parametrize(("name", "settings", "start", "tolerance"), STARTS)
def test_a_learned_form_starts_from_the_function_that_it_names(
    name: str, settings: dict[str, Any], start: str, tolerance: float
) -> None:
    x = _grid()
    off = (_value(name, x, **settings) - _value(start, x)).abs().max().item()
    assert off <= tolerance


def _sigmoid(x: Array) -> Array:
    return np.asarray(1 / (1 + np.exp(-x)))


def _softplus(x: Array | float) -> Array:
    return np.asarray(np.log1p(np.exp(x)))


def _hinge(x: Array) -> Array:
    return np.asarray(np.maximum(x, 0))


# form, values of its parameters in order of appearance, and the published form at these values
LEARNED_VALUES: list[tuple[str, tuple[float, ...], Callable[[Array], Array]]] = [
    ("prelu", (-0.4,), lambda x: np.where(x > 0, x, -0.4 * x)),
    ("swish", (1.7,), lambda x: x * _sigmoid(1.7 * x)),
    ("max_affine", (0.6, -0.5, -1.2, 0.3), lambda x: np.maximum(0.6 * x - 0.5, 0.3 - 1.2 * x)),
    ("pelu", (1.5, 0.7), lambda x: np.where(x > 0, 1.5 / 0.7 * x, 1.5 * np.expm1(x / 0.7))),
    (
        "apl",
        (0.4, 0.9, -0.3, -1.1),
        lambda x: _hinge(x) + 0.4 * _hinge(0.9 - x) - 0.3 * _hinge(-1.1 - x),
    ),
    # (p1 - p2) x sigmoid(beta (p1 - p2) x) + p2 x at p1 = 1.4, p2 = -0.2, beta = 2
    ("acon_c", (0.5, 3.2, -0.2), lambda x: 1.6 * x * _sigmoid(3.2 * x) - 0.2 * x),
    (
        "srelu",  # slopes 1.6 above 0.8 and 0.3 below -1.3
        (0.6, 0.8, -0.7, -1.3),
        lambda x: np.where(
            x > 0.8, 0.8 + 1.6 * (x - 0.8), np.where(x < -1.3, -1.3 + 0.3 * (x + 1.3), x)
        ),
    ),
    ("star_relu", (1.3, -0.2), lambda x: 1.3 * _hinge(x) ** 2 - 0.2),
    (
        "xielu",
        (0.3, -0.6),
        lambda x: np.where(
            x > 0,
            _softplus(-0.6) * x**2 + 0.5 * x,
            (0.5 + _softplus(0.3)) * (np.expm1(x) - x) + 0.5 * x,
        ),
    ),
    ("dyt", (1.2, 0.8, -0.3), lambda x: 1.2 * np.tanh(0.8 * x) - 0.3),
    ("learned_snake", (1.4, 1.4), lambda x: x + np.sin(1.4 * x) ** 2 / 1.4),
    ("learned_softplus", (2.5, 2.5), lambda x: _softplus(2.5 * x) / 2.5),
    ("frelu", (0.7,), lambda x: _hinge(x) + 0.7),
    ("blu", (-0.6,), lambda x: -0.6 * (np.sqrt(x**2 + 1) - 1) + x),
    ("sinlu", (0.8, 1.9), lambda x: (x + 0.8 * np.sin(1.9 * x)) * _sigmoid(x)),
]


def test_every_learned_form_is_compared_at_learned_values() -> None:
    fitted = {"rational", "piecewise_linear", "mixture"}  # below
    assert {name for name, _, _ in LEARNED_VALUES} | fitted == set(LEARNED)


@pytest.mark.parametrize(("name", "values", "published"), LEARNED_VALUES)
def test_a_learned_form_is_the_published_one_wherever_its_parameters_are(
    name: str, values: tuple[float, ...], published: Callable[[Array], Array]
) -> None:
    module = acs.activation(name).double()
    for parameter, value in zip(module.parameters(), values, strict=True):
        nn.init.constant_(parameter, value)
    x = _grid(-4, 4)
    np.testing.assert_allclose(
        module(x).detach().numpy(), published(x.numpy()), rtol=1e-12, atol=1e-13
    )


def test_rational_is_a_quotient_of_polynomials_in_its_parameters() -> None:
    """Molina et al. 2019, eq. (2): (a0 + ... + a5 x^5) / (1 + |b1 x + ... + b4 x^4|)."""
    module = acs.activation("rational", start="gelu").double()
    values = np.array([parameter.item() for parameter in module.parameters()])
    assert len(values) == 6 + 4
    x = _grid(-5, 5)
    above = np.polynomial.polynomial.polyval(x.numpy(), values[:6])
    below = 1 + np.abs(np.polynomial.polynomial.polyval(x.numpy(), [0, *values[6:]]))
    np.testing.assert_allclose(module(x).detach().numpy(), above / below, rtol=1e-10, atol=1e-12)


def test_piecewise_linear_is_a_sum_of_hinges_at_even_places() -> None:
    module = acs.activation("piecewise_linear", start="silu").double()
    constant, slope, *bends = (parameter.item() for parameter in module.parameters())
    assert len(bends) == 7
    x = _grid(-5, 5).numpy()
    expected = constant + slope * x
    for place, bend in zip((-3, -2, -1, 0, 1, 2, 3), bends, strict=True):
        expected = expected + bend * np.maximum(x - place, 0)
    np.testing.assert_allclose(
        module(torch.from_numpy(x)).detach().numpy(), expected, rtol=1e-12, atol=1e-12
    )


def test_a_mixture_weighs_its_members() -> None:
    module = acs.activation("mixture", members="tanh, sin, gelu").double()
    for weight, value in zip(module.parameters(), (0.5, -2.0, 0.25), strict=True):
        nn.init.constant_(weight, value)
    x = _grid()
    expected = 0.5 * torch.tanh(x) - 2 * torch.sin(x) + 0.25 * nn.functional.gelu(x)
    torch.testing.assert_close(module(x), expected, rtol=1e-12, atol=1e-12)


# places of hinges of slope 0: no gradient until the slope has moved
STILL_AT_FIRST = {"apl": 2, "srelu": 1}


@pytest.mark.parametrize("name", LEARNED)
@pytest.mark.parametrize("channels", [None, 3])
def test_an_optimiser_step_moves_a_learned_form(name: str, channels: int | None) -> None:
    module = acs.activation(name, channels=channels)
    x = 2 * torch.randn(64, 3, generator=torch.Generator().manual_seed(1))
    start = module(x).detach()
    optimizer = torch.optim.SGD(module.parameters(), lr=0.01)
    for still in (STILL_AT_FIRST.get(name, 0), 0):
        before = [parameter.detach().clone() for parameter in module.parameters()]
        assert before
        optimizer.zero_grad()
        (module(x) - torch.cos(x)).square().mean().backward()
        optimizer.step()
        after = list(module.parameters())
        assert sum(torch.equal(*pair) for pair in zip(before, after, strict=True)) == still
        assert all(torch.isfinite(parameter).all() for parameter in after)
    assert not torch.equal(module(x), start)


@pytest.mark.parametrize("name", LEARNED)
def test_what_was_learned_is_in_the_state_and_in_every_copy(name: str) -> None:
    module = acs.activation(name)
    with torch.no_grad():
        for index, parameter in enumerate(module.parameters()):
            parameter.add_(0.125 + 0.0625 * index)
    x = _grid().float()
    expected = module(x)
    twin = acs.activation(name)
    assert not torch.equal(twin(x), expected)
    twin.load_state_dict(module.state_dict())
    torch.testing.assert_close(twin(x), expected, rtol=0, atol=0)
    torch.testing.assert_close(copy.deepcopy(module)(x), expected, rtol=0, atol=0)
    double = copy.deepcopy(module).double()
    assert {parameter.dtype for parameter in double.parameters()} == {torch.float64}
    y = double(x.double())
    assert y.dtype == torch.float64
    torch.testing.assert_close(y.float(), expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", LEARNED)
def test_channels_learn_apart_and_start_alike(name: str) -> None:
    module = acs.activation(name, channels=3)
    single = acs.activation(name)
    assert module.record.hyperparameters["per"] == "channel"
    # the sharpness of dynamic tanh is one number for the layer, as published
    shared = 1 if name == "dyt" else 0
    shapes = sorted(tuple(parameter.shape) for parameter in module.parameters())
    count = len(list(single.parameters()))
    assert shapes == [()] * shared + [(3,)] * (count - shared)
    x = torch.randn(5, 3, 4, generator=torch.Generator().manual_seed(2))
    torch.testing.assert_close(module(x), single(x), rtol=1e-6, atol=1e-6)
    before = module(x)
    with torch.no_grad():
        for parameter in module.parameters():
            if parameter.dim():
                parameter[1] += 0.25
    changed = (module(x) != before).flatten(2).any(dim=2).any(dim=0)
    assert changed.tolist() == [False, True, False]
    assert acs.fingerprint(module) != acs.fingerprint(single)


@pytest.mark.parametrize(("name", "settings", "start", "tolerance"), STARTS)
def test_a_learned_form_is_not_the_function_that_it_starts_from(
    name: str, settings: dict[str, Any], start: str, tolerance: float
) -> None:
    form = acs.activation(name, **settings)
    assert acs.fingerprint(form) != acs.fingerprint(start)
    assert not list(acs.activation(start).parameters())


@pytest.mark.parametrize("name", LEARNED)
def test_screening_lets_every_learned_form_pass(name: str) -> None:
    assert _screened(acs.activation(name).record).passed


@pytest.mark.parametrize("name", ["rational", "piecewise_linear"])
def test_a_learned_form_that_starts_as_a_line_is_not_refused_as_affine(name: str) -> None:
    assert _screened(acs.activation(name, start="identity").record).passed
    assert "affine" in _screened(acs.activation("2*x + 1").record).reason


def _screened(record: ActivationRecord) -> Any:
    return screen(CandidateRecord.shared(record))


@pytest.mark.parametrize(
    ("name", "settings", "complaint"),
    [
        ("rational", {"start": "rleu"}, "start='rleu' cannot be read.*did you mean .*'relu'"),
        ("rational", {"start": ""}, "start='' cannot be read"),
        ("rational", {"start": "x +"}, "start='x .' cannot be read"),
        ("rational", {"start": "softmax"}, "softmax.*another start, such as start='relu'"),
        ("rational", {"start": "rational"}, "rational: it is not a fixed function.*another start"),
        ("rational", {"start": "log(x)"}, "not finite.*another start"),
        ("rational", {"start": "step"}, "off by .*take more coefficients or knots, or another"),
        ("rational", {"start": 3}, "rational: start must be a text of at most .*, not 3"),
        ("rational", {"numerator": 9}, "numerator must be 2, 3, 4, 5, 6 or 7, not 9"),
        ("rational", {"denominator": 0}, "denominator must be 1, 2, 3, 4 or 5, not 0"),
        ("rational", {"numerator": 2, "denominator": 1, "start": "sin"}, "2/1.*take more"),
        ("piecewise_linear", {"start": "morlet"}, "off by .*take more coefficients or knots"),
        ("piecewise_linear", {"knots": 4}, "knots must be 3, 5, 7, 9 or 13, not 4"),
        ("piecewise_linear", {"start": "glu"}, "glu.*another start"),
        ("mixture", {"members": "relu"}, "2 to 8 different catalog names, such as .*'relu'"),
        ("mixture", {"members": ""}, "2 to 8 different catalog names"),
        ("mixture", {"members": "silu, silu"}, "2 to 8 different"),
        ("mixture", {"members": "gelu_new, gelu_tanh"}, "2 to 8 different"),
        ("mixture", {"members": "relu, nope"}, "catalog names.*there is no 'nope'"),
        ("mixture", {"members": "relu, x*x"}, "catalog names.*there is no"),
        ("mixture", {"members": "relu, softmax"}, "softmax .*leave it out of members"),
        ("mixture", {"members": "relu, rrelu"}, "rrelu .*leave it out of members"),
        ("mixture", {"members": "relu, rational"}, "rational .*leave it out of members"),
    ],
)
def test_a_start_that_cannot_be_is_refused_with_what_to_do(
    name: str, settings: dict[str, Any], complaint: str
) -> None:
    with pytest.raises(acs.ActivationError, match=f"(?s){complaint}"):
        acs.activation(name, **settings)
