"""Moments of an activation's output for standard normal input, and the initialisation gain they give."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from scipy import special
from torch import Tensor

from actsearch.activations.build import count_pieces, describe
from actsearch.activations.function import scalar_module
from actsearch.activations.module import Activation
from actsearch.activations.primitives import bind
from actsearch.errors import ActivationError
from actsearch.expression import Call, Expression, Number, Parameter, Variable

__all__ = ["Moments", "gain", "moments"]

_Array = npt.NDArray[np.float64]
_Integrand = Callable[[_Array], _Array]

_TAIL = 30.0  # standard deviations; the normal density is 1e-196 there
_PANEL = 0.25  # first width
_CELLS = 16  # of a panel, in which zeros of arguments are looked for
_SECTIONS = 32  # of a cell with a zero, and again of the one of them that has it
_CLOSE = 1e-14  # zeros are found within; a jump is then known as well
_ROUNDS = 6  # a zero may show only when those inside its argument are known
_ZEROS = 4_000  # of one round at most, those nearest to 0
_NUMBERS = 4_000_000  # computed at one time at most, 32 MB
_LEVELS = 42  # halvings at most; an unknown kink takes about 15, a jump about 35
_PANELS = 20_000  # open at one time at most; sin(3000 x) needs 9,600
_TOLERANCE = 1e-11  # for a panel, as a share of the whole
_KEPT = 10_000  # results
_DOUBTFUL = 1e-3  # share of the whole that may be in doubt; a divergent integral leaves about 1
# these turn nowhere, or at x = 0, where there is an edge anyway
_LINEAR = frozenset({"add", "sub", "sum", "neg", "identity", "mix", "piecewise"})

_NODES, _WEIGHTS = np.polynomial.legendre.leggauss(16)  # on [-1, 1]
_BOUNDS = np.concatenate([[-1.0], _NODES, [1.0]])
_GAPS = np.diff(_BOUNDS)
_BETWEEN = np.concatenate([[1e-6 - 1], (_NODES[1:] + _NODES[:-1]) / 2, [1 - 1e-6]])
# from values at the nodes to those of their polynomial in between: (nodes, between)
_INTERPOLATION = np.linalg.solve(
    np.polynomial.legendre.legvander(_NODES, 15).T,
    np.polynomial.legendre.legvander(_BETWEEN, 15).T,
)


class Moments(NamedTuple):
    """Moments of f(z), z standard normal; of maxout, of the largest of independent z.

    Attributes:
        mean: E[f(z)].
        second: E[f(z)^2].
    """

    mean: float
    second: float


def moments(what: Any) -> Moments:
    """E[f(z)] and E[f(z)^2] for z ~ N(0, 1), learned parameters as a module has them, else at their start.

    Parameters that a module has per channel are averaged.

    Of ``maxout``, E[m] and E[m^2] of the largest m of as many independent z as it has pieces.

    Adaptive Gauss-Legendre quadrature between the points where an argument in the formula is zero, which is where
    it may bend, jump or peak: accurate to about 1e-9 of the function's scale, and to about 1e-6 where its square has
    a pole that is just integrable, as that of ``abs(x)**(-0.3)``. A moment that is infinite or does not exist comes
    out as infinite or NaN; one that exists may come out as NaN beside a sharper pole away from 0.

    What is narrower than about 0.01 may be missed where no argument is zero or the argument has two zeros within
    1/64, as in ``relu(sign(sin(x) - 0.9999999))``.

    Args:
        what: as for :func:`actsearch.activation`, or a module made by it.

    Raises:
        ActivationError: if it is neither a function of one number nor the largest of several.

    Example:
        >>> first, second = acs.moments("relu")
        >>> round(first, 6), round(second, 6)  # 1 / sqrt(2 pi), 1 / 2
        (0.398942, 0.5)
    """
    pieces = count_pieces(what)
    if pieces > 1:
        return _compute((pieces,), _weigh_largest(pieces), lambda: np.empty(0))
    module = scalar_module(what)
    learned = (
        float(parameter.item()).hex() for parameter in module.parameters()
    )  # -0.0 is not 0.0
    key = (describe(what).digest, *learned)
    return _compute(key, _weigh_function(module), lambda: _find_breaks(module))


_known: dict[tuple[Any, ...], Moments] = {}
"""What was computed: an initialisation asks for each layer and seed, a file of source for each that is written."""


def _compute(key: tuple[Any, ...], integrand: _Integrand, breaks: Callable[[], _Array]) -> Moments:
    """Moments by key, from the function's weighted values and where it may bend."""
    found = _known.get(key)
    if found is None:
        edges = np.linspace(-_TAIL, _TAIL, int(2 * _TAIL / _PANEL) + 1)
        with np.errstate(all="ignore"):
            mean, second = _integrate(integrand, np.union1d(edges, breaks()))
        if len(_known) >= _KEPT:
            _known.clear()
        found = _known[key] = Moments(float(mean), float(second))
    return found


