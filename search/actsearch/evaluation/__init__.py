"""Candidate x objective x seeds -> outcome."""

from actsearch.evaluation.candidate import Candidate
from actsearch.evaluation.cost import Cost, cost
from actsearch.evaluation.evaluate import evaluate
from actsearch.evaluation.evaluator import Evaluator, Request
from actsearch.evaluation.objectives import Objectives
from actsearch.evaluation.run import Run, TrialPruned

__all__ = [
    "Candidate",
    "Cost",
    "Evaluator",
    "Objectives",
    "Request",
    "Run",
    "TrialPruned",
    "cost",
    "evaluate",
]
