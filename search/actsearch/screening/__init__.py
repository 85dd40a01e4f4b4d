"""Identity of candidates, and refusing hopeless ones before any training."""

from actsearch.screening.distance import closest, distance
from actsearch.screening.identity import Identity, fingerprint, identify
from actsearch.screening.samples import sampled, samples_of
from actsearch.screening.screen import Screening, screen
from actsearch.screening.simplification import simplify

__all__ = [
    "Identity",
    "Screening",
    "closest",
    "distance",
    "fingerprint",
    "identify",
    "sampled",
    "samples_of",
    "screen",
    "simplify",
]
