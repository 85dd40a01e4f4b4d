"""What ``acs.find`` brings for 60 and for 300 trainings, and how far its plans can be believed.

Run ``python tests/benchmarks/find_budget.py``. On six tasks an answer is found with each budget, in a study of its own.
The winner, and the model unchanged, are then trained under seeds that nothing has seen, each at its rate of the
verdict, and scored on rows that nothing has seen.

Printed are, for each task and budget, the trainings that were spent, the seconds that the first plan named and those
that it took, the first words of the answer, and the gain of the winner on the fresh rows, with its standard error over
seeds: 0 where the model was kept.

    python tests/benchmarks/find_budget.py mlp waves --budgets 60 300 --searches 3
"""

from __future__ import annotations

import argparse
import dataclasses
import logging
import re
import statistics
import time
from collections.abc import Callable
from typing import Any

import torch
from sklearn.datasets import load_digits, make_friedman1
from torch import Tensor, nn
from torch.nn import functional as F

import actsearch as acs
from actsearch.evaluation import Request, make_subject
from actsearch.seeds import seed_list

SEEDS = 12
_UNITS = {"s": 1.0, "min": 60.0, "h": 3600.0}


class Attention(nn.Module):
    """A transformer's encoder over the rows of an image."""

    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Linear(8, 24)
        self.place = nn.Parameter(torch.randn(8, 24) * 0.1)
        self.qkv, self.out = nn.Linear(24, 72), nn.Linear(24, 24)
        self.norm, self.last = nn.LayerNorm(24), nn.LayerNorm(24)
        self.up, self.act, self.down = nn.Linear(24, 48), nn.ReLU(), nn.Linear(48, 24)
        self.head = nn.Linear(24, 10)

    def forward(self, x: Tensor) -> Tensor:
        """Logits; (B, 10)."""
        h = self.embed(x.reshape(-1, 8, 8)) + self.place
        q, k, v = self.qkv(self.norm(h)).chunk(3, -1)
        h = h + self.out((q @ k.transpose(1, 2) / 24**0.5).softmax(-1) @ v)
        h = h + self.down(self.act(self.up(self.last(h))))
        logits: Tensor = self.head(h.mean(1))
        return logits


def mlp(inputs: int, width: int, outputs: int, depth: int = 2) -> nn.Module:
    """Hidden layers with ReLU."""
    layers: list[nn.Module] = [nn.Linear(inputs, width), nn.ReLU()]
    for _ in range(depth - 1):
        layers += [nn.Linear(width, width), nn.ReLU()]
    return nn.Sequential(*layers, nn.Linear(width, outputs))


def cnn() -> nn.Module:
    """Two convolutions."""
    return nn.Sequential(
        nn.Unflatten(1, (1, 8, 8)), nn.Conv2d(1, 8, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2),
        nn.Conv2d(8, 16, 3, padding=1), nn.ReLU(), nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(64, 10),
    )  # fmt: skip


def divide(
    x: Tensor, y: Tensor, sizes: tuple[int, int, int], **settings: Any
) -> dict[str, acs.Task]:
    """A task, and the same with fresh rows to test: all that the three sizes leave."""
    a, b, c = sizes[0], sizes[0] + sizes[1], sum(sizes)
    parts = {"train": (x[:a], y[:a]), "valid": (x[a:b], y[a:b])}
    common = {"batch_size": 64, "device": "cpu", "diagnostics": False, **parts, **settings}
    rows = {"asked": slice(b, c), "fresh": slice(c, None)}
    return {name: acs.Task(test=(x[own], y[own]), **common) for name, own in rows.items()}


def digits(model: Callable[[], nn.Module], epochs: int, lr: float) -> dict[str, acs.Task]:
    """1,797 images: 600 to train, 300 to choose, 400 to test, the others fresh."""
    images, labels = load_digits(return_X_y=True)
    order = torch.randperm(len(images), generator=torch.Generator().manual_seed(0))
    x, y = torch.tensor(images / 16, dtype=torch.float32)[order], torch.tensor(labels)[order]
    return divide(
        x, y, (600, 300, 400), model=model, loss=F.cross_entropy, metric="accuracy", epochs=epochs, lr=lr
    )  # fmt: skip


def numbers(
    x: Tensor, y: Tensor, model: Callable[[], nn.Module], epochs: int
) -> dict[str, acs.Task]:
    """1,200 rows of which 400 are to train, 200 to choose, 400 to test; the others fresh."""
    y = (y - y.mean()) / y.std()
    return divide(
        x, y.reshape(-1, 1), (400, 200, 400), model=model, loss=F.mse_loss, metric="mse", epochs=epochs, lr=3e-3
    )  # fmt: skip


