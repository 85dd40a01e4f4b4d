"""Identity of candidates, and refusing hopeless ones before any training."""

from actsearch.screening.identity import Identity, fingerprint, identify
from actsearch.screening.neighbours import closest
from actsearch.screening.refusals import Screening, screen
from actsearch.screening.samples import sample_curve, sample_curves
from actsearch.screening.simplification import simplify

__all__ = [
    "Identity",
    "Screening",
    "closest",
    "fingerprint",
    "identify",
    "sample_curve",
    "sample_curves",
    "screen",
    "simplify",
]
