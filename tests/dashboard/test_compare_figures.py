"""Functions, curves, differences and studies side by side: numbers from numpy and scipy."""

from __future__ import annotations

import base64
import json
import math
import xml.etree.ElementTree as ET
from types import SimpleNamespace
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import pytest
from scipy import stats

from actsearch.activations import describe
from actsearch.records import (
    ActivationRecord,
    CandidateRecord,
    Curve,
    EpochRecord,
    EvaluationRecord,
)
from actsearch.report import Measured, compute_verdict
from actsearch.report.formulas import split_formulas
from actsearch_dashboard import figures, palette
from actsearch_dashboard.compare_address import format_names, parse_names
from actsearch_dashboard.formulas import formula_facts
from actsearch_dashboard.functions import curves, is_faithful, large_curves, pictures

X = np.linspace(-4, 4, 9)
VIEW: Any = SimpleNamespace(  # of a study whose functions are not stored
    record=None, store=SimpleNamespace(reader=SimpleNamespace(functions=lambda *_: {}))
)


def curve(y: npt.NDArray[np.float64]) -> Curve:
    return Curve(X, y, y)


def evaluation(seed: int, *values: float | None) -> EvaluationRecord:
    epochs = tuple(EpochRecord(at, valid_metric=value) for at, value in enumerate(values, 1))
    return EvaluationRecord(seed, values[-1], epochs=epochs)


def test_functions_have_a_colour_each_and_a_dash_a_group() -> None:
    figure = figures.functions({"a": {"*": curve(X)}, "b": {"1": curve(-X), "2": curve(X**2)}})
    assert [trace.line.color for trace in figure.data] == [
        palette.SERIES[0], palette.SERIES[1], palette.SERIES[1],
    ]  # fmt: skip
    assert [trace.line.dash for trace in figure.data] == ["solid", "solid", "dash"]
    assert [trace.name for trace in figure.data] == ["a", "b at 1", "b at 2"]
    assert figure.layout.yaxis.range[1] < 7  # x squared reaches 16


def test_functions_leave_a_gap_for_what_is_not_finite() -> None:
    with np.errstate(divide="ignore", invalid="ignore"):
        figure = figures.functions({"log": {"*": curve(np.log(X))}})
    assert np.isnan(figure.data[0].y[:5]).all()


def test_median_curves_are_the_median_over_seeds_with_their_range() -> None:
    seeds = [evaluation(0, 0.1, 0.5), evaluation(1, 0.3, 0.9), evaluation(2, 0.2, math.nan)]
    band, line = figures.median_curves({"a": seeds}, "accuracy").data
    assert list(line.y) == pytest.approx([0.2, 0.7])
    assert list(band.y) == pytest.approx([0.3, 0.9, 0.5, 0.1])
    (alone,) = figures.median_curves({"a": seeds[:1], "never trained": []}, "accuracy").data
    assert list(alone.y) == [0.1, 0.5]


def test_common_scores_are_those_of_seeds_that_all_have() -> None:
    scores = figures.common_scores(
        {
            3: [evaluation(7, 0.5), evaluation(8, 0.6), evaluation(9, 0.7)],
            1: [evaluation(9, 0.1), evaluation(7, math.nan), evaluation(11, 0.2)],
        }
    )
    assert scores == {3: (0.5, 0.7), 1: (None, 0.1)}
    assert figures.common_scores({1: [], 2: [evaluation(0, 1.0)]}) == {1: (), 2: ()}


def test_paired_differences_have_the_simultaneous_t_interval() -> None:
    scores: dict[int, tuple[float | None, ...]] = {
        5: (0.90, 0.92, 0.91, 0.93),
        2: (0.91, 0.94, 0.92, 0.93),
        9: (0.80, 0.85, 0.81, 0.90),
    }
    names = {5: "relu", 2: "tanh", 9: "sin"}
    found = figures.paired_differences(scores, names, "accuracy", "maximize")
    assert found is not None
    for row in found.rows:
        assert row.number is not None
        gaps = np.array(scores[row.number], float) - np.array(scores[5], float)
        half = stats.t.ppf(1 - 0.05 / 2 / 2, 3) * stats.sem(gaps)  # two comparisons
        assert row.difference == pytest.approx(gaps.mean())
        assert row.low == pytest.approx(gaps.mean() - half)
        assert row.high == pytest.approx(gaps.mean() + half)
    wider = figures.paired_differences(
        scores, names, "accuracy", "maximize", earlier_comparisons=10
    )
    assert wider is not None
    assert wider.rows[0].high > found.rows[0].high
    assert "to relu" in figures.verdict_intervals(found).layout.xaxis.title.text


@pytest.mark.parametrize(
    "scores",
    [{1: (0.5,), 2: (0.6,)}, {1: (), 2: ()}, {1: (0.5, 0.6)}, {1: (None, None), 2: (1.0, 2.0)}],
)
def test_paired_differences_need_two_seeds(
    scores: dict[int, tuple[float | None, ...]],
) -> None:
    assert figures.paired_differences(scores, {1: "a", 2: "b"}, "accuracy", "maximize") is None


