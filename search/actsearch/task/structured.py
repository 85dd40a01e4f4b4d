"""Tensors that are given as several inputs, or as inputs and targets with names."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from actsearch.errors import TaskError
from actsearch.task.nested import children, map_leaves, rebuild

__all__ = [
    "SeveralInputs",
    "StructuredData",
    "as_structured",
    "as_tensor",
    "is_list_of_samples",
    "refuse_batches",
]


class SeveralInputs(tuple[Tensor, ...]):
    """Tensors given as ``((x1, x2), y)``: all but the last go into the model, which was said in so many words."""

    __slots__ = ()


class StructuredData(Dataset[Any]):
    """Inputs and targets that are mappings or nested otherwise, row by row.

    Attributes:
        tensors: all of them, of one length.
    """

    def __init__(self, parts: tuple[Any, ...], tensors: Sequence[Tensor]) -> None:
        self._parts = parts
        self.tensors = tuple(tensors)

    def __len__(self) -> int:
        return len(self.tensors[0])

    def __getitem__(self, index: int) -> Any:
        return map_leaves(self._parts, lambda tensor: tensor[index])

    def restore(self, tensors: Sequence[Tensor]) -> Any:
        """A batch of the same form made of other tensors."""
        own = iter(tensors)
        return map_leaves(self._parts, lambda _: next(own))


def as_structured(data: Sequence[Any], name: str) -> Any:
    """Data of which a part is itself made of tensors; None where each part is one tensor or array.

    Args:
        data: ``((x1, x2), y)``, ``({"x": x1, "mask": x2}, y)``, or targets of such a form.
        name: which data, for messages.

    Raises:
        TaskError: tensors of different lengths, or a list that may be samples as well as inputs.
    """
    if not any(_is_nested(part, data) for part in data):
        return None
    if len(data) != 2:
        raise TaskError(
            f"{name} data are {len(data)} parts, some of which hold several tensors: give "
            "((input, another input), targets), or a Dataset"
        )
    parts = tuple(
        _convert(part, name) if _is_nested(part, data) else as_tensor(part, name) for part in data
    )
    tensors = list(_tensors(parts))
    lengths = [len(tensor) for tensor in tensors]
    if len(set(lengths)) > 1:
        raise TaskError(f"{name} data differ in length: {' and '.join(map(str, lengths))}")
    for part in data:
        if _is_nested(part, data) and isinstance(part, (tuple, list)) and len(part) == lengths[0]:
            raise TaskError(
                f"{name} data hold {len(part)} tensors of length {len(part)} in one place: as that many samples, "
                f"give torch.stack(...); as that many inputs, give DataLoader(TensorDataset(...))"
            )
    *inputs, target = parts
    is_flat = isinstance(target, Tensor) and len(inputs) == 1 and type(inputs[0]) in (tuple, list)
    if is_flat and all(isinstance(part, Tensor) for part in inputs[0]):
        return SeveralInputs([*inputs[0], target])
    return StructuredData(parts, tensors)


_PARTS = (Tensor, np.ndarray, tuple, list, int, float, complex, bool)


def is_list_of_samples(data: list[Any]) -> bool:
    """Whether a list holds (input, target) of each sample, as a Dataset does."""
    return len(data) > 2 and all(
        isinstance(item, tuple) and any(isinstance(part, (Tensor, np.ndarray)) for part in item)
        for item in data
    )


def refuse_batches(data: list[Any], name: str) -> None:
    """Refuse a list of batches, which is taken neither for samples nor for inputs and targets.

    Raises:
        TaskError: objects, mappings with the same keys, or one or two pairs of tensors with many rows.
    """
    first = data[0]
    is_object = not isinstance(first, (*_PARTS, Mapping, str, bytes)) and not hasattr(
        first, "__array__"
    )
    is_mapping = isinstance(first, Mapping) and all(
        isinstance(item, Mapping) and item.keys() == first.keys() for item in data
    )
    if is_object or is_mapping or _are_pairs_of_batches(data):
        raise TaskError(
            f"{name} data is a list of {len(data)} {type(first).__name__}: as batches, give DataLoader({name}, "
            f"batch_size=None); as samples, DataLoader({name}, batch_size=..., collate_fn=...)"
        )


def _are_pairs_of_batches(data: list[Any]) -> bool:
    """Whether a list that is too short for samples holds (inputs, targets) in each place."""
    return len(data) < 3 and all(
        isinstance(item, (tuple, list))
        and len(item) == 2
        and all(isinstance(part, Tensor) and part.dim() > 0 for part in item)
        and len(item[0]) == len(item[1])
        and item[0].shape[1:] == data[0][0].shape[1:]
        and item[1].shape[1:] == data[0][1].shape[1:]
        and item[0].shape[1:] != item[1].shape[1:]
        for item in data
    )


def _is_nested(part: Any, data: Sequence[Any]) -> bool:
    """Whether a part holds several tensors; a list of samples is one tensor."""
    if isinstance(part, Mapping):
        return True
    if not isinstance(part, (tuple, list)) or not part:
        return False
    if all(isinstance(item, (Tensor, np.ndarray)) and item.ndim > 0 for item in part):
        others = {len(other) for other in data if isinstance(other, (Tensor, np.ndarray))}
        is_samples = len(part) in others and any(len(item) != len(part) for item in part)
        return not is_samples
    return any(isinstance(item, Mapping) for item in part)


def _convert(part: Any, name: str) -> Any:
    if isinstance(part, (Mapping, tuple)) or (isinstance(part, list) and part):
        items = children(part) or []
        if all(isinstance(item, (Tensor, np.ndarray, Mapping, tuple, list)) for _, item in items):
            return rebuild(part, [_convert(item, name) for _, item in items])
    return as_tensor(part, name)


def _tensors(value: Any) -> list[Tensor]:
    if isinstance(value, Tensor):
        return [value]
    return [tensor for _, part in children(value) or () for tensor in _tensors(part)]


def as_tensor(item: Any, name: str) -> Tensor:
    """An array or list as a tensor; floating numbers of numpy become the default dtype.

    Raises:
        TaskError: it is none, or a single number.
    """
    if isinstance(item, Tensor):
        tensor = item
    else:
        try:
            tensor = torch.as_tensor(np.asarray(item))
        except (TypeError, ValueError) as error:
            raise TaskError(
                f"{name} data cannot be made a tensor: {error}; batches of your own are given as "
                "DataLoader([batch, ...], batch_size=None)"
            ) from None
        if tensor.is_floating_point():
            tensor = tensor.to(torch.get_default_dtype())
    if tensor.dim() == 0:
        raise TaskError(f"{name} data must have a first axis of samples")
    return tensor
