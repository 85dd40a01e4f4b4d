"""What is known of activations before the first trial: hundreds of them on seventeen small tasks.

Every function of a list trains on every task at three learning rates under three seeds each. Run it again: it goes on
where it stopped, and adds nothing to what is there. What it wrote is shipped as ``acs.benchmark.load()``; strategies
begin with what is good on most tasks, and weigh what they have not tried by what resembles the task at hand.

The list: every elementwise row of the catalog at its defaults; those with settings besides at a quarter and at three
quarters of the range of their first number, or at their other choices; and composed formulas, ``EACH`` of every size
from 3 to 8 nodes, drawn at random from the recommended operators, the shortest of each mirror class (f(x), f(-x) and
their negatives train alike).

    python studies/activation_benchmark.py                          # some hours of a core
    python studies/activation_benchmark.py --tasks picture parity   # these alone
    python studies/activation_benchmark.py --write activations.npz  # the table of what is trained
"""

from __future__ import annotations

import argparse
import dataclasses
import functools
import itertools
import math
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import torch
from setups.small_tasks import SMALL_TASKS, SmallTask

import actsearch as acs
from actsearch.activations import describe
from actsearch.records import ActivationRecord, TrialRecord
from actsearch.report import Reader
from actsearch.screening import identify, simplify
from actsearch.strategies import Context, RandomSearch
from actsearch.strategies.surrogate import benchmark_prior, compute_curve

STORAGE = f"sqlite:///{Path(__file__).with_name('benchmark.db')}"
RATES = {"x1": 1.0, "x0.33": 1 / 3, "x3": 3.0}
SEEDS = 3
EACH = 52
SIZES = range(3, 9)


def catalog_functions() -> Iterator[ActivationRecord]:
    """Rows at their defaults, and at other settings."""
    for name in acs.catalog.names(role="hidden"):
        row = acs.catalog[name]
        if not row.elementwise or row.random or row.given:
            continue
        yield describe(name)
        numbers = [setting for setting in row.searched if not setting.choices]
        if numbers and isinstance(numbers[0].default, float):
            low, high = numbers[0].low, numbers[0].high
            for share in (0.25, 0.75):
                value = (
                    low * (high / low) ** share if numbers[0].log else low + share * (high - low)
                )
                yield describe(name, **{numbers[0].name: numbers[0].round(value)})
        elif name != "relu":  # its setting is the slope at 0 alone
            for setting in row.searched[:1]:
                for choice in setting.choices:
                    yield describe(name, **{setting.name: choice})


def composed_functions() -> Iterator[ActivationRecord]:
    """Random formulas, endless."""
    space = acs.Space(learned=False)
    for seed in range(10**6):
        context = Context(space, seed, "maximize")
        for candidate in RandomSearch(formulas=1.0).propose([], 64, context):
            yield describe(simplify(acs.parse(candidate.activations["*"].formula)))


@functools.cache
def functions(each: int = EACH) -> tuple[ActivationRecord, ...]:
    """The list."""
    chosen: dict[str, ActivationRecord] = {}
    for item in catalog_functions():
        chosen.setdefault(identify(item).identity, item)
    mirrors = {identify(item).mirror for item in chosen.values()}
    left = dict.fromkeys(SIZES, each)
    for item in composed_functions():
        tree = acs.parse(item.formula)
        mirror = identify(item).mirror
        if left.get(tree.size, 0) and mirror not in mirrors and _can_train(item):
            left[tree.size] -= 1
            mirrors.add(mirror)
            chosen[mirror] = item
        if not any(left.values()):
            return tuple(chosen.values())
    raise AssertionError("never comes to an end")


def _can_train(item: ActivationRecord) -> bool:
    mean, square = acs.moments(item.formula)
    return math.isfinite(square) and square - mean**2 > 1e-4


def train(
    name: str, task: SmallTask, rate: str, storage: str, list_: Sequence[ActivationRecord]
) -> acs.Study:
    """One task at one rate: a study whose trials are the list, in order, behind the model unchanged."""
    study = acs.create_study(
        study_name=f"{name} {rate}", storage=storage, strategy="random",
        space=acs.Space(activations="all"), load_if_exists=True,
    )  # fmt: skip
    known = {_key(trial.candidate.record.activations.get("*")) for trial in study.trials}
    for item in list_:
        if _key(item) not in known:
            study.enqueue_trial(item.name or item.formula, **item.hyperparameters)
    last = max(trial.number for trial in study.trials)

    def stop_after_the_list(running: acs.Study, trial: acs.Trial) -> None:
        if trial.number >= last:
            running.stop()

    if waiting := sum(trial.state.is_open for trial in study.trials):
        study.optimize(
            task.build(name, RATES[rate], SEEDS), n_trials=waiting,
            callbacks=[stop_after_the_list], show_progress_bar=False,
        )  # fmt: skip
    return study


