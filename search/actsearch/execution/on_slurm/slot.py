"""A job, and the worker that speaks through it, seen from the driver."""

from __future__ import annotations

import contextlib
import logging
import pickle
import queue
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from pathlib import Path
from typing import Any, Literal

from actsearch.evaluation import Subject
from actsearch.execution import versions
from actsearch.execution.child import dump_message
from actsearch.execution.on_slurm.channel import BEAT_SECONDS, LEFT, Beat, Channel, Silence
from actsearch.execution.on_slurm.host import Host, Order
from actsearch.execution.on_slurm.jobs import WORDS, Jobs, State, SubmissionFailed
from actsearch.execution.on_slurm.store import DataFolder, Held
from actsearch.execution.transport import Event, Loss

__all__ = ["PATIENCE", "Slot", "SlurmWorker"]

_log = logging.getLogger("actsearch")

PATIENCE = 60.0
"""Seconds of silence after which a side is given up."""

_DOUBT = 15.0  # seconds of silence after which Slurm is asked
_PRINT_SECONDS = 2.0  # from one look at what a job has printed to the next
_UNHEARD = 120.0  # seconds that a job runs, and nothing of it arrives
_NOT_ITS_FAULT = ("NODE_FAIL", "BOOT_FAIL", "PREEMPTED", "CANCELLED", "TIMEOUT", "DEADLINE")
_SLURMS = ("srun: ", "slurmstepd: ")  # lines of Slurm's own, which follow what a job has said


class Slot:
    """One job, in which one host after the other may run, as Slurm has it, and in each one child after the other.

    All but :meth:`attach`, :meth:`detach` and :meth:`ask` is called by one thread.

    Attributes:
        is_over: whether its job is gone for good.
        place: the machine it is on; "" while that is not known.
    """

    def __init__(
        self, folder: Path, key: bytes, jobs: Jobs, make_host: Callable[[Path], Host]
    ) -> None:
        """Args:
        folder: of its channel.
        key: of its driver.
        jobs: submits its job.
        make_host: of a folder, what its job runs.
        """
        self.is_over = False
        self.place = ""
        self.job: Any = None
        self._ordered: Future[Any] | None = None
        self._jobs = jobs
        self._make_host = make_host
        self._folder = folder
        self._channel = Channel(folder, key, "driver")
        self._channel.make()
        self._past: set[bytes] = set()
        self._silence = Silence()
        self._beaten = self._looked = self._running_since = 0.0
        self._read: dict[Path, int] = {}
        self._printed = ""
        self._worker: SlurmWorker | None = None
        self._generation = 0
        self._orders: list[Order] = []
        self._lock = threading.Lock()  # of what the pool's thread may change

    @property
    def is_heard(self) -> bool:
        """Whether a host of it speaks."""
        return bool(self._channel.life)

    # by the pool's thread

    def attach(self, worker: SlurmWorker) -> None:
        """Let a worker speak through it: a child of its own is started."""
        with self._lock:
            self._worker = worker
            self._generation += 1
            self._orders = [Order("start", self._generation)]

    def detach(self, worker: SlurmWorker) -> None:
        """End what a worker does."""
        with self._lock:
            if self._worker is worker:
                self._worker = None
                self._generation += 1
                self._orders = [Order("stop", self._generation)]

    def ask(self, kind: str, content: Any) -> None:
        """Of its child."""
        with self._lock:
            if (
                kind == "deliver"
            ):  # it waits for room: of what it is given meanwhile only the last counts
                self._orders = [order for order in self._orders if order.kind != kind]
            self._orders.append(Order(kind, self._generation, content))

    @property
    def is_free(self) -> bool:
        """Whether no worker has it."""
        return self._worker is None and not self.is_over

    @property
    def held(self) -> frozenset[str]:
        """Files that its worker has been given."""
        worker = self._worker
        return frozenset() if worker is None else worker.held

    # by the thread that serves all

    def serve(self) -> bool:
        """See what there is, and do what there is to do; whether something happened."""
        if self.job is None:
            return self._submit()
        if time.monotonic() - self._beaten > BEAT_SECONDS:
            self._channel.beat()
            self._beaten = time.monotonic()
        beat = self._channel.look()
        if beat is not None and beat.life not in self._past and beat.life != self._channel.life:
            self._meet(beat)
        happened = False
        for message in self._channel.take(beat):
            happened = True
            self._hear(*pickle.loads(message))
        if self.place:  # its host has said what it is
            happened |= self._send()
        self._relay_printed()
        self._doubt(beat)
        return happened

    def quit(self) -> None:
        """Have the host end."""
        if self.is_heard:
            self._channel.post(pickle.dumps(Order("quit")))

    def withdraw(self) -> None:
        """Have its job not submitted any more, or wait until it is."""
        if self.job is None and self._ordered is not None and not self._ordered.cancel():
            with contextlib.suppress(Exception):
                self.job = self._ordered.result()

    def _submit(self) -> bool:
        if self._ordered is None:
            self._ordered = self._jobs.submit(self._make_host(self._folder))
        if not self._ordered.done():
            return False
        try:
            self.job = self._ordered.result()
        except SubmissionFailed as failed:
            why = f"acs.Slurm: the job is not taken: {failed}"
            if failed.may_pass:
                self.end("lost", Loss(why, "machine"))
            else:
                self.end("impossible", why)
        return True

    def _meet(self, beat: Beat) -> None:
        """A host has come up; the one before it, if there was one, is no more."""
        if self._channel.life:
            self._lose(Loss("its job was started anew by Slurm", "machine"))
        self._channel.address(beat.life)
        self._silence = Silence()
        self._jobs.forget()

    def _lose(self, loss: Loss) -> None:
        """Its host is gone; another may come up in its job."""
        self._past.add(self._channel.life)
        self._channel.address(b"")
        self.place, self._running_since = "", 0.0
        self._tell("lost", loss)

    def end(self, kind: str, content: Any) -> None:
        """Its job is gone for good."""
        self.is_over = True
        self._tell(kind, content)

    def _tell(self, kind: str, content: Any) -> None:
        worker = self._worker
        if worker is not None:
            worker.tell(kind, content)

    def _hear(self, generation: int, kind: str, data: bytes) -> None:
        content = pickle.loads(data)
        if kind == "hello":
            if why := versions.describe_difference(content, "acs.Slurm"):
                self.end("impossible", why)
            self.place = content["node"]
            if self._worker is not None:
                self._worker.place = self.place
        elif kind == "log":
            logging.getLogger(content.name).handle(content)
        elif generation == self._generation:
            if kind == "ended":
                self._tell("lost", Loss(*content))
            else:
                self._tell(kind, content)

    def _send(self) -> bool:
        happened = False
        while True:
            with self._lock:
                order = next(iter(self._orders), None)
            if order is None:
                return happened
            self._channel.post(pickle.dumps(order))  # if that fails, it is still there
            happened = True
            with self._lock:
                self._orders = [left for left in self._orders if left is not order]

    def _relay_printed(self) -> None:
        now = time.monotonic()
        if now - self._looked > _PRINT_SECONDS and (self.place or self.is_over):
            self._looked = now
            if text := self._jobs.printed(self.job, self._read):
                sys.stderr.write(text)

    def _doubt(self, beat: Beat | None) -> None:
        """Look after a job that says nothing."""
        if self._channel.life:
            silence = self._silence.note(beat)
            if beat is not None and beat.state == LEFT and beat.life == self._channel.life:
                self._lose(
                    Loss(
                        "its job was preempted, or reached its time limit, and waits again",
                        "machine",
                    )
                )
            elif silence > _DOUBT:
                self._explain_silence(silence)
            return
        state = self._jobs.state(self.job)
        if state.kind == "gone":
            self.relay_last()
            self.end("lost", self._explain_start(state))
        elif state.kind == "running":
            now = time.monotonic()
            if not self._running_since:
                self._running_since = now
            elif 0 < self._running_since < now - _UNHEARD:
                self._running_since = float("inf")
                _log.warning(
                    "acs.Slurm: job %s runs, and nothing of it has arrived in %s: do its machine and this one share "
                    "that folder?", self.job.job_id, self._folder,
                )  # fmt: skip

    def _explain_silence(self, silence: float) -> None:
        state = self._jobs.state(self.job)
        if state.kind == "waiting":
            self._lose(Loss("its job was preempted, and waits again", "machine"))
        elif state.kind == "gone" or silence > PATIENCE:
            self.is_over = True  # before the pool hears of it, and wants another
            self.relay_last()
            why = f"its job gave no sign of life for {silence:.0f} s"
            kind: Literal["memory", "machine"] = "machine"
            if state.kind == "gone":
                why = _words(state)
                kind = "memory" if state.name == "OUT_OF_MEMORY" else "machine"
            self._lose(Loss(why, kind))

    def relay_last(self) -> None:
        """Print what its job has printed since."""
        if self.job is None:
            return
        self._printed = self._jobs.printed(self.job, self._read)
        sys.stderr.write(self._printed)

    def _explain_start(self, state: State) -> Loss:
        """Why a job ended of which nothing was heard."""
        lines = [line.strip() for line in self._printed.splitlines() if line.strip()]
        lines = [line for line in lines if not line.startswith(_SLURMS)] or lines
        why = f"job {self.job.job_id}: {_words(state)}"
        if lines:
            why += f", and said: {lines[-1][:300]}"
        elif state.name not in _NOT_ITS_FAULT:
            why += (
                f", and printed nothing: do its machine and this one share {self._folder.parent}?"
            )
        return Loss(why, "machine" if state.name in _NOT_ITS_FAULT else "crash")


