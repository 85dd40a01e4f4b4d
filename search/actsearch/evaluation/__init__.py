"""Candidate x objective x seeds -> outcome."""

from actsearch.evaluation.candidate import Candidate
from actsearch.evaluation.evaluate import evaluate
from actsearch.evaluation.evaluator import Evaluator, Request
from actsearch.evaluation.run import Run, TrialPruned

__all__ = ["Candidate", "Evaluator", "Request", "Run", "TrialPruned", "evaluate"]
