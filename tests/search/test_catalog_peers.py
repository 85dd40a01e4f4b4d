"""What torch, timm and transformers call an activation, the catalog knows, and computes the same."""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Callable, Mapping
from typing import Any

import pytest
import torch
from timm_without_its_kernels import import_timm_activations
from torch import Tensor, nn

import actsearch as acs

POINTS = torch.cat(
    [torch.linspace(-8, 8, 161, dtype=torch.float64), torch.tensor([-50.0, -20.5, 20.5, 50.0])]
).reshape(1, 165)
_RTOL = 1e-9  # gelu_fast and gelu_accurate round a constant to ten digits
_ATOL = 3e-9  # torch's softplus is linear from 20 on

# rows and their settings for torch's classes, where the name in lower case is not the row's
TORCH: dict[str, tuple[str, dict[str, Any]]] = {
    "LeakyReLU": ("leaky_relu", {}),
    "LogSigmoid": ("logsigmoid", {}),
    "LogSoftmax": ("log_softmax", {"dim": 1}),
    "Softmax": ("softmax", {"dim": 1}),
    "Softmin": ("softmin", {"dim": 1}),
    "Threshold": ("threshold", {"threshold": 0.5, "value": -2.0}),
}
ARGUMENTS: dict[str, dict[str, Any]] = {
    "LogSoftmax": {"dim": 1},
    "Softmax": {"dim": 1},
    "Softmin": {"dim": 1},
    "Threshold": {"threshold": 0.5, "value": -2.0},
}

# where the row differs from what a library computes under its name: by how much of 1 + x^2
DIFFERS = {
    "xielu": 0.002,  # transformers keeps the start values in bfloat16
}


def _torch_classes() -> list[type[nn.Module]]:
    module = nn.modules.activation
    classes = [getattr(module, name) for name in module.__all__ if name != "MultiheadAttention"]
    assert all(inspect.isclass(item) and issubclass(item, nn.Module) for item in classes)
    return classes


@pytest.mark.parametrize("theirs", _torch_classes(), ids=lambda item: str(item.__name__))
def test_every_activation_of_torch_has_a_row_that_computes_the_same(
    theirs: type[nn.Module],
) -> None:
    name, settings = TORCH.get(theirs.__name__, (theirs.__name__.lower(), {}))
    assert acs.catalog[name].name == name
    x = torch.randn(2, 4, 3, 6, generator=torch.Generator().manual_seed(0)).double() * 4
    ours = acs.activation(name, **settings).double().eval()
    module = theirs(**ARGUMENTS.get(theirs.__name__, {})).double().eval()
    torch.testing.assert_close(ours(x), module(x), rtol=1e-12, atol=1e-15)


def test_torch_still_has_the_activations_it_had() -> None:
    assert len(_torch_classes()) >= 28


def _disagreeing(registry: Mapping[str, Callable[[], Callable[[Tensor], Tensor]]]) -> list[str]:
    """Names that the catalog lacks, or computes differently at the start."""
    wrong = []
    for name, make in sorted(registry.items()):
        if name not in acs.catalog:
            wrong.append(f"{name} is unknown")
            continue
        theirs = make()
        if isinstance(theirs, nn.Module):
            theirs = theirs.double().eval()
        ours = acs.activation(name).double().eval()
        with torch.no_grad():
            expected, value = theirs(POINTS), ours(POINTS)
        allowed = _ATOL + _RTOL * expected.abs() + DIFFERS.get(name, 0) * (1 + POINTS**2)
        if not bool(((value - expected).abs() <= allowed).all()):
            wrong.append(f"{name} is off by {(value - expected).abs().max().item():.3g}")
    return wrong


def test_every_name_of_timm_is_known_and_computes_the_same() -> None:
    try:
        timm = import_timm_activations()
    except ImportError as error:
        pytest.skip(f"timm cannot be imported ({error}): pip install --no-deps torchvision timm")
    layers = {name for table in timm._ACT_LAYERS for name in table}
    functions = {name for table in timm._ACT_FNS for name in table}
    assert len(layers) >= 21
    assert functions - {"swish_me"} <= layers
    assert _disagreeing({name: lambda n=name: timm.get_act_layer(n)() for name in layers}) == []  # type: ignore[misc]
    assert _disagreeing({name: lambda n=name: timm.get_act_fn(n) for name in functions}) == []  # type: ignore[misc]


def test_every_name_of_transformers_is_known_and_computes_the_same() -> None:
    try:
        table = importlib.import_module("transformers.activations").ACT2FN
    except ImportError as error:
        pytest.skip(f"transformers cannot be imported ({error}): pip install transformers")
    assert len(table) >= 24
    assert _disagreeing({name: lambda n=name: table[n] for name in table}) == []  # type: ignore[misc]


def test_swish_of_other_libraries_is_silu_and_ours_learns_from_there() -> None:
    """The one name that means more here: without learning it is the same function."""
    x = POINTS
    ours = acs.activation("swish").double()
    torch.testing.assert_close(ours(x), acs.activation("silu")(x), rtol=1e-12, atol=0)
    assert len(list(ours.parameters())) == 1
    assert acs.fingerprint("swish") != acs.fingerprint("silu")


def test_xielu_with_the_parameters_of_transformers_is_that_of_transformers() -> None:
    try:
        module = importlib.import_module("transformers.activations").XIELUActivation()
    except ImportError as error:
        pytest.skip(f"transformers cannot be imported ({error}): pip install transformers")
    settings = {"positive": module.alpha_p.item(), "negative": module.alpha_n.item()}
    ours = acs.activation("xielu", **settings).double()
    with torch.no_grad():
        # theirs keeps exp(x) - 1 away from 0 by 1e-6, and 0.5 and 1e-6 in bfloat16
        torch.testing.assert_close(ours(POINTS), module.double()(POINTS), rtol=1e-6, atol=1e-6)


def test_a_missing_name_or_another_function_would_be_noticed() -> None:
    other: dict[str, Callable[[], Callable[[Tensor], Tensor]]] = {
        "nothing": lambda: torch.tanh,
        "relu": lambda: nn.ReLU6(),
        "tanh": lambda: torch.tanh,
    }
    assert _disagreeing(other) == ["nothing is unknown", "relu is off by 44"]
