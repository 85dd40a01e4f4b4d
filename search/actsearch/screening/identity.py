"""When two candidates are the same: equal values and equal gradients, at the start and near it."""

from __future__ import annotations

import functools
import hashlib
import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from scipy import special
from torch import Tensor

from actsearch.activation_catalog import CATALOG, Value
from actsearch.activations import (
    Activation,
    activation,
    build_expression,
    describe,
    value_and_gradient,
)
from actsearch.expression import canonical
from actsearch.records import ActivationRecord, CandidateRecord

__all__ = ["PERTURBATIONS", "Identity", "fingerprint", "identify", "perturbed_modules", "points"]

_QUANTILES = 64  # where inputs mostly lie, after normalisation
_KINKS = (0.0, 0.5, 1.0, 2.0, 3.0, 6.0)  # where catalog rows bend, on both sides of 0
_OUTER = (8.0, 12.0)  # beyond every bend: what tells relu from relu6, and gelu from a clipped one
_DIGITS = 6  # float32 has 7: formulas that are equal on paper differ in the last ones
_OFFSET = 0.3717  # keeps round numbers such as 0.5 away from the edge of a rounding interval
# of both signs and different sizes: symmetric ones would hide differences
PERTURBATIONS = (
    0.0,
    0.137,
    -0.0823,
)


Numbers = npt.NDArray[np.float64]


class Identity(NamedTuple):
    """Three hashes of a candidate.

    Attributes:
        identity: equal for the same candidate.
        alias: equal for the same values at the start.
        mirror: equal where the values are those of f(x), f(-x), -f(x) or -f(-x), whatever the gradient at a kink.
            Between layers whose weights are drawn symmetrically these train alike, so that one of them tells about
            all; elsewhere, as before a pooling, they do not.
    """

    identity: str
    alias: str
    mirror: str


@functools.cache
def points() -> Tensor:
    """Quantiles of N(0, 1), 0, the kinks and points beyond, then all with the other sign; (2 n, 1), float64."""
    ranks = (torch.arange(_QUANTILES, dtype=torch.float64) + 0.5) / _QUANTILES
    quantiles = torch.from_numpy(special.ndtri(ranks.numpy()))
    kinks = torch.tensor(sorted({-kink for kink in _KINKS} | set(_KINKS)), dtype=torch.float64)
    outer = torch.tensor([*(-place for place in _OUTER), *_OUTER], dtype=torch.float64)
    points = torch.cat([quantiles, kinks, outer]).unsqueeze(1)
    return torch.cat([points, -points])


@functools.cache
def _half_points() -> list[float]:
    """The points whose values count; the others are their images."""
    half: list[float] = points().chunk(2)[0].flatten().tolist()
    return half


def fingerprint(what: Any, *, mirror: bool = False) -> str:
    """Identity of an activation as 32 hexadecimal digits.

    Two are equal when, on fixed points (64 quantiles of N(0, 1), 0, and +-0.5, 1, 2, 3, 6), values and autograd
    gradients agree to 6 digits of the function's scale on the quantiles (of their own size where they exceed it), at
    the start parameters and at two fixed perturbations of them, with the same parameter scopes. At 0 an infinity counts
    without its sign, so that ``1/x`` is ``1/(x + 0)``. So ``x*sigmoid(x)`` is ``silu``, but Swish with a learned beta
    is not. Random and non-elementwise forms are keyed by name and hyperparameters.

    Args:
        what: as for :func:`actsearch.activation`, or a candidate.
        mirror: give the mirror class instead, which f(x), f(-x), -f(x) and -f(-x) have in common.

    Raises:
        ActivationError: unknown name or hyperparameter, or a value out of range.
        FormulaError: a formula that cannot be read.

    Example:
        >>> acs.fingerprint("x*sigmoid(x)") == acs.fingerprint("silu")
        True
        >>> acs.fingerprint("relu", mirror=True) == acs.fingerprint("min(x, 0)", mirror=True)
        True
    """
    identity = identify(what)
    return identity.mirror if mirror else identity.identity


def identify(what: Any) -> Identity:
    """Identity, alias and mirror class of an activation or of a whole candidate."""
    record = what if isinstance(what, CandidateRecord) else getattr(what, "record", None)
    if isinstance(record, CandidateRecord):
        if record.is_baseline:
            return Identity(*[_hash("unchanged")] * 3)
        if record.single is not None:
            return _identify(describe(record.single))
        parts = {group: _identify(item) for group, item in sorted(record.activations.items())}
        return Identity(
            _hash(*(f"{group}={part.identity}" for group, part in parts.items())),
            _hash(*(f"{group}={part.alias}" for group, part in parts.items())),
            _hash(*(f"{group}={part.mirror}" for group, part in parts.items())),
        )
    return _identify(describe(what))


