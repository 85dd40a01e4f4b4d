"""One training whose model is kept."""

from __future__ import annotations

from torch import nn

from actsearch.errors import TaskError
from actsearch.evaluation.candidate import Candidate
from actsearch.evaluation.task_analysis import TaskAnalysis
from actsearch.records import CandidateRecord
from actsearch.task import Task
from actsearch.training import fit

__all__ = ["build_model", "train_model"]


def build_model(task: Task, record: CandidateRecord, seed: int) -> nn.Module:
    """The task's model with a candidate's activations in it, as a training under a seed begins with it."""
    return TaskAnalysis(task).place(Candidate(record), seed).model


def train_model(task: Task, record: CandidateRecord, seed: int, lr: float | None) -> nn.Module:
    """Train a candidate as a trial does, and return the model, on the task's device and ready for inference.

    Args:
        task: model, data and budget; its test data are not touched.
        record: the candidate.
        seed: of the training.
        lr: learning rate; None for the task's own.

    Raises:
        TaskError: the training did not reach its end; says where it stopped.
    """
    analysis = TaskAnalysis(task)
    with analysis.threads():
        model = analysis.place(Candidate(record), seed).model
        result = fit(task, model, seed, lr=lr)
    if result.stopped:
        raise TaskError(
            f"the training of {record.label or 'the model unchanged'} stopped: {result.stopped}"
        )
    return model.eval()
