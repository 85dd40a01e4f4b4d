"""Asking a process of its own about functions: the dashboard's server does not load torch."""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
import threading
from typing import Any

from actsearch.errors import ActsearchError

__all__ = ["ask", "start"]

_PATIENCE = 120.0  # seconds for one answer, the start included: torch may load slowly
# Where modules are found is handed on: the current folder might hold others of the same names.
_CODE = """
import sys
sys.path[:] = {path!r}
from actsearch.function_server import main
sys.exit(main())
"""


class _Client:
    """One process of :mod:`actsearch.function_server`, started when it is needed and again when it has ended."""

    def __init__(self) -> None:
        self._conversation = threading.Lock()  # one request at a time, whatever sessions there are
        # a lock of its own: a page that only wants the process started must not wait for another session's answer
        self._starting = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> subprocess.Popen[bytes]:
        """Start the process unless it runs; it takes seconds to load torch, which this does not wait for."""
        with self._starting:
            if self._process is None or self._process.poll() is not None:
                self._close_pipes()
                self._process = subprocess.Popen(
                    [sys.executable, "-c", _CODE.format(path=sys.path)],
                    stdin=subprocess.PIPE,  # it ends when this is closed, however this process ends
                    stdout=subprocess.PIPE,
                    process_group=0,  # a terminal's Ctrl-C is for the server alone
                )
            return self._process

    def _close_pipes(self) -> None:
        """Close those of a process that has ended."""
        if self._process is not None and self._process.stdin and self._process.stdout:
            with contextlib.suppress(OSError):  # what was left to be written has no reader
                self._process.stdin.close()
            self._process.stdout.close()

    def ask(self, request: bytes) -> bytes:
        """The answer to a request; b"" if the process ended instead."""
        with self._conversation:
            process = self.start()
            assert process.stdin is not None
            assert process.stdout is not None
            timer = threading.Timer(_PATIENCE, process.kill)
            timer.start()
            try:
                process.stdin.write(request)
                process.stdin.flush()
                return process.stdout.readline()
            except (OSError, ValueError):  # it has just ended, or its pipes were closed since
                return b""
            finally:
                timer.cancel()


_client = _Client()


def start() -> None:
    """Say that :func:`ask` will be called soon."""
    with contextlib.suppress(OSError):
        _client.start()


def ask(call: str, **arguments: Any) -> Any:
    """Call a function of :mod:`actsearch.function_server`.

    Raises:
        ActsearchError: it says what is wrong, or the process could not answer.
    """
    request = json.dumps({"call": call, **arguments}).encode() + b"\n"
    try:
        reply = _client.ask(request) or _client.ask(request)  # it may have ended for idleness
        answer = json.loads(reply)
    except (OSError, ValueError) as error:
        raise ActsearchError(
            "functions cannot be computed: the process that loads torch ended, see the terminal"
        ) from error
    if "error" in answer:
        raise ActsearchError(answer["error"])
    return answer["result"]
