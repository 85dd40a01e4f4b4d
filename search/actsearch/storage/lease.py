"""One driver owns a study: a row with a token keeps a second one out."""

from __future__ import annotations

import contextlib
import getpass
import logging
import os
import shlex
import socket
import threading
import time
import uuid
import weakref
from dataclasses import dataclass
from datetime import datetime, timedelta

import sqlalchemy as sa
from sqlalchemy.orm import Session

from actsearch.errors import StorageError, StudyError
from actsearch.records import RunGoal
from actsearch.storage.database import Database, retry_lost_connection
from actsearch.storage.process import booted_after, is_running_process, process_mark
from actsearch.storage.redaction import hide_password
from actsearch.storage.tables import Base, LeaseRow, StudyRow, utc_now
from actsearch.storage.tolerant import one_line

__all__ = ["Holder", "Lease", "is_alive"]

_log = logging.getLogger("actsearch")

_HEARTBEAT_SECONDS = 15.0  # far below the wait of a takeover: a heartbeat or two may be lost
_WATCH_SECONDS = 40.0  # a takeover from another machine waits for two heartbeats, and ten seconds
_STALE_AFTER = timedelta(minutes=10)  # a laptop's sleep or a slow network file system is shorter

_LARGEST = 2**63 - 1  # integer that a database stores

_held = set[str]()  # tokens that this process uses
_of_parent = set[str]()  # in a fork: tokens that its parent process uses

_LEASES = Base.metadata.tables["leases"]
_RENEW = (
    _LEASES.update()
    .where(_LEASES.c.study_id == sa.bindparam("of_study"), _LEASES.c.token == sa.bindparam("ours"))
    .values(renewed=sa.bindparam("now"))
)


@dataclass(frozen=True)
class Holder:
    """The process that holds a lease.

    Attributes:
        alive: whether that process still runs, as far as is known here.
        here: whether its process can be seen from here; else only its heartbeats are known.
    """

    token: str
    owner: str
    host: str
    pid: int
    acquired: datetime | None
    renewed: datetime | None
    alive: bool
    here: bool

    def is_silent_since(self, before: Holder | None) -> bool:
        """Whether this is the same holder as before, without a heartbeat since."""
        return before is not None and (self.token, self.renewed) == (before.token, before.renewed)

    def __str__(self) -> str:
        return (
            f"{one_line(self.owner)} on {one_line(self.host)} (process {self.pid}, for {_age(self.acquired)}, "
            f"last heartbeat {_age(self.renewed)} ago)"
        )


