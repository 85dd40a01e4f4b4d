"""Figures of a function, on data."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from actsearch.activations import curve
from actsearch.records import HISTOGRAM_EDGES, ActivationRecord, SiteDiagnostics
from actsearch.report import pooled_histogram
from actsearch_dashboard import figures, palette
from actsearch_dashboard.figures.curve import bars, visible_range
from actsearch_dashboard.functions import learned_curve

BINS = len(HISTOGRAM_EDGES) + 1


def site(
    path: str, histogram: tuple[float, ...], shape: tuple[int, ...] = (4, 2)
) -> SiteDiagnostics:
    return SiteDiagnostics(path, shape, 0.0, 1.0, histogram, 0.0, 0.0, 0.0, 1.0, 1.0)


def one_bin(at: int) -> tuple[float, ...]:
    return tuple(float(index == at) for index in range(BINS))


def test_bars_integrate_to_the_shares_and_touch() -> None:
    shares = [1 / BINS] * BINS
    drawn = bars(shares)
    assert [w * h for w, h in zip(drawn.widths, drawn.heights, strict=True)] == pytest.approx(
        shares
    )
    left = [c - w / 2 for c, w in zip(drawn.centres, drawn.widths, strict=True)]
    right = [c + w / 2 for c, w in zip(drawn.centres, drawn.widths, strict=True)]
    assert left[0] == -6
    assert right[-1] == 6
    assert left[1:] == pytest.approx(right[:-1])
    assert left[1:] == pytest.approx(list(HISTOGRAM_EDGES))


def test_the_shares_of_the_normal_distribution() -> None:
    shares = figures.normal_histogram()
    assert sum(shares) == pytest.approx(1)
    middle = sum(shares[index] for index in range(BINS) if 9 <= index <= 12)  # from -1 to 1
    assert middle == pytest.approx(0.6827, abs=1e-4)


@pytest.mark.parametrize("formula", ["tanh(x)", "x * sigmoid(x)", "max(x, 0.1 * x)", "x**3"])
def test_the_derivative_is_that_of_autograd(formula: str) -> None:
    figure = figures.function(curve(formula))
    traces = {trace.name: trace for trace in figure.data}
    x = torch.tensor(traces["f(x)"].x, requires_grad=True)
    y = {
        "tanh(x)": lambda: torch.tanh(x),
        "x * sigmoid(x)": lambda: torch.nn.functional.silu(x),
        "max(x, 0.1 * x)": lambda: torch.nn.functional.leaky_relu(x, 0.1),
        "x**3": lambda: x**3,
    }[formula]()
    (slope,) = torch.autograd.grad(y.sum(), x)
    away = np.abs(traces["f(x)"].x) > 1e-9  # from the kink
    assert np.allclose(np.asarray(traces["f(x)"].y), y.detach().numpy())
    assert np.allclose(np.asarray(traces["f′(x)"].y)[away], slope.numpy()[away])


def test_the_histogram_stands_behind_the_function_on_an_axis_of_its_own() -> None:
    figure = figures.function(curve("tanh(x)"), inputs=one_bin(11))
    assert [trace.type for trace in figure.data] == ["bar", "scatter", "scatter"]
    assert figure.data[0].yaxis == "y2"
    assert figure.layout.yaxis.overlaying == "y2"
    assert sum(figure.data[0].customdata) == pytest.approx(1)
    assert figure.data[0].marker.color == palette.INPUTS


def test_learned_numbers_move_the_function_and_leave_its_start_to_be_seen() -> None:
    record = ActivationRecord('param(1.0, per="channel") * x')
    now = learned_curve(record, {"theta_0": [2.0, 4.0, math.nan], "other": [9.0]})
    figure = figures.function(now, start=curve(record))
    traces = {trace.name: trace for trace in figure.data}
    x = np.asarray(traces["f(x)"].x)
    assert np.allclose(traces["f(x)"].y, 3 * x)
    assert np.allclose(traces["f at the start"].y, traces["f at the start"].x)
    assert traces["f at the start"].line.color == palette.BEFORE


def test_what_runs_away_leaves_the_middle_legible() -> None:
    x = np.linspace(-6, 6, 601)
    low, high = visible_range(x, np.maximum(x, 0))
    assert low < 0
    assert 6 < high < 7
    low, high = visible_range(x, x**9)
    assert high < 6**9 / 10
    with np.errstate(divide="ignore"):
        low, high = visible_range(x, 1 / x, -1 / x**2)
    assert math.isfinite(low)
    assert abs(low) < 1e4
    assert visible_range(x, np.full(601, math.nan)) == (-1.0, 1.0)
    low, high = visible_range(x, np.zeros(601))
    assert low < 0 < high


def test_sites_are_pooled_by_how_many_numbers_arrived() -> None:
    few, many = site("a", one_bin(3), (4, 1)), site("b", one_bin(5), (4, 3))
    pooled = pooled_histogram(
        [few, many, site("damaged", (0.5, math.nan)), site("worse", (7.0,) * BINS)]
    )
    assert pooled[3] == pytest.approx(0.25)
    assert pooled[5] == pytest.approx(0.75)
    assert sum(pooled) == pytest.approx(1)
    assert pooled_histogram([site("damaged", ())]) == ()
