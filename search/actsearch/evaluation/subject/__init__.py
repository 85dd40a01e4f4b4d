"""What a study optimises, as the rest of the engine sees it: a Task, or a function of the user's own."""

from actsearch.evaluation.subject.base import Objective, Subject
from actsearch.evaluation.subject.choose import make_subject

__all__ = ["Objective", "Subject", "make_subject"]
