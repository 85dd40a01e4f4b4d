"""From what a user names to a module: catalog name, formula text, tree or record."""

from __future__ import annotations

import copy
import functools
import re
from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from actsearch.activation_catalog import CATALOG, Value
from actsearch.activations.fitted import fitted_expression
from actsearch.activations.module import Activation, FormulaActivation, build_function_activation
from actsearch.activations.special import SPECIAL
from actsearch.checks import check_integer, check_one_of
from actsearch.errors import ActivationError, FormulaError
from actsearch.expression import Expression, parse
from actsearch.operators import OPERATORS
from actsearch.records import ActivationRecord, CandidateRecord, say_pass

__all__ = [
    "activation",
    "build_expression",
    "candidate_record",
    "count_pieces",
    "describe",
    "make_lean",
]


def describe(what: Any, **hyperparameters: Value) -> ActivationRecord:
    """Write down which activation is meant.

    Args:
        what: catalog name, formula text, Expression, an activation made by :func:`activation`, a record; or a
            candidate, a trial, a verdict or one of its lines, with one activation for all sites.
        hyperparameters: settings of a catalog row.

    Raises:
        ActivationError: unknown name or hyperparameter, or a value outside its range.
        FormulaError: a formula that cannot be read.
    """
    if isinstance(what, str) and what.strip().isidentifier() and what.strip() != "x":
        return _catalog_record(what.strip(), hyperparameters)
    if hyperparameters:
        raise ActivationError(
            f"{', '.join(hyperparameters)}: only catalog names take hyperparameters; "
            "write numbers into the formula"
        )
    if isinstance(what, ActivationRecord):  # from a database: its texts are read like any other
        if what.name is not None:
            return _catalog_record(*_stored_settings(what))
        return describe(what.formula)
    if isinstance(what, Activation):
        return what.record
    if isinstance(what, (str, Expression)):
        formula = str(_parse(what))
        return ActivationRecord(formula, label=formula)
    if (record := candidate_record(what)) is not None:
        return describe(_single(record))
    raise ActivationError(
        f"an activation is a catalog name, a formula, an Expression, a trial or a verdict, not {type(what).__name__}"
    )


def _parse(what: str | Expression) -> Expression:
    """As :func:`parse`; a row of the catalog that is called is named with what to write instead."""
    try:
        return parse(what)
    except FormulaError as error:
        text = str(what)
        called = re.match(r"(\w+)\s*\(", text[error.position or 0 :])
        if called is None or called[1] in OPERATORS or called[1] not in CATALOG:
            raise
        row = CATALOG[called[1]]
        settings = "".join(f", {item.name}={item.default!r}" for item in row.hyperparameters)
        advice = f"it stands alone, as acs.activation({row.name!r}{settings})"
        if row.elementwise and not row.fitted:
            advice += f"; in a formula, write what it computes: {row.text(row.bind({}))}"
        raise FormulaError(
            f"{called[1]} is a row of the catalog, not an operator: {advice}", text, error.position
        ) from None


def candidate_record(what: Any) -> CandidateRecord | None:
    """What a candidate, a trial, a verdict or one of its lines stands for; None for anything else.

    Raises:
        ActivationError: a line of a verdict that cannot be read; a pass of shape learning, which begins with an
            activation and learns another one.
    """
    if isinstance(what, nn.Module):
        return None
    what = getattr(what, "candidate", what)
    record = what if isinstance(what, CandidateRecord) else getattr(what, "record", None)
    if not isinstance(record, CandidateRecord):
        return None
    if record.learns_shape:
        raise ActivationError(getattr(what, "no_activation", "") or say_pass())
    return record


def _single(record: CandidateRecord) -> ActivationRecord:
    if record.single is not None:
        return record.single
    if record.is_baseline:
        raise ActivationError(
            "this is the model unchanged, not an activation: keep the model as it is"
        )
    one = next(iter(record.activations.values())).label
    raise ActivationError(
        f"these are several activations, at {', '.join(record.activations)}: choose one of them, as {one!r}, write all "
        "with acs.to_python, or place all with acs.place"
    )


def _stored_settings(record: ActivationRecord) -> tuple[str, dict[str, Value]]:
    """Name and hyperparameters of a record that may hold anything in their place."""
    name, given = record.name, record.hyperparameters
    if not isinstance(name, str):
        raise ActivationError(f"the name of an activation is a text, not {type(name).__name__}")
    if not isinstance(given, Mapping) or not all(isinstance(key, str) for key in given):
        raise ActivationError(f"the stored hyperparameters of {name} are not numbers by name")
    return name, dict(given)


def _catalog_record(name: str, hyperparameters: dict[str, Value]) -> ActivationRecord:
    try:
        row = CATALOG[name]
    except ActivationError as error:
        raise ActivationError(f"{error} A formula uses x, as in 'x*tanh(x)'.") from None
    values = row.bind(hyperparameters)
    text = _text(row.name, tuple(sorted(values.items())))
    return ActivationRecord(text, row.name, values, row.label(values))


@functools.lru_cache(maxsize=4096)  # a record is made often, and a fit takes milliseconds
def _text(name: str, settings: tuple[tuple[str, Value], ...]) -> str:
    row, values = CATALOG[name], dict(settings)
    return str(fitted_expression(name, values, _sample_start)) if row.fitted else row.text(values)


