"""Does the search find a function that is known to be there?

A teacher network makes the data, without noise: 16 numbers go through a layer of 8 units, an activation that is
planted there, and a readout. The student has the teacher's first layer, frozen, and learns a readout of its own, so
that the planted function is what it lacks: with it, or with an equal of it, the error goes to zero, with another one
it does not. What equals it is what a readout cannot tell apart from it: ``a * f + b``, mirror images included.

Three are planted: a row of the catalog, a row with an unusual hyperparameter, and a formula of three operators. The
search is right when the first of the confirmed is the planted function or an equal of it. Run it again: it resumes,
and adds nothing to what is there.

With "gradient", the shape of the activation is learned first, and then named; three wider ones are planted besides,
with operators that the space of names lacks, so that they can be approximated, and not found.

    python studies/teacher.py                # one teacher of each
    python studies/teacher.py 10             # ten of each, with data and a search of their own
    python studies/teacher.py 10 gradient    # the same, by learning shapes
"""

from __future__ import annotations

import logging
import math
import statistics
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.nn import functional as F

import actsearch as acs

STORAGE = f"sqlite:///{Path(__file__).with_name('actsearch.db')}"
INPUTS, UNITS = 16, 8
EQUAL = 1e-4
"""Largest share of the planted function's variance that a readout of its equal leaves unexplained."""
NEAR = 1e-3
"""Likewise, of what approximates a function that cannot be named."""


@dataclass(frozen=True)
class Plant:
    """What the teacher has, and how it is looked for.

    Attributes:
        what: in words.
        formula: catalog name or formula.
        strategy: that looks for it.
        trials: after so many the search gives up.
        epochs: of each training.
        solved: mean squared error below which nothing is left to look for; the data have a variance of 1.
        settings: hyperparameters of the catalog row.
        space: where it is looked for.
        equal: largest share of it that what is found may leave unexplained.
    """

    what: str
    formula: str
    strategy: str
    trials: int
    epochs: int
    solved: float
    settings: dict[str, Any] = field(default_factory=dict)
    space: acs.Space | None = None
    equal: float = EQUAL

    @property
    def label(self) -> str:
        """Name or formula, with its settings."""
        return acs.Candidate.of(self.formula, **self.settings).label

    def module(self) -> nn.Module:
        """The activation."""
        return acs.activation(self.formula, **self.settings)


FIXED = acs.Space(
    activations=("relu", "tanh", "sin", "sigmoid"),
    operators=("add", "sub", "mul", "max", "sin", "cos", "tanh", "sigmoid"),
    max_size=7,
    learned=False,
)
"""Fixed forms of few operators: thousands of different functions."""

PLANTS = (
    Plant("catalog row", "mish", "bayesian", 60, 30, 1e-8),
    Plant("unusual hyperparameter", "elu", "bayesian", 160, 30, 1e-8, {"alpha": 2.3}),
    Plant("three operators", "cos(x) * tanh(x)", "genetic", 3000, 20, 1e-5, space=FIXED),
)

WIDER = tuple(
    Plant("wider", formula, "gradient", 24, 20, 1e-7, space=FIXED, equal=NEAR)
    for formula in (
        "sin(2 * x) * exp(-0.125 * x * x)",
        "x * erf(x) + 0.3 * cos(2 * x)",
        "abs(x - 1) - 0.5 * relu(x + 1)",
    )
)
"""Each has an operator that the space of names lacks."""
LEARNED_TRIALS = 24
"""Of a search by gradients: two rounds of shapes and names."""


def make_task(plant: Plant, seed: int, small: bool = False) -> acs.Task:
    """A teacher's data in three parts, and a student that has its first layer."""
    draws = torch.Generator().manual_seed(seed)
    first = nn.Linear(INPUTS, UNITS)
    with torch.no_grad():
        # each unit sees N(bias, 4), alone
        nn.init.orthogonal_(first.weight, gain=2, generator=draws)
        first.bias.copy_(torch.randn(UNITS, generator=draws))
        inputs = torch.randn(1024, INPUTS, generator=draws)
        targets = plant.module()(first(inputs)) @ torch.randn(UNITS, 1, generator=draws)
        targets = (targets - targets.mean()) / targets.std()
    weights = {name: value.clone() for name, value in first.state_dict().items()}

    def make_model() -> nn.Module:
        layer = nn.Linear(INPUTS, UNITS)
        layer.load_state_dict(weights)
        return nn.Sequential(layer.requires_grad_(False), nn.ReLU(), nn.Linear(UNITS, 1))

    return acs.Task(
        name=f"teacher-{plant.what}-{seed}",
        model=make_model,
        train=(inputs[:512], targets[:512]),
        valid=(inputs[512:768], targets[512:768]),
        test=(inputs[768:], targets[768:]),
        loss=F.mse_loss,
        metric="mse",
        epochs=2 if small else plant.epochs,
        batch_size=64,
        lr=0.1,
        schedule="cosine",
        tune_lr=False,  # the rate suits the frozen readout, whatever stands at the site
    )


