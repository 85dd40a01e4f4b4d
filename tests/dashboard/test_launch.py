"""The server: on 127.0.0.1 alone, and nothing remains of it."""

from __future__ import annotations

import os
import re
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
from streamlit import config, net_util
from streamlit.components.v2 import manifest_scanner

from actsearch_dashboard import server
from actsearch_dashboard.__main__ import main
from actsearch_dashboard.launch import ADDRESS, tunnel_command

Server = subprocess.Popen[bytes]
_START = 30.0  # seconds that a loaded machine may take


def test_every_safe_setting_is_known_to_streamlit() -> None:
    """An option that a later version renames would be left out without a word."""
    chosen = server.settings(ADDRESS, 8765, open_browser=False)
    assert set(chosen) <= set(config.get_config_options())
    safe = {"server.address": ADDRESS, "server.enableXsrfProtection": True, "server.enableCORS": True,
            "server.corsAllowedOrigins": [], "browser.gatherUsageStats": False, "server.headless": True,
            "server.fileWatcherType": "none", "server.port": 8765}  # fmt: skip
    assert safe.items() <= chosen.items()
    assert server.settings(ADDRESS, 8765, open_browser=True)["server.headless"] is False


def test_what_other_apps_and_packages_set_is_left_to_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STREAMLIT_THEME_BASE", "dark")
    monkeypatch.setattr(config, "get_config_files", lambda name: ["config.toml"])
    monkeypatch.setattr(net_util, "get_internal_ip", lambda: "10.0.0.1")
    monkeypatch.setattr(net_util, "get_external_ip", lambda: "192.0.2.1")
    monkeypatch.setattr(manifest_scanner, "scan_component_manifests", lambda: ["a component"])
    server._close_doors()
    assert not [name for name in os.environ if name.startswith("STREAMLIT_")]
    assert config.get_config_files("config.toml") == []
    assert (net_util.get_internal_ip(), net_util.get_external_ip()) == (None, None)
    assert manifest_scanner.scan_component_manifests() == []


@pytest.mark.parametrize(
    "arguments", [[], ["a", "--port", "0"], ["a", "--port", "x"], ["a", "--base-path", "../x"]]
)
def test_bad_arguments_are_refused(
    arguments: list[str], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("ACTSEARCH_STORAGE", raising=False)
    with pytest.raises(SystemExit) as refused:
        main(arguments)
    assert refused.value.code == 2
    assert "usage" in capsys.readouterr().err


def test_a_port_that_is_taken_is_refused_before_an_address_is_announced(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with socket.socket() as other:
        other.bind((ADDRESS, 0))
        other.listen()
        port = other.getsockname()[1]
        assert main(["sqlite:///s.db", "--port", str(port), "--no-browser"]) == 1
    out, err = capsys.readouterr()
    assert out == ""
    assert f"port {port} is taken" in err
    free = re.search(r"--port (\d+)", err)
    assert free is not None
    with socket.socket() as probe:
        probe.bind((ADDRESS, int(free[1])))  # one that is free


def test_over_ssh_the_line_for_a_tunnel_is_told() -> None:
    here = {"SSH_CONNECTION": "198.51.100.7 51022 192.0.2.5 22", "USER": "ada"}
    assert tunnel_command(8600, here) == "ssh -L 8600:127.0.0.1:8600 ada@192.0.2.5"
    other = here | {"SSH_CONNECTION": "198.51.100.7 51022 192.0.2.5 2222", "USER": "$(x)"}
    assert tunnel_command(8600, other) == "ssh -L 8600:127.0.0.1:8600 -p 2222 192.0.2.5"
    assert tunnel_command(8600, {"USER": "ada"}) == ""


def test_a_base_path_is_part_of_the_address(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    served: list[tuple[object, ...]] = []

    def serve(*words: object) -> int:
        served.append(words)
        return 0

    monkeypatch.setattr(server, "serve", serve)
    monkeypatch.setenv("SSH_CONNECTION", "198.51.100.7 51022 192.0.2.5 22")
    assert main(["sqlite:///s.db", "--no-browser", "--base-path", "/team/actsearch/"]) == 0
    out = capsys.readouterr().out
    port = served[0][2]
    assert f"at http://127.0.0.1:{port}/team/actsearch " in out
    assert f"ssh -L {port}:127.0.0.1:{port}" in out
    assert served[0][-1] == "team/actsearch"
    chosen = server.settings(ADDRESS, 8600, open_browser=False, base_path="team/actsearch")
    assert chosen["server.baseUrlPath"] == "team/actsearch"


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
def started(whole: Path, port: int, tmp_path: Path) -> Iterator[Server]:
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
    started: Server, port: int, number: signal.Signals, code: int, tmp_path: Path
) -> None:
    assert _wait(lambda: _answers(port) == "ok"), (tmp_path / "errors").read_text()
    assert "<title>" in (_answers(port, "/study") or "")  # a link to a page is answered too
    assert not _listens("127.0.0.2", port)  # would answer if it listened on every address
    started.send_signal(number)
    assert started.wait(timeout=20) == code
    assert _wait(lambda: not _listens(ADDRESS, port))
    assert "Traceback" not in (tmp_path / "errors").read_text()
