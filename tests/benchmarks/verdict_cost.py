"""What a verdict costs in trainings, what it finds, and how often it errs.

Run ``python tests/benchmarks/verdict_cost.py scores.npz``. Baseline, mirror images of it (true nulls: between
symmetrically initialised layers they train alike) and other activations are trained on three networks over digits at
five learning rates under many seeds, once: the scores are kept in the file. Verdicts are then
simulated by drawing seeds from the table: the race of ``study.confirm`` as it is, beside what it replaced, ten seeds
for each finalist and for each of these a grid of three learning rates and more; and a race that ends two seeds sooner,
as the race finds more than what it replaced, to compare the trainings at about equal power.

With ``--sin``, ``python tests/benchmarks/verdict_cost.py --sin 10`` makes ten real verdicts instead, without a file:
``sin`` beside a model of ReLU on digits, with ``covers="seeds"`` and a study seed each. Printed is, for each, the word
and the trainings that it took, then the most of those that found it better, for which the limit is 90. The search is
``sin`` and the model unchanged alone, so that these are the trainings of one finalist.

Printed otherwise are the median of the trainings, the choice of finalists included (one training for each of 16,
before three for each of 21), how often something better was found among five finalists drawn from twelve activations,
the gain of what was found (0 where nothing was) in truth, that is over all seeds; how often something was called
better that is worse or worse that is better; and how often the mirror images of the baseline, three or one, were told
from it.
"""

from __future__ import annotations

import argparse
import functools
import statistics
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np
import numpy.typing as npt
import torch
from sklearn.datasets import load_digits
from torch import Tensor, nn
from torch.nn import functional as F

import actsearch as acs
from actsearch.evaluation import Candidate, Request, make_subject
from actsearch.records import CandidateRecord, Score
from actsearch.report import LOOKS, Paired, PairedTest
from actsearch.study.race import Race
from actsearch.study.rate_grid import RateGrid
from actsearch.study.trainings import Trainings

sys.path.insert(0, str(Path(__file__).parents[2] / "studies"))
from setups.small_tasks import Convolutions, mlp  # noqa: E402

Numbers = npt.NDArray[np.float64]

STEPS = (-2, -1, 0, 1, 2)
BASELINE = ("baseline", "min(x, 0)", "-relu(x)", "relu(-x)")
OTHERS = (
    "gelu", "silu", "sin", "tanh", "elu", "sin(3*x)", "x*tanh(x)", "leaky_relu", "mish", "square(relu(x))",
    "softplus", "abs(x)",
)  # fmt: skip
SEEDS = 80
BEFORE = 10  # seeds of the verdict that was before
FINALISTS = 5
_CLEAR = 0.003  # of a true difference, for a wrong word to count
_FIRST_SEED = 10_000
MOST_FOR_SIN = 90  # trainings of a verdict


# scores


class Attention(nn.Module):
    """A transformer's encoder over the rows of an image."""

    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Linear(8, 16)
        self.attend = nn.MultiheadAttention(16, 2, batch_first=True)
        self.norm, self.last = nn.LayerNorm(16), nn.LayerNorm(16)
        self.wide, self.act, self.narrow = nn.Linear(16, 32), nn.ReLU(), nn.Linear(32, 16)
        self.head = nn.Linear(16, 10)

    def forward(self, x: Tensor) -> Tensor:
        """Logits; (B, 10)."""
        h = self.embed(x.reshape(-1, 8, 8))
        n = self.norm(h)
        h = h + self.attend(n, n, n, need_weights=False)[0]
        h = h + self.narrow(self.act(self.wide(self.last(h))))
        logits: Tensor = self.head(h.mean(1))
        return logits


NETWORKS: Mapping[str, tuple[Callable[[], nn.Module], float, int]] = {
    "mlp": (functools.partial(mlp, 64, 64, 64, 10), 3e-3, 12),
    "cnn": (Convolutions, 1e-2, 4),
    "attention": (Attention, 5e-3, 8),
}
"""Network, learning rate at step 0, epochs."""


def make_task(name: str) -> acs.Task:
    """Digits, 900 rows to train, 400 to validate, 497 to test."""
    model, lr, epochs = NETWORKS[name]
    images, labels = load_digits(return_X_y=True)
    order = torch.randperm(len(images), generator=torch.Generator().manual_seed(7))
    x, y = torch.tensor(images / 16, dtype=torch.float32)[order], torch.tensor(labels)[order]
    parts = [(x[rows], y[rows]) for rows in (slice(900), slice(900, 1300), slice(1300, None))]
    return acs.Task(
        model=model, train=parts[0], valid=parts[1], test=parts[2], loss=F.cross_entropy, metric="accuracy",
        epochs=epochs, batch_size=64, lr=lr, seeds=1, diagnostics=False, tune_lr=False, name=name,
    )  # fmt: skip


