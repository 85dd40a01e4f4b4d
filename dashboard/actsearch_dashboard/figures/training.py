"""How one candidate trained."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import plotly.graph_objects as go

from actsearch.records import EvaluationRecord
from actsearch_dashboard.figures.common import add_line, finite, is_steep, lay_out
from actsearch_dashboard.palette import BLUE, ORANGE
from actsearch_dashboard.text import markup

__all__ = ["epoch_curves"]


def epoch_curves(
    evaluations: Sequence[EvaluationRecord],
    what: Literal["loss", "metric"],
    name: str,
    unit: str = "epoch",
) -> go.Figure:
    """Training and validation curves over epochs or steps, one line a seed; numbers that are not finite leave a gap.

    Args:
        evaluations: one a seed, with epochs.
        what: the loss, or the metric.
        name: the axis title.
        unit: "epoch" or "step", what the records are numbered by.
    """
    figure = go.Figure()
    everything: list[float] = []
    for column, role, colour, dash in (
        (f"train_{what}", "training", ORANGE, "dash"),
        (f"valid_{what}", "validation", BLUE, "solid"),
    ):
        named = False
        for evaluation in evaluations:
            values = [finite(getattr(epoch, column)) for epoch in evaluation.epochs]
            kept = [value for value in values if value is not None]
            if not kept:
                continue
            everything += kept
            seed = evaluation.seed
            add_line(
                figure,
                [epoch.epoch for epoch in evaluation.epochs],
                values,
                role,
                colour,
                dash=dash,
                hover=f"{role}, seed {seed}<br>{unit} %{{x}}: %{{y:.4g}}<extra></extra>",
                most_markers=30,
                legendgroup=role,
                showlegend=not named,
            )
            named = True
    lay_out(figure, unit, markup(name, 40), 320)
    if is_steep(everything):
        figure.update_yaxes(type="log")
    return figure
