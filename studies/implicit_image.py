"""Which activation lets a small network hold a picture: from coordinates to grey values?

Real data: a part of `china.jpg`, one of the two photographs that ship with scikit-learn (BSD-3), in grey, made smaller
to 64 x 64 pixels. The network is given every second pixel, as on a chessboard, and is measured by the peak
signal-to-noise ratio (PSNR, in dB) on the others: half of these are for the search to look at, half for the verdict. So
it is not enough to learn pixels by heart. Three layers of 64 ReLUs draw a blurred picture, as ReLU networks learn low
frequencies first. SIREN (Sitzmann et al. 2020) has sine units, with sin(30 x) in the first layer. So the first layer is
a group of its own here: 56 trials give both groups one function, then change one of them, then mix. SIREN is one of the
first. Run it again: it resumes, and adds nothing to what is there.

    python studies/implicit_image.py
"""

from __future__ import annotations

import logging
import sys
from pathlib import Path

import torch
from sklearn.datasets import load_sample_image
from torch import Tensor, nn
from torch.nn import functional as F

import actsearch as acs

STORAGE = f"sqlite:///{Path(__file__).with_name('actsearch.db')}"
TRIALS = 56
SIDE = 64
GROUPS = {"1": "first layer", "3": "others", "5": "others"}
"""Sites of the model by name, and the group that each belongs to."""
SIREN = {"1": "sin(21.2 * x)", "3": "sin(2.45 * x)", "5": "sin(2.45 * x)"}
"""SIREN's sin(30 x), for weights as torch draws them: sqrt(2) times SIREN's in the first layer, then 12.2 times."""


def make_model() -> nn.Module:
    """From a place in the picture, both coordinates from -1 to 1, to its grey value."""
    return nn.Sequential(
        nn.Linear(2, 64), nn.ReLU(), nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 64), nn.ReLU(),
        nn.Linear(64, 1),
    )  # fmt: skip


def picture() -> tuple[Tensor, Tensor]:
    """Places (4096, 2) and grey values from 0 to 1 (4096, 1): roofs and sky, means of 6 x 6 pixels."""
    grey = load_sample_image("china.jpg").mean(-1)[20:404, 200:584]
    small = torch.tensor(grey.reshape(SIDE, 6, SIDE, 6).mean((1, 3)), dtype=torch.float32)
    small = (small - small.min()) / (small.max() - small.min())
    axis = torch.linspace(-1, 1, SIDE)
    places = torch.stack(torch.meshgrid(axis, axis, indexing="ij"), -1)
    return places.reshape(-1, 2), small.reshape(-1, 1)


def make_task(small: bool = False) -> acs.Task:
    """Every second pixel to train; of the others, by chance, half to look at and half for the verdict."""
    places, grey = picture()
    row, column = torch.meshgrid(torch.arange(SIDE), torch.arange(SIDE), indexing="ij")
    given = ((row + column) % 2 == 0).reshape(-1)
    hidden = (~given).nonzero()[:, 0]
    hidden = hidden[torch.randperm(len(hidden), generator=torch.Generator().manual_seed(0))]
    valid, test = hidden.chunk(2)
    return acs.Task(
        name="implicit-image",
        model=make_model,
        train=(places[given], grey[given]),
        valid=(places[valid], grey[valid]),
        test=(places[test], grey[test]),
        loss=F.mse_loss,
        metric="psnr",
        steps=20 if small else 600,
        batch_size=256,
        lr=9e-3,
        schedule="cosine",
    )


def search(task: acs.Task, storage: str, trials: int) -> acs.Study:
    """One function for all layers first; then the first layer has its own."""
    study = acs.create_study(
        study_name="implicit-image",
        storage=storage,
        strategy="bayesian",
        space=acs.Space(sites=GROUPS),
        load_if_exists=True,
    )
    if not study.trials:
        study.enqueue_trial("baseline")
        study.enqueue_trial(SIREN)
    study.optimize(task, total_trials=trials)
    return study


def is_shared(trial: acs.Trial) -> bool:
    """Whether all sites have one function."""
    return len({each.formula for each in trial.candidate.record.activations.values()}) == 1


def is_siren(trial: acs.Trial) -> bool:
    """Whether it is SIREN, which others may come to besides."""
    found = trial.candidate.record.activations
    return {key: item.formula for key, item in found.items()} == {
        key: item.formula for key, item in acs.Candidate.of(SIREN).record.activations.items()
    }


def table(study: acs.Study) -> str:
    """The unchanged model, SIREN, the best function that all layers share, and the best of all, on validation data."""
    complete = [trial for trial in study.trials if trial.state is acs.TrialState.COMPLETE]
    shared = max(filter(is_shared, complete), key=lambda trial: trial.value or 0.0)
    lines = ["   PSNR  activation (validation data)"]
    rows = [
        *(("ReLU: ", trial) for trial in complete if trial.candidate.record.is_baseline),
        *(("SIREN: ", trial) for trial in complete if is_siren(trial)),
        ("best shared: ", shared),
        ("best of all: ", study.best_trial),
    ]
    for words, trial in rows:
        lines.append(f"{trial.value:>7.2f}  {words}{trial.candidate}")
    return "\n".join(lines)


def main(storage: str = STORAGE, small: bool = False) -> None:
    """Search, confirm, print the evidence; ``small`` is a quick look at whether it all runs."""
    logging.basicConfig(format="%(message)s")
    logging.getLogger("actsearch").setLevel(logging.INFO)  # says how long it will take
    torch.set_num_threads(1)  # a network this small is fastest so
    task = make_task(small)
    study = search(task, storage, 5 if small else TRIALS)
    verdict = study.confirm(  # of this picture: it has no other pixels
        task, top_k=1 if small else 3, seeds=2 if small else None, covers="seeds"
    )
    print(f"\n{table(study)}\n\n{verdict}")
    print(f"\nBrowse it:  {Path(sys.executable).with_name('actsearch')} dashboard {storage}")


if __name__ == "__main__":
    main()
