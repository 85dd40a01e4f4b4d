"""Checks of what users give: one form of sentence, Python's own types out, bools are no numbers, numpy's are."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import actsearch as acs
from actsearch.checks import (
    check_integer,
    check_known,
    check_number,
    check_one_of,
    check_share,
    nearest,
)


@pytest.mark.parametrize(
    ("check", "value", "limits", "complaint"),
    [
        (check_integer, "3", {}, "size must be an integer, not '3'"),
        (check_integer, 0, {"low": 1}, "size must be a positive integer, not 0"),
        (check_integer, 2.0, {"low": 2}, "size must be an integer of at least 2, not 2.0"),
        (
            check_integer,
            True,
            {"low": 0, "high": 9},
            "size must be an integer from 0 to 9, not True",
        ),
        (check_integer, np.int64(10), {"high": 9}, "size must be an integer of at most 9, not "),
        (check_integer, None, {}, "size must be an integer, not None"),
        (check_number, "3", {}, "size must be a finite number, not '3'"),
        (check_number, math.inf, {}, "size must be a finite number, not inf"),
        (check_number, math.nan, {"finite": False}, "size must be a finite number, not nan"),
        (check_number, 0, {"above": 0}, "size must be a number above 0, not 0"),
        (check_number, -0.5, {"low": 0}, "size must be a number of at least 0, not -0.5"),
        (
            check_number,
            False,
            {"low": 0, "high": 1},
            "size must be a number from 0 to 1, not False",
        ),
        (check_share, 1.5, {}, "size must be a number from 0 to 1, not 1.5"),
        (check_one_of, 1, {"choices": (True, False)}, "size must be True or False, not 1"),
        (check_one_of, "2", {"choices": (2, 3, 4)}, "size must be 2, 3 or 4, not '2'"),
        (check_one_of, [1], {"choices": ("a",)}, r"size must be 'a', not \[1\]"),
        (check_known, "lagre", {"names": ["large"]}, "unknown size 'lagre'; did you mean 'large'"),
        (check_known, 3, {"names": ["large"]}, "unknown size 3; known: large"),
    ],
)
def test_what_is_refused_is_named_with_what_is_allowed(
    check: Callable[..., Any], value: Any, limits: dict[str, Any], complaint: str
) -> None:
    with pytest.raises(acs.SpaceError, match=complaint):
        check("size", value, error=acs.SpaceError, **limits)


@pytest.mark.parametrize(
    ("value", "plain"),
    [
        (check_integer("n", np.uint8(3), ValueError), 3),
        (check_number("n", np.float32(0.5), ValueError), 0.5),
        (check_number("n", 3, ValueError), 3),
        (check_number("n", math.inf, ValueError, finite=False), math.inf),
        (check_one_of("n", 2.0, (1, 2), ValueError), 2),
        (check_one_of("n", None, ("a", None), ValueError), None),
    ],
)
def test_what_is_returned_is_of_pythons_own_types(value: Any, plain: Any) -> None:
    assert value == plain
    assert type(value) is type(plain)


def test_a_long_value_is_shortened() -> None:
    with pytest.raises(ValueError, match=r"not 'a+\.\.\.a+'$") as refused:
        check_integer("n", "a" * 10_000, ValueError)
    assert len(str(refused.value)) < 200


@pytest.mark.parametrize(
    ("make", "settings"),
    [
        (acs.Space, {"max_size": np.int64(9), "depth_bands": np.int64(2), "sites": "per_depth"}),
        (acs.Genetic, {"population": np.int32(9), "crossover": np.float64(0.5)}),
        (acs.SuccessiveHalving, {"min_resource": np.int64(2)}),
    ],
)
def test_settings_given_as_numpy_numbers_are_stored_as_plain_ones(
    make: Callable[..., Any], settings: dict[str, Any]
) -> None:
    made = make(**settings)
    for name, given in settings.items():
        value = getattr(made, name)
        assert value == given
        assert type(value) in (int, float, str)


def test_a_name_like_no_other_is_answered_with_the_first_names_of_the_table() -> None:
    assert nearest("qqq", ["b", "a"]) == "; known: a, b"
    assert nearest("qqq", []) == ""
    assert nearest("zz", [f"name_{i:03}" for i in range(60)]).endswith("name_039, ...")
