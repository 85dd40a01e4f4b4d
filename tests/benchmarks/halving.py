"""Whether giving trials up early finds more in the same time: with which rule, and how far early values can be told.

Run ``python tests/benchmarks/halving.py curves.npz``. 120 functions of the benchmark of activations are trained on its
small tasks under three seeds, at their own learning rates, and measured 17 times; the curves are kept in the file.
Searches are then simulated: functions in an order of chance under one of the seeds, until so many whole trainings are
used up, with the rules of :class:`actsearch.SuccessiveHalving` and without.

Printed are, for each task, the rank correlations of values after 1, 2, 4 and 8 of 17 parts with the final ones, and for
each budget in whole trainings what the best of a search comes to under the two other seeds: 0 is the median function, 1
the mean of the best three; behind it the trials. Means of 300 searches.

    python tests/benchmarks/halving.py curves.npz --tasks digits_mlp friedman
"""

from __future__ import annotations

import argparse
import dataclasses
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

import numpy as np
import numpy.typing as npt
import torch
from scipy.stats import spearmanr

import actsearch as acs
from actsearch.activations import describe
from actsearch.evaluation import Request, make_subject
from actsearch.halving import Competition
from actsearch.records import CandidateRecord

sys.path.insert(0, str(Path(__file__).parents[2] / "studies"))
from setups.small_tasks import SMALL_TASKS  # noqa: E402

Numbers = npt.NDArray[np.float64]

TASKS = (
    "digits_mlp", "digits_deep", "digits_cnn", "digits_attention", "friedman", "waveforms", "picture", "teacher_tanh",
    "boxes", "grammar", "forecast",
)  # fmt: skip
FUNCTIONS = 120
SEEDS = 3
PARTS = 16
BUDGETS = (12, 24, 48)
SEARCHES = 300
RULES: dict[str, acs.SuccessiveHalving | None] = {
    "none": None,
    "always": acs.SuccessiveHalving(1, 3),
    "half .7": acs.SuccessiveHalving(1, 2, min_correlation=0.7),
    "third .5": acs.SuccessiveHalving(1, 3, min_correlation=0.5),
    "third .7": acs.SuccessiveHalving(1, 3, min_correlation=0.7),
    "third .9": acs.SuccessiveHalving(1, 3, min_correlation=0.9),
    "quarter .7": acs.SuccessiveHalving(1, 4, min_correlation=0.7),
}


def choose_functions() -> list[CandidateRecord]:
    """Some of the benchmark's."""
    functions = acs.benchmark.load().functions
    order = np.random.default_rng(0).permutation(len(functions))[:FUNCTIONS]
    chosen = [functions[place] for place in order]
    items = [
        describe(one.name, **one.hyperparameters) if one.name else describe(one.formula)
        for one in chosen
    ]
    return [CandidateRecord.shared(item) for item in items]


def train(name: str) -> Numbers:
    """Values that are better when larger; (functions, seeds, measurements), NaN behind a divergence."""
    task = SMALL_TASKS[name].build(name, 1.0, 1)
    assert task.steps is not None
    task = dataclasses.replace(task, eval_every=max(1, task.steps // PARTS))
    subject = make_subject(task)
    sign = 1 if subject.direction == "maximize" else -1
    asked = [
        Request(record, (seed,), number=number, diagnose=False)
        for number, record in enumerate(choose_functions())
        for seed in range(1, SEEDS + 1)
    ]
    rows: list[list[float]] = []
    while asked:
        part, asked = asked[: (count := max(1, subject.batch_for(asked, 64)))], asked[count:]
        for outcome in subject.train(part, largest_stack=64):
            epochs = outcome.evaluations[0].epochs
            rows.append([sign * (epoch.valid_metric or np.nan) for epoch in epochs])
        print(f"\r{name}: {len(asked)} trainings left   ", end="", file=sys.stderr, flush=True)
    length = max(map(len, rows))
    table = np.full((len(rows), length), np.nan)
    for row, values in zip(table, rows, strict=True):
        row[: len(values)] = values
    return table.reshape(-1, SEEDS, length)


def search(
    curves: Numbers, rule: acs.SuccessiveHalving | None, budget: int, seed: int
) -> tuple[float, int]:
    """What the best of a search comes to under the other seeds, and how many trials it had."""
    rng = np.random.default_rng(seed)
    functions, seeds, length = curves.shape
    own = rng.integers(seeds)
    values, others = curves[:, own], np.delete(curves, own, axis=1)
    competition = None if rule is None else Competition(rule, "maximize", seed, length)
    spent, trials, best, found = 0, 0, -np.inf, 0
    for number, place in enumerate(rng.permutation(functions)):
        if spent >= budget * length:
            break
        trials += 1
        ended = None
        if competition is not None:
            tracker = competition.track(number)
            tracker.read(list(enumerate(values[place].tolist(), start=1)))
            competition.enter(tracker)
            ended = tracker.pruned_at
        spent += length if ended is None else ended
        if ended is None and values[place, -1] > best:
            best, found = values[place, -1], int(place)
    truth = others[:, :, -1].mean(1)
    middle, top = np.median(truth), np.sort(truth)[-3:].mean()
    return float((truth[found] - middle) / (top - middle)), trials


def compare(name: str, curves: Numbers) -> None:
    """Print a task's lines."""
    curves = curves[np.isfinite(curves).all((1, 2))]
    told = " ".join(
        f"{spearmanr(curves[:, 0, part - 1], curves[:, 0, -1]).statistic:.2f}"
        for part in (1, 2, 4, 8)
    )
    print(f"{name}: {len(curves)} functions, rank correlations {told}")
    for label, rule in RULES.items():
        shown = []
        for budget in BUDGETS:
            runs = [search(curves, rule, budget, seed) for seed in range(SEARCHES)]
            reached, trials = np.mean(runs, axis=0)
            shown.append(f"{reached:6.3f} ({trials:3.0f})")
        print(f"  {label:<10} {'  '.join(shown)}", flush=True)


def fill(path: Path, names: Sequence[str]) -> dict[str, Numbers]:
    """Curves by task; trains those that are missing."""
    known: dict[str, Numbers] = {}
    if path.exists():
        with np.load(path) as stored:
            known = {name: stored[name] for name in stored.files}
    for name in names:
        if name not in known:
            known[name] = train(name)
            np.savez(path, **cast(Any, known))
    return {name: known[name] for name in names}


def main() -> None:
    """Train what is missing, and simulate."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("curves", type=Path, help="a file for the curves, .npz")
    parser.add_argument("--tasks", nargs="+", choices=list(SMALL_TASKS), default=list(TASKS))
    given = parser.parse_args()
    torch.set_num_threads(1)
    for name, curves in fill(given.curves, given.tasks).items():
        compare(name, curves)


if __name__ == "__main__":
    main()
