"""What the server was started with."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from actsearch.errors import StorageError

__all__ = ["requested_storage_url"]


def requested_storage_url(arguments: Sequence[str] | None = None) -> str:
    """The storage from the command line, ``streamlit run app.py -- URL``.

    Raises:
        StorageError: if there is none.
    """
    words = sys.argv[1:] if arguments is None else arguments
    if not words:
        raise StorageError(
            "no storage was given: start with  actsearch dashboard sqlite:///studies/actsearch.db"
        )
    return words[0]
