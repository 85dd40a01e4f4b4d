"""On which axis the channels lie: followed from the layers that set it through every function of a forward pass.

What only moves numbers (a permutation, a view, an index) is run once more, on the number of its channel in the place of
each number; these then vary along the axis sought, or the channels are lost.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode
from torch.utils.weak import WeakTensorKeyDictionary

__all__ = ["ChannelAxes", "ChannelAxisTracker", "lost_after", "tensors"]

State = int | str | None
"""Axis of the channels, why it is lost, or None for a tensor that no function made, as inputs."""

_LAST = frozenset(
    "linear bilinear rms_norm embedding embedding_bag conv_tbc multi_head_attention_forward lstm gru rnn_tanh rnn_relu "
    "lstm_cell gru_cell rnn_tanh_cell rnn_relu_cell".split()
)
_SECOND = frozenset("batch_norm instance_norm group_norm".split())
_THIRD_FROM_END = frozenset("pixel_shuffle pixel_unshuffle fold".split())
_RESIZING = frozenset("interpolate upsample grid_sample pad glu".split())
_RESHAPING = frozenset("view reshape view_as reshape_as flatten unflatten ravel".split())
_MOVING = _RESHAPING | frozenset(
    "permute transpose swapaxes swapdims movedim moveaxis t T mT H mH adjoint unsqueeze squeeze expand expand_as "
    "broadcast_to repeat tile repeat_interleave select narrow index_select __getitem__ chunk split tensor_split "
    "split_with_sizes unbind stack mean sum amax amin max min".split()
)
_WITH_WEIGHTS = frozenset("matmul mm __matmul__ __rmatmul__ addmm".split())
_MIXING = _WITH_WEIGHTS | frozenset(
    "bmm baddbmm addbmm einsum tensordot inner outer kron mv addmv chain_matmul cdist cov corrcoef unfold".split()
)
_AMBIGUOUS = "which of its axes holds the channels cannot be told"


def tensors(value: Any) -> Iterator[Tensor]:
    """Every tensor in nested tuples, lists, mappings and data classes."""
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, Mapping):
        for item in value.values():
            yield from tensors(item)
    elif isinstance(value, (tuple, list)):
        for item in value:
            yield from tensors(item)
    elif hasattr(value, "__dataclass_fields__"):
        yield from tensors(vars(value))


def lost_after(name: str) -> str:
    """Why the channels of a tensor cannot be told that a function made."""
    return f"the channels are lost after {name}"


class ChannelAxes:
    """The channel axis of each tensor of a pass, as far as it is known."""

    def __init__(self) -> None:
        self._states: Any = WeakTensorKeyDictionary()
        self._weights: Any = WeakTensorKeyDictionary()

    def state(self, tensor: Tensor) -> State:
        """What is known of a tensor."""
        state: State = self._states.get(tensor)
        return state

    def remember(self, tensor: Tensor, state: State) -> None:
        """Know something of a tensor, or nothing."""
        if state is None:
            self._states.pop(tensor, None)
        elif tensor.dim() >= 2:
            self._states[tensor] = state

    def told(self, tensor: Tensor) -> tuple[int | None, str]:
        """The axis, or None and why it cannot be told; of an input, rows of features or (batch, channels, ...)."""
        state = self.state(tensor)
        if state is None:
            state = _usual(tensor.shape)
        return (state, "") if isinstance(state, int) else (None, state or _AMBIGUOUS)

    def is_weight(self, tensor: Tensor) -> bool:
        """Whether a tensor is a parameter, or computed from nothing else."""
        return isinstance(tensor, nn.Parameter) or tensor in self._weights

    def remember_weight(self, tensor: Tensor) -> None:
        """A tensor that is computed from parameters alone."""
        self._weights[tensor] = True


def _usual(shape: Sequence[int]) -> int | None:
    return 1 if len(shape) == 2 or len(shape) >= 4 else None


@dataclass(frozen=True)
class _Given:
    """A tensor that a function is given, as it is before the call, which may change it in place."""

    shape: tuple[int, ...]
    state: State
    is_weight: bool


class ChannelAxisTracker(TorchFunctionMode):
    """Keeps up with the functions that run."""

    def __init__(self, axes: ChannelAxes) -> None:
        super().__init__()
        self.axes = axes

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        kwargs = kwargs or {}
        given = [
            _Given(tuple(one.shape), self.axes.state(one), self.axes.is_weight(one))
            for one in tensors((args, kwargs))
        ]
        result = func(*args, **kwargs)
        results = list(tensors(result))
        if given and results:
            name = _name(func)
            if all(one.is_weight for one in given):
                for one in results:
                    self.axes.remember_weight(one)
            elif not name.startswith("new_"):  # of the same type and device, and nothing else
                moved = _Moving(func, args, kwargs, name) if name in _MOVING else None
                for index, one in enumerate(results):
                    self.axes.remember(one, _state(name, given, one, moved, index))
        return result


def _name(func: Any) -> str:
    """Of a function, in place or not; of what an attribute such as ``x.mT`` is, its own."""
    name = str(getattr(func, "__name__", ""))
    if name == "__get__":
        return str(getattr(func.__self__, "__name__", name))
    return name if name.endswith("__") else name.rstrip("_")


def _state(
    name: str, given: Sequence[_Given], result: Tensor, moved: _Moving | None, index: int
) -> State:
    """What is known of a function's result."""
    axes = result.dim()
    if name in _LAST or (name == "layer_norm" and result.shape[:-1] == given[0].shape[:-1]):
        return axes - 1
    if name in _SECOND:
        return 1
    if name in _THIRD_FROM_END:
        return axes - 3
    if name.startswith(("conv", "_conv")):
        return axes - 1 - (_rank(name) or len(given[1].shape) - 2)  # the kernel is (out, in, ...)
    if name in _RESIZING or "pool" in name or "upsample" in name:
        return _resized(name, given[0], axes)
    if name == "scaled_dot_product_attention":
        return given[2].state or lost_after(name)
    if name in ("cat", "concat", "concatenate"):
        return _common(name, [one for one in given if not one.is_weight])
    if name in _MIXING or name.startswith("linalg"):
        return _mixed(name, given, axes)
    if moved is not None and (len(given) == 1 or name not in ("max", "min")):
        return moved.state(given, result, index)
    return _aligned(name, given, tuple(result.shape))


