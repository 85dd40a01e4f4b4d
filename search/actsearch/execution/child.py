"""The other end of :mod:`actsearch.execution.processes`: a process that trains what it is sent.

Messages are pickles with their length before them, on standard input and output. They hold live objects of the process
that started this one, and never anything that was read from a file or a database.
"""

from __future__ import annotations

import logging
import os
import queue
import signal
import struct
import sys
import threading
import time
from collections.abc import Sequence
from logging.handlers import QueueHandler
from typing import IO, Any

import cloudpickle
import psutil

__all__ = ["OVER_LIMIT", "main", "read_message", "write_message"]

OVER_LIMIT = 113
"""Exit code of a process that used more memory than it may."""

_LOOK_SECONDS = 0.1  # between two looks at the memory in use
_LENGTH = struct.Struct(">Q")


def write_message(stream: IO[bytes], message: Any) -> None:
    """Send one message; code of the user's script travels with it.

    Raises:
        OSError: the other end is gone.
    """
    data = cloudpickle.dumps(message)
    stream.write(_LENGTH.pack(len(data)) + data)
    stream.flush()


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


def main(threads: int, memory_limit: int | None) -> None:
    """Train until the other end closes."""
    signal.signal(
        signal.SIGINT, signal.SIG_IGN
    )  # a terminal sends Ctrl-C to all; who started this one decides
    replies = _Replies(os.fdopen(os.dup(sys.stdout.fileno()), "wb"))
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())  # what the user's code prints is no message
    requests: queue.SimpleQueue[Any] = queue.SimpleQueue()
    threading.Thread(target=_receive, args=(sys.stdin.buffer, requests), daemon=True).start()
    if memory_limit is not None:
        threading.Thread(target=_watch_memory, args=(memory_limit,), daemon=True).start()
    _hand_on_logs(replies)
    _train(requests, replies, threads)


class _Replies:
    """Messages to the other end, from any thread."""

    def __init__(self, stream: IO[bytes]) -> None:
        self._stream = stream
        self._lock = threading.Lock()

    def send(self, kind: str, content: Any) -> None:
        with self._lock:
            write_message(self._stream, (kind, content))


def _receive(stream: IO[bytes], requests: queue.SimpleQueue[Any]) -> None:
    """Hand messages on; when the other end is gone, whatever runs here ends with it."""
    while True:
        try:
            requests.put(read_message(stream))
        except EOFError:
            os._exit(0)
        except BaseException as error:  # an object that cannot be built here
            requests.put(error)


def _watch_memory(limit: int) -> None:
    """End this process before it takes memory that others need."""
    process = psutil.Process()
    while process.memory_info().rss <= limit:
        time.sleep(_LOOK_SECONDS)
    os._exit(OVER_LIMIT)


class _LogHandler(QueueHandler):
    """Log records, made fit to travel."""

    def __init__(self, replies: _Replies) -> None:
        super().__init__(queue=None)  # type: ignore[arg-type]
        self._replies = replies

    def enqueue(self, record: logging.LogRecord) -> None:
        self._replies.send("log", record)


def _hand_on_logs(replies: _Replies) -> None:
    logger = logging.getLogger("actsearch")
    logger.addHandler(_LogHandler(replies))
    logger.propagate = False


def _train(requests: queue.SimpleQueue[Any], replies: _Replies, threads: int) -> None:
    import torch

    from actsearch.execution.work import Job, Work

    torch.set_num_threads(threads)
    work: Work | None = None
    while True:
        message = requests.get()
        if isinstance(message, BaseException):
            replies.send("refused", f"{type(message).__name__}: {message}")
        elif isinstance(message, Work):
            work = message
            replies.send("ready", None)
        else:
            assert work is not None
            jobs: Sequence[Job]
            jobs, work.evaluator.competition, work.evaluator.open_numbers = message
            outcomes = work.together(jobs) if len(jobs) > 1 else [work(jobs[0])]
            stacker = work.evaluator.stacker
            replies.send("done", (outcomes, None if stacker is None else stacker.largest))
