"""Whether a loss compares the same outputs with the same targets as a metric by name would."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from actsearch.errors import TaskError
from actsearch.placement.random_streams import isolated_random
from actsearch.task.metrics import Convention, Metric
from actsearch.task.metrics.convention import without_ones
from actsearch.training.convention import advice
from actsearch.training.convention.calls import (
    Call,
    CallWatch,
    compares_classes,
    compares_each,
    is_same_up_to_sign,
)
from actsearch.training.convention.decide import Evidence
from actsearch.training.convention.gradients import drawn, gradient_of, symmetry_about, value_of

__all__ = ["refuse_other_comparison"]

_log = logging.getLogger("actsearch")

_DRAWS = 3
_NUMBERS = 1 << 22  # of an output that is tried; more would take long and much memory
_STEPS = (0.03, 0.1, 0.3, 1.0, 3.0)  # from the targets downhill, in units of their spread
_FALL = 0.1  # of what noise adds; a regulariser may move the least place a little
_FALL_OF_CALL = 0.01  # the same where a loss of torch's was given other numbers
_RELATIVE = 1e-3  # of gradients, in single precision
_OF_RANKS = ("auc",)  # wherever class 1 begins

Loss = Callable[[Any, Any], Any]


def refuse_other_comparison(metric: Metric, evidence: Evidence, convention: Convention) -> None:
    """Refuse a metric by name where the loss changes, moves or leaves out what the metric would compare.

    A loss of torch's that is given the outputs and the targets in any order, or up to a log_softmax, is taken. Any
    other is judged by its gradients on outputs that are drawn for it: which of them count at all, and which way they
    are wanted. What a loss leaves out by the label is left out by the metric as well, and no reason to refuse. A loss
    that is the same with other targets, or that cannot be tried, says nothing.

    Args:
        metric: by name.
        evidence: of one batch.
        convention: how the metric would read it.

    Raises:
        TaskError: what the loss compares, what the metric would, and what to do.
    """
    try:
        trial = _Trial(metric, evidence, convention)
        reason = trial.difference()
    except Exception as error:  # the user's loss: anything
        _log.debug("what the loss compares is not known: %s: %s", type(error).__name__, error)
        return
    if reason:
        called = f" ({trial.calls[0].shapes})" if trial.calls else ""
        own = advice.of_own(metric.name, of_classes_=trial.is_of_classes)
        raise TaskError(
            f"{metric.name} would compare outputs {tuple(evidence.output.shape)} with targets "
            f"{tuple(evidence.target.shape)} as they are, and the loss{called} {reason}: "
            f"do in the model or the data what the loss does to them before it compares them, or give {own}"
        )


class _Trial:
    """A loss on drawn outputs, and the targets of a batch.

    Attributes:
        calls: of torch's losses.
        is_of_classes: whether the metric reads class scores.
    """

    def __init__(self, metric: Metric, evidence: Evidence, convention: Convention) -> None:
        self._loss: Loss = evidence.loss
        self._ends_in_sigmoid = evidence.last == "sigmoid"
        self._metric, self._convention = metric, convention
        # numbers of half precision are too coarse to be told apart
        self._output, self._target = _few(evidence.output.float(), evidence.target)
        self.is_of_classes = metric.reads != "numbers" and convention.target in (
            "numbers", "scores",
        )  # fmt: skip
        watch = CallWatch()
        with isolated_random(0), torch.no_grad(), watch:
            self._loss(drawn(self._output, 0), self._target)
        self.calls, self._of_logits = watch.calls, watch.of_logits

    def difference(self) -> str:
        """What the loss does otherwise than the metric; empty if nothing is known."""
        output = drawn(self._output, 0)
        if any(self._is_same(call, output) for call in self.calls):
            return ""
        if self._metric.reads == "numbers":
            return self._difference_of_numbers()
        spread = 1.0 if self.is_of_classes else 0.05
        middle = 0.5 if self.is_of_classes else self._convention.threshold
        outputs = [(drawn(output, seed) - 0.5) * spread + middle for seed in range(_DRAWS)]
        if self.is_of_classes and self._convention.scale == "probabilities":
            outputs = [item / item.sum(self._convention.axis, keepdim=True) for item in outputs]
        gradients = [self._gradient(output, seed) for seed, output in enumerate(outputs)]
        if not self._says_something(gradients, outputs):
            return ""
        if not self.is_of_classes:
            return self._difference_of_each(gradients) or self._difference_of_threshold(output)
        axis = self._convention.axis
        moved = [item.movedim(axis, -1).flatten(0, -2) for item in gradients]
        reason = self._difference_of_classes(moved)
        if not reason and self._metric.of_loss is not None:
            scores = [item.movedim(axis, -1).flatten(0, -2).double() for item in outputs]
            reason = self._difference_of_scores(moved, scores)
        return reason

    def _is_same(self, call: Call, output: Tensor) -> bool:
        """Whether a call of the loss compares what the metric would."""
        if self.is_of_classes:
            is_same = compares_classes(call, output, self._target, self._convention)
            if is_same or self._convention.target == "numbers":
                return is_same
        of_numbers = self._metric.reads == "numbers"
        is_pearson = self._metric.name == "pearson"
        return compares_each(
            call, output, self._target, of_numbers=of_numbers, up_to_scale=is_pearson
        )

    def _gradient(self, output: Tensor, seed: int) -> Tensor:
        with isolated_random(seed):
            return gradient_of(self._loss, output, self._target)

    def _says_something(self, gradients: list[Tensor], outputs: list[Tensor]) -> bool:
        """Whether the loss can be judged: it has finite gradients, and others with other targets."""
        if not all(bool(item.isfinite().all()) for item in gradients):
            return False
        if not any(bool(item.any()) for item in gradients):
            return False
        order = torch.randperm(self._target.numel(), generator=torch.Generator().manual_seed(0))
        target, before = self._target, gradients[0]
        self._target = target.flatten()[order.to(target.device)].reshape(target.shape)
        try:
            return not torch.equal(self._gradient(outputs[0], 0), before)
        finally:
            self._target = target

    def _difference_of_classes(self, gradients: list[Tensor]) -> str:
        """Args: gradients ``(answers, classes)`` of each draw."""
        axis, target = self._convention.axis, self._target
        counts = torch.ones(len(gradients[0]), dtype=torch.bool, device=target.device)
        if self._convention.target == "scores":
            best = target.movedim(axis, -1).flatten(0, -2).topk(2)
            labels, clear = best.indices[:, 0], best.values[:, 0] - best.values[:, 1] > 0.2
        else:
            labels, clear = target.flatten().long(), counts
            for ignored in self._convention.ignored:
                counts = counts & (labels != ignored)
        used = [item.abs().amax(-1) > 0 for item in gradients]
        if text := _left_out(used, counts):
            return text
        wrong = counts & clear
        for item, is_used in zip(gradients, used, strict=True):
            wrong = wrong & is_used & (item.argmin(-1) != labels)
        if bool(wrong.any()):
            return f"wants another class than the target's in {int(wrong.sum())} of {int(counts.sum())} answers"
        return self._unused_classes(gradients, labels)

    def _unused_classes(self, gradients: list[Tensor], labels: Tensor) -> str:
        """Scores of classes that the loss never sees, while it does see more than those of the right ones."""
        if (
            self._convention.scale == "probabilities"
        ):  # their gradients may be of the right classes alone
            return ""
        size = gradients[0].shape[1]
        is_right = torch.nn.functional.one_hot(labels.clamp(0, size - 1), size).bool()
        unused = [~(item != 0).any(0) for item in gradients]
        sees_others = bool(((gradients[0] != 0) & ~is_right).any())
        is_fixed = all(torch.equal(item, unused[0]) for item in unused)
        if not sees_others or not is_fixed or not bool(unused[0].any()):
            return ""
        return f"does not use the scores of {int(unused[0].sum())} of {size} classes"

    def _difference_of_scores(self, gradients: list[Tensor], scores: list[Tensor]) -> str:
        """Whether the loss is of the scores that perplexity takes, and not of scaled or moved ones."""
        first, second = gradients[:2]
        if self._convention.scale == "probabilities":
            is_same = _are_parallel(first * scores[0], second * scores[1])
        else:
            shares = [item.softmax(-1) for item in scores[:2]]
            is_same = _are_parallel(first - second, shares[0] - shares[1])
            if self._convention.target == "numbers":
                labels = self._target.flatten().long().clamp(0, first.shape[1] - 1)
                right = torch.nn.functional.one_hot(labels, first.shape[1])
                is_same = is_same or _are_parallel(first, shares[0] - right)
        return "" if is_same else "is of other scores than the model's outputs"

    def _difference_of_each(self, gradients: list[Tensor]) -> str:
        target = self._target.flatten()
        gradients = [item.flatten() for item in gradients]
        used = [item != 0 for item in gradients]
        if text := _left_out(used, torch.ones_like(used[0])):
            return text
        low, high = target.min(), target.max()
        if low >= 0 and high <= 1:
            low, high = low.new_tensor(0.1), low.new_tensor(0.9)
        wrong = (target <= low) | (target >= high)
        for item, is_used in zip(gradients, used, strict=True):
            wrong = wrong & is_used & ((item < 0) != (target > self._convention.positive))
        if not bool(wrong.any()):
            return ""
        many = f"{int(wrong.sum())} of {wrong.numel()} answers"
        if low < -1 or high > 1:
            return (
                f"takes targets of 0 to 1, while these go from {float(low):g} to {float(high):g}"
            )
        return f"wants the other of the two classes than the target's in {many}"

    def _difference_of_threshold(self, output: Tensor) -> str:
        """Whether class 1 may begin elsewhere, where neither the loss nor the model's end shows that it does not."""
        number = self._convention.threshold
        if self._metric.name in _OF_RANKS or self._ends_in_sigmoid and number == 0.5:
            return ""
        if number == 0 and any(is_same_up_to_sign(item, output) for item in self._of_logits):
            return ""
        # on the CPU: a GPU that meets what is no probability is of no use to the process any more
        args = self._loss, output.cpu(), self._target.cpu(), number
        if symmetry_about(*args, inside=number != 0) > 0:
            return ""
        return f"is not symmetric about {number:g}, where {self._metric.name} has class 1 begin"

    def _difference_of_numbers(self) -> str:
        """Whether the loss is least where outputs are equal to targets, and every one of them counts."""
        if without_ones(self._output.shape) != without_ones(self._target.shape):
            return ""  # which the metric says
        wanted = self._target.reshape(self._output.shape).to(drawn(self._output, 0).dtype)
        spread = float(wanted.std()) or float(wanted.abs().max()) or 1.0
        noise = [2 * drawn(wanted, seed) - 1 for seed in range(_DRAWS)]
        noise = [item + 0.2 * item.sign() for item in noise]  # of size .2 to 1
        outputs = [wanted + spread * item for item in noise]
        gradients = [self._gradient(output, seed) for seed, output in enumerate(outputs)]
        if not self._says_something(gradients, outputs):
            return ""
        if text := _left_out([item != 0 for item in gradients], torch.ones_like(wanted) > 0):
            return text
        least, above = self._value(wanted), sum(map(self._value, outputs)) / _DRAWS
        downhill = self._gradient(wanted + 0.02 * spread * noise[0], 0)
        size = float(downhill.square().mean().sqrt())
        if not abs(above) + abs(least) + size < float("inf") or size == 0:
            return ""
        direction = (downhill / size * spread).to(wanted.dtype)
        reached = min(self._value(wanted - step * direction) for step in _STEPS)
        share = _FALL_OF_CALL if self.calls else _FALL
        if reached < least - share * max(above - least, 0.0) - 1e-6 * abs(least):
            return "is less at other outputs than at those that are equal to the targets"
        return ""

    def _value(self, output: Tensor) -> float:
        with isolated_random(0):
            return value_of(self._loss, output, self._target)


def _few(output: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
    """So many rows that trying is quick."""
    rows = max(2, _NUMBERS // max(1, output[:1].numel()))
    if len(output) != len(target) or rows >= len(output):
        return output, target
    return output[:rows], target[:rows]


def _left_out(used: list[Tensor], counts: Tensor) -> str:
    """Answers that a loss never looks at; where it looks at others each time, it chooses by the outputs."""
    if not all(torch.equal(item & counts, used[0] & counts) for item in used):
        return ""
    missing = int((counts & ~used[0]).sum())
    return f"leaves out {missing} of {int(counts.sum())} answers" if missing else ""


def _are_parallel(a: Tensor, b: Tensor) -> bool:
    """Whether each row is the other's up to a factor of its own."""
    factor = (a * b).sum(-1, keepdim=True) / (b * b).sum(-1, keepdim=True)
    off = (a - factor * b).abs().amax(-1)
    return bool((off <= _RELATIVE * a.abs().amax(-1).clamp(min=1e-12)).all())
