"""Generations, operators, operations and ancestry: numbers counted by hand."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import pandas as pd
import pytest

from actsearch.records import TrialState
from actsearch.report import COLUMNS
from actsearch_dashboard import figures, palette
from actsearch_dashboard.formulas import formula_facts

START = datetime(2026, 1, 1, tzinfo=UTC)


def frame(rows: Sequence[dict[str, Any]]) -> pd.DataFrame:
    """Trials as the pages see them; what a row leaves out is empty."""
    empty = {
        "state": "COMPLETE", "value": math.nan, "spread": math.nan, "label": "x", "formula": "x", "name": "",
        "operation": "", "parents": (), "groups": 1, "duplicate_of": None, "fingerprint": "", "mirror": "",
        "reason": "", "seconds": 1.0, "created": None, "started": None, "completed": None,
    }  # fmt: skip
    whole = [{"number": at, **empty, **row} for at, row in enumerate(rows)]
    return pd.DataFrame(whole, columns=list(COLUMNS)).astype(COLUMNS)


def at(seconds: float) -> datetime:
    return START + timedelta(seconds=seconds)


def batched(sizes: Sequence[int], **rows: Sequence[Any]) -> pd.DataFrame:
    """Batches of these sizes; within one, written microseconds apart, and trained thereafter."""
    found = []
    for batch, size in enumerate(sizes):
        for nth in range(size):
            found.append(
                {"created": at(100 * batch + nth * 1e-5), "started": at(100 * batch + 1 + nth)}
            )
    for name, column in rows.items():
        for row, value in zip(found, column, strict=True):
            row[name] = value
    return frame(found)


def test_a_batch_is_what_was_written_before_anything_of_it_ran() -> None:
    assert figures.batches(batched([3, 2, 4])).tolist() == [0, 0, 0, 1, 1, 2, 2, 2, 2]


def test_a_batch_may_hold_trials_that_never_ran() -> None:
    table = batched([3, 3])
    table.loc[[1, 4], "started"] = None  # rejected, or a duplicate
    assert figures.batches(table).tolist() == [0, 0, 0, 1, 1, 1]


def test_a_trial_that_ran_again_after_an_interruption_stays_in_its_batch() -> None:
    table = batched([3, 3])
    table.loc[2, "started"] = pd.Timestamp(at(50))
    assert figures.batches(table).tolist() == [0, 0, 0, 1, 1, 1]


@pytest.mark.parametrize("column", ["created", "started"])
def test_batches_of_damaged_times(column: str) -> None:
    table = batched([2, 2])
    table[column] = pd.Series([pd.NaT] * 4, dtype=COLUMNS[column])
    assert figures.batches(table).tolist() == [0, 0, 0, 0]


def test_of_a_running_study_only_generations_that_have_ended_are_shown() -> None:
    states = (
        ["COMPLETE"] * 3 + ["REJECTED"] + ["COMPLETE"] * 3 + ["RUNNING", "WAITING", "REJECTED"]
    )
    table = batched([4, 3, 3], state=states)
    assert list(figures.finished_generations(table)["number"]) == list(range(7))
    assert list(figures.finished_generations(table, most=1)["number"]) == list(range(7))
    more = batched([2] * 5)  # at most two rows: three generations each
    assert list(figures.finished_generations(more, most=2)["number"]) == list(range(6))
    assert (
        len(figures.finished_generations(batched([4], state=["COMPLETE"] * 3 + ["RUNNING"]))) == 0
    )
    assert len(figures.finished_generations(frame([]))) == 0


def test_generations_of_nothing() -> None:
    table = figures.generations(frame([]), "maximize")
    assert table.empty
    figures.generation_values(table, "maximize", "accuracy").to_json()
    drawn = {line.name: line.line.color for line in figures.novelty(table).data}
    assert drawn["failed"] == palette.STATES[TrialState.FAILED]  # as on every other page


VALUES = [0.1, 0.4, 0.3, 0.2, math.nan, 0.35, 0.5, 0.9]
STATES = ["COMPLETE"] * 4 + ["FAILED", "COMPLETE", "COMPLETE", "DUPLICATE"]


def test_generations_have_best_and_quartiles_of_complete_trials() -> None:
    table = figures.generations(batched([4, 4], value=VALUES, state=STATES), "maximize")
    assert list(table["first"]) == [0, 4]
    assert list(table["last"]) == [3, 7]
    assert list(table["proposed"]) == [4, 4]
    assert list(table["complete"]) == [4, 2]
    for row, values in enumerate(([0.1, 0.4, 0.3, 0.2], [0.35, 0.5])):
        assert table["best"][row] == max(values)
        assert table["median"][row] == pytest.approx(np.median(values))
        assert table["lower"][row] == pytest.approx(np.quantile(values, 0.25))
        assert table["upper"][row] == pytest.approx(np.quantile(values, 0.75))
    assert list(table["so_far"]) == [0.4, 0.5]
    assert list(table["failed"]) == [0, 0.25]
    assert list(table["duplicates"]) == [0, 0.25]


def test_generations_of_a_loss_go_down() -> None:
    table = figures.generations(batched([4, 4], value=VALUES, state=STATES), "minimize")
    assert list(table["best"]) == [0.1, 0.35]
    assert list(table["so_far"]) == [0.1, 0.1]


def test_what_is_new_is_counted_against_all_earlier_generations() -> None:
    table = figures.generations(
        batched(
            [4, 4],
            fingerprint=["a", "b", "b", "", "a", "c", "d", "e"],
            mirror=["m", "m", "n", "", "m", "o", "o", "m"],
        ),
        "maximize",
    )
    assert list(table["new"]) == [0.5, 0.75]
    assert list(table["new_shapes"]) == [0.5, 0.25]


def test_many_batches_are_taken_together() -> None:
    table = figures.generations(batched([1] * 10, value=range(10)), "maximize", most=4)
    assert list(table["batches"]) == [3, 3, 3, 1]
    assert list(table["generation"]) == [0, 3, 6, 9]
    assert list(table["best"]) == [2, 5, 8, 9]


def test_a_generation_in_which_all_failed_leaves_a_gap() -> None:
    table = figures.generations(
        batched([1, 1, 1], value=[0.5, math.nan, 0.7], state=["COMPLETE", "FAILED", "COMPLETE"]),
        "maximize",
    )
    assert list(table["so_far"]) == [0.5, 0.5, 0.7]
    figure = figures.generation_values(table, "maximize", "accuracy")
    traces = {trace.name: trace for trace in figure.data}
    assert list(traces["median"].x) == [0, 2]
    assert list(traces["best so far (optimistic)"].x) == [0, 1, 2]


FORMULAS = [
    "tanh(x) + x",
    "tanh(tanh(x))",
    "1: relu(x); depth:1/3: sin(x)",
    "softmax(x)",
    "no ( formula",
    "x",
]


def used(text: str) -> frozenset[str] | None:
    found = formula_facts(text)
    return None if found is None else found.operators


def test_operator_use_is_a_share_of_what_can_be_read() -> None:
    trials = batched([2, 4], formula=FORMULAS)
    use = figures.operator_use(trials, figures.generations(trials, "maximize"), used)
    assert list(use.index)[0] == "tanh"
    assert use.shape[1] == 2
    assert list(use.loc["tanh"]) == [1.0, 0.0]
    assert list(use.loc["add"]) == [0.5, 0.0]
    assert list(use.loc["sin"]) == [0.0, 0.5]  # of two that can be read
    heat = figures.operator_heat(use)
    assert heat.data[0].y[-1] == "tanh"


def test_operator_use_keeps_the_most_used_and_says_nothing_of_what_cannot_be_read() -> None:
    trials = batched([2, 1], formula=["tanh(x)", "tanh(x) + sin(x)", "?"])
    use = figures.operator_use(trials, figures.generations(trials, None), used, top=1)
    assert list(use.index) == ["tanh"]
    assert np.isnan(use.loc["tanh"].iloc[1])
    assert figures.operator_heat(use).data[0].z[0][1] is None
    nothing = batched([1], formula=["?"])
    assert figures.operator_use(nothing, figures.generations(nothing, None), used).empty


FAMILY: list[dict[str, Any]] = [
    {"value": 0.5, "operation": "catalog"},
    {"value": 0.7, "operation": "catalog"},
    {"value": 0.6, "operation": "jitter", "parents": (0,)},
    {"value": 0.65, "operation": "crossover", "parents": (0, 1)},
    {"value": 0.8, "operation": "crossover", "parents": (1, 2)},
    {"value": math.nan, "operation": "jitter", "parents": (1,), "state": "FAILED"},
    {"value": 0.9, "operation": "jitter", "parents": (5,)},
]


def test_operations_compare_children_with_their_best_parent() -> None:
    table = figures.operations(frame(FAMILY), "maximize").set_index("operation")
    assert dict(table["children"]) == {"catalog": 2, "jitter": 2, "crossover": 2}
    assert dict(table["compared"]) == {"catalog": 0, "jitter": 1, "crossover": 2}
    assert table["improved"]["crossover"] == 0.5
    assert table["improved"]["jitter"] == 1.0
    assert table["median_gain"]["crossover"] == pytest.approx((-0.05 + 0.1) / 2)
    assert dict(table["records"]) == {"catalog": 2, "jitter": 1, "crossover": 1}
    # Wilson's interval of 1 of 2, from his formula
    assert table["low"]["crossover"] == pytest.approx(0.0945, abs=1e-4)
    assert table["high"]["crossover"] == pytest.approx(0.9055, abs=1e-4)
    assert np.isnan(table["improved"]["catalog"])


def test_operations_that_lower_a_loss_improve() -> None:
    rows: list[dict[str, Any]] = [
        {"value": 1.0},
        {"value": 0.5, "operation": "scale", "parents": (0,)},
    ]
    table = figures.operations(frame(rows), "minimize").set_index("operation")
    assert table["improved"]["scale"] == 1.0
    assert table["median_gain"]["scale"] == 0.5


def test_operation_shares_leave_out_what_has_no_parents() -> None:
    (points,) = figures.operation_shares(figures.operations(frame(FAMILY), "maximize")).data
    assert [name.strip() for name in points.y] == ["crossover (2)", "jitter (1)"]
    figures.operation_shares(figures.operations(frame([]), None)).to_json()


def test_ancestry_goes_back_to_the_first_and_each_parent_stands_above_its_children() -> None:
    rows = [
        *FAMILY,
        {"value": 1.0, "operation": "crossover", "parents": (4, 1), "label": "winner"},
    ]
    found = figures.ancestry(frame(rows), 7)
    steps = {node.number: node.steps for node in found.nodes}
    assert steps == {7: 0, 4: 1, 1: 2, 2: 2, 0: 3}  # 1 is a parent of 7 and of 4
    assert found.nodes[0].label == "winner"
    assert found.left_out == 0
    points = figures.ancestry_figure(found).data[1]
    height = dict(zip(points.customdata, points.y, strict=True))
    for node in found.nodes:
        assert all(height[parent] > height[node.number] for parent in node.parents)
    beside = dict(zip(points.customdata, points.textposition, strict=True))
    assert (beside[7], beside[4], beside[0]) == ("bottom center", "middle right", "top center")


def test_ancestry_keeps_the_nearest_and_counts_the_rest() -> None:
    rows = [{"value": 1.0, "parents": (n - 1,) if n else ()} for n in range(60)]
    found = figures.ancestry(frame(rows), 59)
    assert [node.number for node in found.nodes] == list(range(59, 19, -1))
    assert found.left_out == 20
    assert figures.ancestry_figure(found).layout.height <= 1200


def test_ancestry_of_damaged_rows_ends() -> None:
    rows: list[dict[str, Any]] = [{"parents": (1,)}, {"parents": (1, 0, 99)}, {"parents": ()}]
    assert [node.number for node in figures.ancestry(frame(rows), 1).nodes] == [1, 0]
    assert figures.ancestry(frame(rows), 17).nodes == ()


def test_hostile_text_in_these_figures_is_escaped(evil: str) -> None:
    rows = [
        {"value": 0.5, "operation": evil, "label": evil, "formula": evil},
        {"value": 0.6, "operation": evil, "label": evil, "formula": evil, "parents": (0,)},
    ]
    trials = frame(rows)
    table = figures.generations(trials, "maximize")
    use = figures.operator_use(trials, table, lambda text: frozenset([text]))
    for figure in (
        figures.ancestry_figure(figures.ancestry(trials, 1)),
        figures.operation_shares(figures.operations(trials, "maximize")),
        figures.operator_heat(use),
        figures.generation_values(table, "maximize", evil),
    ):
        text = json.dumps(figure.to_plotly_json(), default=list, ensure_ascii=False)
        assert "<img" not in text
        assert "&lt;img" in text


@pytest.mark.slow
def test_ten_thousand_trials_are_counted_in_a_moment() -> None:
    generator = np.random.default_rng(0)
    trials = batched(
        [32] * 313,
        value=generator.normal(size=10_016).tolist(),
        formula=[f"tanh(x) + {n} * sin(x)" for n in range(10_016)],
        operation=["crossover"] * 10_016,
        parents=[(max(0, n - 40), max(0, n - 33)) if n else () for n in range(10_016)],
    )
    began = time.process_time()
    table = figures.generations(trials, "maximize")
    figures.operations(trials, "maximize")
    figures.ancestry(trials, 10_000)
    figures.operator_use(trials, table, used)
    assert len(table) <= 150
    assert time.process_time() - began < 2  # about 0.6 s where nothing else runs
