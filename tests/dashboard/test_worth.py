"""Is it worth going on: the expected gain of the next trials beside the noise, and what is missing to tell it."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest
from saying import said
from streamlit.testing.v1 import AppTest
from written import write_study

from actsearch.report import Measured, compute_verdict
from actsearch_dashboard.worth import AHEAD, describe_worth, expected_gain, noise

Opener = Callable[..., AppTest]
Draw = Callable[[np.random.Generator, int], np.ndarray]


def _exponential_gain(best: float) -> float:
    """E max(0, max of 20 - b) of exponential values.

    The integral of 1 - (1 - e^-x)^20 over x > b is, with u = 1 - e^-x, that of the geometric series of u: the sum of
    (1 - (1 - e^-b)^n) / n for n = 1 .. 20.
    """
    n = np.arange(1, AHEAD + 1)
    return float(((1 - (1 - np.exp(-best)) ** n) / n).sum())


def _even_gain(best: float) -> float:
    """The same of values spread evenly over 0 .. 1: the integral of 1 - x^20 over b < x < 1."""
    return 1 - best - (1 - best ** (AHEAD + 1)) / (AHEAD + 1)


@pytest.mark.parametrize("trials", [20, 60, 150])
@pytest.mark.parametrize(
    ("draw", "gain"),
    [
        (lambda rng, n: rng.exponential(size=n), _exponential_gain),
        (lambda rng, n: rng.random(n), _even_gain),
    ],
    ids=["exponential", "even"],
)
def test_the_expected_gain_is_right_on_average(
    draw: Draw, gain: Callable[[float], float], trials: int
) -> None:
    rng = np.random.default_rng(0)
    told, true = [], []
    for _ in range(300):
        values = draw(rng, trials)
        told.append(expected_gain(values, "maximize"))
        true.append(gain(float(values.max())))
    # the fitted power errs to both sides, and the gain is no linear function of it
    assert 0.8 < np.mean(np.array(told, dtype=float)) / np.mean(true) < 1.6


def test_of_a_search_that_learns_the_later_trials_count() -> None:
    """500 poor trials, then 500 better ones: the gain is that of those, about half of it if all 1000 counted."""
    rng = np.random.default_rng(1)
    told, true = [], []
    for _ in range(100):
        values = np.r_[rng.exponential(size=500) - 10, rng.exponential(size=500)]
        told.append(expected_gain(values, "maximize"))
        true.append(_exponential_gain(float(values.max())))
    assert np.mean(np.array(told, dtype=float)) == pytest.approx(np.mean(true), rel=0.3)


def test_the_gain_has_the_units_of_the_metric_and_knows_its_direction() -> None:
    values = np.random.default_rng(2).exponential(size=50)
    gain = expected_gain(values, "maximize")
    assert gain is not None
    assert expected_gain(-values, "minimize") == pytest.approx(gain)
    assert expected_gain(3 + 0.01 * values, "maximize") == pytest.approx(0.01 * gain)
    assert expected_gain([*values, np.nan, np.inf], "maximize") == pytest.approx(gain)
    assert expected_gain([0.5] * 30, "maximize") == 0
    assert expected_gain(values[:19], "maximize") is None


def test_noise_is_that_of_a_difference_of_two_trials() -> None:
    rng = np.random.default_rng(3)
    pairs = rng.normal(0, 0.1, size=(4000, 2, 3)).mean(axis=2)  # of trials with three seeds
    truth = float(np.sqrt(np.mean((pairs[:, 0] - pairs[:, 1]) ** 2)))
    assert noise([0.1, np.nan, 0.1], 3, None) == pytest.approx(truth, rel=0.05)
    assert noise([0.1], [1, 2, 3], None) == pytest.approx(truth, rel=0.05)
    assert noise([0.1], 1, None) is None  # over epochs
    assert noise([0.1], None, None) is None
    base = [0.5 + 0.1 * (-1) ** seed for seed in range(8)]
    verdict = compute_verdict(
        Measured("relu", "relu", base), [Measured("x", "x", [value + 1 for value in base])],
        study_name="s", metric="accuracy", direction="maximize",
    )  # fmt: skip
    assert noise([0.3], 1, verdict) == pytest.approx(np.sqrt(2) * np.std(base, ddof=1))


def test_what_to_do_follows_from_both() -> None:
    less = describe_worth(0.0012, 0.004, 50)
    assert less == (
        "The next 20 trials are expected to gain about 0.0012; two trainings of one candidate differ by 0.0040: "
        "a verdict (`study.confirm`) tells more than further trials."
    )
    assert "worth more than that noise" in describe_worth(0.01, 0.004, 50)


def test_the_study_page_tells_it_or_what_is_missing(opened: Opener, tmp_path: Path) -> None:
    values = list(0.5 + 0.01 * np.random.default_rng(4).exponential(size=30))
    path = tmp_path / "s.db"
    for name, count, task in (
        ("few", 19, {"seeds": 3}),
        ("one", 30, {"seeds": 1}),
        ("three", 30, {"seeds": 3}),
    ):
        write_study(path, name, values[:count], task={"metric": "accuracy", **task})
    with closing(sqlite3.connect(path)) as base, base:
        base.execute("UPDATE trials SET spread = 0.25")
    assert "from 20 complete trials on; there are 19" in said(opened("study", path, study="few"))
    one = said(opened("study", path, study="one"))
    assert "The next 20 trials are expected to gain about 0.0" in one
    assert "each trial has one seed" in one
    three = said(opened("study", path, study="three"))
    assert "two trainings of one candidate differ by 0.2041: a verdict" in three
