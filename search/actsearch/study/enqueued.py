"""What a user has tried next."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import nn

from actsearch.activations import Activation
from actsearch.errors import ActivationError, StudyError
from actsearch.evaluation import Candidate
from actsearch.records import BASELINE, CandidateRecord, StudyRecord
from actsearch.study.baseline import ATTRIBUTE, UNCHANGED
from actsearch.task.objectives import MEASURED

__all__ = ["make_enqueued"]


def make_enqueued(
    candidate: Any, hyperparameters: Mapping[str, Any], study: StudyRecord
) -> CandidateRecord:
    """An activation, several by site, or the model unchanged, as ``study.enqueue_trial`` takes them.

    Raises:
        FormulaError, ActivationError: it is not a valid activation.
        StudyError: the model unchanged with settings, or in a study of what is measured on activations.
    """
    if candidate is None or candidate == BASELINE:
        if hyperparameters:
            raise StudyError(
                f"the model unchanged takes no {', '.join(hyperparameters)}: enqueue 'baseline' alone"
            )
        if measured := [name for name in study.objectives if name in MEASURED]:
            raise StudyError(
                f"the model unchanged has no {' and '.join(measured)}, which are measured on what is placed: "
                "enqueue an activation, such as the one that your model has"
            )
        name = study.user_attrs.get(ATTRIBUTE)
        return CandidateRecord.baseline(name if isinstance(name, str) else UNCHANGED)
    if isinstance(candidate, nn.Module) and not isinstance(candidate, Activation):
        raise ActivationError(
            f"a module ({type(candidate).__name__}) cannot be enqueued: give a name of the catalog or a formula, "
            "or 'baseline' for the model that the Task has"
        )
    record = Candidate.of(candidate, **hyperparameters).record
    return CandidateRecord(record.activations, "user")
