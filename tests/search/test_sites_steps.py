"""A step of the user's own is looked at as the loop runs it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, TensorDataset

import actsearch as acs
from actsearch.evaluation.task_analysis import TaskAnalysis
from actsearch.placement import ModelAnalysis, Sites, StepCall, place_analyzed

G = torch.Generator().manual_seed(1)
X = torch.randn(40, 6, generator=G)
Y = (X[:, :1] > 0).float()
BATCHES = DataLoader(TensorDataset(X, Y), 8)


def sites_of(model: Any, step: Any) -> Sites:
    task = acs.Task(
        model=model, step=step, evaluate=lambda model, batches: {"loss": 0.0}, metric="loss",
        train=BATCHES, valid=BATCHES, epochs=1,
    )  # fmt: skip
    return TaskAnalysis(task).sites()


class Detector(nn.Module):
    """Gives losses in training and predictions else, as those of torchvision do."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.norm, self.b = nn.Linear(6, 8), nn.BatchNorm1d(8), nn.Linear(8, 1)

    def forward(self, x: Tensor, y: Tensor) -> Any:
        output = self.b(F.relu(self.norm(self.a(x))))
        return {"loss": F.binary_cross_entropy_with_logits(output, y)} if self.training else output


def test_a_step_that_runs_in_training_mode_alone_is_looked_at_there() -> None:
    model = Detector()
    sites = sites_of(model, lambda model, batch: sum(model(*batch).values()))
    assert [(site.path, site.role) for site in sites] == [("relu", "hidden")]
    assert model.norm.num_batches_tracked == 0


class Parts(nn.Module):
    """Methods in the place of a forward."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = nn.Linear(6, 8), nn.Linear(8, 1)

    def encode(self, x: Tensor) -> Tensor:
        return F.relu(self.a(x))

    def decode(self, h: Tensor) -> Tensor:
        result: Tensor = self.b(h)
        return result

    def training_step(self, batch: Any) -> Tensor:
        return loss_of(self.decode(self.encode(batch[0])), batch[1])

    def both(self, batch: Any) -> Tensor:
        pair = self.encode(batch[0]) - self.encode(-batch[0])
        return loss_of(self.decode(pair), batch[1])


def loss_of(output: Tensor, y: Tensor) -> Tensor:
    return F.binary_cross_entropy_with_logits(output, y)


STEPS: dict[str, Callable[[Any, Any], Tensor]] = {
    "training_step": lambda model, batch: model.training_step(batch),
    "parts": lambda model, batch: loss_of(model.decode(model.encode(batch[0])), batch[1]),
    "both": lambda model, batch: model.both(batch),
}


@pytest.mark.parametrize("name", STEPS)
def test_methods_that_a_step_calls_are_looked_into(name: str) -> None:
    torch.manual_seed(0)
    model, step, batch = Parts(), STEPS[name], (X, Y)
    sample = StepCall(step, batch)
    sites = ModelAnalysis(model, sample).sites
    # one layer feeds both runs of encode, as in a loop
    assert [(site.path, site.role) for site in sites] == [("relu", "hidden")]
    placed = place_analyzed(ModelAnalysis(model, sample), model, "tanh").model
    with torch.no_grad():
        h = torch.tanh(model.a(X))
        if name == "both":
            h = h - torch.tanh(model.a(-X))
        assert torch.equal(step(placed, batch), loss_of(model.b(h), Y))


def test_a_function_that_the_step_calls_between_layers_is_said() -> None:
    sites = sites_of(Parts(), lambda model, b: loss_of(model.b(F.relu(model.a(b[0]))), b[1]))
    assert sites == []
    assert any("calls relu in step=" in note and "move it there" in note for note in sites.notes)


def test_what_a_step_computes_of_a_loss_is_not_said() -> None:
    sites = sites_of(Parts(), lambda model, b: F.softplus(model.decode(model.encode(b[0]))).mean())
    assert [site.path for site in sites] == ["relu"]
    assert not any("softplus" in note for note in sites.notes)


def test_a_head_whose_loss_is_not_returned_is_an_output() -> None:
    """As where a step trains one part by itself."""

    class Headed(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.one = nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 6), nn.Sigmoid())
            self.two = nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 1))

    def step(model: Any, batch: Any) -> Tensor:
        F.mse_loss(model.one(batch[0]), batch[0]).item()
        return loss_of(model.two(batch[0]), batch[1])

    roles = {site.path: site.role for site in sites_of(Headed(), step)}
    assert roles == {"one.1": "hidden", "one.3": "output", "two.1": "hidden"}
