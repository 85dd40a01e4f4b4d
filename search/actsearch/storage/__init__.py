"""The database: studies, trials, evaluations, epochs, confirmations and the lease. The only door to SQLAlchemy."""

from actsearch.storage.database import Database, redacted
from actsearch.storage.lease import Lease
from actsearch.storage.store import Confirmation, Storage

__all__ = ["Confirmation", "Database", "Lease", "Storage", "redacted"]
