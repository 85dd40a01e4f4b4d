"""A function as a table of codes, as integer hardware computes every function of one number.

int8: 256 entries, one for each code. int16: 513 entries, one for every 128th code, and a line between two of them,
each entry shifted by half of the error in the middle. Both as TensorFlow Lite makes and reads them
(``tensorflow/lite/kernels/internal/common.h``), in double precision: a real number is rounded to the nearest code,
halves away from zero, and codes beyond the range become its end.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from actsearch.checks import check_integer, check_number, check_one_of
from actsearch.errors import ActivationError

__all__ = ["LookupTable", "Quantisation", "TableModule", "make_table", "quantisation_for"]

Array = npt.NDArray[np.float64]
Codes = npt.NDArray[np.int64]
_Numbers = npt.NDArray[Any]
Bits = Literal[8, 16]

_STEPS = 512  # of an int16 table
_SPAN = 128  # codes between two of its entries
_FLATTEST = 1e-12  # output range of a constant, which needs a scale all the same


@dataclass(frozen=True)
class Quantisation:
    """Which real number a code stands for: ``scale * (code - zero_point)``.

    Attributes:
        scale: of one step, positive.
        zero_point: the code of 0.
        bits: 8, codes -128 to 127, or 16, -32768 to 32767.
    """

    scale: float
    zero_point: int
    bits: Bits = 8

    @property
    def lowest(self) -> int:
        """The smallest code."""
        return int(-(2 ** (self.bits - 1)))

    @property
    def highest(self) -> int:
        """The largest code."""
        return int(2 ** (self.bits - 1)) - 1

    @property
    def interval(self) -> tuple[float, float]:
        """The real numbers of the smallest and the largest code."""
        low, high = (self.scale * (end - self.zero_point) for end in (self.lowest, self.highest))
        return low, high

    def real(self, codes: Codes) -> Array:
        """The real numbers of codes."""
        return self.scale * (codes.astype(np.float64) - self.zero_point)

    def exact(self, values: Array) -> Array:
        """Where real numbers lie among the codes, not rounded, the ends of the range at most."""
        return np.clip(values / self.scale + self.zero_point, self.lowest, self.highest)

    def codes(self, values: Array) -> Codes:
        """The nearest codes, halves away from zero."""
        rounded = _round(values / self.scale) + self.zero_point
        return np.clip(rounded, self.lowest, self.highest).astype(np.int64)


def check_quantisation(name: str, scale: object, zero_point: object, bits: Bits) -> Quantisation:
    """What a user gives for one side, "input" or "output".

    Raises:
        ActivationError: a scale that is not positive, a zero point that is no code.
    """
    bits = check_one_of("bits", bits, (8, 16), ActivationError)
    number = check_number(f"{name}_scale", scale, ActivationError, above=0)
    limit = 2 ** (bits - 1)
    point = check_integer(
        f"{name}_zero_point", zero_point, ActivationError, low=-limit, high=limit - 1
    )
    if bits == 16 and point != 0:
        raise ActivationError(
            f"{name}_zero_point must be 0 for int16, whose codes TensorFlow Lite takes as symmetric, not {point}"
        )
    return Quantisation(float(number), point, bits)


def quantisation_for(low: float, high: float, bits: Bits) -> Quantisation:
    """The finest one that holds an interval and 0: asymmetric for int8, symmetric for int16, as TensorFlow Lite's."""
    low, high = min(low, 0.0), max(high, 0.0)
    if bits == 16:
        return Quantisation(max(-low, high, _FLATTEST) / (2**15 - 1), 0, 16)
    scale = max(high - low, _FLATTEST) / 255
    return Quantisation(scale, int(np.clip(_round(np.array(-128 - low / scale)), -128, 127)), 8)


@dataclass(frozen=True)
class LookupTable:
    """Codes in, codes out.

    Attributes:
        entries: 256 or 513 codes, the first for the smallest input.
        input: what input codes stand for.
        output: what output codes stand for.
        max_error: largest distance, in output codes, to the function's value among the codes, over every input code.
            A value beyond the last code counts as the last code.
        saturated: share of the input codes whose value lies beyond the output's range by more than half a code.
    """

    entries: tuple[int, ...]
    input: Quantisation
    output: Quantisation
    max_error: float
    saturated: float

    def look_up(self, codes: Codes) -> Codes:
        """The output codes of input codes, any shape."""
        return look_up(np.asarray(self.entries, np.int64), codes, self.input)

    def module(self) -> TableModule:
        """The table as a torch module that takes and gives real numbers."""
        return TableModule(self)


