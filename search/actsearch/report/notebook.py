"""What a notebook shows of a study and of a trial."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from actsearch.html_parts import draw_line, fragment, paragraph, table
from actsearch.records import StudyRecord, TrialRecord
from actsearch.report.learning_rate import ChosenRate
from actsearch.report.tables import (
    leaderboard,
    metric_name,
    objective_names,
    pareto_front,
    state_counts,
)
from actsearch.report.verdict import Verdict
from actsearch.report.verdict.table import format_value, shorten

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["show_study", "show_trial"]

_LABEL = 120
_FRONT = 12  # trials of a Pareto front that are named


def show_study(
    study: StudyRecord,
    read: Callable[[], tuple[StudyRecord, Sequence[TrialRecord], Sequence[Verdict]]],
) -> str:
    """Its name, strategy, trials by state, best trial and newest verdict.

    Args:
        study: as it is known without asking the storage.
        read: gives the study as it is stored now, its trials and its verdicts, oldest first.
    """

    def parts() -> list[str]:
        now, trials, verdicts = read()
        rows = [("strategy", str(now.strategy.get("name"))), ("trials", _say_states(trials))]
        rows += _say_best(now, trials, verdicts)
        newest = verdicts[-1].sentence if verdicts else "none: study.confirm(task) makes one"
        return [
            paragraph(f"Study {now.name}", strong=True),
            table((), [*rows, ("verdict", newest)], styled=True),
        ]

    return fragment(parts, f"study {study.name}")


def _say_states(trials: Sequence[TrialRecord]) -> str:
    counts = state_counts(trials)
    return (
        ", ".join(f"{count} {state.value}" for state, count in counts.items() if count) or "none"
    )


def _say_best(
    study: StudyRecord, trials: Sequence[TrialRecord], verdicts: Sequence[Verdict]
) -> list[tuple[str, str]]:
    if names := objective_names(study):
        front = pareto_front(trials, study.directions)
        numbers = [str(trial.number) for trial in front[:_FRONT]]
        more = f" and {len(front) - _FRONT} more" if len(front) > _FRONT else ""
        return [(f"Pareto front of {', '.join(names)}", (", ".join(numbers) or "none") + more)]
    ranked = leaderboard(trials, study.direction)
    if not ranked:
        return [("best trial", "none is complete")]
    best = ranked[0]
    found = f"trial {best.number}, {shorten(best.candidate.label, _LABEL)}"
    value = f"{metric_name(study)} {format_value(best.value or 0.0)} on validation data"
    return [("best trial", f"{found}: {value}, {_say_trust(best, verdicts)}")]


def _say_trust(best: TrialRecord, verdicts: Sequence[Verdict]) -> str:
    """How far the best value of a search may be believed."""
    for verdict in reversed(verdicts):
        if row := verdict.row(best.number):
            return f"when confirmed: {row.verdict}"
    return "optimistic, as the best of many noisy values, and not confirmed"


def show_trial(
    trial: TrialRecord,
    verdict: Verdict | None,
    rate: ChosenRate | None,
    read_curve: Callable[[], pd.DataFrame],
) -> str:
    """Its formula, value, state, what a verdict said of it, and its curve.

    Args:
        trial: which.
        verdict: the newest one with a line for it.
        rate: the learning rate that its study has chosen.
        read_curve: gives its curve.
    """

    def parts() -> list[str]:
        candidate = trial.candidate
        rows = [("state", trial.state.value)]
        if not candidate.is_baseline:
            rows.append(("formula", candidate.formula))
        values = trial.values or (() if trial.value is None else (trial.value,))
        if values:
            shown = ", ".join("?" if value is None else format_value(value) for value in values)
            rows.append(("value", shown))
        if trial.reason:
            rows.append(("reason", trial.reason))
        row = None if verdict is None else verdict.row(trial.number)
        if verdict is not None and row is not None:
            rows.append(("verdict", verdict.remark(row)))
        if rate is not None:
            rows.append(("learning rate", str(rate)))
        heading = f"Trial {trial.number}: {shorten(candidate.label, _LABEL)}"
        return [
            paragraph(heading, strong=True),
            table((), rows, styled=True),
            _draw(read_curve()),
        ]

    return fragment(parts, f"trial {trial.number}")


def _draw(curve: pd.DataFrame) -> str:
    """The metric on validation data by epoch, the mean over seeds."""
    means = curve.groupby("epoch")["valid_metric"].mean().dropna()
    pairs = zip(means.index.tolist(), means.tolist(), strict=True)
    points = [(float(epoch), mean) for epoch, mean in pairs if math.isfinite(mean)]
    if len(points) < 2:
        return ""
    (first, begin), (last, end) = points[0], points[-1]
    title = f"the metric on validation data, from {format_value(begin)} at {first:g} to {format_value(end)} at {last:g}"
    return draw_line(points, title) + paragraph(title)
