"""Starting the dashboard: a Streamlit server on this machine, for this machine alone."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

__all__ = ["ADDRESS", "command", "launch"]

ADDRESS = "127.0.0.1"
"""Nobody but this machine's own users can connect; from elsewhere go through ``ssh -L``."""

_FIRST_PORT = 8501
_PATIENCE = 5.0  # seconds that the server has for ending by itself

_FLAGS = {
    "server.address": ADDRESS,
    "server.enableXsrfProtection": "true",  # said, because a config.toml of the user's may say otherwise
    "server.enableCORS": "true",
    "server.fileWatcherType": "none",
    "server.showEmailPrompt": "false",  # or the first start ever waits for an answer in the terminal
    "browser.gatherUsageStats": "false",
    "client.toolbarMode": "viewer",
    "runner.magicEnabled": "false",
}

_BLUE, _SKY = (
    "#0072B2",
    "#56B4E9",
)  # of the palette: Streamlit's red would be a colour without a meaning

_ENVIRONMENT = {  # options that the oldest Streamlit we support does not know: a flag would end it, these it ignores
    "STREAMLIT_SERVER_ALLOWED_HOSTS": f"{ADDRESS} localhost",  # against DNS rebinding
    "STREAMLIT_LOGGER_HIDE_WELCOME_MESSAGE": "true",  # and with it an advertisement over the right corner of each page
    "STREAMLIT_THEME_LIGHT_PRIMARY_COLOR": _BLUE,
    "STREAMLIT_THEME_DARK_PRIMARY_COLOR": _SKY,
    "STREAMLIT_CLIENT_DISABLE_DATA_EXPORT": "true",  # its CSV would not disarm formulas for spreadsheets, ours does
}


def command(storage_url: str, port: int | None = None, open_browser: bool = True) -> list[str]:
    """The command line that starts the server.

    Args:
        storage_url: what to show, as in ``sqlite:///studies/actsearch.db``.
        port: where to listen; None takes 8501, or the next free one.
        open_browser: open a browser window.
    """
    flags = dict(_FLAGS, **{"server.headless": "false" if open_browser else "true"})
    if port is not None:
        flags["server.port"] = str(port)
    script = str(Path(__file__).parent / "entry" / "serve.py")
    return [
        sys.executable, "-m", "actsearch_dashboard.server", "run", script,
        *(f"--{name}={value}" for name, value in flags.items()),
        "--", storage_url,
    ]  # fmt: skip


def launch(storage_url: str, port: int | None = None, open_browser: bool = True) -> int:
    """Serve the dashboard on 127.0.0.1 until Ctrl-C or until this process is terminated.

    Args:
        storage_url: what to show, as in ``sqlite:///studies/actsearch.db``.
        port: where to listen; None takes 8501, or the next free one.
        open_browser: open a browser window.

    Returns:
        The server's exit code; 0 after Ctrl-C.
    """
    port = port or _free_port()
    print(f"The dashboard is at http://{ADDRESS}:{port}  (Ctrl-C ends it)", flush=True)
    server = subprocess.Popen(
        command(storage_url, port, open_browser), env={**os.environ, **_ENVIRONMENT}
    )
    try:
        with _terminating(server):
            return server.wait()
    except KeyboardInterrupt:
        return 0
    finally:
        _end(server)


def _free_port() -> int:
    """The first port from 8501 on at which nobody listens."""
    for port in range(_FIRST_PORT, _FIRST_PORT + 100):
        with socket.socket() as probe:
            if os.name == "posix":  # where it does not mean: although somebody listens
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            with contextlib.suppress(OSError):
                probe.bind((ADDRESS, port))
                return port
    return _FIRST_PORT  # the server says what is wrong with it


def _end(server: subprocess.Popen[bytes]) -> None:
    """See to it that nothing remains, gently first. Ctrl-C in a terminal has reached the server too."""
    for stop in (server.terminate, server.kill):
        try:
            server.wait(timeout=_PATIENCE if stop is server.kill else 0.5)
            return
        except (subprocess.TimeoutExpired, KeyboardInterrupt):
            stop()
    server.wait()


@contextmanager
def _terminating(server: subprocess.Popen[bytes]) -> Iterator[None]:
    """While inside, SIGTERM to this process ends the server instead of leaving it behind."""
    if threading.current_thread() is not threading.main_thread():
        yield  # signals can only be handled there
        return

    def forward(_number: int, _frame: FrameType | None) -> None:
        server.terminate()

    before = signal.signal(signal.SIGTERM, forward)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
