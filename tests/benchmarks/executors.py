"""A Ray cluster on this machine beside child processes: the digits study, and a trial that costs nothing.

Run ``python tests/benchmarks/executors.py``; the exit status is 1 when a limit is missed. The study is that of
studies/digits_mlp.py without its verdict, with a new executor for each run, by turns; timed is what comes after its
workers are there, and the start beside it. The trials must be the same. The second table is a study whose objective
does nothing, in milliseconds for each trial: what is left is proposing, storing, and the way to a worker and back.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from stacked_training import machine, make_task

import actsearch as acs

LIMIT = 1.15  # times the seconds of Processes(2)
LIMIT_EMPTY = 3.0  # times the milliseconds of Local()
WORKERS = 2

Executor = acs.Local | acs.Processes | acs.Ray
EXECUTORS: dict[str, Callable[[], Executor]] = {
    "Local()": acs.Local,
    "Processes(2)": lambda: acs.Processes(WORKERS),
    "Ray(2)": lambda: acs.Ray(WORKERS, address="local"),
}
Trials = list[tuple[str, str, float | None]]


def empty(candidate: acs.Candidate, run: acs.Run) -> float:
    """An objective that costs nothing."""
    return float(run.number)


def warm(
    executor: Executor, objective: acs.Task | Callable[[acs.Candidate, acs.Run], float]
) -> None:
    """Have all workers there, with all that training imports."""
    study = acs.create_study(
        study_name="warm", storage=None, strategy="random", direction="maximize"
    )
    study.optimize(objective, n_trials=4 * WORKERS, executor=executor, show_progress_bar=False)


def digits(
    make: Callable[[], Executor], trials: dict[str, int], task: acs.Task
) -> tuple[float, float, Trials]:
    """Seconds of the start and of the study, and the trials."""
    found: Trials = []
    begun = time.perf_counter()
    with make() as executor:
        warm(executor, task.replace(epochs=1))
        started = time.perf_counter()
        with tempfile.TemporaryDirectory() as folder:
            for strategy, count in trials.items():
                study = acs.create_study(
                    study_name=strategy,
                    storage=f"sqlite:///{Path(folder)}/a.db",
                    strategy=strategy,
                )
                study.optimize(task, n_trials=count, executor=executor, show_progress_bar=False)
                found += [(t.state.name, t.candidate.formula, t.value) for t in study.trials]
        ended = time.perf_counter()
    return started - begun, ended - started, found


def milliseconds(make: Callable[[], Executor], trials: int) -> float:
    """Of an empty trial."""
    with make() as executor, tempfile.TemporaryDirectory() as folder:
        warm(executor, empty)
        study = acs.create_study(
            study_name="empty", storage=f"sqlite:///{Path(folder)}/a.db", strategy="random", direction="maximize"
        )  # fmt: skip
        begun = time.perf_counter()
        study.optimize(empty, n_trials=trials, executor=executor, show_progress_bar=False)
        return (time.perf_counter() - begun) / trials * 1000


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the tables; 1 if a limit was missed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="a few trials, no limit")
    parser.add_argument("--rounds", type=int, default=3, help="of everything in turns (default 3)")
    options = parser.parse_args(arguments)
    quick = options.quick
    rounds = range(1 if quick else options.rounds)
    torch.set_num_threads(WORKERS)
    print(machine())
    counts = {"bayesian": 6, "genetic": 6} if quick else {"bayesian": 40, "genetic": 80}
    task = make_task("mlp", 2 if quick else 15).replace(seeds=(1, 2))
    names = ("Processes(2)", "Ray(2)")
    studies = [{n: digits(EXECUTORS[n], counts, task.replace()) for n in names} for _ in rounds]
    print("digits study         start, s    study, s  times Processes(2)  same trials")
    for name in names:
        start = statistics.median(r[name][0] for r in studies)
        seconds = statistics.median(r[name][1] for r in studies)
        ratio = statistics.median(r[name][1] / r[names[0]][1] for r in studies)
        same = all(r[name][2] == r[names[0]][2] for r in studies)
        print(f"{name:<18} {start:>10.1f}  {seconds:>10.1f}  {ratio:>18.2f}  {same!s:>11}")
    empties = [
        {n: milliseconds(make, 40 if quick else 400) for n, make in EXECUTORS.items()} for _ in rounds
    ]  # fmt: skip
    print("empty trial                ms  times Local()")
    for name in EXECUTORS:
        each = statistics.median(r[name] for r in empties)
        times = statistics.median(r[name] / r["Local()"] for r in empties)
        print(f"{name:<18} {each:>10.2f}  {times:>13.2f}", flush=True)
    missed = []
    if ratio > LIMIT or not same:
        missed.append(f"{LIMIT} times Processes(2), with the same trials")
    if times > LIMIT_EMPTY:
        missed.append(f"{LIMIT_EMPTY} times Local() for an empty trial")
    if missed and not quick:
        print("missed: " + "; ".join(missed))
    return int(bool(missed) and not quick)


if __name__ == "__main__":
    sys.exit(main())
