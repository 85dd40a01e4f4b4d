"""torch.jit.trace records models with placed activations; torch.jit.script says that it cannot, and what can."""

from __future__ import annotations

import io
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from ways_out_cases import FORMULAS

import actsearch as acs

pytestmark = pytest.mark.filterwarnings("ignore:.*torch.jit:DeprecationWarning")

_GATE = {*acs.catalog.names(tier="recommended"), "step", "hardsigmoid", "sinc", "xielu"}
HIDDEN = [
    pytest.param(name, marks=() if name in _GATE else pytest.mark.slow)
    for name in acs.catalog.names(role="hidden")
]
X = torch.randn(6, 8, generator=torch.Generator().manual_seed(1))


class Called(nn.Module):
    """Calls its activation in forward."""

    def __init__(self) -> None:
        super().__init__()
        self.one, self.two = nn.Linear(8, 16), nn.Linear(16, 4)

    def forward(self, x: Tensor) -> Any:
        return self.two(F.relu(self.one(x)))


@pytest.fixture(scope="module", autouse=True)
def _recorder() -> None:
    """torch.jit takes a second to begin."""
    _reloaded(acs.place(_held(), "relu", sample=X).model)


def _held() -> nn.Module:
    return nn.Sequential(nn.Linear(8, 16), nn.ReLU(inplace=True), nn.Linear(16, 4))


def _reloaded(model: nn.Module) -> Any:
    recorded = torch.jit.trace(model, X)  # type: ignore[no-untyped-call]
    file = io.BytesIO()
    torch.jit.save(recorded, file)
    file.seek(0)
    return torch.jit.load(file)  # type: ignore[no-untyped-call]


@pytest.mark.parametrize("what", [*HIDDEN, *FORMULAS])
def test_a_recorded_model_computes_the_same_for_any_batch(what: str) -> None:
    for model in (Called(), _held()):
        placed = acs.place(model, what, sample=X).model.eval()
        loaded = _reloaded(placed)
        for x in (X, X[:1], 3 * X.repeat(2, 1)):
            torch.testing.assert_close(loaded(x), placed(x), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("name", ["softmax", "log_softmax", "softmin", "glu", "crelu"])
def test_output_activations_are_recorded(name: str) -> None:
    module = acs.activation(name)
    torch.testing.assert_close(_reloaded(module)(X), module(X), rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize("what", ["relu", "gelu", "maxout", "x * sigmoid(x)"])
@pytest.mark.parametrize("model", [Called(), _held()], ids=["called", "held"])
def test_script_is_refused_in_a_sentence(what: str, model: nn.Module) -> None:
    placed = acs.place(model, what, sample=X).model
    with pytest.raises(acs.ActivationError, match=r"record the model by torch\.jit\.trace"):
        torch.jit.script(placed)
    assert placed(X).shape == (6, 4)


def test_what_is_listed_of_an_activation_can_be_read() -> None:
    for name in acs.catalog.names():
        module = acs.activation(name, channels=2)
        assert all(hasattr(module, attribute) for attribute in dir(module))
    with pytest.raises(acs.FormulaError):
        _ = acs.activation("softmax").expression
