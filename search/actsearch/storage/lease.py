"""One driver owns a study: a row with a token keeps a second one out."""

from __future__ import annotations

import getpass
import os
import socket
import uuid
from datetime import timedelta
from pathlib import Path

import sqlalchemy as sa
from sqlalchemy.orm import Session

from actsearch.errors import StudyError
from actsearch.storage.database import Database
from actsearch.storage.tables import Base, LeaseRow, utc_now

__all__ = ["Lease", "is_alive"]

_STALE = timedelta(
    hours=1
)  # another host's driver that has written nothing for so long is taken for dead


_held = set[str]()  # tokens that this process uses

_LEASES = Base.metadata.tables["leases"]
_RENEW = (
    _LEASES.update()
    .where(_LEASES.c.study_id == sa.bindparam("of_study"), _LEASES.c.token == sa.bindparam("ours"))
    .values(renewed=sa.bindparam("now"))
)


class Lease:
    """The right to write trials of one study, from :meth:`acquire` to :meth:`release`."""

    def __init__(self, database: Database, study_id: int, study_name: str) -> None:
        self._database = database
        self._study_id = study_id
        self._study_name = study_name
        self.token = uuid.uuid4().hex

    def acquire(self) -> None:
        """Take the lease; a dead driver's is taken over.

        Raises:
            StudyError: while another driver lives; says who, where and since when.
        """
        now = utc_now()
        with self._database.writing() as session:
            row = session.get(LeaseRow, self._study_id)
            if row is not None:
                if is_alive(row) and not _is_left_behind(row):
                    age = int((now - row.renewed).total_seconds())
                    raise StudyError(
                        f"study {self._study_name!r} is being run by {row.owner} on {row.host} "
                        f"(process {row.pid}, last write {age} s ago); stop that first, or wait for it"
                    )
                session.delete(row)
                session.flush()
            session.add(
                LeaseRow(
                    study_id=self._study_id,
                    token=self.token,
                    owner=_owner(),
                    host=socket.gethostname(),
                    pid=os.getpid(),
                    process=_process_start(os.getpid()),
                    acquired=now,
                    renewed=now,
                )
            )
        _held.add(self.token)

    def check(self, session: Session) -> None:
        """Inside a write transaction: still ours, and renewed.

        Raises:
            StudyError: when another driver has taken over; nothing is then written.
        """
        ours = {"of_study": self._study_id, "ours": self.token, "now": utc_now()}
        if session.connection().execute(_RENEW, ours).rowcount != 1:
            row = session.get(LeaseRow, self._study_id)
            by = "nobody" if row is None else f"{row.owner} on {row.host} (process {row.pid})"
            raise StudyError(
                f"study {self._study_name!r} is no longer ours to write: its lease is held by {by}; "
                "nothing was written, run again to continue"
            )

    def release(self) -> None:
        """Give the lease back; no error if it is gone."""
        _held.discard(self.token)
        with self._database.writing() as session:
            row = session.get(LeaseRow, self._study_id)
            if row is not None and row.token == self.token:
                session.delete(row)


def _owner() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return f"user {os.getuid()}"


def is_alive(row: LeaseRow) -> bool:
    """Whether the process that took a lease still runs, as far as can be seen from here."""
    if row.host != socket.gethostname():
        return utc_now() - row.renewed < _STALE
    try:
        os.kill(row.pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:  # it runs, as another user
        pass
    # process numbers are used again, after a restart of a container at once
    return _process_start(row.pid) == row.process


def _is_left_behind(row: LeaseRow) -> bool:
    """Whether it is this process's own, which could not give it back: the disk was full."""
    ours = row.host == socket.gethostname() and row.pid == os.getpid()
    return ours and row.process == _process_start(row.pid) and row.token not in _held


def _process_start(pid: int) -> str:
    """When a process began, as the kernel counts it, with the boot it belongs to; "" where that is not told."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        return ""
    return f"{boot} {fields[19]}"
