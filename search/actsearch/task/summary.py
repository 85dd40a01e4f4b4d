"""A task as one line to print: names, shapes and settings, never the data."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Mapping, Sized
from typing import Any

import numpy as np
from torch import Tensor, nn

from actsearch.checks import short_repr
from actsearch.html_parts import fragment, paragraph, table

__all__ = ["summarize", "summarize_html"]

_ALWAYS = frozenset(("model", "train", "valid", "loss", "metric", "epochs", "lr"))
_MOST_PARTS = 4  # of a tuple or mapping


def summarize(task: Any) -> str:
    """Its model, data, loss, metric, epochs and learning rate, and what else differs from the defaults."""
    shown = ", ".join(f"{name}={text}" for name, text in _settings(task))
    return f"{type(task).__name__}({shown})"


def summarize_html(task: Any) -> str:
    """The same as a table for a notebook."""

    def parts() -> list[str]:
        heading = (
            type(task).__name__ if task.name is None else f"{type(task).__name__} {task.name}"
        )
        rows = [row for row in _settings(task) if row[0] != "name"]
        return [paragraph(heading, strong=True), table((), rows, styled=True)]

    return fragment(parts, "this task")


def _settings(task: Any) -> list[tuple[str, str]]:
    """Names and short texts of what always says what is trained, and of what differs from the defaults."""
    return [
        (field.name, _short(getattr(task, field.name)))
        for field in dataclasses.fields(task)
        if field.name in _ALWAYS or not _is_default(getattr(task, field.name), field.default)
    ]


def _is_default(value: Any, default: Any) -> bool:
    return value is default or (isinstance(value, int | float | str) and value == default)


def _short(value: Any) -> str:
    if isinstance(value, Tensor | np.ndarray):
        return f"{str(value.dtype).removeprefix('torch.')}{list(value.shape)}"
    if isinstance(value, tuple | list) and not all(
        isinstance(x, int | float | str) for x in value
    ):
        parts = [_short(item) for item in value[:_MOST_PARTS]]
        return f"({', '.join(parts)}{', ...' if len(value) > _MOST_PARTS else ''})"
    if isinstance(value, Mapping):
        items = [f"{short_repr(key)}: {_short(value[key])}" for key in list(value)[:_MOST_PARTS]]
        return f"{{{', '.join(items)}{', ...' if len(value) > _MOST_PARTS else ''}}}"
    if isinstance(value, functools.partial):
        return f"{_short(value.func)}(...)"
    if value is None or isinstance(value, bool | int | float | str | tuple | list):
        return short_repr(value)
    if isinstance(value, nn.Module):
        return type(value).__name__
    if name := getattr(value, "__name__", None):
        return str(name)
    return type(value).__name__ + _length(value)


def _length(value: Any) -> str:
    """Of a data set or loader that has one."""
    try:
        return f" of {len(value)}" if isinstance(value, Sized) else ""
    except TypeError:  # a loader of a stream
        return ""
