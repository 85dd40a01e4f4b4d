"""What a fork of this process must not inherit: open SQLite files, and sessions at a server.

SQLite forbids carrying a connection into a fork, and remembers for each process which files it has locked: a fork would
believe that it holds its parent's locks. So no connection to a file is open while a process forks. A session at a
server remains the parent's: a fork neither uses nor closes it, since closing would end it for both.
"""

from __future__ import annotations

import collections
import contextlib
import ctypes
import os
import threading
import weakref
from collections.abc import Iterator
from typing import Any

from sqlalchemy import event
from sqlalchemy.engine import Engine
from sqlalchemy.pool import StaticPool

__all__ = ["hold_forks", "detach_at_forks"]

_PATIENCE = 5.0  # seconds that a fork waits for transactions of other threads; a fork must not hang for ever

_gate = threading.Condition()
_inside: collections.Counter[int] = collections.Counter()  # transactions by thread
_engines = weakref.WeakSet[Engine]()
_in_use: dict[int, Any] = {}  # connections in a transaction, by id


def detach_at_forks(engine: Engine) -> None:
    """Let forks begin without the connections of an engine, and open their own."""
    if isinstance(engine.pool, StaticPool):
        return  # in memory: a fork has a copy of its own

    @event.listens_for(engine, "checkout")
    def on_checkout(connection: Any, *_: Any) -> None:
        _in_use[id(connection)] = connection

    @event.listens_for(engine, "checkin")
    @event.listens_for(engine, "close")  # also of one that broke
    def on_checkin(connection: Any, *_: Any) -> None:
        _in_use.pop(id(connection), None)

    _engines.add(engine)


@contextlib.contextmanager
def hold_forks() -> Iterator[None]:
    """Keep forks of other threads out, for some seconds at least."""
    me = threading.get_ident()
    with _gate:
        _inside[me] += 1
    try:
        yield
    finally:
        with _gate:
            _inside[me] -= 1
            if _inside[me] <= 0:
                del _inside[me]
                _gate.notify_all()


def _before() -> None:
    me = threading.get_ident()
    _gate.acquire()  # released in the parent; the child makes a new one, as a lock is inherited as it stands
    _gate.wait_for(lambda: all(thread == me for thread in _inside), _PATIENCE)
    for engine in list(_engines):
        if engine.dialect.name == "sqlite":
            # sessions at a server stay open: a fork leaves them alone
            with contextlib.suppress(Exception):  # a fork must not fail because a file is gone
                engine.dispose()


def _in_parent() -> None:
    _gate.release()


def _in_child() -> None:
    global _gate
    me = threading.get_ident()
    _gate = threading.Condition()
    for thread in [thread for thread in _inside if thread != me]:
        del _inside[thread]  # a fork has this thread alone
    for connection in _in_use.values():
        _keep(connection)
    _in_use.clear()
    for engine in list(_engines):
        _keep(engine.pool)
        engine.dispose(close=False)


def _keep(thing: object) -> None:
    """Never free it, not even when the interpreter ends: freeing a connection closes it."""
    ctypes.pythonapi.Py_IncRef(ctypes.py_object(thing))


if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=_before, after_in_parent=_in_parent, after_in_child=_in_child)