def _resized(name: str, given: _Given, axes: int) -> State:
    """Of what changes sizes, and leaves axes where they are."""
    if given.state is not None or name in ("pad", "glu"):
        return given.state
    rank = _rank(name)
    return axes - 1 - rank if rank else 1


def _rank(name: str) -> int:
    """How many axes of space a function's name speaks of: 2 for ``conv2d``; 0 for none."""
    return next((int(letter) for letter in name if letter in "123"), 0)


def _mixed(name: str, given: Sequence[_Given], axes: int) -> State:
    """Of a product of matrices: with weights on one side it is a layer."""
    if name in _WITH_WEIGHTS and len(given) > 1:
        left, right = reversed(given) if name == "__rmatmul__" else given[-2:]
        if right.is_weight and len(right.shape) == 2:
            return axes - 1
        if left.is_weight and len(left.shape) == 2:
            return axes - 2
    return lost_after(name)


def _common(name: str, given: Sequence[_Given], shape: Sequence[int] | None = None) -> State:
    """What tensors whose axes lie side by side have in common; the more is known of one, the more it counts."""
    known = set()
    for one in given:
        if isinstance(one.state, int):
            axis = one.state + (len(shape) - len(one.shape) if shape is not None else 0)
            if shape is None or one.shape[one.state] == shape[axis]:
                known.add(axis)
    if len(known) > 1:
        shown = " and ".join(map(str, sorted(known)))
        return f"{_spoken(name)} brings together tensors whose channels lie on axes {shown}"
    if known:
        return known.pop()
    return next((one.state for one in given if isinstance(one.state, str)), None)


def _aligned(name: str, given: Sequence[_Given], shape: tuple[int, ...]) -> State:
    """Of a function whose result has the shape of what it is given, or the one to which that is broadcast."""
    given = [one for one in given if not one.is_weight and len(one.shape) <= len(shape)]
    same = [one for one in given if one.shape == shape]
    if same and (state := _common(name, same)) is not None:
        return state
    broadcast = [one for one in given if _fits(one.shape, shape)]
    if same or all(
        size == 1 or any(len(one.shape) >= -at and one.shape[at] == size for one in broadcast)
        for at, size in zip(range(-len(shape), 0), shape, strict=True)
    ):
        return _common(name, broadcast, shape)
    return lost_after(_spoken(name))