def _words(state: State) -> str:
    return WORDS.get(state.name, f"its job is gone ({state.name})")


class SlurmWorker:
    """What a pool speaks to: one child process of a job."""

    def __init__(
        self,
        slot: Slot,
        store: DataFolder,
        events: queue.SimpleQueue[Event],
        wake: Callable[[], None],
    ) -> None:
        """Args:
        slot: its job.
        store: of data.
        events: where its messages go.
        wake: has the slot served.
        """
        self.place = slot.place
        self.held = self._given = frozenset[str]()
        self._slot = slot
        self._store = store
        self._events = events
        self._wake = wake
        self._is_lost = False
        slot.attach(self)

    def equip(self, subject: Subject) -> None:
        """See :class:`Worker`."""
        held: Held = self._store.hold(subject)
        self._given = frozenset(held.files)
        self.held |= self._given
        self._slot.ask("deliver", (held.digest, held.files[0], list(held.files[1:])))
        self._wake()

    def send(self, message: Any) -> None:
        """See :class:`Worker`."""
        self._slot.ask("pass", bytes(dump_message(message)))
        self._wake()

    def end(self, *, now: bool) -> None:
        """See :class:`Worker`; its job stays, for another."""
        self._slot.detach(self)
        self._wake()

    def tell(self, kind: str, content: Any) -> None:
        """Hand on an event, and after the last nothing."""
        if not self._is_lost:
            self._is_lost = kind in ("lost", "impossible")
            if kind == "ready":
                self.held = self._given
            self._events.put((self, kind, content))
