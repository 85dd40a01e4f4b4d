"""How good a search is, without any training: strategies look for hidden functions.

Run ``python tests/benchmarks/hidden_functions.py``. A trial's value is the share of a hidden function's variance that
the best multiple of the trial's function, plus a constant, leaves unexplained under a standard normal density. Printed
for each hidden function is the median over search seeds of its decimal logarithm after 50, 100 and 200 trials, and how
often a strategy came closer than the first one, and less close, under the same seed; then on how many it is ahead.
With ``--mirrored`` a trial's function may be turned to f(-x), as the layer before it would: strategies take the two for
one function, and train one of them.

    python tests/benchmarks/hidden_functions.py --seeds 50 --strategies random genetic
"""

from __future__ import annotations

import argparse
import functools
import itertools
import math
import statistics
import time
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from scipy import special, stats
from simulated_study import simulate

from actsearch.expression import parse
from actsearch.naming.form import Form
from actsearch.records import CandidateRecord
from actsearch.strategies import STRATEGIES, Strategy

Numbers = npt.NDArray[np.float64]

HIDDEN = (
    "x*cos(x)",
    "cos(x)*tanh(x)",
    "gauss(x)*x",
    "max(x, sin(2*x))",
    "silu(x) - 0.5*sin(3*x)",
    "erf(x)*softplus(x)",
    "x*x*sigmoid(-x)",
    "relu(x) - 0.3*sin(2*x)",
    "tanh(x*x) - x",
    "atan(x)*abs(x)",
)
BUDGETS = (50, 100, 200)
_EXACT = 1e-12


@functools.lru_cache(maxsize=100_000)
def values(formula: str) -> Numbers:
    """At 400 quantiles of N(0, 1), less their mean; not finite where the formula is not."""
    form = Form(parse(formula))
    x = special.ndtri((np.arange(400) + 0.5) / 400)
    with np.errstate(all="ignore"):
        found = form.compute(form.start[None], x)[0]
        centred: Numbers = found - found.mean()
    return centred


def unexplained(hidden: str, formula: str, mirrored: bool = False) -> float:
    """Share of the hidden function's variance; 1 for what explains nothing of it."""
    wanted, found = values(hidden), values(formula)
    if not np.isfinite(found).all() or np.abs(found).max() > 1e12 or found.std() < 1e-9:
        return 1.0
    images = [found, found[::-1]] if mirrored else [found]  # the quantiles are symmetric
    shares = [1 - np.corrcoef(wanted, image)[0, 1] ** 2 for image in images]
    return float(max(min(shares), _EXACT))


def search(
    strategy: Strategy, hidden: str, seed: int, trials: int, mirrored: bool = False
) -> list[float]:
    """The smallest share so far after each trial."""

    def evaluate(candidates: Sequence[CandidateRecord], identities: Sequence[str]) -> list[float]:
        formulas = [one.activations["*"].formula for one in candidates]
        return [unexplained(hidden, formula, mirrored) for formula in formulas]

    history = simulate(strategy, evaluate, seed, trials, "minimize")
    shares = [trial.value for trial in history if trial.value is not None]
    return list(itertools.accumulate(shares[:trials], min))


def compare(names: Sequence[str], seeds: int, mirrored: bool) -> None:
    """Print the table."""
    ahead: dict[str, list[int]] = {name: [0] * len(BUDGETS) for name in names}
    for hidden in HIDDEN:
        print(hidden, flush=True)
        baseline: list[list[float]] = []
        for name in names:
            started = time.process_time()
            runs = [
                search(STRATEGIES[name](), hidden, seed, BUDGETS[-1], mirrored)
                for seed in range(seeds)
            ]
            took = (time.process_time() - started) / seeds / BUDGETS[-1]
            logs = [[math.log10(run[min(n, len(run)) - 1]) for run in runs] for n in BUDGETS]
            baseline = baseline or logs
            told = []
            for place, (own, other) in enumerate(zip(logs, baseline, strict=True)):
                text = f"{statistics.median(own):6.2f}"
                if own is not other:
                    better = sum(a < b for a, b in zip(own, other, strict=True))
                    worse = sum(a > b for a, b in zip(own, other, strict=True))
                    p = stats.binomtest(better, max(better + worse, 1)).pvalue
                    ahead[name][place] += better > worse and p < 0.05
                    text += f" ({better:2d}:{worse:<2d})"
                told.append(text)
            print(f"  {name:<9}{'  '.join(told)}   {1000 * took:.0f} ms a trial", flush=True)
    for name in names[1:]:
        told = [
            f"{count} of {len(HIDDEN)} after {n}"
            for count, n in zip(ahead[name], BUDGETS, strict=True)
        ]
        print(f"{name} is ahead of {names[0]} (sign test, p < .05) on {', '.join(told)} trials")


def main() -> None:
    """Compare strategies."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--strategies", nargs="+", default=["random", "bayesian", "genetic"])
    parser.add_argument("--seeds", type=int, default=50)
    parser.add_argument("--mirrored", action="store_true")
    given = parser.parse_args()
    compare(given.strategies, given.seeds, given.mirrored)


if __name__ == "__main__":
    main()
