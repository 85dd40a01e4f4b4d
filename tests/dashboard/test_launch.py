"""The server: on 127.0.0.1 alone, and nothing remains of it."""

from __future__ import annotations

import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from streamlit import config

from actsearch_dashboard.__main__ import main
from actsearch_dashboard.launch import ADDRESS
from actsearch_dashboard.server import settings

Server = subprocess.Popen[bytes]
_START = 30.0  # seconds that a loaded machine may take


def test_every_safe_setting_is_known_to_streamlit() -> None:
    """An option that a later version renames would be left out without a word."""
    chosen = settings(ADDRESS, 8765, open_browser=False)
    assert set(chosen) <= set(config.get_config_options())
    safe = {"server.address": ADDRESS, "server.enableXsrfProtection": True, "server.enableCORS": True,
            "server.corsAllowedOrigins": [], "browser.gatherUsageStats": False, "server.headless": True,
            "server.fileWatcherType": "none", "server.port": 8765}  # fmt: skip
    assert safe.items() <= chosen.items()
    assert settings(ADDRESS, 8765, open_browser=True)["server.headless"] is False


@pytest.mark.parametrize("arguments", [[], ["a", "--port", "0"], ["a", "--port", "x"]])
def test_bad_arguments_are_refused(
    arguments: list[str], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("ACTSEARCH_STORAGE", raising=False)
    with pytest.raises(SystemExit) as refused:
        main(arguments)
    assert refused.value.code == 2
    assert "usage" in capsys.readouterr().err


def _answers(port: int, path: str = "/_stcore/health") -> str | None:
    try:
        with urllib.request.urlopen(f"http://{ADDRESS}:{port}{path}", timeout=2) as answer:
            return str(answer.read().decode())
    except (urllib.error.URLError, OSError):
        return None


def _listens(address: str, port: int) -> bool:
    with socket.socket() as probe:
        probe.settimeout(2)
        return probe.connect_ex((address, port)) == 0


def _wait(condition: Callable[[], object]) -> bool:
    until = time.monotonic() + _START
    while time.monotonic() < until:
        if condition():
            return True
        time.sleep(0.1)
    return False


@pytest.fixture
def port() -> int:
    with socket.socket() as probe:
        probe.bind((ADDRESS, 0))
        return int(probe.getsockname()[1])


@pytest.fixture
def server(whole: Path, port: int, tmp_path: Path) -> Iterator[Server]:
    words = [sys.executable, "-m", "actsearch_dashboard", f"sqlite:///{whole}", "--no-browser"]
    with (tmp_path / "errors").open("wb") as errors:
        process = subprocess.Popen(
            [*words, "--port", str(port)],
            cwd=tmp_path,
            stdout=subprocess.DEVNULL,
            stderr=errors,
            start_new_session=True,
        )
    yield process
    if process.poll() is None:
        process.terminate()
        process.wait(timeout=20)


@pytest.mark.slow
@pytest.mark.skipif(
    sys.platform != "linux", reason="other loopback addresses answer on Linux alone"
)
@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 0), (signal.SIGTERM, 0)])
def test_serves_this_machine_alone_and_ends(
    server: Server, port: int, number: signal.Signals, code: int, tmp_path: Path
) -> None:
    assert _wait(lambda: _answers(port) == "ok"), (tmp_path / "errors").read_text()
    assert "<title>" in (_answers(port, "/study") or "")  # a link to a page is answered too
    assert not _listens("127.0.0.2", port)  # would answer if it listened on every address
    server.send_signal(number)
    assert server.wait(timeout=20) == code
    assert _wait(lambda: not _listens(ADDRESS, port))
    assert "Traceback" not in (tmp_path / "errors").read_text()
