"""``python -m actsearch_dashboard [STORAGE]``: what ``actsearch dashboard`` becomes."""

from __future__ import annotations

import argparse
import os
import re
import signal
import sys
from collections.abc import Sequence

__all__ = ["main"]


def main(arguments: Sequence[str] | None = None) -> int:
    """Read the command line and serve in this process; returns the exit code."""
    # takes half a second
    from actsearch.cli import STORAGE_VARIABLE, Parser, become_dashboard
    from actsearch.storage import storage_url
    from actsearch_dashboard.launch import launch

    Parser.given = sys.argv[1:] if arguments is None else arguments
    parser = Parser(
        prog="python -m actsearch_dashboard",
        description="Show the studies of a storage in the browser, on 127.0.0.1. Nothing is written to it.",
    )
    parser.add_argument(
        "storage",
        nargs="?",
        help=f"as in sqlite:///studies/actsearch.db; without it what ${STORAGE_VARIABLE} says",
    )
    parser.add_argument("--port", type=_port, default=None, help="8501, or the next free one")
    parser.add_argument("--no-browser", action="store_true", help="open no browser window")
    parser.add_argument(
        "--base-path",
        type=_path,
        default="",
        help="serve below a path, as /actsearch behind a proxy",
    )
    options = parser.parse_args(arguments)
    storage = options.storage or os.environ.get(STORAGE_VARIABLE)
    if not storage:
        parser.error(f"name a storage, or set {STORAGE_VARIABLE}")
    if options.storage and arguments is None and os.name == "posix":
        # again, without the storage among the arguments
        return become_dashboard(storage, options.port, not options.no_browser, options.base_path)
    os.environ.pop(STORAGE_VARIABLE, None)  # a browser that is started must not inherit it
    return launch(storage_url(storage), options.port, not options.no_browser, options.base_path)


def _port(text: str) -> int:
    port = int(text)
    if not 1 <= port <= 65535:
        raise argparse.ArgumentTypeError(
            f"{port} is not a valid port; take one from 1024 to 65535"
        )
    return port


def _path(text: str) -> str:
    path = text.strip("/")
    if not re.fullmatch(r"[A-Za-z0-9._~/-]*", path) or {".", ".."} & set(path.split("/")):
        raise argparse.ArgumentTypeError(
            f"{text!r} is not a path of letters, digits, - . _ ~ and /"
        )
    return path


if __name__ == "__main__":
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, signal.SIG_DFL)  # until it serves, Ctrl-C ends it at once
    sys.exit(main())
