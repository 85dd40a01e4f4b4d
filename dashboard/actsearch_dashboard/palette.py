"""Colours, the same on every page: Okabe and Ito's, which colour-blind readers can tell apart.

Sky blue and yellow are darker than theirs: each colour has a contrast of 3 or more to a white page and to a dark one.
"""

from __future__ import annotations

from actsearch.records import TrialState

__all__ = [
    "ACCENT", "BEFORE", "BLUE", "GREEN", "GREY", "INPUTS", "ORANGE", "SERIES", "SKY", "STATES", "VERDICTS", "YELLOW",
    "series_colour",
]  # fmt: skip

BLUE = "#0072B2"  # what was measured: a trial, validation data, the function itself
ORANGE = "#D55E00"  # what follows from it: best so far, training data, the derivative
GREEN = "#009E73"
PURPLE = "#CC79A7"
SKY = "#3E97CF"
YELLOW = "#BE8500"
GREY = "#8C8C8C"

ACCENT = {"light": BLUE, "dark": "#2A78B8"}
"""Of widgets, by the page's theme: white text on it has a contrast of 4.5 or more."""

SERIES = (BLUE, ORANGE, GREEN, PURPLE, YELLOW, SKY)
"""Colours of things compared with each other, in the order in which they were chosen."""


def series_colour(index: int) -> str:
    """The colour of one of several things that are compared."""
    return SERIES[index % len(SERIES)]


INPUTS = SKY
"""What arrived at an activation."""

BEFORE = GREY
"""How something stood before training, beside how it stands after it."""

STATES = {
    TrialState.COMPLETE: BLUE,
    TrialState.PRUNED: PURPLE,
    TrialState.FAILED: GREY,
    TrialState.RUNNING: GREEN,
    TrialState.WAITING: SKY,
    TrialState.REJECTED: YELLOW,
    TrialState.DUPLICATE: "#6E6E6E",
}
"""Colour of a trial by its state."""

VERDICTS = {"better": GREEN, "worse": ORANGE, "equivalent": SKY}
"""Colour of a verdict's word; grey for the rest."""
