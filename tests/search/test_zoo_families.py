"""Families of models that users bring: each runs, learns, and has its sites counted by hand."""

from __future__ import annotations

import pytest
import torch
from zoo_families import FAMILIES

import actsearch as acs
from actsearch.placement.model_run import forward, tensors

NAMES = pytest.mark.parametrize("name", FAMILIES)


@NAMES
def test_it_runs_and_gradients_reach_its_parameters(name: str) -> None:
    torch.manual_seed(0)
    model = FAMILIES[name].build()
    assert all(torch.isfinite(y).all() for y in tensors(forward(model.eval(), _sample(name))))
    results = [y for y in tensors(forward(model.train(), _sample(name))) if y.requires_grad]
    torch.autograd.backward(torch.stack([y.square().sum() for y in results]).sum())
    learned = [p for p in model.parameters() if p.requires_grad]
    assert any(p.grad is not None and p.grad.abs().sum() > 0 for p in learned)


def _sample(name: str) -> object:
    return FAMILIES[name].sample()


@NAMES
def test_the_sites_written_down_are_of_this_model(name: str) -> None:
    family = FAMILIES[name]
    modules = dict(family.build().named_modules())
    sites = [*family.sites, *family.sites_of_training]
    assert family.sites
    for site in sites:
        assert site.path.rpartition(".")[0] in modules  # where the function is called
        assert site.role in ("hidden", "gate", "output")
        if site.formula is not None:
            value = acs.activation(site.formula)(torch.linspace(-2, 2, 9))
            assert torch.isfinite(value).all()


def test_there_are_enough_families() -> None:
    assert len(FAMILIES) >= 20
