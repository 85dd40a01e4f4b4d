"""How shapes are learned."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["ShapeRecipe"]


@dataclass(frozen=True)
class ShapeRecipe:
    """One set of numbers for all problems.

    Attributes:
        copies: of the model in a pass, under different seeds.
        length: of a pass, in steps of a training of the task as it is.
        held: share of the training data that a copy's weights do not see; each copy holds back another part.
        warm: share of a pass in which the curve stays as it begins, and its inputs are measured.
        points: of the curve's grid.
        coefficients: of the cubic B-spline that learns.
        reach: the grid goes so many standard deviations of the inputs to both sides of their mean (PWLU, Zhou et al.
            2021, arXiv:2104.03693).
        path: rate of the curve's Adam times the curve's steps in all passes, in standard deviations of the curve.
        betas: of that Adam.
        hold: share of the curve's steps at full rate; then it falls to 0 as half a cosine.
        penalty: on the total change of slope, against the logarithm of the loss.
        ramp: its weight grows as the progress to this power.
        smooth: of the running mean of each copy's loss.
    """

    copies: int = 2
    length: float = 0.5
    held: float = 0.5
    warm: float = 0.1
    points: int = 65
    coefficients: int = 31
    reach: float = 3.0
    path: float = 16.0
    betas: tuple[float, float] = (0.5, 0.99)
    hold: float = 0.5
    penalty: float = 0.05
    ramp: float = 2.0
    smooth: float = 0.9
