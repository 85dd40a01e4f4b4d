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

from actsearch_dashboard.__main__ import main
from actsearch_dashboard.launch import ADDRESS, command

Server = subprocess.Popen[bytes]
_START = 30.0  # seconds that a loaded machine may take


def test_command_says_every_safe_setting() -> None:
    words = command("sqlite:///a.db", 8765, open_browser=False)
    for flag in ("--server.address=127.0.0.1", "--server.enableXsrfProtection=true", "--server.port=8765",
                 "--browser.gatherUsageStats=false", "--server.headless=true",
                 "--server.fileWatcherType=none"):  # fmt: skip
        assert flag in words
    assert words[-2:] == ["--", "sqlite:///a.db"]
    assert "--server.headless=false" in command("sqlite:///a.db")


def test_a_storage_that_looks_like_a_flag_stays_a_storage() -> None:
    assert command("--server.address=0.0.0.0")[-2:] == ["--", "--server.address=0.0.0.0"]


@pytest.mark.parametrize("arguments", [[], ["a", "--port", "0"], ["a", "--port", "x"]])
def test_bad_arguments_are_refused(
    arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
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
