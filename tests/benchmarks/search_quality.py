"""How good a search is on tasks that it does not know, without any training.

Run ``python tests/benchmarks/search_quality.py``. Each task of the shipped benchmark in turn is left out of what the
strategies know, and searched: a forest that was fitted to the task's trainings says what a function comes to, also one
that was never trained there (a surrogate benchmark, as NAS-Bench-301: Siems et al. 2020, arXiv:2008.09777), and noise
as large as that between the task's seeds is added. The forest is scikit-learn's and knows nothing of the kernel by
which strategies compare functions.

Printed for each task are the correlation of what the forest predicts for functions that were kept from it with what
they came to, and for each strategy, as medians over search seeds, the trials until a function was tried that has 95 %
of the best known gain over ReLU (``>200`` where that is later), and the share of that gain that the best of the first
25, 50, 100 and 200 trials has, with + or - where it is ahead of or behind the first strategy's under the same seed in
more searches than chance would have it (sign test, p < .05). The last lines say where a strategy is behind by more than
chance among as many comparisons as there are tasks and budgets (Holm 1979): by how much in the median, and, beside it,
by how much the same function comes out differently under another choice of seeds.

    python tests/benchmarks/search_quality.py --seeds 50 --strategies random tpe bayesian genetic auto
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import stats
from simulated_study import simulate
from sklearn.ensemble import ExtraTreesRegressor
from sklearn.model_selection import cross_val_predict

from actsearch.benchmark import Benchmark, leave_out, load
from actsearch.records import CandidateRecord, TrialRecord
from actsearch.strategies import STRATEGIES, Bayesian, Context, Space, Strategy
from actsearch.strategies.surrogate import has_parameters
from actsearch.strategies.surrogate.curves import COUNT, compute_curve, mirror

Numbers = npt.NDArray[np.float64]

BUDGETS = (25, 50, 100, 200)
ENOUGH = 0.95
_IMAGES = 4
_TREES = 60
_LEAF = 10  # images, so that no function has a leaf of its own
_SMALLEST = 0.1  # gain over ReLU, beside that of the best over the median function


class PlainTPE(Bayesian):
    """Optuna's TPE from its first draw on: nothing known before, and no row tried for its own sake."""

    def shared_batch_size(self, history: Sequence[TrialRecord], context: Context) -> int:
        """Always ``batch``."""
        return self.batch

    def propose_shared(
        self, history: Sequence[TrialRecord], n: int, context: Context
    ) -> list[CandidateRecord]:
        """Draws alone."""
        return self.draw(history, n, context)


PLAIN: Mapping[str, Callable[[], Strategy]] = {
    **STRATEGIES,
    "tpe": PlainTPE,
}


def describe(curves: Numbers, learned: Sequence[bool]) -> Numbers:
    """What the forest sees of the four mirror images of each function; (4 * functions, features)."""
    learns = np.array(learned, np.float64)[:, None]
    turned = mirror(curves)
    sign = np.array([1.0, -1.0])
    rows = []
    for image in (curves, sign[1] * curves, turned, sign[1] * turned):
        values = image[:, 0, COUNT:]  # at the scales 1 and 2
        deviation = np.maximum(values[:, :COUNT].std(1, keepdims=True), 1e-6)
        parts = [
            np.clip(values / deviation, -9, 9),
            np.clip(image[:, 1, COUNT:] / deviation, -9, 9),
            np.log(deviation).clip(-9, 9),
            np.log(np.maximum(values[:, COUNT:].std(1, keepdims=True), 1e-6) / deviation),
            np.clip(values[:, :COUNT].mean(1, keepdims=True) / deviation, -9, 9),
            learns,
        ]
        rows.append(np.concatenate(parts, 1))
    return np.concatenate(rows)


