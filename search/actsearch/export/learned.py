"""Learned values for the parameters of an activation, as users hand them in."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from actsearch.activation_catalog import CATALOG
from actsearch.activations import Activation, activation, build_expression
from actsearch.errors import ActivationError
from actsearch.expression import Parameter
from actsearch.records import ActivationRecord

__all__ = ["Learned", "average_learned", "check_learned", "load_learned"]

Learned = Mapping[str, Tensor | Sequence[float] | float]
"""Values by name of the parameter: theta_0, theta_1, ..."""


def check_learned(
    record: ActivationRecord, learned: Learned | Activation | None
) -> dict[str, Tensor]:
    """Every parameter's value, 0-d or of shape ``(channels,)``; empty if none are given.

    Raises:
        ActivationError: values of another activation, missing or too many, of a wrong shape, or not finite.
    """
    if learned is None:
        return {}
    if isinstance(learned, Activation):
        if learned.record.formula != record.formula:
            raise ActivationError(
                f"learned values are those of {learned.record.label}, not of {record.label}"
            )
        learned = learned.state_dict()
    if not isinstance(learned, Mapping):
        raise ActivationError(
            "learned must be a module made by actsearch, or a mapping such as {'theta_0': 0.25}, "
            f"not {type(learned).__name__}"
        )
    row = CATALOG[record.name] if record.name else None
    tree = build_expression(record) if row is None or row.elementwise else None
    parameters = {
        f"theta_{index}": item for index, item in enumerate(tree.parameters if tree else ())
    }
    if set(learned) != set(parameters):
        raise ActivationError(
            f"{record.label} learns {', '.join(parameters) or 'nothing'}; "
            f"values were given for {', '.join(learned) or 'nothing'}"
        )
    values = {name: _value(name, item, learned[name]) for name, item in parameters.items()}
    if len({len(value) for value in values.values() if value.dim()}) > 1:
        raise ActivationError(
            f"learned values of {record.label} are for different numbers of channels"
        )
    return values


def load_learned(record: ActivationRecord, values: Mapping[str, Tensor]) -> Activation:
    """The activation with these values, as from :func:`check_learned`."""
    channels = next((len(value) for value in values.values() if value.dim()), None)
    module = activation(record, channels=channels).double()
    module.load_state_dict(dict(values))
    return module


def average_learned(
    record: ActivationRecord, learned: Mapping[str, Sequence[float]]
) -> Activation:
    """The activation for one channel, each parameter at the mean of the finite values given for it.

    A parameter without any stays at its start: what a database holds of them need not be complete.
    """
    module = activation(record, channels=1, channel_axis=-1).double()
    with torch.no_grad():
        for name, parameter in module.named_parameters():
            values = [value for value in learned.get(name, ()) if math.isfinite(value)]
            if values:
                parameter.fill_(math.fsum(values) / len(values))
    return module


def _value(name: str, parameter: Parameter, given: Tensor | Sequence[float] | float) -> Tensor:
    try:
        value = torch.as_tensor(given).detach().cpu()
    except (TypeError, ValueError, RuntimeError):
        raise ActivationError(
            f"learned value {name} must be a number or a list of them, not {given!r}"
        ) from None
    wanted = 1 if parameter.per == "channel" else 0
    if value.dim() != wanted:
        raise ActivationError(
            f"learned value {name} has shape {tuple(value.shape)}; it is "
            + ("one number for each channel" if wanted else "one number")
        )
    if not torch.isfinite(value).all():
        raise ActivationError(f"learned value {name} is not finite")
    return value
