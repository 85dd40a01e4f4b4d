"""Which activation suits a small network on handwritten digits?

Real data: the 1,797 images of 8 x 8 pixels that ship with scikit-learn (Alpaydin & Kaynak 1998). A network of two
hidden layers of 64 units; 40 trials choose from the catalog, 80 compose formulas, and the best three of each have to
prove themselves against ReLU on test data that no search has seen. Run it again: it resumes, and adds nothing to what
is there.

    python studies/digits_mlp.py
"""

from __future__ import annotations

import logging
import sys
from pathlib import Path

import torch
from sklearn.datasets import load_digits
from torch import nn
from torch.nn import functional as F

import actsearch as acs

STORAGE = f"sqlite:///{Path(__file__).with_name('actsearch.db')}"
TRIALS = {"bayesian": 40, "genetic": 80}


def make_model() -> nn.Module:
    """The user's own network; any nn.Module that holds activations as modules will do."""
    return nn.Sequential(
        nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 10)
    )  # fmt: skip


def make_task(epochs: int) -> acs.Task:
    """Digits in three parts: 1,000 to train, 400 for the search to look at, 397 kept for the verdict."""
    images, labels = load_digits(return_X_y=True)
    order = torch.randperm(len(images), generator=torch.Generator().manual_seed(0))
    inputs = torch.tensor(images, dtype=torch.float32)[order] / 16
    targets = torch.tensor(labels)[order]
    return acs.Task(
        name="digits",
        model=make_model,
        train=(inputs[:1000], targets[:1000]),
        valid=(inputs[1000:1400], targets[1000:1400]),
        test=(inputs[1400:], targets[1400:]),
        loss=F.cross_entropy,
        metric="accuracy",
        epochs=epochs,
        batch_size=64,
        lr=3e-3,
        seeds=2,
    )


def main(storage: str = STORAGE, small: bool = False) -> None:
    """Search twice, confirm twice, print the evidence; ``small`` is a quick look at whether it all runs."""
    logging.basicConfig(format="%(message)s")
    logging.getLogger("actsearch").setLevel(logging.INFO)  # says how long it will take
    torch.set_num_threads(1)  # a network this small is fastest so
    task = make_task(epochs=1 if small else 15)
    verdicts = []
    for strategy, total in TRIALS.items():
        study = acs.create_study(
            study_name=f"digits-{strategy}",
            storage=storage,
            strategy=strategy,
            load_if_exists=True,
        )
        study.optimize(task, total_trials=5 if small else total)
        print(f"{study.study_name}: {study.best_trial}, an optimistic maximum: now the proof")
        for covers in (
            "seeds",
            "seeds+rows",
        ):  # on these images alone; then for new ones like them
            verdict = study.confirm(task, top_k=3, seeds=2 if small else None, covers=covers)
            verdicts.append(verdict)
    for verdict in verdicts:
        print(f"\n{verdict}")
    print(f"\nBrowse it:  {Path(sys.executable).with_name('actsearch')} dashboard {storage}")


if __name__ == "__main__":
    main()