def fill(path: Path, networks: Sequence[str]) -> dict[str, Numbers]:
    """Scores by network, (activations, steps, seeds, 2): on validation and on test data; NaN for what diverged."""
    known: dict[str, Numbers] = {}
    if path.exists():
        with np.load(path) as stored:
            known = {name: stored[name] for name in stored.files}
    names = (*BASELINE, *OTHERS)
    for network in networks:
        task = make_task(network)
        subject, lr = make_subject(task), NETWORKS[network][1]
        empty = np.full((len(names), len(STEPS), SEEDS, 2), np.inf)
        scores = known.setdefault(network, empty)
        missing = [tuple(cell) for cell in np.argwhere(np.isinf(scores[..., 1]))]
        missing.sort(key=lambda cell: cell[2])  # what shares a seed goes together
        while missing:
            asked = [
                Request(
                    CandidateRecord.baseline() if not place else Candidate.of(names[place]).record,
                    (_FIRST_SEED + int(seed),), split="test", lr=lr * 3.0 ** STEPS[step], diagnose=False,
                )
                for place, step, seed in missing[:256]
            ]  # fmt: skip
            part = asked[: subject.batch_for(asked, 256)]
            outcomes = subject.train(part, largest_stack=256)
            for cell, outcome in zip(missing, outcomes, strict=False):
                ended = outcome.evaluations[0]
                score = (
                    None if ended.value is None else subject.validation_score(ended.epochs),
                    ended.value,
                )
                scores[cell] = [np.nan if value is None else value for value in score]
            missing = missing[len(outcomes) :]
            np.savez(path, **cast(Any, known))
            print(f"\r{network}: {len(missing)} trainings left   ", end="", flush=True)
        print()
    return {network: known[network] for network in networks}


# verdicts


class Stored:
    """Trainings that were made before, in the place of :class:`Trainings`."""

    def __init__(self, scores: Numbers, seeds: Sequence[int]) -> None:
        self._scores = scores
        self._seeds = seeds
        self.count = 0

    def scores(self, wanted: Sequence[tuple[int, object, int, int]], split: str) -> list[Score]:
        """As the table has them; beyond its rates everything diverges."""
        self.count += len(wanted)
        return [self._score(*one) for one in wanted]

    def _score(self, row: int, record: object, seed: int, step: int) -> Score:
        if step not in STEPS:
            return Score(None, None, False, (), "")
        valid, test = self._scores[row, STEPS.index(step), seed]
        return Score(
            None if np.isnan(valid) else float(valid), None if np.isnan(test) else float(test), False, (), "",
        )  # fmt: skip


@dataclass(frozen=True)
class Simulated:
    """A verdict.

    Attributes:
        trainings: that it took, without the choice of finalists.
        words: of each finalist, 1 for better, -1 for worse.
        differences: to the baseline, of each finalist.
    """

    trainings: int
    words: list[int]
    differences: list[float]

    @property
    def winner(self) -> int | None:
        """The best of the better ones."""
        better = [place for place, word in enumerate(self.words) if word == 1]
        return max(better, key=lambda place: self.differences[place], default=None)


def _read(values: Sequence[Numbers], test: PairedTest) -> tuple[list[int], list[float]]:
    base, *others = values
    words = []
    for own in others:
        low, high, _ = test.interval(Paired(own - base[: len(own)]))
        words.append({"better": 1, "worse": -1}.get(test.word(low, high, len(own)), 0))
    return words, [float((own - base[: len(own)]).mean()) for own in others]


def race(scores: Numbers, seeds: Sequence[int], looks: tuple[int, ...] = LOOKS) -> Simulated:
    """As ``study.confirm`` does it."""
    stored = Stored(scores, seeds)
    test = PairedTest(len(scores) - 1, "maximize", looks)
    grid = RateGrid(1.0, 1)
    records = [CandidateRecord({}) for _ in scores]
    runners = Race(
        cast(Trainings, stored), grid, records, seeds, test, [False] * len(records)
    ).run()
    values = [
        np.array(
            [
                run[step].test or 0.0
                for run, step in zip(runner.runs, runner.choose(grid), strict=True)
            ]
        )
        for runner in runners
    ]
    return Simulated(stored.count, *_read(values, test))


def before(scores: Numbers, seeds: Sequence[int]) -> Simulated:
    """Ten seeds, and for each of them and each finalist a grid of its own."""
    seeds, count, grid = seeds[:BEFORE], 0, RateGrid(1.0, 1)
    stored, values = Stored(scores, seeds), []
    for row in range(len(scores)):
        own = []
        for seed in seeds:
            tried: dict[int, Score] = {}
            wanted = list(grid.first)
            while wanted:
                cells = [(row, None, seed, step) for step in wanted]
                tried |= dict(zip(wanted, stored.scores(cells, "test"), strict=True))
                wanted = grid.outward({step: score.valid for step, score in tried.items()})
                wanted = [step for step in wanted if step in STEPS]
            best = grid.best({step: score.valid for step, score in tried.items()})
            own.append(tried[best].test or 0.0)
        values.append(np.array(own))
    test = PairedTest(len(scores) - 1, "maximize", (len(seeds),))
    return Simulated(stored.count + count, *_read(values, test))


