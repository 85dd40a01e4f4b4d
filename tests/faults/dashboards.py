"""A real ``actsearch dashboard`` in processes of its own, and what is left of it."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

__all__ = ["ADDRESS", "COMMAND", "Dashboard", "free_port", "hostile_home", "running", "wait"]

ADDRESS = "127.0.0.1"
COMMAND = [sys.executable, "-m", "actsearch.cli", "dashboard"]
_PATIENCE = 60.0  # seconds that a loaded machine may take
_MARK = "ACTSEARCH_TEST_MARK"


def wait(condition: Callable[[], object], patience: float = _PATIENCE) -> bool:
    """Whether a condition comes true in time."""
    until = time.monotonic() + patience
    while not condition():
        if time.monotonic() > until:
            return False
        time.sleep(0.1)
    return True


def free_port() -> int:
    """A port at which nobody listens."""
    with socket.socket() as probe:
        probe.bind((ADDRESS, 0))
        return int(probe.getsockname()[1])


class Dashboard:
    """One that was started; its processes are known by a mark in their environment, whoever their parent is by now."""

    def __init__(self, process: subprocess.Popen[bytes], port: int, mark: str, out: Path) -> None:
        self.process = process
        self.port = port
        self._mark = f"{_MARK}={mark}".encode()
        self._out = out

    @property
    def said(self) -> str:
        """What it has printed."""
        return self._out.read_text()

    def processes(self) -> dict[int, str]:
        """Its living processes with their command lines."""
        found = {}
        for folder in Path("/proc").glob("[0-9]*"):
            try:
                if self._mark in (folder / "environ").read_bytes().split(b"\0"):
                    words = (folder / "cmdline").read_bytes().replace(b"\0", b" ").decode()
                    found[int(folder.name)] = words
            except OSError:  # ended meanwhile
                continue
        return found

    def listens(self) -> bool:
        """Whether somebody answers at its port."""
        with socket.socket() as probe:
            probe.settimeout(2)
            return probe.connect_ex((ADDRESS, self.port)) == 0

    def serves(self) -> bool:
        """Whether it says that it is well."""
        return b"200 OK" in self.answer("GET /_stcore/health HTTP/1.1")

    def answer(self, request: str, **headers: str) -> bytes:
        """The beginning of the answer to a request; empty where there is none."""
        with self.connected(request, **headers) as (_, found):
            return found

    @contextmanager
    def connected(self, request: str, **headers: str) -> Iterator[tuple[socket.socket, bytes]]:
        """A connection that stays open, with the beginning of the answer to a request."""
        fields = {"Host": f"{ADDRESS}:{self.port}"} | headers
        lines = [request, *(f"{name.replace('_', '-')}: {text}" for name, text in fields.items())]
        with socket.socket() as connection:
            connection.settimeout(20)
            try:
                connection.connect((ADDRESS, self.port))
                connection.sendall("\r\n".join([*lines, "", ""]).encode())
                yield connection, connection.recv(4096)
            except ConnectionError:
                yield connection, b""

    def stream(self, origin: str) -> tuple[str, dict[str, str]]:
        """Request line and headers with which a page of an origin opens the stream of a session."""
        return "GET /_stcore/stream HTTP/1.1", {
            "Upgrade": "websocket",
            "Connection": "Upgrade",
            "Sec_WebSocket_Key": "dGhlIHNhbXBsZSBub25jZQ==",
            "Sec_WebSocket_Version": "13",
            "Origin": origin,
        }

    def is_gone(self) -> bool:
        """Whether no process of it is left, and nobody listens."""
        self.process.poll()
        return not self.processes() and not self.listens()


@contextmanager
def running(
    command: list[str], folder: Path, port: int, **environment: str
) -> Iterator[Dashboard]:
    """A command that starts a dashboard at a port; whatever is left of it in the end is killed."""
    mark = uuid.uuid4().hex
    out = folder / f"said-{mark}"
    with out.open("wb") as stream:
        process = subprocess.Popen(
            command,
            cwd=folder,
            env=os.environ | {_MARK: mark, "PYTHONUNBUFFERED": "1"} | environment,
            stdin=subprocess.DEVNULL,
            stdout=stream,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    dashboard = Dashboard(process, port, mark, out)
    try:
        yield dashboard
    finally:
        for pid in dashboard.processes():
            os.kill(pid, signal.SIGKILL)
        process.wait(timeout=20)


_SETTINGS = """
[global]
developmentMode = false
[server]
enableCORS = false
enableXsrfProtection = false
corsAllowedOrigins = ["http://evil.example"]
allowedHosts = ["*"]
address = "0.0.0.0"
baseUrlPath = "elsewhere"
enableStaticServing = true
[browser]
gatherUsageStats = true
serverAddress = "evil.example"
[logger]
level = "debug"
[theme]
base = "http://evil.example/theme.toml"
font = "Evil:http://evil.example/font.css"
"""


def hostile_home(folder: Path) -> dict[str, str]:
    """A user who has set Streamlit up for apps that are open to everybody."""
    for place in (folder / "home" / ".streamlit", folder / ".streamlit"):
        place.mkdir(parents=True)
        (place / "config.toml").write_text(_SETTINGS)
        (place / "secrets.toml").write_text('[auth]\ncookie_secret = "x"\n')
    return {
        "HOME": str(folder / "home"),
        "STREAMLIT_BROWSER_GATHER_USAGE_STATS": "true",
        "STREAMLIT_SERVER_ENABLE_CORS": "false",
        "STREAMLIT_SERVER_CORS_ALLOWED_ORIGINS": "http://evil.example",
        "STREAMLIT_SERVER_ADDRESS": "0.0.0.0",
        "STREAMLIT_GLOBAL_DEVELOPMENT_MODE": "true",
        "STREAMLIT_SERVER_ENABLE_AGENT_API": "true",
    }
