"""Metrics of classification that scikit-learn computes: the only module that imports it."""

from __future__ import annotations

import importlib.util
import math
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor

from actsearch.devices import as_double
from actsearch.errors import TaskError
from actsearch.task.metrics.convention import (
    Convention,
    read_classes,
    read_each,
    reads_classes,
)

__all__ = ["LibraryMetric", "auc", "balanced_accuracy", "check_installed", "f1"]


def check_installed(name: str) -> None:
    """Say what to install for a metric.

    Raises:
        TaskError: scikit-learn is not there.
    """
    if importlib.util.find_spec("sklearn") is None:
        raise TaskError(
            f'metric {name!r} is computed by scikit-learn: pip install "actsearch[metrics]"'
        )


class LibraryMetric:
    """Collects scores and labels, and asks scikit-learn for a metric of all of them.

    Scores are ``(answers,)`` for two classes, with the labels 0 and 1; else ``(answers, columns)``, with numbers of
    classes ``(answers,)``, or with labels of each column ``(answers, columns)``.
    """

    def __init__(
        self, compute: Callable[[Tensor, Tensor, Convention], float], convention: Convention
    ) -> None:
        self._compute = compute
        self._convention = convention
        self._scores: list[Tensor] = []
        self._labels: list[Tensor] = []

    def update(self, output: Tensor, target: Tensor) -> None:
        """Take one batch."""
        if reads_classes(output, target, self._convention):
            scores, labels = read_classes(output, target, self._convention)
            labels = labels.long()
        else:
            scores, labels = read_each(output, target, self._convention)
            is_one = scores.dim() != 2 or scores.shape[1] == 1  # else a column for each label
            scores, labels = (
                (scores.reshape(-1), labels.reshape(-1)) if is_one else (scores, labels)
            )
        self._scores.append(as_double(scores.detach()))
        self._labels.append(labels)

    def result(self) -> float:
        """The metric so far; NaN before the first batch."""
        if not self._scores:
            return math.nan
        # read once from a GPU
        scores, labels = torch.cat(self._scores).cpu().double(), torch.cat(self._labels).cpu()
        if not bool(scores.isfinite().all()):
            return math.nan
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of classes without a label, which is seen to here
            return self._compute(scores, labels, self._convention)


def _answers(scores: Tensor, labels: Tensor, convention: Convention) -> Tensor:
    return scores.argmax(1) if scores.dim() > labels.dim() else scores > convention.threshold


def f1(scores: Tensor, labels: Tensor, convention: Convention) -> float:
    """Of class 1 where there are two; else the mean over classes or labels."""
    from sklearn.metrics import f1_score

    is_macro = labels.dim() == 2 or (scores.dim() == 2 and scores.shape[1] > 2)
    answers = _answers(scores, labels, convention)
    average = "macro" if is_macro else "binary"
    return float(f1_score(labels.numpy(), answers.numpy(), average=average, zero_division=0))


def balanced_accuracy(scores: Tensor, labels: Tensor, convention: Convention) -> float:
    """Mean over the classes of the share that was found; with several labels, the mean over these."""
    from sklearn.metrics import balanced_accuracy_score

    answers = _answers(scores, labels, convention)
    columns = [(labels, answers)] if labels.dim() == 1 else zip(labels.T, answers.T, strict=True)
    return float(np.mean([balanced_accuracy_score(a.numpy(), b.numpy()) for a, b in columns]))


def auc(scores: Tensor, labels: Tensor, convention: Convention) -> float:
    """Area under the ROC curve; with several classes, the mean of each against the others; NaN where one is missing."""
    from sklearn.metrics import roc_auc_score

    if scores.dim() == 2 and labels.dim() == 1:
        scores = _probabilities(scores, convention)
        if scores.shape[1] == 2:
            scores = scores[:, 1]
    truth: Any = labels.numpy()
    if scores.dim() == 2 and labels.dim() == 1:
        truth = truth[:, None] == np.arange(scores.shape[1])
    both = truth.reshape(len(truth), -1)
    if (both.all(0) | (~both.astype(bool)).all(0)).any():
        return math.nan
    return float(roc_auc_score(truth, scores.numpy(), average="macro"))


def _probabilities(scores: Tensor, convention: Convention) -> Tensor:
    return scores if convention.scale == "probabilities" else scores.softmax(1)
