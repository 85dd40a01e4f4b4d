"""On which axis the channels lie: followed from the layers that set it through every function of a forward pass.

What only moves numbers (a permutation, a view, an index) is run once more, on the number of its channel in the place of
each number; these then vary along the axis sought, or the channels are lost.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode
from torch.utils.weak import WeakTensorKeyDictionary

from actsearch.placement.dataflow import call_name
from actsearch.placement.model_run import tensors

__all__ = ["ChannelAxisTracker", "lost_after"]

State = int | str | None
"""Axis of the channels, why it is lost, or None for a tensor that no function made, such as an input."""

# names of functions by where the channels lie in their results
_LAST = frozenset(
    "linear bilinear rms_norm embedding embedding_bag conv_tbc multi_head_attention_forward lstm gru rnn_tanh rnn_relu "
    "lstm_cell gru_cell rnn_tanh_cell rnn_relu_cell".split()
)
_SECOND = frozenset("batch_norm instance_norm group_norm".split())
_THIRD_FROM_END = frozenset("pixel_shuffle pixel_unshuffle fold".split())
# by what they do with axes
_RESIZING = frozenset("interpolate upsample grid_sample pad glu".split())
_RESHAPING = frozenset("view reshape view_as reshape_as flatten unflatten ravel".split())
_MOVING = _RESHAPING | frozenset(
    "permute transpose swapaxes swapdims movedim moveaxis t T mT H mH adjoint unsqueeze squeeze expand expand_as "
    "broadcast_to repeat tile repeat_interleave select narrow index_select getitem chunk split tensor_split "
    "split_with_sizes unbind stack mean sum amax amin max min".split()
)
_WITH_WEIGHTS = frozenset("matmul mm rmatmul addmm".split())
_MIXING = _WITH_WEIGHTS | frozenset(
    "bmm baddbmm addbmm einsum tensordot inner outer kron mv addmv chain_matmul cdist cov corrcoef unfold".split()
)
_AMBIGUOUS = "which of its axes holds the channels is unknown"


def lost_after(name: str) -> str:
    """Why the channels of a tensor that a function made are unknown."""
    return f"the channels are lost after {'an index' if name == 'getitem' else name}"


def _usual_axis(shape: Sequence[int]) -> int | None:
    # of three axes, channels may be the second, as of a signal, or the last, as of a sentence
    return 1 if len(shape) == 2 or len(shape) >= 4 else None


@dataclass(frozen=True)
class _Operand:
    """A tensor that a function is given, as it is before the call, which may change it in place."""

    shape: tuple[int, ...]
    state: State
    is_weight: bool


class ChannelAxisTracker(TorchFunctionMode):
    """The channel axis of each tensor of a pass, as far as it is known; while active, it keeps up with what runs."""

    def __init__(self) -> None:
        super().__init__()
        # keyed by identity, since == of tensors compares numbers; weak, so that a pass frees its tensors as usual
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

    def channel_axis(self, tensor: Tensor) -> tuple[int | None, str]:
        """The axis, or None and why it is unknown; of an input, rows of features or (batch, channels, ...)."""
        state = self.state(tensor)
        if state is None:
            state = _usual_axis(tensor.shape)
        return (state, "") if isinstance(state, int) else (None, state or _AMBIGUOUS)

    def _describe(self, tensor: Tensor) -> _Operand:
        # a parameter, or computed from nothing else
        is_weight = isinstance(tensor, nn.Parameter) or tensor in self._weights
        return _Operand(tuple(tensor.shape), self.state(tensor), is_weight)

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        kwargs = kwargs or {}
        operands = [self._describe(tensor) for tensor in tensors((args, kwargs))]
        result = func(*args, **kwargs)
        results = list(tensors(result))
        if operands and results:
            name = call_name(func)
            if all(operand.is_weight for operand in operands):
                for tensor in results:
                    self._weights[tensor] = True
            elif not name.startswith("new_"):  # of the same type and device, and nothing else
                move = _Move(func, args, kwargs, name) if name in _MOVING else None
                for index, tensor in enumerate(results):
                    self.remember(tensor, _state(name, operands, tensor, move, index))
        return result


def _state(
    name: str, operands: Sequence[_Operand], result: Tensor, move: _Move | None, index: int
) -> State:
    """What is known of a function's result."""
    axes = result.dim()
    if name in _LAST or (name == "layer_norm" and result.shape[:-1] == operands[0].shape[:-1]):
        return axes - 1
    if name in _SECOND:
        return 1
    if name in _THIRD_FROM_END:
        return axes - 3
    if name.startswith("conv"):
        kernel = operands[1].shape  # (out, in, ...)
        return axes - 1 - (_spatial_rank(name) or len(kernel) - 2)
    if name in _RESIZING or "pool" in name or "upsample" in name:
        return _resized_state(name, operands[0], axes)
    if name == "scaled_dot_product_attention":
        return operands[2].state or lost_after(name)
    if name in ("cat", "concat", "concatenate"):
        return _common_axis(name, [operand for operand in operands if not operand.is_weight])
    if name in _MIXING or name.startswith("linalg"):
        return _product_state(name, operands, axes)
    if move is not None and (len(operands) == 1 or name not in ("max", "min")):
        return move.state(operands, result, index)
    return _broadcast_state(name, operands, tuple(result.shape))


def _resized_state(name: str, operand: _Operand, axes: int) -> State:
    """Of what changes sizes, and leaves axes where they are."""
    if operand.state is not None or name in ("pad", "glu"):
        return operand.state
    rank = _spatial_rank(name)
    return axes - 1 - rank if rank else 1


