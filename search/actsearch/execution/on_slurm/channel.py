"""Messages as files in a folder that two machines share; standard library alone.

Network file systems cache: that a file is new may be seen half a minute late, but what is in a file is current whenever
it is opened (close-to-open consistency). So each side has one small file that is there from the start and is written in
place: its beat, which says that the side lives, and how many messages it has written. A message is a file of its own,
written whole under another name and then renamed. Clocks and times of files are of other machines, and are not used.

Nothing is believed, or unpickled, that was not made with the key of this driver for this very place and number: what an
earlier driver or anybody else has left there is as if it were not there.
"""

from __future__ import annotations

import contextlib
import hmac
import os
import secrets
import struct
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

__all__ = ["BEAT_SECONDS", "LEFT", "Beat", "Channel", "Pace", "Silence", "is_private"]

BEAT_SECONDS = 5.0
"""From one beat to the next."""

LEFT = 1
"""State in the last beat of a host whose job goes back to the queue."""

Side = Literal["driver", "host"]

_BEAT = struct.Struct(">8sQQB")  # life, count, messages, state
_MAC = 32
_LIFE = 8
_LONGEST_GAP = 2.0
_FIRST_PAUSE, _GROWTH, _LONGEST_PAUSE = 0.005, 1.1, 1.0


@dataclass(frozen=True)
class Beat:
    """What one side last said of itself.

    Attributes:
        life: of the host, 8 bytes that it draws when it starts; of a driver, of that host to which it writes.
        count: goes up as long as the side lives.
        messages: that it has written in this life.
        state: 0, or LEFT.
    """

    life: bytes
    count: int
    messages: int
    state: int


class Silence:
    """Seconds in which a side was watched and said nothing, by the clock of whoever watches.

    A machine that sleeps, or waits for its file server, does not watch: such gaps hardly count.
    """

    def __init__(self) -> None:
        self.seconds = 0.0
        self._count = -1
        self._looked = time.monotonic()

    def note(self, beat: Beat | None) -> float:
        """Of a side whose beat is now as given; None if it cannot be read."""
        now = time.monotonic()
        if beat is not None and beat.count != self._count:
            self._count, self.seconds = beat.count, 0.0
        else:
            self.seconds += min(now - self._looked, _LONGEST_GAP)
        self._looked = now
        return self.seconds


class Pace:
    """How long to wait before looking again: a tenth of the time that nothing has happened, a second at most."""

    def __init__(self) -> None:
        self._bell = threading.Event()
        self._pause = _FIRST_PAUSE

    def quicken(self) -> None:
        """Something happens, or will soon; from any thread."""
        self._pause = _FIRST_PAUSE
        self._bell.set()

    def wait(self) -> None:
        """Until it is time to look."""
        self._bell.wait(self._pause)
        self._bell.clear()
        self._pause = min(self._pause * _GROWTH, _LONGEST_PAUSE)


class Channel:
    """One end of the connection between a driver and a job.

    Attributes:
        life: of the host that speaks, or is spoken to; nothing is sent to b"".
    """

    def __init__(self, folder: Path, key: bytes, side: Side) -> None:
        """Args:
        folder: both sides' own.
        key: that the driver has made.
        side: whose end it is.
        """
        self.life = secrets.token_bytes(_LIFE) if side == "host" else b""
        self._folder = folder
        self._key = key
        self._side: Side = side
        self._other: Side = "host" if side == "driver" else "driver"
        self._count = self._written = self._read = 0
        self._lock = threading.RLock()  # a signal may come while its thread writes

    def make(self) -> None:
        """Make the folder; by the driver, before there is a host."""
        for side in ("driver", "host"):
            (self._folder / f"from_{side}").mkdir(parents=True)
            (self._folder / f"{side}.beat").touch()
        self.beat()

    def address(self, life: bytes) -> None:
        """Write to another host, or to none (b"")."""
        with self._lock:
            self.life, self._written, self._read = life, 0, 0

    # what this side says

    def beat(self, state: int = 0) -> None:
        """Say that it lives.

        Raises:
            OSError: the folder is gone, or cannot be written.
        """
        with self._lock:
            self._count += 1
            # a driver without a host has a life as well, of zeros
            beat = _BEAT.pack(self.life.ljust(_LIFE, b"\0"), self._count, self._written, state)
            file = os.open(self._folder / f"{self._side}.beat", os.O_WRONLY)
            try:
                os.pwrite(file, self._mac("beat", self._side, 0, beat) + beat, 0)
                os.fsync(file)
            finally:
                os.close(file)

    def post(self, content: bytes | memoryview) -> None:
        """Write a message.

        Raises:
            OSError: as :meth:`beat`; it was not written, and may be posted again.
        """
        with self._lock:
            number = self._written + 1
            path = self._path(self._side, number)
            hidden = path.with_name(f".{path.name}")
            mac = self._mac("message", self._side, number, content)
            with hidden.open("wb") as file:
                file.write(mac)
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            hidden.rename(path)
            self._written = number
            with contextlib.suppress(OSError):  # it is there, and the next beat says so
                self.beat()

    # what the other side says

    def look(self) -> Beat | None:
        """The other side's beat; None if there is none yet, or it is being written.

        Raises:
            OSError: the folder is gone, or cannot be read.
        """
        data = (self._folder / f"{self._other}.beat").read_bytes()
        mac, beat = data[:_MAC], data[_MAC:]
        if len(beat) != _BEAT.size or not self._is_ours(
            mac, self._mac("beat", self._other, 0, beat)
        ):
            return None
        return Beat(*_BEAT.unpack(beat))

    def take(self, beat: Beat | None) -> Iterator[bytes]:
        """Messages of the other side that are new, in order; a beat of it says how many there are."""
        if beat is None or beat.life != self.life:
            return
        while self._read < beat.messages:
            path = self._path(self._other, self._read + 1)
            try:
                data = path.read_bytes()
            except FileNotFoundError:
                # a folder's own entries are cached, unless something of it is set
                os.chmod(path.parent, 0o700)
                return
            mac, content = data[:_MAC], data[_MAC:]
            if not self._is_ours(mac, self._mac("message", self._other, self._read + 1, content)):
                return  # not all of it has arrived
            self._read += 1
            with contextlib.suppress(OSError):
                path.unlink()
            yield content

    def _path(self, side: Side, number: int) -> Path:
        return self._folder / f"from_{side}" / f"{self.life.hex()}-{number:08}"

    def _mac(self, kind: str, side: Side, number: int, content: bytes | memoryview) -> bytes:
        """What only who has the key can say of a content at this place."""
        life = self.life.hex() if kind == "message" else ""
        mac = hmac.new(
            self._key, f"{kind} {self._folder.name} {side} {life} {number} ".encode(), "sha256"
        )
        mac.update(content)
        return mac.digest()

    @staticmethod
    def _is_ours(mac: bytes, wanted: bytes) -> bool:
        return hmac.compare_digest(mac, wanted)


def is_private(folder: Path) -> bool:
    """Whether nobody but the user of this process can write into a folder, or read it."""
    status = folder.stat()
    return status.st_uid == os.geteuid() and not status.st_mode & 0o077
