"""Strategies find what they found before on tasks unknown to them: ``tests/benchmarks/search_quality.py`` made short.

A figure is the mean, over three tasks of the benchmark that are left out of what strategies know, and three seeds, of
the share of the best known gain over ReLU that the best of the first trials has. The figures beside it are what this
code reached; one that is lower by more than the margin means that a strategy searches worse.
"""

from __future__ import annotations

import functools

import hidden_functions
import numpy as np
import numpy.typing as npt
import pytest
import search_quality

from actsearch.strategies import STRATEGIES, Space
from actsearch.strategies.surrogate import Features, Process

Numbers = npt.NDArray[np.float64]

TASKS = ("boxes", "grammar", "waveforms")
SEEDS = range(3)
TRIALS = 48
REACHED = {"auto": 1.0, "bayesian": 0.868, "genetic": 0.897, "random": 0.795}
MARGIN = 0.05
CLOSE = -2.14
"""What :func:`come_close` gave."""


@functools.cache
def tasks() -> tuple[search_quality.SimulatedTask, ...]:
    return tuple(search_quality.make_tasks(TASKS))


def reach(name: str) -> float:
    """The figure of a strategy."""
    shares = [
        np.clip(
            task.search(STRATEGIES[name](), seed, TRIALS, Space(activations="all")).max(), 0, 1
        )
        for task in tasks()
        for seed in SEEDS
    ]
    return float(np.mean(shares))


@pytest.mark.measured
@pytest.mark.parametrize(
    "name",
    [name if name == "auto" else pytest.param(name, marks=pytest.mark.slow) for name in REACHED],
)
def test_a_strategy_finds_what_it_found_before(name: str) -> None:
    assert reach(name) >= REACHED[name] - MARGIN


@pytest.mark.measured
def test_what_other_tasks_say_is_worth_trials() -> None:
    assert reach("auto") > reach("random") + MARGIN


def fit_upside_down(monkeypatch: pytest.MonkeyPatch) -> None:
    """Processes are told the opposite of what trials came to."""
    fit = Process.fit

    def upside_down(cls: type[Process], features: Features, values: Numbers) -> Process:
        return fit(features, -values)

    monkeypatch.setattr(Process, "fit", classmethod(upside_down))


@pytest.mark.measured
def test_a_broken_selection_of_the_default_strategy_is_noticed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    fit_upside_down(monkeypatch)
    assert reach("auto") < REACHED["auto"] - MARGIN


def come_close() -> float:
    """How close genetic search comes to hidden functions: mean log10 of what is left unexplained after 64 trials.

    Each as far as -3: what is hit exactly is luck.
    """
    hidden = ("cos(x)*tanh(x)", "gauss(x)*x", "x*x*sigmoid(-x)")
    runs = [
        hidden_functions.search(STRATEGIES["genetic"](), function, seed, 64)[-1]
        for function in hidden
        for seed in range(2)
    ]
    return float(np.log10(np.maximum(runs, 1e-3)).mean())


@pytest.mark.slow
def test_a_broken_selection_of_genetic_search_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    intact = come_close()
    assert intact < CLOSE + 0.4
    fit_upside_down(monkeypatch)
    assert come_close() > CLOSE + 0.4
