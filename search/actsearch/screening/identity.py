"""When two candidates are the same: equal values and equal gradients, at the start and near it."""

from __future__ import annotations

import functools
import hashlib
import math
from typing import Any, NamedTuple

import torch
from scipy import special
from torch import Tensor

from actsearch.activation import (
    Activation,
    activation,
    describe,
    expression_of,
    value_and_gradient,
)
from actsearch.catalog import CATALOG, Value
from actsearch.expression import canonical
from actsearch.records import SHARED, ActivationRecord, CandidateRecord

__all__ = ["Identity", "fingerprint", "identify", "perturbed_modules"]

_QUANTILES = 64
_KINKS = (0.0, 0.5, 1.0, 2.0, 3.0, 6.0)  # where catalog rows bend, on both sides of 0
_DIGITS = 6
_OFFSET = 0.3717  # keeps round numbers such as 0.5 away from the edge of a rounding interval
_PERTURBATIONS = (0.0, 0.137, -0.0823)


class Identity(NamedTuple):
    """Two hashes: equal ``identity`` means the same candidate; equal ``alias`` only the same start values."""

    identity: str
    alias: str


@functools.cache
def _points() -> Tensor:
    """Quantiles of N(0, 1), 0 and the kinks; shape (n, 1), float64."""
    ranks = (torch.arange(_QUANTILES, dtype=torch.float64) + 0.5) / _QUANTILES
    quantiles = torch.from_numpy(special.ndtri(ranks.numpy()))
    kinks = torch.tensor(sorted({-kink for kink in _KINKS} | set(_KINKS)), dtype=torch.float64)
    return torch.cat([quantiles, kinks]).unsqueeze(1)


def fingerprint(what: Any) -> str:
    """Identity of an activation as 32 hexadecimal digits.

    Two are equal when, on fixed points (64 quantiles of N(0, 1), 0, and +-0.5, 1, 2, 3, 6), values and autograd
    gradients agree to 6 digits of the function's scale on the quantiles (of their own size where they exceed it), at
    the start parameters and at two fixed perturbations of them, with the same parameter scopes. So ``x*sigmoid(x)`` is
    ``silu``, but Swish with a learned beta is not. Random and non-elementwise forms are keyed by name and
    hyperparameters.

    Args:
        what: as for :func:`actsearch.activation`, or a candidate.
    """
    return identify(what).identity


def identify(what: Any) -> Identity:
    """Identity and alias of an activation or of a whole candidate."""
    record = what if isinstance(what, CandidateRecord) else getattr(what, "record", None)
    if isinstance(record, CandidateRecord):
        if record.is_baseline:
            return Identity(_hash("unchanged"), _hash("unchanged"))
        if set(record.activations) == {SHARED}:
            return _identify(describe(record.activations[SHARED]))
        parts = {group: _identify(item) for group, item in sorted(record.activations.items())}
        return Identity(
            _hash(*(f"{group}={part.identity}" for group, part in parts.items())),
            _hash(*(f"{group}={part.alias}" for group, part in parts.items())),
        )
    return _identify(describe(what))


def _identify(record: ActivationRecord) -> Identity:
    settings = tuple(sorted(record.hyperparameters.items()))
    return _computed(record.formula, record.name, settings)


@functools.lru_cache(maxsize=4096)  # a strategy asks for a child's identity, then the study does
def _computed(formula: str, name: str | None, settings: tuple[tuple[str, Value], ...]) -> Identity:
    record = ActivationRecord(formula, name, dict(settings))
    row = CATALOG[record.name] if record.name else None
    if row is not None and (row.random or not row.elementwise):
        key = _hash(row.name, *(f"{setting}={value!r}" for setting, value in settings))
        return Identity(key, key)
    parts = []
    alias = ""
    for index, module in enumerate(perturbed_modules(record)):
        values, slopes = value_and_gradient(module, _points())
        scale = float(values[:_QUANTILES].nan_to_num(0, 0, 0).abs().max())
        rounded = _rounded(values, scale)
        parts += [rounded, _rounded(slopes, scale)]
        if index == 0:
            alias = _hash(rounded)
            if not list(module.parameters()):
                break  # without parameters the perturbed functions are the same
    scopes = [parameter.per for parameter in _parameters(record)]
    return Identity(_hash(*sorted(scopes), *parts), alias)


def _parameters(record: ActivationRecord) -> tuple[Any, ...]:
    return canonical(expression_of(record)).parameters


def perturbed_modules(record: ActivationRecord) -> list[Activation]:
    """The activation at its start parameters and at two fixed perturbations of them, float64, one channel.

    Parameters are perturbed in the order of the canonical formula, so that ``a + b`` and ``b + a`` agree.
    """
    tree = expression_of(record)
    as_written = record
    if tree.parameters:
        as_written = ActivationRecord(str(canonical(tree)), label=record.label)
    modules = []
    for size in _PERTURBATIONS:
        module = activation(as_written, channels=1, channel_axis=-1).double().eval()
        with torch.no_grad():
            for index, parameter in enumerate(module.parameters()):
                step = size * math.cos(1.0 + 2.3 * index)  # a different amount for each
                parameter.add_(step * (1 + parameter.abs()))
        modules.append(module)
    return modules


def _rounded(numbers: Tensor, scale: float) -> str:
    """Numbers to 6 digits of the function's scale; those larger than it, far out, to 6 digits of their own."""
    texts = []
    for number in numbers.flatten().tolist():
        if math.isnan(number):
            texts.append("nan")
        elif math.isinf(number):
            texts.append(str(number))
        else:
            exponent = _exponent(max(abs(number), scale))
            mantissa = math.ldexp(number, -exponent) * 10**_DIGITS
            texts.append(f"{round(mantissa + _OFFSET)}e{exponent}")
    return ",".join(texts)


def _exponent(size: float) -> int:
    """Binary exponent, with its steps away from round numbers."""
    return math.frexp(size * 1.3717)[1] if 0 < size < 1e300 else 1000 if size else -1000


def _hash(*parts: str) -> str:
    return hashlib.sha256("|".join(parts).encode()).hexdigest()[:32]
