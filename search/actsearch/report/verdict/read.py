"""Verdicts as a storage holds them."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any

from actsearch.errors import StorageError
from actsearch.report.verdict.rows import Verdict

__all__ = ["read_verdicts"]

_log = logging.getLogger("actsearch")


def read_verdicts(
    confirmations: Iterable[tuple[datetime, Mapping[str, Any]]],
) -> list[tuple[datetime, Verdict]]:
    """Stored verdicts with their time; what cannot be read is left out and logged."""
    verdicts = []
    for created, data in confirmations:
        try:
            verdicts.append((created, Verdict.from_json(data)))
        except StorageError as error:
            _log.warning("%s", error)
    return verdicts
