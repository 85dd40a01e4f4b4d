"""The table of the benchmark: activations x tasks x learning rates x seeds."""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
from scipy import stats

from actsearch.benchmark.portfolio import choose_portfolio
from actsearch.benchmark.ranks import normal_scores

__all__ = ["Benchmark", "BenchmarkFunction", "BenchmarkTask"]

Numbers = npt.NDArray[np.float64]


@dataclass(frozen=True)
class BenchmarkTask:
    """A task of the benchmark.

    Attributes:
        name: of ``studies/setups/small_tasks.py``.
        reason: what it stands for.
        metric: that is measured on validation data after the last step.
        direction: which way values of the metric are better.
        parameters: weights of the network.
        lr: the learning rate that is called 1.
        steps: of the optimizer.
    """

    name: str
    reason: str
    metric: str
    direction: Literal["maximize", "minimize"]
    parameters: int
    lr: float
    steps: int


@dataclass(frozen=True)
class BenchmarkFunction:
    """An activation of the benchmark.

    Attributes:
        label: for tables.
        formula: in the project's language.
        name: of the catalog's row, or None for a composed formula.
        hyperparameters: of the row.
        learned: whether it has numbers that are learned.
    """

    label: str
    formula: str
    name: str | None
    hyperparameters: Mapping[str, Any]
    learned: bool


@dataclass(frozen=True, eq=False)
class Benchmark:
    """What :func:`actsearch.benchmark.load` returns.

    Attributes:
        tasks: the first axis of ``scores``.
        functions: the second.
        rates: the third, multiples of each task's own learning rate.
        seeds: the fourth.
        scores: the task's metric; NaN where the training diverged; (tasks, functions, rates, seeds).
        seconds: of a training, a median over rates and seeds of processor time on one machine; (tasks, functions).
        curves: values and slopes of the functions where normal inputs lie, as the searches compare them;
            (functions, 2, points).
        smoothed: normal scores of the functions as a Gaussian process over functions sees them, which leaves most of
            the seeds' luck out; (tasks, rates, functions).

    Example:
        >>> table = acs.benchmark.load()
        >>> table.scores.shape == (len(table.tasks), len(table.functions), 3, 3)
        True
        >>> [name for name in ("relu", "gelu", "sin") if table.position(name) is None]
        []
    """

    tasks: tuple[BenchmarkTask, ...]
    functions: tuple[BenchmarkFunction, ...]
    rates: tuple[float, ...]
    seeds: tuple[int, ...]
    scores: npt.NDArray[np.float32]
    seconds: npt.NDArray[np.float32]
    curves: npt.NDArray[np.float32]
    smoothed: npt.NDArray[np.float32]

    def position(self, label: str) -> int | None:
        """Of a function, by its label or formula; None where it is not in the table."""
        for place, function in enumerate(self.functions):
            if label in (function.label, function.formula):
                return place
        return None

    def without(self, *names: str) -> Benchmark:
        """The table without some tasks, for what must not know them.

        Raises:
            KeyError: a task is not in the table.
        """
        if missing := set(names) - {task.name for task in self.tasks}:
            raise KeyError(f"no task of the benchmark is called {', '.join(sorted(missing))}")
        kept = [place for place, task in enumerate(self.tasks) if task.name not in names]
        return Benchmark(
            tuple(self.tasks[place] for place in kept), self.functions, self.rates, self.seeds,
            self.scores[kept], self.seconds[kept], self.curves, self.smoothed[kept],
        )  # fmt: skip

    @functools.cached_property
    def values(self) -> Numbers:
        """Means over seeds, larger is better; -inf where a seed diverged; (tasks, functions, rates)."""
        signs = [1.0 if task.direction == "maximize" else -1.0 for task in self.tasks]
        means = np.array(signs)[:, None, None] * self.scores.astype(np.float64).mean(-1)
        return np.where(np.isfinite(means), means, -np.inf)

    @functools.cached_property
    def ranks(self) -> Numbers:
        """Normal scores among all functions, at each rate; (tasks, rates, functions)."""
        return normal_scores(self.values.swapaxes(1, 2))

    @property
    def as_given(self) -> Numbers:
        """Means over seeds at the task's own rate, larger is better; (tasks, functions)."""
        return self.values[:, :, self.rates.index(1.0)]

    @property
    def best_rate(self) -> Numbers:
        """Means over seeds at each function's best rate, larger is better; (tasks, functions)."""
        best: Numbers = self.values.max(-1)
        return best

    @functools.cached_property
    def correlations(self) -> Numbers:
        """Spearman's rank correlation between tasks, of the functions at their best rates; (tasks, tasks)."""
        ranked = stats.rankdata(self.best_rate, axis=1)
        return np.atleast_2d(np.corrcoef(ranked))

    def portfolio(
        self,
        count: int = 8,
        among: Sequence[int] | None = None,
        rows: Sequence[int] | None = None,
    ) -> list[int]:
        """Positions of a short list in which every task finds something good; see :func:`choose_portfolio`.

        The first half are catalog rows, where there are so many: most of the best known functions are, and a verdict
        compares what is composed with the best of them.

        A function counts on a task by its normal score, averaged over the learning rates, and half of that by the
        smoothed one: the best of hundreds under few seeds is mostly luck.

        Args:
            count: how many functions.
            among: positions to choose from; None for all.
            rows: those of them that count as catalog rows; None for all that are.
        """
        scores = (self.ranks + self.smoothed).mean(1) / 2
        places = list(range(len(self.functions)) if among is None else among)
        if rows is None:
            rows = [place for place in places if self.functions[place].name]
        chosen = [rows[one] for one in choose_portfolio(scores[:, list(rows)], (count + 1) // 2)]
        every = [places[one] for one in choose_portfolio(scores[:, places], count)]
        return [*chosen, *(place for place in every if place not in chosen)][:count]
