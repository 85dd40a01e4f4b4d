"""Which activation where in a convolutional network, when the fast one is wanted as well as the accurate one?

Real data: the 1,797 images of 8 x 8 pixels that ship with scikit-learn (Alpaydin & Kaynak 1998). Two convolutions with
batch normalisation and a layer before the readout: three places for an activation. Each has its own, and two things
are measured: accuracy on validation data, and the time of the activations, forward and backward, as a multiple of
ReLU's at the same shapes. No single best comes out but a front: what is faster than its members is less accurate. The
verdict then says which of these are more accurate than ReLU on test data, so that the price has something to be
compared with. Run it again: it resumes, and adds nothing to what is there.

    python studies/digits_cnn.py
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
TRIALS = 64


def make_model() -> nn.Module:
    """A small convolutional network, as a user might write it."""
    return nn.Sequential(
        nn.Conv2d(1, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU(), nn.MaxPool2d(2),
        nn.Conv2d(8, 16, 3, padding=1), nn.BatchNorm2d(16), nn.ReLU(), nn.MaxPool2d(2),
        nn.Flatten(), nn.Linear(64, 32), nn.ReLU(), nn.Linear(32, 10),
    )  # fmt: skip


def make_task(epochs: int) -> acs.Task:
    """Digits in three parts: 1,000 to train, 400 for the search to look at, 397 kept for the verdict."""
    images, labels = load_digits(return_X_y=True)
    order = torch.randperm(len(images), generator=torch.Generator().manual_seed(0))
    inputs = (torch.tensor(images, dtype=torch.float32)[order] / 16).reshape(-1, 1, 8, 8)
    targets = torch.tensor(labels)[order]
    return acs.Task(
        name="digits-cnn",
        model=make_model,
        train=(inputs[:1000], targets[:1000]),
        valid=(inputs[1000:1400], targets[1000:1400]),
        test=(inputs[1400:], targets[1400:]),
        loss=F.cross_entropy,
        metric="accuracy",
        objectives=("accuracy", "latency"),
        epochs=epochs,
        batch_size=64,
        lr=1e-3,
    )


def search(task: acs.Task, storage: str, trials: int) -> acs.Study:
    """An activation for each site, after those that all sites share."""
    study = acs.create_study(
        study_name="digits-cnn-sites",
        storage=storage,
        strategy="bayesian",
        directions=("maximize", "minimize"),
        space=acs.Space(sites="per_site"),
        load_if_exists=True,
    )
    study.optimize(task, total_trials=trials)
    return study


def front(study: acs.Study) -> str:
    """The Pareto front, fastest first, with ReLU for comparison."""
    lines = ["accuracy  latency  activations (validation data; latency in multiples of ReLU's)"]
    relu = next((trial for trial in study.trials if str(trial.candidate) == "relu"), None)
    members = sorted(study.best_trials, key=lambda trial: trial.values[1] or 0.0)
    for words, trial in [("", trial) for trial in members] + [("to compare: ", relu)]:
        if trial is not None and trial.values and None not in trial.values:
            accuracy, latency = trial.values
            lines.append(f"{accuracy:>8.4f}  {latency:>7.2f}  {words}{trial.candidate}")
    return "\n".join(lines)


def main(storage: str = STORAGE, small: bool = False) -> None:
    """Search, confirm, print the evidence; ``small`` is a quick look at whether it all runs."""
    logging.basicConfig(format="%(message)s")
    logging.getLogger("actsearch").setLevel(logging.INFO)  # says how long it will take
    task = make_task(epochs=1 if small else 10)
    study = search(task, storage, 4 if small else TRIALS)
    verdict = study.confirm(task, top_k=1 if small else 4, seeds=2 if small else None)
    print(f"\n{front(study)}\n\n{verdict}")
    print(f"\nBrowse it:  {Path(sys.executable).with_name('actsearch')} dashboard {storage}")


if __name__ == "__main__":
    main()
