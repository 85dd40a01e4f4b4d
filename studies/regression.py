"""Which activation for a regression that also says how sure it is, with few rows?

Real data: Auto MPG of mlxtend 0.25 (UCI; BSD-3), 392 cars of 1970 to 1982: cylinders, displacement, horsepower, weight,
acceleration, year and origin; asked is how many miles a gallon lasts. The network answers with a mean and a
log-variance for each car, is trained by the Gaussian likelihood, and judged by it (in nats a car, of standardised
miles: less is better). One of its answers that is wrong and sure costs much. What share of the variance the mean
explains (r2) is printed besides, on validation data and at the rate of the search, of the unchanged network and of the
best that was compared with it.

392 rows are few. The search sees three fifths of them; the verdict divides the rest in four (``splits=``), trains on
three quarters besides and tests the fourth, in turn. Cars of one model ("ford pinto" of several years) are never on
both sides, so that the claim is about new models (``groups=``). Run it again: it resumes, and adds nothing.

    python studies/regression.py
"""

from __future__ import annotations

import csv
import gzip
import logging
import sys
from pathlib import Path

import numpy as np
import torch
from setups.packages import data_file
from sklearn.model_selection import GroupKFold
from torch import Tensor, nn
from torch.nn import functional as F

import actsearch as acs

STORAGE = f"sqlite:///{Path(__file__).with_name('actsearch.db')}"
TRIALS = 60
ORIGINS = ("1", "2", "3")  # America, Europe, Japan


def make_model() -> nn.Module:
    """The user's own network; two numbers for each car, (cars, 2)."""
    return nn.Sequential(
        nn.Linear(9, 32), nn.ReLU(), nn.Dropout(0.1),
        nn.Linear(32, 32), nn.ReLU(), nn.Dropout(0.1), nn.Linear(32, 2),
    )  # fmt: skip


def likelihood(output: Tensor, miles: Tensor) -> Tensor:
    """Mean negative log likelihood of a normal distribution, with its constant."""
    mean, log_variance = output.unbind(-1)
    return F.gaussian_nll_loss(mean, miles, log_variance.exp(), full=True)


def read_cars() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Inputs (392, 9), miles a gallon (392,), and the model of each car, of which the first two words tell."""
    path = data_file("mlxtend", "mlxtend/data/data/autompg.csv.gz")
    with gzip.open(path, "rt") as file:
        rows = list(csv.reader(file))
    numbers = [[float(number) for number in row[:6]] for row in rows]
    origins = [[float(row[6] == origin) for origin in ORIGINS] for row in rows]
    names = [" ".join(row[7].split()[:2]) for row in rows]
    return (
        np.hstack([numbers, origins]),
        np.array([float(row[8]) for row in rows]),
        np.array(names),
    )


def divide() -> tuple[list[np.ndarray], np.ndarray]:
    """Rows to train, to validate and to test, two, one and two fifths by whole models; and the models."""
    names = read_cars()[2]
    fold = GroupKFold(5, shuffle=True, random_state=0)
    fifths = [rows for _, rows in fold.split(names, groups=names)]
    parts = [np.concatenate(fifths[:2]), fifths[2], np.concatenate(fifths[3:])]
    return parts, names


def make_task(small: bool = False) -> acs.Task:
    """Cars in three parts, standardised by the first."""
    inputs, miles, _ = read_cars()
    parts, _ = divide()
    known = inputs[parts[0]], miles[parts[0]]
    x = torch.tensor((inputs - known[0].mean(0)) / known[0].std(0), dtype=torch.float32)
    y = torch.tensor((miles - known[1].mean()) / known[1].std(), dtype=torch.float32)
    train, valid, test = ((x[rows], y[rows]) for rows in parts)
    return acs.Task(
        name="cars",
        model=make_model,
        train=train,
        valid=valid,
        test=test,
        loss=likelihood,
        metric="loss",
        epochs=3 if small else 60,
        batch_size=32,
        optimizer=torch.optim.AdamW,
        lr=3e-3,
        weight_decay=0.1,
        schedule="cosine",
        seeds=1 if small else 2,
    )


def explained(output: Tensor, miles: Tensor) -> float:
    """Share of the variance that the mean explains, whatever the variances say."""
    return 1 - float((output[:, 0] - miles).square().mean() / miles.var(correction=0))


def measure_r2(task: acs.Task, verdict: acs.Verdict, storage: str) -> str:
    """The same trainings once more, by r2: two trials of a study of their own."""
    best = verdict.rows[0] if verdict.winner is verdict.baseline else verdict.winner
    lr = task.lr if verdict.settings is None else verdict.settings.lr
    study = acs.create_study(
        study_name="cars-r2",
        storage=storage,
        strategy="random",
        direction="maximize",
        load_if_exists=True,
    )
    if not study.trials:
        study.enqueue_trial("baseline")
        study.enqueue_trial(best.candidate)
    study.optimize(task.replace(metric={"r2": explained}, lr=lr, tune_lr=False), total_trials=2)
    lines = [f"   r2  activation (validation data, lr {lr:g})"]
    for trial in study.trials[:2]:
        value = " none" if trial.value is None else f"{trial.value:>5.2f}"
        lines.append(f"{value}  {trial.candidate}")
    return "\n".join(lines)


def main(storage: str = STORAGE, small: bool = False) -> None:
    """Search, confirm, print the evidence; ``small`` is a quick look at whether it all runs."""
    logging.basicConfig(format="%(message)s")
    logging.getLogger("actsearch").setLevel(logging.INFO)  # says how long it will take
    torch.set_num_threads(1)  # a network this small is fastest so
    task = make_task(small)
    study = acs.create_study(
        study_name="cars", storage=storage, strategy="auto", load_if_exists=True
    )
    study.optimize(task, total_trials=4 if small else TRIALS)
    (_, _, tested), names = divide()
    verdict = study.confirm(
        task,
        top_k=1 if small else 3,
        seeds=2 if small else None,
        splits=GroupKFold(2 if small else 4, shuffle=True, random_state=0),
        groups=names[tested],
    )
    print(f"\n{verdict}\n\n{measure_r2(task, verdict, storage)}")
    print(f"\nBrowse it:  {Path(sys.executable).with_name('actsearch')} dashboard {storage}")


if __name__ == "__main__":
    main()
