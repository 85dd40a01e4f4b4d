"""Candidate x objective x seeds -> outcome."""

from actsearch.evaluation.candidate import Candidate
from actsearch.evaluation.objectives import Objectives
from actsearch.evaluation.pruner import Pruner
from actsearch.evaluation.request import LARGEST_STACK, Outcomes, Request
from actsearch.evaluation.run import Run, TrialPruned
from actsearch.evaluation.subject import Objective, Subject, make_subject
from actsearch.evaluation.timing import Cost, cost

__all__ = [
    "LARGEST_STACK",
    "Candidate",
    "Cost",
    "Objective",
    "Objectives",
    "Outcomes",
    "Pruner",
    "Request",
    "Run",
    "Subject",
    "TrialPruned",
    "cost",
    "make_subject",
]
