"""Settings of strategies that have no meaning."""

from __future__ import annotations

import math
from typing import Any

import pytest

import actsearch as acs
from actsearch.strategies import make_strategy


@pytest.mark.parametrize(
    ("name", "settings"),
    [
        ("random", {"formulas": -0.1}),
        ("random", {"formulas": 1.1}),
        ("random", {"formulas": math.nan}),
        ("random", {"formulas": "half"}),
        ("bayesian", {"batch": 0}),
        ("bayesian", {"batch": 9}),
        ("bayesian", {"batch": 2.5}),
        ("bayesian", {"batch": "8"}),
        ("bayesian", {"batch": True}),
        ("bayesian", {"candidates": 0}),
        ("bayesian", {"candidates": 1.5}),
        ("genetic", {"population": 0}),
        ("genetic", {"elites": -1}),
        ("genetic", {"first_batch": 0}),
        ("genetic", {"batch": 2.0}),
        ("genetic", {"tournament": True}),
        ("genetic", {"crossover": 1.5}),
        ("genetic", {"crossover": math.nan}),
        ("genetic", {"crossover": "often"}),
    ],
)
def test_bad_settings_are_refused_with_their_name(name: str, settings: dict[str, Any]) -> None:
    with pytest.raises(acs.SpaceError, match=next(iter(settings))):
        make_strategy({"name": name, "settings": settings})
