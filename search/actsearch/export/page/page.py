"""The report of a study."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import plotly.graph_objects as go

from actsearch.errors import ActsearchError
from actsearch.export.page.figures import (
    UNCHANGED,
    draw_curves,
    draw_functions,
    draw_intervals,
    draw_search,
)
from actsearch.export.page.spent import list_spent
from actsearch.export.python_code import to_python
from actsearch.html_parts import escape, paragraph, preformatted, table
from actsearch.records import StudyRecord, TrialRecord
from actsearch.report import Verdict, chosen_rate, leaderboard, metric_name
from actsearch.report.verdict.table import draw_table, format_value, shorten

__all__ = ["make_page"]

_TOP = 10  # trials in the table
_DRAWN = 4  # functions and curves beside those of the baseline
_LABEL = 80


def make_page(
    study: StudyRecord,
    trials: Sequence[TrialRecord],
    verdicts: Sequence[tuple[datetime, Verdict]],
    cut: int = 0,
) -> str:
    """HTML that needs nothing but itself: no other file, no network.

    Args:
        study: whose.
        trials: in order, with their epochs, a DUPLICATE with the value of what it repeats.
        verdicts: with their time, oldest first.
        cut: trainings of verdicts that were cut short.
    """
    page = _Page()
    verdict = verdicts[-1][1] if verdicts else None
    metric = verdict.metric if verdict is not None else metric_name(study)
    page.add(f"<h1>{escape(study.name)}</h1>")
    page.paragraph(_introduce(study, metric))
    _write_verdict(page, verdicts)
    shown = _shown(trials, verdict, study.direction)
    _write_functions(page, shown)
    _write_search(page, study, trials, shown, metric)
    page.heading("What was spent")
    page.table(
        ("what", "how much"), list_spent(study, trials, [verdict for _, verdict in verdicts], cut)
    )
    if len(verdicts) > 1:
        page.heading("Earlier verdicts")
        page.table(
            ("made", "what it said"),
            [(_moment(time), earlier.sentence) for time, earlier in verdicts[:-1]],
        )
    page.heading("How to make it again")
    page.paragraph("The same seed makes the same trials, with the same versions on one machine.")
    page.table(("setting", "value"), _settings(study))
    return page.finish(f"{study.name}: report of actsearch")


def _write_verdict(page: _Page, verdicts: Sequence[tuple[datetime, Verdict]]) -> None:
    page.heading("Verdict")
    if not verdicts:
        page.paragraph(
            "There is none: the best of many noisy values is optimistic, and study.confirm(task) says what holds."
        )
        return
    when, verdict = verdicts[-1]
    page.add(f'<p class="sentence">{escape(verdict.sentence)}</p>')
    page.draw(draw_intervals(verdict))
    page.text(draw_table(verdict))
    page.paragraph(
        f"Made on {_moment(when)} from {verdict.trainings} trainings: {verdict.spent}, intervals of 95 % that hold for "
        f"{verdict.counted} made on these data, over {verdict.claim}."
    )
    page.heading("How to use it")
    page.paragraph(str(verdict.recipe()))
    page.text(_code(verdict))


def _write_functions(page: _Page, shown: Mapping[str, TrialRecord]) -> None:
    page.heading("Functions")
    page.draw(draw_functions({label: trial.candidate for label, trial in shown.items()}))
    page.table(
        ("trial", "activation", "formula"),
        [
            (trial.number, shorten(label, _LABEL), formula)
            for label, trial in shown.items()
            for formula in dict.fromkeys(
                item.formula for item in trial.candidate.activations.values()
            )
        ],
    )


def _write_search(
    page: _Page,
    study: StudyRecord,
    trials: Sequence[TrialRecord],
    shown: Mapping[str, TrialRecord],
    metric: str,
) -> None:
    page.heading("Search")
    page.draw(draw_search(trials, metric, study.direction))
    baselines = [(UNCHANGED, trial) for trial in trials if trial.candidate.is_baseline]
    page.draw(draw_curves(dict([*baselines[:1], *shown.items()]), metric))
    page.table(
        ("trial", f"{metric}, validation (optimistic)", "activation", "made by"),
        [
            (
                trial.number, format_value(trial.value or 0.0), shorten(trial.candidate.label, _LABEL),
                trial.candidate.operation,
            )
            for trial in leaderboard(trials, study.direction)[:_TOP]
        ],
    )  # fmt: skip


class _Page:
    """Parts of HTML; every text is escaped."""

    def __init__(self) -> None:
        self._parts: list[str] = []
        self._has_figure = False

    def add(self, part: str) -> None:
        """HTML as it is."""
        self._parts.append(part)

    def heading(self, text: str) -> None:
        """Of a section."""
        self.add(f"<h2>{escape(text)}</h2>")

    def paragraph(self, text: str) -> None:
        """A text."""
        self.add(paragraph(text))

    def text(self, text: str) -> None:
        """With its spaces and lines."""
        self.add(preformatted(text))

    def table(self, head: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
        """Rows of cells."""
        self.add(f'<div class="wide">{table(head, rows)}</div>')

    def draw(self, figure: go.Figure | None) -> None:
        """A figure; the first brings plotly's code with it."""
        if figure is None:
            return
        for trace in figure.data:
            trace.name = escape(trace.name or "")  # plotly reads some tags in texts
        self.add(
            figure.to_html(
                full_html=False,
                include_plotlyjs=not self._has_figure,
                config={"displaylogo": False, "responsive": True},
            )
        )
        self._has_figure = True

    def finish(self, title: str) -> str:
        """The whole page."""
        return (
            f'<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8"><title>{escape(title)}</title>'
            '<meta name="viewport" content="width=device-width, initial-scale=1">'
            f"<style>{_STYLE}</style></head><body>\n"
            + "\n".join(self._parts)
            + "\n</body></html>\n"
        )