def _spatial_rank(name: str) -> int:
    """How many axes of space a function's name speaks of: 2 for ``conv2d``; 0 for none."""
    return next((int(letter) for letter in name if letter in "123"), 0)


def _product_state(name: str, operands: Sequence[_Operand], axes: int) -> State:
    """Of a product of matrices: with weights on one side it is a layer."""
    if name in _WITH_WEIGHTS and len(operands) > 1:
        left, right = reversed(operands) if name == "rmatmul" else operands[-2:]
        if right.is_weight and len(right.shape) == 2:
            return axes - 1
        if left.is_weight and len(left.shape) == 2:
            return axes - 2
    return lost_after(name)


def _common_axis(
    name: str, operands: Sequence[_Operand], shape: Sequence[int] | None = None
) -> State:
    """What tensors whose axes lie side by side have in common; the more is known of one, the more it counts."""
    known = set()
    for operand in operands:
        if isinstance(operand.state, int):
            axis = operand.state + (len(shape) - len(operand.shape) if shape is not None else 0)
            if shape is None or operand.shape[operand.state] == shape[axis]:
                known.add(axis)
    if len(known) > 1:
        shown = " and ".join(map(str, sorted(known)))
        return f"{name} brings together tensors whose channels lie on axes {shown}"
    if known:
        return known.pop()
    return next((operand.state for operand in operands if isinstance(operand.state, str)), None)


def _broadcast_state(name: str, operands: Sequence[_Operand], shape: tuple[int, ...]) -> State:
    """Of a function whose result has the shape of its operands, or the one to which that is broadcast."""
    operands = [
        operand
        for operand in operands
        if not operand.is_weight and len(operand.shape) <= len(shape)
    ]
    same = [operand for operand in operands if operand.shape == shape]
    if same and (state := _common_axis(name, same)) is not None:
        return state
    broadcast = [operand for operand in operands if _is_broadcastable(operand.shape, shape)]
    if same or all(
        size == 1
        or any(
            len(operand.shape) >= -axis and operand.shape[axis] == size for operand in broadcast
        )
        for axis, size in zip(range(-len(shape), 0), shape, strict=True)
    ):
        return _common_axis(name, broadcast, shape)
    return lost_after(name)


def _is_broadcastable(own: Sequence[int], shape: Sequence[int]) -> bool:
    """Whether a shape can be broadcast to another."""
    pairs = zip(reversed(own), reversed(shape), strict=False)
    return all(size in (1, wanted) for size, wanted in pairs)


class _Move:
    """A function that moves numbers, and does not compute new ones from several channels unless they are summed up."""

    def __init__(self, func: Any, args: Sequence[Any], kwargs: Mapping[str, Any], name: str):
        self.func, self.args, self.kwargs, self.name = func, args, kwargs, name

    def state(self, operands: Sequence[_Operand], result: Tensor, index: int) -> State:
        """What is known of one of the results."""
        first, shape = operands[0], tuple(result.shape)
        state = _common_axis(self.name, operands) if self.name == "stack" else first.state
        state = _usual_axis(first.shape) if state is None else state
        if (
            isinstance(state, int)
            and (axis := self._follow_axis(first, state, shape, index)) is not None
        ):
            return axis
        if len(shape) == 2 and self._keeps_batch(first, shape, index):
            return 1  # rows of features, whatever they were
        if isinstance(state, str):
            return state
        return lost_after(self.name) if isinstance(state, int) else _AMBIGUOUS

    def _keeps_batch(self, first: _Operand, shape: tuple[int, ...], index: int) -> bool:
        if not first.shape or first.shape[0] != shape[0]:
            return False
        return shape[0] == 1 or self._follow_axis(first, 0, shape, index) == 0

    def _follow_axis(
        self, first: _Operand, axis: int, shape: tuple[int, ...], index: int
    ) -> int | None:
        """Where an axis is in the result; None if it is not one axis there."""
        size = first.shape[axis]
        positions = self._move_positions(first.shape, axis, max(size, 2), index)
        if size == 1:  # numbered as if there were two: where the result has two, the axis is
            if positions is not None and positions.dim() == len(shape):
                wider = [dim for dim, have in enumerate(positions.shape) if have != shape[dim]]
                if len(wider) == 1 and positions.shape[wider[0]] == 2:
                    return wider[0]
            return shape.index(1) if shape.count(1) == 1 else None
        if positions is None or tuple(positions.shape) != shape:
            return None
        varying = [dim for dim in range(positions.dim()) if _varies(positions, dim)]
        if not varying and len(shape) == len(first.shape):  # one channel is left
            pairs = list(zip(shape, first.shape, strict=True))
            keeps_rest = all(a == b for a, b in [*pairs[:axis], *pairs[axis + 1 :]])
            return axis if keeps_rest else None
        if len(varying) != 1:
            return None
        if self.name in _RESHAPING and shape[varying[0]] != size:
            return None
        return varying[0]

    def _move_positions(
        self, shape: Sequence[int], axis: int, size: int, index: int
    ) -> Tensor | None:
        """The result for the position on an axis in the place of each number; None if there is none."""
        sizes = [*shape[:axis], size, *shape[axis + 1 :]]
        line = [-1 if dim == axis else 1 for dim in range(len(sizes))]
        source = next(tensors((self.args, self.kwargs)))
        device = torch.device("cpu") if source.is_meta else source.device
        args, kwargs = list(self.args), dict(self.kwargs)
        slots: Any = args if args else kwargs
        key = 0 if args else next(iter(kwargs))
        try:
            # floating, since mean takes no integers; double precision numbers any axis exactly
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
