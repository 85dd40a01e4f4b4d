"""A curve is named: by a catalog row or a composed formula, with the error and size that are said. Expected functions
are closed forms in numpy and scipy; formulas are computed by torch, which the code under test does not use.
"""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import astuple
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
from operator_references import reference
from scipy import special

import actsearch as acs
from actsearch.activations import bind
from actsearch.naming import Name, name_curve
from actsearch.naming.catalog import catalog_forms
from actsearch.naming.functions import FUNCTIONS
from actsearch.naming.grammar import Grammar
from actsearch.operators import OPERATORS

Array = npt.NDArray[np.float64]

X = np.linspace(-4, 4, 81)
DENSITY = np.exp(-(X**2) / 2) / np.exp(-(X**2) / 2).sum()
RECOMMENDED = tuple(acs.Space(learned=False).operator_names)
ROWS = tuple(acs.Space(activations="all", learned=False).activation_names)
FEW = ("add", "sub", "mul", "tanh", "cos", "sin", "relu")  # quick


def names(
    y: Sequence[float] | Array,
    activations: Sequence[str],
    operators: Sequence[str],
    **settings: Any,
) -> list[Name]:
    given: dict[str, Any] = {
        "weights": DENSITY,
        "max_size": 25,
        "max_depth": 6,
        "seed": 0,
        "effort": 2,
    }
    given |= settings
    return name_curve(X, y, activations=activations, operators=operators, **given)


def values(formula: str, x: Array = X) -> Array:
    module = acs.activation(formula).double()
    result: Array = module(torch.from_numpy(x)).detach().numpy()
    return result


def share(found: Array, wanted: Array) -> float:
    """Of the variance of what is wanted under the density that is left over."""
    centred = wanted - DENSITY @ wanted
    return float(DENSITY @ (found - wanted) ** 2 / (DENSITY @ centred**2))


def with_noise(y: Array, size: float, seed: int) -> Array:
    """Smooth deviations of a share of the curve's deviation, and straight lines where nothing was learned."""
    rng = np.random.default_rng(seed)
    covariance = np.exp(-(((X[:, None] - X) / 0.5) ** 2) / 2) + 1e-9 * np.eye(len(X))
    noise = np.linalg.cholesky(covariance) @ rng.normal(size=len(X))
    y = y + noise * size * np.sqrt((DENSITY @ y**2 - (DENSITY @ y) ** 2) / (DENSITY @ noise**2))
    learned = np.flatnonzero(np.abs(X) <= 3)
    first, last = learned[0], learned[-1]
    left = y[first] + (X - X[first]) * (y[first + 1] - y[first]) / (X[1] - X[0])
    right = y[last] + (X - X[last]) * (y[last] - y[last - 1]) / (X[1] - X[0])
    return np.where(X < X[first], left, np.where(X > X[last], right, y))


# name: closed form, nodes of its shape, operators of which it is made
CURVES: dict[str, tuple[Callable[[Array], Array], int, set[str]]] = {
    "silu": (lambda x: x * special.expit(x), 2, {"silu"}),
    "mish": (lambda x: x * np.tanh(np.log1p(np.exp(x))), 2, {"mish"}),
    "cos tanh": (lambda x: np.cos(x) * np.tanh(x), 5, {"mul", "cos", "tanh"}),
    "relu - sin": (lambda x: np.maximum(x, 0) - 0.3 * np.sin(2 * x), 9, {"relu", "sin"}),
    "erf + x": (lambda x: special.erf(1.5 * x) + 0.3 * x, 8, {"erf"}),
    "x gauss": (lambda x: x * np.exp(-(x**2)), 4, {"mul", "gauss"}),
    "max": (lambda x: np.maximum(np.tanh(x), 0.4 * x), 6, {"max", "tanh"}),
    "softsign + abs": (
        lambda x: 2 * x / (1 + np.abs(2 * x)) + 0.5 * np.abs(x), 9, {"softsign", "abs"},
    ),
    "sigmoid sin": (lambda x: special.expit(x) * np.sin(2 * x), 7, {"sigmoid", "sin"}),
}  # fmt: skip


