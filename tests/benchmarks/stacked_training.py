"""What it brings to train many candidates in one pass, beside the same candidates one at a time.

Run ``python tests/benchmarks/stacked_training.py``; the exit status is 1 when a limit is missed. Measured in turns in
one run, medians of ratios: the digits MLP 64-64-64-10, a small CNN and a small transformer encoder, at 8, 32 and 128
candidates, with one thread, two, and in two child processes of one thread each; a confirmation of 5 finalists and the
baseline x 10 seeds x 3 learning rates; the peak of memory.

"mixed" candidates are those that a study would try: catalog rows of the recommended tier with hyperparameters drawn
anew, every fourth a composed formula; each one's own arithmetic costs what it costs alone. "alike" ones are leaky_relu
with different slopes: what is left is the cost of training itself.

    python tests/benchmarks/stacked_training.py --quick        fewer steps, no limits
    python tests/benchmarks/stacked_training.py mlp confirm    parts of it: mlp cnn transformer choice confirm memory
"""

from __future__ import annotations

import argparse
import contextlib
import gc
import platform
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from sklearn.datasets import load_digits
from torch import Tensor, nn
from torch.nn import functional as F

import actsearch as acs
from actsearch.evaluation import Candidate, Request, make_subject
from actsearch.evaluation.stacked import Stacker, Training
from actsearch.evaluation.task_analysis import TaskAnalysis
from actsearch.execution import Job, Work
from actsearch.records import CandidateRecord
from actsearch.seeds import seed_list
from actsearch.strategies import Context, RandomSearch, Space
from actsearch.training import fit
from actsearch.training.stack import fit_together

LIMITS = {32: 5.0, 128: 7.0}  # times single training, digits MLP, two cores
PARTS = ("mlp", "cnn", "transformer", "choice", "confirm", "memory")
NEVER_SLOWER = 0.95  # the automatic choice beside one at a time, CNN and transformer
CONFIRM = 5.0
ROUNDS = 3


class Encoder(nn.Module):
    """Rows of an image as tokens."""

    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Linear(8, 32)
        layer = nn.TransformerEncoderLayer(32, 4, 64, dropout=0.0, batch_first=True)
        self.encoder = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)
        self.head = nn.Linear(32, 10)

    def forward(self, x: Tensor) -> Any:
        """Shape (batch, 64) to (batch, 10)."""
        return self.head(self.encoder(self.embed(x.view(-1, 8, 8))).mean(1))


def mlp() -> nn.Module:
    """The network of studies/digits_mlp.py."""
    return nn.Sequential(
        nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 10)
    )


def cnn() -> nn.Module:
    """Two convolutions with batch normalisation."""
    return nn.Sequential(
        nn.Unflatten(1, (1, 8, 8)), nn.Conv2d(1, 16, 3, padding=1, bias=False), nn.BatchNorm2d(16), nn.ReLU(),
        nn.Conv2d(16, 16, 3, stride=2, bias=False), nn.BatchNorm2d(16), nn.ReLU(), nn.Flatten(), nn.Linear(144, 10),
    )  # fmt: skip


MODELS: dict[str, Callable[[], nn.Module]] = {"mlp": mlp, "cnn": cnn, "transformer": Encoder}


def make_task(kind: str, epochs: int, rows: int = 1000) -> acs.Task:
    """Digits, 64 samples a batch."""
    images, labels = load_digits(return_X_y=True)
    x = torch.tensor(images, dtype=torch.float32) / 16
    y = torch.tensor(labels)
    return acs.Task(
        model=MODELS[kind], train=(x[:rows], y[:rows]), valid=(x[1000:1400], y[1000:1400]),
        test=(x[1400:], y[1400:]), loss=F.cross_entropy, metric="accuracy", epochs=epochs, batch_size=64, lr=3e-3,
    )  # fmt: skip


