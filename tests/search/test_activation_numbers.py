"""Numbers inside formulas: precision is the input's, constants are folded, shapes are kept."""

from __future__ import annotations

import math
import weakref
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

import actsearch as acs
from actsearch.activations.module import FormulaActivation

_FORMULAS = [
    "x + 0.1",
    "0.1 * x",
    "2 ** x",
    "max(x, 0.1)",
    "min(0.1, x) * param(0.5)",
    "piecewise(0, 1) * x",
    "gate(x, sin(1))",
    'param(0.5, per="channel") + tanh(x)',
]
_WITHOUT_X = [
    "3",
    "sin(1)",
    "param(2.0)",
    'param(2.0, per="channel")',
    "max(param(1.0), 0)",
    "0*2",
]


@pytest.mark.parametrize("text", [*_FORMULAS, *_WITHOUT_X])
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_the_precision_and_shape_of_the_input_are_kept_whatever_the_numbers(
    text: str, dtype: torch.dtype
) -> None:
    module = acs.activation(text, channels=3)
    for shape in ((2, 3), (2, 3, 4), (0, 3)):
        y = module(torch.full(shape, 0.5, dtype=dtype))
        assert (y.shape, y.dtype) == (torch.Size(shape), dtype)


@pytest.mark.parametrize("text", ["x", "x + 0.1", "max(x, 0.1)", "param(2.0)", "piecewise(0, 1)"])
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32, torch.float64])
def test_a_single_number_without_axes_is_an_input_like_any_other(
    text: str, dtype: torch.dtype
) -> None:
    for what in (text, "prelu", "step"):
        y = acs.activation(what)(torch.tensor(0.5, dtype=dtype))
        assert (y.shape, y.dtype) == (torch.Size(()), dtype)


@pytest.mark.parametrize("choice", [0.0, 0.5, 1.0])
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_relu_keeps_precision_for_each_gradient_at_zero(choice: float, dtype: torch.dtype) -> None:
    module = acs.activation("relu", grad_at_zero=choice)
    for x in (torch.tensor(2.0, dtype=dtype), torch.tensor([2.0], dtype=dtype)):
        assert module(x).dtype == dtype


@pytest.mark.parametrize("text", ["3", "param(3.0)", "max(1, 3)"])
def test_a_formula_without_x_is_a_constant_of_the_inputs_shape(text: str) -> None:
    y = acs.activation(text)(torch.randn(2, 5, 4))
    assert torch.equal(y, torch.full((2, 5, 4), 3.0))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("x + sin(1) * 2", 1 + 2 * math.sin(1)),
        ("x * exp(log(3))", 3.0),
        ("max(2 - 5, x)", 1.0),
        ("x + 0.1 + 0.2", 1.3),
        ("x * max(0.25, 1/3)", 1 / 3),
        ("1/0 + x", math.inf),
        ("x - 1/0", -math.inf),
        ("x + log(-1)", math.nan),
        ("0/0 * x", math.nan),
        ("x / -0", math.inf),
        ("x / neg(0)", math.inf),
    ],
)
def test_parts_without_x_have_the_value_of_double_precision(text: str, expected: float) -> None:
    y = acs.activation(text).double()(torch.ones(1, dtype=torch.float64))
    assert y.item() == pytest.approx(expected, rel=1e-15, nan_ok=True)


def test_parts_without_x_are_computed_once_when_built_not_at_every_call() -> None:
    folded = acs.activation("x * x * sin(cos(2) + 3) + 4 / 5")
    assert isinstance(folded, FormulaActivation)
    assert len(folded._program.steps) == 3
    assert not list(folded.parameters())
    assert not folded.state_dict()


def test_equal_parts_with_x_are_computed_once() -> None:
    module = acs.activation("sin(x) * sin(x) + sin(x)")
    assert isinstance(module, FormulaActivation)
    assert len(module._program.steps) == 3
    x = torch.tensor([0.3, 2.0])
    torch.testing.assert_close(module(x), torch.sin(x) ** 2 + torch.sin(x))


class _Living(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Counts the results of operations that are alive at once."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._results: list[weakref.ref[Tensor]] = []
        self.most = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        self._results.append(weakref.ref(result))
        self.most = max(self.most, sum(ref() is not None for ref in self._results))
        return result


@pytest.mark.parametrize(
    ("text", "most"),
    [("sin(cos(tanh(sin(cos(tanh(x))))))", 2), ("sin(x)*cos(x) + sin(x)*tanh(x) + exp(x)", 4)],
)
def test_a_result_is_given_up_as_soon_as_nothing_needs_it(text: str, most: int) -> None:
    """The most alive at once, by hand: argument and result; sin(x), tanh(x) and the two products."""
    module = acs.activation(text)
    x = torch.randn(5)
    with _Living() as living, torch.no_grad():
        module(x)
    assert living.most == most


@pytest.mark.parametrize("what", [*_FORMULAS, *acs.catalog.names(role="hidden")])
def test_mixed_precision_training_works(what: str) -> None:
    torch.manual_seed(0)
    channels = 8 if "channel" in what else None
    wide = 16 if what == "maxout" else 8
    model = nn.Sequential(
        nn.Linear(4, wide), acs.activation(what, channels=channels), nn.Linear(8, 2)
    )
    with torch.autocast("cpu", dtype=torch.bfloat16):
        y = model(torch.randn(5, 4))
    assert y.dtype == torch.bfloat16
    y.float().square().mean().backward()
    for parameter in model.parameters():
        assert parameter.dtype == torch.float32
        assert parameter.grad is not None
        assert parameter.grad.isfinite().all()


def test_a_constant_beyond_half_precision_survives_a_round_trip_through_float() -> None:
    module = acs.activation("min(x, 100000)").float()
    assert module(torch.tensor([2e5])).item() == 1e5
