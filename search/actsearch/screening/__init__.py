"""Identity of candidates, and refusing hopeless ones before any training."""

from actsearch.screening.identity import fingerprint, identify
from actsearch.screening.neighbours import closest
from actsearch.screening.refusals import screen
from actsearch.screening.samples import sample_curve, sample_curves
from actsearch.screening.simplification import simplify

__all__ = [
    "closest",
    "fingerprint",
    "identify",
    "sample_curve",
    "sample_curves",
    "screen",
    "simplify",
]
