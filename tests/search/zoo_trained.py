"""Models as Lightning and skorch hold them; to be imported where both are installed."""

from __future__ import annotations

from typing import Any

import lightning
import torch
from skorch import NeuralNetRegressor
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, TensorDataset

__all__ = ["Regression", "fit_by_lightning", "fit_by_skorch", "held_by_skorch"]


class Regression(lightning.LightningModule):  # type: ignore[misc]
    """With an activation in a submodule, one that its forward calls, and one in a method that only training calls."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Linear(8, 16), nn.BatchNorm1d(16), nn.GELU(approximate="tanh")
        )
        self.neck, self.head = nn.Linear(16, 8), nn.Linear(8, 4)

    def forward(self, x: Tensor) -> Any:
        return self.head(F.elu(self.neck(self.body(x))))

    def training_step(self, batch: tuple[Tensor, Tensor], index: int) -> Any:
        return F.softplus((self(batch[0]) - batch[1]).square()).mean()

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=0.1)


class Net(nn.Module):
    """What skorch is given."""

    def __init__(self, units: int = 16) -> None:
        super().__init__()
        self.one, self.two = nn.Linear(8, units), nn.Linear(units, 4)
        self.act, self.drop = nn.SiLU(), nn.Dropout(0.2)

    def forward(self, x: Tensor) -> Any:
        return self.two(self.drop(self.act(self.one(x)))).tanh()


def _net(module: Any, **settings: Any) -> Any:
    net = NeuralNetRegressor(module, max_epochs=1, lr=0.1, train_split=None, verbose=0, **settings)
    return net.initialize()


def held_by_skorch() -> nn.Module:
    module = _net(Net, module__units=12).module_
    assert isinstance(module, nn.Module)
    return module


def fit_by_skorch(model: nn.Module, x: Tensor, y: Tensor) -> nn.Module:
    module = _net(model).fit(x.numpy(), y.numpy()).module_
    assert isinstance(module, nn.Module)
    return module


def fit_by_lightning(model: nn.Module, x: Tensor, y: Tensor) -> nn.Module:
    trainer = lightning.Trainer(
        accelerator="cpu",
        max_epochs=1,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        barebones=False,
    )
    trainer.fit(model, DataLoader(TensorDataset(x, y), batch_size=len(x)))
    return model
