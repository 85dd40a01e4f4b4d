"""What a verdict says of the conditions under which it was made."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from actsearch.report.verdict import stored

__all__ = ["KeptWeights", "SharedRows"]

Searched = Literal["train", "valid"]


@dataclass(frozen=True)
class KeptWeights:
    """Pretrained weights, as in fine-tuning.

    Attributes:
        kept: share of the model's parameters that have the same start value under every seed, above 0 to 1.
        frozen: share of the model's parameters that are among these and that training does not change, 0 to ``kept``.
        given: the task has a module instead of a function that builds one: whether its weights were trained before is
            not known.
    """

    kept: float
    frozen: float = 0.0
    given: bool = False

    @property
    def sentence(self) -> str:
        """What that does to a comparison, in plain words."""
        frozen = f" ({_format_share(self.frozen)} are frozen)" if self.frozen else ""
        if self.given:
            return (
                f"The model keeps the weights that it was given{frozen}: if they were trained before, they favour the "
                "activation they were trained with, and a candidate that loses here may win after a longer recovery, "
                "or from scratch."
            )
        return (
            f"{_format_share(self.kept)} of the weights are pretrained{frozen} and favour the activation they were "
            "trained with: a candidate that loses here may win after a longer recovery, or from scratch."
        )

    @classmethod
    def read(cls, data: Mapping[str, Any] | None) -> KeptWeights | None:
        """From JSON data; None for None."""
        if data is None:
            return None
        kept, frozen = (stored.read_share(data[key]) for key in ("kept", "frozen"))
        return cls(kept, frozen, bool(data.get("given")))


@dataclass(frozen=True)
class SharedRows:
    """Test rows that also stand in data of the search.

    Attributes:
        other: in which, "train" or "valid".
        shared: how many test rows have inputs that stand there.
        rows: test rows in all.
        relabelled: how many of the shared have other targets there.
    """

    other: str
    shared: int
    rows: int
    relabelled: int = 0

    @property
    def sentence(self) -> str:
        """What is shared, and what that does to the verdict."""
        what = "test rows also stand" if not self.relabelled else "test inputs also stand"
        targets = f" ({self.relabelled} with other targets)" if self.relabelled else ""
        return (
            f"{self.shared} of {self.rows} {what} in {self.other}{targets}: on these an activation is rewarded for "
            "what the model remembers."
        )

    @classmethod
    def read(cls, data: Mapping[str, Any]) -> SharedRows:
        """From JSON data.

        Raises:
            ValueError, KeyError, TypeError: for other data.
        """
        counts = (stored.read_count(data[key]) for key in ("shared", "rows", "relabelled"))
        return cls(stored.read_word(data["other"], Searched), *counts)


def _format_share(part: float) -> str:
    return f"{part:.0%}" if part in (0, 1) or 0.01 <= part <= 0.99 else f"{part:.1%}"
