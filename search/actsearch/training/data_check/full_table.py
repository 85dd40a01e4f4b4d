"""Inputs that are tables by nature: every combination of a few values."""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["is_full_table"]

_VALUES = 8  # of a column; a column of more is taken for a measured number
_FULL = 0.9  # of all combinations


def is_full_table(rows: Tensor) -> bool:
    """Whether different rows are (nearly) all combinations of the few values that their columns hold.

    Truth tables and factorial designs are. A single column never is, since it holds all of its values in any case.

    Args:
        rows: all different, shape (rows, columns), without NaN.
    """
    combinations, varying = 1, 0
    for column in rows.unbind(1):
        count = len(torch.unique(column))
        combinations *= count
        varying += count > 1
        if count > _VALUES or len(rows) < _FULL * combinations:
            return False
    return varying > 1