@dataclass(frozen=True)
class SimulatedTask:
    """A task of the benchmark as a function of formulas.

    Attributes:
        name: of the task.
        forest: predicts a function's normal score on the task.
        noise: standard deviation of a trial's normal score under another choice of seeds.
        scores: normal scores, ascending, with ``gains``.
        gains: over ReLU, in the share of the best known one; ascending.
    """

    name: str
    forest: ExtraTreesRegressor
    noise: float
    scores: Numbers
    gains: Numbers

    @classmethod
    def of(cls, table: Benchmark, place: int) -> SimulatedTask | None:
        """At the task's own learning rate; None where ReLU is as good as the best."""
        task = table.tasks[place]
        middle = table.rates.index(1.0)
        scores = table.ranks[place, middle]
        forest, features = _forest(), _features(table)
        forest.fit(features, np.tile(scores, _IMAGES))
        smooth = forest.predict(features).reshape(_IMAGES, -1).mean(0)
        values = table.as_given[place]
        if task.metric not in ("accuracy", "r2"):
            values = -np.log(np.maximum(-values, 1e-12))  # of errors the ratio counts
        values = np.where(np.isfinite(values), values, values[np.isfinite(values)].min())
        # from a score to a value, smoothed as the scores are
        order = np.argsort(scores)
        level = np.interp(smooth, scores[order], np.sort(values))
        relu = table.position("relu")
        assert relu is not None
        best = level.max() - level[relu]
        if best < _SMALLEST * (level.max() - np.median(level)):
            return None  # what ReLU is the best for, nothing can be found for
        gains = (np.sort(values) - level[relu]) / best
        return cls(
            task.name, forest, _noise(table.scores[place, :, middle].astype(np.float64), scores), scores[order], gains,
        )  # fmt: skip

    def predict(self, candidates: Sequence[CandidateRecord]) -> Numbers:
        """Normal scores of candidates; the least for what is no function of one number where inputs lie."""
        formulas = [one.activations["*"].formula for one in candidates]
        curves = [compute_curve(formula) for formula in formulas]
        predicted = np.full(len(candidates), self.scores[0])
        places = [place for place, curve in enumerate(curves) if curve is not None]
        if places:
            features = describe(
                np.array([curve for curve in curves if curve is not None]),
                [has_parameters(formulas[place]) for place in places],
            )
            told = self.forest.predict(features).reshape(_IMAGES, -1).mean(0)
            predicted[places] = told
        return predicted

    def search(self, strategy: Strategy, seed: int, trials: int, space: Space) -> Numbers:
        """The share of the best known gain that each trial's function truly has; (trials,)."""
        true: list[float] = []
        rng = np.random.default_rng([seed, len(self.name)])

        def evaluate(
            candidates: Sequence[CandidateRecord], identities: Sequence[str]
        ) -> list[float]:
            predicted = self.predict(candidates)
            true.extend(predicted)
            return list(predicted + self.noise * rng.standard_normal(len(predicted)))

        with leave_out(self.name):
            simulate(strategy, evaluate, seed, trials, space=space)
        shares: Numbers = np.interp(true[:trials], self.scores, self.gains)
        return shares

    def noise_at(self, share: float) -> float:
        """The noise of a trial, as a share of the best known gain, where so much of it is reached."""
        score = np.interp(share, self.gains, self.scores)
        low, high = np.interp([score - self.noise, score + self.noise], self.scores, self.gains)
        return float(high - low) / 2


def measure_fidelity(table: Benchmark, name: str) -> float:
    """Spearman's correlation of predictions for functions that were kept from the forest, with their scores."""
    place = [task.name for task in table.tasks].index(name)
    scores = table.ranks[place, table.rates.index(1.0)]
    # the images of a function are in one fold
    fold = np.tile(np.random.default_rng(0).permutation(len(scores)) % 5, _IMAGES)
    folds = [(np.flatnonzero(fold != own), np.flatnonzero(fold == own)) for own in range(5)]
    kept = cross_val_predict(_forest(), _features(table), np.tile(scores, _IMAGES), cv=folds)
    return float(stats.spearmanr(kept.reshape(_IMAGES, -1).mean(0), scores).statistic)


def _forest() -> ExtraTreesRegressor:
    return ExtraTreesRegressor(_TREES, min_samples_leaf=_LEAF, max_features=0.3, random_state=0)


def _features(table: Benchmark) -> Numbers:
    learned = [function.learned for function in table.functions]
    return describe(table.curves.astype(np.float64), learned)


def _noise(by_seed: Numbers, scores: Numbers) -> float:
    """Standard error of a mean over seeds, in normal scores, where most functions are."""
    middle = np.abs(scores) < 1.5
    values = by_seed[middle & np.isfinite(by_seed).all(1)]
    error = np.sqrt(values.var(1, ddof=1).mean() / values.shape[1])
    low, high = np.quantile(values.mean(1), [0.16, 0.84])
    return float(min(2 * error / max(high - low, 1e-12), 1.0))


def trials_needed(shares: Numbers, limit: int) -> int:
    """Trials until a function with 95 % of the best known gain was tried; one more than the limit where none was."""
    enough = np.flatnonzero(shares[:limit] >= ENOUGH)
    return int(enough[0]) + 1 if len(enough) else limit + 1


