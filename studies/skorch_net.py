"""Which activation suits a skorch net that is there already?

Needs skorch:

    pip install "skorch==1.4.0"
    python studies/skorch_net.py

The net and its settings stay as they are. skorch builds a net's module itself, from a class or any other callable: the
objective hands it one that puts the candidate into the module. A callback tells the score of each epoch, and ends what
a pruner gives up. Data: scikit-learn's digits, as in digits_mlp.py.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import torch
from sklearn.datasets import load_digits
from skorch import NeuralNetClassifier
from skorch.callbacks import Callback
from skorch.dataset import Dataset
from skorch.helper import predefined_split
from torch import nn

import actsearch as acs

STORAGE = f"sqlite:///{Path(__file__).with_name('actsearch.db')}"


class Digits(nn.Module):
    """The user's own network; skorch builds it from its class and the ``module__`` settings."""

    def __init__(self, units: int = 32) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Linear(64, units), nn.ReLU(), nn.Linear(units, units), nn.ReLU(), nn.Linear(units, 10)
        )  # fmt: skip

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Scores, (batch, 10)."""
        scores: torch.Tensor = self.body(images)
        return scores


def make_net(epochs: int, valid: Dataset) -> NeuralNetClassifier:
    """The user's own net, not initialised yet."""
    return NeuralNetClassifier(
        Digits,
        module__units=64,
        criterion=nn.CrossEntropyLoss,
        optimizer=torch.optim.Adam,
        lr=3e-3,
        max_epochs=epochs,
        batch_size=64,
        iterator_train__shuffle=True,
        train_split=predefined_split(valid),
        verbose=0,
    )


class Report(Callback):  # type: ignore[misc]
    """Tells the run the accuracy after each epoch."""

    def __init__(self, run: acs.Run) -> None:
        self.run = run

    def on_epoch_end(self, net: Any, **kwargs: Any) -> None:
        """Called by skorch, after its own callbacks have scored the epoch."""
        epoch = net.history[-1]
        self.run.report(epoch["epoch"], epoch["valid_acc"])
        if self.run.should_prune():
            raise acs.TrialPruned(f"after epoch {epoch['epoch']}")


def make_data() -> dict[str, tuple[Any, Any]]:
    """Digits in three parts: 1,000 to train, 400 for the search to look at, 397 kept for the verdict."""
    images, labels = load_digits(return_X_y=True)
    order = np.random.default_rng(0).permutation(len(images))
    inputs, targets = (images[order] / 16).astype(np.float32), labels[order]
    parts = {"train": slice(1000), "valid": slice(1000, 1400), "test": slice(1400, None)}
    return {name: (inputs[rows], targets[rows]) for name, rows in parts.items()}


class Objective:
    """Trains the net with a candidate in its module; the score of a search is that of validation data."""

    def __init__(self, epochs: int) -> None:
        self.epochs = epochs
        self.data = make_data()

    def __call__(self, candidate: acs.Candidate, run: acs.Run) -> dict[str, float]:
        """The accuracy after the last epoch, by its name."""
        net = make_net(self.epochs, Dataset(*self.data["valid"]))
        build = net.module
        sample = torch.from_numpy(self.data["train"][0][:2])

        def build_with_candidate(**settings: Any) -> nn.Module:
            return candidate.place(build(**settings), sample=sample).model

        net.set_params(module=build_with_candidate, callbacks=[Report(run)])
        torch.manual_seed(run.seed)
        net.fit(*self.data["train"])
        scored = self.data["test" if run.phase == "confirm" else "valid"]
        return {"accuracy": float(net.score(*scored))}


def main(storage: str = STORAGE, small: bool = False) -> None:
    """Search, confirm, print the evidence; ``small`` is a quick look at whether it all runs."""
    torch.set_num_threads(1)  # a network this small is fastest so
    objective = Objective(epochs=1 if small else 15)
    study = acs.create_study(
        study_name="digits-skorch",
        storage=storage,
        strategy="bayesian",
        direction="maximize",
        load_if_exists=True,
    )
    study.optimize(objective, total_trials=3 if small else 30)
    print(f"{study.study_name}: {study.best_trial}, an optimistic maximum: now the proof")
    print(f"\n{study.confirm(objective, top_k=1 if small else 3, seeds=2 if small else None)}")
    print(f"\nBrowse it:  {Path(sys.executable).with_name('actsearch')} dashboard {storage}")


if __name__ == "__main__":
    main()
