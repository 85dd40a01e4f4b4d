"""Batches of a user's own, taken apart into rows."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import torch
from torch import Tensor

from actsearch.task.data import item_digest
from actsearch.task.nested import children

__all__ = ["BatchRows", "named_parts"]

_COPIED = 1 << 29  # bytes
_DEEPEST = 4  # objects in objects, which may hold each other


@dataclass(frozen=True)
class BatchRows:
    """Batches whose rows are looked at.

    Attributes:
        batches: as a step gets them.
    """

    batches: Sequence[Any]

    @cached_property
    def parts(self) -> Mapping[str, Tensor]:
        """Their tensors by name, shape ``(rows, ...)``.

        Where these have no axis in common, or are too many to be copied, it is a hash of each batch.
        """
        named = [dict(named_parts(batch)) for batch in self.batches]
        if not any(named):
            return {}
        if self._is_hashed:
            hashes = [np.frombuffer(_digest(item), np.int64) for item in named]
            return {"batches": torch.from_numpy(np.stack(hashes))}
        return {name: torch.cat([item[name] for item in named]) for name in named[0]}

    @cached_property
    def _lengths(self) -> list[set[int]]:
        """Of the tensors of each batch; -1 for a number."""
        return [
            {len(part) if part.dim() else -1 for _, part in named_parts(batch)}
            for batch in self.batches
        ]

    @cached_property
    def _is_hashed(self) -> bool:
        named = [list(named_parts(batch)) for batch in self.batches]
        forms = {tuple((name, part.shape[1:]) for name, part in item) for item in named}
        size = sum(part.nbytes for item in named for _, part in item)
        is_ragged = any(len(item) != 1 or item == {-1} for item in self._lengths)
        return is_ragged or len(forms) > 1 or size > _COPIED

    @cached_property
    def _starts(self) -> list[int]:
        """The first row of each batch."""
        sizes = [1 if self._is_hashed else next(iter(item)) for item in self._lengths]
        return [0, *np.cumsum(sizes)[:-1].tolist()]

    def batch_of(self, row: int) -> Any:
        """The batch in which a row stands."""
        return self.batches[int(np.searchsorted(self._starts, row, side="right")) - 1]


def _digest(parts: Mapping[str, Tensor]) -> bytes:
    return item_digest(dict(parts))


def named_parts(value: Any, name: str = "", depth: int = 0) -> Iterator[tuple[str, Tensor]]:
    """Every tensor of a batch, whatever it is, with the keys, positions or attributes that lead to it.

    Example:
        >>> [name for name, _ in named_parts({"x": torch.ones(2), "more": (torch.ones(1), "a")})]
        ["['x']", "['more'][0]"]
    """
    if isinstance(value, Tensor):
        yield name, value.detach()
        return
    if isinstance(value, np.ndarray) and value.dtype.kind in "fiub":
        yield name, torch.as_tensor(value)
        return
    parts = children(value)
    if parts is not None:
        for key, part in parts:
            yield from named_parts(
                part, f"{name}[{str(key) if isinstance(key, int) else repr(key)[:40]}]", depth
            )
    elif depth < _DEEPEST and isinstance(getattr(value, "__dict__", None), dict):
        for key, part in vars(value).items():
            yield from named_parts(part, f"{name}.{key}", depth + 1)