def test_verdict_scores_are_those_of_trials_confirmed_together() -> None:
    values = [0.9, 0.8, 0.7]
    verdict = compute_verdict(
        Measured("relu", "relu", values),
        [Measured("x", "x", values, number=3), Measured("y", "y", values[::-1], number=4)],
        study_name="", metric="accuracy", direction="maximize",
    )  # fmt: skip
    assert figures.verdict_scores(verdict, [4, 3]) == {4: (0.7, 0.8, 0.9), 3: (0.9, 0.8, 0.7)}
    assert figures.verdict_scores(verdict, [3, 5]) is None


def test_distribution_is_the_empirical_one() -> None:
    values = [0.3, 0.1, math.nan, 0.2, 0.2]
    figure = figures.distribution({"a": values, "none": []}, "maximize", "accuracy")
    expected = stats.ecdf([0.3, 0.1, 0.2, 0.2]).cdf
    line = figure.data[0]
    for x in (0.1, 0.2, 0.3):
        assert max(
            y for at, y in zip(line.x, line.y, strict=True) if at == x
        ) == expected.evaluate(x)
    assert line.name == "a (4)"


def trials(rows: list[tuple[str, float, float]]) -> pd.DataFrame:
    frame = pd.DataFrame(rows, columns=["state", "value", "seconds"])
    return frame.astype({"value": "float64", "seconds": "float64"})


ROWS = [
    ("REJECTED", math.nan, 0.0), ("FAILED", math.nan, 2.0), ("COMPLETE", 0.5, 1.0), ("COMPLETE", 0.4, 1.0),
    ("DUPLICATE", 0.9, 0.0), ("PRUNED", 0.99, 1.0), ("COMPLETE", 0.7, 3.0), ("COMPLETE", 0.6, 1.0),
]  # fmt: skip


def test_progress_counts_what_was_trained_and_improves_with_complete_trials_alone() -> None:
    steps = figures.best_so_far_steps(trials(ROWS), "maximize")
    assert list(steps["trials"]) == [2, 5, 6]
    assert list(steps["seconds"]) == [3.0, 8.0, 9.0]
    assert list(steps["best"]) == [0.5, 0.7, 0.7]
    down = figures.best_so_far_steps(trials(ROWS), "minimize")
    assert list(down["best"]) == [0.5, 0.4, 0.4]
    assert figures.best_so_far_steps(trials([]), "maximize").empty


@pytest.mark.parametrize("against", ["trials", "seconds"])
def test_best_over_draws_a_line_a_study(against: str) -> None:
    steps = figures.best_so_far_steps(trials(ROWS), "maximize")
    figure = figures.best_so_far({"a": steps, "b": steps[:0]}, against, "maximize", "accuracy")
    assert list(figure.data[0].x) == list(steps[against])
    assert [trace.name for trace in figure.data] == ["a", "b"]


POINTS = pd.DataFrame(
    {
        "number": [0, 1, 2, 3, 4],
        "label": list("abcde"),
        "value": [0.9, 0.8, 0.7, 0.9, 0.95],
        "size": [5.0, 3.0, 4.0, 6.0, math.nan],
        "cost": [2.0, 1.0, 0.5, 9.0, 0.1],
    },
    index=[10, 11, 12, 13, 14],
)
WAYS = {"value": "maximize", "size": "minimize", "cost": "minimize"}


def test_front_holds_what_nothing_else_beats() -> None:
    assert list(figures.pareto_mask(POINTS, WAYS)) == [True, True, True, False, False]
    two = {name: WAYS[name] for name in ("value", "size")}
    assert list(figures.pareto_mask(POINTS, two)) == [True, True, False, False, False]


def test_tradeoff_draws_the_first_against_each_other_with_the_front_highlighted() -> None:
    figure = figures.tradeoff(POINTS, WAYS, {name: name for name in WAYS})
    fronts = [trace for trace in figure.data if trace.name == "Pareto front"]
    assert [list(trace.x) for trace in fronts] == [[3, 4, 5], [0.5, 1, 2]]
    assert {trace.marker.color for trace in fronts} == {palette.ORANGE}
    assert [trace.showlegend for trace in figure.data] == [True, True, False, False]
    figures.tradeoff(POINTS[:0], WAYS, {name: name for name in WAYS}).to_json()


def test_hostile_text_in_these_figures_is_escaped(evil: str) -> None:
    steps = figures.best_so_far_steps(trials(ROWS), "maximize")
    for figure in (
        figures.functions({evil: {evil: curve(X), "b": curve(X)}}),
        figures.median_curves({evil: [evaluation(0, 1.0)]}, evil),
        figures.distribution({evil: [1.0]}, "maximize", evil),
        figures.best_so_far({evil: steps}, "trials", "maximize", evil),
        figures.tradeoff(POINTS.assign(label=evil), WAYS, dict.fromkeys(WAYS, evil)),
    ):
        text = json.dumps(figure.to_plotly_json(), default=list, ensure_ascii=False)
        assert "<img" not in text
        assert "&lt;img" in text


