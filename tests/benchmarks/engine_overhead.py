"""What the engine itself costs for each trial, and how long a study takes to start and to be resumed.

Run ``python tests/benchmarks/engine_overhead.py``; the exit status is 1 when a limit is exceeded. The objective costs
nothing, the database is a file. Histories are written through the storage: the strategy's first batch, then random
draws with random values. Each row is a process of its own; of its logical batches, the median counts. One thread. The
last line is what reading the shipped benchmark takes, with the prior that is made of it; median of several.
"""

from __future__ import annotations

import argparse
import functools
import itertools
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from importlib import resources
from pathlib import Path
from typing import Any, NamedTuple, cast

import torch

import actsearch as acs
from actsearch.benchmark import load
from actsearch.records import (
    CandidateRecord,
    EpochRecord,
    EvaluationRecord,
    Outcome,
    TrialRecord,
    TrialState,
)
from actsearch.screening import identify
from actsearch.seeds import derive
from actsearch.storage import Storage
from actsearch.strategies import STRATEGIES, Context, RandomSearch, Space, make_strategy
from actsearch.strategies.surrogate import benchmark_prior
from actsearch.study.proposing import Proposer

# gradient trains copies of a model, and there is none here
TIMED = [name for name in STRATEGIES if name != "gradient"]
HISTORIES = (0, 100, 1_000, 10_000)
LIMITS_MS = {
    ("auto", 100): 15.0,
    ("bayesian", 100): 15.0,
    ("genetic", 100): 15.0,
    **{(name, 10_000): 30.0 for name in STRATEGIES},
}
START_S = (
    3.0  # to open a study and read its history, until the first proposal or the first training
)
PRIOR_MS = 50.0
PARTS = ("propose", "screen", "store")
COLUMNS = ("wall", "cpu", *PARTS)

_CHUNK = 500
# share of composed ones in a history
_FORMULAS = {"auto": 0.7, "random": 0.5, "bayesian": 0.0, "genetic": 0.9}
_DRAWN = 16


# histories


def write_history(url: str, name: str, count: int) -> None:
    """A study with so many ended trials, a tenth of them refused or failed, repetitions as they come."""
    acs.create_study(study_name="s", storage=url, strategy=name, direction="maximize", seed=1)
    storage = Storage(url)
    study = storage.study("s")
    lease = storage.lease(study)
    lease.acquire()
    known: dict[str, int] = {}
    drawn = candidates(name)
    for first in range(0, count, _CHUNK):
        numbers = range(first, min(first + _CHUNK, count))
        records = [ended(number, next(drawn), known) for number in numbers]
        storage.add_trials(study.id, records, lease)
        outcomes = {item.number: outcome(item) for item in records if item.state.is_open}
        storage.finish_trials(study.id, outcomes, lease)
    lease.release()
    storage.database.close()


def candidates(name: str) -> Iterator[CandidateRecord]:
    """The strategy's own first batch, then random draws."""
    strategy, context = make_strategy(name), Context(Space(), 1, "maximize")
    yield from strategy.propose([], strategy.batch_size([], context), context)
    search = RandomSearch(formulas=_FORMULAS[name])
    for seed in range(sys.maxsize):
        yield from search.propose([], _DRAWN, Context(Space(), seed, "maximize"))


def ended(number: int, candidate: CandidateRecord, known: dict[str, int]) -> TrialRecord:
    """A trial as the driver would store it; one that is to be trained is open."""
    found = identify(candidate)
    original = known.setdefault(found.identity, number)
    state = TrialState.WAITING
    if original != number:
        state = TrialState.DUPLICATE
    elif number % 12 == 11:
        state = TrialState.REJECTED
    return TrialRecord(
        number,
        state,
        candidate,
        reason="gradient is zero almost everywhere" * (state is TrialState.REJECTED),
        fingerprint=found.identity,
        alias=found.alias,
        mirror=found.mirror,
        duplicate_of=original if original != number else None,
    )


