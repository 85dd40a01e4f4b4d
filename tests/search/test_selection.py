"""Which sites are meant: by role, name, pattern, class, depth or a function of the site."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

import actsearch as acs


class Block(nn.Module):
    """Two hidden activations and a gate."""

    def __init__(self, act: type[nn.Module]) -> None:
        super().__init__()
        self.one, self.two = nn.Linear(4, 4), nn.Linear(4, 4)
        self.first, self.second, self.open = act(), nn.Tanh(), nn.Sigmoid()

    def forward(self, x: Tensor) -> Tensor:
        h = self.second(self.two(self.first(self.one(x))))
        result: Tensor = x * self.open(h)
        return result


def net() -> nn.Sequential:
    return nn.Sequential(
        Block(nn.ReLU), Block(nn.GELU), Block(nn.ReLU), nn.Linear(4, 4), nn.Sigmoid()
    )


HIDDEN = [f"{block}.{name}" for block in range(3) for name in ("first", "second")]


def replaced(where: Any = None, act: Any = "sin", **kwargs: Any) -> list[str]:
    return [item.path for item in acs.place(net(), act, where=where, **kwargs).replaced]


@pytest.mark.parametrize(
    ("where", "paths"),
    [
        (None, HIDDEN),
        ("hidden", HIDDEN),
        ("gate", ["0.open", "1.open", "2.open"]),
        ("output", ["4"]),
        ("1.first", ["1.first"]),
        ("1.open", ["1.open"]),
        ("1.*", ["1.first", "1.second"]),
        ("*.first", ["0.first", "1.first", "2.first"]),
        (nn.ReLU, ["0.first", "2.first"]),
        ((0, 0.5), ["0.first", "0.second", "1.first"]),
        ((0.5, 1.0), ["1.second", "2.first", "2.second"]),
        ((0, 1), HIDDEN),
        ("depth:2/3", ["1.first", "1.second"]),
        (lambda site: site.type == "Sigmoid", ["0.open", "1.open", "2.open", "4"]),
        (["0.*", nn.GELU, "4"], ["0.first", "0.second", "1.first", "4"]),
    ],
)
def test_sites_are_chosen(where: Any, paths: list[str]) -> None:
    assert replaced(where) == paths


class Called(nn.Module):
    """The same functions as modules, called, as methods and held."""

    def __init__(self) -> None:
        super().__init__()
        self.one, self.two, self.held = nn.ReLU(), nn.LeakyReLU(0.2), F.silu

    def forward(self, x: Tensor) -> Tensor:
        x = self.two(F.leaky_relu(self.one(F.relu(x)).relu(), 0.1))
        x = F.relu6(F.hardtanh(F.logsigmoid(self.held(x))))
        return torch.softmax(x, -1) * F.selu(x)


@pytest.mark.parametrize(
    ("where", "paths"),
    [
        (nn.ReLU, ["relu_0", "one", "relu_1"]),
        (nn.LeakyReLU, ["leaky_relu", "two"]),
        (nn.SiLU, ["held"]),
        (nn.LogSigmoid, ["logsigmoid"]),
        (nn.Hardtanh, ["hardtanh", "relu6"]),  # of which nn.ReLU6 is a subclass
        ([nn.SELU, nn.ReLU6], ["relu6", "selu"]),
    ],
)
@pytest.mark.parametrize("with_sample", [True, False])
def test_a_class_means_the_function_of_its_name_too(
    where: Any, paths: list[str], with_sample: bool
) -> None:
    sample = torch.randn(2, 4) if with_sample else None
    placement = acs.place(Called(), "sin", where=where, sample=sample)
    assert [item.path for item in placement.replaced] == paths
    with pytest.raises(acs.PlacementError, match="no activation for where=.*Softmax"):
        acs.place(Called(), "sin", where=nn.Softmax, sample=sample)  # a gate


def test_all_means_every_role() -> None:
    assert len(replaced("all")) == 10


@pytest.mark.parametrize(
    ("where", "complaint"),
    [
        ("2.frist", "no activation at '2.frist'; did you mean '2.first'"),
        ("encoder.*", r"no activation at 'encoder\.\*'; known: 0.first"),
        ("*.open", r"matches no hidden activation, but 0.open \(gate\).*full path"),
        (nn.ELU, r"no activation for where=.*ELU.* \(0.first: ReLU, role hidden; "),
        (lambda site: False, "nothing to replace in Sequential"),
        ((0.5, 2), "selects no sites"),
        (7, "where=7 selects no sites"),
        (object, "selects no sites"),
        ("depth:4/3", "there are 6 hidden sites to divide"),
        ("depth:1/7", "there are 6 hidden sites to divide"),
        ([], "nothing to replace"),
    ],
)
def test_what_matches_nothing_says_what_there_is(where: Any, complaint: str) -> None:
    with pytest.raises(acs.PlacementError, match=complaint):
        replaced(where)


@pytest.mark.parametrize(
    ("acts", "bands"),
    [
        (["sin"], ["sin"] * 6),
        (["sin", "tanh"], ["sin"] * 3 + ["tanh"] * 3),
        (["sin", "tanh", "silu", "elu"], ["sin", "sin", "tanh", "tanh", "silu", "elu"]),
    ],
)
def test_several_activations_go_to_as_many_bands_of_depth(acts: Any, bands: list[str]) -> None:
    placement = acs.place(net(), acts)
    assert [item.new for item in placement.replaced] == bands
    assert [item.path for item in placement.replaced] == HIDDEN


def test_a_mapping_goes_by_path_pattern_and_band_and_the_later_key_counts() -> None:
    acts = {
        "*": "relu",
        "depth:3/3": "tanh",
        "1.*": "elu",
        "1.first": "sin",
        "0.open": "hardsigmoid",
    }
    placement = acs.place(net(), acts)
    assert {item.path: item.new for item in placement.replaced} == {
        "0.first": "relu",
        "0.second": "relu",
        "0.open": "hardsigmoid",
        "1.first": "sin",
        "1.second": "elu",
        "2.first": "tanh",
        "2.second": "tanh",
    }
    assert dict(placement.skipped) == {
        "1.open": "role gate",
        "2.open": "role gate",
        "4": "role output",
    }


def test_more_activations_than_sites_and_a_mapping_with_where_are_refused() -> None:
    with pytest.raises(acs.PlacementError, match="7 activations for 6 sites"):
        acs.place(net(), ["sin"] * 7)
    with pytest.raises(acs.PlacementError, match="mapping names its sites itself"):
        acs.place(net(), {"0.first": "sin"}, where="hidden")
    with pytest.raises(acs.PlacementError, match="nothing to replace"):
        acs.place(net(), [])


def test_a_failed_placement_leaves_the_model_as_it_was() -> None:
    model, x = net(), torch.randn(2, 4)
    before, modules = model(x), [type(module) for module in model.modules()]
    for act in ({"0.first": "sin", "nowhere": "tanh"}, {"0.first": "no such name"}):
        with pytest.raises(acs.ActsearchError):
            acs.place(model, act)
    assert torch.equal(model(x), before)
    assert [type(module) for module in model.modules()] == modules


def test_the_table_has_a_row_for_every_site() -> None:
    table = acs.place(net(), {"0.first": "sin"}).table()
    assert list(table.columns) == ["path", "old", "new", "widened", "kept"]
    assert list(table.iloc[0]) == ["0.first", "ReLU", "sin", "", ""]
    assert list(table.iloc[1]) == ["0.second", "Tanh", "", "", "not asked for"]
    assert len(table) == 10
    assert dict(zip(table.path, table.kept, strict=True))["4"] == "role output"


def test_a_printed_placement_and_its_table_name_what_stands_everywhere() -> None:
    class Kinds(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layers = nn.Sequential(nn.Linear(4, 4), nn.ReLU(), nn.Linear(4, 4))
            self.held, self.open, self.rnn = F.gelu, nn.Sigmoid(), nn.GRU(4, 4)
            self.last = nn.Linear(4, 4)

        def forward(self, x: Tensor) -> Tensor:
            h = torch.tanh(self.held(self.layers(x))) + self.rnn(x)[0]
            return torch.softmax(self.last(F.elu(h)) * self.open(self.last(h)), -1)

    acts = {"layers.1": "maxout", "held": "x*sigmoid(param(1.0)*x)", "elu": nn.Mish()}
    placement = acs.place(Kinds(), acts, sample=torch.randn(2, 4))
    assert str(placement).splitlines() == [
        "layers.1: ReLU -> maxout (layers.0 widened)",
        "held: gelu -> x * sigmoid(param(1.0) * x)",
        "elu: elu -> Mish",
        "tanh: tanh kept (not asked for)",
        "open: Sigmoid kept (role gate)",
        "softmax: softmax kept (role output)",
        "rnn: GRU computes its own activations in one fused kernel; they stay as they are.",
    ]
    table = placement.table()
    assert list(table.path) == ["layers.1", "held", "elu", "tanh", "open", "softmax"]
    assert list(table.old) == ["ReLU", "gelu", "elu", "tanh", "Sigmoid", "softmax"]
    assert list(table.new) == ["maxout", "x * sigmoid(param(1.0) * x)", "Mish", "", "", ""]
    assert [item.old for item in placement.replaced] == list(table.old)[:3]
    assert dict(placement.skipped) == dict(list(zip(table.path, table.kept, strict=True))[3:])


def test_a_site_that_is_used_with_other_numbers_of_channels_is_refused_by_name() -> None:
    class Twice(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.one, self.two, self.act = nn.Linear(4, 6), nn.Linear(6, 8), nn.ReLU()

        def forward(self, x: Tensor) -> Tensor:
            result: Tensor = self.act(self.two(self.act(self.one(x))))
            return result

    x = torch.randn(2, 4)
    assert len(acs.place(Twice(), "prelu", sample=x).replaced) == 1
    with pytest.raises(acs.PlacementError, match="'act'.*used with 6 channels and with 8"):
        acs.place(Twice(), 'param(1.0, per="channel")*sin(x)', sample=x)
