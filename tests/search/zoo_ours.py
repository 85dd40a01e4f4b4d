"""Our own activation for each class of activations in the zoo, with the numbers that a module of that class has."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

import actsearch as acs
from actsearch.activations import Activation

__all__ = ["ours"]


def ours(module: nn.Module) -> Activation:
    """Our activation that computes what a module does, bit for bit, gradients too; learned numbers are carried over.

    Raises:
        KeyError: none is known for its class.
    """
    name = type(module).__name__
    return _MAKERS[name](module) if name in _MAKERS else acs.activation(_SAME[name])


_SAME = {
    **{name: name.lower() for name in ("ReLU", "ReLU6", "SiLU", "Softsign", "Tanh", "Sigmoid", "SELU")},
    **{name: name.lower() for name in ("Hardswish", "Hardsigmoid", "LogSigmoid", "Tanhshrink")},
    # of transformers
    "GELUActivation": "gelu",
    "NewGELUActivation": "0.5 * x * (1 + tanh(0.7978845608028654 * (x + 0.044715 * x ** 3)))",
    "QuickGELUActivation": "quick_gelu",
    "SiLUActivation": "silu",
    # of timm
    "GELUTanh": "gelu_tanh",
    "HardMish": "0.5 * x * min(max(x + 2, 0), 2)",
    "HardSigmoid": "min(max(x + 3, 0), 6) / 6",
    "HardSwish": "x * (min(max(x + 3, 0), 6) / 6)",
    "QuickGELU": "quick_gelu",
    # of timm, and of the zoo
    "Swish": "x * sigmoid(x)",
}  # fmt: skip


def _gelu(module: Any) -> Activation:
    tanh = getattr(module, "approximate", "none") == "tanh"  # timm's class has no such attribute
    return acs.activation("gelu_tanh" if tanh else "gelu")


def _mish(module: Any) -> Activation:
    theirs = type(module).__module__.startswith("timm.")
    return acs.activation("x * tanh(softplus(x))" if theirs else "mish")


def _numbers(name: str, *attributes: str) -> Callable[[Any], Activation]:
    """A catalog row whose hyperparameters are attributes of the module, under the same names."""

    def make(module: Any) -> Activation:
        settings: dict[str, Any] = {item: float(getattr(module, item)) for item in attributes}
        return acs.activation(name, **settings)

    return make


def _softplus(module: Any) -> Activation:
    assert module.threshold == 20  # ours knows no other
    return acs.activation("softplus", beta=float(module.beta))


def _carried(activation: Activation, learned: Tensor) -> Activation:
    with torch.no_grad():
        for theta in activation.parameters():
            theta.copy_(learned.reshape(theta.shape))
    return activation


def _prelu(module: Any) -> Activation:
    slopes = module.weight
    channels = len(slopes) if len(slopes) > 1 else None
    return _carried(acs.activation("prelu", channels=channels), slopes)


def _snake(module: Any) -> Activation:
    """A formula has no name for a number that it uses twice: two learned ones, whose gradients add up to its own."""
    return _carried(acs.activation("x + sin(param(1.0) * x) ** 2 / param(1.0)"), module.frequency)


_MAKERS: dict[str, Callable[[Any], Activation]] = {
    "GELU": _gelu,
    "Mish": _mish,
    "LeakyReLU": _numbers("leaky_relu", "negative_slope"),
    "ELU": _numbers("elu", "alpha"),
    "CELU": _numbers("celu", "alpha"),
    "Hardtanh": _numbers("hardtanh", "min_val", "max_val"),
    "Hardshrink": _numbers("hardshrink", "lambd"),
    "Softshrink": _numbers("softshrink", "lambd"),
    "Threshold": _numbers("threshold", "threshold", "value"),
    "Softplus": _softplus,
    "PReLU": _prelu,
    "Snake": _snake,
}
