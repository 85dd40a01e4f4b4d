"""Which activation suits a LightningModule that is there already?

Needs Lightning:

    pip install "lightning==2.6.6"
    python studies/lightning_module.py

The module and its Trainer stay as they are. The objective builds the module under the seed it is given, puts the
candidate into it, and lets Lightning train it; a callback tells the score of each epoch, and ends what a pruner gives
up. Data: scikit-learn's digits, as in digits_mlp.py.
"""

from __future__ import annotations

import logging
import sys
import warnings
from pathlib import Path
from typing import Any

import lightning
import torch
from sklearn.datasets import load_digits
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, Subset, TensorDataset

import actsearch as acs

STORAGE = f"sqlite:///{Path(__file__).with_name('actsearch.db')}"


class Digits(lightning.LightningModule):  # type: ignore[misc]
    """The user's own module: hidden layers, loss, metric and optimiser."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 10)
        )  # fmt: skip

    def forward(self, images: Tensor) -> Tensor:
        """Scores, (batch, 10)."""
        scores: Tensor = self.body(images)
        return scores

    def training_step(self, batch: tuple[Tensor, Tensor], index: int) -> Tensor:
        """Cross-entropy of a batch."""
        return F.cross_entropy(self(batch[0]), batch[1])

    def validation_step(self, batch: tuple[Tensor, Tensor], index: int) -> None:
        """Accuracy of a batch; Lightning averages over batches."""
        self.log("accuracy", (self(batch[0]).argmax(1) == batch[1]).float().mean())

    test_step = validation_step

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """Adam."""
        return torch.optim.Adam(self.parameters(), lr=3e-3)


class Report(lightning.Callback):  # type: ignore[misc]
    """Tells the run the accuracy after each epoch."""

    def __init__(self, run: acs.Run) -> None:
        self.run = run

    def on_validation_epoch_end(self, trainer: Any, module: Any) -> None:
        """Called by Lightning; the check before the first epoch is none."""
        if trainer.sanity_checking:
            return
        self.run.report(trainer.current_epoch + 1, float(trainer.callback_metrics["accuracy"]))
        if self.run.should_prune():
            raise acs.TrialPruned(f"after epoch {trainer.current_epoch + 1}")


def make_loaders(seed: int) -> dict[str, Any]:
    """Digits in three parts: 1,000 to train, 400 for the search to look at, 397 kept for the verdict."""
    images, labels = load_digits(return_X_y=True)
    order = torch.randperm(len(images), generator=torch.Generator().manual_seed(0))
    data = TensorDataset(
        torch.tensor(images, dtype=torch.float32)[order] / 16, torch.tensor(labels)[order]
    )
    order_of_batches = torch.Generator().manual_seed(seed)
    train, valid, test = (
        Subset(data, range(*ends)) for ends in ((0, 1000), (1000, 1400), (1400, len(data)))
    )
    return {
        "train": DataLoader(train, batch_size=64, shuffle=True, generator=order_of_batches),
        "valid": DataLoader(valid, batch_size=len(valid)),
        "test": DataLoader(test, batch_size=len(test)),
    }


class Objective:
    """Trains the module with a candidate in it; the score of a search is that of validation data."""

    def __init__(self, epochs: int) -> None:
        self.epochs = epochs

    def __call__(self, candidate: acs.Candidate, run: acs.Run) -> dict[str, float]:
        """The accuracy after the last epoch, by its name."""
        lightning.seed_everything(run.seed, verbose=False)
        loaders = make_loaders(run.seed)
        module = candidate.place(Digits(), sample=next(iter(loaders["valid"]))[0]).model
        trainer = lightning.Trainer(
            max_epochs=self.epochs,
            accelerator="cpu",
            callbacks=[Report(run)],
            logger=False,
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
        )
        trainer.fit(module, loaders["train"], loaders["valid"])
        if run.phase == "confirm":
            trainer.test(module, loaders["test"], verbose=False)
        return {"accuracy": float(trainer.callback_metrics["accuracy"])}


def quiet() -> None:
    """Lightning's own advice, on workers and the like, once for every trial is too much."""
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    warnings.filterwarnings("ignore", module="lightning.*")


def main(storage: str = STORAGE, small: bool = False) -> None:
    """Search, confirm, print the evidence; ``small`` is a quick look at whether it all runs."""
    quiet()
    torch.set_num_threads(1)  # a network this small is fastest so
    objective = Objective(epochs=1 if small else 15)
    study = acs.create_study(
        study_name="digits-lightning",
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
