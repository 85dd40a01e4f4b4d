"""Figures are functions of data, tested without Streamlit."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest

from actsearch.activations import curve
from actsearch.records import (
    ActivationRecord,
    CandidateRecord,
    EpochRecord,
    EvaluationRecord,
    TrialRecord,
    TrialState,
)
from actsearch.report import Measured, Reader, Verdict, compute_verdict
from actsearch.report.columns import make_columns
from actsearch.report.tables import state_counts
from actsearch_dashboard import figures, optuna_figures, palette


def trial(
    number: int,
    value: float | None,
    state: TrialState = TrialState.COMPLETE,
    label: str = "x",
    reason: str = "",
) -> TrialRecord:
    candidate = CandidateRecord.shared(ActivationRecord("x", label=label))
    return TrialRecord(number, state, candidate, value, reason=reason)


GOOD = [0.95, 0.955, 0.94, 0.96, 0.95, 0.945, 0.958, 0.951]


def test_range_is_not_dominated_by_terrible_trials() -> None:
    low, high = figures.robust_range([*GOOD, 0.1, -5.0, math.nan, -math.inf], "maximize") or (0, 0)
    assert 0.8 < low < 0.94
    assert 0.96 < high < 0.98


def test_range_for_losses_is_cut_above() -> None:
    low, high = figures.robust_range([0.2, 0.21, 0.25, 0.19, 0.22, 900.0], "minimize") or (0, 0)
    assert low < 0.19
    assert high < 1


def test_range_without_outliers_holds_all_values() -> None:
    low, high = figures.robust_range(GOOD, "maximize") or (0, 0)
    assert low < min(GOOD)
    assert high > max(GOOD)


@pytest.mark.parametrize("values", [[0.5], [0.0, 0.0], [3.0] * 9])
def test_range_of_equal_values_has_some_height(values: list[float]) -> None:
    low, high = figures.robust_range(values, "maximize") or (0, 0)
    assert low < values[0] < high


def test_range_without_a_value_is_none() -> None:
    assert figures.robust_range([math.nan], "maximize") is None


def test_history_has_best_so_far_and_shows_failures_apart() -> None:
    trials = [
        trial(0, 0.9),
        trial(1, 0.95),
        trial(2, None, TrialState.FAILED, reason="diverged"),
        trial(3, 0.92),
        trial(4, 0.91, TrialState.PRUNED),
        trial(5, 0.96),
        trial(6, 0.1),
        trial(7, None, TrialState.REJECTED),
    ]
    figure = figures.history(make_columns(trials), "maximize", "accuracy")
    traces = {trace.name: trace for trace in figure.data}
    assert set(traces) == {
        "complete", "complete, off the scale", "pruned", "failed", "best so far (optimistic)",
    }  # fmt: skip
    best = traces["best so far (optimistic)"]
    assert list(best.x) == [0, 1, 5, 6]  # where it changes, and the end
    assert list(best.y) == [0.9, 0.95, 0.96, 0.96]
    assert list(traces["complete, off the scale"].x) == [6]
    assert traces["failed"].marker.symbol != traces["complete"].marker.symbol
    assert traces["failed"].y[0] == figure.layout.yaxis.range[0]
    assert "diverged" in traces["failed"].text[0]
    assert "1 trial below" in figure.layout.annotations[0].text
    assert figure.layout.yaxis.title.text == "accuracy (validation)"


def test_history_of_a_loss_goes_down() -> None:
    figure = figures.history(
        make_columns([trial(0, 0.5), trial(1, 0.7), trial(2, 0.4)]), "minimize", "loss"
    )
    assert list(figure.data[0].y) == [0.5, 0.4]


@pytest.mark.parametrize("trials", [[], [trial(0, None, TrialState.FAILED)], [trial(0, math.inf)]])
def test_history_of_nothing_can_be_drawn(trials: list[TrialRecord]) -> None:
    figures.history(make_columns(trials), "maximize", "accuracy").to_json()


def test_history_of_many_trials_is_a_sample_with_the_whole_line() -> None:
    values = [0.9 + number % 977 / 1e4 for number in range(5000)]
    frame = make_columns([trial(number, value) for number, value in enumerate(values)])
    figure = figures.history(frame, "maximize", "accuracy")
    traces = {trace.name: trace for trace in figure.data}
    assert len(traces["complete"].x) == figures.DRAWN
    line = traces["best so far (optimistic)"]
    assert (line.x[0], line.x[-1]) == (0, 4999)
    assert line.y[-1] == max(values) == max(traces["complete"].y)
    assert len(figure.to_json()) < 300_000


def test_history_line_keeps_its_corners() -> None:
    frame = make_columns(
        [trial(number, value) for number, value in enumerate([3.0, 1.0, 1.0, 4.0])]
    )
    line = figures.history(frame, "maximize", "accuracy").data[0]
    assert (list(line.x), list(line.y)) == ([0, 3], [3.0, 4.0])


def test_text_in_figures_is_escaped(evil: str) -> None:
    bad = [trial(n, 0.9 + n / 100, label=evil, reason=evil) for n in range(4)]
    verdict = _verdict(evil)
    for figure in (
        figures.history(make_columns(bad), "maximize", evil),
        figures.verdict_intervals(verdict),
        figures.epoch_curves([_evaluation(0)], "metric", evil),
    ):
        text = json.dumps(figure.to_plotly_json(), default=list, ensure_ascii=False)
        assert "<img" not in text
        assert "<b>bold" not in text
        assert "&lt;img" in text


def _evaluation(seed: int, loss: float = 1.0) -> EvaluationRecord:
    epochs = tuple(EpochRecord(n, loss / n, 0.5, loss / n, 0.6) for n in (1, 2, 3))
    return EvaluationRecord(seed, 0.6, epochs=epochs)


def test_epoch_curves_have_one_line_a_seed_and_one_name_a_role() -> None:
    figure = figures.epoch_curves([_evaluation(1), _evaluation(2)], "loss", "loss")
    assert len(figure.data) == 4
    assert [trace.name for trace in figure.data if trace.showlegend] == ["training", "validation"]
    assert list(figure.data[0].x) == [1, 2, 3]


@pytest.mark.parametrize("unit", ["epoch", "step"])
def test_curves_name_what_their_records_are_numbered_by(unit: str) -> None:
    by_seed = figures.epoch_curves([_evaluation(1)], "loss", "loss", unit)
    median = figures.median_curves({"a": [_evaluation(1)]}, "accuracy", unit)
    assert by_seed.layout.xaxis.title.text == median.layout.xaxis.title.text == unit
    assert f"{unit} %{{x}}" in by_seed.data[0].hovertemplate
    assert f"{unit} %{{x}}" in median.data[0].hovertemplate


def test_epoch_curves_leave_a_gap_for_what_is_not_finite() -> None:
    epochs = (EpochRecord(1, valid_loss=1.0), EpochRecord(2, valid_loss=math.nan))
    figure = figures.epoch_curves([EvaluationRecord(0, None, epochs=epochs)], "loss", "loss")
    assert list(figure.data[0].y) == [1.0, None]
    assert len(figure.data) == 1


def test_steep_losses_are_logarithmic() -> None:
    epochs = tuple(EpochRecord(n, valid_loss=10.0 ** (6 - 3 * n)) for n in (1, 2, 3))
    figure = figures.epoch_curves([EvaluationRecord(0, None, epochs=epochs)], "loss", "loss")
    assert figure.layout.yaxis.type == "log"


def test_states_leaves_out_what_is_not_there() -> None:
    counts = state_counts([trial(0, 1.0), trial(1, None, TrialState.FAILED)])
    (bars,) = figures.states(counts).data
    assert dict(zip(bars.y, bars.x, strict=True)) == {"complete": 1, "failed": 1}


def test_every_state_has_a_colour_of_its_own() -> None:
    assert set(palette.STATES) == set(TrialState)
    assert len(set(palette.STATES.values())) == len(TrialState)


def test_function_has_its_derivative_in_the_colours_of_the_page() -> None:
    figure = figures.function(curve("x * tanh(x)"))
    assert [trace.line.color for trace in figure.data] == [palette.BLUE, palette.ORANGE]
    assert not figure.layout.title.text


def _verdict(label: str) -> Verdict:
    base = [0.90, 0.91, 0.92, 0.90, 0.91, 0.92, 0.90, 0.91]
    better = [value + 0.02 + n / 1000 for n, value in enumerate(base)]
    return compute_verdict(
        Measured(label, label, base),
        [Measured(label, label, better, number=3), Measured("x", "x", base, number=4)],
        study_name=label,
        metric=label,
        direction="maximize",
    )


def test_verdict_intervals_best_on_top() -> None:
    figure = figures.verdict_intervals(_verdict("relu"))
    top = figure.data[-1]
    assert top.marker.color == palette.GREEN
    assert top.x[0] > 0
    assert top.error_x.array[0] == pytest.approx(top.error_x.arrayminus[0])
    assert "higher is better" in figure.layout.xaxis.title.text


def test_no_line_of_the_verdict_figure_crosses_its_words() -> None:
    """Words of a row begin above its interval, and are less than half of a row's height (two lines of 12 pixels)."""
    figure = figures.verdict_intervals(_verdict("relu"))
    words = [(note.y, note.y + 0.5) for note in figure.layout.annotations]
    assert len(words) == len(figure.layout.shapes) == 2
    for mark in figure.layout.shapes:
        assert mark.x0 == mark.x1 == 0
        assert all(mark.y1 < low or mark.y0 > high for low, high in words)
    assert figure.layout.xaxis.showgrid is False


@pytest.mark.parametrize("name", [name for name in optuna_figures.NAMES if name != "Pareto front"])
def test_optuna_figures(whole: Path, name: str) -> None:
    reader = Reader(f"sqlite:///{whole}")
    study = reader.study("confirmed")
    trials = reader.trials(study, epochs=True)
    reader.close()
    drawn = optuna_figures.draw(name, study, trials, "accuracy")
    assert drawn.data
    assert "Objective Value" not in drawn.to_json()  # but the name of the metric
    with pytest.raises(optuna_figures.FigureError, match="more finished trials"):
        optuna_figures.draw(name, study, [], "accuracy")


@pytest.mark.parametrize("name", optuna_figures.NAMES)
def test_optuna_figures_show_hostile_text_as_text(hostile: Path, evil: str, name: str) -> None:
    reader = Reader(f"sqlite:///{hostile}")
    study = reader.study(evil)
    trials = reader.trials(study, epochs=True)
    reader.close()
    try:
        figure = optuna_figures.draw(name, study, trials, "accuracy")
    except optuna_figures.FigureError:
        return
    assert "<img" not in json.dumps(figure.to_plotly_json(), default=list, ensure_ascii=False)
