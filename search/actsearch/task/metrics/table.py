"""Metrics by name, and those that a user gives as functions."""

from __future__ import annotations

import functools
import math
import re
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

from torch import Tensor

from actsearch.checks import nearest, short_repr
from actsearch.errors import TaskError
from actsearch.task.metrics import library
from actsearch.task.metrics.accumulators import R2, Collected, Correlation, Likelihood, Mean
from actsearch.task.metrics.convention import (
    PLAIN,
    Convention,
    align,
    counted,
    read_classes,
    read_each,
    reads_classes,
    without_ignored,
)
from actsearch.task.metrics.metric import Accumulator, Direction, Metric

__all__ = ["METRICS", "is_known_metric", "named_metric", "resolve_metric"]

_LARGEST_LOG = 700.0  # above, exp is no number of double precision


def _hits(convention: Convention, output: Tensor, target: Tensor) -> Tensor:
    """Right answers as 0 and 1: the class with the largest score, or each number against the threshold."""
    if reads_classes(output, target, convention):
        scores, labels = read_classes(output, target, convention)
        return scores.argmax(-1) == labels
    scores, labels = read_each(output, target, convention)
    return (scores > convention.threshold) == labels


def _top_hits(k: int, convention: Convention, output: Tensor, target: Tensor) -> Tensor:
    """Whether the right class is among the k largest scores, as 0 and 1."""
    if not reads_classes(output, target, convention):
        raise TaskError(
            f"top{k}_accuracy is of scores of classes, not of an output {tuple(output.shape)} for targets "
            f"{tuple(target.shape)}"
        )
    scores, labels = read_classes(output, target, convention)
    if k > 1 and k >= scores.shape[1]:
        raise TaskError(
            f"top{k}_accuracy of {scores.shape[1]} classes is always 1: take a smaller number"
        )
    return (scores.topk(k, -1).indices == labels.unsqueeze(-1)).any(-1)


def _squared_error(convention: Convention, output: Tensor, target: Tensor) -> Tensor:
    output, target = align(output, target)
    return (output - target).square()


def _absolute_error(convention: Convention, output: Tensor, target: Tensor) -> Tensor:
    output, target = align(output, target)
    return (output - target).abs()


