"""Rows of one of a task's data sets: some of them, or those of two one after the other."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import ConcatDataset, DataLoader, Dataset, Subset, TensorDataset

from actsearch.errors import TaskError
from actsearch.task.structured import SeveralInputs, StructuredData

__all__ = ["check_rows", "join_rows", "take_rows", "targets_of"]


def check_rows(source: Any, name: str) -> int:
    """How many rows a data set has that can be taken one by one.

    Args:
        source: what :func:`actsearch.task.as_source` returned.
        name: of it, for messages.

    Raises:
        TaskError: it is a DataLoader, or does not know its length.
    """
    if isinstance(source, DataLoader):
        raise TaskError(
            f"{name} is a DataLoader, from which rows cannot be divided anew: give its data set, or tensors, "
            "and batch_size= to the Task"
        )
    if isinstance(source, tuple):
        return len(source[0])
    try:
        return len(source)
    except TypeError:
        raise TaskError(
            f"{name} does not know its length, so that its rows cannot be divided"
        ) from None


def take_rows(source: Any, rows: Sequence[int]) -> Any:
    """Some rows of a data set, in the order that is given; of the same kind as it was."""
    if isinstance(source, tuple):
        return _of_kind(source, [tensor[_index(rows, tensor)] for tensor in source])
    if isinstance(source, StructuredData):
        tensors = [tensor[_index(rows, tensor)] for tensor in source.tensors]
        return StructuredData(source.restore(tensors), tensors)
    if type(source) is TensorDataset:
        return TensorDataset(*(tensor[_index(rows, tensor)] for tensor in source.tensors))
    return Subset(source, [int(row) for row in rows])


def join_rows(first: Any, second: Any) -> Any:
    """The rows of one data set, then those of another.

    Raises:
        TaskError: their rows are not of one kind.
    """
    if isinstance(first, tuple) and isinstance(second, tuple):
        return _of_kind(first, _join(first, second))
    if isinstance(first, StructuredData) and isinstance(second, StructuredData):
        tensors = _join(first.tensors, second.tensors)
        return StructuredData(first.restore(tensors), tensors)
    sets: list[Dataset[Any]] = [
        TensorDataset(*source) if isinstance(source, tuple) else source
        for source in (first, second)
    ]
    return ConcatDataset(sets)


def targets_of(source: Any) -> list[Any] | None:
    """The target of each row, by which rows may be stratified; None where a row has several numbers.

    Of rows that have one number for each class, 1 for their own and 0 for the others, it is the class.
    """
    targets = source[-1] if isinstance(source, tuple) else _read_targets(source)
    if targets is None:
        return None
    if targets.dim() == 2 and targets.shape[1] > 1 and _is_one_hot(targets):
        targets = targets.argmax(1)
    if targets.numel() != len(targets):
        return None
    return list(targets.detach().cpu().reshape(-1).tolist())


def _is_one_hot(targets: Tensor) -> bool:
    return bool(((targets == 0) | (targets == 1)).all() and (targets.sum(1) == 1).all())


def _read_targets(source: Any) -> Tensor | None:
    outside = torch.get_rng_state()  # of transforms that draw
    try:
        return torch.stack([torch.as_tensor(source[row][-1]) for row in range(len(source))])
    except Exception:  # the user's data set: anything
        return None
    finally:
        torch.set_rng_state(outside)


def _index(rows: Sequence[int], tensor: Tensor) -> Tensor:
    return torch.as_tensor(rows, dtype=torch.long, device=tensor.device)


def _of_kind(source: tuple[Tensor, ...], tensors: Sequence[Tensor]) -> tuple[Tensor, ...]:
    return SeveralInputs(tensors) if isinstance(source, SeveralInputs) else tuple(tensors)


def _join(first: Sequence[Tensor], second: Sequence[Tensor]) -> list[Tensor]:
    try:
        return [torch.cat([one, other]) for one, other in zip(first, second, strict=True)]
    except (RuntimeError, ValueError, TypeError) as error:
        raise TaskError(
            f"rows of train and test are not of one kind, so that some of test cannot be trained on: {error}"
        ) from None
