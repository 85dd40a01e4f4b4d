"""What each strategy finds with equal numbers of trainings, by the test data of fresh networks.

Run ``python tests/benchmarks/strategies.py``. For each task, strategy and search seed: a search of so many trainings (a
pass of shape learning counts as many as it was as long as, and a trial that is pruned as the part of one that it
was), one training a trial, none pruned but with "auto+halving". Its best trial by validation data is
trained under fresh seeds, which are the same for all, and scored on test data, as is the model unchanged. Printed is
the gain over the model unchanged, the mean over search seeds with its standard deviation, and each search's own.

    python tests/benchmarks/strategies.py mlp diabetes --trainings 24 --searches 5
"""

from __future__ import annotations

import argparse
import logging
import math
import statistics
import sys
import time
from collections.abc import Callable

import torch
from sklearn.datasets import load_diabetes, load_digits
from torch import Tensor, nn
from torch.nn import functional as F

import actsearch as acs
from actsearch.evaluation import Request, make_subject
from actsearch.records import CandidateRecord
from actsearch.seeds import seed_list
from actsearch.strategies import STRATEGIES, Strategy

FRESH = 8
"""Networks under fresh seeds, for each winner."""

Parts = tuple[tuple[Tensor, Tensor], tuple[Tensor, Tensor], tuple[Tensor, Tensor]]


def digits(rows: int = 1000) -> Parts:
    """Training, validation and test data; pixels from 0 to 1."""
    images, labels = load_digits(return_X_y=True)
    order = torch.randperm(len(images), generator=torch.Generator().manual_seed(0))
    x = torch.tensor(images, dtype=torch.float32)[order] / 16
    y = torch.tensor(labels)[order]
    return (x[:rows], y[:rows]), (x[1000:1400], y[1000:1400]), (x[1400:], y[1400:])


def classify(model: Callable[[], nn.Module], epochs: int, lr: float) -> acs.Task:
    """The digits with a model."""
    train, valid, test = digits()
    return acs.Task(
        model=model, train=train, valid=valid, test=test, loss=F.cross_entropy, metric="accuracy",
        epochs=epochs, batch_size=64, lr=lr, tune_lr=False, device="cpu",
    )  # fmt: skip


def mlp() -> nn.Module:
    """64-64-64-10."""
    return nn.Sequential(
        nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 10)
    )


def cnn() -> nn.Module:
    """Two convolutions of 8 and 16 channels."""
    return nn.Sequential(
        nn.Unflatten(1, (1, 8, 8)), nn.Conv2d(1, 8, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2),
        nn.Conv2d(8, 16, 3, padding=1), nn.ReLU(), nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(64, 10),
    )  # fmt: skip


def regression(x: Tensor, y: Tensor, width: int, epochs: int, lr: float) -> acs.Task:
    """Three fifths to train on, one to choose, one to test; the score is the mean squared error."""
    a, b = len(x) * 3 // 5, len(x) * 4 // 5

    def model() -> nn.Module:
        return nn.Sequential(
            nn.Linear(x.shape[1], width), nn.ReLU(), nn.Linear(width, width), nn.ReLU(), nn.Linear(width, 1)
        )  # fmt: skip

    return acs.Task(
        model=model, train=(x[:a], y[:a]), valid=(x[a:b], y[a:b]), test=(x[b:], y[b:]), loss=F.mse_loss,
        metric="mse", epochs=epochs, batch_size=32, lr=lr, tune_lr=False, device="cpu",
    )  # fmt: skip


def diabetes() -> acs.Task:
    """442 patients, 10 numbers each."""
    inputs, targets = load_diabetes(return_X_y=True)
    order = torch.randperm(len(inputs), generator=torch.Generator().manual_seed(0))
    x = torch.tensor(inputs, dtype=torch.float32)[order] * len(inputs) ** 0.5
    y = torch.tensor(targets, dtype=torch.float32)[order].unsqueeze(1)
    return regression(x, (y - y.mean()) / y.std(), 32, 40, 3e-3)