def _identify(record: ActivationRecord) -> Identity:
    settings = tuple(sorted(record.hyperparameters.items()))
    return _compute(record.formula, record.name, settings)


@functools.lru_cache(maxsize=4096)  # a strategy asks for a child's identity, then the study does
def _compute(formula: str, name: str | None, settings: tuple[tuple[str, Value], ...]) -> Identity:
    record = ActivationRecord(formula, name, dict(settings))
    row = CATALOG[record.name] if record.name else None
    if row is not None and (row.random or not row.elementwise):
        key = _hash(row.name, *(f"{setting}={value!r}" for setting, value in settings))
        return Identity(key, key, key)
    scopes = sorted(parameter.per for parameter in build_expression(record).parameters)
    parts: list[str] = []
    images: list[list[str]] = [[], [], [], []]
    for module in perturbed_modules(record):
        values, slopes = value_and_gradient(module, points())
        here, there = values.numpy().reshape(2, -1)  # at the first half of the points, and at -x
        rows = np.stack([here, slopes.numpy().reshape(2, -1)[0], -here, there, -there])
        texts = _round(rows, [_scale(here)] * 3 + [_scale(there)] * 2)
        parts += texts[:2]
        for image, text in zip(images, (texts[0], *texts[2:]), strict=True):
            image.append(text)
    mirror = min(_hash(*scopes, *image) for image in images)
    return Identity(_hash(*scopes, *parts), _hash(parts[0]), mirror)


def _scale(values: Numbers) -> float:
    """Largest size on the quantiles."""
    inner = np.abs(values[:_QUANTILES])
    return float(inner.max(initial=0.0, where=np.isfinite(inner)))


def perturbed_modules(record: ActivationRecord) -> tuple[Activation, ...]:
    """The activation at its start parameters and at two fixed perturbations of them, float64, one channel.

    One module where there are no parameters: the perturbed functions are the same. Parameters are perturbed in the
    order of the canonical formula, so that ``a + b`` and ``b + a`` agree. They are shared: only compute with them.
    """
    return _perturb(record.formula, record.name, tuple(sorted(record.hyperparameters.items())))


# for a logical batch: what is distinguished there is screened soon after
@functools.lru_cache(maxsize=256)
def _perturb(
    formula: str, name: str | None, settings: tuple[tuple[str, Value], ...]
) -> tuple[Activation, ...]:
    record = ActivationRecord(formula, name, dict(settings))
    tree = build_expression(record)
    as_written = record
    if tree.parameters:
        as_written = ActivationRecord(str(canonical(tree)))
    modules = []
    for size in PERTURBATIONS if tree.parameters else PERTURBATIONS[:1]:
        module = activation(as_written, channels=1, channel_axis=-1).double().eval()
        with torch.no_grad():
            for index, parameter in enumerate(module.parameters()):
                step = size * math.cos(1.0 + 2.3 * index)  # a different amount for each
                parameter.add_(step * (1 + parameter.abs()))
        modules.append(module)
    return tuple(modules)


def _round(rows: Numbers, scales: Sequence[float]) -> list[str]:
    """Numbers at the first half of the points, to 6 digits of the function's scale; those larger than it, far out, to
    6 digits of their own. A text for each row.
    """
    finite = np.isfinite(rows)
    plain = np.where(finite, rows, 0.0)
    exponents = _exponents(np.maximum(np.abs(plain), np.array(scales)[:, None]))
    mantissas = np.rint(np.ldexp(plain, -exponents) * 10**_DIGITS + _OFFSET).astype(np.int64)
    texts = [
        [f"{mantissa}e{exponent}" for mantissa, exponent in zip(*pair, strict=True)]
        for pair in zip(mantissas.tolist(), exponents.tolist(), strict=True)
    ]
    for row, column in np.argwhere(~finite):
        number = float(rows[row, column])
        # at 0 the sign of an infinity is that of the zero, which 1 / x and 1 / (x + 0) see differently
        texts[row][column] = str(number if _half_points()[column] else abs(number))
    return [",".join(row) for row in texts]


def _exponents(sizes: Numbers) -> npt.NDArray[np.int32]:
    """Binary exponents, with their steps away from round numbers."""
    # 1.3717: a size of exactly 1 or 2 would stand on a step, and last bits would decide
    ordinary = (sizes > 0) & (sizes < 1e300)
    exponents = np.frexp(np.where(ordinary, sizes, 1.0) * 1.3717)[1]
    # one exponent for all infinities and one for all zeros, beyond any that a float has
    rounded: npt.NDArray[np.int32] = np.where(
        ordinary, exponents, np.where(sizes > 0, 1000, -1000)
    )
    return rounded


def _hash(*parts: str) -> str:
    return hashlib.sha256("|".join(parts).encode()).hexdigest()[:32]
