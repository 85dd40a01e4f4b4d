"""Targets that are all one value, that the model has no output for, or that training never shows."""

from __future__ import annotations

import functools
import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from actsearch.task import Task
from actsearch.training.data_check.finding import Finding
from actsearch.training.data_check.probe import Probe
from actsearch.training.data_check.rows import Origin, Rows

__all__ = ["label_findings"]

_log = logging.getLogger("actsearch")

_IGNORED = -100  # torch's label for what is not to be learned, unless ignore_index says another
_PROBED = 64
_LISTED = 5
_CLASS_LOSSES = (F.cross_entropy, F.nll_loss)
_CLASS_LOSS_MODULES = (nn.CrossEntropyLoss, nn.NLLLoss)


def label_findings(task: Task, rows: Mapping[str, Rows], probe: Probe) -> Iterator[Finding]:
    """What is wrong with the targets of a task whose batches are (inputs, targets).

    Args:
        task: its metric and loss decide what a target means.
        rows: of train, valid and test, those that could be read.
        probe: asks the model.
    """
    measured = task.evaluate is None  # else nobody knows what valid and test targets are there for
    labels = {name: item.labels for name, item in rows.items() if measured or name == "train"}
    known = {name: item for name, item in labels.items() if item is not None and len(item)}
    classes = None
    for name, item in known.items():
        if (left_out := _all_left_out(task, name, item, rows[name], probe)) is not None:
            yield left_out
            continue
        yield from _constant(task, name, item, rows[name], probe)
        if _is_integer(item):
            classes = classes or _classes(rows[name], probe)
            if classes is not None:
                yield from _outside(task, name, item, rows[name], probe, classes)
    if "train" in known:
        yield from _constant_columns(known["train"], rows["train"])
        if _metric(task) == "accuracy" or _is_class_loss(task.loss):
            yield from _never_trained(known)


def _metric(task: Task) -> str | None:
    """The metric by which targets are scored; None for what a function of the user's gives."""
    return task.resolved_metric.name if task.evaluate is None else None


def _is_integer(labels: Tensor) -> bool:
    return not (labels.is_floating_point() or labels.is_complex() or labels.dtype is torch.bool)


def _is_class_loss(loss: Any) -> bool:
    while isinstance(loss, functools.partial):
        loss = loss.func
    return loss in _CLASS_LOSSES or isinstance(loss, _CLASS_LOSS_MODULES)


def _ignored(loss: Any) -> int:
    """The label that a loss leaves out."""
    while isinstance(loss, functools.partial):
        if "ignore_index" in loss.keywords:
            return int(loss.keywords["ignore_index"])
        loss = loss.func
    return int(loss.ignore_index) if isinstance(loss, _CLASS_LOSS_MODULES) else _IGNORED


def _all_left_out(
    task: Task, name: str, labels: Tensor, rows: Rows, probe: Probe
) -> Finding | None:
    """Nothing but the label that the loss leaves out: nothing is learned from them, or measured on them."""
    ignored = _ignored(task.loss)
    if not _is_integer(labels) or not bool((labels == ignored).all()):
        return None
    if not _is_class_loss(task.loss) and not (
        _asked(probe.leaves_out, rows, default=False) and _asked(probe.uses_targets, rows)
    ):
        return None
    return Finding(
        f"all {labels.numel()} labels of {name} are {ignored}, which the loss leaves out; give rows with labels",
        refused=True,
    )


def _constant(
    task: Task, name: str, labels: Tensor, rows: Rows, probe: Probe
) -> Iterator[Finding]:
    """All targets one value.

    Refused where they are classes, in train, or scored by accuracy; and for r2, which is then not defined. A part of
    the data may be one class, such as masks of background alone: a warning for valid and test. So may numbers, such as
    counts, or the residual of a differential equation that shall be 0.
    Where the loss is the same with other targets they are placeholders, as an autoencoder has them: nothing is said.
    """
    kept = labels[labels != _ignored(task.loss)] if _is_integer(labels) else labels
    counted = kept if kept.numel() else labels
    if len(labels) < 2 or not bool((counted == counted.flatten()[0]).all()):
        return
    metric = _metric(task)
    is_flat = labels.numel() == len(labels)
    is_number = labels.is_floating_point() or labels.is_complex()
    text = _all_are(name, labels, counted.flatten()[0].item(), "labels")
    if metric == "accuracy" and (is_flat or name == "train"):
        yield Finding(f"{text}: accuracy on one class tells nothing; give rows of others", True)
        return
    if metric == "r2" and name != "train":
        yield Finding(f"{text}: r2 is not defined on them; give others, or another metric", True)
        return
    if metric not in ("mse", "mae", "r2") and not _asked(probe.uses_targets, rows):
        return
    if name == "train" and not is_number and _are_classes(task, rows, probe):
        yield Finding(f"{text}: one class tells nothing; give rows of others", refused=True)
    else:
        what = "targets" if is_number else "labels"
        text = _all_are(name, labels, counted.flatten()[0].item(), what)
        yield Finding(f"{text}: check that they are meant")