def unexplained(found: nn.Module, planted: nn.Module) -> float:
    """Share of the planted function's variance that ``a * found + b`` leaves, for numbers as the units see them."""
    with torch.no_grad():
        x = 2 * torch.linspace(-3, 3, 601).unsqueeze(1)
        weights = torch.exp(-x * x / 8).sqrt()
        wanted = planted(x)
        columns = torch.cat([found(x), torch.ones_like(x)], dim=1)
        fit = torch.linalg.lstsq(
            (weights * columns).double(), (weights * wanted).double()
        ).solution
        left = weights * (wanted - columns @ fit.float())
        around = weights * (wanted - (weights**2 * wanted).sum() / (weights**2).sum())
    return float((left**2).sum() / (around**2).sum())


@dataclass(frozen=True)
class Found:
    """What a search made of one teacher."""

    plant: Plant
    seed: int
    verdict: acs.Verdict
    trained: int  # in trainings

    @property
    def first(self) -> acs.VerdictRow:
        """Best mean of the confirmed."""
        return self.verdict.rows[0]

    @property
    def left(self) -> float:
        """What it leaves unexplained."""
        return unexplained(acs.activation(acs.parse(self.first.formula)), self.plant.module())

    @property
    def recovered(self) -> bool:
        """Whether the first of the confirmed is the planted function or an equal, and better than the baseline."""
        return self.verdict.winner is self.first and self.left < self.plant.equal


def search(plant: Plant, seed: int, storage: str, small: bool, strategy: str = "") -> Found:
    """Look for what one teacher has, and confirm what was found."""
    task = make_task(plant, seed, small)
    study = acs.create_study(
        study_name=f"teacher: {f'{strategy}, {plant.formula}' if strategy else plant.what}, {seed}",
        storage=storage,
        strategy=strategy or plant.strategy,
        space=plant.space,
        seed=seed,
        load_if_exists=True,
    )

    def solved(study: acs.Study, trial: acs.Trial) -> None:
        if trial.value is not None and trial.value < plant.solved:
            study.stop()

    best = min((trial.value for trial in study.trials if trial.value is not None), default=1.0)
    if best >= plant.solved:
        trials = min(plant.trials, LEARNED_TRIALS) if strategy == "gradient" else plant.trials
        study.optimize(task, total_trials=4 if small else trials, callbacks=(solved,))
    verdict = study.confirm(task, top_k=1 if small else 3, seeds=2 if small else None)
    return Found(plant, seed, verdict, count_trainings(study))


def count_trainings(study: acs.Study) -> int:
    """What a search took, in trainings: a pass of shape learning says how many it was as long as."""
    trained = [trial for trial in study.trials if trial.state.is_trained and not trial.is_baseline]
    return math.ceil(sum(float(trial.user_attrs.get("trainings", 1)) for trial in trained))


def table(found: Sequence[Found]) -> str:
    """One line for each search, and of each plant how often it was recovered, and after how many trials."""
    lines = [
        f"{'planted':<18}  seed  {'first of the verdict':<30}  {'mse':>7}  unexplained  trainings  recovered"
    ]
    for item in found:
        lines.append(
            f"{item.plant.label:<18}  {item.seed:>4}  {item.first.label:<30}  {item.first.mean:>7.1e}  "
            f"{item.left:>11.0e}  {item.trained:>9}  {'yes' if item.recovered else 'no'}"
        )
    for plant in (*PLANTS, *WIDER):
        own = [item for item in found if item.plant is plant]
        if not own:
            continue
        took = statistics.median(item.trained for item in own)
        lines.append(
            f"{plant.what}, {plant.label}: {sum(item.recovered for item in own)} of {len(own)} recovered, "
            f"after {took:.0f} trainings (median)"
        )
    return "\n".join(lines)


def main(storage: str = STORAGE, small: bool = False, seeds: int = 1, strategy: str = "") -> None:
    """Search, confirm, print what was recovered; ``small`` is a quick look at whether it all runs."""
    logging.basicConfig(format="%(message)s")
    logging.getLogger("actsearch").setLevel(logging.INFO)  # says how long it will take
    torch.set_num_threads(1)  # a network this small is fastest so
    plants = (*PLANTS, *WIDER) if strategy == "gradient" else PLANTS
    found = [search(p, seed, storage, small, strategy) for p in plants for seed in range(seeds)]
    print(f"\n{found[-1].verdict}\n\n{table(found)}")
    print(f"\nBrowse it:  {Path(sys.executable).with_name('actsearch')} dashboard {storage}")


if __name__ == "__main__":
    main(seeds=int(sys.argv[1]) if len(sys.argv) > 1 else 1, strategy="".join(sys.argv[2:]))
