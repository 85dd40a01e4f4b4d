"""What the page of the benchmark shows of its table. Knows nothing of Streamlit."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import pandas as pd

from actsearch_dashboard.figures.benchmark import RankPanel, RankRow, Ranks
from actsearch_dashboard.text import markup, number, one_line

if TYPE_CHECKING:  # it loads scipy.stats, for which no other page should wait
    from actsearch.benchmark import Benchmark, BenchmarkTask

__all__ = [
    "REFERENCE", "Cells", "activation_table", "mean_order", "portfolio_table", "rank_rows", "rate_name", "rate_panels",
    "read_cells", "select_places", "task_table",
]  # fmt: skip

REFERENCE = "relu"
"""Label of what others are compared with."""

_DENOMINATOR = 100  # of learning rates as fractions
_ARROWS = {"maximize": "↑", "minimize": "↓"}


@dataclass(frozen=True)
class Cells:
    """Results of each activation on each task, all of shape (tasks, functions).

    Attributes:
        rates: which of the learning rates is looked at, as a position.
        values: means of the metric over the seeds that came to an end; NaN where none did.
        diverged: number of seeds that did not.
        ranks: 1 for the best; of equal ones the best rank.
        shares: of the other activations that are worse; of equal ones, half counts.
    """

    rates: npt.NDArray[np.intp]
    values: npt.NDArray[np.float64]
    diverged: npt.NDArray[np.intp]
    ranks: npt.NDArray[np.intp]
    shares: npt.NDArray[np.float64]


def read_cells(table: Benchmark, rate: int | None = None) -> Cells:
    """The cells at one of the learning rates, or at each activation's best one.

    Args:
        table: the benchmark.
        rate: its position; None for the best.
    """
    if rate is None:
        rates = table.values.argmax(-1)
    else:
        rates = np.full(table.values.shape[:2], rate)
    scores = np.take_along_axis(table.scores, rates[:, :, None, None], 2)[:, :, 0].astype(float)
    ended = np.isfinite(scores)
    counted = ended.sum(-1)
    sums = np.where(ended, scores, 0.0).sum(-1)
    values = np.where(counted > 0, sums / np.maximum(counted, 1), np.nan)
    ordered = pd.DataFrame(np.take_along_axis(table.values, rates[:, :, None], 2)[:, :, 0])
    others = max(len(table.functions) - 1, 1)
    return Cells(
        rates,
        values,
        (~ended).sum(-1),
        ordered.rank(axis=1, method="min", ascending=False).to_numpy().astype(np.intp),
        (ordered.rank(axis=1).to_numpy() - 1) / others,
    )


def mean_order(cells: Cells) -> list[int]:
    """Positions of the activations, the best on average over the tasks first."""
    return [int(place) for place in np.argsort(-cells.shares.mean(0), kind="stable")]


def select_places(
    table: Benchmark, order: list[int], words: str, most: int | None, always: set[int]
) -> list[int]:
    """Which activations are shown, in their order.

    Args:
        table: the benchmark.
        order: of all positions.
        words: in a label or formula, whatever the case; "" for any.
        most: how many; None for all.
        always: positions that are shown in any case.
    """
    wanted = words.strip().lower()
    found = [
        place
        for place in order
        if wanted in f"{table.functions[place].label}\n{table.functions[place].formula}".lower()
    ]
    if not found:
        return []
    kept = always.union(found[:most])
    return [place for place in order if place in kept]


def rank_rows(
    table: Benchmark, cells: Cells, order: list[int], places: list[int], chosen: int | None
) -> list[RankRow]:
    """Rows of the heat map for some of the activations."""
    rank = {place: index for index, place in enumerate(order, 1)}
    return [
        RankRow(
            table.functions[place].label,
            rank[place],
            _ranks(cells, place),
            [_describe(table, cells, task, place) for task in range(len(table.tasks))],
            place == chosen,
        )
        for place in places
    ]


def _ranks(cells: Cells, place: int) -> Ranks:
    return Ranks(cells.shares[:, place].tolist(), (cells.diverged[:, place] > 0).tolist())


def _describe(table: Benchmark, cells: Cells, task: int, place: int) -> str:
    """A cell in words, as Plotly's markup."""
    about = table.tasks[task]
    seeds, diverged = len(table.seeds), int(cells.diverged[task, place])
    lines = [
        f"{markup(table.functions[place].label)} on {markup(about.name)}",
        f"beats {cells.shares[task, place]:.0%}, rank {cells.ranks[task, place]}",
    ]
    if diverged < seeds:
        value = f"{markup(about.metric)} {number(float(cells.values[task, place]))}"
        lines.append(f"{value}, mean over {seeds - diverged} of {seeds} seeds")
    lines.append(f"seeds that diverged: {diverged}")
    if len(table.rates) > 1:
        lines.append(f"at {rate_name(table.rates[cells.rates[task, place]])} learning rate")
    return "<br>".join(lines)


