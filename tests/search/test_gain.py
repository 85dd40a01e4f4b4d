"""``Task(gain="auto")``: weights whose scale suits the activation that follows them."""

from __future__ import annotations

import math
from collections.abc import Callable
from itertools import pairwise

import pytest
import torch
from torch import nn
from torch.nn import functional as F

import actsearch as acs
from actsearch.placement import initialise_for_gain


def deep(width: int = 256, depth: int = 20) -> nn.Sequential:
    torch.manual_seed(0)
    layers: list[nn.Module] = []
    for _ in range(depth):
        layers += [nn.Linear(width, width), nn.ReLU()]
    return nn.Sequential(*layers)


@pytest.mark.parametrize(
    ("name", "gain"),
    [("relu", math.sqrt(2)), ("tanh", 1.5925374), ("selu", 1.0), ("sin", 1.5208666)],
)
def test_weights_have_the_gain_of_the_activation(name: str, gain: float) -> None:
    placement = acs.place(deep(depth=2), name, where="all")
    done = initialise_for_gain(placement, torch.randn(4, 256))
    assert done == ("1", "3")
    for path in ("0", "2"):
        layer = placement.model.get_submodule(path)
        assert isinstance(layer, nn.Linear)
        assert layer.weight.std().item() == pytest.approx(gain / math.sqrt(256), rel=0.02)
        assert layer.bias.abs().max().item() == 0


@pytest.mark.parametrize("name", ["relu", "gelu", "tanh"])
def test_signals_neither_vanish_nor_explode_in_a_deep_network(name: str) -> None:
    torch.manual_seed(1)
    x = torch.randn(64, 256)
    as_built = acs.place(deep(), name, where="all")
    tuned = acs.place(deep(), name, where="all")
    initialise_for_gain(tuned, x)
    with torch.no_grad():
        assert as_built.model(x).square().mean().item() < 0.01
        assert 0.2 < tuned.model(x).square().mean().item() < 20


def test_the_layer_is_found_through_normalisation_and_convolution() -> None:
    model = nn.Sequential(nn.Conv2d(3, 64, 3), nn.BatchNorm2d(64), nn.Dropout(0.5), nn.ReLU())
    placement = acs.place(model, "relu")
    assert initialise_for_gain(placement, torch.randn(2, 3, 8, 8)) == ("3",)
    layer = placement.model.get_submodule("0")
    assert isinstance(layer, nn.Conv2d)
    assert layer.weight.std().item() == pytest.approx(math.sqrt(2 / 27), rel=0.05)


@pytest.mark.parametrize("pieces", [1, 4])
@pytest.mark.parametrize(("stride", "groups"), [(1, 1), (2, 1), (2, 4)])
def test_a_transposed_convolution_keeps_the_second_moment_too(
    stride: int, groups: int, pieces: int
) -> None:
    torch.manual_seed(0)
    layer = nn.ConvTranspose2d(64, 32, 4, stride=stride, groups=groups)
    x = torch.randn(8, 64, 12, 12)
    act = acs.activation("relu") if pieces == 1 else acs.activation("maxout", pieces=pieces)
    placement = acs.place(nn.Sequential(layer, nn.ReLU()), act, sample=x)
    initialise_for_gain(placement, x)
    with torch.no_grad():
        inside = placement.model(x)[:, :, 4:-4, 4:-4]
    assert inside.square().mean().item() == pytest.approx(1, rel=0.1)


def test_an_activation_without_a_gain_is_an_error() -> None:
    with pytest.raises(acs.ActivationError, match="no gain"):
        initialise_for_gain(acs.place(deep(depth=1), "exp(x*x)"), torch.randn(2, 256))


def make() -> nn.Module:
    return nn.Sequential(nn.Linear(2, 8), nn.ReLU(), nn.Linear(8, 2))


def task(model: nn.Module | Callable[[], nn.Module] = make, **settings: object) -> acs.Task:
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(64, 2, generator=generator)
    data = (x, (x[:, 0] > 0).long())
    return acs.Task(
        model=model,
        train=data,
        valid=data,
        loss=F.cross_entropy,
        epochs=1,
        **settings,  # type: ignore[arg-type]
    )


def first_loss(gain: str | None, candidate: acs.Candidate) -> float:
    run = acs.Run(3, 0, "search", torch.device("cpu"), 1)
    return task(gain=gain)(candidate, run)["loss"]


def test_it_changes_the_start_of_a_placed_model_and_not_of_the_unchanged_one() -> None:
    placed, unchanged = acs.Candidate.of("relu"), acs.Candidate.baseline()
    assert first_loss("auto", placed) != first_loss(None, placed)
    assert first_loss("auto", placed) == first_loss("auto", placed)
    assert first_loss("auto", unchanged) == first_loss(None, unchanged)
    assert first_loss(None, placed) == first_loss(None, unchanged)


@pytest.mark.parametrize(
    "settings", [{"gain": "he"}, {"gain": 2.0}, {"gain": "auto", "model": make()}]
)
def test_what_it_cannot_do_is_said(settings: dict[str, object]) -> None:
    with pytest.raises(acs.TaskError, match="gain"):
        task(**settings)  # type: ignore[arg-type]


def test_pairs_of_gains_order_the_scale_of_the_weights() -> None:
    names = ["identity", "tanh", "softsign"]  # gains 1, 1.59, 2.34
    scales = []
    for name in names:
        placement = acs.place(deep(depth=1), name)
        initialise_for_gain(placement, torch.randn(2, 256))
        scales.append(placement.model.get_parameter("0.weight").std().item())
    assert all(smaller < larger for smaller, larger in pairwise(scales))
