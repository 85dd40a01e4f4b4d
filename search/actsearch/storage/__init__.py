"""The database: studies, trials and all that belongs to them, the lease. The only door to SQLAlchemy."""

from actsearch.storage.confirmations import StoredTraining
from actsearch.storage.environment import versions
from actsearch.storage.lease import Lease
from actsearch.storage.overview import Overview
from actsearch.storage.redaction import Secrets, may_hold_password, quote_name, redact
from actsearch.storage.store import Storage
from actsearch.storage.trial_reader import FIELDS
from actsearch.storage.url import DEFAULT_STORAGE, storage_file, storage_url

__all__ = [
    "DEFAULT_STORAGE",
    "FIELDS",
    "Lease",
    "Overview",
    "Secrets",
    "Storage",
    "StoredTraining",
    "storage_file",
    "may_hold_password",
    "quote_name",
    "redact",
    "storage_url",
    "versions",
]
