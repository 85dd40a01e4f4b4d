"""What a verdict says of test data that the search has seen a part of."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from actsearch.report.verdict import stored

__all__ = ["SharedRows"]

Searched = Literal["train", "valid"]


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
