"""Read-only tables and verdict arithmetic. No torch.

Optuna's view of the trials is in :mod:`actsearch.report.optuna_view`, to be imported where it is needed: it loads
Optuna, and the command line must start quickly.
"""

from actsearch.report.columns import COLUMNS, leaders, mirrors, sample
from actsearch.report.diagnostics import (
    diagnostics_frame,
    diagnostics_remarks,
    first_diagnostics,
    has_histogram,
    pooled_histogram,
    remarks,
)
from actsearch.report.learning_rate import RATE, ChosenRate, chosen_rate, rate_trainings
from actsearch.report.provenance import origin
from actsearch.report.pruning import Pruning, summarize_pruning
from actsearch.report.reader import Reader, StudySummary
from actsearch.report.shapes import (
    LearnedCurve,
    curve_trials,
    curves_of,
    family_of,
    names_table,
    pass_of,
    unexplained_of,
)
from actsearch.report.tables import (
    best_trial,
    curve_frame,
    leaderboard,
    metric_name,
    no_complete_trial,
    objective_names,
    pareto_front,
    rank_key,
    resolve_duplicates,
    trials_frame,
)
from actsearch.report.twins import Twins, find_twins
from actsearch.report.verdict import (
    INTERRUPTED,
    LOOKS,
    MIN_SEEDS,
    KeptWeights,
    Measured,
    PairedTest,
    Recipe,
    SharedRows,
    Verdict,
    VerdictRow,
    compute_verdict,
    count_comparisons,
    list_leaving,
    read_verdicts,
)

__all__ = [
    "MIN_SEEDS",
    "INTERRUPTED",
    "rate_trainings",
    "unexplained_of",
    "pass_of",
    "names_table",
    "family_of",
    "curve_trials",
    "curves_of",
    "LOOKS",
    "LearnedCurve",
    "COLUMNS",
    "ChosenRate",
    "RATE",
    "chosen_rate",
    "KeptWeights",
    "Measured",
    "PairedTest",
    "Pruning",
    "Reader",
    "Recipe",
    "SharedRows",
    "StudySummary",
    "Twins",
    "Verdict",
    "VerdictRow",
    "best_trial",
    "count_comparisons",
    "curve_frame",
    "diagnostics_frame",
    "first_diagnostics",
    "has_histogram",
    "compute_verdict",
    "leaderboard",
    "metric_name",
    "no_complete_trial",
    "leaders",
    "list_leaving",
    "resolve_duplicates",
    "mirrors",
    "objective_names",
    "origin",
    "pareto_front",
    "rank_key",
    "pooled_histogram",
    "summarize_pruning",
    "read_verdicts",
    "remarks",
    "diagnostics_remarks",
    "sample",
    "trials_frame",
    "find_twins",
]
