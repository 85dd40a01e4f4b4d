"""Verdicts: the arithmetic, and what is said of it."""

from actsearch.report.verdict.caveats import KeptWeights, SharedRows
from actsearch.report.verdict.compute import Measured, compute_verdict, count_comparisons
from actsearch.report.verdict.leaving import list_leaving
from actsearch.report.verdict.looks import LOOKS, MIN_SEEDS
from actsearch.report.verdict.paired import Paired, PairedTest, Scores, count_groups, pair
from actsearch.report.verdict.read import read_verdicts
from actsearch.report.verdict.recipe import Recipe
from actsearch.report.verdict.rows import Verdict, VerdictRow
from actsearch.report.verdict.words import INTERRUPTED, STOPPED

__all__ = [
    "INTERRUPTED",
    "STOPPED",
    "LOOKS",
    "MIN_SEEDS",
    "KeptWeights",
    "Measured",
    "Paired",
    "PairedTest",
    "Scores",
    "count_groups",
    "pair",
    "Recipe",
    "SharedRows",
    "Verdict",
    "VerdictRow",
    "count_comparisons",
    "compute_verdict",
    "list_leaving",
    "read_verdicts",
]
