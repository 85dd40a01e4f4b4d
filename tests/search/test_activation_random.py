"""Activations that draw numbers: from a stream of their own, which one seed decides."""

from __future__ import annotations

import copy
import pickle

import pytest
import torch
from torch import Tensor, nn

import actsearch as acs
from actsearch.activations import reseed_random_activations


def _slopes(module: nn.Module, count: int = 20_000) -> Tensor:
    x = -torch.ones(count)
    result: Tensor = -module(x)
    return result


@pytest.mark.parametrize(("lower", "upper"), [(0.125, 1 / 3), (0.0, 0.25), (0.25, 0.9)])
def test_training_slopes_are_uniform_between_lower_and_upper(lower: float, upper: float) -> None:
    slopes = _slopes(acs.activation("rrelu", lower=lower, upper=upper).train())
    assert lower <= slopes.min()
    assert slopes.max() <= upper
    width = upper - lower
    assert slopes.mean().item() == pytest.approx((lower + upper) / 2, abs=0.01 * width)
    assert slopes.std().item() == pytest.approx(width / 12**0.5, rel=0.02)


def test_positive_inputs_pass_and_gradients_are_the_slopes_drawn() -> None:
    x = torch.tensor([2.0, 0.0, -2.0, -4.0], requires_grad=True)
    y = acs.activation("rrelu").train()(x)
    y.sum().backward()
    assert y[:2].tolist() == [2.0, 0.0]
    assert x.grad is not None
    torch.testing.assert_close(x.grad, torch.where(x.detach() >= 0, 1.0, y / x).detach())


def test_evaluation_uses_the_mean_slope_and_draws_nothing() -> None:
    module = acs.activation("rrelu", lower=0.1, upper=0.5)
    before = _slopes(module.train(), 5)
    module = acs.activation("rrelu", lower=0.1, upper=0.5).eval()
    torch.testing.assert_close(_slopes(module, 4), torch.full((4,), 0.3))
    assert torch.equal(_slopes(module.train(), 5), before)


def test_one_seed_gives_one_stream_and_another_seed_another() -> None:
    model = nn.Sequential(acs.activation("rrelu"), acs.activation("rrelu")).train()
    reseed_random_activations(model, 5)
    first, second = _slopes(model[0], 9), _slopes(model[0], 9)
    other_site = _slopes(model[1], 9)
    assert not torch.equal(first, second)
    assert not torch.equal(first, other_site)
    reseed_random_activations(model, 5)
    assert torch.equal(_slopes(model[1], 9), other_site)
    assert torch.equal(_slopes(model[0], 9), first)
    assert torch.equal(_slopes(model[0], 9), second)
    reseed_random_activations(model, 6)
    assert not torch.equal(_slopes(model[0], 9), first)


def test_drawing_shifts_no_other_random_stream_and_no_other_shifts_it() -> None:
    module = acs.activation("rrelu").train()
    reseed_random_activations(module, 1)
    torch.manual_seed(0)
    state = torch.get_rng_state()
    slopes = _slopes(module, 100)
    assert torch.equal(torch.get_rng_state(), state)
    reseed_random_activations(module, 1)
    torch.manual_seed(99)
    torch.rand(7)
    assert torch.equal(_slopes(module, 100), slopes)


def test_building_any_activation_draws_nothing() -> None:
    state = torch.get_rng_state()
    for name in acs.catalog.names():
        acs.activation(name)
    assert torch.equal(torch.get_rng_state(), state)


@pytest.mark.parametrize("how", ["deepcopy", "pickle"])
def test_a_copy_of_a_module_that_has_drawn_still_trains(how: str) -> None:
    module = acs.activation("rrelu").train()
    reseed_random_activations(module, 3)
    first = _slopes(module, 9)
    twin = copy.deepcopy(module) if how == "deepcopy" else pickle.loads(pickle.dumps(module))
    reseed_random_activations(twin, 3)
    assert torch.equal(_slopes(twin, 9), first)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_random_slopes_are_drawn_in_the_precision_of_the_input(dtype: torch.dtype) -> None:
    y = acs.activation("rrelu").train()(torch.full((50,), -1.0, dtype=dtype))
    assert y.dtype == dtype
    assert len(y.unique()) > 10
