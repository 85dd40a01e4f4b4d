"""JSON that is no formula: refused at once, nothing of it is run."""

from __future__ import annotations

import time
from typing import Any

import pytest

import actsearch as acs
from actsearch.expression import Limits, Number, Parameter

_SECONDS = 0.5  # room for a pause of the garbage collector; a bushy tree would need years

_DEEP: Any = "x"
for _ in range(Limits.DEPTH):
    _DEEP = ["sin", _DEEP]
_BUSHY: Any = "x"
for _ in range(Limits.DEPTH - 1):
    _BUSHY = ["add", _BUSHY, _BUSHY]


@pytest.mark.parametrize(
    "data",
    [
        None,
        True,
        "y",
        "sin(x)",
        [],
        {},
        ["sin"],
        ["sin", "x", "x"],
        ["sin", ["sin"]],
        ["sn", "x"],
        ["param", 1.0],
        ["__import__", "os"],
        [["sin"], "x"],
        [1, 2],
        ["sin", True],
        ["sin", float("nan")],
        ["sin", float("inf")],
        ["sin", 10**400],
        ["sin", 10**5000],
        ["pow", 9.0, ["pow", 9.0, 9.0]],
        {"param": 1.0},
        {"param": "1.0", "per": "tensor"},
        {"param": None, "per": "tensor"},
        {"param": 1.0, "per": "pixel"},
        {"param": 1.0, "per": ["tensor"]},
        {"param": 1.0, "per": "tensor", "more": 1},
        _DEEP,
        _BUSHY,
        {"bushy": _BUSHY},
    ],
)
def test_json_that_is_no_formula_is_refused_at_once(data: Any) -> None:
    start = time.perf_counter()
    with pytest.raises(acs.FormulaError):
        acs.Expression.from_json(data)
    assert time.perf_counter() - start < _SECONDS


@pytest.mark.parametrize(
    "value",
    [float("nan"), float("inf"), 1.1e9, pytest.param(10**5000, id="huge"), True, "1", None],
)
def test_a_number_outside_the_language_is_refused_in_a_tree_too(value: Any) -> None:
    for make in (Number, Parameter):
        with pytest.raises(acs.FormulaError):
            make(value)
