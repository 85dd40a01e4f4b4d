"""What a candidate changed in its parents' formulas, on its page."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

from saying import said
from streamlit.testing.v1 import AppTest
from written import write_study

from actsearch.records import (
    SHARED,
    ActivationRecord,
    CandidateRecord,
    TrialRecord,
    TrialState,
)
from actsearch_dashboard.lineage_panel import describe_changes

Opener = Callable[..., AppTest]


def record(number: int, formulas: dict[str, str]) -> TrialRecord:
    items = {group: ActivationRecord(formula) for group, formula in formulas.items()}
    return TrialRecord(number, TrialState.COMPLETE, CandidateRecord(items))


def changes(parent: str, child: str) -> str:
    (line,) = describe_changes(record(7, {SHARED: child}), record(3, {SHARED: parent}))
    return line.replace("\\", "")


def test_the_changed_subtree_is_marked_and_escaped() -> None:
    (line,) = describe_changes(
        record(7, {SHARED: "x * tanh(x ** 2) + sin(x)"}),
        record(3, {SHARED: "x * tanh(x) + sin(x)"}),
    )
    assert line == (
        r":gray[against trial 3:] x \* tanh\(:orange-background[**x \*\* 2**]\) \+ sin\(x\)"
    )


def test_what_has_changed_for_the_most_part_is_not_marked() -> None:
    assert "more than half of the formula differs" in changes("x * tanh(x)", "sin(x) / 2")
    assert "its whole formula, inside" in changes("x * tanh(x)", "sin(x * tanh(x))")
    assert "a part of its formula" in changes("sin(x * tanh(x))", "x * tanh(x)")
    assert "orange" not in changes("x * tanh(x)", "sin(x) / 2")


def test_long_parts_that_are_as_before_are_shortened() -> None:
    same = " + ".join(["sin(x)"] * 30)
    line = changes(f"{same} + tanh(x)", f"{same} + cos(x)")
    assert "…" in line
    assert line.endswith("sin(x) + :orange-background[**cos(x)**]")


def test_of_several_groups_those_that_differ_are_named() -> None:
    parent = record(3, {"a": "tanh(x)", "*b*": "x * sin(x)"})
    child = record(7, {"a": "tanh(x)", "*b*": "x * cos(x)", "c": "x"})
    (line,) = describe_changes(child, parent)
    assert line == r":gray[against trial 3 at \*b\*:] x \* :orange-background[**cos\(x\)**]"


def test_nothing_is_said_without_a_difference_or_a_formula() -> None:
    for before, after in (("x * sin(x)", "sin(x) * x"), ("__import__('os')", "x"), ("x", "")):
        assert not describe_changes(record(7, {SHARED: after}), record(3, {SHARED: before}))
    assert not describe_changes(record(7, {SHARED: "x"}), record(3, {}))


def test_the_page_marks_what_differs_from_each_parent(
    opened: Opener, tmp_path: Path, evil: str
) -> None:
    formulas = ["x * tanh(x)", "x * sin(x)", "x * sin(2 * x)"]
    path = write_study(tmp_path / "s.db", "s", [0.5, 0.6, 0.7], formulas=formulas)
    with closing(sqlite3.connect(path)) as base, base:
        base.execute("UPDATE trials SET parents = ? WHERE number = 2", (json.dumps([1, 0, 1, 9]),))
    text = said(opened("activation", path, study="s", trial="2"))
    assert ":gray[against trial 1:] x * sin(:orange-background[**2 * x**])" in text
    assert text.index("against trial 1:") < text.index("against trial 0:")
    assert text.count("against trial") == 2
    assert "against trial" not in said(opened("activation", path, study="s", trial="1"))
    hostile = json.dumps(
        {SHARED: {"formula": evil, "name": None, "hyperparameters": {}, "label": evil}}
    )
    with closing(sqlite3.connect(path)) as base, base:
        base.execute("UPDATE trials SET activations = ? WHERE number = 1", (hostile,))
    assert "against trial 1" not in said(opened("activation", path, study="s", trial="2"))