@pytest.mark.parametrize("name", OPERATORS)
def test_each_operator_is_that_of_torch_and_of_its_reference(name: str) -> None:
    row = OPERATORS[name]
    a, b = np.array([-2.3, -0.7, 0.4, 1.9]), np.array([0.6, 1.3, -0.2, 0.8])
    arguments = [a, b][: row.arity] + [np.full(4, start) for start in row.learned]
    given = [np.array([-1.0, 0.5, -0.1, 2.0])] * row.uses_x + arguments
    with np.errstate(all="ignore"):
        found = FUNCTIONS[name](*given)
        expected = bind(name)(*map(torch.from_numpy, given)).numpy()
        np.testing.assert_allclose(found, expected, rtol=1e-9)
        np.testing.assert_allclose(found, reference(row, *given), rtol=1e-9)


def test_no_operator_is_without_a_function() -> None:
    assert set(FUNCTIONS) == set(OPERATORS)


def test_a_product_is_named_with_its_factor_and_offset() -> None:
    y = 1.81 * np.cos(X) * np.tanh(X) - 0.057
    best = names(y, [], ["add", "sub", "mul", "tanh", "cos"], effort=1)[-1]
    assert best.core == "cos(x) * tanh(x)"
    assert best.formula == "1.81 * cos(x) * tanh(x) - 0.057"
    assert (best.size, best.source, best.is_plain, best.activation) == (5, "composed", True, "")
    assert best.error < 1e-12


def test_a_row_is_named_with_its_hyperparameter_slope_and_offset() -> None:
    inner = 1.5 * X - 0.5
    y = 2 * np.where(inner > 0, inner, 0.4 * np.expm1(inner)) + 1
    best = names(y, ["relu", "elu", "silu"], [])[-1]
    assert (best.source, best.activation) == ("catalog", "elu")
    assert best.hyperparameters == (("alpha", 0.4),)
    assert not best.is_plain
    np.testing.assert_allclose(values(best.formula), y, atol=1e-6)


def test_a_row_with_a_case_on_the_sign_of_x_is_named_mirrored() -> None:
    y = np.where(-X < 0, 0.25 * np.tanh(-X), np.tanh(-X))
    best = names(y, ["penalized_tanh"], [])[-1]
    assert (best.activation, best.hyperparameters) == ("penalized_tanh", ())
    np.testing.assert_allclose(values(best.formula), y, atol=1e-9)


def test_a_composed_formula_that_is_a_row_says_so() -> None:
    best = names(3 * X * special.expit(X), ["gelu", "silu"], ["mul", "silu"])[-1]
    assert (best.formula, best.source, best.activation) == ("3 * silu(x)", "catalog", "silu")


def test_rows_that_are_learned_random_or_not_elementwise_are_passed_over() -> None:
    every = [form.row for form in catalog_forms(list(acs.catalog))]
    left_out = set(acs.catalog) - set(every)
    assert {"prelu", "rrelu", "softmax", "maxout", "rational", "mixture"} <= left_out
    assert {"relu", "elu", "step", "repu", "morlet"} <= set(every)
    assert every.count("repu") == len(acs.catalog["repu"].hyperparameters[0].choices)


def test_constants_outside_of_the_learned_range_do_not_matter() -> None:
    y = np.where(np.abs(X) <= 3, np.tanh(2 * X), 1e6)
    best = names(y, ["tanh"], [], weights=DENSITY * (np.abs(X) <= 3))[-1]
    assert best.formula == "tanh(2 * x)"


def test_inputs_and_values_of_any_scale() -> None:
    x = 0.05 * X - 2
    best = name_curve(
        x, 1e4 * np.tanh(3 * X), DENSITY, activations=["tanh"], operators=[], max_size=9, max_depth=5, seed=0
    )[-1]  # fmt: skip
    assert best.activation == "tanh"
    assert best.error < 1e-9


