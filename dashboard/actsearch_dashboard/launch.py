"""Starting the dashboard: a Streamlit server in this process, on this machine, for this machine alone."""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import socket
import sys
import threading
from collections.abc import Mapping

from actsearch.errors import ActsearchError
from actsearch_dashboard import function_client

__all__ = ["ADDRESS", "launch", "tunnel_command"]

ADDRESS = "127.0.0.1"
"""Nobody but this machine's own users can connect; from elsewhere go through ``ssh -L``."""

_FIRST_PORT = 8501  # Streamlit's own


def launch(
    storage_url: str, port: int | None = None, open_browser: bool = True, base_path: str = ""
) -> int:
    """Serve the dashboard on 127.0.0.1, in this process, until Ctrl-C or until it is terminated.

    Args:
        storage_url: what to show, as in ``sqlite:///studies/actsearch.db``.
        port: where to listen; None takes 8501, or the next free one.
        open_browser: open a browser window.
        base_path: serve below this path, without slashes at its ends.

    Returns:
        The server's exit code; 0 after Ctrl-C or SIGTERM, 1 if the port is taken.

    Raises:
        ActsearchError: called outside of the main thread, or where an event loop runs, as in a notebook.
    """
    _check_place()
    if port and not _is_free(port):  # said before an address is, at which somebody else answers
        print(
            f"actsearch: port {port} is taken. Free is {_free_port()}: --port {_free_port()}, or leave --port out",
            file=sys.stderr,
        )
        return 1
    port = port or _free_port()
    page = f"http://{ADDRESS}:{port}" + (f"/{base_path}" if base_path else "")
    print(f"The dashboard is at {page}  (Ctrl-C ends it)", flush=True)
    if tunnel := tunnel_command(port, os.environ):
        print(f"From your own machine:  {tunnel}  and open {page} there", flush=True)
    function_client.start()  # loads torch while the server loads the rest, and the browser what the server sends it
    try:
        from actsearch_dashboard import server  # takes a second, and the address is known already

        return server.serve(storage_url, ADDRESS, port, open_browser, base_path)
    except KeyboardInterrupt:  # while it starts
        return 0


def tunnel_command(port: int, environment: Mapping[str, str]) -> str:
    """What to type on one's own machine to see a dashboard that was started over ssh; "" where it was not."""
    connection = environment.get("SSH_CONNECTION", "").split()
    if len(connection) != 4:  # the client's address and port, this machine's address and port
        return ""
    user = environment.get("USER") or environment.get("LOGNAME") or ""
    host = (user + "@" if re.fullmatch(r"[\w.-]+", user) else "") + connection[2]
    other = "" if connection[3] == "22" else f" -p {connection[3]}"
    return f"ssh -L {port}:{ADDRESS}:{port}{other} {host}"


def _check_place() -> None:
    """A server that handles signals needs the main thread for itself."""
    with contextlib.suppress(RuntimeError):
        asyncio.get_running_loop()
        raise ActsearchError(_ELSEWHERE)
    if threading.current_thread() is not threading.main_thread():
        raise ActsearchError(_ELSEWHERE)


_ELSEWHERE = (
    "launch serves until Ctrl-C and needs the main thread of a process, without an event loop as in a notebook: "
    "start  actsearch dashboard STORAGE  in a terminal"
)


def _free_port() -> int:
    """The first port from 8501 on at which nobody listens."""
    ports = range(_FIRST_PORT, _FIRST_PORT + 100)
    return next(filter(_is_free, ports), _FIRST_PORT)  # the server says what is wrong with it


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        if os.name == "posix":  # where it does not mean: although somebody listens
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        with contextlib.suppress(OSError):
            probe.bind((ADDRESS, port))
            return True
    return False