def rate_name(rate: float) -> str:
    """A multiple of a task's learning rate, as in "1/3 ×"."""
    return f"{Fraction(rate).limit_denominator(_DENOMINATOR)} ×"


def _metric_name(task: BenchmarkTask) -> str:
    """With an arrow that says which way is better."""
    return f"{one_line(task.metric)} {_ARROWS[task.direction]}"


def rate_panels(table: Benchmark, place: int, reference: int | None) -> list[RankPanel]:
    """An activation at each learning rate, beside another one."""
    return [
        RankPanel(
            f"{rate_name(rate)} learning rate" if len(table.rates) == 1 else rate_name(rate),
            _ranks(cells, place),
            None if reference is None or reference == place else _ranks(cells, reference),
        )
        for rate, cells in _each_rate(table)
    ]


def _each_rate(table: Benchmark) -> list[tuple[float, Cells]]:
    return [(rate, read_cells(table, index)) for index, rate in enumerate(table.rates)]


def activation_table(table: Benchmark, place: int, reference: int | None) -> pd.DataFrame:
    """An activation on each task at each learning rate, beside another one."""
    seeds = len(table.seeds)
    by_rate = _each_rate(table)
    rows = []
    for task, about in enumerate(table.tasks):
        for rate, cells in by_rate:
            row: dict[str, object] = {
                "task": one_line(about.name),
                "rate": rate_name(rate),
                "metric": _metric_name(about),
                "value": cells.values[task, place],
                "rank": int(cells.ranks[task, place]),
            }
            if reference is not None:
                row["ReLU"] = cells.values[task, reference]
                row["rank of ReLU"] = int(cells.ranks[task, reference])
            diverged = int(cells.diverged[task, place])
            row["diverged"] = f"{diverged} of {seeds} seeds" if diverged else ""
            rows.append(row)
    return pd.DataFrame(rows)


def portfolio_table(table: Benchmark, places: list[int], pictures: list[str]) -> pd.DataFrame:
    """The portfolio in its order, with the tasks on which each is the best of the list by what it was chosen for."""
    scores = table.ranks.mean(1)[:, places]
    is_best = scores == scores.max(1, keepdims=True)
    functions = [table.functions[place] for place in places]
    return pd.DataFrame(
        {
            "order": range(1, len(places) + 1),
            "function": pictures,
            "activation": [one_line(function.label) for function in functions],
            "best of the list on": [
                ", ".join(one_line(table.tasks[task].name) for task in np.flatnonzero(column))
                for column in is_best.T
            ],
            "formula": [one_line(function.formula) for function in functions],
        }
    )


def task_table(table: Benchmark) -> pd.DataFrame:
    """The tasks: what they stand for, and how they are trained."""
    return pd.DataFrame(
        [
            {
                "task": one_line(task.name),
                "stands for": one_line(task.reason),
                "metric": _metric_name(task),
                "parameters": task.parameters,
                "learning rate": task.lr,
                "steps": task.steps,
            }
            for task in table.tasks
        ]
    )