def test_operators_that_write_no_constants() -> None:
    alone = names(5 * np.tanh(np.tanh(X)) - 1, [], ["tanh"])[-1]
    assert alone.formula == alone.core == "tanh(tanh(x))"
    assert alone.error < 1e-12  # after the best factor and offset
    scaled = names(5 * np.tanh(2 * X), [], ["tanh", "mul"])[-1]
    assert scaled.formula == "5 * tanh(2 * x)"
    assert names(np.tanh(X), [], []) == names(np.tanh(X), [], ["add"]) == []


@pytest.mark.parametrize(
    "formula",
    [
        "sin(cos(x))", "sin(x)", "tanh(2)*x", "x**x", "exp(sinh(x))", "tanh(exp(x))", "x", "3",
        "tanh(tanh(tanh(tanh(x))))", "x + x + x + x + x", "erf(x)", "square(x)**2", "abs(x)**3",
    ],
)  # fmt: skip
def test_the_rules_of_composing_are_those_of_a_space(formula: str) -> None:
    operators = ["add", "mul", "pow", "sin", "cos", "tanh", "exp", "sinh", "square", "abs"]
    space = acs.Space(operators=operators, max_size=8, max_depth=4, learned=False)
    tree = acs.parse(formula)
    assert Grammar(tuple(operators), 8, 4).allows(tree) == space.allows(tree)


_GOOD: dict[str, Any] = {"x": X, "y": np.tanh(X), "weights": DENSITY}


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ({"x": X[:7], "y": X[:7], "weights": DENSITY[:7]}, "at least 8 points"),
        ({"weights": DENSITY * (np.abs(X) < 0.3)}, "at least 8 points"),
        ({"y": np.full(81, np.nan)}, "not finite"),
        ({"y": [np.inf, *X[1:]]}, "not finite"),
        ({"weights": 0 * X}, "nor all 0"),
        ({"weights": -DENSITY}, "must not be negative"),
        ({"y": 0 * X + 3}, "constant"),
        ({"y": np.where(np.abs(X) < 3.5, 1.0, X), "weights": DENSITY * (np.abs(X) < 3)}, "constant"),
        ({"y": X[:5]}, "as many values"),
        ({"x": np.abs(X)}, "same place"),
        ({"activations": ["tanhh"]}, "tanhh"),
        ({"operators": ["tanhh"]}, "tanhh"),
    ],
)  # fmt: skip
def test_a_curve_that_cannot_be_named_is_refused(change: dict[str, Any], complaint: str) -> None:
    limits: dict[str, Any] = {"max_size": 9, "max_depth": 5, "seed": 0}
    given = {**_GOOD, "activations": ["tanh"], "operators": ["tanh"], **limits, **change}
    with pytest.raises(acs.ActsearchError, match=complaint):
        name_curve(given.pop("x"), given.pop("y"), given.pop("weights"), **given)


def _is_front(found: Sequence[Name]) -> bool:
    """Each is nearer than all shorter ones."""
    sizes = [item.size for item in found]
    return sizes == sorted(sizes) and all(
        item.error < other.error for item in found for other in found if other.size < item.size
    )


@pytest.mark.slow
@pytest.mark.parametrize("name", CURVES)
def test_a_curve_without_noise_gets_its_own_formula(name: str) -> None:
    function, size, operators = CURVES[name]
    found = names(function(X), ROWS, RECOMMENDED)
    best = found[-1]
    assert best.size <= size  # softsign(2x) is twice softsign(softsign(x)), with a node less
    assert operators <= acs.parse(best.core).operators
    far = np.linspace(-9, 9, 37)  # where there was no curve
    np.testing.assert_allclose(values(best.formula, far), function(far), atol=1e-5)
    assert _is_front(found)


