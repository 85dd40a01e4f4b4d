"""What becomes of an activation twelve layers deep, and is one and the same the right one everywhere?

Real data: the 1,797 images of 8 x 8 pixels that ship with scikit-learn (Alpaydin & Kaynak 1998). A plain network of
twelve hidden layers of 32 units, without normalisation and without shortcuts. With sigmoid in all layers it learns
nothing, and the gradients that arrive at its layers say why. So a search in which the first, the middle and the last
four layers have an activation each: it starts from the best that all layers share, changes one band at a time, and then
mixes. The verdict compares what it found with ReLU, on test data that no search has seen. Run it again: it resumes,
and adds nothing to what is there.

    python studies/digits_deep_mlp.py
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
from actsearch.report import diagnostics_remarks

STORAGE = f"sqlite:///{Path(__file__).with_name('actsearch.db')}"
LAYERS = 12
USUAL = ("sigmoid", "tanh", "relu")
TRIALS = 88


def make_model() -> nn.Module:
    """Twelve layers of 32 units, as a user might write them."""
    layers: list[nn.Module] = [nn.Linear(64, 32), nn.ReLU()]
    for _ in range(LAYERS - 1):
        layers += [nn.Linear(32, 32), nn.ReLU()]
    return nn.Sequential(*layers, nn.Linear(32, 10))


def make_task(epochs: int) -> acs.Task:
    """Digits in three parts: 1,000 to train, 400 for the search to look at, 397 kept for the verdict."""
    images, labels = load_digits(return_X_y=True)
    order = torch.randperm(len(images), generator=torch.Generator().manual_seed(0))
    inputs = torch.tensor(images, dtype=torch.float32)[order] / 16
    targets = torch.tensor(labels)[order]
    return acs.Task(
        name="digits-deep",
        model=make_model,
        train=(inputs[:1000], targets[:1000]),
        valid=(inputs[1000:1400], targets[1000:1400]),
        test=(inputs[1400:], targets[1400:]),
        loss=F.cross_entropy,
        metric="accuracy",
        epochs=epochs,
        batch_size=64,
        lr=1e-3,
    )


def search(task: acs.Task, storage: str, trials: int) -> acs.Study:
    """The search, by thirds of the depth; then those of the usual activations that it has not tried."""
    study = acs.create_study(
        study_name="digits-deep-bands",
        storage=storage,
        strategy="bayesian",
        space=acs.Space(sites="per_depth", depth_bands=3),
        load_if_exists=True,
    )
    study.optimize(task, total_trials=trials)
    tried = {str(trial.candidate) for trial in study.trials}
    for name in USUAL:
        if name not in tried:
            study.enqueue_trial(name)
    if waiting := sum(trial.state is acs.TrialState.WAITING for trial in study.trials):
        study.optimize(task, n_trials=waiting)
    return study


def table(study: acs.Study) -> str:
    """The usual activations, the best that all layers share, and the best of all, by validation accuracy."""
    complete = [trial for trial in study.trials if trial.state is acs.TrialState.COMPLETE]
    shared = [trial for trial in complete if len(trial.candidate.record.activations) == 1]
    best_shared = max(shared, key=lambda trial: trial.value or 0.0)
    lines = ["accuracy  activation, in twelve layers (validation data)"]
    for words, trial in (
        *(("", trial) for trial in study.trials if str(trial.candidate) in USUAL),
        ("best shared: ", best_shared),
        ("best of all: ", study.best_trial),
    ):
        value = "diverged" if trial.value is None else f"{trial.value:.4f}"
        lines.append(f"{value:>8}  {words}{trial.candidate}")
    return "\n".join(lines)


def inside(study: acs.Study) -> str:
    """How much of the loss's gradient arrives at which layer, before the first step and after the last."""
    lines = [
        "norm of the gradient that arrives at layer",
        "       ".join(["", *(f"{layer:>2}" for layer in (1, 4, 8, 12)), " activation"]),
    ]
    mixes = [
        trial
        for trial in study.trials
        if trial.state is acs.TrialState.COMPLETE and len(trial.candidate.record.activations) > 1
    ]
    chosen = {trial.number: trial for trial in study.trials if str(trial.candidate) in USUAL}
    chosen[study.best_trial.number] = study.best_trial
    if mixes:
        best = max(mixes, key=lambda trial: trial.value or 0.0)
        chosen[best.number] = best
    for trial in chosen.values():
        if (diagnostics := trial.diagnostics) is None:
            continue
        for stage, sites in (("start", diagnostics.start), ("end", diagnostics.end)):
            norms = [site.gradient_norm for site in sites]
            shown = "".join(f"{norms[layer - 1] or 0.0:9.1e}" for layer in (1, 4, 8, 12) if norms)
            lines.append(f"{shown}  {trial.candidate}, {stage}")
        lines += [f"{'':38}{remark}" for remark in diagnostics_remarks(diagnostics)]
    return "\n".join(lines)


def main(storage: str = STORAGE, small: bool = False) -> None:
    """Search, confirm, print the evidence; ``small`` is a quick look at whether it all runs."""
    logging.basicConfig(format="%(message)s")
    logging.getLogger("actsearch").setLevel(logging.INFO)  # says how long it will take
    torch.set_num_threads(1)  # a network this small is fastest so
    task = make_task(epochs=1 if small else 15)
    study = search(task, storage, 6 if small else TRIALS)
    verdict = study.confirm(task, top_k=1 if small else 3, seeds=2 if small else None)
    print(f"\n{table(study)}\n\n{inside(study)}\n\n{verdict}")
    print(f"\nBrowse it:  {Path(sys.executable).with_name('actsearch')} dashboard {storage}")


if __name__ == "__main__":
    main()