def _all_are(name: str, labels: Tensor, value: float, what: str) -> str:
    if labels.numel() == len(labels):
        return f"all {len(labels)} {name} {what} are {value}"
    return f"the {what} of all {len(labels)} {name} rows are {value}"


def _are_classes(task: Task, rows: Rows, probe: Probe) -> bool:
    return _is_class_loss(task.loss) or _asked(probe.is_of_classes, rows, default=False)


def _classes(rows: Rows, probe: Probe) -> int | None:
    try:
        return probe.classes(rows.origin)
    except Exception as error:  # the user's model: anything
        _log.debug("the model's output was not seen", exc_info=error)
        return None


def _asked(
    question: Callable[[Origin, Sequence[int]], bool], rows: Rows, *, default: bool = True
) -> bool:
    """What a probe says of the first rows; the default where the user's model or loss raises."""
    try:
        return question(rows.origin, range(min(_PROBED, len(rows))))
    except Exception as error:  # the user's model and loss: anything
        _log.debug("the loss was not tried on other targets", exc_info=error)
        return default


def _outside(
    task: Task, name: str, labels: Tensor, rows: Rows, probe: Probe, classes: int
) -> Iterator[Finding]:
    """Labels that the model has no output for: refused if the loss does not take them; accuracy never counts them."""
    bad = ((labels < 0) & (labels != _IGNORED)) | (labels >= classes)
    at = bad.reshape(len(bad), -1).any(1).nonzero().flatten().tolist()
    if not at:
        return
    text = (
        f"{name} labels {_listed(labels[bad])} lie outside the model's {classes} classes, 0 to {classes - 1}, "
        f"in {len(at)} of {len(labels)} rows (first: row {at[0]})"
    )
    try:
        taken = probe.takes_labels(rows.origin, at[:_PROBED])
    except Exception as error:  # the user's model and loss: anything
        _log.debug("the loss was not tried on labels outside the model's", exc_info=error)
        taken = not _is_class_loss(task.loss)
    if not taken:
        yield Finding(f"{text}: correct them, or give the model more outputs", refused=True)
    elif _metric(task) == "accuracy":
        yield Finding(f"{text}: no answer can be right there; correct them, or remove the rows")


def _listed(labels: Tensor) -> str:
    found = torch.unique(labels).tolist()
    more = ", ..." if len(found) > _LISTED else ""
    return ", ".join(map(str, found[:_LISTED])) + more


def _constant_columns(labels: Tensor, rows: Rows) -> Iterator[Finding]:
    """Columns of several outputs that training shows one value of; not of inputs that are to be given back."""
    if labels.dim() != 2 or labels.shape[1] < 2 or len(labels) < 2:
        return
    constant = (labels == labels[0]).all(0)
    count = int(constant.sum())
    if not 0 < count < labels.shape[1]:
        return
    if any(_equal(rows.take(part, slice(None)), labels) for part in rows.inputs.values()):
        return
    listed = constant.nonzero().flatten().tolist()
    shown = ", ".join(map(str, listed[:10])) + (", ..." if len(listed) > 10 else "")
    yield Finding(
        f"{count} of {labels.shape[1]} columns of the train targets hold one value in all {len(labels)} rows "
        f"(columns {shown}): nothing can be learned there; leave them out, or check that they are meant"
    )


def _equal(a: Tensor, b: Tensor) -> bool:
    return a.shape == b.shape and torch.equal(a.to(b.dtype), b)


def _never_trained(labels: Mapping[str, Tensor]) -> Iterator[Finding]:
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
                f"{name} holds labels that train lacks, {_listed(item[missing])}, in {count} of {len(item)} rows "
                f"(first: row {row}): no activation can learn them; split the data anew"
            )