def candidates(count: int) -> list[CandidateRecord]:
    """What random search proposes, without the widening maxout, which is stacked apart."""
    names = [name for name in Space().activation_names if name != "maxout"]
    proposed = RandomSearch().propose([], 2 * count, Context(Space(names), 0, "maximize"))
    composed = ["x*tanh(x)", "sin(2*x)", "max(x, 0) + 0.1*sin(x)", "x*sigmoid(param(1.0)*x)"]
    found = list(proposed)
    found[::4] = [
        Candidate.of(composed[index % len(composed)]).record for index in range(len(found[::4]))
    ]
    return found[:count]


def alike(count: int) -> list[CandidateRecord]:
    """One kind of activation with different settings."""
    return [
        Candidate.of("leaky_relu", negative_slope=0.01 + 0.5 * index / count).record
        for index in range(count)
    ]


MIXES: dict[str, Callable[[int], list[CandidateRecord]]] = {"mixed": candidates, "alike": alike}


@dataclass(frozen=True)
class Row:
    """One line of the table: milliseconds of a training step of one candidate, and the median ratio."""

    kind: str
    mix: str
    count: int
    where: str
    single: float
    stacked: float
    ratio: float


def measured(kind: str, mix: str, count: int, where: str, rounds: int, epochs: int) -> Row:
    """Building included, as it is in a search; beside one at a time with as many threads as there are cores in use."""
    torch.set_num_threads(1 if where == "1 thread" else 2)
    task = make_task(kind, epochs)
    analysis = TaskAnalysis(task)
    stacker = Stacker(analysis)
    records = MIXES[mix](count)
    few = records[:: max(1, len(records) // 8)]
    steps = epochs * -(-1000 // 64)
    singles, stacks = [], []
    with contextlib.closing(acs.Processes(2, batch=count // 2)) as executor:
        work = Work(make_subject(task), (1,))

        def together() -> None:
            if where == "2 processes":
                jobs = [Job(number, record) for number, record in enumerate(records)]
                for _ in executor.run(jobs, work):
                    pass
                return
            built = [stacker.member(Training(record, 1, task.lr)) for record in records]
            fit_together(task, [member for member in built if member is not None])

        for round_ in range(rounds + 1):
            gc.collect()
            started = time.perf_counter()
            for record in few:
                member = stacker.member(Training(record, 1, task.lr))
                assert member is not None
                with analysis.threads():  # as a study does
                    fit(task, member.model, 1)
            between = time.perf_counter()
            together()
            ended = time.perf_counter()
            if round_:  # the first warms up
                singles.append((between - started) / len(few) / steps * 1e3)
                stacks.append((ended - between) / count / steps * 1e3)
    ratios = [one / other for one, other in zip(singles, stacks, strict=True)]
    return Row(
        kind, mix, count, where, statistics.median(singles), statistics.median(stacks),
        statistics.median(ratios),
    )  # fmt: skip


def chosen(kind: str, count: int, threads: int, rounds: int, epochs: int) -> float:
    """The automatic choice, its measurement included, beside one at a time: how many times as fast."""
    torch.set_num_threads(threads)
    task = make_task(kind, epochs)
    asked = [Request(record, (1,)) for record in candidates(count)]
    ratios = []
    for _ in range(rounds):
        subject = make_subject(task.replace())  # of which nothing is known yet
        started = time.perf_counter()
        for request in asked:
            subject.train([request])
        between = time.perf_counter()
        done = 0
        while done < len(asked):
            part = asked[done : done + subject.batch_for(asked[done:])]
            subject.train(part)
            done += len(part)
        ratios.append((between - started) / (time.perf_counter() - between))
    return statistics.median(ratios)


def confirmation(epochs: int, rounds: int) -> float:
    """5 finalists and the baseline x 10 seeds x 3 learning rates, stacked beside single: how many times as fast."""
    torch.set_num_threads(2)
    task = make_task("mlp", epochs)
    records = [Candidate.baseline().record, *candidates(5)]
    asked = [
        Request(record, (seed,), split="test", lr=lr)
        for lr in (1e-3, 3e-3, 9e-3)
        for record in records
        for seed in seed_list(0, "confirm", 10)
    ]
    few = asked[::9]
    ratios = []
    for _ in range(rounds):
        subject = make_subject(task.replace())  # of which nothing is known yet
        started = time.perf_counter()
        for request in few:
            subject.train([request])
        between = time.perf_counter()
        subject.train(asked)
        ended = time.perf_counter()
        ratios.append((between - started) / len(few) * len(asked) / (ended - between))
    return statistics.median(ratios)


_PEAK = """
import resource, sys
sys.path.insert(0, {folder!r})
import stacked_training as b
task = b.make_task("mlp", 1)
records = b.candidates({count})
members = [b._member(task, b.Training(record, 1, task.lr), strict=True) for record in records]
{run}
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)
"""


def peak(count: int) -> tuple[float, float]:
    """Peak resident memory in MiB of processes that train one candidate, and so many in one pass."""
    found = []
    for number, run in (
        (1, "b.fit(task, members[0].model, 1)"),
        (count, "b.fit_together(task, members)"),
    ):
        code = _PEAK.format(folder=__file__.rpartition("/")[0] or ".", count=number, run=run)
        done = subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, check=True
        )
        found.append(float(done.stdout.split()[-1]))
    return found[0], found[1]


def machine() -> str:
    """Where this was measured."""
    versions = f"Python {platform.python_version()}, torch {torch.__version__}"
    return f"{platform.machine()}, {torch.get_num_threads()} threads, {versions}"


def table(kind: str, quick: bool) -> list[str]:
    """Print the lines of one model; returns what missed its limit."""
    rounds, counts = (1, (8,)) if quick else (ROUNDS if kind == "mlp" else 2, (8, 32, 128))
    failed, best = [], dict[tuple[str, int], float]()
    for mix in MIXES if kind == "mlp" else ("mixed",):
        for count in counts:
            for where in ("1 thread", "2 threads", "2 processes"):
                epochs = 1 if quick or kind != "mlp" else 5
                row = measured(kind, mix, count, where, rounds, epochs)
                best[mix, count] = max(row.ratio, best.get((mix, count), 0.0))
                numbers = f"{row.single:>9.3f}  {row.stacked:>10.3f}  {row.ratio:>5.2f}"
                print(f"{kind:<12} {mix:<6} {count:>10}  {where:<12} {numbers}", flush=True)
    if kind == "mlp" and not quick:
        failed = [
            f"mlp, {mix}, at {count}: {ratio:.2f}, wanted {LIMITS[count]}"
            for (mix, count), ratio in best.items()
            if ratio < LIMITS.get(count, 0.0)
        ]
    return failed


def choices(quick: bool) -> list[str]:
    """Print what the automatic choice brings; returns what missed its limit."""
    failed = []
    for kind in ("mlp", "cnn", "transformer"):
        ratio = chosen(kind, 8 if quick else 32, 2, 1 if quick else 3, 1 if quick else 5)
        print(f"automatic choice, {kind}: {ratio:.2f} times as fast as one at a time", flush=True)
        if ratio < NEVER_SLOWER and not quick:
            failed.append(f"automatic choice, {kind}: {ratio:.2f}, wanted {NEVER_SLOWER}")
    return failed


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the tables; 1 if a limit was missed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="fewer steps, no limits")
    parser.add_argument("parts", nargs="*", choices=[*PARTS, []], metavar="PART")
    options = parser.parse_args(arguments)
    quick, parts = options.quick, options.parts or PARTS
    failed: list[str] = []
    print(machine())
    print("model        mix    candidates  where        single ms  stacked ms  ratio")
    for kind in MODELS:
        if kind in parts:
            failed += table(kind, quick)
    if "choice" in parts:
        failed += choices(quick)
    if "confirm" in parts:
        ratio = confirmation(1 if quick else 15, 1 if quick else 3)
        print(f"confirm, 6 x 10 seeds x 3 learning rates: {ratio:.2f} times as fast", flush=True)
        if ratio < CONFIRM and not quick:
            failed.append(f"confirm: {ratio:.2f}, wanted {CONFIRM}")
    if "memory" in parts:
        one, many = peak(128)
        print(f"peak memory: {one:.0f} MiB for one model, {many:.0f} MiB for 128 in one pass")
    for line in failed:
        print(f"missed: {line}")
    return int(bool(failed))


if __name__ == "__main__":
    sys.exit(main())
