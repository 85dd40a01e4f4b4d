"""How often verdicts of real trainings tell apart what is the same.

Run ``python tests/benchmarks/verdict_nulls.py``. Between symmetrically initialised layers ReLU and its mirror image
min(x, 0) train alike: whatever a verdict says of them but "not distinguishable" is false. For each data set ten
studies under seeds of their own: one trial, of the mirror image, and ``study.confirm`` as it is.

Printed are the words, and of each data set the trainings a verdict took in the median and the smallest p.

    python tests/benchmarks/verdict_nulls.py --covers seeds
    python tests/benchmarks/verdict_nulls.py digits diabetes --splits 5
"""

from __future__ import annotations

import argparse
import collections
import logging
import statistics
from collections.abc import Callable
from typing import Any

import torch
from sklearn.datasets import load_breast_cancer, load_diabetes, load_digits
from torch import Tensor, nn
from torch.nn import functional as F

import actsearch as acs

Pair = tuple[Tensor, Tensor]

MIRROR = "min(x, 0)"


def shuffled(inputs: Any, targets: Any) -> Pair:
    """Rows in an order of chance, with inputs of mean 0 and deviation 1."""
    x = torch.as_tensor(inputs, dtype=torch.float32)
    order = torch.randperm(len(x), generator=torch.Generator().manual_seed(0))
    x = (x - x.mean(0)) / x.std(0).clamp(min=1e-3)
    return x[order], torch.as_tensor(targets)[order]


def classify(load: Callable[..., Any], classes: int, epochs: int) -> acs.Task:
    """Labels by two hidden layers of 32."""
    x, y = shuffled(*load(return_X_y=True))
    return make(x, y.long(), classes, loss=F.cross_entropy, metric="accuracy", epochs=epochs)


def regress(inputs: Any, targets: Any, *, epochs: int) -> acs.Task:
    """A number by two hidden layers of 32."""
    x, y = shuffled(inputs, targets)
    y = y.float().reshape(-1, 1)
    return make(x, (y - y.mean()) / y.std(), 1, loss=F.mse_loss, metric="mse", epochs=epochs)


def make(x: Tensor, y: Tensor, out: int, **settings: Any) -> acs.Task:
    """Three eighths to train on, one eighth to choose rates by, half to test."""
    a, b = len(x) * 3 // 8, len(x) // 2

    def model() -> nn.Module:
        layers = (
            nn.Linear(x.shape[1], 32),
            nn.ReLU(),
            nn.Linear(32, 32),
            nn.ReLU(),
            nn.Linear(32, out),
        )
        return nn.Sequential(*layers)

    return acs.Task(
        model=model, train=(x[:a], y[:a]), valid=(x[a:b], y[a:b]), test=(x[b:], y[b:]), batch_size=32, lr=3e-3,
        tune_lr=False, diagnostics=False, device="cpu", **settings,
    )  # fmt: skip


def waves() -> acs.Task:
    """Sines of two projections, with noise."""
    generator = torch.Generator().manual_seed(5)
    x = torch.randn(800, 5, generator=generator)
    a, b = torch.randn(2, 5, generator=generator)
    noise = 0.1 * torch.randn(800, generator=generator)
    y = torch.sin(1.5 * (x @ a)) + torch.sin(x @ b)
    return regress(x, y + noise, epochs=20)


DATA: dict[str, Callable[[], acs.Task]] = {
    "digits": lambda: classify(load_digits, 10, 10),
    "breast_cancer": lambda: classify(load_breast_cancer, 2, 10),
    "diabetes": lambda: regress(*load_diabetes(return_X_y=True), epochs=20),
    "waves": waves,
}


def main() -> None:
    """Make the verdicts."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data", nargs="*", default=list(DATA))
    parser.add_argument("--studies", type=int, default=10)
    parser.add_argument("--covers", choices=("seeds", "seeds+rows"), default="seeds+rows")
    parser.add_argument("--splits", type=int)
    given = parser.parse_args()
    torch.set_num_threads(1)
    logging.getLogger("actsearch").setLevel(logging.ERROR)
    every: collections.Counter[str] = collections.Counter()
    for name in given.data:
        task = DATA[name]()
        words: collections.Counter[str] = collections.Counter()
        trainings, least = [], 1.0
        for seed in range(given.studies):
            study = acs.create_study(study_name=f"{name} {seed}", seed=seed)
            study.enqueue_trial(MIRROR)
            study.optimize(task, n_trials=2, show_progress_bar=False)
            verdict = study.confirm(
                task, top_k=1, covers=given.covers, splits=given.splits, show_progress_bar=False
            )
            row = next(row for row in verdict.rows if row.formula == MIRROR)
            words[row.verdict] += 1
            trainings.append(verdict.trainings)
            least = min(least, row.p_value)
        every += words
        told = ", ".join(f"{count} {word}" for word, count in words.most_common())
        print(
            f"{name:<14} {told}; trainings {statistics.median(trainings):g}, smallest p {least:.3f}",
            flush=True,
        )
    print(", ".join(f"{count} {word}" for word, count in every.most_common()))


if __name__ == "__main__":
    main()
