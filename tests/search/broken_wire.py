"""A wire to a PostgreSQL server that is cut around a commit, before the server hears of it or after it has answered."""

from __future__ import annotations

import contextlib
import select
import socket
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path

__all__ = ["Wire", "wire"]

_SOCKET = ".s.PGSQL.5432"


class Wire:
    """Forwards between a socket of its own and the server's; :attr:`cut` says when to break.

    Attributes:
        cut: "before" or "after" the next commit reaches the server; None to forward everything.
        cuts: how often the wire was cut.
    """

    def __init__(self, folder: Path, server: Path) -> None:
        self.cut: str | None = None
        self.cuts = 0
        self._server = server
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(str(folder / _SOCKET))
        self._listener.listen()
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        """Take no more connections."""
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            server = socket.socket(socket.AF_UNIX)
            server.connect(str(self._server / _SOCKET))
            threading.Thread(target=self._forward, args=(client, server), daemon=True).start()

    def _forward(self, client: socket.socket, server: socket.socket) -> None:
        other = {client: server, server: client}
        with client, server, contextlib.suppress(OSError):
            while True:
                for ready in select.select([client, server], [], [])[0]:
                    data = ready.recv(1 << 16)
                    if not data:
                        return
                    if self.cut and ready is client and b"COMMIT" in data:
                        self._break(data, server)
                        return
                    other[ready].sendall(data)

    def _break(self, data: bytes, server: socket.socket) -> None:
        if self.cut == "after":
            server.sendall(data)
            assert b"COMMIT" in server.recv(1 << 16)  # it is stored, and only we know
        self.cut = None
        self.cuts += 1


@contextlib.contextmanager
def wire(server_folder: Path) -> Iterator[tuple[Wire, Path]]:
    """A wire, and the folder of its socket."""
    with tempfile.TemporaryDirectory(prefix="actsearch-wire-", dir="/tmp") as name:
        forwarding = Wire(Path(name), server_folder)
        try:
            yield forwarding, Path(name)
        finally:
            forwarding.close()
