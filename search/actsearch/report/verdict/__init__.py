"""Verdicts: the arithmetic, and what is said of it."""

from actsearch.report.verdict.caveats import KeptWeights, SharedRows
from actsearch.report.verdict.compute import (
    Measured,
    compute_verdict,
    count_comparisons,
    shrunken_means,
)
from actsearch.report.verdict.read import read_verdicts
from actsearch.report.verdict.recipe import Recipe
from actsearch.report.verdict.rows import Verdict, VerdictRow

__all__ = [
    "KeptWeights",
    "Measured",
    "Recipe",
    "SharedRows",
    "Verdict",
    "VerdictRow",
    "count_comparisons",
    "compute_verdict",
    "read_verdicts",
    "shrunken_means",
]
