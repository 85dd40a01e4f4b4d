"""What training on a GPU gives and takes, beside the CPU: one script, made to be run once where a GPU is at hand.

Run ``python tests/benchmarks/gpu.py --out gpu.md``; it takes some 10 minutes on one GPU, prints its tables as it goes,
and writes them to the file. A part that fails is named, the others are measured all the same, and the exit status is 1
then, or where a value is further from the CPU's than rounding takes it.

    python tests/benchmarks/gpu.py --device cpu --small        that the script itself runs, in a minute
    python tests/benchmarks/gpu.py parity speed                parts of it: parity speed settings confirm

- parity: losses and accuracy of a training, on the CPU, alone on the device, and in a stack there
- speed: milliseconds of a step of one candidate alone and in stacks of mixed candidates, and the peak of memory
- settings: the same training twice, with deterministic algorithms, and with TF32: what differs, and how long it takes
- confirm: a whole confirmation, stacked beside one at a time
"""

from __future__ import annotations

import argparse
import platform
import sys
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from stacked_training import candidates, make_task

import actsearch as acs
from actsearch.devices import with_peak_memory
from actsearch.evaluation.stacked import Stacker, Training
from actsearch.evaluation.task_analysis import TaskAnalysis
from actsearch.records import CandidateRecord
from actsearch.training import TrainingResult, fit
from actsearch.training.stack import Member, fit_together

COUNTS: dict[str, tuple[int, ...]] = {
    "mlp": (32, 128, 256),
    "cnn": (16, 64),
    "transformer": (16, 64),
}
SMALL: dict[str, tuple[int, ...]] = {"mlp": (4,), "cnn": (3,), "transformer": (3,)}
PRECISIONS: dict[str, str | None] = {"float32": None, "bfloat16": "bfloat16"}
TOLERANCE = {"float32": 1e-3, "bfloat16": 5e-2}  # relative, of a loss after some steps
BATCH = 64  # samples, as in make_task


@dataclass
class Report:
    """Prints lines as they are known, and keeps them.

    Attributes:
        lines: all of them.
        failed: what went wrong.
    """

    lines: list[str] = field(default_factory=list)
    failed: list[str] = field(default_factory=list)

    def say(self, text: str = "") -> None:
        """One line."""
        print(text, flush=True)
        self.lines.append(text)

    def table(
        self, heading: str, columns: Sequence[str], rows: Iterator[Sequence[object]]
    ) -> None:
        """A table in Markdown, each row as soon as it is measured."""
        self.say(f"\n## {heading}\n")
        self.say(f"| {' | '.join(columns)} |")
        self.say("|" + "---|" * len(columns))
        for row in rows:
            self.say(f"| {' | '.join(_text(item) for item in row)} |")


def _text(item: object) -> str:
    return f"{item:.4g}" if isinstance(item, float) else str(item)


@dataclass(frozen=True)
class Plan:
    """What is measured.

    Attributes:
        device: beside the CPU.
        small: as little as shows that it runs.
    """

    device: str
    small: bool

    @property
    def counts(self) -> dict[str, tuple[int, ...]]:
        """Members of the stacks of each model."""
        return SMALL if self.small else COUNTS

    def task(self, kind: str, **changes: Any) -> acs.Task:
        """One epoch of 2 steps, or of 16."""
        rows = 2 * BATCH if self.small else 1000
        return make_task(kind, 1, rows).replace(device=self.device, diagnostics=False, **changes)


def members(task: acs.Task, records: Sequence[CandidateRecord]) -> list[Member]:
    """Models ready to be trained, in the order in which a search stacks them."""
    stacker = Stacker(TaskAnalysis(task))
    trainings = sorted(
        (Training(record, 1, task.lr) for record in records), key=lambda item: item.key
    )
    return [member for item in trainings if (member := stacker.member(item)) is not None]


def alone(task: acs.Task, records: Sequence[CandidateRecord]) -> list[TrainingResult]:
    """One after the other."""
    return [fit(task, member.model, 1) for member in members(task, records)]


def together(task: acs.Task, records: Sequence[CandidateRecord]) -> list[TrainingResult]:
    """In one pass."""
    return fit_together(task, members(task, records))


def off(found: Sequence[TrainingResult], expected: Sequence[TrainingResult]) -> float:
    """The largest difference of a loss, relative; infinite where one of the two did not train to its end."""
    worst = 0.0
    for one, other in zip(found, expected, strict=True):
        if not one.epochs or not other.epochs:
            worst = worst if one.stopped == other.stopped else float("inf")
            continue
        for a, b in ((one.epochs[-1].train_loss, other.epochs[-1].train_loss),
                     (one.epochs[-1].valid_loss, other.epochs[-1].valid_loss)):  # fmt: skip
            assert a is not None
            assert b is not None
            worst = max(worst, abs(a - b) / max(abs(b), 1e-6))
    return worst


def accuracy(results: Sequence[TrainingResult]) -> float:
    """The mean of those that trained to their end."""
    values = [next(iter(item.metrics.values())) for item in results if item.metrics]
    return sum(values) / max(len(values), 1)


def parity(plan: Plan, report: Report) -> None:
    """The same candidates on the CPU, on the device, and in a stack on it."""
    columns = (
        "model",
        "precision",
        "off alone",
        "off stacked",
        "accuracy CPU",
        "alone",
        "stacked",
    )

    def rows() -> Iterator[Sequence[object]]:
        for kind in plan.counts:
            records = candidates(3 if plan.small else 8)
            for name, amp in PRECISIONS.items():
                task = plan.task(kind, amp=amp, tf32=False)
                expected = alone(task.replace(device="cpu", amp=None), records)
                single, stacked = alone(task, records), together(task, records)
                differences = off(single, expected), off(stacked, expected)
                if max(differences) > TOLERANCE[name]:
                    report.failed.append(f"parity of {kind} in {name}: {max(differences):.2g}")
                yield (
                    kind, name, *differences,
                    accuracy(expected), accuracy(single), accuracy(stacked),
                )  # fmt: skip

    report.table("Parity with the CPU in float32 (relative difference of losses)", columns, rows())


