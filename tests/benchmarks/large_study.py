"""Large studies for the benchmarks, written through the storage's own functions."""

from __future__ import annotations

import itertools
import random
from collections.abc import Sequence

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
from actsearch.screening import sample_curves
from actsearch.storage import Lease, Storage

__all__ = ["Writer", "write_study"]

_CHUNK = 1000
_EPOCHS = 10
_TASK = {"metric": "accuracy", "epochs": _EPOCHS}
_REASONS = ("gradient is zero almost everywhere", "not finite at 3 of 64 points", "constant")


class Writer:
    """Writes trials of one study, each seventh a repetition or refused; give it back with :meth:`close`."""

    def __init__(self, url: str, name: str) -> None:
        self.storage = Storage(url)
        self.study = self.storage.study(name)
        self._lease: Lease = self.storage.lease(self.study)
        self._lease.acquire()
        self._rng, self._number = random.Random(0), len(self.storage.trials(self.study.id))
        drawn = list(itertools.islice(candidates("genetic"), 2000))
        self._drawn = itertools.cycle(drawn)

    def write(self, count: int) -> None:
        """Add so many trials and end them, in a transaction each."""
        records = [self._record(self._number + at) for at in range(count)]
        self._number += count
        curves = sample_curves(record.candidate for record in records if record.state.is_open)
        stored = self.storage.add_trials(self.study.id, records, self._lease, curves)
        trained = [record.number for record in stored if record.state.is_open]
        self.storage.start_trials(self.study.id, trained, self._lease)
        outcomes = {number: self._outcome() for number in trained}
        self.storage.finish_trials(self.study.id, outcomes, self._lease)

    def close(self) -> None:
        """Give the lease back."""
        self._lease.release()
        self.storage.database.close()

    def _record(self, number: int) -> TrialRecord:
        candidate: CandidateRecord = next(self._drawn)
        hashes = [f"{self._rng.getrandbits(128):032x}" for _ in range(3)]
        state, original, reason = TrialState.WAITING, None, ""
        if number % 7 == 6:
            state = TrialState.DUPLICATE if number % 2 else TrialState.REJECTED
            original = number - 6 if number % 2 else None
            reason = "" if number % 2 else self._rng.choice(_REASONS)
        parents = tuple(self._rng.sample(range(number), 2)) if number > 50 else ()
        return TrialRecord(
            -1,
            state,
            CandidateRecord(candidate.activations, candidate.operation, parents),
            reason=reason,
            fingerprint=hashes[0],
            alias=hashes[1],
            mirror=hashes[2],
            duplicate_of=original,
        )

    def _outcome(self) -> Outcome:
        rng = self._rng
        if rng.random() < 0.02:
            return Outcome(TrialState.FAILED, None, reason="loss is not finite in epoch 3")
        value = min(0.999, rng.gauss(0.9, 0.03))
        epochs = tuple(
            EpochRecord(at, rng.random(), rng.random(), rng.random(), value * at / _EPOCHS, 0.01)
            for at in range(1, _EPOCHS + 1)
        )
        evaluation = EvaluationRecord(1, value, {"accuracy": value}, epochs, rng.random())
        return Outcome(TrialState.COMPLETE, value, rng.random() / 50, (evaluation,), "", 0.1)


def write_study(url: str, name: str, counts: Sequence[int]) -> None:
    """A study of ``sum(counts)`` ended trials, so many in each transaction."""
    acs.create_study(study_name=name, storage=url, strategy="genetic", direction="maximize")
    writer = Writer(url, name)
    writer.storage.update_study(writer.study.id, writer._lease, task=_TASK)
    for count in counts:
        writer.write(count)
    writer.close()


def chunks(trials: int) -> list[int]:
    """``trials`` in parts of a size that a transaction takes well."""
    whole, rest = divmod(trials, _CHUNK)
    return [_CHUNK] * whole + [rest] * bool(rest)
