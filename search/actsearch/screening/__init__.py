"""Identity of candidates, and refusing hopeless ones before any training."""

from actsearch.screening.identity import Identity, fingerprint, identify
from actsearch.screening.screen import Screening, screen

__all__ = ["Identity", "Screening", "fingerprint", "identify", "screen"]
