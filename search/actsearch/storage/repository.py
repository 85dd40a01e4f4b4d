"""What the parts of :class:`actsearch.storage.Storage` share: the database, and writes that only the driver makes."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from sqlalchemy.orm import Session

from actsearch.storage.database import Database
from actsearch.storage.lease import Lease

__all__ = ["Repository"]


class Repository:
    """Reads and writes rows of one kind; each method is one transaction."""

    def __init__(self, url: str, *, create: bool = False, read_only: bool = False) -> None:
        """See :class:`actsearch.storage.database.Database`."""
        self.database = Database(url, create=create, read_only=read_only)

    @contextlib.contextmanager
    def _writing(self, lease: Lease) -> Iterator[Session]:
        """A session in a write transaction; StudyError, with nothing written, when another driver has the lease."""
        with self.database.writing() as session:
            lease.check(session)
            yield session