def _find_breaks(module: Activation) -> _Array:
    """Where arguments in the formula change sign, in increasing order.

    Zeros of inner arguments join the grid on which outer ones are looked at: ``relu(1 - 100 * abs(x - 0.13))`` is
    seen to be positive at 0.13 only.
    """
    tree = module.expression
    learned = [value.item() for value in module.parameters()]
    learned = learned or [parameter.init for parameter in tree.parameters]

    def signs(z: _Array) -> _Array:
        """Of every argument, of shape (arguments, *z.shape); 2 for NaN."""
        with torch.no_grad():
            turning = _collect_turning_values(tree, torch.from_numpy(z), learned)
        return (
            np.nan_to_num(np.sign(np.stack(turning)), nan=2.0)
            if turning
            else np.empty((0, *z.shape))
        )

    grid = np.linspace(-_TAIL, _TAIL, int(2 * _TAIL / _PANEL) * _CELLS + 1)
    breaks = np.empty(0)
    for _ in range(_ROUNDS):
        ends = _find_sign_changes(signs, grid)
        if not ends.size:
            break
        breaks = np.union1d(breaks, ends[2])
        grid = np.union1d(grid, ends)
    return breaks


def _collect_turning_values(tree: Expression, x: Tensor, learned: list[float]) -> list[Tensor]:
    """Values whose sign changes where an operator may bend, jump or peak, over the whole formula."""
    parameters = iter(learned)
    turning: list[Tensor] = []

    def value(node: Expression) -> Tensor:
        if isinstance(node, Variable):
            return x
        if isinstance(node, Parameter):
            return torch.tensor(next(parameters), dtype=x.dtype)
        if isinstance(node, Number):
            return torch.tensor(node.value, dtype=x.dtype)
        assert isinstance(node, Call)
        values = [value(argument) for argument in node.arguments]
        turning.extend(
            torch.broadcast_to(each, x.shape)
            for each in _turning_values(node.operator, values)
            if each.dim()
        )
        return bind(node.operator)(*([x] if node.row.uses_x else []), *values)

    value(tree)
    return turning


def _turning_values(operator: str, values: list[Tensor]) -> list[Tensor]:
    """What changes sign where an operator turns: most do where an argument is zero."""
    if operator in _LINEAR:
        return []
    if operator in ("max", "min"):
        return _lead_margins(torch.stack(torch.broadcast_tensors(*values)), operator == "max")  # type: ignore[no-untyped-call]
    if operator == "hardsigmoid":
        return [values[0] + 3, values[0] - 3]
    if operator == "log1p":
        return [values[0] + 1]
    return values


def _lead_margins(values: Tensor, largest: bool) -> list[Tensor]:
    """By how much each of several leads the best of the others; for two, one difference tells both."""
    if len(values) == 2:
        return [values[0] - values[1]]
    first, second = values.topk(2, dim=0, largest=largest).values
    others = torch.where(values == first, second, first)
    return list(values - others)