def look_up(entries: Codes, codes: Codes, source: Quantisation) -> Codes:
    """Entries at codes; of int16, on the line between two of them, rounded up from halves."""
    if source.bits == 8:
        found: Codes = entries[codes - source.lowest]
        return found
    index, offset = (codes - source.lowest) >> 7, codes & (_SPAN - 1)
    base = entries[index]
    between: Codes = base + (((entries[index + 1] - base) * offset + _SPAN // 2) >> 7)
    return between


def make_table(
    function: Callable[[Array], Array],
    source: Quantisation,
    target: Quantisation,
    label: str,
) -> LookupTable:
    """The table of a function.

    Args:
        function: values in float64 at points ``(n,)``.
        source: of its input.
        target: of its output; of as many bits.
        label: for messages.

    Raises:
        ActivationError: the function is not finite at an input that some code stands for.
    """
    if source.bits == 8:
        points = source.real(np.arange(source.lowest, source.highest + 1))
        entries = target.codes(_finite(function, points, label))
    else:
        entries = _interpolated(function, source, target, label)
    codes = np.arange(source.lowest, source.highest + 1)
    values = _finite(function, source.real(codes), label)
    error = np.abs(look_up(entries, codes, source) - target.exact(values)).max()
    beyond = np.abs(values / target.scale + target.zero_point - target.exact(values)) > 0.5
    return LookupTable(tuple(entries.tolist()), source, target, float(error), float(beyond.mean()))


def _interpolated(
    function: Callable[[Array], Array], source: Quantisation, target: Quantisation, label: str
) -> Codes:
    """Entries at both ends of 512 spans; that of the last end is taken at the largest code, as TensorFlow Lite does."""
    low, high = source.interval
    step = (high - low) / _STEPS
    at = low + step * np.arange(_STEPS)
    # TensorFlow Lite scales by the number of codes over their range, which is one code more than there are steps
    scale = 2**16 / (target.interval[1] - target.interval[0])
    here, middle, after = (
        _finite(function, points, label) * scale for points in (at, at + step / 2, at + step)
    )
    line = _round((after + _round(here)) / 2)
    bias = _round((line - _round(middle)) / 2)
    last = _round(_finite(function, np.array([high]), label) * scale)
    entries = np.concatenate([_round(here) - bias, last])
    result: Codes = np.clip(entries, target.lowest, target.highest).astype(np.int64)
    return result


def _finite(function: Callable[[Array], Array], points: _Numbers, label: str) -> Array:
    values = function(points)
    if not np.isfinite(values).all():
        worst = float(points[int(np.argmin(np.isfinite(values)))])
        raise ActivationError(
            f"{label} is not finite at x = {worst:g}, for which a code stands: choose an input scale and zero point "
            "whose codes stand for points where it has a value"
        )
    return values


def _round(values: Array) -> Array:
    """To the nearest integer, halves away from zero."""
    return np.sign(values) * np.floor(np.abs(values) + 0.5)


class TableModule(nn.Module):
    """A table between real numbers: they are rounded to codes, looked up, and turned back; shape and dtype kept.

    It computes what integer hardware does and has no gradient.
    """

    def __init__(self, table: LookupTable) -> None:
        super().__init__()
        self.table = table
        self.register_buffer("entries", torch.tensor(table.entries, dtype=torch.int64))

    def forward(self, x: Tensor) -> Tensor:
        """NaN stays NaN."""
        source, target = self.table.input, self.table.output
        scaled = x.detach().double() / source.scale
        rounded = torch.sign(scaled) * torch.floor(scaled.abs() + 0.5) + source.zero_point
        codes = rounded.nan_to_num(source.zero_point).clamp(source.lowest, source.highest).long()
        found = target.scale * (self.look_up(codes) - target.zero_point).double()
        return torch.where(torch.isnan(x), x, found.to(x.dtype))

    def look_up(self, codes: Tensor) -> Tensor:
        """Output codes of input codes, int64."""
        entries = self.entries
        assert isinstance(entries, Tensor)
        position = codes - self.table.input.lowest
        if self.table.input.bits == 8:
            return entries[position]
        index, offset = position >> 7, codes & (_SPAN - 1)
        base = entries[index]
        return base + (((entries[index + 1] - base) * offset + _SPAN // 2) >> 7)

    def extra_repr(self) -> str:
        """Scales and zero points, for ``print(model)``."""
        source, target = self.table.input, self.table.output
        return (
            f"int{source.bits}, input {source.scale:.3g} x (code - {source.zero_point}), "
            f"output {target.scale:.3g} x (code - {target.zero_point}), "
            f"max_error={math.ceil(100 * self.table.max_error) / 100:g} codes"
        )