def timed(task: acs.Task, built: list[Member], stacked: bool) -> tuple[float, float]:
    """Milliseconds of a step of one candidate, and MiB at the peak; what is read at the end waits for the device."""
    steps = -(-len(task.train[0]) // task.batch_size)
    count = len(built)

    def train() -> float:
        started = time.perf_counter()
        if stacked:
            fit_together(task, built)
        else:
            for member in built:
                fit(task, member.model, 1)
        return time.perf_counter() - started

    seconds, used = with_peak_memory(task.torch_device(), train)
    return seconds / steps / count * 1e3, used / 2**20


def speed(plan: Plan, report: Report) -> None:
    """A step alone and in stacks; each is run before it is measured."""
    columns = (
        "model", "precision", "candidates", "alone ms", "stacked ms", "times faster", "alone MiB", "stacked MiB",
    )  # fmt: skip

    def rows() -> Iterator[Sequence[object]]:
        for kind, counts in plan.counts.items():
            for name, amp in PRECISIONS.items():
                task = plan.task(kind, amp=amp)
                few = candidates(counts[0])[:: max(1, counts[0] // 4)]
                timed(task, members(task, few), stacked=False)
                single, single_used = timed(task, members(task, few), stacked=False)
                for count in counts:
                    records = candidates(count)
                    timed(task, members(task, records), stacked=True)
                    each, used = timed(task, members(task, records), stacked=True)
                    yield kind, name, count, single, each, single / each, single_used, used

    report.table("A training step of one candidate, mixed candidates", columns, rows())


def settings(plan: Plan, report: Report) -> None:
    """What repeats itself, and what that costs."""
    columns = ("model", "setting", "off when repeated", "ms", "off from float32")

    def rows() -> Iterator[Sequence[object]]:
        for kind, counts in plan.counts.items():
            records = candidates(counts[0])
            exact = together(plan.task(kind, tf32=False), records)
            for name, changes in (
                ("as it is", {}),
                ("deterministic", {"deterministic": True}),
                ("TF32", {"tf32": True}),
                ("deterministic, no TF32", {"deterministic": True, "tf32": False}),
            ):
                task = plan.task(kind, **changes)
                first, second = together(task, records), together(task, records)
                difference = off(first, second)
                if "deterministic" in changes and difference:
                    report.failed.append(f"{kind}, {name}: a training is not repeated")
                each, _ = timed(task, members(task, records), stacked=True)
                yield kind, name, difference, each, off(first, exact)

    report.table("Deterministic algorithms and TF32", columns, rows())


def confirm(plan: Plan, report: Report) -> None:
    """A search of a few trials and a confirmation; the same with one training at a time."""
    columns = ("trainings", "seconds", "how", "winner")

    def rows() -> Iterator[Sequence[object]]:
        for how, executor in (("stacked", acs.Local()), ("one at a time", acs.Local(batch=1))):
            task = plan.task("mlp", tune_lr=False).replace(epochs=1 if plan.small else 5)
            study = acs.create_study(study_name=how, strategy="random", seed=0)
            study.optimize(task, n_trials=4 if plan.small else 24, show_progress_bar=False)
            started = time.perf_counter()
            verdict = study.confirm(
                task, top_k=1 if plan.small else 3, seeds=2 if plan.small else 8, executor=executor,
            )  # fmt: skip
            yield verdict.trainings, time.perf_counter() - started, how, verdict.winner.formula

    report.table("Confirm", columns, rows())


PARTS: dict[str, Callable[[Plan, Report], None]] = {
    "parity": parity,
    "speed": speed,
    "settings": settings,
    "confirm": confirm,
}


def machine(device: torch.device) -> str:
    """Where this was measured."""
    name = platform.machine()
    if device.type == "cuda":
        found = torch.cuda.get_device_properties(device)
        name = f"{found.name}, {found.total_memory / 2**30:.0f} GiB, CUDA {torch.version.cuda}"
    return f"{name}, Python {platform.python_version()}, torch {torch.__version__}, actsearch {acs.__version__}"


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the tables; 1 where something failed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--small", action="store_true", help="that it runs, not how fast")
    parser.add_argument("--out", type=Path, help="a file that gets the tables too")
    parser.add_argument("parts", nargs="*", choices=[*PARTS, []], metavar="PART")
    options = parser.parse_args(arguments)
    plan, report = Plan(options.device, options.small), Report()
    device = plan.task("mlp").torch_device()  # says it where there is none
    report.say(f"# Training on {device}\n\n{machine(device)}")
    for name in options.parts or PARTS:
        started = time.perf_counter()
        try:
            PARTS[name](plan, report)
        except (
            Exception
        ):  # the other parts are measured all the same: a GPU may not be at hand again
            report.failed.append(f"{name}: {traceback.format_exc(limit=-3)}")
        report.say(f"\n{name} took {time.perf_counter() - started:.0f} s")
        if options.out is not None:
            options.out.write_text("\n".join(report.lines) + "\n")
    for line in report.failed:
        report.say(f"\nfailed: {line}")
    if options.out is not None:
        options.out.write_text("\n".join(report.lines) + "\n")
    return int(bool(report.failed))


if __name__ == "__main__":
    sys.exit(main())