def _sample_start(name: str) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Even points on [-3, 3] and a catalog function's values there, for fitting."""
    advice = "; take another start, such as start='relu'"
    if name in CATALOG and (CATALOG[name].fitted or not CATALOG[name].elementwise):
        raise ActivationError(
            f"nothing can start as {name}: it is not a fixed function of one number{advice}"
        )
    try:
        module = activation(name, channels=1, channel_axis=-1).double().eval()
    except (ActivationError, FormulaError) as error:
        raise ActivationError(f"start={name!r} cannot be read: {error}") from None
    x = torch.linspace(-3, 3, 301, dtype=torch.float64)
    with torch.no_grad():
        y = module(x.unsqueeze(1)).squeeze(1)
    if not torch.isfinite(y).all():
        raise ActivationError(f"nothing can start as {name}: it is not finite on [-3, 3]{advice}")
    return x.numpy(), y.numpy()


def activation(
    what: Any,
    *,
    channels: int | None = None,
    channel_axis: int = 1,
    lean: bool = False,
    **hyperparameters: Value,
) -> Activation:
    """Build an activation as an ``nn.Module`` that keeps the shape of its input.

    ``"maxout"`` alone among the hidden ones does not: it takes ``pieces`` times as many channels as it returns, from a
    layer that :func:`actsearch.place` makes as many times wider.

    Args:
        what: catalog name (``"leaky_relu"``), formula text (``"x*sigmoid(x)"``), Expression, record, candidate, trial,
            or a verdict or one of its lines.
        channels: size of the channel axis, for parameters learned per channel. A catalog row that can
            learn per channel does so when this is given.
        channel_axis: axis of the channels, 1 as in ``(batch, channels, ...)``; may be negative.
        lean: keep the input alone for the backward pass, and compute the rest of the formula again there: the same
            values and gradients to rounding, with the memory of ``nn.GELU``. What torch computes in one call keeps one
            tensor anyway. A compiled formula does so by itself.
        hyperparameters: settings of a catalog row, such as ``negative_slope=0.2``.

    Returns:
        A module for tensors of any shape and floating dtype, with ``.formula`` and, in ``.record.name``, its row.

    Raises:
        ActivationError: unknown name or hyperparameter, a value out of range, channels missing or wrong; ``lean`` for
            a form that draws numbers or depends on several.
        FormulaError: a formula that cannot be read.

    Example:
        >>> act = acs.activation("leaky_relu", negative_slope=0.25)
        >>> act(torch.tensor([-2.0, 2.0]))  # (batch, ...) -> the same shape
        tensor([-0.5000,  2.0000])
        >>> acs.activation("prelu", channels=64).theta_0.shape
        torch.Size([64])
    """
    if channels is not None:
        channels = check_integer("channels", channels, ActivationError, low=1)
    channel_axis = check_integer("channel_axis", channel_axis, ActivationError)
    lean = check_one_of("lean", lean, (True, False), ActivationError)
    if isinstance(what, Activation) and not hyperparameters and channels is None:
        twin = copy.deepcopy(what)
        return make_lean(twin) if lean else twin
    module = _build(what, channels, channel_axis, hyperparameters, lean)
    return make_lean(module) if lean else module


_KEEPS_SEVERAL = frozenset({"softsign"})
"""Rows that torch computes in several calls, each of which keeps something."""


def make_lean(module: Activation) -> Activation:
    """Keep the input alone, where it is not one call of torch that keeps one tensor.

    Raises:
        ActivationError: it draws numbers, or an output depends on more than its own input.
    """
    row = CATALOG[module.record.name] if module.record.name else None
    if row is not None and (row.random or not row.elementwise):
        why = "draws random numbers" if row.random else "depends on several numbers at once"
        raise ActivationError(
            f"{module.record.label} {why}, and cannot be computed again: lean=True is for functions of one number"
        )
    if isinstance(module, FormulaActivation):
        module.make_lean()
    return module


def _build(
    what: Any,
    channels: int | None,
    channel_axis: int,
    hyperparameters: dict[str, Value],
    lean: bool,
) -> Activation:
    if isinstance(what, str) and channels is not None and "per" not in hyperparameters:
        row = CATALOG.get(what.strip()) if what.strip() in CATALOG else None
        if row is not None and any(setting.name == "per" for setting in row.hyperparameters):
            hyperparameters = {**hyperparameters, "per": "channel"}
    record = describe(what, **hyperparameters)
    if record.name is not None:
        # a stored record may be out of range
        _catalog_record(record.name, dict(record.hyperparameters))
        if record.name in SPECIAL:
            module = SPECIAL[record.name](record)
            module.channel_axis = channel_axis
            return module
        fused = build_function_activation(record)
        if fused is not None and not (lean and record.name in _KEEPS_SEVERAL):
            return fused
    return FormulaActivation(record, build_expression(record), channels, channel_axis)


def count_pieces(what: Any) -> int:
    """How many pieces of each channel an activation takes: 1, but for those that need a wider layer (maxout)."""
    record = describe(what)
    return CATALOG[record.name].width(record.hyperparameters) if record.name is not None else 1


def build_expression(what: Any) -> Expression:
    """The tree of an activation; for a catalog row, of its formula with hyperparameters put in."""
    return parse(describe(what).formula)