def _key(item: ActivationRecord | None) -> tuple[object, ...]:
    return () if item is None else (item.name, item.formula)


def gather(
    storages: Sequence[str],
    names: Sequence[str],
    rates: Sequence[str],
    list_: Sequence[ActivationRecord],
) -> acs.benchmark.Benchmark:
    """The table of what is trained, without the functions that could be trained on hardly any task."""
    studies: dict[str, list[TrialRecord]] = {}
    readers = [Reader(storage) for storage in storages]
    for reader in readers:
        for study in reader.studies():
            studies[study.name] = reader.trials(study, epochs=True)
    scores = np.full((len(names), len(list_), len(rates), SEEDS), np.nan, np.float32)
    seconds = np.full(scores.shape[:3], np.nan, np.float32)
    for task, rate in itertools.product(range(len(names)), range(len(rates))):
        trials = studies.get(f"{names[task]} {rates[rate]}", [])
        trained = {
            t.fingerprint: t
            for t in trials
            if t.state is acs.TrialState.COMPLETE and t.evaluations
        }
        for place, item in enumerate(list_):
            if (trial := trained.get(identify(item).identity)) is not None:
                values = [one.value for one in trial.evaluations]
                scores[task, place, rate] = [
                    np.nan if value is None else value for value in values
                ]
                seconds[task, place, rate] = np.mean([one.seconds for one in trial.evaluations])
    for reader in readers:
        reader.close()
    # refused ones, as straight lines, are refused on every task
    kept = np.flatnonzero(np.isfinite(scores).any((2, 3)).mean(0) > 0.75)
    curves = {int(place): compute_curve(list_[int(place)].formula) for place in kept}
    chosen = [place for place, curve in curves.items() if curve is not None]
    table = acs.benchmark.Benchmark(
        tuple(_describe_task(name) for name in names),
        tuple(_describe_function(list_[place]) for place in chosen),
        tuple(RATES[rate] for rate in rates), tuple(range(SEEDS)), scores[:, chosen],
        np.nan_to_num(np.nanmedian(seconds[:, chosen], -1)),
        np.array([curves[place] for place in chosen], np.float32),
        np.zeros((len(names), len(rates), len(chosen)), np.float32),
    )  # fmt: skip
    prior = benchmark_prior(table)
    smoothed = prior.tell(prior.features).T.reshape(table.smoothed.shape)
    return dataclasses.replace(table, smoothed=smoothed.astype(np.float32))


def _describe_task(name: str) -> acs.benchmark.BenchmarkTask:
    task = SMALL_TASKS[name]
    return acs.benchmark.BenchmarkTask(
        name, task.reason, task.metric, "maximize" if task.metric in ("accuracy", "r2") else "minimize",
        sum(p.numel() for p in task.model().parameters()), task.settings["lr"], task.settings["steps"],
    )  # fmt: skip


def _describe_function(item: ActivationRecord) -> acs.benchmark.BenchmarkFunction:
    return acs.benchmark.BenchmarkFunction(
        item.label or item.formula, item.formula, item.name, dict(item.hyperparameters),
        bool(acs.parse(item.formula).parameters),
    )  # fmt: skip


def main(storage: str = STORAGE, small: bool = False, tasks: Sequence[str] = ()) -> None:
    """Train what is not trained yet; ``small`` is a quick look at whether it all runs."""
    torch.set_num_threads(1)
    chosen = tasks or list(SMALL_TASKS)[: 1 if small else None]
    list_ = functions(1)[:4] if small else functions()
    for rate in RATES:
        for name in chosen:
            study = train(name, SMALL_TASKS[name], rate, storage, list_)
            best = study.best_trial
            print(f"{name} {rate}: best {best.candidate} {best.value:.4f}", flush=True)
    print(f"\nBrowse it:  {Path(sys.executable).with_name('actsearch')} dashboard {storage}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--storage", nargs="*", default=[STORAGE])
    parser.add_argument("--tasks", nargs="*", default=[], metavar="TASK")
    parser.add_argument("--write", metavar="FILE", help="write the table instead of training")
    parser.add_argument("--rates", nargs="*", default=list(RATES), choices=list(RATES))
    given = parser.parse_args()
    if given.write:
        found = gather(
            given.storage,
            given.tasks or list(SMALL_TASKS),
            sorted(given.rates, key=RATES.__getitem__),
            functions(),
        )
        acs.benchmark.write(found, given.write)
    else:
        main(given.storage[0], tasks=given.tasks)
