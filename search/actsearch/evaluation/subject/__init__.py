"""What a study optimises, as the rest of the engine sees it: a Task, or a function of the user's own."""

from actsearch.evaluation.subject.base import Objective, Subject
from actsearch.evaluation.subject.choose import subject_of

__all__ = ["Objective", "Subject", "subject_of"]
