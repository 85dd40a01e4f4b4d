"""Read-only tables and verdict arithmetic. No torch.

Optuna's view of the trials is in :mod:`actsearch.report.optuna_view`, to be imported where it is needed: it loads
Optuna, and the command line shall start at once.
"""

from actsearch.report.columns import COLUMNS, columns_of, leaders, mirrors, same_values, sample
from actsearch.report.insight import diagnostics_frame, diagnostics_of, pooled_histogram, remarks
from actsearch.report.origin import origin
from actsearch.report.pruning import Pruning, pruning_of
from actsearch.report.reader import Reader, StudySummary
from actsearch.report.tables import (
    best_trial,
    escape_csv_formula,
    leaderboard,
    objective_names,
    pareto_front,
    rank_key,
    resolve_duplicates,
    state_counts,
    trials_frame,
)
from actsearch.report.twins import Twins, twins_of
from actsearch.report.verdict import (
    KeptWeights,
    Measured,
    SharedRows,
    Verdict,
    VerdictRow,
    comparisons_of,
    judge,
    readable,
    shrunken_means,
)

__all__ = [
    "COLUMNS",
    "KeptWeights",
    "Measured",
    "Pruning",
    "Reader",
    "SharedRows",
    "StudySummary",
    "Twins",
    "Verdict",
    "VerdictRow",
    "best_trial",
    "columns_of",
    "comparisons_of",
    "diagnostics_frame",
    "diagnostics_of",
    "escape_csv_formula",
    "judge",
    "leaderboard",
    "leaders",
    "resolve_duplicates",
    "mirrors",
    "objective_names",
    "origin",
    "pareto_front",
    "rank_key",
    "pooled_histogram",
    "pruning_of",
    "readable",
    "remarks",
    "same_values",
    "sample",
    "shrunken_means",
    "state_counts",
    "trials_frame",
    "twins_of",
]
