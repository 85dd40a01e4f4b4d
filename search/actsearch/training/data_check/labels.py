"""Targets that are all one value, that the model has no output for, or that training never shows."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from actsearch.task import Task
from actsearch.training.data_check.finding import Finding
from actsearch.training.data_check.probe import MAX_PROBED, ModelProbe, attempt
from actsearch.training.data_check.rows import Origin, Rows

__all__ = ["label_findings"]

_IGNORED = -100  # torch's label for what is not to be learned, unless ignore_index says another
_MAX_LISTED = 5  # labels in a message
_MAX_COLUMNS = 10  # likewise
_NUMBER_METRICS = ("mse", "rmse", "mae", "r2", "pearson", "psnr")
_UNDEFINED_ON_CONSTANTS = ("r2", "pearson")
_CLASS_LOSSES = (F.cross_entropy, F.nll_loss)
_CLASS_LOSS_MODULES = (nn.CrossEntropyLoss, nn.NLLLoss)


def label_findings(task: Task, rows: Mapping[str, Rows], probe: ModelProbe) -> Iterator[Finding]:
    """What is wrong with the targets of a task whose batches are (inputs, targets).

    Args:
        task: its metric and loss decide what a target means.
        rows: of train, valid and test, those that could be read.
        probe: asks the model.
    """
    measured = task.evaluate is None  # else what valid and test targets are for is unknown
    labels = {name: item.labels for name, item in rows.items() if measured or name == "train"}
    known = {name: item for name, item in labels.items() if item is not None and len(item)}
    classes = None
    for name, item in known.items():
        if (all_ignored := _find_all_ignored(task, name, item, rows[name], probe)) is not None:
            yield all_ignored
            continue
        yield from _find_constant(task, name, item, rows[name], probe)
        if _is_integer(item):
            origin = rows[name].origin
            classes = classes or attempt(
                "the model's output", functools.partial(probe.classes, origin), None
            )
            if classes is not None:
                yield from _find_outside(task, name, item, rows[name], probe, classes)
                yield from _find_missing(task, name, item, classes)
    if "train" in known:
        yield from _find_constant_columns(known["train"], rows["train"])
        if _scores_classes(task) or _is_class_loss(task.loss):
            yield from _find_untrained(known)


def _metric(task: Task) -> str | None:
    """The metric by which targets are scored; None for what a function of the user's gives."""
    return task.resolved_metric.name if task.evaluate is None else None


def _scores_classes(task: Task) -> bool:
    """Whether answers are right or wrong to the metric."""
    if task.evaluate is not None:
        return False
    metric = task.resolved_metric
    return metric.reads == "classes" or metric.name.endswith("_accuracy")


def _is_integer(labels: Tensor) -> bool:
    return not (labels.is_floating_point() or labels.is_complex() or labels.dtype is torch.bool)


def _is_class_loss(loss: Any) -> bool:
    while isinstance(loss, functools.partial):
        loss = loss.func
    return loss in _CLASS_LOSSES or isinstance(loss, _CLASS_LOSS_MODULES)


def _ignored_label(loss: Any) -> int:
    """The label that a loss leaves out."""
    while isinstance(loss, functools.partial):
        if "ignore_index" in loss.keywords:
            return int(loss.keywords["ignore_index"])
        loss = loss.func
    return int(loss.ignore_index) if isinstance(loss, _CLASS_LOSS_MODULES) else _IGNORED


def _find_all_ignored(
    task: Task, name: str, labels: Tensor, rows: Rows, probe: ModelProbe
) -> Finding | None:
    """Nothing but the label that the loss leaves out: nothing is learned from them, or measured on them."""
    ignored = _ignored_label(task.loss)
    if not _is_integer(labels) or not bool((labels == ignored).all()):
        return None
    if not _is_class_loss(task.loss) and not (
        _ask(probe.ignores_rows, rows, default=False) and _ask(probe.uses_targets, rows)
    ):
        return None
    return Finding(
        f"all {labels.numel()} labels of {name} are {ignored}, which the loss leaves out; give rows with labels",
        refused=True,
    )


def _find_constant(
    task: Task, name: str, labels: Tensor, rows: Rows, probe: ModelProbe
) -> Iterator[Finding]:
    """All targets one value.

    Refused where they are classes, in train, or scored by accuracy; and for r2, which is then not defined. A part of
    the data may be one class, such as masks of background alone: a warning for valid and test. So may numbers, such as
    counts, or the residual of a differential equation that shall be 0.
    Where the loss is the same with other targets they are placeholders, as an autoencoder has them: nothing is said.
    """
    kept = labels[labels != _ignored_label(task.loss)] if _is_integer(labels) else labels
    counted = kept if kept.numel() else labels
    if len(labels) < 2:
        return
    if not bool((counted == counted.flatten()[0]).all()):
        yield from _find_constant_rows(task, name, labels)
        return
    metric = _metric(task)
    is_flat = labels.numel() == len(labels)
    is_number = labels.is_floating_point() or labels.is_complex()
    text = _all_are(name, labels, counted.flatten()[0].item(), "labels")
    if _scores_classes(task) and (is_flat or name == "train"):
        yield Finding(
            f"{text}: {metric} on one class is meaningless; give rows of other classes", True
        )
        return
    if metric in _UNDEFINED_ON_CONSTANTS and name != "train":
        yield Finding(
            f"{text}: {metric} is undefined on constant targets; give other rows, or another metric",
            True,
        )
        return
    if metric not in _NUMBER_METRICS and not _ask(probe.uses_targets, rows):
        return
    if name == "train" and not is_number and _are_classes(task, rows, probe):
        yield Finding(
            f"{text}: nothing can be learned from one class; give rows of other classes",
            refused=True,
        )
    else:
        what = "targets" if is_number else "labels"
        text = _all_are(name, labels, counted.flatten()[0].item(), what)
        yield Finding(f"{text}: check that this is intended")


