"""Which activation for a network that solves a differential equation?

A physics-informed network (Raissi et al. 2019, J. Comput. Phys. 378) for Burgers' equation, u_t + u u_x = nu u_xx with
nu = 0.1 / pi: a sine wave that steepens to a front. No data: the loss is the residual of the equation at 2,048 random
points and the distance to what is given at the edges. The residual has second derivatives of the network, and so of its
activations: that of ReLU is 0, so that a network of ReLUs cannot see the term nu u_xx at all, and solves another
equation. The unchanged model has tanh, as such networks usually do. The metric is the relative L2 error, |u - v| / |v|,
on points of their own, where v is the exact solution (Hopf 1950, Cole 1951): integrals that are computed by quadrature.
Half of these points are for the search to look at, half for the verdict. 40 trials by `auto`, all layers with one
function. Run it again: it resumes, and adds nothing to what is there.

    python studies/physics.py
"""

from __future__ import annotations

import logging
import math
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

import actsearch as acs

STORAGE = f"sqlite:///{Path(__file__).with_name('actsearch.db')}"
TRIALS = 40
NU = 0.1 / math.pi
EDGE_WEIGHT = 5.0
"""Of what is given at the edges, in the loss."""


def make_model() -> nn.Module:
    """u(t, x), from (N, 2) to (N, 1)."""
    return nn.Sequential(
        nn.Linear(2, 24), nn.Tanh(), nn.Linear(24, 24), nn.Tanh(), nn.Linear(24, 24), nn.Tanh(),
        nn.Linear(24, 1),
    )  # fmt: skip


def exact(points: Tensor) -> Tensor:
    """The solution that starts as -sin(pi x), by Gauss-Hermite quadrature of the Cole-Hopf integrals; (N, 1)."""
    t, x = (column.numpy()[:, None] for column in points.double().T)
    nodes, weights = np.polynomial.hermite.hermgauss(100)
    y = x - np.sqrt(4 * NU * t) * nodes
    share = weights * np.exp(-np.cos(math.pi * y) / (2 * math.pi * NU))
    u = -(share * np.sin(math.pi * y)).sum(1) / share.sum(1)
    return torch.tensor(u, dtype=torch.float32)[:, None]


def edges() -> tuple[Tensor, Tensor]:
    """Points at t = 0 and at x = -1 and 1, and u there."""
    x, t = torch.linspace(-1, 1, 32)[:, None], torch.linspace(0, 1, 16)[:, None]
    start = torch.cat([torch.zeros_like(x), x], 1)
    walls = [torch.cat([t, torch.full_like(t, side)], 1) for side in (-1.0, 1.0)]
    return torch.cat([start, *walls]), torch.cat([-torch.sin(math.pi * x), torch.zeros(32, 1)])


EDGES = edges()


def residual(model: nn.Module, points: Tensor) -> Tensor:
    """u_t + u u_x - nu u_xx at (N, 2) points; (N, 1)."""
    points = points.detach().requires_grad_()
    u = model(points)
    (first,) = torch.autograd.grad(u.sum(), points, create_graph=True)  # u_t and u_x
    (second,) = torch.autograd.grad(first[:, 1].sum(), points, create_graph=True)
    left: Tensor = first[:, :1] + u * first[:, 1:] - NU * second[:, 1:]
    return left


def step(model: nn.Module, batch: tuple[Tensor, Tensor]) -> Tensor:
    """The loss of one batch of points inside, with the residual wanted there, and of all points at the edges."""
    points, wanted = batch
    where, given = (part.to(points.device) for part in EDGES)
    inside = F.mse_loss(residual(model, points), wanted)
    return inside + EDGE_WEIGHT * F.mse_loss(model(where), given)


def evaluate(model: nn.Module, batches: Iterable[tuple[Tensor, Tensor]]) -> Mapping[str, float]:
    """The relative error over all points."""
    error, size = 0.0, 0.0
    for points, reference in batches:
        error += float((model(points) - reference).square().sum())
        size += float(reference.square().sum())
    return {"l2_error": math.sqrt(error / size)}


def make_task(small: bool = False) -> acs.Task:
    """Points inside for the residual; others, with the exact solution, to look at and for the verdict."""
    draw = torch.Generator().manual_seed(0)
    points = torch.rand(4048, 2, generator=draw)
    points[:, 1] = 2 * points[:, 1] - 1
    inside, valid, test = points[:2048], points[2048:3048], points[3048:]
    return acs.Task(
        name="burgers",
        model=make_model,
        train=(inside, torch.zeros(len(inside), 1)),
        valid=(valid, exact(valid)),
        test=(test, exact(test)),
        step=step,
        evaluate=evaluate,
        metric="l2_error",
        steps=10 if small else 500,
        batch_size=64,
        lr=1e-2,
        schedule="cosine",
    )


def table(study: acs.Study) -> str:
    """The unchanged model, ReLU, and the best, on validation data."""
    unchanged = [t for t in study.trials if t.candidate.record.operation == "baseline"]
    shown = unchanged + [t for t in study.trials if str(t.candidate) == "relu"]
    lines = [" error  activation (validation data)"]
    for words, trial in [("", trial) for trial in shown] + [("best of all: ", study.best_trial)]:
        value = "  none" if trial.value is None else f"{trial.value:>6.4f}"
        lines.append(f"{value}  {words}{trial.candidate}")
    return "\n".join(lines)


def main(storage: str = STORAGE, small: bool = False) -> None:
    """Search, confirm, print the evidence; ``small`` is a quick look at whether it all runs."""
    logging.basicConfig(format="%(message)s")
    logging.getLogger("actsearch").setLevel(logging.INFO)  # says how long it will take
    torch.set_num_threads(1)  # a network this small is fastest so
    task = make_task(small)
    study = acs.create_study(
        study_name="burgers", storage=storage, direction="minimize", load_if_exists=True
    )
    if not study.trials:
        study.enqueue_trial("relu")  # to see what it does
    study.optimize(task, total_trials=4 if small else TRIALS)
    verdict = study.confirm(task, top_k=1 if small else 3, seeds=2 if small else None)
    print(f"\n{table(study)}\n\n{verdict}")
    print(f"\nBrowse it:  {Path(sys.executable).with_name('actsearch')} dashboard {storage}")


if __name__ == "__main__":
    main()
