"""The database: studies, trials and all that belongs to them, the lease. The only door to SQLAlchemy."""

from actsearch.storage.backend import parsed
from actsearch.storage.database import Database
from actsearch.storage.environment import versions
from actsearch.storage.lease import Lease
from actsearch.storage.overview import Overview, Standing
from actsearch.storage.redaction import Secrets, redacted
from actsearch.storage.store import Confirmation, Storage

__all__ = [
    "Confirmation",
    "Database",
    "Lease",
    "Overview",
    "Secrets",
    "Standing",
    "Storage",
    "parsed",
    "redacted",
    "versions",
]