def _find_sign_changes(signs: Callable[[_Array], _Array], grid: _Array) -> _Array:
    """Left end, right end and the better of both, of shape (3, n), for cells of the grid cut down to a sign change."""
    known = signs(grid)
    which, cell = np.nonzero((known[:, 1:] != known[:, :-1]) & (np.diff(grid) > _CLOSE))
    most = min(_ZEROS, _NUMBERS // (len(known) * (_SECTIONS + 1) or 1))
    nearest = np.argsort(np.abs(grid[cell]), kind="stable")[:most]
    which, cell = which[nearest], cell[nearest]
    left, right = grid[cell], grid[cell + 1]
    rows = np.arange(len(which))
    while (right - left).max(initial=0) > _CLOSE:
        points = np.linspace(left, right, _SECTIONS + 1, axis=1)
        own = signs(points)[which, rows]
        first = np.argmax(own[:, 1:] != own[:, :1], axis=1)
        left, right = points[rows, first], points[rows, first + 1]
    # where the argument is exactly zero on one side, that side is the better end
    better = np.where(signs(left)[which, rows] == 0, left, right) if len(which) else left
    return np.stack([left, right, better])


def _weigh_function(module: Activation) -> _Integrand:
    """f(z) phi(z) and f(z)^2 phi(z)."""

    def integrand(z: _Array) -> _Array:
        with torch.no_grad():
            y = module(torch.from_numpy(z).reshape(-1, 1)).numpy().reshape(z.shape)
        root = np.exp(-0.25 * z * z) / (2 * math.pi) ** 0.25  # of the density: y^2 may overflow
        return np.stack([y * root * root, (y * root) ** 2])

    return integrand


def _weigh_largest(count: int) -> _Integrand:
    """z p(z) and z^2 p(z) with the density of the largest of independent normal numbers, p = k phi Phi^(k - 1)."""

    def integrand(z: _Array) -> _Array:
        density = count * np.exp(-0.5 * z * z) / math.sqrt(2 * math.pi)
        density *= special.ndtr(z) ** (count - 1)
        return np.stack([z * density, z * z * density])

    return integrand


def _integrate(integrand: _Integrand, edges: _Array) -> _Array:
    """Integrals of both rows of the integrand over panels; one whose interpolation is wrong is halved."""
    left, right = edges[:-1], edges[1:]
    total, done, scale = np.zeros(2), np.zeros(2), np.zeros(2)
    for level in range(_LEVELS):
        fine, error = _integrate_panels(integrand, left, right)  # (2, panels)
        whole = done + np.abs(fine).sum(axis=1)
        if level == 0:
            scale = whole
            ends = fine[:, [0, -1]].sum(axis=1)
            infinite = (np.abs(fine[:, [0, -1]]) > _TOLERANCE * scale[:, None]).any(axis=1)
        # a peak may show late
        scale = np.where(np.isfinite(whole), np.maximum(scale, whole), scale)
        error[infinite | ~np.isfinite(scale)] = 0  # nothing to refine
        converged = ((error <= _TOLERANCE * scale[:, None]) | (error == 0)).all(axis=0)
        total += fine[:, converged].sum(axis=1)
        done += np.abs(fine[:, converged]).sum(axis=1)
        left, right = left[~converged], right[~converged]
        if not 0 < len(left) <= _PANELS / 2:
            break
        middle = (left + right) / 2
        left, right = np.concatenate([left, middle]), np.concatenate([middle, right])
    doubtful = ~(error[:, ~converged].sum(axis=1) <= _DOUBTFUL * scale)
    total += np.where(doubtful, np.nan, fine[:, ~converged].sum(axis=1))
    return np.where(infinite, ends * np.inf, total)


def _integrate_panels(integrand: _Integrand, left: _Array, right: _Array) -> tuple[_Array, _Array]:
    """Integral over each panel and how far it may be off, both of shape (2, panels).

    The Gauss-Legendre rule integrates the polynomial through its nodes. That polynomial is compared with the integrand
    halfway between the nodes and close to the ends, each difference counted over the gap in which it lies.
    """
    half = (right - left)[:, None] / 2
    values = integrand(left[:, None] + half * (1 + np.concatenate([_NODES, _BETWEEN])))
    at_nodes, between = values[..., : len(_NODES)], values[..., len(_NODES) :]
    off = np.abs(between - at_nodes @ _INTERPOLATION)
    return at_nodes @ _WEIGHTS * half[:, 0], off @ _GAPS * half[:, 0]


def gain(what: Any) -> float:
    """Weight gain that keeps the second moment at 1: ``1 / sqrt(E[f(z)^2])``, z ~ N(0, 1).

    sqrt(2) for ReLU, as in He et al. 2015 (arXiv:1502.01852, eq. 10).

    Args:
        what: as for :func:`actsearch.activation`, or a module made by it.

    Raises:
        ActivationError: if the second moment is zero or not finite.

    Example:
        >>> round(acs.gain("relu"), 6)
        1.414214
    """
    second = moments(what).second
    if not math.isfinite(second) or second <= 0:
        raise ActivationError(f"{describe(what).label} has no gain: E[f(z)^2] is {second}")
    return 1 / math.sqrt(second)
