"""How large a long study is, how fast its leaderboard is there, and what writing a batch takes.

Run ``python tests/benchmarks/storage_size.py``; the exit status is 1 when a limit is exceeded. The study has 10,000
trials with 3 seeds of 20 epochs each, composed formulas, written in batches of 64 through the storage. ``--url`` writes
to another storage, as ``postgresql+psycopg://USER@HOST/DATABASE``; its size is then not measured. One thread. Processor
time stands beside each time: where others use the machine, it says what is ours.
"""

from __future__ import annotations

import argparse
import contextlib
import itertools
import math
import random
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from engine_overhead import candidates

import actsearch as acs
from actsearch.records import (
    CandidateRecord,
    EpochRecord,
    EvaluationRecord,
    Outcome,
    TrialRecord,
    TrialState,
)
from actsearch.report import Reader, leaderboard
from actsearch.screening import sample_curves
from actsearch.storage import Storage

TRIALS, SEEDS, EPOCHS, BATCH = 10_000, 3, 20, 64
LIMITS = {"file": 150.0, "leaderboard": 1.0, "batch": 0.05}  # MB, s, s
_ROUNDS = 5


def _record(candidate: CandidateRecord, rng: random.Random) -> TrialRecord:
    hashes = (f"{rng.getrandbits(128):032x}" for _ in itertools.count())
    return TrialRecord(
        -1,
        TrialState.WAITING,
        candidate,
        fingerprint=next(hashes),
        alias=next(hashes),
        mirror=next(hashes),
    )


def _epochs(rng: random.Random) -> tuple[EpochRecord, ...]:
    """What a task measures: both losses and both metrics, every digit in use."""
    return tuple(
        EpochRecord(epoch, rng.random(), rng.random(), rng.random(), rng.random(), rng.random())
        for epoch in range(1, EPOCHS + 1)
    )


def _outcome(rng: random.Random) -> Outcome:
    evaluations = tuple(
        EvaluationRecord(
            rng.getrandbits(31),
            rng.random(),
            {"accuracy": rng.random(), "loss": rng.random()},
            _epochs(rng),
            rng.random(),
        )
        for _ in range(SEEDS)
    )
    return Outcome(TrialState.COMPLETE, rng.random(), rng.random(), evaluations, "", rng.random())


class Times(list[tuple[float, float]]):
    """Seconds on the clock and of the processor, one pair a repetition."""

    @contextlib.contextmanager
    def one(self) -> Iterator[None]:
        """Measure what is done inside."""
        wall, cpu = time.perf_counter(), time.process_time()
        yield
        self.append((time.perf_counter() - wall, time.process_time() - cpu))

    @property
    def median(self) -> float:
        """On the clock."""
        return statistics.median(wall for wall, _ in self)

    def __str__(self) -> str:
        walls = sorted(wall for wall, _ in self)
        cpu = statistics.median(cpu for _, cpu in self)
        return (
            f"{1000 * self.median:7.0f} ms   {1000 * walls[0]:7.0f} to {1000 * walls[-1]:.0f} ms, "
            f"processor {1000 * cpu:.0f} ms"
        )


def _write(url: str, count: int) -> Times:
    """Each batch's transaction."""
    acs.create_study(study_name="s", storage=url, strategy="genetic", direction="maximize")
    storage = Storage(url)
    study = storage.study("s")
    lease = storage.lease(study)
    lease.acquire()
    rng, drawn = random.Random(0), candidates("genetic")
    times = Times()
    for numbers in _batches(count):
        records = [_record(next(drawn), rng) for _ in numbers]
        curves = sample_curves(record.candidate for record in records)
        storage.add_trials(study.id, records, lease, curves)
        storage.start_trials(study.id, numbers, lease)
        outcomes = {number: _outcome(rng) for number in numbers}
        with times.one():
            storage.finish_trials(study.id, outcomes, lease)
    lease.release()
    storage.database.close()
    return times


def _batches(count: int) -> Iterator[Sequence[int]]:
    for first in range(0, count, BATCH):
        yield range(first, min(first + BATCH, count))


def _load(url: str) -> Times:
    """From opening the storage to its leaderboard."""
    times = Times()
    for _ in range(_ROUNDS):
        with times.one():
            reader = Reader(url)
            study = reader.study("s")
            assert leaderboard(reader.trials(study), study.direction)
            reader.close()
    return times


def main() -> int:
    """Measure, print, and compare with the limits."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--trials", type=int, default=TRIALS)
    parser.add_argument("--url", help="another storage than a temporary file")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "study.db"
        url = arguments.url or f"sqlite:///{path}"
        writes = _write(url, arguments.trials)
        loads = _load(url)
        size = path.stat().st_size / 1e6 if path.exists() else math.nan
    found = {"file": size, "leaderboard": loads.median, "batch": writes.median}
    print(f"{arguments.trials} trials, {SEEDS} seeds, {EPOCHS} epochs   median, range, processor")
    print(f"file           {size:7.1f} MB")
    print(f"leaderboard    {loads}")
    print(f"batch of {BATCH}    {writes}")
    return int(any(found[name] > limit for name, limit in LIMITS.items()))


if __name__ == "__main__":
    sys.exit(main())