def true_means(scores: Numbers) -> Numbers:
    """On test data, each seed at the rate that is best for it on validation data; (activations,)."""
    filled = np.nan_to_num(scores)
    best = filled[..., 0].argmax(1)
    means: Numbers = np.take_along_axis(filled[..., 1], best[:, None], 1)[:, 0].mean(1)
    return means


def compare(scores: Numbers, rounds: int) -> None:
    """Print a network's lines."""
    truth = true_means(scores)
    truth = truth - truth[0]
    ways: Sequence[tuple[str, Callable[..., Simulated], int]] = (
        ("before", before, 3 * (4 * FINALISTS + 1)), ("race", race, 3 * FINALISTS + 1),
        ("to 14", functools.partial(race, looks=LOOKS[:-1]), 3 * FINALISTS + 1),
    )  # fmt: skip
    for label, way, choice in ways:
        rng = np.random.default_rng(1)
        spent, found, gains, wrong = [], 0, [], 0
        for _ in range(rounds):
            seeds = rng.choice(SEEDS, LOOKS[-1], replace=False)
            drawn = len(BASELINE) + rng.choice(len(OTHERS), FINALISTS, replace=False)
            made = way(scores[[0, *drawn]], seeds)
            spent.append(made.trainings + choice)
            won = made.winner
            found += won is not None
            gains.append(0.0 if won is None else float(truth[drawn[won]]))
            wrong += any(
                word * truth[place] < -_CLEAR
                for word, place in zip(made.words, drawn, strict=True)
            )
        null = []
        for count in (3, 1):
            rng = np.random.default_rng(2)
            false = 0
            for _ in range(rounds):
                seeds = rng.choice(SEEDS, LOOKS[-1], replace=False)
                places = rng.permutation(len(BASELINE))[: count + 1]
                false += any(way(scores[places], seeds).words)
            null.append(false / rounds)
        print(
            f"  {label:<7} trainings {statistics.median(spent):4.0f}   found {found / rounds:.3f}   "
            f"gain {np.mean(gains):.4f}   wrong {wrong / rounds:.3f}   "
            f"false words of mirror images, three {null[0]:.3f}, one {null[1]:.3f}",
            flush=True,
        )


def confirm_sin(count: int) -> bool:
    """Verdicts over ``sin`` on digits; whether each finds it better within the limit."""
    images, labels = load_digits(return_X_y=True)
    order = torch.randperm(len(images), generator=torch.Generator().manual_seed(7))
    x, y = torch.tensor(images / 16, dtype=torch.float32)[order], torch.tensor(labels)[order]
    parts = [(x[rows], y[rows]) for rows in (slice(900), slice(900, 1300), slice(1300, None))]
    task = acs.Task(
        model=functools.partial(mlp, 64, 64, 64, 10), train=parts[0], valid=parts[1], test=parts[2],
        loss=F.cross_entropy, metric="accuracy", epochs=20, batch_size=64, lr=1e-3, diagnostics=False,
        tune_lr=False, name="sin",
    )  # fmt: skip
    took = []
    for seed in range(count):
        study = acs.create_study(study_name="sin", storage=None, strategy="random", seed=seed)
        study.enqueue_trial("sin")
        study.optimize(task, n_trials=2, show_progress_bar=False)
        verdict = study.confirm(task, top_k=1, covers="seeds", show_progress_bar=False)
        (row,) = verdict.rows
        print(
            f"  seed {seed}: {row.label} {row.verdict}, {row.difference:+.4f}, {verdict.trainings} trainings",
            flush=True,
        )
        if row.verdict == "better":
            took.append(verdict.trainings)
    most = max(took, default=0)
    print(
        f"on digits, covers='seeds', sin comes out better in {len(took)} of {count} verdicts, in at most {most} "
        f"trainings (limit {MOST_FOR_SIN})"
    )
    return len(took) == count and most <= MOST_FOR_SIN


def main() -> None:
    """Train what is missing, and simulate."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("scores", type=Path, nargs="?", help="a file for the scores, .npz")
    parser.add_argument(
        "--sin", type=int, metavar="N", help="N verdicts over sin on digits instead"
    )
    parser.add_argument("--rounds", type=int, default=1000)
    parser.add_argument("--networks", nargs="+", choices=list(NETWORKS), default=list(NETWORKS))
    given = parser.parse_args()
    torch.set_num_threads(1)
    if given.sin is not None:
        raise SystemExit(not confirm_sin(given.sin))
    if given.scores is None:
        parser.error("give a file for the scores, or --sin N")
    for network, scores in fill(given.scores, given.networks).items():
        print(network)
        compare(scores, given.rounds)


if __name__ == "__main__":
    main()
