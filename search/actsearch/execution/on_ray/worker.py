"""A worker on a cluster, seen from the driver."""

from __future__ import annotations

import contextlib
import hashlib
import logging
import pickle
import queue
import threading
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from actsearch import __version__
from actsearch.evaluation import Subject
from actsearch.execution import versions
from actsearch.execution.child import dump_message
from actsearch.execution.delivery import Delivery
from actsearch.execution.flow import GivenUp
from actsearch.execution.on_ray.cluster import Cluster, HostFailed, HostLost, Needs
from actsearch.execution.on_ray.host import Source
from actsearch.execution.parcel import Parcel
from actsearch.execution.transport import Event, Loss

__all__ = ["DataStore", "RayWorker", "describe_difference"]

_JOIN_SECONDS = 5.0
SHARE_SECONDS = (
    900.0  # for a part of the data to reach a node: Ray waits for ever for one that was lost
)


def describe_difference(found: Mapping[str, str]) -> str:
    """Why a worker cannot train for this process; "" if it can.

    Args:
        found: what :meth:`Host.describe` says.
    """
    for name in ("actsearch", "cloudpickle", "psutil"):
        if not found[name]:
            return (
                f"{name} is not installed on a worker of acs.Ray: install actsearch {__version__} on every node, or "
                "have it installed with runtime_env={'pip': [...]}"
            )
    return versions.describe_difference(found, "acs.Ray")


class DataStore:
    """The data of a subject in the object store of a cluster, and the copies that nodes hold of them."""

    def __init__(self, cluster: Cluster, pack: Callable[[Subject], Parcel]) -> None:
        """Args:
        cluster: where they go.
        pack: makes a parcel of a subject.
        """
        self._cluster = cluster
        self._pack = pack
        self._subject: Subject | None = None
        self._parts: Sequence[
            tuple[str, Any]
        ] = ()  # content and place in the object store, in order
        self._renewals = 0
        self._lock = threading.Lock()  # of these three: each worker's thread may renew
        self._copies: dict[tuple[str, str], list[Source]] = {}  # by node and content
        self._locks: dict[str, threading.Lock] = {}

    def hold(self, subject: Subject) -> Sequence[tuple[str, Any]]:
        """Put a subject into the object store, unless it is there; content and place of its parts, in order.

        Raises:
            Exception: it cannot be sent, as pickling has it.
        """
        with self._lock:
            if self._subject is subject:
                return self._parts
        parcel = self._pack(subject)
        keys = [_digest(part) for part in parcel.parts]
        while True:
            with self._lock:
                renewals, known = self._renewals, dict(self._parts)
            for key, part in zip(keys, parcel.parts, strict=True):
                if key not in known:
                    known[key] = self._cluster.put(part)
            with self._lock:
                if renewals == self._renewals:  # else what was put before may be lost already
                    self._subject, self._parts = subject, [(key, known[key]) for key in keys]
                    return self._parts

    def share(self, actor: Any, place: str, key: str, chunk: Any) -> Source:
        """Have a part in the memory of a node; one worker of it makes the copy, the others find it."""
        with self._locks.setdefault(place, threading.Lock()):
            copies = self._copies.setdefault((place, key), [])
            source: Source = self._cluster.call(
                actor.share, key, copies, chunk, seconds=SHARE_SECONDS
            )
            copies.append(source)
        return source

    def renew(self) -> None:
        """Put a subject in anew when it is held next: what a lost node had of it may be lost to the others as well."""
        with self._lock:
            self._subject, self._parts = None, ()
            self._renewals += 1

    def clear(self) -> None:
        """Let go of everything."""
        self.renew()
        self._copies = {}


def _digest(part: Any) -> str:
    return f"acs-{hashlib.blake2b(memoryview(part), digest_size=16).hexdigest()}"


class RayWorker:
    """An actor with a child process, and a thread of this process that speaks with it."""

    place = ""

    def __init__(
        self,
        cluster: Cluster,
        needs: Needs,
        store: DataStore,
        threads: int,
        events: queue.SimpleQueue[Event],
    ) -> None:
        """Args:
        cluster: on which it starts.
        needs: what it takes of a node.
        store: of data.
        threads: that torch may use in it.
        events: where its messages go.
        """
        self._cluster = cluster
        self._store = store
        self._threads = threads
        self._events = events
        self._held: set[str] = set()
        self._inbox: queue.SimpleQueue[Sequence[tuple[str, Any]] | bytes | None] = (
            queue.SimpleQueue()
        )
        self._actor = cluster.start(needs)
        self._speaker = threading.Thread(target=self._speak, daemon=True)
        self._speaker.start()

    def equip(self, subject: Subject) -> None:
        """See :class:`Worker`."""
        parts = self._store.hold(subject)
        with contextlib.suppress(queue.Empty):
            while (
                not self.place
            ):  # it waits for room: of what it is given meanwhile only the last counts
                self._inbox.get_nowait()
        self._inbox.put(parts)

    def send(self, message: Any) -> None:
        """See :class:`Worker`."""
        data = bytes(dump_message(message))
        if isinstance(message, GivenUp):  # its actor waits for the child's answer to another
            self._cluster.tell(self._actor.tell, data)
        else:
            self._inbox.put(data)

    def end(self, *, now: bool) -> None:
        """See :class:`Worker`."""
        self._inbox.put(None)
        self._cluster.kill(self._actor)
        self._speaker.join(_JOIN_SECONDS)  # it must not ask a cluster that is shut down

    def _speak(self) -> None:
        try:
            self._meet()
            while (message := self._inbox.get()) is not None:
                if not isinstance(message, bytes):
                    message = self._deliver(message)
                for kind, data in self._cluster.stream(self._actor.relay, message):
                    self._receive(kind, pickle.loads(data))
        except HostLost as lost:
            self._store.renew()
            self._events.put((self, "lost", lost.args[0]))
        except HostFailed as failed:
            self._events.put((self, "impossible", str(failed)))
        except (
            Exception
        ) as error:  # of Ray's own: whoever waits for an event must not wait for ever
            why = f"the connection to its worker failed: {type(error).__name__}: {error}"
            self._events.put((self, "lost", Loss(why, "machine")))

    def _meet(self) -> None:
        """Wait for the actor, and have it start its child."""
        found = self._cluster.call(self._actor.describe)
        if why := describe_difference(found):
            raise HostFailed(why)
        self.place = found["node"]
        level = logging.getLogger("actsearch").getEffectiveLevel()
        self._cluster.call(self._actor.prepare, self._threads, level)

    def _deliver(self, parts: Sequence[tuple[str, Any]]) -> bytes:
        """Have a subject's parts where the child finds them; the message that is made of them there."""
        pickled, *others = (
            "/proc/{}/fd/{}".format(*self._store.share(self._actor, self.place, key, chunk)[:2])
            for key, chunk in parts
        )
        keys = {key for key, _ in parts}
        if old := self._held - keys:
            self._cluster.call(self._actor.forget, list(old))
        self._held = keys
        return bytes(dump_message(Delivery(pickled, others)))

    def _receive(self, kind: str, content: Any) -> None:
        if kind == "log":
            logging.getLogger(content.name).handle(content)
        elif kind == "ended":
            self._events.put((self, "lost", Loss(*content)))
        else:
            self._events.put((self, kind, content))
