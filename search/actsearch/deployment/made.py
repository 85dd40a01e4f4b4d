"""What a deployment gives."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from torch import nn

from actsearch.errors import ActivationError

__all__ = ["Check", "Deployment"]


@dataclass(frozen=True)
class Check:
    """A comparison with the formula in float64.

    Attributes:
        where: on which points, in words.
        max_error: largest distance there, in the deployment's unit.
        mean_error: the mean one.
    """

    where: str
    max_error: float
    mean_error: float


@dataclass(frozen=True, repr=False)
class Deployment:
    """An activation in the form that a product takes. ``print`` says what it is, how far off, and how to use it.

    Attributes:
        target: as it was asked for.
        label: of the activation.
        max_error: how far it is from the formula in float64 at most, in ``unit``. For hinges no point of the interval
            is further off (a sure bound); for tables no input code is, values beyond the output's range taken for its
            end, of which a note says how many there are; else the largest error of ``checks``.
        unit: "codes" of the output, or "absolute".
        checks: comparisons with the formula in float64, on a grid and on the recorded inputs.
        usage: how to use it.
        text: source, where the target is a text: Python, C, or the formula of the hinges.
        table: codes, for int8 and int16: 256 for the inputs -128 to 127, or 513.
        data: the file's bytes, for ONNX.
        ratio: time of forward and backward as a multiple of ``nn.GELU``'s, for compiled.
        interval: where the error is bounded, or what the input codes stand for; None where it is the whole line.
        settings: scales and zero points, knots, opset, and whatever else belongs to the target.
        notes: what a user should know besides.

    Example:
        >>> made = acs.deploy("silu", "int8", inputs=(-4.0, 4.0))
        >>> len(made.table), made.unit, made.max_error <= 0.5
        (256, 'codes', True)
    """

    target: str
    label: str
    max_error: float
    unit: str
    checks: tuple[Check, ...]
    usage: str
    text: str | None = None
    table: tuple[int, ...] | None = None
    data: bytes | None = None
    ratio: float | None = None
    interval: tuple[float, float] | None = None
    settings: Mapping[str, Any] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    _make: Callable[[], nn.Module] | None = field(default=None, compare=False)

    def module(self) -> nn.Module:
        """It as a torch module from real numbers to real numbers, for the place of the activation in a model.

        Raises:
            ActivationError: it is a file for another runtime.
        """
        if self._make is None:
            raise ActivationError(
                f"{self.target} is a file for another runtime, not a torch module: {self.usage}"
            )
        return self._make()

    def save(self, path: str | os.PathLike[str]) -> Path:
        """Write its text, its bytes, or its table, one code a line, to a file.

        Raises:
            ActivationError: it is none of these.
        """
        file = Path(path)
        if self.data is not None:
            file.write_bytes(self.data)
        elif self.text is not None:
            file.write_text(self.text, encoding="utf-8")
        elif self.table is not None:
            file.write_text("".join(f"{code}\n" for code in self.table), encoding="utf-8")
        else:
            raise ActivationError(f"{self.target} is no file: {self.usage}")
        return file

    def __str__(self) -> str:
        of_codes = "codes" if self.unit == "codes" else ""
        lines = [
            f"{self.label} as {self.target}: at most {self.max_error:.3g} {of_codes}".rstrip()
            + " off"
        ]
        lines += [
            f"  on {check.where}: at most {check.max_error:.3g}, {check.mean_error:.3g} in the mean"
            for check in self.checks
        ]
        if self.ratio is not None:
            lines.append(f"  forward and backward: {self.ratio:.2f} times nn.GELU on this machine")
        return "\n".join(
            [*lines, f"  use: {self.usage}", *(f"  note: {note}" for note in self.notes)]
        )

    def __repr__(self) -> str:
        return f"Deployment({self.target!r}, {self.label!r}, max_error={self.max_error:.3g} {self.unit})"
