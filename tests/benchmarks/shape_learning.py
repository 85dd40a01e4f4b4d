"""What learning the shape of an activation takes, in time, as a multiple of one training of the same network.

Run ``python tests/benchmarks/shape_learning.py``. Both are timed in turns in one run, with one thread: a training with
ReLU, one with SiLU, and the two passes from which the gradient strategy names a curve. Printed are the median of the
ratios, their range, and what the passes count as: trainings by the number of steps and copies.

    python tests/benchmarks/shape_learning.py mlp --rounds 3
"""

from __future__ import annotations

import argparse
import statistics
import time

import torch
from strategies import TASKS

import actsearch as acs
from actsearch.activations import describe
from actsearch.evaluation import Request, Subject, make_subject
from actsearch.records import SHAPE, TRAININGS, CandidateRecord, TrialState

PASSES = 2


def seconds(subject: Subject, record: CandidateRecord, number: int) -> tuple[float, float]:
    """Of one training or pass, and how many trainings it counts as."""
    started = time.perf_counter()
    (outcome,) = subject.train([Request(record, (number,), number, diagnose=False)])
    took = time.perf_counter() - started
    assert outcome.state is not TrialState.FAILED, outcome.reason
    return took, float(outcome.user_attrs.get(TRAININGS, 1))


def measure(subject: Subject, rounds: int) -> None:
    """Print the ratio beside two activations."""
    plain = {name: CandidateRecord.shared(describe(name)) for name in ("relu", "silu")}
    passes = [
        CandidateRecord.shared(describe("relu"), f"{SHAPE} {number + 1} of {PASSES}")
        for number in range(PASSES)
    ]
    ratios: dict[str, list[float]] = {name: [] for name in plain}
    counted = 0.0
    for turn in range(rounds + 1):
        alone = {name: seconds(subject, record, turn)[0] for name, record in plain.items()}
        learned = [seconds(subject, record, turn * PASSES + i) for i, record in enumerate(passes)]
        counted = sum(count for _, count in learned)
        if turn:  # the first round pays for what torch loads only then
            for name, took in alone.items():
                ratios[name].append(sum(took for took, _ in learned) / took)
    for name, found in ratios.items():
        print(
            f"  beside a training with {name}: {statistics.median(found):.1f} times "
            f"({min(found):.1f} to {max(found):.1f}), counted as {counted:.1f} trainings"
        )


def main() -> None:
    """Each task."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("tasks", nargs="*", default=["mlp", "cnn"])
    parser.add_argument("--rounds", type=int, default=7)
    given = parser.parse_args()
    torch.set_num_threads(1)
    for name in given.tasks:
        task: acs.Task = TASKS[name]()
        print(f"{name}:", flush=True)
        measure(make_subject(task), given.rounds)


if __name__ == "__main__":
    main()
