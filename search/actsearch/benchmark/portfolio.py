"""A short list in which every task finds something good."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

__all__ = ["choose_portfolio"]

_TIE = 1e-3


def choose_portfolio(scores: npt.NDArray[np.float64], count: int) -> list[int]:
    """Positions of the functions of a list, in the order in which they were added to it.

    Each is the one that raises the mean over tasks of the list's best score most (Feurer et al. 2015, "Efficient and
    Robust Automated Machine Learning", section 3; greedy, as the sum of maxima is submodular); of equals the one that
    is best on average.

    Args:
        scores: of each function on each task, comparable between tasks, larger is better; (tasks, functions).
        count: how long the list is, at most.
    """
    best = np.full(len(scores), scores.min(initial=0.0))
    average = scores.mean(0)
    chosen: list[int] = []
    for _ in range(min(count, scores.shape[1])):
        raised = np.maximum(scores, best[:, None]).mean(0) + _TIE * average
        raised[chosen] = -np.inf
        chosen.append(int(np.round(raised, 9).argmax()))
        best = np.maximum(best, scores[:, chosen[-1]])
    return chosen
