"""The check of a written source is one of the text: computed node by node, nothing executed."""

from __future__ import annotations

import ast
from typing import Any

import numpy as np
import pytest
import torch

import actsearch as acs
from actsearch.activation_catalog import CATALOG
from actsearch.deployment import targets
from actsearch.deployment.source_reader import run_source
from actsearch.operators import OPERATORS

ROWS = [
    name
    for name in acs.catalog.names(role="hidden")
    if CATALOG[name].elementwise and not CATALOG[name].random
]


def test_the_error_is_that_of_the_text(monkeypatch: pytest.MonkeyPatch) -> None:
    assert acs.deploy("x * tanh(x)", "python").max_error < 1e-5

    def write(what: Any, **settings: Any) -> str:
        return acs.to_python(what, **settings).replace("torch.tanh", "torch.sin")

    monkeypatch.setattr(targets, "to_python", write)
    x = np.linspace(-6, 6, 4001)
    expected = np.abs(x * np.tanh(x) - x * np.sin(x)).max()
    assert acs.deploy("x * tanh(x)", "python").max_error == pytest.approx(expected, rel=1e-5)


def difference(formula: str) -> float:
    x = np.linspace(-4, 4, 401)
    act = acs.activation(formula, channels=1).eval()
    found = run_source(acs.to_python(formula))(x)
    expected = act(torch.from_numpy(x).float()[:, None]).detach().double().numpy()[:, 0]
    same = (found == expected) | (np.isnan(found) & np.isnan(expected))
    with np.errstate(invalid="ignore"):
        return float(np.where(same, 0, np.abs(found - expected) / (1 + np.abs(expected))).max())


@pytest.mark.parametrize("name", ROWS)
def test_what_is_written_of_a_row_can_be_read(name: str) -> None:
    if acs.activation(name, channels=None).channels is None:
        assert difference(name) < 1e-5


@pytest.mark.parametrize("name", OPERATORS)
def test_what_is_written_of_an_operator_can_be_read(name: str) -> None:
    row = OPERATORS[name]
    terms = ["x", "0.5 * x", "0.3", "x + 1"]
    assert difference(f"{name}({', '.join(terms[: row.arity])})") < 1e-5


@pytest.mark.parametrize(
    "expression",
    [
        "torch.load('a')",
        "x.__class__",
        "open(x)",
        "[y for y in x]",
        "(lambda: x)()",
        "x if x else x",
        "f'{x}'",
    ],
)
def test_what_it_does_not_write_is_refused(expression: str) -> None:
    text = acs.to_python("x * tanh(x)").replace(
        "return (x * torch.tanh(x))", f"return {expression}"
    )
    ast.parse(text)
    assert expression in text
    with pytest.raises(acs.ActivationError, match="is nothing that it should hold"):
        run_source(text)(np.zeros(3))
