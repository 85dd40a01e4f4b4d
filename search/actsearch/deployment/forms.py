"""The forms of one activation side by side: what each costs, how far each is off, and what there is to take away."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, cast

import numpy as np
import torch
from torch import nn

from actsearch.activations import activation
from actsearch.deployment.checking import DEFAULT_INTERVAL
from actsearch.deployment.compiler import check_cpp_compiler
from actsearch.deployment.made import Deployment
from actsearch.deployment.subject import resolve
from actsearch.deployment.targets import TARGETS, Options
from actsearch.errors import ActivationError
from actsearch.evaluation.product_measures import kept_bytes
from actsearch.evaluation.timing import time_interleaved
from actsearch.placement.random_streams import isolated_random
from actsearch.records import ActivationRecord, Diagnostics

__all__ = ["compare_forms"]

_POINTS = 401
_TARGETS = ("hinges", "int8", "int16")


def compare_forms(
    record: ActivationRecord,
    diagnostics: Diagnostics | None = None,
    *,
    compiled: bool = False,
    shape: Sequence[int] = (128, 256),
) -> dict[str, Any]:
    """As JSON data.

    Args:
        record: the activation.
        diagnostics: what a trial recorded of its inputs, and of what it learned; without any, from -6 to 6.
        compiled: whether torch.compile is timed too, which takes long.
        shape: on which forms are timed and kept bytes are counted, ``(samples, channels)``.

    Returns:
        ``inputs``: [low, high]. ``x``: points between. ``rows``: for each form ``form``, ``time`` and ``kept``, as
        multiples of nn.GELU's forward and backward (None where that says nothing), ``error``, ``unit``, ``curve`` (the
        error at each point, in the output's own units) and ``reason`` (why it cannot be made). ``files``: name and text
        of what can be taken away. ``notes``: what a reader should know of all of them.
    """
    subject = resolve(record, None if diagnostics else DEFAULT_INTERVAL, diagnostics)
    assert subject.inputs is not None
    low, high = subject.inputs.interval
    x = np.linspace(low, high, _POINTS)
    rows = _time_forms(record, shape, compiled)
    files: list[dict[str, str]] = []
    for target in _TARGETS:
        try:
            made = TARGETS[target](subject, Options())
        except ActivationError as error:
            rows.append({"form": target, "reason": str(error)})
            continue
        found = made.module()(torch.from_numpy(x)).detach().numpy()
        row = {"form": _name(made), "error": made.max_error, "unit": made.unit}
        rows.append({**row, "curve": np.abs(found - subject.values(x)).tolist()})
        header = TARGETS["c"](subject, Options(form=target, name="activation"))
        files.append({"name": f"activation_{target}.h", "text": str(header.text)})
    return {
        "inputs": [low, high],
        "x": x.tolist(),
        "rows": rows,
        "files": files,
        "notes": list(subject.notes),
    }


def _name(made: Deployment) -> str:
    return (
        f"{made.settings['hinges']} hinges" if made.target == "hinges" else f"{made.target} table"
    )


def _time_forms(
    record: ActivationRecord, shape: Sequence[int], compiled: bool
) -> list[dict[str, Any]]:
    """Eager, lean and compiled, in turns with nn.GELU."""
    makers: dict[str, Callable[[], nn.Module]] = {
        "eager": lambda: activation(record, channels=shape[1]),
        "lean": lambda: activation(record, channels=shape[1], lean=True),
    }
    if compiled:
        makers["compiled"] = lambda: _compile(activation(record, channels=shape[1]))
    rows: list[dict[str, Any]] = []
    with isolated_random(0):
        x = torch.randn(tuple(shape), requires_grad=True)
        gelu_bytes = kept_bytes(nn.GELU(), x)
        for form, make in makers.items():
            try:
                module = make()
                own, gelu = time_interleaved([module, nn.GELU()], x)
            except ActivationError as error:
                rows.append({"form": form, "reason": str(error)})
            else:
                kept = kept_bytes(module, x) / gelu_bytes
                rows.append({"form": form, "time": own / gelu, "kept": kept})
    return rows


def _compile(module: nn.Module) -> nn.Module:
    check_cpp_compiler()
    return cast(nn.Module, torch.compile(module, fullgraph=True))
