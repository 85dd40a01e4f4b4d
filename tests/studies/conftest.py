"""A study that is run here as a script leaves nothing behind for other tests."""

from __future__ import annotations

import logging
from collections.abc import Iterator

import pytest


@pytest.fixture(autouse=True)
def log_level() -> Iterator[None]:
    """A script has its log read, and what is read there is not printed between bars."""
    log = logging.getLogger("actsearch")
    before = log.level
    yield
    log.setLevel(before)
