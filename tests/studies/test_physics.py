"""The study of a physics-informed network: the equation, and its exact solution."""

from __future__ import annotations

import math

import physics
import pytest
import torch
from torch import Tensor, nn

import actsearch as acs


def test_the_exact_solution_starts_as_a_sine_and_solves_the_equation() -> None:
    x = torch.linspace(-0.9, 0.9, 7)
    nearly_at_start = torch.stack([torch.full_like(x, 1e-6), x], 1)
    assert physics.exact(nearly_at_start)[:, 0] == pytest.approx(-torch.sin(math.pi * x), abs=1e-4)
    t, h = torch.full_like(x, 0.4), 0.02  # single precision: no smaller step

    def u(dt: float, dx: float) -> Tensor:
        return physics.exact(torch.stack([t + dt, x + dx], 1))[:, 0]

    middle, left, right = u(0, 0), u(0, -h), u(0, h)
    slope, bend = (right - left) / (2 * h), (right - 2 * middle + left) / h**2
    rest = (u(h, 0) - u(-h, 0)) / (2 * h) + middle * slope - physics.NU * bend
    assert float(rest.abs().max()) < 0.03
    assert float((middle * slope).abs().max()) > 0.5


@pytest.mark.parametrize(("act", "bends"), [("tanh", True), ("sin", True), ("relu", False)])
def test_the_residual_of_relu_lacks_the_second_derivative(
    act: str, bends: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    torch.manual_seed(0)
    model: nn.Module = acs.place(physics.make_model(), act).model
    points = torch.rand(32, 2)
    with_term = physics.residual(model, points)
    monkeypatch.setattr(physics, "NU", 0.0)
    assert torch.equal(with_term, physics.residual(model, points)) != bends