_STYLE = """
body { font: 16px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 2rem auto; padding: 0 1rem; color: #1b1b1b; }
h1, h2 { line-height: 1.2; } h2 { margin-top: 2.5rem; border-bottom: 1px solid #ccc; }
.sentence { font-size: 1.15rem; font-weight: 600; border-left: 4px solid #0072B2; padding-left: 1rem; }
pre { background: #f5f5f5; padding: 1rem; overflow-x: auto; font-size: 0.85rem; }
.wide { overflow-x: auto; } table { border-collapse: collapse; font-size: 0.9rem; }
th, td { text-align: left; padding: 0.25rem 0.75rem 0.25rem 0; border-bottom: 1px solid #e5e5e5; vertical-align: top; }
td { overflow-wrap: anywhere; } td:first-child { white-space: nowrap; }
@media print { body { max-width: none; } pre { white-space: pre-wrap; } }
"""


def _moment(when: datetime) -> str:
    return when.astimezone(UTC).strftime("%Y-%m-%d %H:%M UTC")


def _introduce(study: StudyRecord, metric: str) -> str:
    made = f", made on {_moment(study.created)}" if study.created else ""
    better = {"maximize": ", larger is better", "minimize": ", smaller is better"}
    return (
        f"A search for an activation function by actsearch {study.versions.get('actsearch', '')}{made}: strategy "
        f"{study.strategy.get('name')}, seed {study.seed}; it measured {metric}{better.get(study.direction or '', '')}."
    )


def _code(verdict: Verdict) -> str:
    try:
        return to_python(verdict)
    except ActsearchError as error:  # a line that was damaged
        return f"# {error}"


def _shown(
    trials: Sequence[TrialRecord], verdict: Verdict | None, direction: str | None
) -> dict[str, TrialRecord]:
    """The finalists of a verdict, or the best of the search, by their label; of equal ones, with their number."""
    by_number = {trial.number: trial for trial in trials}
    if verdict is not None:
        numbers = [row.number for row in verdict.rows if row.number is not None]
        chosen = [by_number[number] for number in numbers if number in by_number]
    else:
        ranked = leaderboard(trials, direction)
        chosen = [trial for trial in ranked if not trial.candidate.is_baseline]
    chosen = chosen[:_DRAWN]
    labels = [trial.candidate.label for trial in chosen]
    return {
        f"{label} (trial {trial.number})" if labels.count(label) > 1 else label: trial
        for label, trial in zip(labels, chosen, strict=True)
    }


def _settings(study: StudyRecord) -> list[tuple[str, str]]:
    rate = chosen_rate(study.user_attrs)
    data: dict[str, Any] = {
        "seed": study.seed,
        "strategy": study.strategy,
        "task": study.task or "a function of the user's own",
        "space": study.space,
        "versions": study.versions,
    }
    if study.pruner:
        data["pruner"] = study.pruner
    lines = [(name, _plain(value)) for name, value in data.items()]
    return lines + ([("learning rate", str(rate))] if rate is not None else [])


def _plain(value: object) -> str:
    if isinstance(value, Mapping):
        return json.dumps(dict(value), default=str, ensure_ascii=False, indent=1)
    return str(value)
