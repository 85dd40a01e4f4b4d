"""Refusing candidates that cannot train, before they cost anything."""

from __future__ import annotations

import functools
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

from actsearch.activation_catalog import CATALOG, Value
from actsearch.activations import build_at_start, describe, value_and_gradient
from actsearch.errors import ActsearchError
from actsearch.records import ActivationRecord, CandidateRecord
from actsearch.screening.identity import perturbed_modules
from actsearch.screening.required import find_missing

__all__ = ["Screening", "screen"]

_GRID = 1001  # quantiles of N(0, 1)
_FAR = (-100.0, 100.0)  # rare, but met in a diverging start: only a warning
_ALIVE = 0.01  # share of points that must have a gradient
_ISOLATED = 0.01  # share of points at which infinities or NaN count as isolated
_MOST_SAMPLES = 8  # of pre-activations, for one activation
_FLAT = 1e-6  # relative to the scale of the values


class Screening(NamedTuple):
    """Result: the reason of a refusal, empty if there is none, and what was noticed besides."""

    reason: str
    warnings: tuple[str, ...] = ()

    @property
    def passed(self) -> bool:
        """Whether the candidate may be trained."""
        return not self.reason


def screen(
    candidate: CandidateRecord,
    pre_activations: Sequence[Tensor] | Mapping[str, Sequence[Tensor]] = (),
    dtype: torch.dtype = torch.float32,
    require: Sequence[str] = (),
) -> Screening:
    """Check a candidate's activations on numbers alone.

    On 1,001 quantiles of N(0, 1) and on the model's own pre-activations, times 1 and 3 (of maxout, on the pieces that
    its widened layer makes of them at the start): the shape is kept; values
    and gradients are finite but for isolated points; the gradient is non-zero on at least 1 % (straight-through
    forms excepted); the function is neither constant nor affine. The catalog's identity may be affine, and a
    learned form counts as affine only if it also is at perturbed parameters.

    Args:
        candidate: what is to be trained.
        pre_activations: samples of what arrives at the sites; by group, for a candidate of several activations, each
            of which is then looked at on those of its own groups.
        dtype: precision of training.
        require: properties that a space asks for, see :mod:`actsearch.bounds.properties`.
    """
    noticed: list[str] = []
    for record, groups in _group_activations(candidate):
        where = f"at {', '.join(groups)}: " if len(candidate.activations) > 1 else ""
        try:
            result = _screen_activation(
                describe(record), _select_samples(pre_activations, groups), dtype
            )
        except ActsearchError as error:
            return Screening(where + str(error).splitlines()[0])
        except (RuntimeError, TypeError, ValueError) as error:
            return Screening(f"{where}cannot be computed: {str(error).splitlines()[0]}")
        if not result.passed:
            return Screening(where + result.reason)
        if require and (reason := find_missing(describe(record), tuple(require))):
            return Screening(where + reason)
        noticed += [where + warning for warning in result.warnings]
    return Screening("", tuple(noticed))


def _group_activations(candidate: CandidateRecord) -> list[tuple[ActivationRecord, list[str]]]:
    """Each activation of a candidate once, with its groups."""
    distinct: list[
        tuple[ActivationRecord, list[str]]
    ] = []  # a record with its mapping has no hash
    for group, record in candidate.activations.items():
        groups = next((groups for known, groups in distinct if known == record), None)
        if groups is None:
            distinct.append((record, [group]))
        else:
            groups.append(group)
    return distinct


