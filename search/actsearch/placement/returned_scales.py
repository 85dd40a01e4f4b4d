"""Activations that make a scale, as the deviation of a variational autoencoder: part of what a model returns."""

from __future__ import annotations

from collections.abc import Iterable

from actsearch.placement.dataflow import Dataflow, Step, Value, reach
from actsearch.placement.elementwise import curve_of
from actsearch.placement.known_activations import MULTIPLYING, PASSING, SHIFTING, make_grid

__all__ = ["is_returned_scale"]

# what is defined for positive numbers alone
_OF_POSITIVE = frozenset("log log2 log10 sqrt rsqrt reciprocal xlogy gaussian_nll_loss".split())
_SCALING = MULTIPLYING | frozenset("div addcmul addcdiv".split())


def is_returned_scale(flow: Dataflow, ends: Iterable[Value], reached: set[Value]) -> bool:
    """Whether an activation gives a scale that the model returns, or that its loss is computed from.

    On one way it reaches a result with no layer between, and layers only after it has multiplied something else, as
    random numbers. Besides, it is positive everywhere, or a logarithm is taken of it: another function in its place
    would make no scale. What a layer takes as it is, and the model returns besides, is a hidden feature.

    Args:
        flow: what ran.
        ends: what the activation gives, every time that it runs.
        reached: what that reaches without a layer between.
    """
    if reached.isdisjoint(flow.results):
        return False
    near = reach(ends, _keeps)
    uses = [use for value in near for use in value.uses]
    if any(use.is_layer for use in uses) or not any(_scales(use) for use in uses):
        return False
    if all(_is_positive(end.made_by) for end in ends):
        return True
    needing = [use for use in uses if use.name in _OF_POSITIVE]
    returned = reach(result for use in needing for result in use.results)
    return not returned.isdisjoint(flow.results)


def _keeps(step: Step) -> bool:
    """Whether a step only changes the shape, or shifts or scales by numbers and weights."""
    alone = len(step.operands) == 1 and step.name in (MULTIPLYING | SHIFTING)
    return alone or step.name in (*PASSING, "broadcast_tensors")


def _scales(step: Step) -> bool:
    return step.name in _SCALING and len(step.operands) > 1


def _is_positive(step: Step | None) -> bool:
    """Whether a function of one tensor gives positive numbers alone."""
    if step is None or len(step.operands) != 1:
        return False
    curve = curve_of(step, {step.operands[0]: make_grid()})
    return curve is not None and curve.is_floating_point() and bool((curve > 0).all())
