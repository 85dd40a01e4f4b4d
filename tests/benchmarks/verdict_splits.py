"""Whether verdicts on other rows of one data set contradict each other.

Run ``python tests/benchmarks/verdict_splits.py``. The 442 patients of scikit-learn's diabetes set are divided by chance
into data to train on, to choose by and to test, six times; each time one activation is compared with ReLU under ten
seeds: with an interval over seeds alone, over seeds and rows, and over splits of the test rows, of which half of all
are then kept from the search. Printed are the words with the difference of the mean squared errors and its interval.

    python tests/benchmarks/verdict_splits.py sin tanh
"""

from __future__ import annotations

import argparse
import logging
from typing import Any

import torch
from sklearn.datasets import load_diabetes
from torch import Tensor, nn
from torch.nn import functional as F

import actsearch as acs

TIMES = 6
WAYS: dict[str, dict[str, Any]] = {
    "seeds": {"covers": "seeds"},
    "seeds+rows": {},
    "splits": {"splits": 5},
}


def make_task(seed: int, tested: float) -> acs.Task:
    """One division of the rows, of which a share is tested."""
    inputs, targets = load_diabetes(return_X_y=True)
    order = torch.randperm(len(inputs), generator=torch.Generator().manual_seed(seed))
    x = torch.tensor(inputs, dtype=torch.float32)[order] * len(inputs) ** 0.5
    y = torch.tensor(targets, dtype=torch.float32)[order].unsqueeze(1)
    y = (y - y.mean()) / y.std()
    b = round(len(x) * (1 - tested))
    a = b * 3 // 4

    def model() -> nn.Module:
        return nn.Sequential(
            nn.Linear(10, 32), nn.ReLU(), nn.Linear(32, 32), nn.ReLU(), nn.Linear(32, 1)
        )

    def part(start: int, end: int) -> tuple[Tensor, Tensor]:
        return x[start:end], y[start:end]

    return acs.Task(
        model=model, train=part(0, a), valid=part(a, b), test=part(b, len(x)), loss=F.mse_loss, metric="mse",
        epochs=30, batch_size=32, lr=3e-3, tune_lr=False, diagnostics=False, device="cpu",
    )  # fmt: skip


def main() -> None:
    """Compare each activation."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("activations", nargs="*", default=["sin", "silu", "tanh"])
    given = parser.parse_args()
    torch.set_num_threads(1)
    logging.getLogger("actsearch").setLevel(logging.ERROR)
    for activation in given.activations:
        for way, question in WAYS.items():
            said = []
            for seed in range(TIMES):
                task = make_task(seed, 0.5 if way == "splits" else 0.2)
                study = acs.create_study(study_name=f"{activation} {way} {seed}", seed=seed)
                study.enqueue_trial(activation)
                study.optimize(task, n_trials=2, show_progress_bar=False)
                verdict = study.confirm(
                    task, top_k=1, seeds=10, show_progress_bar=False, **question
                )
                row = verdict.rows[0]
                said.append(
                    (row.verdict, f"{row.difference:+.3f} [{row.low:+.3f}, {row.high:+.3f}]")
                )
            words = {word for word, _ in said}
            print(
                f"{activation} over {way}{': contradiction' if {'better', 'worse'} <= words else ''}"
            )
            for word, interval in said:
                print(f"  {interval} {word}", flush=True)


if __name__ == "__main__":
    main()
