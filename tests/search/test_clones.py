"""Finalists of a verdict: what counts as the same question asked twice."""

from __future__ import annotations

import pytest

import actsearch as acs
from actsearch.study.clones import near_clone


def distinct(a: str, b: str) -> bool:
    first, second = acs.Candidate.of(a).record, acs.Candidate.of(b).record
    assert near_clone(first, second) == near_clone(second, first)
    return not near_clone(first, second)


@pytest.mark.parametrize(
    ("a", "b"),
    [
        ("sin(2.5*x)", "sin(2.57*x)"),
        ("relu", "leaky_relu"),
        ("gelu", "gelu_tanh"),
        ("x*sigmoid(x)", "silu"),
        ("param(1.0)*tanh(x)", "param(1.02)*tanh(x)"),
    ],
)
def test_nearly_equal_functions_are_clones(a: str, b: str) -> None:
    assert not distinct(a, b)


@pytest.mark.parametrize(
    ("a", "b"),
    [
        ("relu", "gelu"),
        ("gelu", "silu"),
        ("relu", "2*relu(x)"),
        ("relu", "min(x, 0)"),
        ("leaky_relu", "prelu"),
        ("swish", "silu"),
        ("rrelu", "leaky_relu"),
        ("step", "piecewise(0, 1)"),
        ("sin(2*x)", "sin(4*x)"),
    ],
)
def test_functions_that_a_user_would_tell_apart_are_not(a: str, b: str) -> None:
    assert distinct(a, b)
