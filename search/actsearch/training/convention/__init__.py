"""How a task's outputs and targets are read, found out before its first training."""

from actsearch.training.convention.reading import (
    Reading,
    keep_reading,
    known_reading,
    reading_of,
    set_reading,
)

__all__ = ["Reading", "keep_reading", "known_reading", "reading_of", "set_reading"]
