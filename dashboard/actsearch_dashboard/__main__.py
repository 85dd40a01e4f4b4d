"""``python -m actsearch_dashboard STORAGE``: what ``actsearch dashboard`` starts."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from actsearch_dashboard.launch import launch

__all__ = ["main"]


def main(arguments: Sequence[str] | None = None) -> int:
    """Read the command line and serve; returns the exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m actsearch_dashboard",
        description="Show the studies of a storage in the browser, on 127.0.0.1. Nothing is written to it.",
    )
    parser.add_argument("storage", help="as in sqlite:///studies/actsearch.db")
    parser.add_argument("--port", type=_port, default=None, help="8501, or the next free one")
    parser.add_argument("--no-browser", action="store_true", help="open no browser window")
    given = parser.parse_args(arguments)
    return launch(given.storage, given.port, not given.no_browser)


def _port(text: str) -> int:
    port = int(text)
    if not 1 <= port <= 65535:
        raise argparse.ArgumentTypeError(f"{port} is no port; take one from 1024 to 65535")
    return port


if __name__ == "__main__":
    sys.exit(main())