def _right_answers(
    hits: Callable[[Convention, Tensor, Tensor], Tensor],
) -> Callable[..., Accumulator]:
    """A share of right answers, of those that count."""

    def make(convention: Convention = PLAIN) -> Accumulator:
        score, of_all = (
            functools.partial(hits, item) for item in (convention, without_ignored(convention))
        )

        def weigh(output: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
            scores = of_all(output, target)
            return scores, counted(output, target, convention).reshape(scores.shape)

        return Mean(score, weigh=weigh if convention.ignored else None)

    return make


def _mean(
    score: Callable[[Convention, Tensor, Tensor], Tensor],
    finish: Callable[[float], float] | None = None,
) -> Callable[..., Accumulator]:
    more = () if finish is None else (finish,)
    return lambda convention=PLAIN: Mean(functools.partial(score, convention), *more)


def _psnr(convention: Convention = PLAIN) -> Accumulator:
    """Peak signal-to-noise ratio in dB, 10 log10(range^2 / mean squared error) over all numbers."""
    peak = convention.data_range**2

    def in_decibels(mse: float) -> float:
        return 10 * math.log10(peak / mse) if mse > 0 else math.inf

    return Mean(functools.partial(_squared_error, convention), in_decibels)


def _exp(nats: float) -> float:
    return math.exp(nats) if nats < _LARGEST_LOG else math.inf


def _bits(nats: float) -> float:
    return nats / math.log(2)


def _likelihood(finish: Callable[[float], float]) -> Callable[..., Accumulator]:
    return lambda convention=PLAIN: Likelihood(finish, convention)


def _of_library(
    compute: Callable[[Tensor, Tensor, Convention], float],
) -> Callable[..., Accumulator]:
    return lambda convention=PLAIN: library.LibraryMetric(compute, convention)


def _top(k: int) -> Metric:
    make = _right_answers(functools.partial(_top_hits, k))
    return Metric(f"top{k}_accuracy", "maximize", make, reads="scores")


_ROWS = (
    Metric("accuracy", "maximize", _right_answers(_hits), reads="classes"),
    Metric("loss", "minimize", None),
    Metric("mse", "minimize", _mean(_squared_error), reads="numbers"),
    Metric("rmse", "minimize", _mean(_squared_error, math.sqrt), reads="numbers"),
    Metric("mae", "minimize", _mean(_absolute_error), reads="numbers"),
    Metric("r2", "maximize", R2, reads="numbers"),
    Metric("pearson", "maximize", Correlation, for_training=False, reads="numbers"),
    Metric("psnr", "maximize", _psnr, reads="numbers"),
    _top(5),
    Metric("f1", "maximize", _of_library(library.f1), for_training=False, reads="classes"),
    Metric("auc", "maximize", _of_library(library.auc), for_training=False, reads="classes"),
    Metric(
        "balanced_accuracy", "maximize", _of_library(library.balanced_accuracy),
        for_training=False, reads="classes",
    ),
    Metric("perplexity", "minimize", _likelihood(_exp), reads="scores", of_loss=_exp),
    Metric("bits_per_character", "minimize", _likelihood(_bits), reads="scores", of_loss=_bits),
)  # fmt: skip

METRICS: Mapping[str, Metric] = MappingProxyType({metric.name: metric for metric in _ROWS})
"""Metrics by name; besides, ``top3_accuracy`` and so on for every number."""

_LIBRARY = ("auc", "balanced_accuracy", "f1")


def is_known_metric(name: str) -> bool:
    """Whether a name is one of :data:`METRICS`, or of the accuracies among so many classes."""
    return name in METRICS or _top_number(name) is not None


def _top_number(name: str) -> int | None:
    found = re.fullmatch(r"top_?([1-9]\d{0,5})(?:_accuracy)?", name)
    return int(found[1]) if found else None


def named_metric(name: str) -> Metric:
    """A metric by its name.

    Raises:
        TaskError: unknown, or it needs a library that is not there.
    """
    if (k := _top_number(name)) is not None:
        return _top(k)
    if name in ("topk", "top_k", "top_k_accuracy", "topk_accuracy"):
        raise TaskError(f"metric {name!r} does not say how many: top5_accuracy, say")
    if name not in METRICS:
        raise TaskError(
            f"unknown metric {short_repr(name)}{nearest(name, METRICS)} "
            f"(known: {', '.join(METRICS)}); or give a function (outputs, targets) -> float"
        )
    if name in _LIBRARY:
        library.check_installed(name)
    return METRICS[name]


def resolve_metric(metric: Any, has_evaluate: bool) -> Metric:
    """The metric a task names.

    Args:
        metric: a name of :data:`METRICS`; a callable ``(outputs, targets) -> float``, whose direction is taken
            from its ``higher_is_better`` if it has that (as torchmetrics does), or from its name if that is known;
            ``{name: callable}`` or ``(name, callable)``; or, with ``evaluate``, any key of what that returns.
        has_evaluate: whether the task measures by a function of its own.

    Raises:
        TaskError: unknown name.
    """
    if isinstance(metric, str):
        if has_evaluate and not is_known_metric(metric):
            return Metric(metric, None, None, for_training=False)
        if has_evaluate:  # what evaluate returns by that name needs no library
            return METRICS.get(metric) or named_metric(metric)
        return named_metric(metric)
    if callable(metric):
        name, described = _name_of(metric)
        return _own_metric(name, metric, described)
    named = _named_function(metric)
    if named is None:
        raise TaskError(
            "metric must be a name, a function (outputs, targets) -> float or {name: function}, "
            f"not {short_repr(metric)}"
        )
    return _own_metric(*named)


def _named_function(metric: Any) -> tuple[str, Callable[..., Any]] | None:
    """Name and function of ``{name: function}`` or ``(name, function)``."""
    if isinstance(metric, Mapping):
        metric = next(iter(metric.items())) if len(metric) == 1 else None
    if not isinstance(metric, (tuple, list)) or len(metric) != 2:
        return None
    name, function = metric
    return (name, function) if isinstance(name, str) and name and callable(function) else None


def _name_of(function: Any) -> tuple[str, str]:
    """What a function is called in tables, and in the description of its task."""
    described = str(getattr(function, "__name__", type(function).__name__))
    inner = function
    while isinstance(inner, functools.partial):
        inner = inner.func
    name = str(getattr(inner, "__name__", type(inner).__name__))
    return ("metric" if name == "<lambda>" else name), described


def _own_metric(name: str, function: Callable[..., Any], described: str = "") -> Metric:
    if name == "loss":
        raise TaskError(
            "a metric function cannot be called 'loss', which is the task's loss: give metric={name: function}"
        )
    higher = getattr(function, "higher_is_better", None)
    direction: Direction | None = METRICS[name].direction if name in METRICS else None
    if higher is not None:
        direction = "maximize" if higher else "minimize"
    return Metric(
        name, direction, lambda convention=PLAIN: Collected(function), for_training=False,
        reads="function", described=described,
    )  # fmt: skip
