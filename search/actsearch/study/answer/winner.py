"""The winner of a verdict as a trained model."""

from __future__ import annotations

import logging
from pathlib import Path

from torch import nn

from actsearch.errors import TaskError
from actsearch.evaluation.trained_model import build_model, train_model
from actsearch.report import Verdict
from actsearch.seeds import seed_list
from actsearch.study.answer.weights import load_weights, save_weights, weights_path
from actsearch.study.study import Study
from actsearch.study.turn import only_one
from actsearch.task import Task

__all__ = ["train_winner"]

_log = logging.getLogger("actsearch")


def train_winner(
    study: Study, task: Task, verdict: Verdict, most_mb: float
) -> tuple[nn.Module | None, Path | None]:
    """Read its weights from the file beside the database, or train it and write them there.

    Args:
        study: of the verdict.
        task: what is trained.
        verdict: with the winner, and the learning rate that suits it.
        most_mb: larger weights are not written.

    Returns:
        The model, None where its training stopped; the file, None where there is none.
    """
    record, lr = verdict.candidate, verdict.winner.learning_rate
    seed = seed_list(study.record.seed, "weights", 1)[0]
    made_of = {
        "study": study.study_name,
        "activation": verdict.winner.label,
        "formulas": {key: item.to_json() for key, item in record.activations.items()},
        "lr": lr,
        "seed": seed,
        "task": study.record.task,
    }
    database = study.storage.database.path
    path = None if database is None else weights_path(database, study.study_name)
    if path is not None and path.is_file():
        model = build_model(task, record, seed)
        if load_weights(model, path, made_of):
            return model.to(task.torch_device()).eval(), path
    try:
        with only_one(study.study_name, "confirm"):
            model = train_model(task, record, seed, lr)
    except TaskError as error:
        _log.warning("study %s: %s", study.study_name, error)
        return None, None
    is_written = path is not None and save_weights(model, path, made_of, most_mb)
    return model, path if is_written else None
