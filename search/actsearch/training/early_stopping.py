"""The best evaluation of a training: its weights, its measures, and whether a better one is still waited for."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import torch
from torch import Tensor, nn

from actsearch.task import Task
from actsearch.training.measures import Measures

__all__ = ["EarlyStopping"]


class EarlyStopping:
    """Keeps the best weights of a model in training, by the metric on validation data.

    Attributes:
        best: measures of the best evaluation; None before the first.
    """

    def __init__(self, task: Task, model: nn.Module) -> None:
        assert task.patience is not None
        self.best: Measures | None = None
        self._patience = task.patience
        self._sign = 1.0 if task.resolved_metric.direction == "maximize" else -1.0
        self._model = model
        self._waited = 0
        self._weights: list[Tensor] = []

    def take(self, measures: Measures) -> bool:
        """Take one more evaluation; whether the training is to end with it."""
        assert measures.value is not None
        if self.best is None or self._sign * measures.value > self._sign * self.best_value:
            self.best, self._waited = measures, 0
            self._weights = [item.detach().clone() for item in self._tensors()]
        else:
            self._waited += 1
        return self._waited >= self._patience

    @property
    def best_value(self) -> float:
        """The metric at the best evaluation."""
        assert self.best is not None
        assert self.best.value is not None
        return self.best.value

    @torch.no_grad()
    def restore(self) -> None:
        """Give the model the weights of the best evaluation."""
        for item, kept in zip(self._tensors(), self._weights, strict=True):
            item.copy_(kept)

    def _tensors(self) -> Iterator[Tensor]:
        return itertools.chain(self._model.parameters(), self._model.buffers())
