"""The table of a verdict, and how its numbers are written."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

from actsearch.text_table import align_columns

if TYPE_CHECKING:
    from actsearch.report.verdict.rows import Verdict, VerdictRow

__all__ = ["WIDEST", "draw_table", "table_cells", "format_signed", "format_value", "shorten"]

_WIDTH = 48  # of the label of an activation
WIDEST = 120  # of several, whose labels often begin alike
_TINY = 5e-5  # half a unit of the fourth decimal


def draw_table(verdict: Verdict) -> str:
    """The baseline, the rows, and a composed winner against the best catalog row; a line each."""
    cells = table_cells(verdict)
    table = align_columns(cells, right=range(1, len(cells[0]) - 1))
    return "\n".join([table[0], "-" * max(map(len, table)), *table[1:]])


def table_cells(verdict: Verdict) -> list[list[str]]:
    """The same as cells, the header first; all columns but the first and the last are numbers."""
    rows = list(verdict.rows)
    others = list(dict.fromkeys(name for row in rows for name in row.others))
    if verdict.versus_catalog is not None:
        against = verdict.versus_catalog
        label = f"{shorten(verdict.winner.label, 20)} against {against.label}"
        rows.append(dataclasses.replace(against, label=label, mean=verdict.winner.mean))
    every = (verdict.baseline, *rows)
    differs = len({len(row.values) for row in every}) > 1
    start = [
        "activation",
        *(["seeds"] if differs else []),
        "mean",
        "difference",
        "95 % interval",
        "p",
    ]
    header = [*start, "lr", "untuned", *others, "verdict"]
    return [header, *(_line(row, others, differs) for row in every)]


def _line(row: VerdictRow, others: Sequence[str], differs: bool) -> list[str]:
    """Cells of a row.

    Args:
        row: which.
        others: names of further objectives.
        differs: whether rows have different numbers of seeds.
    """
    is_baseline = row.verdict == "baseline"
    left = not math.isfinite(row.low)
    word = row.verdict + (f" ({row.diverged} diverged)" if row.diverged else "")
    return [
        shorten(row.label, min(_WIDTH * (1 + row.label.count("; ")), WIDEST)),
        *([str(len(row.values))] if differs else []),
        format_value(row.mean),
        "" if is_baseline else format_signed(row.difference),
        "" if is_baseline or left else f"{format_signed(row.low)} to {format_signed(row.high)}",
        "" if is_baseline or left else "<0.001" if row.p_value < 0.001 else f"{row.p_value:.3f}",
        _format_rate(row),
        format_value(row.untuned)
        + (f" ({row.as_given_seeds} seeds)" if row.as_given_seeds else ""),
        *(format_value(row.others[name]) if name in row.others else "" for name in others),
        word,
    ]


def _format_rate(row: VerdictRow) -> str:
    if row.learning_rate is None:
        return ""
    rates = sorted(set(row.learning_rates)) or [row.learning_rate]
    text = f"{rates[0]:.2g}" + (f" to {rates[-1]:.2g}" if len(rates) > 1 else "")
    return text + (" (end)" if row.is_at_grid_end else "")


def format_value(value: float) -> str:
    """A score with four decimals, in which a small one is not lost."""
    if 0 < abs(value) < _TINY:
        return f"{value:.1e}"  # four decimals would show nothing
    return f"{value:.4f}" if abs(value) < 100 else f"{value:.5g}"


def format_signed(value: float) -> str:
    """A difference, with its sign."""
    return ("" if value < 0 else "+") + format_value(value)


def shorten(text: str, width: int) -> str:
    """A text of so many characters at most, with dots where it was cut."""
    return text if len(text) <= width else text[: width - 1] + "…"
