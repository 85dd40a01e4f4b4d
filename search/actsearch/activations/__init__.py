"""Formulas and catalog rows as torch modules, and what can be computed from a function alone."""

from actsearch.activations.build import (
    activation,
    build_expression,
    candidate_record,
    count_pieces,
    describe,
    make_lean,
)
from actsearch.activations.function import build_at_start, curve, sample, value_and_gradient
from actsearch.activations.gaussian_moments import gain, moments
from actsearch.activations.hinge_sum import HingeSum, approximate
from actsearch.activations.module import Activation, FormulaActivation, reseed_random_activations
from actsearch.activations.primitives import bind

__all__ = [
    "Activation",
    "FormulaActivation",
    "HingeSum",
    "activation",
    "approximate",
    "build_at_start",
    "bind",
    "candidate_record",
    "curve",
    "describe",
    "build_expression",
    "gain",
    "make_lean",
    "moments",
    "count_pieces",
    "reseed_random_activations",
    "sample",
    "value_and_gradient",
]
