"""Keeping a library quiet about what a user did not start."""

from __future__ import annotations

import contextlib
import logging
import warnings
from collections.abc import Iterator

__all__ = ["silence"]


@contextlib.contextmanager
def silence(
    library: str, *categories: type[Warning], level: int = logging.WARNING
) -> Iterator[None]:
    """Inside, a library logs from a level on and gives no warnings of these categories; its own level is given back."""
    logger = logging.getLogger(library)
    before = logger.level
    logger.setLevel(level)
    try:
        with warnings.catch_warnings():
            for category in categories:
                warnings.simplefilter("ignore", category)
            yield
    finally:
        logger.setLevel(before)