class Lease:
    """The right to write trials of one study, from :meth:`acquire` to :meth:`release`.

    While it is held, a thread with a connection of its own renews it: other machines see that its process lives,
    however long a trial takes. Clocks have no last word: a driver that takes over from another machine first waits for
    a heartbeat, and every write of the driver that lost the lease is refused.
    """

    def __init__(self, database: Database, study_id: int, study_name: str) -> None:
        self._database = database
        self._study_id = study_id
        self._study_name = hide_password(study_name)
        self._released = threading.Event()
        # host and pid come again: in a restarted container, after a reboot
        self.token = uuid.uuid4().hex

    def acquire(self) -> None:
        """Take the lease; a dead driver's is taken over.

        Raises:
            StudyError: while another driver is alive; names its user, machine, process and when it began.
        """
        if (holder := self.holder()) is not None and not holder.alive:
            self._watch(holder)
        # before it is stored: another thread would take the row for one that was abandoned
        _held.add(self.token)
        try:
            self._take(holder)
        except BaseException:
            _held.discard(self.token)
            raise
        self._start_heartbeats()

    @retry_lost_connection
    def _take(self, watched: Holder | None) -> None:
        with self._database.writing() as session:
            if session.get(StudyRow, self._study_id) is None:
                raise StudyError(f"study {self._study_name!r} was deleted in the meantime")
            row = session.get(LeaseRow, self._study_id)
            if row is not None:
                holder = _holder(row)
                if holder.alive or not (holder.here or holder.is_silent_since(watched)):
                    raise self._refusal(holder)
                _log.warning(
                    "study %s: taken over from %s, which is gone", self._study_name, holder
                )
                session.delete(row)
                session.flush()
            now = utc_now()
            session.add(
                LeaseRow(
                    study_id=self._study_id,
                    token=self.token,
                    owner=_owner(),
                    host=socket.gethostname(),
                    pid=os.getpid(),
                    process=process_mark(),
                    acquired=now,
                    renewed=now,
                )
            )

    def _refusal(self, holder: Holder) -> StudyError:
        return StudyError(
            f"study {self._study_name!r} is being run by {holder}; wait for it, or stop it first; "
            f"if it has ended and cannot say so: actsearch unlock {shlex.quote(self._study_name)} STORAGE"
        )

    def _watch(self, holder: Holder) -> None:
        """Wait for a heartbeat of a process that cannot be seen from here: with a wrong clock it looks old."""
        if holder.here:
            return
        _log.info("study %s: waiting for a heartbeat of %s", self._study_name, holder)
        until = time.monotonic() + _WATCH_SECONDS
        while time.monotonic() < until:
            time.sleep(min(1.0, _WATCH_SECONDS / 4))  # a fraction of it where tests make it short
            now = self.holder()
            if now is None:
                return
            if not now.is_silent_since(holder):
                raise self._refusal(now)

    @retry_lost_connection
    def holder(self) -> Holder | None:
        """The holder of the lease; None if there is none."""
        with self._database.reading() as session:
            row = session.get(LeaseRow, self._study_id)
            return None if row is None else _holder(row)

    @retry_lost_connection
    def force_release(self, holder: Holder) -> bool:
        """Take the lease away from a holder, whose writes are then refused; returns whether it still had it."""
        with self._database.writing() as session:
            row = session.get(LeaseRow, self._study_id)
            if row is None or row.token != holder.token:
                return False
            session.delete(row)
            return True

    @retry_lost_connection
    def publish_goal(self, goal: RunGoal) -> None:
        """Tell readers what this driver works towards; StudyError when another one has taken over."""
        with self._database.writing() as session:
            self.check(session)
            row = session.get_one(LeaseRow, self._study_id)
            row.purpose, row.until = goal.purpose, goal.until
            is_storable = goal.target is not None and goal.target <= _LARGEST
            row.target = goal.target if is_storable else None

    def check(self, session: Session) -> None:
        """Inside a write transaction: still ours, and renewed.

        Raises:
            StudyError: when another driver has taken over, or in a fork of the one that holds it; nothing is then
                written.
        """
        self.check_process()
        if not self._renew(session):
            row = session.get(LeaseRow, self._study_id)
            by = "nobody" if row is None else f"{row.owner} on {row.host} (process {row.pid})"
            raise StudyError(
                f"study {self._study_name!r} is no longer ours to write: its lease is held by {by}; "
                "nothing was written, run again to continue"
            )

    def check_process(self) -> None:
        """Raise a StudyError in a fork of the process that holds the lease."""
        if self.token in _of_parent:
            raise StudyError(
                f"this process is a fork of the one that runs study {self._study_name!r}, which alone writes to it: "
                "nothing was written; end a fork with os._exit(), or start it with multiprocessing or subprocess"
            )

    def _renew(self, session: Session) -> bool:
        """Renew the lease; returns whether it is still ours."""
        ours = {"of_study": self._study_id, "ours": self.token, "now": utc_now()}
        renewed: int = session.connection().execute(_RENEW, ours).rowcount
        return renewed == 1

    @retry_lost_connection
    def release(self) -> None:
        """Give the lease back; no error if it is gone. A fork of the process that holds it leaves it alone."""
        if self.token in _of_parent:
            return
        self._released.set()
        _held.discard(self.token)
        with self._database.writing() as session:
            row = session.get(LeaseRow, self._study_id)
            if row is not None and row.token == self.token:
                session.delete(row)
        self._database.checkpoint()

    def _start_heartbeats(self) -> None:
        if self._database.in_memory:
            return  # nobody else can see it, and there is one connection for all
        self._released.clear()
        threading.Thread(
            target=_send_heartbeats,
            args=(weakref.ref(self), self._released),
            name=f"lease of study {self._study_id}",
            daemon=True,
        ).start()

    def heartbeat(self) -> bool:
        """Send one heartbeat; returns whether the lease is still ours."""
        with self._database.writing() as session:
            return self._renew(session)


def _send_heartbeats(reference: weakref.ref[Lease], released: threading.Event) -> None:
    """Renew a lease until it is given back, lost, or forgotten."""
    while not released.wait(_HEARTBEAT_SECONDS):
        lease = reference()
        if lease is None:
            return
        with contextlib.suppress(StorageError):  # busy or unreachable: there is a next time
            if not lease.heartbeat():
                return  # the driver is told at its next write
        del lease  # a reference kept while waiting would keep a forgotten lease alive


def is_alive(row: LeaseRow) -> bool:
    """Whether the process that took a lease still runs, as far as is known here."""
    is_running = is_running_process(row.host, row.pid, row.process)
    if is_running is not None:
        return is_running
    if row.renewed is None or booted_after(row.host, row.process, row.renewed):
        return False  # this machine was restarted; if it is another of the same name, _watch sees its heartbeat
    # a clock may have been set back: a heartbeat far in the future is as old as one far in the past
    return abs(utc_now() - row.renewed) < _STALE_AFTER


def _holder(row: LeaseRow) -> Holder:
    return Holder(
        row.token,
        row.owner,
        row.host,
        row.pid,
        row.acquired,
        row.renewed,
        is_alive(row) and not _is_abandoned(row),
        is_running_process(row.host, row.pid, row.process) is not None,
    )


def _is_abandoned(row: LeaseRow) -> bool:
    """Whether it is a lease of this process that could not be released, because the disk was full."""
    ours = (socket.gethostname(), os.getpid(), process_mark())
    return (row.host, row.pid, row.process) == ours and row.token not in _held


def _age(then: datetime | None) -> str:
    if then is None:
        return "an unknown time"
    seconds = round((utc_now() - then).total_seconds())
    if seconds < 120:
        return f"{seconds} s"
    return f"{seconds // 60} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"


def _owner() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return f"user {os.getuid()}"


def _forget_held() -> None:
    """In a fork: leases of the parent stay with the parent."""
    _of_parent.update(_held)
    _held.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_held)
