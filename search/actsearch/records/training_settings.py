"""How a study trains, as far as it has to be set again where its result is used."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

__all__ = ["OPTIMIZERS", "TrainingSettings"]

OPTIMIZERS = (
    "ASGD", "Adadelta", "Adagrad", "Adam", "AdamW", "Adamax", "NAdam", "RAdam", "RMSprop", "SGD",
)  # fmt: skip
"""Classes of ``torch.optim`` that take groups, a rate and a weight decay."""


@dataclass(frozen=True)
class TrainingSettings:
    """How a study of a Task trains.

    Attributes:
        lr: the learning rate that the task was given.
        optimizer: name of a class of ``torch.optim``; empty for what else the task has.
        options: settings of the optimizer besides its rate and weight decay, such as ``{"momentum": 0.9}``.
        weight_decay: of everything but what activations learn; None where the optimizer decides.
        gain: "auto" where the layers before the sites are drawn anew; None where they are left.
        sites: what is replaced: path and type of each.
        others: further settings of the task that change how it trains, as ``"clip_grad_norm=1.0"``.
    """

    lr: float
    optimizer: str = ""
    options: Mapping[str, Any] = field(default_factory=dict)
    weight_decay: float | None = None
    gain: str | None = None
    sites: tuple[tuple[str, str], ...] = ()
    others: tuple[str, ...] = ()
