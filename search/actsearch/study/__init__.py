"""The public object: search, resume, confirm."""

from actsearch.study.answer import FindResult, find
from actsearch.study.create import create_study, delete_study, load_study
from actsearch.study.study import Study
from actsearch.study.trainings import VerdictTraining
from actsearch.study.trial import Trial

__all__ = [
    "FindResult",
    "Study",
    "Trial",
    "VerdictTraining",
    "create_study",
    "delete_study",
    "find",
    "load_study",
]
