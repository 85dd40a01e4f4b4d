"""Several candidates, or several studies, in one figure each."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt
import pandas as pd
import plotly.graph_objects as go

from actsearch.records import Curve, EvaluationRecord
from actsearch.report import Measured, Verdict, compute_verdict
from actsearch_dashboard.figures.common import (
    add_axes_through_zero,
    add_line,
    fit_range,
    is_steep,
    lay_out,
)
from actsearch_dashboard.figures.curve import break_at_poles
from actsearch_dashboard.palette import series_colour
from actsearch_dashboard.text import markup

__all__ = [
    "best_so_far",
    "common_scores",
    "distribution",
    "functions",
    "median_curves",
    "paired_differences",
    "best_so_far_steps",
    "verdict_scores",
]

Scores = dict[int, tuple[float | None, ...]]

_DASHES = ("solid", "dash", "dot", "dashdot", "longdash", "longdashdot")
_STAIRS = 1000  # steps of a distribution: more than a screen has pixels would only travel
_TALL = 6.0  # functions are shown between minus and plus this, the range in which they are sampled


def functions(drawn: Mapping[str, Mapping[str, Curve]]) -> go.Figure:
    """Functions overlaid: a colour a candidate, a dash a group of sites.

    Args:
        drawn: curves by name of the candidate and group.
    """
    figure = go.Figure()
    heights = []
    for index, (name, groups) in enumerate(drawn.items()):
        for nth, (group, curve) in enumerate(groups.items()):
            heights.append(curve.y[np.isfinite(curve.y)])
            x, y = break_at_poles(curve, _TALL)
            label = markup(name, 44) + (f" at {markup(group, 20)}" if len(groups) > 1 else "")
            add_line(
                figure,
                x,
                y,
                label,
                series_colour(index),
                width=2.5,
                dash=_DASHES[nth % len(_DASHES)],
                hover=f"{label}<br>f(%{{x:.2f}}) = %{{y:.4g}}<extra></extra>",
            )
    lay_out(figure, "x", "f(x)", 420, legend_below=True)
    add_axes_through_zero(figure)
    values = np.concatenate(heights) if heights else np.array([])
    if values.size and (values.min() < -_TALL or values.max() > _TALL):
        low, high = max(-_TALL, float(values.min())), min(_TALL, float(values.max()))
        if low < high:
            figure.update_yaxes(range=[low - 0.3, high + 0.3])
    return figure


def median_curves(
    trained: Mapping[str, Sequence[EvaluationRecord]], metric: str, unit: str = "epoch"
) -> go.Figure:
    """Validation metric by epoch or step, the median over the seeds, with the seeds' range behind it.

    Args:
        trained: evaluations with epochs by name of the candidate.
        metric: its name.
        unit: "epoch" or "step", what the records are numbered by.
    """
    figure = go.Figure()
    everything: list[float] = []
    for index, (name, evaluations) in enumerate(trained.items()):
        rows = [
            (epoch.epoch, epoch.valid_metric)
            for evaluation in evaluations
            for epoch in evaluation.epochs
            if epoch.valid_metric is not None and np.isfinite(epoch.valid_metric)
        ]
        if not rows:
            continue
        table = pd.DataFrame(rows, columns=["epoch", "value"]).groupby("epoch")["value"]
        low, middle, high = table.min(), table.median(), table.max()
        everything += [*low, *high]
        if (high > low).any():
            figure.add_scatter(
                x=[*low.index, *low.index[::-1]],
                y=[*high, *low[::-1]],
                fill="toself",
                fillcolor=series_colour(index),
                opacity=0.15,
                line={"width": 0},
                mode="lines",
                hoverinfo="skip",
                showlegend=False,
                legendgroup=str(index),
            )
        add_line(
            figure,
            middle.index,
            middle,
            markup(name, 44),
            series_colour(index),
            hover=f"{markup(name)}<br>{unit} %{{x}}: %{{y:.5g}}<extra></extra>",
            most_markers=30,
            legendgroup=str(index),
        )
    lay_out(figure, unit, f"{markup(metric, 40)} (validation)", 420, legend_below=True)
    if is_steep(everything):
        figure.update_yaxes(type="log")
    return figure


def verdict_scores(verdict: Verdict, numbers: Sequence[int]) -> Scores | None:
    """Scores of trials under the seeds on which all were confirmed; None if one of them was not."""
    rows = {number: verdict.row(number) for number in numbers}
    scores: Scores = {number: row.values for number, row in rows.items() if row is not None}
    common = min(map(len, scores.values()), default=0)  # some left a race early
    return (
        {number: own[:common] for number, own in scores.items()}
        if len(scores) == len(rows)
        else None
    )


def common_scores(trained: Mapping[int, Sequence[EvaluationRecord]]) -> Scores:
    """Values of the search under the seeds that all of the trials were trained with; None where one diverged."""
    by_seed = {
        number: {
            evaluation.seed: None
            if evaluation.value is None or not np.isfinite(evaluation.value)
            else evaluation.value
            for evaluation in evaluations
        }
        for number, evaluations in trained.items()
    }
    seeds = (
        sorted(set.intersection(*(set(values) for values in by_seed.values()))) if by_seed else []
    )
    return {number: tuple(values[seed] for seed in seeds) for number, values in by_seed.items()}


def paired_differences(
    scores: Scores,
    names: Mapping[int, str],
    metric: str,
    direction: str | None,
    earlier_comparisons: int = 0,
    looks: tuple[int, ...] | None = None,
    *,
    are_numbers: bool = True,
) -> Verdict | None:
    """Differences of the others to the first, as a verdict would compute them; None with fewer than two seeds.

    Args:
        scores: one value a seed, the same seeds for all; the first trial is what the others are compared with.
        names: of the trials.
        metric: what was measured.
        direction: "maximize" or "minimize".
        earlier_comparisons: made on the same data before, which widen the intervals.
        looks: of a race, numbers of seeds at which its results were looked at.
        are_numbers: the keys of ``scores`` and ``names`` are the numbers of trials, which figures show.
    """
    first, *others = scores
    if not others or len(scores[first]) < 2 or all(value is None for value in scores[first]):
        return None
    measured = {
        key: Measured(names[key], names[key], values, number=key if are_numbers else None)
        for key, values in scores.items()
    }
    return compute_verdict(
        measured[first],
        [measured[number] for number in others],
        study_name="",
        metric=metric,
        direction="minimize" if direction == "minimize" else "maximize",
        earlier_comparisons=earlier_comparisons,
        looks=looks,
    )


def distribution(
    values: Mapping[str, npt.ArrayLike], direction: str | None, metric: str, log: bool = False
) -> go.Figure:
    """Empirical distribution of the values of each study: which share of its trials is no better than x.

    Of very many values, :data:`_STAIRS` quantiles are drawn: the curve is of all of them.

    Args:
        values: of complete trials by study.
        direction: "maximize" or "minimize": there, which share is no worse.
        metric: what was measured.
        log: the axis of the values is logarithmic.
    """
    figure = go.Figure()
    everything: list[float] = []
    for index, (name, study) in enumerate(values.items()):
        ordered = np.sort(_finite(study))
        everything += ordered.tolist()
        ranks = np.arange(1, len(ordered) + 1)
        if len(ordered) > _STAIRS:
            ranks = np.unique(np.linspace(1, len(ordered), _STAIRS).round().astype(int))
        add_line(
            figure,
            ordered[ranks - 1],
            ranks / max(1, len(ordered)),
            f"{markup(name, 40)} ({len(ordered):,})",
            series_colour(index),
            shape="hv",
            hover="%{y:.0%} of the trials up to %{x:.5~g}<extra></extra>",
        )
    title = f"{markup(metric, 40)} (validation)"
    lay_out(figure, title, "share of trials up to this value", 400, legend_below=True)
    figure.update_yaxes(tickformat=".0%", range=[-0.02, 1.02])
    fit_range(figure.update_xaxes, everything, direction, log)
    return figure


def best_so_far_steps(table: pd.DataFrame, direction: str | None) -> pd.DataFrame:
    """Best so far of one study after each improvement: ``trials`` trained, ``seconds`` in training, ``best``.

    Args:
        table: trials in order, see :data:`actsearch.report.COLUMNS`.
        direction: "maximize" or "minimize".
    """
    trained = table[table["state"].isin(["COMPLETE", "PRUNED", "FAILED"])]
    ok = (trained["state"] == "COMPLETE") & np.isfinite(trained["value"])
    value = trained["value"].where(ok)
    best = (value.cummin() if direction == "minimize" else value.cummax()).ffill()
    steps = pd.DataFrame(
        {
            "trials": np.arange(1, len(trained) + 1),
            "seconds": trained["seconds"].fillna(0.0).cumsum().to_numpy(),
            "best": best.to_numpy(),
        }
    ).dropna()
    changed = steps["best"].ne(steps["best"].shift())
    if len(steps):
        changed.iloc[-1] = True  # the line goes on to the last trial
    return steps[changed].reset_index(drop=True)


def best_so_far(
    studies: Mapping[str, pd.DataFrame],
    against: str,
    direction: str | None,
    metric: str,
    log: bool = False,
) -> go.Figure:
    """Best so far of each study against "trials" or "seconds".

    Args:
        studies: what :func:`best_so_far_steps` made of each study.
        against: "trials" or "seconds".
        direction: "maximize" or "minimize".
        metric: what was measured.
        log: the axis of the values is logarithmic.
    """
    figure = go.Figure()
    everything: list[float] = []
    for index, (name, steps) in enumerate(studies.items()):
        everything += steps["best"].tolist()
        add_line(
            figure,
            steps[against],
            steps["best"],
            markup(name, 40),
            series_colour(index),
            shape="hv",
            hover="%{x:.4g}: %{y:.5~g}<extra></extra>",
        )
    title = "trials trained" if against == "trials" else "seconds in training"
    lay_out(
        figure, title, f"best {markup(metric, 40)} so far (optimistic)", 400, legend_below=True
    )
    fit_range(figure.update_yaxes, everything, direction, log)
    return figure


def _finite(values: npt.ArrayLike) -> npt.NDArray[np.float64]:
    numbers: npt.NDArray[np.float64] = np.asarray(values, dtype=float)
    return numbers[np.isfinite(numbers)]
