"""Numbers and times for people, and text made harmless."""

from __future__ import annotations

import csv
import io
import math
import re
from datetime import UTC, datetime, timedelta

import pandas as pd
import pytest

from actsearch_dashboard import text


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (0.96503, "0.9650"), (-0.5, "-0.5000"), (0.0, "0.0000"), (12345.678, "12345.7"),
        (0.00001234, "1.234e-05"), (3e9, "3.000e+09"), (None, "–"), (math.nan, "–"), (math.inf, "∞"),
        (-math.inf, "−∞"),
    ],
)  # fmt: skip
def test_number(value: float | None, shown: str) -> None:
    assert text.number(value) == shown


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (0.111, "0.11 s"), (42.4, "42 s"), (60, "1 min"), (185, "3 min 5 s"), (7800, "2 h 10 min"),
        (274000, "3 d 4 h"), (None, "–"), (math.inf, "–"),
    ],
)  # fmt: skip
def test_seconds(value: float | None, shown: str) -> None:
    assert text.seconds(value) == shown


@pytest.mark.parametrize(
    ("age", "shown"),
    [(-3, "just now"), (2, "just now"), (40, "40 s ago"), (300, "5 min ago"), (7300, "2 h ago"),
     (200000, "2 d ago")],
)  # fmt: skip
def test_ago(age: int, shown: str) -> None:
    now = datetime(2026, 1, 1, tzinfo=UTC)
    assert text.ago(now - timedelta(seconds=age), now) == shown


def test_markdown_escapes_every_special_character(evil: str) -> None:
    escaped = text.markdown(evil)
    for before, after in zip(" " + escaped, escaped, strict=False):
        if after in "<>*[]()$:_`&#~|" and after.isascii():
            assert before == "\\"
    assert "\n" not in escaped
    shown = re.sub(r"\\([!-/:-@\[-`{-~])", r"\1", escaped)  # as CommonMark does
    assert shown.replace("\u2060", "") == text.one_line(evil)


def test_markup_leaves_no_tag(evil: str) -> None:
    assert "<" not in text.markup(evil)
    assert text.markup("a & b") == "a &amp; b"


def test_csv_disarms_texts_and_leaves_numbers() -> None:
    hostile = ["=1+1", "+1", "-x", "@SUM(A1)", "\tx", "x = 1", ""]
    frame = pd.DataFrame({"formula": hostile, "value": [-1.5] * 6 + [math.nan]})
    rows = list(csv.DictReader(io.StringIO(text.csv_text(frame))))
    assert [row["formula"] for row in rows] == [
        "'=1+1", "'+1", "'-x", "'@SUM(A1)", "'\tx", "x = 1", "",
    ]  # fmt: skip
    assert [row["value"] for row in rows] == ["-1.5"] * 6 + [""]
    assert list(frame["formula"]) == hostile