def waves() -> acs.Task:
    """A sum of sines of two projections of five numbers, with noise."""
    generator = torch.Generator().manual_seed(5)
    x = torch.randn(800, 5, generator=generator)
    a, b = torch.randn(2, 5, generator=generator)
    y = torch.sin(1.5 * (x @ a)) + torch.sin(x @ b) + 0.1 * torch.randn(800, generator=generator)
    return regression(x, y.unsqueeze(1), 32, 40, 3e-3)


TASKS: dict[str, Callable[[], acs.Task]] = {
    "mlp": lambda: classify(mlp, 20, 3e-3),
    "cnn": lambda: classify(cnn, 15, 3e-3),
    "diabetes": diabetes,
    "waves": waves,
}


CHOSEN: dict[str, Callable[[], Strategy]] = {
    **STRATEGIES,
    "auto+shapes": lambda: acs.Auto(shapes=1),
    "auto+halving": acs.Auto,
}


def search(
    task: acs.Task, strategy: Strategy, seed: int, trainings: int, *, halving: bool = False
) -> acs.Trial:
    """The best trial of a search of so many trainings, the model unchanged aside."""
    study = acs.create_study(
        study_name="s", strategy=strategy, seed=seed, pruner="auto" if halving else None
    )

    def stop(study: acs.Study, trial: acs.Trial) -> None:
        if count_trainings(study) >= trainings:
            study.stop()

    # passes count more than one: after each trial it is asked whether these were enough
    one_by_one = acs.Local(1) if strategy.learns_shapes or halving else None
    study.optimize(
        task,
        n_trials=trainings * (10 if halving else 1) + 1,
        callbacks=(stop,),
        executor=one_by_one,
        show_progress_bar=False,
    )
    sign = 1 if study.direction == "maximize" else -1
    complete = [trial for trial in study.trials if trial.state is acs.TrialState.COMPLETE]
    return max(complete, key=lambda trial: (sign * (trial.value or 0.0), -trial.number))


def count_trainings(study: acs.Study) -> int:
    """What a study's trials took."""
    trained = [t for t in study.trials if t.state.is_trained and not t.is_baseline]
    return math.ceil(sum(float(t.user_attrs.get("trainings", 1)) for t in trained))


def score(task: acs.Task, record: CandidateRecord) -> float:
    """Mean on test data over fresh networks; NaN where one diverged."""
    seeds = tuple(seed_list(99, "benchmark", FRESH))
    (outcome,) = make_subject(task).train([Request(record, seeds, split="test")])
    return math.nan if outcome.value is None else outcome.value


def main() -> None:
    """Every strategy on every task."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("tasks", nargs="*", default=[])
    parser.add_argument("--trainings", type=int, default=24)
    parser.add_argument("--searches", type=int, default=5)
    parser.add_argument("--strategies", nargs="+", default=list(CHOSEN), choices=CHOSEN)
    arguments = parser.parse_args()
    logging.getLogger("actsearch").setLevel(logging.ERROR)
    torch.set_num_threads(1)
    for name in arguments.tasks or TASKS:
        task = TASKS[name]()
        own = score(task, CandidateRecord.baseline())
        print(f"{name}: the model unchanged {own:.4f} ({task.metric}, test data, {FRESH} seeds)")
        sign = 1 if task.metric == "accuracy" else -1
        for strategy in arguments.strategies:
            started, gains, labels = time.perf_counter(), [], []
            for seed in range(arguments.searches):
                best = search(
                    task,
                    CHOSEN[strategy](),
                    seed,
                    arguments.trainings,
                    halving="halving" in strategy,
                )
                gains.append(sign * (score(task, best.record.candidate) - own))
                labels.append(best.record.candidate.label)
            spread = statistics.stdev(gains) if len(gains) > 1 else math.nan
            each = " ".join(f"{gain:+.4f}" for gain in gains)
            seconds = time.perf_counter() - started
            print(
                f"  {strategy:<11} {statistics.fmean(gains):+.4f} sd {spread:.4f}  ({each})  {seconds:.0f} s"
            )
            print(f"            {'; '.join(labels)}", file=sys.stderr)


if __name__ == "__main__":
    main()
