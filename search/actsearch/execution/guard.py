"""Ending child processes when the process that started them was killed and cannot."""

from __future__ import annotations

import contextlib
import itertools
import os
import signal
import subprocess
import sys

__all__ = ["Guard", "end_group"]

_CODE = """
import os, signal, sys
groups = set()
for line in sys.stdin:
    group = int(line)
    groups.add(group) if group > 0 else groups.discard(-group)
for group in groups:
    try:
        os.killpg(group, signal.SIGKILL)
    except OSError:
        pass
"""
"""It hears the groups to end, or, negative, not to end any more; the pipe closes whatever ends the other process.

A child sees that as well, unless a call in it holds its interpreter; and what it has started does not."""


def end_group(group: int) -> None:
    """Kill all processes of a group that are left."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(group, signal.SIGKILL)


class Guard:
    """A small process that outlives this one just long enough to end its children."""

    def __init__(self) -> None:
        self._places: set[int] = set()
        self._process = subprocess.Popen(
            # isolated, without site-packages: it starts fast, and nothing of the user's is imported
            [sys.executable, "-I", "-S", "-c", _CODE],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            process_group=0,  # Ctrl-C in a terminal is not for it
            text=True,
        )

    def take_place(self) -> int:
        """The smallest number from 0 that none of its children has."""
        place = next(number for number in itertools.count() if number not in self._places)
        self._places.add(place)
        return place

    def free_place(self, place: int) -> None:
        """Its child has ended."""
        self._places.discard(place)

    def add(self, group: int) -> None:
        """End this group should this process end."""
        self._send(group)

    def remove(self, group: int) -> None:
        """It has ended."""
        self._send(-group)

    def _send(self, number: int) -> None:
        assert self._process.stdin is not None
        # it was ended from outside: children then end by themselves
        with contextlib.suppress(OSError, ValueError):
            self._process.stdin.write(f"{number}\n")
            self._process.stdin.flush()

    def disconnect(self) -> None:
        """In a fork of the process that made it: hold the pipe open no longer."""
        assert self._process.stdin is not None
        with contextlib.suppress(OSError):
            self._process.stdin.close()

    def close(self) -> None:
        """End it, and whatever is left in its care."""
        assert self._process.stdin is not None
        with contextlib.suppress(OSError):
            self._process.stdin.close()
        self._process.wait()