def compare_runs(
    runs: Sequence[Numbers], baseline: Sequence[Numbers], trials: int
) -> tuple[int, float]:
    """1 where searches are ahead of others under the same seeds after so many trials, -1 where behind; p of it."""
    pairs = [(a[:trials].max(), b[:trials].max()) for a, b in zip(runs, baseline, strict=True)]
    better, worse = sum(bool(a > b) for a, b in pairs), sum(bool(a < b) for a, b in pairs)
    p = float(stats.binomtest(better, better + worse).pvalue) if better + worse else 1.0
    return (better > worse) - (better < worse), p


def list_behind(signs: Mapping[str, tuple[int, float]]) -> list[str]:
    """Names of comparisons that are lost by more than chance among as many as these (Holm 1979)."""
    found: list[str] = []
    ranked = sorted(signs.items(), key=lambda one: one[1][1])
    for place, (name, (sign, p)) in enumerate(ranked):
        if p >= 0.05 / (len(ranked) - place):
            break
        found += [name] if sign < 0 else []
    return found


def make_tasks(names: Sequence[str] = ()) -> list[SimulatedTask]:
    """Those of the shipped benchmark, or some of them."""
    table = load()
    made = (
        SimulatedTask.of(table, place)
        for place, task in enumerate(table.tasks)
        if not names or task.name in names
    )
    return [task for task in made if task is not None]


def compare(names: Sequence[str], seeds: Sequence[int], chosen: Sequence[SimulatedTask]) -> None:
    """Print the table."""
    limit = BUDGETS[-1]
    needed: dict[str, list[float]] = {name: [] for name in names}
    ahead: dict[str, list[int]] = {name: [0, 0] for name in names}
    compared: dict[str, dict[str, tuple[int, float]]] = {name: {} for name in names}
    lost: dict[tuple[str, str], str] = {}
    for task in chosen:
        fidelity = measure_fidelity(load(), task.name)
        print(f"{task.name}  fidelity {fidelity:.2f}, noise {task.noise:.2f}", flush=True)
        baseline: list[Numbers] = []
        for name in names:
            started = time.process_time()
            runs = [
                task.search(PLAIN[name](), seed, limit, Space(activations="all")) for seed in seeds
            ]
            took = (time.process_time() - started) / len(seeds) / limit
            baseline = baseline or runs
            counts = [trials_needed(run, limit) for run in runs]
            needed[name].append(statistics.median(counts))
            best = [np.median([run[:n].max() for run in runs]) for n in BUDGETS]
            found = [compare_runs(runs, baseline, n) for n in BUDGETS]
            compared[name] |= {
                f"{task.name}@{n}": one for n, one in zip(BUDGETS, found, strict=True)
            }
            for budget, share in zip(BUDGETS, best, strict=True):
                other = float(np.median([run[:budget].max() for run in baseline]))
                lost[name, f"{task.name}@{budget}"] = (
                    f"by {other - share:.3f}, noise {task.noise_at(other):.3f}"
                )
            signs = [sign * (p < 0.05) for sign, p in found]
            for place, sign in enumerate(signs[-2:]):
                ahead[name][place] += sign
            median = needed[name][-1]
            told = f">{limit}" if median > limit else f"{median:g}"
            marks = [" +-"[sign] for sign in signs]
            shown = " ".join(
                f"{share:6.3f}{mark}" for share, mark in zip(best, marks, strict=True)
            )
            print(f"  {name:<9}{told:>6}   {shown}   {1000 * took:.0f} ms a trial", flush=True)
    for name in names:
        middle_task = statistics.median(needed[name])
        behind = list_behind(compared[name])
        told = "; ".join(f"{place} {lost[name, place]}" for place in behind)
        print(
            f"{name}: median trials to {ENOUGH:.0%} {middle_task:g}; beside {names[0]}, tasks ahead less tasks behind "
            f"(sign test, p < .05): {ahead[name][0]} after 100, {ahead[name][1]} after 200 of {len(chosen)}; behind "
            f"(Holm): {told or 'nowhere'}"
        )


def main() -> None:
    """Compare strategies."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--strategies", nargs="+", default=["random", "tpe", "bayesian", "genetic", "auto"]
    )
    parser.add_argument("--seeds", type=int, default=50)
    parser.add_argument("--tasks", nargs="*", default=[])
    given = parser.parse_args()
    compare(given.strategies, range(given.seeds), make_tasks(given.tasks))


if __name__ == "__main__":
    main()
