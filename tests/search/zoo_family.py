"""What a family of the zoo is: a model, a batch for it, and the sites that it should have, counted by hand."""

from __future__ import annotations

import fnmatch
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from torch import nn

__all__ = ["ByHand", "Family"]


@dataclass(frozen=True)
class ByHand:
    """One site, as a reader of the class names it.

    Attributes:
        path: dotted name; ``*`` stands for the name of what has none, as ``x * sigmoid(x)`` in a forward.
        role: hidden, gate or output.
        formula: what it computes, in the language of :func:`actsearch.parse`; any text of the same values will do.
            None where it is no function of one number (softmax, or numbers of its own beside x), or an output with
            arithmetic behind it, which may be counted to it or not.
    """

    path: str
    role: str
    formula: str | None

    def names(self, path: str) -> bool:
        """Whether this is the site of that path."""
        return fnmatch.fnmatchcase(path, self.path)


@dataclass(frozen=True)
class Family:
    """A model, a batch for it, and its sites in the order in which they run in evaluation mode.

    A layer that is called several times has one site behind it, as has a module that stands at several places.

    Attributes:
        build: makes it.
        sample: makes a batch: a tensor, a tuple of arguments, a mapping of keywords, or an object of its own.
        table: its sites, one on each line: path, role, formula or "-".
        training: sites besides, which run in training mode alone.
    """

    build: Callable[[], nn.Module]
    sample: Callable[[], Any]
    table: str
    training: str = ""

    @property
    def sites(self) -> tuple[ByHand, ...]:
        """Those of evaluation mode, in order."""
        return tuple(_read(self.table))

    @property
    def sites_of_training(self) -> tuple[ByHand, ...]:
        """Those that run in training mode alone."""
        return tuple(_read(self.training))


def _read(table: str) -> Iterator[ByHand]:
    for line in filter(None, map(str.strip, table.splitlines())):
        path, role, formula = line.split(maxsplit=2)
        yield ByHand(path, role, None if formula == "-" else formula)
