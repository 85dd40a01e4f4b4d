"""Every model of the zoo that needs torch alone can be looked into and placed into."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.nn import functional as F
from zoo import Entry, built, counted, output, own, tensors
from zoo_contract import ZooContract, differ
from zoo_own import OWN

import actsearch as acs
from actsearch.placement import ModelAnalysis, Placement, place_analyzed


class TestOwn(ZooContract):
    @pytest.fixture(scope="class", params=OWN)
    @classmethod
    def entry(cls, request: pytest.FixtureRequest) -> Entry:
        return OWN[request.param]

    def test_each_site_alone_changes_the_output(self, entry: Entry) -> None:
        """What is placed at a site stands there, and not somewhere else or nowhere."""
        model, inputs = built(entry).train(), entry.sample()
        with torch.no_grad():
            expected = output(model, inputs)
            analysis = ModelAnalysis(model, inputs)
            outputs = [
                output(place_analyzed(analysis, model, {path: "sin(x) + 0.5"}).model, inputs)
                for path in own(entry, model, analysis.sites)
            ]
        for index, one in enumerate(outputs):
            assert differ(one, expected)
            assert all(differ(one, other) for other in outputs[:index])

    def test_in_double_precision(self, entry: Entry, learned: Placement) -> None:
        inputs = entry.sample()
        placed = learned.model.eval().to(torch.float64)
        doubled = [x.double() if x.is_floating_point() else x for x in tensors(inputs)]
        found = output(placed, tuple(doubled))
        assert {item.dtype for item in found} == {torch.float64}
        assert not differ([item.float() for item in found], output(placed.float(), inputs))


def test_the_zoo_is_large_enough() -> None:
    assert len(OWN) >= 20
    assert sum(entry.traced for entry in OWN.values()) >= 20


class Lazy(nn.Module):
    """Its weights get their shapes from the first batch."""

    def __init__(self) -> None:
        super().__init__()
        self.one, self.two = nn.LazyLinear(16), nn.LazyLinear(4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        result: torch.Tensor = self.two(F.softplus(self.one(x)))
        return result


def test_a_lazy_model_stays_lazy() -> None:
    model, x = Lazy(), torch.randn(6, 8)
    found = acs.sites(model, x)
    assert counted(found) == {"function hidden softplus": 1}
    placed = acs.place(model, "softplus", sample=x).model
    assert isinstance(model.one.weight, nn.UninitializedParameter)
    assert torch.equal(output(placed, x)[0], output(model, x)[0])


class Windows(nn.Module):
    """Holds a softmax for a torch without fused attention, and one for whoever wants shares."""

    def __init__(self) -> None:
        super().__init__()
        self.attn = nn.ModuleDict({"qkv": nn.Linear(8, 24), "softmax": nn.Softmax(-1)})
        self.act, self.shares = nn.ReLU(), nn.Softmax(-1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        result: torch.Tensor = self.act(
            F.scaled_dot_product_attention(*self.attn["qkv"](x).chunk(3, -1))
        )
        return result


def test_a_softmax_that_did_not_run_is_known_by_where_it_stands() -> None:
    for sample in (torch.randn(2, 5, 8), None):
        found = acs.sites(Windows(), sample)
        assert {site.path: site.role for site in found} == {
            "act": "hidden",
            "attn.softmax": "gate",
            "shares": "output",
        }
        assert "3 sites (1 hidden, 1 gate, 1 output), " in str(found)
    assert "1 site (1 hidden), " in str(acs.sites(nn.Sequential(nn.ReLU())))
