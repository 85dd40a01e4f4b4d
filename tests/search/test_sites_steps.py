"""A step of the user's own is looked at as the loop runs it."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, TensorDataset

import actsearch as acs
from actsearch.evaluation.task_analysis import TaskAnalysis
from actsearch.placement import Sites

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
