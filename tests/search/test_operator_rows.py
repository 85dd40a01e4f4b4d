"""A wrong operator row, or a row with a wrong implementation, never gets into a formula."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

import actsearch as acs
from actsearch.activations import bind, primitives
from actsearch.expression import nodes, parser
from actsearch.operators import OPERATORS, Operator


@pytest.mark.parametrize(
    ("row", "complaint"),
    [
        ({"name": "not a name"}, "identifier"),
        ({"name": "f", "arity": 3}, "arity"),
        ({"name": "f", "arity": 0}, "arity"),
        ({"name": "f", "arity": 2}, "latex must have"),
        ({"name": "f", "latex": "f"}, "latex must have"),
        ({"name": "f", "latex": "{} {}"}, "latex must have"),
        ({"name": "f", "latex": "{0}", "learned": (0.5,)}, "latex must have"),
        ({"name": "f", "arity": 2, "latex": "{} {}", "separator": ", "}, "latex must have"),
        ({"name": "f", "separator": ", "}, "two or more"),
        ({"name": "f", "arity": 2, "separator": ", ", "symbol": "@"}, "two or more"),
        ({"name": "f", "code": "f({0}, {1})"}, "code must have 1"),
        (
            {"name": "f", "arity": 2, "latex": "{}", "separator": ", ", "code": "f({0}, {1})"},
            "code must have 1",
        ),
        ({"name": "f", "code_of_two": "f({0}, {1})"}, "belongs to a row with a separator"),
    ],
)
def test_a_malformed_row_is_refused_when_it_is_written(
    row: dict[str, Any], complaint: str
) -> None:
    with pytest.raises(acs.FormulaError, match=complaint):
        Operator(**{"arity": 1, "latex": "f {}", "cost": 1, "function": "torch.sin", **row})


def test_the_table_of_operators_cannot_be_changed() -> None:
    with pytest.raises(TypeError):
        OPERATORS["f"] = OPERATORS["sin"]  # type: ignore[index]


def test_a_row_says_how_many_arguments_it_accepts() -> None:
    accepted = {
        name: [count for count in range(6) if OPERATORS[name].accepts(count)]
        for name in ("sin", "add", "mix", "sum", "max")
    }
    assert accepted == {
        "sin": [1],
        "add": [2],
        "mix": [2, 3],
        "sum": [2, 3, 4, 5],
        "max": [2, 3, 4, 5],
    }


def doubled(a: Tensor) -> Tensor:
    return 2 * a


def mean(*arguments: Tensor) -> Tensor:
    return torch.stack(torch.broadcast_tensors(*arguments)).mean(0)  # type: ignore[no-untyped-call]


def test_exported_source_has_every_argument_of_a_new_operator(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    row = Operator(
        "mean", 2, "{}", 1, f"{__name__}.mean", separator=", ",
        code="torch.stack(torch.broadcast_tensors({})).mean(0)",
    )  # fmt: skip
    for module in (nodes, parser, primitives):
        monkeypatch.setattr(module, "OPERATORS", {**OPERATORS, "mean": row})
    line = acs.to_python("mean(x, 3, tanh(x))").splitlines()[-1].strip()
    arguments = "x, torch.full_like(x, 3.0), torch.tanh(x)"
    assert line == f"return torch.stack(torch.broadcast_tensors({arguments})).mean(0)"


def shape_changing(a: Tensor) -> Tensor:
    return a.sum(dim=0)


def dtype_changing(a: Tensor) -> Tensor:
    return a.float()


def no_tensor(a: Tensor) -> Any:
    return a.tolist()


def detached_factor(a: Tensor) -> Tensor:
    return a * a.detach()


def detached_result(a: Tensor) -> Tensor:
    return torch.sin(a).detach()


def mixing_elements(a: Tensor) -> Tensor:
    return a - a.mean()


def _bind(monkeypatch: pytest.MonkeyPatch, function: Callable[..., Any]) -> Callable[..., Tensor]:
    row = Operator("candidate", 1, "f {}", 1, f"{__name__}.{function.__name__}")
    monkeypatch.setattr(primitives, "OPERATORS", {"candidate": row})
    return bind.__wrapped__("candidate")  # past the cache


def test_another_function_than_the_row_s_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    for expected, complaint in ((0.8, None), (0.4, "gives 0.8 at .0.4., not 0.4")):
        row = Operator("candidate", 1, "f {}", 1, f"{__name__}.doubled", expected=expected)
        monkeypatch.setattr(primitives, "OPERATORS", {"candidate": row})
        if complaint is None:
            assert bind.__wrapped__("candidate") is doubled
        else:
            with pytest.raises(acs.ActivationError, match=complaint):
                bind.__wrapped__("candidate")


def test_every_row_of_the_table_gives_a_value() -> None:
    assert all(row.expected is not None for row in OPERATORS.values())


def test_a_right_implementation_is_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    assert _bind(monkeypatch, doubled) is doubled


@pytest.mark.parametrize(
    ("function", "complaint"),
    [
        (shape_changing, "shape or dtype"),
        (dtype_changing, "shape or dtype"),
        (no_tensor, "shape or dtype"),
        (detached_factor, "gradient"),
        (detached_result, "gradient"),
        (mixing_elements, "elementwise"),
    ],
)
def test_a_wrong_implementation_is_refused_when_it_is_bound(
    monkeypatch: pytest.MonkeyPatch, function: Callable[..., Any], complaint: str
) -> None:
    with pytest.raises(acs.ActivationError, match=complaint):
        _bind(monkeypatch, function)