def outcome(trial: TrialRecord) -> Outcome:
    """A random value from ten epochs, or a failure."""
    if trial.number % 30 == 29:
        return Outcome(TrialState.FAILED, None, reason="seed 1: the loss is not finite")
    value = random_number(trial.candidate.formula)
    epochs = tuple(EpochRecord(epoch, 0.5, 0.5, 0.5, value, 0.1) for epoch in range(1, 11))
    return Outcome(
        TrialState.COMPLETE, value, 0.01, (EvaluationRecord(1, value, {"value": value}, epochs),)
    )


def random_number(text: str) -> float:
    """From 0 to 1, the same for the same text."""
    return derive(text) / 2**63


# one row, in a process of its own


class Mark(NamedTuple):
    """What the clock shows when a logical batch begins, in seconds."""

    wall: float
    cpu: float
    trained: int
    parts: dict[str, float]


class Clock:
    """Wall and processor time from one logical batch to the next, and the wall time of the engine's parts."""

    def __init__(self) -> None:
        self.spent = dict.fromkeys(PARTS, 0.0)
        self.trained = 0
        self.marks: list[Mark] = []

    def watch(self, owner: type, method: str, part: str) -> None:
        """Count what a method takes."""
        original = getattr(owner, method)

        @functools.wraps(original)
        def timed(*args: Any, **keywords: Any) -> Any:
            if method == "batch_size":
                now, cpu = time.perf_counter(), time.process_time()
                self.marks.append(Mark(now, cpu, self.trained, dict(self.spent)))
            begun = time.perf_counter()
            try:
                return original(*args, **keywords)
            finally:
                self.spent[part] += time.perf_counter() - begun

        setattr(owner, method, timed)

    def per_trial(self) -> dict[str, float]:
        """Median over logical batches of the milliseconds for each trained trial."""
        batches = [self._batch(*pair) for pair in itertools.pairwise(self.marks)]
        return {name: statistics.median(batch[name] for batch in batches) for name in batches[0]}

    @staticmethod
    def _batch(before: Mark, after: Mark) -> dict[str, float]:
        spent = {part: after.parts[part] - before.parts[part] for part in PARTS}
        spent |= {"wall": after.wall - before.wall, "cpu": after.cpu - before.cpu}
        trained = max(1, after.trained - before.trained)
        return {name: 1000 * seconds / trained for name, seconds in spent.items()}


def watched(clock: Clock, strategy: str) -> None:
    """Have the clock look at the parts of the engine."""
    clock.watch(STRATEGIES[strategy], "batch_size", "propose")
    clock.watch(STRATEGIES[strategy], "propose", "propose")
    clock.watch(Proposer, "_screen", "screen")
    for method in ("trials", "add_trials", "start_trials", "finish_trials"):
        clock.watch(Storage, method, "store")


def measure(url: str, strategy: str, batches: int) -> dict[str, Any]:
    """Go on with a study for some logical batches and break off within the next; then resume it."""
    torch.set_num_threads(1)
    before = _peak_mib()
    clock = Clock()
    watched(clock, strategy)

    def objective(candidate: acs.Candidate, run: acs.Run) -> float:
        clock.trained += 1
        return random_number(candidate.formula)

    def enough(study: acs.Study, trial: acs.Trial) -> None:
        if len(clock.marks) > batches:
            study.stop()

    begun = time.perf_counter()
    study = acs.create_study(
        study_name="s", storage=url, strategy=strategy, direction="maximize", load_if_exists=True
    )
    study.optimize(objective, n_trials=10_000, callbacks=[enough], show_progress_bar=False)
    start = clock.marks[0].wall - begun
    rows, begun = clock.per_trial(), time.perf_counter()
    resumed: list[float] = []

    def again(candidate: acs.Candidate, run: acs.Run) -> float:
        resumed.append(time.perf_counter() - begun)
        return 0.0

    again.__qualname__ = objective.__qualname__  # the study keeps its objective's name
    study = acs.load_study(study_name="s", storage=url)
    study.optimize(again, n_trials=1, show_progress_bar=False)
    return {
        "rows": rows,
        "start": start,
        "resume": resumed[0],
        "peak": _peak_mib(),
        "imports": before,
    }


