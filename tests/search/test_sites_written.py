"""Activations that are written out in several calls: what belongs to one, what stays, and what is learned in it."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

import actsearch as acs

X = torch.randn(7, 6, generator=torch.Generator().manual_seed(1))
T = torch.tanh


class Net(nn.Module):
    """Two layers, after each of which the same function stands."""

    def __init__(self, act: Callable[[Any, Tensor], Tensor]) -> None:
        super().__init__()
        self.a, self.b, self.c = nn.Linear(6, 8), nn.Linear(8, 8), nn.Linear(8, 3)
        self.w = nn.Parameter(torch.tensor(1.5))
        self.each = nn.Parameter(torch.linspace(0.5, 2, 8))
        self.act = act

    def forward(self, x: Tensor) -> Tensor:
        result: Tensor = self.c(self.act(self, self.b(self.act(self, self.a(x)))))
        return result


def placed_output(model: nn.Module) -> Tensor:
    with torch.no_grad():
        result: Tensor = acs.place(model, "tanh", sample=X).model(X)
    return result


LEARNED: dict[str, Callable[[Any, Tensor], Tensor]] = {
    "frequency": lambda m, x: torch.sin(m.w * x),
    "frequency of each channel": lambda m, x: torch.sin(m.each * x),
    "logarithm of a frequency": lambda m, x: torch.sin(m.w.exp() * x),
    "softplus": lambda m, x: torch.log(1 + torch.exp(m.w * x)) / m.w,
    "known softplus": lambda m, x: F.softplus(m.w * x) / m.w,
    "gaussian": lambda m, x: torch.exp(-((m.w * x) ** 2)),
}


@pytest.mark.parametrize("name", LEARNED)
def test_a_function_with_learned_numbers_is_replaced_with_them(name: str) -> None:
    torch.manual_seed(0)
    model = Net(LEARNED[name])
    assert [site.role for site in acs.sites(model, X)] == ["hidden", "hidden"]
    with torch.no_grad():
        expected = model.c(T(model.b(T(model.a(X)))))
    assert torch.allclose(placed_output(model), expected, atol=1e-6)


def test_a_learned_frequency_is_named_by_its_formula() -> None:
    site = acs.sites(Net(LEARNED["frequency"]), X)[0]
    assert site.formula == "sin(param(1.5) * x)"
    assert site.type == site.formula


def test_a_first_sine_of_fixed_frequency_does_not_hide_a_learned_one() -> None:
    class Siren(Net):
        def forward(self, x: Tensor) -> Tensor:
            h = torch.sin(30 * self.a(x))
            result: Tensor = self.c(torch.sin(self.w * self.b(h)))
            return result

    formulas = [site.formula for site in acs.sites(Siren(LEARNED["frequency"]), X)]
    assert formulas == ["sin(x * 30)", "sin(param(1.5) * x)"]


def test_what_is_left_alone_is_told_by_its_name() -> None:
    class Written(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.one, self.two = nn.Linear(8, 8), nn.Linear(8, 4)

        def forward(self, x: Tensor) -> Any:
            h = self.one(x)
            return self.two(F.relu(h * torch.sigmoid(h)))

    placement = acs.place(Written(), "gelu", where="relu", sample=torch.randn(3, 8))
    assert str(placement) == "relu: relu -> gelu\nsilu: silu kept (not asked for)"
    assert list(placement.table()["old"]) == ["relu", "silu"]


def test_scale_and_shift_of_a_layer_stay_before_a_sine() -> None:
    torch.manual_seed(0)
    model = Net(lambda m, x: torch.sin(x * m.each + m.w))
    with torch.no_grad():
        h = T(model.a(X) * model.each + model.w)
        expected = model.c(T(model.b(h) * model.each + model.w))
    assert torch.allclose(placed_output(model), expected, atol=1e-6)


def scaled(x: Tensor) -> Tensor:
    return F.relu(x) * math.sqrt(2)


@pytest.mark.parametrize("act", [lambda m, x: scaled(x), lambda m, x: math.sqrt(2) * F.relu(x)])
def test_a_scale_stays_in_a_helper_as_it_does_inline(act: Any) -> None:
    torch.manual_seed(0)
    model = Net(act)
    with torch.no_grad():
        expected = model.c(scaled_by(T(model.b(scaled_by(T(model.a(X)))))))
    assert torch.allclose(placed_output(model), expected, atol=1e-6)


def scaled_by(x: Tensor) -> Tensor:
    return x * math.sqrt(2)


def test_what_an_index_sets_is_an_activation() -> None:
    def act(_: Any, x: Tensor) -> Tensor:
        x = x.clone()
        x[x < 0] = 0
        return x

    torch.manual_seed(0)
    model = Net(act)
    assert [site.role for site in acs.sites(model, X)] == ["hidden", "hidden"]
    with torch.no_grad():
        expected = model.c(T(model.b(T(model.a(X)))))
    assert torch.allclose(placed_output(model), expected, atol=1e-6)


class Gated(nn.Module):
    """One layer's output multiplies that of another."""

    def __init__(self, act: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.a, self.b, self.c = nn.Linear(6, 8), nn.Linear(6, 8), nn.Linear(8, 3)
        self.act = act

    def forward(self, x: Tensor) -> Tensor:
        result: Tensor = self.c(self.act(self.a(x)) * self.b(x))
        return result


def gelu(x: Tensor) -> Tensor:
    return 0.5 * x * (1 + torch.erf(x / 1.41421356))


@pytest.mark.parametrize("act", [gelu, lambda x: torch.sin(30 * x)])
def test_a_gated_unit_with_a_function_that_torch_has_not(act: Any) -> None:
    torch.manual_seed(0)
    model = Gated(act)
    assert [site.role for site in acs.sites(model, X)] == ["hidden"]
    with torch.no_grad():
        expected = model.c(T(model.a(X)) * model.b(X))
    assert torch.allclose(placed_output(model), expected, atol=1e-6)


def test_a_gated_unit_on_halves_of_one_layer() -> None:
    class Halves(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a, self.b = nn.Linear(6, 16), nn.Linear(8, 3)

        def forward(self, x: Tensor) -> Tensor:
            left, right = self.a(x).chunk(2, -1)
            result: Tensor = self.b(left * gelu(right))
            return result

    torch.manual_seed(0)
    model = Halves()
    with torch.no_grad():
        left, right = model.a(X).chunk(2, -1)
        assert torch.allclose(placed_output(model), model.b(left * T(right)), atol=1e-6)


def test_the_exponential_of_a_log_variance_is_no_activation() -> None:
    model = Gated(lambda x: torch.exp(0.5 * x))
    assert acs.sites(model, X) == []


@pytest.mark.parametrize(
    "opens", [lambda x: F.relu6(x + 3) / 6, lambda x: (torch.tanh(x) + 1) / 2]
)
def test_a_written_out_gate_stays(opens: Any) -> None:
    class Excited(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a, self.b, self.c = nn.Linear(6, 8), nn.Linear(8, 8), nn.Linear(8, 3)

        def forward(self, x: Tensor) -> Tensor:
            h = F.relu(self.a(x))
            result: Tensor = self.c(h * opens(self.b(h)))
            return result

    torch.manual_seed(0)
    model = Excited()
    assert [site.role for site in acs.sites(model, X)] == ["hidden", "gate"]
    with torch.no_grad():
        h = T(model.a(X))
        assert torch.allclose(placed_output(model), model.c(h * opens(model.b(h))), atol=1e-6)


@pytest.mark.parametrize(
    "distance",
    [lambda d: (d**2).sum(-1), lambda d: d.norm(dim=-1) ** 2, lambda d: d.square().sum(-1) / 2],
)
def test_radial_basis_functions_are_named_in_a_note(distance: Any) -> None:
    class Radial(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.centres, self.c = nn.Parameter(torch.randn(8, 6)), nn.Linear(8, 3)

        def forward(self, x: Tensor) -> Tensor:
            result: Tensor = self.c(torch.exp(-distance(x[:, None] - self.centres)))
            return result

    sites = acs.sites(Radial(), X)
    assert sites == []
    assert any("exp of a distance to learned centres" in note for note in sites.notes)