def _find_constant_rows(task: Task, name: str, labels: Tensor) -> Iterator[Finding]:
    """One-hot targets of one class."""
    if labels.dim() != 2 or not bool((labels == labels[0]).all()):
        return
    is_one_hot = bool(((labels[0] == 0) | (labels[0] == 1)).all()) and int(labels[0].sum()) == 1
    if is_one_hot and (_scores_classes(task) or _is_class_loss(task.loss)):
        yield Finding(
            f"all {len(labels)} {name} targets are class {int(labels[0].argmax())}: nothing can be learned or measured "
            "on one class; give rows of other classes",
            refused=True,
        )


def _all_are(name: str, labels: Tensor, value: float, what: str) -> str:
    if labels.numel() == len(labels):
        return f"all {len(labels)} {name} {what} are {value}"
    return f"the {what} of all {len(labels)} {name} rows are {value}"


def _are_classes(task: Task, rows: Rows, probe: ModelProbe) -> bool:
    return _is_class_loss(task.loss) or _ask(probe.are_targets_classes, rows, default=False)


def _ask(
    question: Callable[[Origin, Sequence[int]], bool], rows: Rows, *, default: bool = True
) -> bool:
    """What a probe says of the first rows."""
    first = range(min(MAX_PROBED, len(rows)))
    return attempt("the loss on other targets", lambda: question(rows.origin, first), default)


def _find_outside(
    task: Task, name: str, labels: Tensor, rows: Rows, probe: ModelProbe, classes: int
) -> Iterator[Finding]:
    """Labels that the model has no output for: refused if the loss does not take them; accuracy never counts them."""
    bad = ((labels < 0) & (labels != _IGNORED)) | (labels >= classes)
    bad_rows = bad.reshape(len(bad), -1).any(1).nonzero().flatten().tolist()
    if not bad_rows:
        return
    text = (
        f"{name} labels {_list_labels(labels[bad])} lie outside the model's {classes} classes, 0 to {classes - 1}, "
        f"in {len(bad_rows)} of {len(labels)} rows (first: row {bad_rows[0]})"
    )
    is_accepted = attempt(
        "the loss on labels outside the model's",
        lambda: probe.accepts_labels(rows.origin, bad_rows[:MAX_PROBED]),
        not _is_class_loss(task.loss),
    )
    if not is_accepted:
        yield Finding(f"{text}: correct them, or give the model more outputs", refused=True)
    elif _scores_classes(task):
        yield Finding(
            f"{text}: no prediction can be correct there; correct the labels, or remove the rows"
        )


def _find_missing(task: Task, name: str, labels: Tensor, classes: int) -> Iterator[Finding]:
    """Classes of which no row is there, where the metric compares each with the others."""
    if _metric(task) != "auc" or name == "train":
        return
    missing = [label for label in range(classes) if not bool((labels == label).any())]
    if missing:
        yield Finding(
            f"{name} has no row of class {_shorten(missing, _MAX_LISTED)}: auc is the mean over all {classes} classes, "
            "each against the others; give such rows, or another metric",
            refused=True,
        )


def _list_labels(labels: Tensor) -> str:
    return _shorten(torch.unique(labels).tolist(), _MAX_LISTED)


def _shorten(items: Sequence[int], most: int) -> str:
    return ", ".join(map(str, items[:most])) + (", ..." if len(items) > most else "")


def _find_constant_columns(labels: Tensor, rows: Rows) -> Iterator[Finding]:
    """Columns of several outputs that training shows one value of; not of inputs that are to be given back."""
    if labels.dim() != 2 or labels.shape[1] < 2 or len(labels) < 2:
        return
    constant = (labels == labels[0]).all(0)
    count = int(constant.sum())
    if not 0 < count < labels.shape[1]:
        return
    if any(_equal(rows.take(part, slice(None)), labels) for part in rows.inputs.values()):
        return
    shown = _shorten(constant.nonzero().flatten().tolist(), _MAX_COLUMNS)
    yield Finding(
        f"{count} of {labels.shape[1]} columns of the train targets hold one value in all {len(labels)} rows "
        f"(columns {shown}): nothing can be learned there; leave them out, or check that this is intended"
    )


def _equal(a: Tensor, b: Tensor) -> bool:
    return a.shape == b.shape and torch.equal(a.to(b.dtype), b)


def _find_untrained(labels: Mapping[str, Tensor]) -> Iterator[Finding]:
    """Classes that only valid or test hold."""
    train = labels["train"]
    if train.dim() != 1 or not _is_integer(train):
        return
    for name, item in labels.items():
        if name == "train" or item.dim() != 1 or not _is_integer(item):
            continue
        missing = ~torch.isin(item, train) & (item != _IGNORED)
        if count := int(missing.sum()):
            row = int(missing.nonzero()[0])
            yield Finding(
                f"{name} holds labels that train lacks, {_list_labels(item[missing])}, in {count} of {len(item)} rows "
                f"(first: row {row}): no model can learn them; split the data again"
            )
