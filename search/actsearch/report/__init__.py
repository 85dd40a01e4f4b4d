"""Read-only tables, verdict arithmetic, and Optuna's view of the trials. No torch."""

from actsearch.report.optuna_view import export_to_optuna, optuna_study
from actsearch.report.reader import Reader, StudySummary
from actsearch.report.tables import (
    best_trial,
    leaderboard,
    resolve_duplicates,
    state_counts,
    trials_frame,
)
from actsearch.report.verdict import Measured, Verdict, VerdictRow, judge, shrunken_means

__all__ = [
    "Measured",
    "Reader",
    "StudySummary",
    "Verdict",
    "VerdictRow",
    "best_trial",
    "disarmed",
    "export_to_optuna",
    "judge",
    "leaderboard",
    "optuna_study",
    "resolve_duplicates",
    "shrunken_means",
    "state_counts",
    "trials_frame",
]
