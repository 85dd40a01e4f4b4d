"""How busy a cluster is that one study drives: the real driver and storage, and workers whose time is simulated.

Run ``python tests/benchmarks/virtual_cluster.py``. Trials take as long as they train epochs, times a factor of chance
for each (log-normal, coefficient of variation .3); what they reach follows from their numbers. Printed for each rule
are the trials, the time until the last one ended, in whole trainings, and the share of the workers' time in which they
train: in all; until the last trial was handed out, after which they run empty (busy); and until then without epochs
that were trained in vain, as the trial was pruned before (useful).

Rules: today's, a logical batch that ends before the next is proposed ("batches"), and ``parallel=V``, with successive
halving and without.

    python tests/benchmarks/virtual_cluster.py --workers 64 --trials 3000 --parallel 64 128
"""

from __future__ import annotations

import argparse
import functools
import heapq
import itertools
import math
import time
from collections.abc import Generator, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

import actsearch as acs
from actsearch.evaluation import Pruner
from actsearch.execution import Finished, Job, Work
from actsearch.execution.holding import Held
from actsearch.records import EpochRecord, EvaluationRecord, Outcome, TrialState
from actsearch.seeds import derive

EPOCHS = 81
VARIATION = 0.3
HALVING = acs.SuccessiveHalving(1, 3)


def make_task(epochs: int = EPOCHS) -> acs.Task:
    """A task that the study can be made for; nothing of it is trained."""
    x = torch.randn(128, 2, generator=torch.Generator().manual_seed(0))
    y = torch.arange(128) % 2
    return acs.Task(
        model=lambda: nn.Sequential(nn.Linear(2, 4), nn.ReLU(), nn.Linear(4, 2)),
        train=(x[:64], y[:64]),
        valid=(x[64:], y[64:]),
        loss=F.cross_entropy,
        metric="loss",
        epochs=epochs,
        tune_lr=False,
        device="cpu",
    )


@functools.lru_cache(maxsize=8192)
def curve_of(number: int) -> list[float]:
    """What a trial comes to after each epoch: from 1 down to a level of its own, with noise."""
    rng = np.random.default_rng(derive(7, "curve", number) % 2**32)
    level, rate = rng.uniform(0.2, 0.8), rng.uniform(0.03, 0.3)
    epochs = np.arange(1, EPOCHS + 1)
    values = level + (1 - level) * np.exp(-rate * epochs) + rng.normal(scale=0.02, size=EPOCHS)
    return [float(value) for value in values]


def value_at(number: int, epoch: int) -> float:
    """What a trial has come to after an epoch, counted from 1."""
    return curve_of(number)[epoch - 1]


@dataclass
class Running:
    """A trial on a worker: epochs trained, and simulated seconds for each."""

    job: Job
    pace: float
    began: float
    epoch: int = 0


