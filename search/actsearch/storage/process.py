"""Which process holds a lease, and whether it runs, as far as that can be seen from here.

A process number means something only on one machine, during one boot, and in one PID namespace: two containers may
share a host name, and cloned machines do. What a lease stores tells all of these apart.
"""

from __future__ import annotations

import contextlib
import os
import socket
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

__all__ = ["booted_after", "process_mark", "is_running_process"]

_ENDED = ("Z", "X", "x")  # states of a process that has ended: zombie, dead
# a time namespace shifts the clock that dates the start of a process
_NAMESPACES = ("pid", "time")


class _Mark(NamedTuple):
    """The parts of a mark, each "" where it is unknown."""

    boot: str = ""
    start: str = ""
    namespaces: str = ""  # older versions did not store them


class _Status(NamedTuple):
    """Fields of /proc/PID/stat.

    Attributes:
        state: a letter.
        start: when the process began, in ticks since the boot.
    """

    state: str
    start: str


def process_mark() -> str:
    """What tells this process from all others that ever had its number; "" where there is no /proc.

    Returns:
        Boot, start time and namespaces, separated by blanks.
    """
    mark = _mark()
    return " ".join(mark).strip() if mark.start else ""


def is_running_process(host: str, pid: int, mark: str) -> bool | None:
    """Whether a process runs; None where that cannot be seen from here.

    Args:
        host: its machine.
        pid: its number there.
        mark: what :func:`process_mark` returned in it.
    """
    if host != socket.gethostname():
        return None
    own, theirs = _mark(), _parse(mark)
    if theirs.boot != own.boot:
        return None
    if theirs.namespaces == own.namespaces:
        return _runs_here(pid, theirs.start)
    # an older version did not store the namespace: only a process that is there proves something
    return True if not theirs.namespaces and _runs_here(pid, theirs.start) else None


def booted_after(host: str, mark: str, moment: datetime) -> bool:
    """Whether this machine may be the one of the mark, and was rebooted after that moment."""
    own, theirs = _mark(), _parse(mark)
    if host != socket.gethostname() or not own.boot or not theirs.boot or own.boot == theirs.boot:
        return False
    began = time.time() - time.clock_gettime(time.CLOCK_BOOTTIME)
    return moment < datetime.fromtimestamp(began, UTC)


def _runs_here(pid: int, start: str) -> bool:
    try:
        if pid <= 0:  # os.kill would take it for a whole group of processes
            return False
        os.kill(pid, 0)
    except (ProcessLookupError, OverflowError, TypeError):
        return False
    except PermissionError:  # it runs, as another user
        pass
    if not _is_own_proc() or (status := _status(pid)) is None:
        return True
    # process numbers are reused, in a restarted container at once; and a zombie may never be waited for
    return status.start == start and status.state not in _ENDED


def _mark() -> _Mark:
    boot = _read("/proc/sys/kernel/random/boot_id").strip()
    status = _status("self")
    spaces = []
    for name in _NAMESPACES:
        with contextlib.suppress(OSError):  # not readable, or newer than this kernel
            spaces.append(os.readlink(f"/proc/self/ns/{name}"))
    return _Mark(boot, status.start, ",".join(spaces)) if boot and status else _Mark()


def _parse(mark: str) -> _Mark:
    return _Mark(*str(mark).split(" ", 2))


def _is_own_proc() -> bool:
    """Whether /proc shows this namespace; in that of another one, a number is another process."""
    try:
        return os.readlink("/proc/self") == str(os.getpid())
    except OSError:
        return False


def _status(process: int | str) -> _Status | None:
    """What the kernel says of a process; None where it says nothing."""
    fields = _read(f"/proc/{process}/stat").rpartition(")")[2].split()  # a name may hold blanks
    return _Status(fields[0], fields[19]) if len(fields) > 19 else None


def _read(path: str) -> str:
    try:
        return Path(path).read_text()
    except (OSError, ValueError):
        return ""