def waves() -> dict[str, acs.Task]:
    """Sines of two projections, with noise."""
    generator = torch.Generator().manual_seed(5)
    x = torch.randn(3000, 5, generator=generator)
    a, b = torch.randn(2, 5, generator=generator)
    noise = 0.1 * torch.randn(3000, generator=generator)
    y = torch.sin(1.5 * (x @ a)) + torch.sin(x @ b) + noise
    return numbers(x, y, lambda: mlp(5, 32, 1), 30)


def friedman() -> dict[str, acs.Task]:
    """Friedman's first function."""
    x, y = make_friedman1(3000, 10, noise=0.5, random_state=0)
    return numbers(torch.tensor(x, dtype=torch.float32) * 2 - 1, torch.tensor(y, dtype=torch.float32),
                   lambda: mlp(10, 32, 1), 30)  # fmt: skip


def boxes() -> dict[str, acs.Task]:
    """Nested boxes: jumps along every axis."""
    x = torch.rand(3000, 2, generator=torch.Generator().manual_seed(2)) * 2 - 1
    y = ((4 * x.abs().amax(1)).long() % 2).float() + 0.1 * x[:, 0]
    return numbers(2 * x, y, lambda: mlp(2, 32, 1, 3), 40)


TASKS: dict[str, Callable[[], dict[str, acs.Task]]] = {
    "mlp": lambda: digits(lambda: mlp(64, 64, 10), 15, 3e-3),
    "cnn": lambda: digits(cnn, 12, 3e-3),
    "attention": lambda: digits(Attention, 10, 3e-3),
    "waves": waves,
    "friedman": friedman,
    "boxes": boxes,
}


class Heard(logging.Handler):
    """The first plan that is told, in seconds."""

    def __init__(self) -> None:
        super().__init__()
        self.planned = float("nan")

    def emit(self, record: logging.LogRecord) -> None:
        """Look for it."""
        found = re.search(r"trainings of [^,]*, ([0-9.]+) (s|min|h) in all", record.getMessage())
        if found and self.planned != self.planned:
            self.planned = float(found[1]) * _UNITS[found[2]]


def gain(task: acs.Task, verdict: acs.Verdict) -> tuple[float, float]:
    """Of the winner over the model unchanged, each at its rate, on fresh rows and seeds; with its standard error."""
    sign = 1 if verdict.direction == "maximize" else -1
    seeds = seed_list(4711, "fresh", SEEDS)
    values = []
    for row in (verdict.baseline, verdict.winner):
        asked = [
            Request(
                row.candidate, (seed,), number, split="test", lr=row.learning_rate, diagnose=False
            )
            for number, seed in enumerate(seeds)
        ]
        outcomes = make_subject(task).train(asked)
        values.append([float("nan") if one.value is None else one.value for one in outcomes])
    differences = [sign * (b - a) for a, b in zip(*values, strict=True)]
    return statistics.fmean(differences), statistics.stdev(differences) / SEEDS**0.5


def main() -> None:
    """Every task with every budget."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("tasks", nargs="*", default=[])
    parser.add_argument("--budgets", nargs="+", type=int, default=[60, 300])
    parser.add_argument("--searches", type=int, default=1)
    given = parser.parse_args()
    torch.set_num_threads(1)
    log = logging.getLogger("actsearch")
    log.setLevel(logging.INFO)
    log.propagate = False
    for name in given.tasks or TASKS:
        for budget in given.budgets:
            for seed in range(given.searches):
                tasks = TASKS[name]()
                heard = Heard()
                log.handlers = [heard]
                started = time.perf_counter()
                result = acs.find(
                    dataclasses.replace(tasks["asked"]), budget=budget, study_name=f"{name} {budget}", storage=None,
                    seed=seed, show_progress_bar=False,
                )  # fmt: skip
                seconds = time.perf_counter() - started
                verdict = result.verdict
                brought, error = (0.0, 0.0)
                if verdict is not None and verdict.winner is not verdict.baseline:
                    brought, error = gain(tasks["fresh"], verdict)
                print(
                    f"{name:<10} {budget:4d}: {result.spent.trainings:4d} trainings ({result.spent.search} to search), "
                    f"planned {heard.planned:4.0f} s, took {seconds:4.0f} s; gain {brought:+.4f} se {error:.4f}; "
                    f"{result.sentence[:60]}",
                    flush=True,
                )  # fmt: skip


if __name__ == "__main__":
    main()
