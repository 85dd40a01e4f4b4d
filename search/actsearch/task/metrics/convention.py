"""How a model's outputs and its targets are read as answers."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from actsearch.errors import TaskError

__all__ = [
    "PLAIN",
    "Convention",
    "align",
    "counted",
    "read_classes",
    "read_each",
    "reads_classes",
    "without_ignored",
    "without_ones",
]


@dataclass(frozen=True)
class Convention:
    """How outputs and targets are read; decided once for a task, see :mod:`actsearch.training.convention`.

    Attributes:
        target: "numbers" of classes, "scores" of classes (one-hot or soft), or "each" number an answer by itself (two
            classes, several labels); "" reads by shapes alone.
        axis: of the class scores in an output.
        scale: whether scores are "logits" (or logarithms of probabilities) or "probabilities".
        threshold: an output above it answers class 1, where each number is an answer.
        positive: a target above it is class 1.
        ignored: numbers of classes that do not count, as the loss leaves them out.
        data_range: largest minus smallest value that targets may have, for psnr.
    """

    target: Literal["", "numbers", "scores", "each"] = ""
    axis: int = 1
    scale: Literal["logits", "probabilities"] = "logits"
    threshold: float = 0.0
    positive: float = 0.5
    ignored: tuple[int, ...] = ()
    data_range: float = 1.0


PLAIN = Convention()
"""By shapes alone: class scores on axis 1, or logits."""


def reads_classes(output: Tensor, target: Tensor, convention: Convention) -> bool:
    """Whether an output holds a score for each class, and not each number an answer."""
    if convention.target:
        return convention.target != "each"
    return output.dim() == target.dim() + 1 and output.shape[1] > 1


def read_classes(output: Tensor, target: Tensor, convention: Convention) -> tuple[Tensor, Tensor]:
    """Scores and numbers of classes, without what does not count.

    Args:
        output: a score for each class on the convention's axis.
        target: numbers of classes, ``output``'s shape without that axis; or scores, its shape.
        convention: how they are read.

    Returns:
        Scores ``(answers, classes)`` and numbers ``(answers,)``.

    Raises:
        TaskError: shapes that do not fit.
    """
    scores = output.movedim(convention.axis, -1)
    if convention.target == "scores":
        align(output, target)
        target = target.movedim(convention.axis, -1).argmax(-1)
    shape = scores.shape[:-1]
    is_flat = len(shape) == 1 and target.numel() == shape[0]
    if not is_flat and without_ones(target.shape) != without_ones(shape):
        raise TaskError(
            "accuracy takes scores (batch, classes, ...) and targets (batch, ...), or scores on the last axis, not "
            f"{tuple(output.shape)} and {tuple(target.shape)}"
        )
    scores, labels = scores.reshape(-1, scores.shape[-1]), target.reshape(-1)
    for ignored in convention.ignored:
        kept = labels != ignored
        if not bool(kept.all()):
            scores, labels = scores[kept], labels[kept]
    return scores, labels


def without_ignored(convention: Convention) -> Convention:
    """The same, with every label counted."""
    return dataclasses.replace(convention, ignored=())


def counted(output: Tensor, target: Tensor, convention: Convention) -> Tensor:
    """Which answers count, true or false for each; those of ``read_each`` all do."""
    if not reads_classes(output, target, convention):
        return torch.ones_like(target, dtype=torch.bool)
    _, labels = read_classes(output, target, without_ignored(convention))
    counts = torch.ones_like(labels, dtype=torch.bool)
    for ignored in convention.ignored:
        counts = counts & (labels != ignored)
    return counts


def read_each(output: Tensor, target: Tensor, convention: Convention) -> tuple[Tensor, Tensor]:
    """Scores and answers of one shape, where each number is an answer by itself; answers are true or false.

    Raises:
        TaskError: shapes that do not fit.
    """
    if convention.target and without_ones(output.shape) == without_ones(target.shape):
        output = output.reshape(target.shape)
    output, target = align(output, target)
    return output, target > convention.positive


def align(output: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
    """An output ``(..., 1)`` as its target ``(...)`` is shaped.

    Raises:
        TaskError: shapes that do not fit; nothing is broadcast.
    """
    if output.dim() == target.dim() + 1 and output.shape[-1] == 1:
        output = output.squeeze(-1)
    if output.shape != target.shape:
        raise TaskError(
            f"output of shape {tuple(output.shape)} and target of shape {tuple(target.shape)} "
            "do not fit the metric; give them one shape, or metric= as a function of (outputs, targets)"
        )
    return output, target


def class_axes(output: Tensor, target: Tensor) -> list[int]:
    """Axes, the second or the last, on which an output may hold a score for each class of numbers of classes."""
    axes = dict.fromkeys((1, output.dim() - 1)) if output.dim() > 1 else {}
    return [axis for axis in axes if output.shape[axis] > 1 and _fits(output, target, axis)]


def _fits(output: Tensor, target: Tensor, axis: int) -> bool:
    shape = [size for place, size in enumerate(output.shape) if place != axis]
    is_flat = len(shape) == 1 and target.numel() == shape[0]
    return is_flat or without_ones(shape) == without_ones(target.shape)


def without_ones(shape: Sequence[int]) -> list[int]:
    """A shape without its axes of length 1."""
    return [size for size in shape if size != 1]
