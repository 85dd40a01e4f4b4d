"""How far apart two functions are, and which trials are the same function."""

from __future__ import annotations

import math

import pytest

import actsearch as acs
from actsearch.records import ActivationRecord, CandidateRecord, TrialRecord, TrialState
from actsearch.report import find_twins, leaders
from actsearch.report.columns import make_columns
from actsearch.screening import closest, identify


def candidate(*formulas: str, **groups: str) -> CandidateRecord:
    named = {"*": formulas[0]} if formulas else groups
    return CandidateRecord({group: ActivationRecord(text) for group, text in named.items()})


def distance(one: str, other: str) -> float | None:
    """None where the two cannot be compared."""
    found = closest(acs.Candidate.of(one).record, [acs.Candidate.of(other).record])
    return found[0].distance if found else None


@pytest.mark.parametrize(
    ("one", "other", "expected"),
    [
        ("relu", "x", math.sqrt(0.5)),  # E[min(z, 0)^2]
        ("x", "x + 2", 2.0),
        ("x", "-x", 2.0),
        ("x**2", "0*x", math.sqrt(3.0)),
        ("relu", "max(x, 0)", 0.0),
    ],
)
def test_distance_is_that_of_the_integral(one: str, other: str, expected: float) -> None:
    assert distance(one, other) == pytest.approx(expected, abs=1e-7)


@pytest.mark.parametrize("pair", [("x", "exp(exp(x))"), ("x", "log(x)"), ("relu", "softmax")])
def test_what_has_no_finite_distance_is_no_neighbour(pair: tuple[str, str]) -> None:
    assert distance(*pair) is None


def test_closest_come_first_and_what_cannot_be_compared_is_left_out() -> None:
    others = [
        candidate("x"), candidate("relu(x)"), candidate("softmax(x)"), candidate("__import__('os')"),
        CandidateRecord({}), candidate("1.1*relu(x)"), candidate("relu(x)"), candidate(a="x"),
    ]  # fmt: skip
    found = closest(candidate("relu(x)"), others)
    assert [item.position for item in found] == [1, 6, 5, 0, 7]
    assert found[0].distance == found[1].distance == 0
    assert found[2].distance == pytest.approx(0.1 * math.sqrt(0.5), abs=1e-7)
    assert len(closest(candidate("relu(x)"), others, 2)) == 2


def test_groups_of_sites_are_compared_each_with_its_own() -> None:
    here = candidate(a="x", b="x")
    others = [candidate(a="x", b="x + 2"), candidate("x + 1"), candidate(a="x", c="x")]
    found = closest(here, others)
    assert [item.position for item in found] == [1, 0]
    assert [item.distance for item in found] == pytest.approx([1.0, math.sqrt(2.0)])


def test_twins_are_the_same_or_have_equal_values_or_are_mirrored() -> None:
    formulas = ["silu", "x*sigmoid(x)", "x*sigmoid(param(1.0)*x)", "-silu(x)", "relu"]
    trials = []
    for number, formula in enumerate(formulas):
        made = CandidateRecord({"*": ActivationRecord(formula)})
        trials.append(
            TrialRecord(number, TrialState.COMPLETE, made, 0.5, None, "", *identify(formula))
        )
    frame = make_columns([*trials, TrialRecord(9, TrialState.WAITING, CandidateRecord({}))])
    assert find_twins(frame, *identify("silu"), 0) == ((1,), (2,), (3,))
    assert find_twins(frame, *identify("tanh")) == ((), (), ())
    assert find_twins(frame, "", "", "") == ((), (), ())


def test_leaders_are_complete_and_finite_best_first_and_of_equals_the_earlier() -> None:
    values = [0.5, math.nan, 0.9, 0.9, math.inf, None, 0.1]
    states = [TrialState.COMPLETE] * 6 + [TrialState.PRUNED]
    trials = [
        TrialRecord(number, state, CandidateRecord({}), value)
        for number, (state, value) in enumerate(zip(states, values, strict=True))
    ]
    frame = make_columns(trials)
    assert list(leaders(frame, "maximize", 9)["number"]) == [2, 3, 0]
    assert list(leaders(frame, "minimize", 2)["number"]) == [0, 2]
    assert not len(leaders(frame, "maximize", 0))
