"""Verdicts: the arithmetic, and what is said of it."""

from actsearch.report.verdict.judge import Measured, comparisons_of, judge, shrunken_means
from actsearch.report.verdict.rows import MIN_SEEDS, Verdict, VerdictRow, readable
from actsearch.report.verdict.shared import SharedRows
from actsearch.report.verdict.weights import KeptWeights

__all__ = [
    "MIN_SEEDS",
    "KeptWeights",
    "Measured",
    "SharedRows",
    "Verdict",
    "VerdictRow",
    "comparisons_of",
    "judge",
    "readable",
    "shrunken_means",
]
