"""Dropout whose masks depend on the seed, the site and the step, and not on what else draws numbers."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from types import FrameType
from typing import Any

import torch
from torch import Tensor, nn

from actsearch.seeds import derive

__all__ = ["KeyedDropout", "dropout_masks", "key_dropout"]


def key_dropout(model: nn.Module, seed: int) -> None:
    """Give each dropout module of a model a stream of its own, derived from a seed and its place in the model.

    Candidates of one study then see the same masks under the same seed, alone or in any stack.
    Modules inside of ``torch.utils.checkpoint`` draw from torch's global stream as before, which the checkpoint winds
    back for its second pass; so do alpha dropout and dropout called as a function.
    """
    count = 0  # of dropout modules alone: the model unchanged and one with sites in it number them alike
    for module in model.modules():
        if (keyed := KEYED.get(type(module))) is not None:
            module.__class__ = keyed
        if isinstance(module, KeyedDropout):
            module.reseed(derive(seed, "dropout", count))
            count += 1


class KeyedDropout(nn.Module):
    """What torch's dropout modules become while they are trained; mixed into the module's class."""

    p: float
    inplace: bool
    spatial = False

    def reseed(self, seed: int) -> None:
        """Start the stream of masks anew."""
        self.__dict__["_mask_seed"] = seed
        self.__dict__["_mask_generator"] = None
        self.__dict__["_mask_is_global"] = None

    def mask(self, shape: Sequence[int], like: Tensor) -> Tensor:
        """The next mask for inputs of a shape: 0 with probability p, else 1 / (1 - p)."""
        generator = self.__dict__["_mask_generator"]
        if generator is None:
            generator = torch.Generator(like.device).manual_seed(self.__dict__["_mask_seed"])
            self.__dict__["_mask_generator"] = generator
        # spatial: one number for each (sample, channel), broadcast over the rest
        size = [*shape[:2], *(1 for _ in shape[2:])] if self.spatial else list(shape)
        mask = torch.empty(size, dtype=like.dtype, device=like.device)
        if self.p == 1:  # 1 / (1 - p) would be infinite, and 0 times it NaN
            return mask.zero_()
        return mask.bernoulli_(1 - self.p, generator=generator).div_(1 - self.p)

    def draws_globally(self) -> bool:
        """Whether this module belongs to torch's own stream; found out where it is first run."""
        known = self.__dict__["_mask_is_global"]
        if known is None:
            known = self.__dict__["_mask_is_global"] = _is_checkpointed()
        return bool(known)

    def forward(self, x: Tensor) -> Tensor:
        """Shape kept."""
        if not self.training or self.p == 0 or self.draws_globally():
            return super().forward(x)  # type: ignore[no-any-return]
        mask = self.mask(x.shape, x)
        return x.mul_(mask) if self.inplace else x * mask

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_mask_generator": None}  # a copy begins its masks anew


class Dropout(KeyedDropout, nn.Dropout):
    """torch's, with masks of its own."""


class Dropout1d(KeyedDropout, nn.Dropout1d):
    """torch's, with masks of its own."""

    spatial = True


class Dropout2d(KeyedDropout, nn.Dropout2d):
    """torch's, with masks of its own."""

    spatial = True


class Dropout3d(KeyedDropout, nn.Dropout3d):
    """torch's, with masks of its own."""

    spatial = True


KEYED: dict[type[nn.Module], type[nn.Module]] = {
    nn.Dropout: Dropout,
    nn.Dropout1d: Dropout1d,
    nn.Dropout2d: Dropout2d,
    nn.Dropout3d: Dropout3d,
}
"""Class with masks of its own by class of torch."""


def dropout_masks(streams: Sequence[KeyedDropout], shape: Sequence[int], like: Tensor) -> Tensor:
    """The next mask of each stream, shape ``(streams, *mask)``."""
    return torch.stack([stream.mask(shape, like) for stream in streams])


def _is_checkpointed() -> bool:
    frame: FrameType | None = sys._getframe(1)
    while frame is not None:
        if frame.f_globals.get("__name__") == "torch.utils.checkpoint":
            return True
        frame = frame.f_back
    return False
