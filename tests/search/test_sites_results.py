"""What a model returns, however it is put together: its heads are outputs and stay as they are."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.distributions import Independent, Normal
from torch.nn import functional as F

import actsearch as acs
from actsearch.training import fit

X = torch.randn(7, 6, generator=torch.Generator().manual_seed(1))


class Net(nn.Module):
    """A hidden ReLU, and a head that returns what it likes."""

    def __init__(self, head: Callable[[Any, Tensor], Any]) -> None:
        super().__init__()
        self.a, self.b, self.c = nn.Linear(6, 8), nn.Linear(8, 3), nn.Linear(8, 3)
        self.head = head

    def forward(self, x: Tensor) -> Any:
        return self.head(self, F.relu(self.a(x)))


def put(model: Net, h: Tensor) -> Tensor:
    result = torch.zeros(len(h), 4)
    result[:, 1:] = torch.sigmoid(model.c(h))
    return result


def in_its_own_columns(model: Net, h: Tensor) -> Tensor:
    y: Tensor = model.c(h)
    y[:, 1:] = y[:, 1:].sigmoid()
    return y


def in_a_view(model: Net, h: Tensor) -> Tensor:
    y: Tensor = model.c(h)
    y[:, 1:].sigmoid_()
    return y


def copied(model: Net, h: Tensor) -> Tensor:
    result = torch.zeros(len(h), 4)
    result[:, 1:].copy_(torch.sigmoid(model.c(h)))
    return result


def index_put(model: Net, h: Tensor) -> Tensor:
    result = torch.zeros(len(h), 3)
    result.index_put_((torch.arange(len(h)),), torch.sigmoid(model.c(h)))
    return result


def halves(model: Net, h: Tensor) -> Tensor:
    y = torch.cat([model.b(h), model.c(h)], 1)
    first, _ = y.chunk(2, 1)
    first.copy_(first.sigmoid())
    return y


@pytest.mark.parametrize("head", [put, in_its_own_columns, in_a_view, copied, index_put, halves])
def test_a_head_that_is_written_in_place_stays(head: Callable[[Any, Tensor], Tensor]) -> None:
    torch.manual_seed(0)
    model = Net(head)
    assert [site.role for site in acs.sites(model, X)] == ["hidden", "output"]
    placed = acs.place(model, "tanh", sample=X)
    assert [item.path for item in placed.replaced] == ["relu"]
    with torch.no_grad():
        assert torch.equal(placed.model(X), head(model, torch.tanh(model.a(X))))


def test_a_view_that_is_written_over_is_followed_without_a_sample() -> None:
    class Plain(Net):
        def forward(self, x: Tensor) -> Tensor:
            y: Tensor = self.c(F.relu(self.a(x)))
            y[:, 1:].sigmoid_()
            return y

    sites = acs.sites(Plain(put))
    assert sites.how == "traced"
    assert [(site.path, site.role) for site in sites] == [
        ("relu", "hidden"),
        ("sigmoid", "output"),
    ]


def test_an_activation_that_is_written_between_layers_is_hidden() -> None:
    class Masked(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a, self.b = nn.Linear(6, 8), nn.Linear(8, 2)

        def forward(self, x: Tensor) -> Tensor:
            h = torch.zeros(len(x), 8)
            h[:4] = torch.tanh(self.a(x[:4]))
            y: Tensor = self.b(h)
            return y

    assert [(s.path, s.role) for s in acs.sites(Masked(), X)] == [("tanh", "hidden")]


@dataclass(slots=True)
class Record:
    mean: Tensor
    scale: Tensor


class Result:
    """A class of the user's, with another inside."""

    def __init__(self, mean: Tensor, scale: Tensor) -> None:
        self.parts = [Record(mean, scale)]
        self.whole = self


OBJECTS: dict[str, Callable[[Tensor, Tensor], Any]] = {
    "distribution": Normal,
    "of many": lambda mean, scale: Independent(Normal(mean, scale), 1),
    "data class with slots": Record,
    "object": Result,
    "in a dictionary": lambda mean, scale: {"policy": Normal(mean, scale)},
}


@pytest.mark.parametrize("name", OBJECTS)
def test_a_head_inside_of_an_object_stays(name: str) -> None:
    def head(model: Any, h: Tensor) -> Any:
        return OBJECTS[name](model.b(h), F.softplus(model.c(h)) + 1e-3)

    model = Net(head)
    sites = acs.sites(model, X)
    assert [(s.type, s.role) for s in sites] == [("relu", "hidden"), ("softplus", "output")]
    assert [item.path for item in acs.place(model, "tanh", sample=X).replaced] == ["relu"]


