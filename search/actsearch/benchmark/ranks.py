"""Ranks that can be averaged over tasks."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from scipy import special, stats

__all__ = ["normal_scores"]


def normal_scores(values: npt.NDArray[np.floating]) -> npt.NDArray[np.float64]:
    """Ranks as quantiles of N(0, 1), larger for larger values; equal ones share theirs (van der Waerden scores).

    What diverged, or is a thousand times as bad, is then one rank below the next and not a thousand deviations.

    Args:
        values: ranked along the last axis; (..., n).
    """
    ranks = stats.rankdata(values, axis=-1)
    scores: npt.NDArray[np.float64] = special.ndtri((ranks - 0.5) / values.shape[-1])
    return scores
