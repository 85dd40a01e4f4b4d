"""One thing that is wrong with the data."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["Finding"]


@dataclass(frozen=True)
class Finding:
    """A sentence, and what follows from it.

    Attributes:
        text: what is wrong, where, with counts, and what to do.
        refused: whether nothing is to be trained on such data; else it is a warning.
    """

    text: str
    refused: bool = False