def test_a_distribution_is_trained_by_its_likelihood() -> None:
    def head(model: Any, h: Tensor) -> Normal:
        return Normal(model.b(h), F.softplus(model.c(h)) + 1e-3)

    y = X[:, :3].contiguous()
    task = acs.Task(
        model=lambda: Net(head), train=(X, y), valid=(X, y), metric="loss", epochs=1,
        loss=lambda output, target: -output.log_prob(target).mean(),
    )  # fmt: skip
    metrics = fit(task, task.build(), 0).metrics
    assert math.isfinite(metrics["loss"])


class Piecewise(nn.Module):
    """An activation with a learned slope, written out in a method."""

    def __init__(self, act: Callable[[Any, Tensor], Tensor]) -> None:
        super().__init__()
        self.a, self.b, self.c = nn.Linear(6, 8), nn.Linear(8, 8), nn.Linear(8, 3)
        self.slope = nn.Parameter(torch.tensor(0.3))
        self.slopes = nn.Parameter(torch.full((8,), 0.3))
        self.written = act

    def act(self, x: Tensor) -> Tensor:
        return self.written(self, x)

    def forward(self, x: Tensor) -> Tensor:
        result: Tensor = self.c(self.act(self.b(self.act(self.a(x)))))
        return result


@pytest.mark.parametrize(
    "act",
    [
        lambda model, x: torch.where(x >= 0, x, model.slope * x),
        lambda model, x: torch.max(x, model.slopes * x),
        lambda model, x: torch.where(x >= 0, x, model.slopes * (torch.exp(x) - 1)),
    ],
)
def test_an_activation_with_learned_slopes_is_replaced_whole(act: Any) -> None:
    torch.manual_seed(0)
    model = Piecewise(act)
    assert [site.role for site in acs.sites(model, X)] == ["hidden", "hidden"]
    placed = acs.place(model, "tanh", sample=X)
    with torch.no_grad():
        expected = model.c(torch.tanh(model.b(torch.tanh(model.a(X)))))
        assert torch.allclose(placed.model(X), expected, atol=1e-6)


class Autoencoder(nn.Module):
    """A variational autoencoder whose forward returns its loss, or its parts."""

    def __init__(self, scale: Callable[[Tensor], Tensor], *, gives_loss: bool) -> None:
        super().__init__()
        self.e, self.mean, self.raw = nn.Linear(6, 8), nn.Linear(8, 2), nn.Linear(8, 2)
        self.d, self.o = nn.Linear(2, 8), nn.Linear(8, 6)
        self.scale, self.gives_loss = scale, gives_loss

    def forward(self, x: Tensor) -> Any:
        h = torch.tanh(self.e(x))
        mean, scale = self.mean(h), self.scale(self.raw(h))
        z = mean + scale * torch.randn_like(scale)
        y = self.o(torch.tanh(self.d(z)))
        if self.gives_loss:
            return F.mse_loss(y, x) + (mean**2 + scale**2 - 2 * scale.log()).mean()
        return y, mean, scale


@pytest.mark.parametrize("gives_loss", [True, False])
def test_a_scale_that_is_returned_and_decoded_is_an_output(gives_loss: bool) -> None:
    model = Autoencoder(lambda raw: F.softplus(raw) + 1e-3, gives_loss=gives_loss)
    roles = {site.path: site.role for site in acs.sites(model, X)}
    assert roles == {"tanh_0": "hidden", "softplus": "output", "tanh_1": "hidden"}


def test_a_scale_whose_logarithm_the_loss_takes_is_an_output() -> None:
    model = Autoencoder(lambda raw: F.relu(raw) + 1e-2, gives_loss=True)
    roles = {site.path: site.role for site in acs.sites(model, X)}
    assert roles == {"tanh_0": "hidden", "relu": "output", "tanh_1": "hidden"}


@pytest.mark.parametrize("act", [F.relu, F.softplus])
def test_features_that_are_returned_besides_stay_hidden(act: Any) -> None:
    class Features(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a, self.b = nn.Linear(6, 8), nn.Linear(8, 2)

        def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
            h = act(self.a(x))
            return self.b(h), h

    assert [site.role for site in acs.sites(Features(), X)] == ["hidden"]


def test_one_module_at_a_hidden_place_and_at_an_output_is_said() -> None:
    class Reused(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a, self.b, self.act = nn.Linear(6, 8), nn.Linear(8, 2), nn.Sigmoid()

        def forward(self, x: Tensor) -> Tensor:
            result: Tensor = self.act(self.b(self.act(self.a(x))))
            return result

    with pytest.raises(acs.PlacementError, match="act runs both .* a module of its own for each"):
        acs.place(Reused(), "tanh", sample=X)