@dataclass
class Cluster(Held):
    """An executor whose workers take simulated time.

    Attributes:
        workers: how many.
        seed: of the paces.
        now: simulated time; an epoch takes 1 on average.
        trained: epochs trained.
        last: when the last trial was handed out.
        spans: when each trial began, and ended.
    """

    workers: int
    seed: int = 0
    now: float = 0.0
    trained: int = 0
    last: float = 0.0
    spans: list[tuple[float, float]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._rng = np.random.default_rng(self.seed)
        self._stops = False

    def open(self, work: Work) -> None:
        """It is there."""

    def forecast_seconds(self, work: Work) -> float | None:
        """Not known: its time is simulated."""
        return None

    def batch_for(self, jobs: Sequence[Job], work: Work) -> int:
        """All that wait."""
        return max(1, len(jobs))

    def stop(self) -> None:
        """Start no further job."""
        self._stops = True

    def close(self) -> None:
        """Nothing is held."""

    def run(self, jobs: Sequence[Job], work: Work) -> Generator[Finished]:
        """Have trials take their time."""
        waiting, running = list(jobs), list[tuple[float, int, Running]]()
        ended: dict[int, tuple[Job, Outcome]] = {}
        order = [job.number for job in jobs]
        while True:
            if work.flow is not None and len(running) + len(waiting) < self.workers:
                waiting += work.flow.take()
            while waiting and len(running) < self.workers:
                self._begin(waiting.pop(0), running, work)
            if not running:
                return
            self.now, _, one = heapq.heappop(running)
            if self._goes_on(one, work, order, ended):
                self._plan(one, running)
                continue
            self.spans.append((one.began, self.now))
            outcome = self._outcome(one)
            if not work.decides_in_order:
                yield Finished([(one.job, outcome)])
                continue
            ended[one.job.number] = (one.job, outcome)
            ready = []
            while order and order[0] in ended:
                job, outcome = ended.pop(order.pop(0))
                ready.append((job, work.apply_pruner(job, outcome)))
            if ready:
                yield Finished(ready)

    def _begin(self, job: Job, running: list[tuple[float, int, Running]], work: Work) -> None:
        sigma = math.sqrt(math.log(1 + VARIATION**2))
        pace = float(self._rng.lognormal(-(sigma**2) / 2, sigma))
        self.last = self.now
        self._plan(Running(job, pace, self.now), running)

    def _plan(self, one: Running, running: list[tuple[float, int, Running]]) -> None:
        """Its next epoch."""
        one.epoch += 1
        heapq.heappush(running, (self.now + one.pace, one.job.number, one))

    def _goes_on(
        self, one: Running, work: Work, order: Sequence[int], ended: dict[int, tuple[Job, Outcome]]
    ) -> bool:
        """Whether a trial trains another epoch."""
        self.trained += 1
        number, is_own = one.job.number, one.job.candidate.is_baseline
        if one.epoch == work.subject.epochs:
            return False
        if work.competition is None or is_own:
            return True
        steps = work.competition.steps() or []
        if work.flow is not None:
            if one.epoch in steps:
                work.flow.report(one.epoch, {number: value_at(number, one.epoch)})
            return number not in work.flow.given_up
        tracker = Pruner(work.competition, tuple(order)).track(number)
        curve = [(step, value_at(number, step)) for step in steps if step <= one.epoch]
        tracker.read(curve)
        return tracker.pruned_at is None

    def _outcome(self, one: Running) -> Outcome:
        epochs = tuple(
            EpochRecord(epoch, valid_metric=value_at(one.job.number, epoch))
            for epoch in range(1, one.epoch + 1)
        )
        value = epochs[-1].valid_metric
        record = EvaluationRecord(1, value, epochs=epochs, seconds=1.0)
        return Outcome(TrialState.COMPLETE, value, evaluations=(record,), seconds=1.0)


def measure(
    workers: int, parallel: int | None, pruner: acs.SuccessiveHalving | None, trials: int
) -> str:
    """One search; a line of the table."""
    cluster, began = Cluster(workers), time.monotonic()
    strategy = acs.RandomSearch(parallel=parallel, formulas=0.0)
    study = acs.create_study(study_name="simulated", strategy=strategy, pruner=pruner, seed=1)
    study.optimize(make_task(), n_trials=trials, executor=cluster, show_progress_bar=False)
    states = [trial.state for trial in study.trials]
    complete, pruned = (states.count(state) for state in (TrialState.COMPLETE, TrialState.PRUNED))
    saved = 0.0 if study.pruning is None else study.pruning.saved
    kept = (1 - saved) * (complete + pruned) * EPOCHS
    full = sum(end - start for start, end in cluster.spans) / (cluster.now * workers)
    span = cluster.last
    busy = sum(min(end, span) - start for start, end in cluster.spans if start < span)
    share = busy / (span * workers)
    rule = "batches" if parallel is None else f"parallel={parallel}"
    return (
        f"{rule:<13}{'halving' if pruner else 'none':<8} {workers} workers {complete:5} complete {pruned:5} pruned"
        f"  time {cluster.now / EPOCHS:6.1f}  all {full:4.0%}  busy {share:4.0%}"
        f"  useful {share * kept / cluster.trained:4.0%}  ({time.monotonic() - began:.0f} s)"
    )


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--workers", type=int, nargs="+", default=[64])
    parser.add_argument("--trials", type=int, default=1500)
    parser.add_argument("--parallel", type=int, nargs="+", default=[64, 128])
    given = parser.parse_args()
    for workers, pruner in itertools.product(given.workers, (HALVING, None)):
        for parallel in (None, *given.parallel):
            print(measure(workers, parallel, pruner, given.trials), flush=True)


if __name__ == "__main__":
    main()
