"""How large a long study is, how fast its leaderboard is there, and what writing a batch takes.

Run ``python tests/benchmarks/storage_size.py``; the exit status is 1 when a limit is exceeded. The study has 10,000
trials with 3 seeds of 20 epochs each, composed formulas, written in batches of 64 through the storage. ``--url`` writes
to another storage, as ``postgresql+psycopg://USER@HOST/DATABASE``; its size is then not measured. One thread.
"""

from __future__ import annotations

import argparse
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
from actsearch.storage import Storage

TRIALS, SEEDS, EPOCHS, BATCH = 10_000, 3, 20, 64
LIMITS = {"file": 150.0, "leaderboard": 1.0, "batch": 50.0}  # MB, s, ms
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


def _write(url: str, count: int) -> list[float]:
    """Milliseconds of each batch's transaction."""
    acs.create_study(study_name="s", storage=url, strategy="genetic", direction="maximize")
    storage = Storage(url)
    study = storage.study("s")
    lease = storage.lease(study)
    lease.acquire()
    rng, drawn = random.Random(0), candidates("genetic")
    times = []
    for numbers in _batches(count):
        records = [_record(next(drawn), rng) for _ in numbers]
        storage.add_trials(study.id, records, lease)
        storage.start_trials(study.id, numbers, lease)
        outcomes = {number: _outcome(rng) for number in numbers}
        started = time.perf_counter()
        storage.finish_trials(study.id, outcomes, lease)
        times.append(1000 * (time.perf_counter() - started))
    lease.release()
    storage.database.close()
    return times


def _batches(count: int) -> Iterator[Sequence[int]]:
    for first in range(0, count, BATCH):
        yield range(first, min(first + BATCH, count))


def _load(url: str) -> float:
    """Seconds from opening the storage to its leaderboard."""
    started = time.perf_counter()
    reader = Reader(url)
    study = reader.study("s")
    ranked = leaderboard(reader.trials(study), study.direction)
    seconds = time.perf_counter() - started
    assert ranked
    reader.close()
    return seconds


def main() -> int:
    """Measure, print, and compare with the limits."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--trials", type=int, default=TRIALS)
    parser.add_argument("--url", help="another storage than a temporary file")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "study.db"
        url = arguments.url or f"sqlite:///{path}"
        times = _write(url, arguments.trials)
        loads = [_load(url) for _ in range(_ROUNDS)]
        size = path.stat().st_size / 1e6 if path.exists() else math.nan
    found = {
        "file": size,
        "leaderboard": statistics.median(loads),
        "batch": statistics.median(times),
    }
    worst = statistics.quantiles(times, n=20)[-1]
    print(f"{arguments.trials} trials, {SEEDS} seeds, {EPOCHS} epochs")
    print(f"file                  {size:8.1f} MB   (limit {LIMITS['file']:g})")
    print(
        f"leaderboard           {found['leaderboard']:8.2f} s    (limit {LIMITS['leaderboard']:g}; "
        f"worst of {_ROUNDS} {max(loads):.2f})"
    )
    print(
        f"a batch of {BATCH}         {found['batch']:8.1f} ms   (limit {LIMITS['batch']:g}; "
        f"fastest {min(times):.1f}, 95 % under {worst:.1f})"
    )
    return int(any(found[name] > limit for name, limit in LIMITS.items()))


if __name__ == "__main__":
    sys.exit(main())