def _peak_mib() -> float:
    """Largest resident size of this process; getrusage would count that of the parent it was forked from."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmHWM"):
            return int(line.split()[1]) / 1024
    return float("nan")


# the table


def in_own_process(url: str, strategy: str, batches: int) -> dict[str, Any]:
    """The row, measured without what other rows left in caches and memory."""
    command = [sys.executable, __file__, "--row", url, strategy, "--batches", str(batches)]
    printed = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout
    return cast(dict[str, Any], json.loads(printed))


def print_row(strategy: str, count: int, row: dict[str, Any]) -> list[str]:
    """One line of the table; what exceeds its limit."""
    cells = [f"{row['rows'][name]:8.2f}" for name in COLUMNS]
    print(
        f"{strategy:<9}{count:7} |", "".join(cells),
        f" |{row['start']:7.2f}{row['resume']:7.2f} |{row['peak']:6.0f} {row['imports']:6.0f}",
        flush=True,
    )  # fmt: skip
    exceeded = []
    wall, limit = row["rows"]["wall"], LIMITS_MS.get((strategy, count))
    if limit is not None and wall > limit:
        exceeded.append(f"{strategy} at {count} trials: {wall:.1f} ms a trial, limit {limit:g}")
    for what in ("start", "resume"):
        if row[what] > START_S:
            exceeded.append(
                f"{strategy} at {count} trials: {what} {row[what]:.1f} s, limit {START_S:g}"
            )
    return exceeded


def table(strategies: Sequence[str], histories: Sequence[int], batches: int) -> list[str]:
    """Measure and print every row; what exceeds its limit."""
    print(
        "milliseconds a trained trial: in all by the wall and by the processor, and the parts' wall time;"
    )
    print("start and resume in s; peak of memory in MiB, and what it was after the imports")
    heads = "".join(f"{name:>8}" for name in COLUMNS)
    print(f"{'':<9}{'history':>7} |{heads} |  start resume |  peak imports", flush=True)
    exceeded = []
    with tempfile.TemporaryDirectory() as folder:
        for strategy in strategies:
            for count in histories:
                url = f"sqlite:///{Path(folder) / f'{strategy}-{count}.db'}"
                write_history(url, strategy, count)
                exceeded += print_row(strategy, count, in_own_process(url, strategy, batches))
    return exceeded


def time_prior() -> list[str]:
    """Print what the benchmark of activations and the prior made of it take; what exceeds the limit."""
    path = resources.files("actsearch.benchmark").joinpath("activations.npz")
    parts: list[tuple[float, float]] = []
    for _ in range(7):
        began = time.perf_counter()
        table = load(str(path))
        read = time.perf_counter()
        benchmark_prior(table)
        parts.append((read - began, time.perf_counter() - read))
    reading, making = (1e3 * statistics.median(part) for part in zip(*parts, strict=True))
    print(f"the benchmark is read in {reading:.1f} ms, its prior made in {making:.1f} ms")
    if reading + making > PRIOR_MS:
        return [f"the prior: {reading + making:.1f} ms, limit {PRIOR_MS:g}"]
    return []


def main() -> int:
    """Measure everything; 1 when a limit is exceeded."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--batches", type=int, default=6, help="logical batches of each row")
    parser.add_argument("--strategies", nargs="+", default=TIMED, choices=TIMED)
    parser.add_argument("--histories", nargs="+", type=int, default=HISTORIES)
    parser.add_argument("--row", nargs=2, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.row:
        url, strategy = given.row
        print(json.dumps(measure(url, strategy, given.batches)))
        return 0
    torch.set_num_threads(1)
    exceeded = table(given.strategies, given.histories, given.batches) + time_prior()
    for line in exceeded:
        print(f"LIMIT EXCEEDED  {line}")
    return 1 if exceeded else 0


if __name__ == "__main__":
    raise SystemExit(main())
