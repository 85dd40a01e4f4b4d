"""Text for people: numbers, times, and text from the database made harmless."""

from __future__ import annotations

import html
import math
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime

import pandas as pd

from actsearch.records import BASELINE, CATALOG_ROW
from actsearch.report.tables import escape_csv_formula

__all__ = [
    "ago",
    "candidate_label",
    "column_format",
    "csv_text",
    "short_label",
    "short_labels",
    "shorten",
    "file_stem",
    "markdown",
    "markup",
    "moment",
    "number",
    "one_line",
    "say_count",
    "say_origin",
    "seconds",
]

_PUNCTUATION = re.compile(r"([!-/:-@\[-`{-~])")  # what a backslash escapes in CommonMark
# What Streamlit turns into links, emojis and arrows although it is escaped: addresses, :name:, ->, --.
_MAGIC = re.compile(r"/(?=/)|(?<=www)(?=\.)|@|:(?=\w)|<(?=-)|-(?=[->])", re.IGNORECASE)
_WORD_JOINER = "\u2060"  # invisible, and no word goes through it
_MINUTE, _HOUR, _DAY = 60, 3600, 86400
_TINY, _SMALL, _USUAL, _LARGE = 1e-3, 1e-2, 100.0, 1e6  # four decimals tell usual numbers apart


def one_line(text: object) -> str:
    """Text without line breaks and control characters."""
    line = str(text)
    if not line.isprintable():
        line = "".join(c if c.isprintable() else " " for c in line)
    return " ".join(line.split())


def shorten(text: object, width: int = 60) -> str:
    """One line of at most ``width`` characters."""
    line = one_line(text)
    return line if len(line) <= width else line[: width - 1] + "…"


_UNCHANGED = "your model unchanged"


def candidate_label(label: object, width: int = 500) -> str:
    """What a candidate is called: one line, and words for the model without any change."""
    return shorten(label or _UNCHANGED, width)


_LONG_NUMBER = re.compile(r"\d+\.\d*(?:e[+-]?\d+)?|\d+e[+-]?\d+")
_GROUP = "; "  # between the groups of sites of a label


def short_label(label: str) -> str:
    """A label with its numbers rounded to three digits, which tell candidates apart as a rule."""
    return _LONG_NUMBER.sub(lambda found: f"{float(found[0]):.3g}", label)


def short_labels(labels: Sequence[str]) -> list[str]:
    """Labels of candidates that stand together: rounded numbers, and first the groups of sites in which they differ.

    Labels that would be alike by that keep all of their digits.
    """
    parts = [label.split(_GROUP) for label in labels]
    common = set.intersection(*map(set, parts)) if len(set(labels)) > 1 else set()
    ordered = [_GROUP.join(sorted(own, key=lambda part: part in common)) for own in parts]
    rounded = [short_label(label) for label in ordered]
    count = Counter(dict(zip(ordered, rounded, strict=True)).values())
    return [
        short if count[short] == 1 else whole
        for short, whole in zip(rounded, ordered, strict=True)
    ]


def markdown(text: object) -> str:
    """Text that Streamlit's markdown shows as it is: no emphasis, link, formula, colour or HTML comes of it."""
    parted = _MAGIC.sub(lambda match: match[0] + _WORD_JOINER, one_line(text))
    return _PUNCTUATION.sub(r"\\\1", parted)


def markup(text: object, width: int = 60) -> str:
    """Text that Plotly, which reads a subset of HTML, shows as it is."""
    return html.escape(shorten(text, width), quote=False)


def number(value: float | None) -> str:
    """A metric with four decimals; more digits where it is small or large, a dash where there is none."""
    if value is None or math.isnan(value):
        return "–"
    if math.isinf(value):
        return "∞" if value > 0 else "−∞"
    size = abs(value)
    if size != 0 and (size < _TINY or size >= _LARGE):
        return f"{value:.3e}"
    return f"{value:.4f}" if size < _USUAL else f"{value:.1f}"


def column_format(values: Iterable[float | None], *, signed: bool = False) -> str:
    """A printf format for a column of numbers, in which neither small nor large ones lose what tells them apart.

    Args:
        values: of the column; None and what is not finite do not count.
        signed: positive numbers have a plus sign.
    """
    numbers = [float(value) for value in values if value is not None and math.isfinite(value)]
    sign = "+" if signed else ""
    sizes = [abs(value) for value in numbers if value]
    if not sizes:
        return f"%{sign}.4f"
    if max(sizes) >= _LARGE:
        return f"%{sign}.4e"
    if max(sizes) < _SMALL or min(sizes) < _TINY:
        return f"%{sign}.{4 if max(sizes) < _USUAL else 6}g"
    if max(sizes) < _USUAL:
        return f"%{sign}.4f"
    apart = max(numbers) - min(numbers)
    digits = 1 if apart <= 0 else 3 - math.floor(math.log10(apart))
    return f"%{sign}.{min(max(digits, 1), 4)}f"


_MADE_BY = {"": "hand", BASELINE: "your model unchanged", CATALOG_ROW: "the catalog"}


def say_origin(operation: str) -> str:
    """How a candidate was made, as it follows the words "made by"."""
    return _MADE_BY.get(operation) or one_line(operation)


def say_count(count: int, one: str, many: str = "") -> str:
    """A number with its noun, as in "1 trial", "1,200 trials"."""
    return f"{count:,} {one if count == 1 else many or one + 's'}"


def seconds(value: float | None) -> str:
    """A duration, as in "0.11 s", "42 s", "3 min 5 s", "2 h 10 min", "3 d 4 h"."""
    if value is None or not math.isfinite(value):
        return "–"
    if value < 10:
        return f"{value:.2f} s"
    total = round(value)
    for unit, size, below, small in (
        ("d", _DAY, "h", _HOUR), ("h", _HOUR, "min", _MINUTE), ("min", _MINUTE, "s", 1),
    ):  # fmt: skip
        if total >= size:
            rest = total % size // small
            return f"{total // size} {unit}" + (f" {rest} {below}" if rest else "")
    return f"{total} s"


def ago(then: datetime | None, now: datetime | None = None) -> str:
    """How long ago, as in "5 min ago"."""
    if then is None:
        return "–"
    age = ((now or datetime.now(UTC)) - then).total_seconds()
    if age < 5:
        return "just now"
    for unit, size in (("d", _DAY), ("h", _HOUR), ("min", _MINUTE)):
        if age >= size:
            return f"{int(age // size)} {unit} ago"
    return f"{int(age)} s ago"


def moment(then: datetime | None) -> str:
    """A time in this machine's zone, to the second."""
    return "–" if then is None else then.astimezone().strftime("%Y-%m-%d %H:%M:%S")


def file_stem(name: str) -> str:
    """A study's name as part of the name of a file."""
    return re.sub(r"[^A-Za-z0-9]+", "-", name)[:40].strip("-") or "study"


def csv_text(frame: pd.DataFrame) -> str:
    """A table as CSV in which no text is taken for a formula by a spreadsheet: such cells begin with a quote (')."""
    safe = frame.copy()
    for name in safe.columns:
        column = safe[name]
        if not (
            pd.api.types.is_numeric_dtype(column) or pd.api.types.is_datetime64_any_dtype(column)
        ):
            safe[name] = column.map(_escape_cell)
    # with \n alone, a lone \r in a text would not be quoted, and begin a row
    return str(safe.to_csv(index=False, lineterminator="\r\n"))


def _escape_cell(cell: object) -> object:
    return escape_csv_formula(cell) if isinstance(cell, str) else cell
