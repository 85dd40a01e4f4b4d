"""A network that is trained already: does another activation pay after a short recovery?

Real data: the 1,797 images of 8 x 8 pixels that ship with scikit-learn (Alpaydin & Kaynak 1998). First a network is
trained with ReLU, as if somebody had published it. A task that is given this very module keeps its weights: each
candidate takes ReLU's place, trains three more epochs, and is compared with the network that trained as long with what
it had. The verdict says how much is pretrained, since weights that were trained with ReLU favour it:
digits_mlp.py finds better ones for the same network from scratch. Run it again: it resumes, and adds nothing.

    python studies/fine_tuning.py
"""

from __future__ import annotations

import logging
import sys
from pathlib import Path

import torch
from sklearn.datasets import load_digits
from torch import Tensor, nn
from torch.nn import functional as F

import actsearch as acs

STORAGE = f"sqlite:///{Path(__file__).with_name('actsearch.db')}"
RECOVERY = 3
"""Epochs after the swap."""


def digits() -> list[tuple[Tensor, Tensor]]:
    """Digits in three parts: 1,000 to train, 400 for the search to look at, 397 kept for the verdict."""
    images, labels = load_digits(return_X_y=True)
    order = torch.randperm(len(images), generator=torch.Generator().manual_seed(0))
    inputs = torch.tensor(images, dtype=torch.float32)[order] / 16
    targets = torch.tensor(labels)[order]
    parts = ((0, 1000), (1000, 1400), (1400, 1797))
    return [(inputs[first:last], targets[first:last]) for first, last in parts]


def pretrained(data: tuple[Tensor, Tensor], epochs: int) -> nn.Module:
    """A network trained with ReLU."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = nn.Sequential(
            nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 10)
        )
        optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
        inputs, targets = data
        for _ in range(epochs):
            for rows in torch.split(torch.randperm(len(inputs)), 64):
                optimizer.zero_grad()
                F.cross_entropy(model(inputs[rows]), targets[rows]).backward()  # type: ignore[no-untyped-call]
                optimizer.step()
    return model


def main(storage: str = STORAGE, small: bool = False) -> None:
    """Search, confirm, print the evidence; ``small`` is a quick look at whether it all runs."""
    logging.basicConfig(format="%(message)s")
    logging.getLogger("actsearch").setLevel(logging.INFO)  # says how long it will take
    # a network this small is fastest so, and its weights come out the same
    torch.set_num_threads(1)
    train, valid, test = digits()
    task = acs.Task(
        name="digits-fine-tuning",
        model=pretrained(train, 2 if small else 20),
        train=train,
        valid=valid,
        test=test,
        loss=F.cross_entropy,
        metric="accuracy",
        epochs=1 if small else RECOVERY,
        lr=3e-4,
    )
    study = acs.create_study(
        study_name="digits-fine-tuning", storage=storage, strategy="bayesian", load_if_exists=True
    )
    study.optimize(task, total_trials=4 if small else 40)
    verdict = study.confirm(task, top_k=1 if small else 3, seeds=2 if small else None)
    print(f"\n{verdict}")
    print(f"\nBrowse it:  {Path(sys.executable).with_name('actsearch')} dashboard {storage}")


if __name__ == "__main__":
    main()
