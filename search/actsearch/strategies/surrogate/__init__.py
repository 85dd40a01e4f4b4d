"""Which functions are worth a training: a Gaussian process over functions, with what other tasks say as its prior."""

from actsearch.strategies.surrogate.choice import (
    describe_pending,
    fit_process,
    has_parameters,
)
from actsearch.strategies.surrogate.curves import compute_curve, compute_curves
from actsearch.strategies.surrogate.earlier import weigh_earlier
from actsearch.strategies.surrogate.kernel import Features, describe_curves, join_features
from actsearch.strategies.surrogate.prior import Elsewhere, Prior, benchmark_prior
from actsearch.strategies.surrogate.process import Process
from actsearch.strategies.surrogate.small import SmallFormulas, small_features, small_formulas

__all__ = [
    "Elsewhere",
    "Features",
    "Prior",
    "Process",
    "SmallFormulas",
    "benchmark_prior",
    "compute_curve",
    "compute_curves",
    "describe_curves",
    "describe_pending",
    "fit_process",
    "has_parameters",
    "join_features",
    "small_features",
    "small_formulas",
    "weigh_earlier",
]