@pytest.mark.slow
def test_a_row_whose_formula_is_long_is_found_behind_what_is_nearly_it() -> None:
    y = 0.5 * X * (1 + np.tanh(np.sqrt(2 / np.pi) * (X + 0.044715 * X**3)))
    found = names(y, ROWS, RECOMMENDED)
    assert (found[-1].activation, found[-1].is_plain) == ("gelu_tanh", True)
    assert found[-1].error < 1e-12
    assert "gelu" in [name.activation for name in found]


@pytest.mark.slow
@pytest.mark.parametrize("noise", [1e-2, 3e-3])
@pytest.mark.parametrize("name", CURVES)
def test_a_learned_curve_gets_the_formula_behind_it(name: str, noise: float) -> None:
    function, size, operators = CURVES[name]
    y = with_noise(function(X), noise, seed=5)
    own = share(function(X), y)  # what the true function leaves over
    found = names(y, ROWS, RECOMMENDED)
    right = [item for item in found if operators <= acs.parse(item.core).operators]
    nearest = min(right, key=lambda item: item.size)
    assert nearest.size <= size + 2
    assert nearest.error < 1.5 * own
    assert share(values(nearest.formula), function(X)) < own
    assert 1 < len(found) <= 12
    assert _is_front(found)
    assert len({item.core for item in found}) == len(found)
    for item in found:
        scaled = share(item.factor * values(item.core) + item.offset, y)
        written = share(values(item.formula), y)
        assert scaled < 1.03 * item.error
        # where there was no room for a factor and an offset, the error is that with them
        reached = [written, scaled] if item.formula == item.core else [written]
        assert any(item.error == pytest.approx(error, rel=1e-3) for error in reached)
        assert acs.parse(item.core).size == item.size


@pytest.mark.slow
@pytest.mark.parametrize(("size", "depth"), [(5, 3), (8, 4), (14, 5)])
def test_composed_formulas_keep_the_limits(size: int, depth: int) -> None:
    space = acs.Space(operators=RECOMMENDED, max_size=size, max_depth=depth, learned=False)
    y = with_noise(np.cos(X) * np.tanh(X) - 0.2 * X, 1e-2, seed=1)
    found = names(y, [], RECOMMENDED, max_size=size, max_depth=depth)
    assert len(found) > 1
    for item in found:
        assert space.allows(acs.parse(item.formula))
        assert space.allows(acs.parse(item.core))


def _named_by_a_process(hash_seed: str) -> list[list[Any]]:
    script = (
        "import json, sys, numpy as np\n"
        "from dataclasses import astuple\n"
        "from actsearch.naming import name_curve\n"
        "given = json.loads(sys.argv[1])\n"
        "print(json.dumps([astuple(name) for name in name_curve(**given)]))"
    )
    y = with_noise(np.cos(X) * np.tanh(X), 1e-2, seed=2)
    given = {
        "x": X.tolist(), "y": y.tolist(), "weights": DENSITY.tolist(), "activations": ["relu", "elu", "sin"],
        "operators": [*FEW, "max"], "max_size": 20, "max_depth": 6, "seed": 3, "effort": 1,
    }  # fmt: skip
    found = subprocess.run(
        [sys.executable, "-c", script, json.dumps(given)],
        env={**os.environ, "PYTHONHASHSEED": hash_seed, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=True,
    )
    return list(json.loads(found.stdout))


@pytest.mark.slow
def test_names_do_not_depend_on_the_process() -> None:
    first, second = (_named_by_a_process(hash_seed) for hash_seed in ("1", "2"))
    assert first == second
    assert len(first) > 2


@pytest.mark.slow
def test_names_do_not_depend_on_earlier_calls_and_leave_global_streams_alone() -> None:
    y = with_noise(np.cos(X) * np.tanh(X), 1e-2, seed=2)
    before = random.getstate(), repr(np.random.get_state())  # noqa: NPY002
    first = names(y, [], FEW, seed=4)
    names(np.sin(2 * X), [], FEW, seed=1)
    assert [astuple(item) for item in names(y, [], FEW, seed=4)] == [
        astuple(item) for item in first
    ]
    assert (random.getstate(), repr(np.random.get_state())) == before  # noqa: NPY002
