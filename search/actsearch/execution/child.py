"""The other end of :mod:`actsearch.execution.children`: a process that trains what it is sent.

Messages are pickles with their length before them, on standard input and output. They hold live objects of the process
that started this one, and never anything that was read from a file or a database. What comes back is a kind and a
pickle, so that a process that only hands it on needs nothing of what is in it.
"""

from __future__ import annotations

import functools
import io
import logging
import os
import queue
import struct
import sys
import threading
from logging.handlers import QueueHandler
from typing import IO, Any

import cloudpickle

from actsearch.execution.flow import GivenUp, remote_flow

__all__ = ["LOST_DEVICE", "dump_message", "main", "read_message", "write_data", "write_message"]

LOST_DEVICE = 77
"""Exit code of a child that can train no more, since its GPU refuses everything."""

_LENGTH = struct.Struct(">Q")  # 8 bytes: an objective that holds its data may exceed 4 GB


def write_message(stream: IO[bytes], message: Any) -> None:
    """Send one message; code of the user's script travels with it.

    Raises:
        OSError: the other end is gone.
    """
    write_data(stream, dump_message(message))


def write_data(stream: IO[bytes], data: bytes | memoryview) -> None:
    """Send a message as :func:`dump_message` has made it.

    Raises:
        OSError: the other end is gone.
    """
    stream.write(_LENGTH.pack(len(data)))
    stream.write(data)
    stream.flush()


class Pickler(cloudpickle.Pickler):  # type: ignore[misc]
    """Pickles also functions and classes of a script, and loaders whose workers run."""

    def reducer_override(self, obj: Any) -> Any:
        """See :class:`pickle.Pickler`."""
        loader = getattr(sys.modules.get("torch.utils.data"), "DataLoader", None)
        if loader is None or not isinstance(obj, loader):
            return super().reducer_override(obj)
        reduced = list(obj.__reduce_ex__(5))
        # with persistent workers it keeps those of this process, which cannot travel
        reduced[2] = {**reduced[2], "_iterator": None}
        return tuple(reduced)


def dump_message(message: Any) -> memoryview:
    """One message as bytes."""
    buffer = io.BytesIO()
    Pickler(buffer).dump(message)
    return buffer.getbuffer()  # getvalue() would copy what may be all of the user's data


def read_message(stream: IO[bytes]) -> Any:
    """Wait for one message.

    Raises:
        EOFError: the other end is gone.
    """
    head = stream.read(_LENGTH.size)
    if len(head) < _LENGTH.size:
        raise EOFError
    (length,) = _LENGTH.unpack(head)
    data = stream.read(length)
    if len(data) < length:
        raise EOFError
    return cloudpickle.loads(data)


def main(threads: int, log_level: int, place: int = 0) -> None:
    """Train until the other end closes.

    Args:
        threads: that torch may use.
        log_level: of what is logged.
        place: of this process among those that train, see :func:`actsearch.devices.take_device`.
    """
    incoming, outgoing = _take_pipes()
    replies = _Replies(outgoing)
    remote_flow().connect(replies.send)
    requests: queue.SimpleQueue[Any] = queue.SimpleQueue()
    threading.Thread(target=_receive, args=(incoming, requests), daemon=True).start()
    _forward_logs(replies, log_level)
    _train(requests, replies, threads, place)


def _take_pipes() -> tuple[IO[bytes], IO[bytes]]:
    """The pipes to the other end, out of reach of the user's code: it reads nothing, and prints on standard error."""
    pipes = os.dup(0), os.dup(1)
    nothing = os.open(os.devnull, os.O_RDWR)
    os.dup2(nothing, 0)
    os.dup2(2, 1)  # what the user's code prints must not come between messages
    for pipe in pipes:  # a process forked from here that outlives this one would keep it open
        os.register_at_fork(after_in_child=functools.partial(os.dup2, nothing, pipe, False))
    return os.fdopen(pipes[0], "rb"), os.fdopen(pipes[1], "wb")


class _Replies:
    """Messages to the other end, from any thread."""

    def __init__(self, stream: IO[bytes]) -> None:
        self._stream = stream
        self._lock = threading.Lock()

    def send(self, kind: str, content: Any) -> None:
        with self._lock:
            write_message(self._stream, (kind, bytes(dump_message(content))))


def _receive(stream: IO[bytes], requests: queue.SimpleQueue[Any]) -> None:
    """Hand messages on; when the other end is gone, whatever runs here ends with it."""
    while True:
        try:
            message = read_message(stream)
            if isinstance(message, GivenUp):  # at once: it concerns what trains now
                remote_flow().given_up.update(message.steps)
            else:
                requests.put(message)
        except EOFError:
            os._exit(0)  # sys.exit would end this thread alone, and training would go on
        except BaseException as error:  # an object that cannot be built here
            requests.put(error)


class _LogHandler(QueueHandler):
    """Log records, made fit to travel."""

    def __init__(self, replies: _Replies) -> None:
        super().__init__(queue=None)  # type: ignore[arg-type]
        self._replies = replies

    def enqueue(self, record: logging.LogRecord) -> None:
        self._replies.send("log", record)


def _forward_logs(replies: _Replies, level: int) -> None:
    logger = logging.getLogger("actsearch")
    logger.setLevel(level)
    logger.addHandler(_LogHandler(replies))
    logger.propagate = False  # the other end's handlers print it, and nothing here does


def _train(requests: queue.SimpleQueue[Any], replies: _Replies, threads: int, place: int) -> None:
    # torch takes seconds to load: from before that on, _receive ends this process with the other one
    from actsearch.execution.trainer import Trainer

    trainer = Trainer(threads, place)
    while True:
        message = requests.get()
        if isinstance(message, BaseException):
            replies.send("refused", f"{type(message).__name__}: {message}")
        else:
            kind, content = trainer.answer(message)
            if kind == "done":
                _end_if_device_is_lost(content)
            replies.send(kind, content)


def _end_if_device_is_lost(outcomes: Any) -> None:
    """Whatever is trained here next would fail too: the other end starts another process, and trains anew."""
    if outcomes.device_is_lost:
        reason = next(outcome.reason for outcome in outcomes if outcome.reason)
        logging.getLogger("actsearch").warning("a child process is replaced: %s", reason)
        os._exit(LOST_DEVICE)
