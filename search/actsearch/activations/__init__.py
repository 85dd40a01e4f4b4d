"""Formulas and catalog rows as torch modules, and what can be computed from a function alone."""

from actsearch.activations.build import activation, describe, expression_of, pieces_of
from actsearch.activations.function import at_start, curve, sample, value_and_gradient
from actsearch.activations.gaussian_moments import Moments, gain, moments
from actsearch.activations.hinge_sum import HingeSum, approximate
from actsearch.activations.module import Activation, FormulaActivation, reseed_random_activations
from actsearch.activations.primitives import bind

__all__ = [
    "Activation",
    "FormulaActivation",
    "HingeSum",
    "Moments",
    "activation",
    "approximate",
    "at_start",
    "bind",
    "curve",
    "describe",
    "expression_of",
    "gain",
    "moments",
    "pieces_of",
    "reseed_random_activations",
    "sample",
    "value_and_gradient",
]
