"""What is kept with a study besides its settings and trials."""

from __future__ import annotations

from typing import Any

from actsearch.records import StudyRecord
from actsearch.storage import Storage

__all__ = ["set_attribute"]


def set_attribute(storage: Storage, name: str, key: str, value: Any) -> StudyRecord:
    """Set one of a study's ``user_attrs``, JSON data; gives the study as it is then.

    Raises:
        StudyError: another process runs it.
    """
    lease = storage.lease(storage.study(name))
    lease.acquire()
    try:
        record = storage.study(name)
        storage.update_study(record.id, lease, user_attrs={**record.user_attrs, key: value})
    finally:
        lease.release()
    return storage.study(name)
