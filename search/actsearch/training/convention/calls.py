"""Which tensors a loss hands to torch's own losses, and whether they are outputs and targets as they are."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

from actsearch.task.metrics import Convention

__all__ = ["Call", "CallWatch", "compares_classes", "compares_each", "is_same_up_to_sign"]

_OF_CLASSES = {"cross_entropy", "nll_loss", "kl_div", "multi_margin_loss"}
_OF_BINARY = {
    "binary_cross_entropy", "binary_cross_entropy_with_logits", "soft_margin_loss",
    "multilabel_soft_margin_loss",
}  # fmt: skip
_OF_NUMBERS = {"mse_loss", "l1_loss", "smooth_l1_loss", "huber_loss"}
_KNOWN = _OF_CLASSES | _OF_BINARY | _OF_NUMBERS | {"poisson_nll_loss", "gaussian_nll_loss"}
_OF_LOGITS = {"sigmoid", "sigmoid_", "expit", "logsigmoid", "log_sigmoid", "softplus"}
_CLOSE = 1e-5  # absolute; scores that are compared lie between 0 and 1


@dataclass(frozen=True)
class Call:
    """One call of a loss of torch's.

    Attributes:
        name: of the function.
        input: what it is given as the model's answers.
        target: likewise.
        is_whole: whether all of it counts: the function itself makes one number, and no weight is 0.
    """

    name: str
    input: Tensor
    target: Tensor
    is_whole: bool

    @property
    def shapes(self) -> str:
        """For messages."""
        return f"{self.name} of {tuple(self.input.shape)} and {tuple(self.target.shape)}"


class CallWatch(TorchFunctionMode):
    """Notes the calls of torch's losses.

    Attributes:
        calls: in their order.
        of_logits: what functions of logits are given.
    """

    def __init__(self) -> None:
        super().__init__()
        self.calls: list[Call] = []
        self.of_logits: list[Tensor] = []

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        name = str(getattr(func, "__name__", func))
        if name in _OF_LOGITS and args and isinstance(args[0], Tensor):
            self.of_logits.append(args[0].detach().clone())
        if name in _KNOWN:
            given = dict(zip(("input", "target"), args, strict=False)) | kwargs
            own, target, weight = (given.get(key) for key in ("input", "target", "weight"))
            if isinstance(own, Tensor) and isinstance(target, Tensor):
                is_whole = kwargs.get("reduction", "mean") != "none"
                if name in _OF_BINARY and isinstance(weight, Tensor):
                    is_whole = is_whole and bool((weight != 0).all())
                self.calls.append(Call(name, own.detach(), target.detach(), is_whole))
        return func(*args, **kwargs)


def is_same_up_to_sign(own: Tensor, output: Tensor) -> bool:
    """Whether one tensor is the other, or its opposite, in whatever order and shape.

    Args:
        own: of a loss.
        output: numbers above 0.
    """
    if own.numel() != output.numel():
        return False
    a, b = own.abs().flatten().sort().values, output.flatten().sort().values
    return bool((a - b).abs().max() <= _CLOSE)


def compares_classes(call: Call, output: Tensor, target: Tensor, convention: Convention) -> bool:
    """Whether a call compares the class scores of an output with its targets, in whatever order.

    Scores may differ by a number for each answer, as their log_softmax does.

    Args:
        call: of a loss of classes.
        output: class scores, none of them equal.
        target: numbers of classes, or their scores.
        convention: how they are read.
    """
    if call.name not in _OF_CLASSES or not call.is_whole:
        return False
    size = output.shape[convention.axis]
    own_axis = -1 if call.name == "kl_div" else min(1, call.input.dim() - 1)
    if call.input.numel() != output.numel() or call.input.shape[own_axis] != size:
        return False
    known = output.movedim(convention.axis, -1).reshape(-1, size).double()
    own = call.input.movedim(own_axis, -1).reshape(-1, size).double()
    if convention.target == "scores":
        labels = target.movedim(convention.axis, -1).reshape(-1, size)
    else:
        labels = target.reshape(-1, 1)
    if call.target.numel() == own.numel():
        own_labels = call.target.movedim(own_axis, -1).reshape(-1, size)
    else:
        own_labels = call.target.reshape(-1, 1)
    if convention.target == "scores" and own_labels.shape[1] == 1:  # argmax in the loss
        labels = labels.argmax(-1, keepdim=True)
    scales = [known, known.log()] if convention.scale == "probabilities" else [known]
    return any(
        _are_equal((own - own[:, :1])[:, 1:], own_labels, (rows - rows[:, :1])[:, 1:], labels)
        for rows in scales
    )


def compares_each(
    call: Call, output: Tensor, target: Tensor, *, of_numbers: bool, up_to_scale: bool = False
) -> bool:
    """Whether a call compares each number of an output with its target, in whatever order.

    Args:
        call: of a loss.
        output: numbers, none of them equal.
        target: as many.
        of_numbers: whether only losses that are least where both are equal count.
        up_to_scale: whether columns may be moved and scaled.
    """
    names = _OF_NUMBERS if of_numbers else _OF_NUMBERS | _OF_BINARY
    if call.name not in names or not call.is_whole:
        return False
    if call.input.numel() != output.numel() or call.target.numel() != output.numel():
        return False
    least = -1 if "margin" in call.name else 0
    if call.name in _OF_BINARY and not bool(((call.target >= least) & (call.target <= 1)).all()):
        return False
    if up_to_scale:
        own, labels = _standardise(call.input, output), _standardise(call.target, output)
        known, wanted = _standardise(output, output), _standardise(target, output)
        return _are_close(own, known) and _are_close(labels, wanted)
    own, labels = call.input.reshape(-1, 1).double(), call.target.reshape(-1, 1)
    known = output.reshape(-1, 1).double()
    scales = [known] if of_numbers else [known, known.sigmoid()]
    return any(_are_equal(own, labels, rows, target.reshape(-1, 1)) for rows in scales)


def _standardise(values: Tensor, like: Tensor) -> Tensor:
    columns = values.double().reshape(-1, like.shape[-1] if like.dim() > 1 else 1)
    return (columns - columns.mean(0)) / columns.std(0)


def _are_equal(own: Tensor, own_labels: Tensor, known: Tensor, labels: Tensor) -> bool:
    """Whether rows of scores with their labels are the same ones, in whatever order."""
    if own.shape != known.shape or own_labels.shape != labels.shape:
        return False
    if _are_close(own, known):
        return _are_close(own_labels.double(), labels.double())
    first, second = own[:, 0].argsort(), known[:, 0].argsort()
    return _are_close(own[first], known[second]) and _are_close(
        own_labels[first].double(), labels[second].double()
    )


def _are_close(a: Tensor, b: Tensor) -> bool:
    return torch.allclose(a, b, rtol=1e-4, atol=_CLOSE)