def _fits(one: Sequence[int], shape: Sequence[int]) -> bool:
    """Whether a shape can be broadcast to another."""
    pairs = zip(reversed(one), reversed(shape), strict=False)
    return all(size in (1, wanted) for size, wanted in pairs)


def _spoken(name: str) -> str:
    return {"__getitem__": "an index"}.get(name, name.strip("_"))


class _Moving:
    """A function that moves numbers, and does not compute new ones from several channels unless they are summed up."""

    def __init__(self, func: Any, args: Sequence[Any], kwargs: Mapping[str, Any], name: str):
        self.func, self.args, self.kwargs, self.name = func, args, kwargs, name

    def state(self, given: Sequence[_Given], result: Tensor, index: int) -> State:
        """What is known of one of the results."""
        first, shape = given[0], tuple(result.shape)
        state = _common(self.name, given) if self.name == "stack" else first.state
        state = _usual(first.shape) if state is None else state
        if (
            isinstance(state, int)
            and (axis := self._followed(first, state, shape, index)) is not None
        ):
            return axis
        if len(shape) == 2 and self._keeps_batch(first, shape, index):
            return 1  # rows of features, whatever they were
        if isinstance(state, str):
            return state
        return lost_after(_spoken(self.name)) if isinstance(state, int) else _AMBIGUOUS

    def _keeps_batch(self, first: _Given, shape: tuple[int, ...], index: int) -> bool:
        if not first.shape or first.shape[0] != shape[0]:
            return False
        return shape[0] == 1 or self._followed(first, 0, shape, index) == 0

    def _followed(
        self, first: _Given, axis: int, shape: tuple[int, ...], index: int
    ) -> int | None:
        """Where an axis is in the result; None if it is no axis there."""
        size = first.shape[axis]
        numbered = self._numbered(first.shape, axis, max(size, 2), index)
        if size == 1:
            if numbered is not None and numbered.dim() == len(shape):
                wider = [at for at, have in enumerate(numbered.shape) if have != shape[at]]
                if len(wider) == 1 and numbered.shape[wider[0]] == 2:
                    return wider[0]
            return shape.index(1) if shape.count(1) == 1 else None
        if numbered is None or tuple(numbered.shape) != shape:
            return None
        varying = [at for at in range(numbered.dim()) if _varies(numbered, at)]
        if not varying and len(shape) == len(first.shape):  # one channel is left
            rest = [
                a == b
                for at, (a, b) in enumerate(zip(shape, first.shape, strict=True))
                if at != axis
            ]
            return axis if all(rest) else None
        if len(varying) != 1:
            return None
        if self.name in _RESHAPING and shape[varying[0]] != size:
            return None
        return varying[0]

    def _numbered(self, shape: Sequence[int], axis: int, size: int, index: int) -> Tensor | None:
        """The result for the position on an axis in the place of each number; None if there is none."""
        sizes = [*shape[:axis], size, *shape[axis + 1 :]]
        line = [-1 if at == axis else 1 for at in range(len(sizes))]
        source = next(tensors((self.args, self.kwargs)))
        device = torch.device("cpu") if source.is_meta else source.device
        args, kwargs = list(self.args), dict(self.kwargs)
        slots: Any = args if args else kwargs
        key = 0 if args else next(iter(kwargs))
        try:
            numbers = (
                torch.arange(size, dtype=torch.float64, device=device).view(line).expand(sizes)
            )
            slots[key] = numbers if isinstance(slots[key], Tensor) else [numbers] * len(slots[key])
            return next(itertools.islice(tensors(self.func(*args, **kwargs)), index, None), None)
        except Exception:  # a view that fits the one size alone, an index without numbers
            return None


def _varies(tensor: Tensor, axis: int) -> bool:
    count = tensor.shape[axis]
    return count > 1 and bool(
        (tensor.narrow(axis, 1, count - 1) != tensor.narrow(axis, 0, count - 1)).any()
    )