def _select_samples(
    samples: Sequence[Tensor] | Mapping[str, Sequence[Tensor]], groups: Sequence[str]
) -> Sequence[Tensor]:
    """Samples for an activation at some groups; of many, a few that are evenly spread."""
    if not isinstance(samples, Mapping):
        return samples
    tensors = [tensor for group in groups for tensor in samples.get(group, ())]
    return tensors[:: max(1, -(-len(tensors) // _MOST_SAMPLES))]


def _screen_activation(
    record: ActivationRecord, pre_activations: Sequence[Tensor], dtype: torch.dtype
) -> Screening:
    row = CATALOG[record.name] if record.name else None
    if row is not None and row.role != "hidden":
        return Screening(f"{row.name} is not elementwise: it is not a hidden activation")
    key = (record.formula, record.name, tuple(sorted(record.hyperparameters.items())))
    if reason := _refuse_on_normal(*key, dtype):
        return Screening(reason)
    if pre_activations and (reason := _refuse(record, _samples(pre_activations, dtype), dtype)):
        return Screening(reason)
    # pieces of a widened layer are not bound to lines through 0: nothing holds them affine
    may_be_affine = row is not None and (row.name == "identity" or row.widens is not None)
    if not may_be_affine and (reason := _find_triviality(*key)):
        return Screening(reason)
    return Screening("", _far_warnings(*key, dtype))


def _refuse(
    record: ActivationRecord, samples: Sequence[tuple[str, Tensor]], dtype: torch.dtype
) -> str:
    module = build_at_start(record).to(dtype).eval()
    straight_through = record.name is not None and CATALOG[record.name].straight_through
    for where, values, slopes in _compute(module, samples):
        if reason := _find_refusal(values, slopes, straight_through):
            return f"{reason} on {where}"
    return ""


_Settings = tuple[tuple[str, Value], ...]


# what the model has no part in: known from one study to the next, as identities are
@functools.lru_cache(maxsize=4096)
def _refuse_on_normal(
    formula: str, name: str | None, settings: _Settings, dtype: torch.dtype
) -> str:
    record = ActivationRecord(formula, name, dict(settings))
    return _refuse(record, [("N(0, 1)", _quantiles(_GRID).to(dtype))], dtype)


def _samples(pre_activations: Sequence[Tensor], dtype: torch.dtype) -> list[tuple[str, Tensor]]:
    """Named columns of points, shape (n, 1)."""
    samples: list[tuple[str, Tensor]] = []
    for index, tensor in enumerate(pre_activations):
        flat = tensor.detach().reshape(-1, 1).to(dtype)
        flat = flat[:: max(1, len(flat) // _GRID)]
        samples += [
            # three times as large, as they may become in training
            (f"{scale} x pre-activations of site {index}", flat * scale)
            for scale in (1, 3)
        ]
    return samples


@functools.cache
def _quantiles(count: int) -> Tensor:
    """Quantiles of N(0, 1), shape (count, 1), float64."""
    ranks = (torch.arange(count, dtype=torch.float64) + 0.5) / count
    quantiles: Tensor = torch.special.ndtri(ranks)
    return quantiles.unsqueeze(1)


def _compute(
    module: nn.Module, samples: Sequence[tuple[str, Tensor]]
) -> Iterator[tuple[str, Tensor, Tensor]]:
    """Name, values and slopes of each sample; all are computed together, since short calls are mostly overhead."""
    values, slopes = value_and_gradient(module, torch.cat([points for _, points in samples]))
    start = 0
    for name, points in samples:
        part = slice(start, start := start + len(points))
        yield name, values[part], slopes[part]


def _find_refusal(values: Tensor, slopes: Tensor, straight_through: bool) -> str:
    for what, numbers in (("values", values), ("gradients", slopes)):
        bad = (~torch.isfinite(numbers)).double().mean().item()
        if bad > _ISOLATED:
            return f"{what} are not finite ({bad:.0%})"
    alive = (slopes.nan_to_num() != 0).double().mean().item()
    if alive < _ALIVE and not straight_through:
        return f"gradient is zero almost everywhere ({alive:.1%} alive)"
    return ""


@functools.lru_cache(maxsize=4096)
def _find_triviality(formula: str, name: str | None, settings: _Settings) -> str:
    """Why a function is too simple to be an activation: constant, or affine at every parameter tried."""
    record = ActivationRecord(formula, name, dict(settings))
    points = torch.cat([_quantiles(101), 3 * _quantiles(101)])  # hardsigmoid is a line on [-3, 3]
    affine: list[bool] = []
    for module in perturbed_modules(record):
        with torch.no_grad():
            values = module(points)
        kept = torch.isfinite(values)
        values, x = values[kept], points[kept]
        values = values / values.abs().max().clamp_min(1e-300)  # of zeros, 0 and not NaN
        if not affine and (values.max() - values.min()) <= _FLAT:
            return "constant"
        x, values = x - x.mean(), values - values.mean()
        line = x * ((x @ values) / (x @ x).clamp_min(1e-300))  # least squares
        affine.append(bool(((values - line).abs().max() <= _FLAT).item()))
    return "affine: layers would collapse to one linear map" if all(affine) else ""


@functools.lru_cache(maxsize=4096)
def _far_warnings(
    formula: str, name: str | None, settings: _Settings, dtype: torch.dtype
) -> tuple[str, ...]:
    module = build_at_start(ActivationRecord(formula, name, dict(settings))).to(dtype).eval()
    values, slopes = value_and_gradient(module, torch.tensor(_FAR, dtype=dtype).unsqueeze(1))
    if torch.isfinite(values).all() and torch.isfinite(slopes).all():
        return ()
    return ("not finite at x = -100 or 100",)
