"""Which other trials of a study are the same function, have its values, or are its mirror images."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["Twins", "find_twins"]


class Twins(NamedTuple):
    """Numbers of trials, in order.

    Attributes:
        same: with the same identity.
        aliases: with the same values at the start, but another gradient or other parameters.
        mirrors: f(-x), -f(x) or -f(-x), which train alike between layers that are drawn symmetrically.
    """

    same: tuple[int, ...]
    aliases: tuple[int, ...]
    mirrors: tuple[int, ...]


def find_twins(
    frame: pd.DataFrame,
    fingerprint: str,
    alias: str,
    mirror: str,
    number: int | None = None,
) -> Twins:
    """Find the trials with a function, or with one that is nearly it.

    Args:
        frame: the trials, see :data:`actsearch.report.COLUMNS`.
        fingerprint: its identity; an empty text, here and below, matches nothing.
        alias: hash of its values.
        mirror: hash of its mirror class.
        number: the trial whose function it is, which is left out.
    """

    def where(chosen: pd.Series[bool]) -> tuple[int, ...]:
        return tuple(int(other) for other in frame["number"][chosen] if other != number)

    same = (frame["fingerprint"] == fingerprint) & bool(fingerprint)
    values = (frame["alias"] == alias) & bool(alias)
    image = (frame["mirror"] == mirror) & bool(mirror)
    return Twins(where(same), where(values & ~same), where(image & ~values & ~same))
