"""Families of models that users bring: each runs, learns, and has its sites counted by hand."""

from __future__ import annotations

import pytest
import torch
from zoo_families import FAMILIES

import actsearch as acs
from actsearch.placement import Sites
from actsearch.placement.model_run import forward, observe_output, tensors

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


def _found(name: str, with_sample: bool) -> Sites:
    torch.manual_seed(0)
    return acs.sites(FAMILIES[name].build(), _sample(name) if with_sample else None)


@NAMES
@pytest.mark.parametrize("with_sample", [True, False], ids=["sample", "no sample"])
def test_the_sites_are_those_counted_by_hand(name: str, with_sample: bool) -> None:
    found = _found(name, with_sample)
    if found.how == "listed":
        assert "torch.fx cannot trace this model" in found.notes[0]  # only modules are seen
        return
    expected = [*FAMILIES[name].sites, *FAMILIES[name].sites_of_training]
    assert [site.role for site in found] == [site.role for site in expected]
    for site, by_hand in zip(found, expected, strict=True):
        assert by_hand.names(site.path), site.path
        if by_hand.formula is not None and by_hand.role != "output":
            x = torch.linspace(-3, 3, 61)
            torch.testing.assert_close(
                acs.activation(site.formula)(x), acs.activation(by_hand.formula)(x)
            )


@NAMES
def test_another_function_at_each_hidden_site_computes_that(name: str) -> None:
    """Each hidden site stands for itself: with its own formula there, the model computes the same as before."""
    torch.manual_seed(0)
    model = FAMILIES[name].build().eval()
    found = acs.sites(model, _sample(name))
    own = {s.path: s.formula for s in found if s.role == "hidden" and s.formula}
    if not own:
        assert (
            name == "snake"
        )  # the language has no words for numbers of each channel in the calls
        return
    before = list(tensors(observe_output(model, _sample(name))))
    placed = acs.place(model, own, sample=_sample(name))
    assert {item.path for item in placed.replaced} == set(own)
    after = list(tensors(observe_output(placed.model, _sample(name))))
    for one, other in zip(before, after, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-3, atol=1e-4)
    changed = acs.place(model, dict.fromkeys(own, "x*tanh(x) + 0.1"), sample=_sample(name)).model
    assert any(
        not torch.allclose(one, other)
        for one, other in zip(before, tensors(observe_output(changed, _sample(name))), strict=True)
    )


def test_there_are_enough_families() -> None:
    assert len(FAMILIES) >= 20