# Miniature plots


def drawing(uri: str) -> ET.Element:
    head, _, data = uri.partition(",")
    assert head == "data:image/svg+xml;base64"
    return ET.fromstring(base64.b64decode(data))  # noqa: S314


def lines(uri: str) -> list[str]:
    return [path.get("d", "") for path in drawing(uri) if path.get("fill") == "none"]


def test_thumbnail_draws_values_upwards_and_holds_nothing_but_paths() -> None:
    svg = drawing(figures.thumbnail([(X, np.maximum(X, 0))]))
    assert {element.tag.rpartition("}")[2] for element in svg} == {"path"}
    assert set().union(*(element.keys() for element in svg)) <= {
        "d", "fill", "stroke", "stroke-width", "stroke-linejoin",
    }  # fmt: skip
    (path,) = lines(figures.thumbnail([(X, np.maximum(X, 0))]))
    heights = [float(step.split(" ")[1]) for step in path.replace("M", "L").split("L")[1:]]
    assert heights[0] == heights[4] > heights[-1]  # flat up to 0, then up, which is down in SVG


def test_thumbnail_draws_usual_functions_to_one_scale() -> None:
    (gentle,) = lines(figures.thumbnail([(X, X / 4)]))
    (steep,) = lines(figures.thumbnail([(X, X / 2)]))
    assert gentle != steep


def test_thumbnail_leaves_gaps_and_survives_explosions() -> None:
    with np.errstate(all="ignore"):
        (path,) = lines(figures.thumbnail([(X, 1 / X)]))
        assert path.count("M") == 2  # not joined through infinity
        (path,) = lines(figures.thumbnail([(X, np.exp(200 * X))]))
        assert "e+" not in path
    assert figures.thumbnail([(X, X * math.nan)]) == ""
    assert figures.thumbnail([]) == ""
    assert len(lines(figures.thumbnail([(X, X), (X, -X)]))) == 2


def test_pictures_of_what_cannot_be_read_are_empty(evil: str) -> None:
    for item in (
        ActivationRecord(evil),
        ActivationRecord("x", name=evil, hyperparameters={evil: evil}),
        ActivationRecord("softmax(x)", name="softmax"),
    ):
        assert pictures(VIEW, [CandidateRecord.shared(item)]) == [""]
        assert curves(VIEW, [item]) == [None]
    assert pictures(VIEW, [CandidateRecord({})]) == [""]


def test_curves_are_the_functions() -> None:
    items = {"1": ActivationRecord("x * tanh(x)"), "2": ActivationRecord("?")}
    drawn, nothing = curves(VIEW, list(items.values()))
    assert nothing is None
    assert drawn is not None
    assert np.allclose(drawn.y, drawn.x * np.tanh(drawn.x))
    (picture,) = pictures(VIEW, [CandidateRecord(items)])
    assert len(lines(picture)) == 1


@pytest.mark.parametrize(
    ("formula", "faithful"),
    [
        ("relu", True),
        ("tanh", True),
        ("x**3", True),
        ("hardswish", True),
        ("sin(20*x)", False),
        ("sin(5*x*x)", False),
        ("1/x", False),
    ],
)
def test_what_turns_fast_is_drawn_large_from_finer_points(formula: str, faithful: bool) -> None:
    record = describe(formula)
    (stored,) = curves(VIEW, [record])
    (large,) = large_curves(VIEW, [record])
    assert stored is not None
    assert large is not None
    assert is_faithful(stored) is faithful
    assert len(large.x) == (81 if faithful else 601)


# Formulas


def test_facts_of_a_formula() -> None:
    found = formula_facts("x * tanh(x)")
    assert found is not None
    assert found.operators == {"mul", "tanh"}
    assert found.size == 4
    relu = formula_facts("relu(x)")
    assert relu is not None
    assert relu.cost == 1
    assert formula_facts("no ( formula") is None
    assert formula_facts("softmax(x)") is None


def test_facts_of_a_candidate_by_site_are_of_all_its_formulas() -> None:
    both = formula_facts("depth:1/3: relu(x); layers.1, layers.2: x * tanh(x)")
    assert split_formulas("depth:1/3: relu(x); a: x") == ["relu(x)", "x"]
    one, other = formula_facts("relu(x)"), formula_facts("x * tanh(x)")
    assert both is not None
    assert one is not None
    assert other is not None
    assert both.operators == {"relu", "mul", "tanh"}
    assert both.size == one.size + other.size
    assert both.cost == pytest.approx((one.cost + other.cost) / 2)


@pytest.mark.parametrize("names", [["a", "b"], ["a,b", "50%", "%2C"], ["ü b", "=1+1 <b>"]])
def test_names_go_through_the_address(names: list[str]) -> None:
    assert parse_names(format_names(names)) == names


def test_names_in_the_address_are_taken_once() -> None:
    assert parse_names("3,17,3,,") == ["3", "17"]
