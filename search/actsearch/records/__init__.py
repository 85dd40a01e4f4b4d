"""What is written down about a search: frozen data, no torch."""

from actsearch.records.candidate import (
    BASELINE,
    CURVE_POINTS,
    CURVES,
    LEARNED_NUMBERS,
    SHAPE,
    SHARED,
    TRAININGS,
    UNEXPLAINED,
    ActivationRecord,
    CandidateRecord,
    Curve,
)
from actsearch.records.diagnostics import HISTOGRAM_EDGES, Diagnostics, SiteDiagnostics
from actsearch.records.training_settings import OPTIMIZERS, TrainingSettings
from actsearch.records.trial import (
    EpochRecord,
    EvaluationRecord,
    Outcome,
    RunGoal,
    Score,
    StudyRecord,
    TrialRecord,
    TrialState,
)

__all__ = [
    "BASELINE",
    "CURVES",
    "CURVE_POINTS",
    "HISTOGRAM_EDGES",
    "LEARNED_NUMBERS",
    "OPTIMIZERS",
    "SHAPE",
    "SHARED",
    "ActivationRecord",
    "RunGoal",
    "CandidateRecord",
    "Curve",
    "Diagnostics",
    "EpochRecord",
    "EvaluationRecord",
    "Outcome",
    "Score",
    "TRAININGS",
    "UNEXPLAINED",
    "SiteDiagnostics",
    "StudyRecord",
    "TrainingSettings",
    "TrialRecord",
    "TrialState",
]
