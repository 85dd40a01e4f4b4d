"""Constants by least squares: Levenberg-Marquardt on many starts of one form at once.

Factor and offset of the whole are never fitted but projected out (Golub & Pereyra 1973, with the shorter Jacobian of
Kaufman 1975): a form has then two constants fewer, and starts need no idea of the curve's scale.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from actsearch.naming.curve import Curve
from actsearch.naming.form import Form
from actsearch.naming.functions import Numbers

__all__ = ["fit"]

_STEP = 1e-6  # of a constant, for the difference that stands for a derivative
_DAMPING = 1e-2  # at the start
_FLAT = (
    1e-16  # share of the variance that one unit of a constant moves, below which it is left alone
)
_ENOUGH = 1e-2  # relative improvement below which an iteration counts as idle
_IDLE = 3  # such iterations in a row end the fit


def fit(
    form: Form, curve: Curve, starts: Numbers, iterations: int, fixed: Numbers | None = None
) -> tuple[Numbers, Numbers]:
    """Fit from several starts.

    Args:
        form: family of functions.
        curve: what they shall come near.
        starts: (starts, constants).
        iterations: at most so many.
        fixed: 1 where a constant of a start keeps its value, else 0; (starts, constants).

    Returns:
        constants, (starts, constants), and the shares of variance they leave over, (starts,).
    """
    with np.errstate(all="ignore"):
        low = np.maximum(form.bounds[0], -curve.reach)
        high = np.minimum(form.bounds[1], curve.reach)
        state = _State.begin(form, curve, np.clip(starts, low, high))
        if starts.shape[1] == 0:
            return state.constants, state.shares
        free = np.ones_like(starts) if fixed is None else 1.0 - fixed
        damping = np.full(len(starts), _DAMPING)
        idle = 0
        for _ in range(iterations):
            step = _step(form, curve, state, damping, free)
            tried = _State.begin(form, curve, np.clip(state.constants + step, low, high))
            better = tried.shares < state.shares
            gained = bool((tried.shares < state.shares * (1 - _ENOUGH)).any())
            state = state.replace(better, tried)
            damping = np.where(better, damping * 0.2, damping * 10.0)
            idle = 0 if gained else idle + 1
            if idle > _IDLE or state.shares.max() < 1e-20:
                break
        return state.constants, state.shares


@dataclass(frozen=True)
class _State:
    """Constants, the values of the form there, and what these leave over."""

    constants: Numbers  # (starts, constants)
    values: Numbers  # (starts, points)
    shares: Numbers  # (starts,)

    @classmethod
    def begin(cls, form: Form, curve: Curve, constants: Numbers) -> _State:
        values = form.compute(constants, curve.x)
        return cls(constants, values, curve.compare(values))

    def replace(self, which: npt.NDArray[np.bool_], other: _State) -> _State:
        return _State(
            np.where(which[:, None], other.constants, self.constants),
            np.where(which[:, None], other.values, self.values),
            np.where(which, other.shares, self.shares),
        )


def _step(form: Form, curve: Curve, state: _State, damping: Numbers, free: Numbers) -> Numbers:
    """The step of each start; (starts, constants)."""
    slopes = _slopes(form, curve, state) * free[..., None]  # (starts, constants, points)
    weights, count = curve.weights, state.constants.shape[1]
    factors, offsets = curve.scale(state.values)
    centred = state.values - (state.values @ weights)[:, None]
    squares = (centred * centred) @ weights
    slopes = slopes - (slopes @ weights)[..., None]
    along = ((slopes * weights) @ centred[..., None])[..., 0] / np.where(
        squares > 0, squares, 1.0
    )[:, None]
    jacobian = factors[:, None, None] * (slopes - along[..., None] * centred[:, None])
    rest = curve.y - (factors[:, None] * state.values + offsets[:, None])
    weighted = jacobian * weights
    normal = weighted @ jacobian.transpose(0, 2, 1)
    target = (weighted @ rest[..., None])[..., 0]
    wrong = ~(np.isfinite(normal).all(axis=(1, 2)) & np.isfinite(target).all(axis=1))
    normal[wrong], target[wrong] = np.eye(count), 0.0
    diagonal = np.einsum("sii->si", normal)
    # a constant that changes nothing, as the offset of a straight line, would drift along what differences round
    target[diagonal < _FLAT * curve.variance] = 0.0
    raised = damping[:, None] * diagonal + 1e-12 * (diagonal.max(axis=1, keepdims=True) + 1e-12)
    diagonal += raised
    steps = np.linalg.solve(normal, target[..., None])[..., 0]
    return np.asarray(steps, dtype=np.float64)


def _slopes(form: Form, curve: Curve, state: _State) -> Numbers:
    """Derivatives by the constants, as differences; (starts, constants, points)."""
    starts, count = state.constants.shape
    steps = _STEP * np.maximum(np.abs(state.constants), 1.0)
    moved = state.constants[:, None, :] + steps[:, None, :] * np.eye(count)
    values = form.compute(moved.reshape(starts * count, count), curve.x).reshape(starts, count, -1)
    return (values - state.values[:, None]) / steps[..., None]
