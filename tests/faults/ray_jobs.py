"""Jobs for workers of a cluster."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import nn
from torch.nn import functional as F

import actsearch as acs
from actsearch.activations import describe
from actsearch.evaluation import make_subject
from actsearch.execution import Executor, Job, Work
from actsearch.records import CandidateRecord, Outcome

__all__ = ["alike_task", "happening_on", "outcomes_of", "searched", "small_task", "values_of"]

NAMES = ("relu", "sin", "tanh", "elu")
Objective = Callable[[acs.Candidate, acs.Run], float]


def _jobs() -> list[Job]:
    return [
        Job(number, CandidateRecord.shared(describe(name))) for number, name in enumerate(NAMES)
    ]


def outcomes_of(executor: Executor, objective: Any) -> dict[str, Outcome]:
    parts = executor.run(_jobs(), Work(make_subject(objective), (1,)))
    return {NAMES[job.number]: outcome for part in parts for job, outcome in part.outcomes}


def values_of(outcomes: dict[str, Outcome]) -> dict[str, float | None]:
    return {name: outcome.value for name, outcome in outcomes.items()}


def happening_on(name: str, happens: Callable[[], Any]) -> Objective:
    """An objective to which something happens on one activation."""

    def objective(candidate: acs.Candidate, run: acs.Run) -> float:
        if candidate.formula.startswith(name):
            happens()
        return float(run.number)

    return objective


def small_task(
    model: Callable[[], nn.Module] | None = None,
    rows: int = 128,
    epochs: int = 2,
    batch_size: int = 32,
) -> acs.Task:
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(rows, 4, generator=generator)
    y = (x[:, 0] > 0).long()
    half = rows // 2

    def plain() -> nn.Module:
        return nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 2))

    return acs.Task(
        model=model or plain, train=(x[:64], y[:64]), valid=(x[half:], y[half:]), loss=F.cross_entropy,
        metric="loss", epochs=epochs, batch_size=batch_size, lr=0.01, tune_lr=False, device="cpu",
    )  # fmt: skip


def alike_task() -> acs.Task:
    """An autoencoder's: targets are other tensors than inputs, of the same content."""
    x, other = torch.randn(2, 8192, 4, generator=torch.Generator().manual_seed(0))
    return acs.Task(
        model=lambda: nn.Sequential(nn.Linear(4, 2), nn.ReLU(), nn.Linear(2, 4)), loss=F.mse_loss, metric="mse",
        train=(x, x.clone()), valid=(other, other.clone()), epochs=1, batch_size=4096, lr=0.01, tune_lr=False,
        device="cpu",
    )  # fmt: skip


def searched(objective: Any, executor: Any, trials: int = 8, **more: Any) -> list[tuple[Any, ...]]:
    study = acs.create_study(study_name="s", strategy="random", seed=5, direction="minimize")
    study.optimize(objective, n_trials=trials, executor=executor, show_progress_bar=False, **more)
    trained = [trial for trial in study.trials if trial.state.is_trained]
    return [(t.number, t.state.name, t.candidate.formula, t.value) for t in trained]
