"""The dashboard's server: nothing remains of it, whoever ends it; it lets no other page in, and asks nobody outside."""

from __future__ import annotations

import ast
import asyncio
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from dashboards import ADDRESS, COMMAND, free_port, hostile_home, running, wait

import actsearch as acs
from actsearch_dashboard.launch import launch

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")


@pytest.fixture(scope="module")
def storage(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A storage with one study that has no trial."""
    path = tmp_path_factory.mktemp("storage") / "study.db"
    acs.create_study(study_name="s", storage=f"sqlite:///{path}", strategy="random")
    return str(path)


def _command(storage: str, port: int) -> list[str]:
    return [*COMMAND, storage, "--no-browser", "--port", str(port)]


@pytest.mark.slow
def test_killed_while_it_starts(storage: str, tmp_path: Path) -> None:
    with running(_command(storage, port := free_port()), tmp_path, port) as dashboard:
        assert wait(lambda: f"http://{ADDRESS}:{port}" in dashboard.said)
        dashboard.process.kill()
        assert wait(dashboard.is_gone), dashboard.processes()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("number", "codes"),
    [
        (signal.SIGKILL, {-signal.SIGKILL}),
        (signal.SIGTERM, {0}),
        (signal.SIGHUP, {-signal.SIGHUP}),
        (signal.SIGINT, {0}),
    ],
)
def test_a_signal_leaves_nothing_behind(
    storage: str, tmp_path: Path, number: signal.Signals, codes: set[int]
) -> None:
    """While a page is open, which keeps a connection."""
    with running(_command(storage, port := free_port()), tmp_path, port) as dashboard:
        assert wait(dashboard.serves), dashboard.said
        assert len(dashboard.processes()) == 2  # the server, and what loads torch
        request, headers = dashboard.stream(f"http://{ADDRESS}:{port}")
        with dashboard.connected(request, **headers) as (_, answer):
            assert b" 101 " in answer
            dashboard.process.send_signal(number)
            assert dashboard.process.wait(timeout=30) in codes
        assert wait(dashboard.is_gone), dashboard.processes()
        assert "Traceback" not in dashboard.said


@pytest.mark.slow
def test_ctrl_c_while_it_starts(storage: str, tmp_path: Path) -> None:
    with running(_command(storage, port := free_port()), tmp_path, port) as dashboard:
        assert wait(lambda: f"http://{ADDRESS}:{port}" in dashboard.said)
        dashboard.process.send_signal(signal.SIGINT)
        assert dashboard.process.wait(timeout=30) in (
            0,
            -signal.SIGINT,
        )  # the latter is a shell's 130
        assert wait(dashboard.is_gone), dashboard.processes()
        assert "Traceback" not in dashboard.said


TERMINAL = """
import os, pty, sys
pid, terminal = pty.fork()
if pid == 0:
    os.execvp(sys.argv[1], sys.argv[1:])
print(pid, flush=True)
while True:
    try:
        os.read(terminal, 1000)
    except OSError:
        break
"""
"""A window with a terminal, in which a program runs."""


@pytest.mark.slow
@pytest.mark.parametrize("dies", ["the shell", "the window", "the window of a shell"])
def test_its_terminal_goes_away(storage: str, tmp_path: Path, dies: str) -> None:
    """The system then hangs up on what runs in it."""
    command = _command(storage, port := free_port())
    if "shell" in dies:
        command = ["sh", "-c", f"{subprocess.list2cmdline(command)}; true"]
    with running([sys.executable, "-c", TERMINAL, *command], tmp_path, port) as dashboard:
        assert wait(dashboard.serves)
        first = int(dashboard.said.split()[0])
        os.kill(first if dies == "the shell" else dashboard.process.pid, signal.SIGKILL)
        assert wait(dashboard.is_gone), dashboard.processes()


AUDIT = """
import os, sys
NAMES = ("socket.getaddrinfo", "socket.gethostbyname")
ADDRESSES = ("socket.connect", "socket.sendto", "socket.sendmsg")
def note(event, arguments):
    if event in (*NAMES, *ADDRESSES, "cpython.run_module"):
        with open(os.environ["NOTES"], "a") as notes:
            print(repr((event, arguments[event in ADDRESSES])), file=notes)
sys.addaudithook(note)
"""


def _outside(notes: Path) -> list[str]:
    """What was asked for of other machines."""
    found = []
    for line in notes.read_text().splitlines() if notes.exists() else []:
        event, address = ast.literal_eval(line)
        if event == "cpython.run_module":
            continue
        host = address[0] if isinstance(address, tuple) else address
        local = host in (None, "", ADDRESS, "::1", "localhost") or (
            event == "socket.connect" and isinstance(address, (str, bytes))  # a socket's file
        )
        if not local:
            found.append(line)
    return found


@pytest.mark.slow
@pytest.mark.parametrize("hostile", [False, True])
def test_no_other_page_is_let_in_and_nobody_outside_is_asked(
    storage: str, tmp_path: Path, hostile: bool
) -> None:
    tools, notes = tmp_path / "tools", tmp_path / "notes"
    tools.mkdir()
    (tools / "sitecustomize.py").write_text(AUDIT)
    environment = {"PYTHONPATH": str(tools), "NOTES": str(notes)}
    environment |= hostile_home(tmp_path) if hostile else {}
    with running(
        _command(storage, port := free_port()), tmp_path, port, **environment
    ) as dashboard:
        assert wait(dashboard.serves), dashboard.said
        assert b"200 OK" in dashboard.answer("GET / HTTP/1.1", Origin="http://evil.example")
        own, foreign = f"http://{ADDRESS}:{port}", "http://evil.example"
        for origin, status in [
            (own, b" 101 "),
            (foreign, b" 403 "),
            (f"http://{ADDRESS}:{port + 1}", b" 403 "),  # another server of this machine
            (f"http://localhost:{port}", b" 403 "),  # another name than that of the page
            (f"http://{ADDRESS}", b" 403 "),
            (f"https://{ADDRESS}:{port}", b" 403 "),
            (f"{own}.evil.example", b" 403 "),
            (f"{own}@evil.example", b" 403 "),
            ("null", b" 403 "),
            (own, b" 101 "),
        ]:
            request, headers = dashboard.stream(origin)
            assert status in dashboard.answer(request, **headers), (origin, dashboard.said)
        request, headers = dashboard.stream(foreign)
        for host in ("evil.example", f"evil.example:{port}"):  # as after DNS rebinding
            assert b" 403 " in dashboard.answer(request, **headers | {"Host": host})
            assert b" 403 " in dashboard.answer("GET / HTTP/1.1", Host=host)
        tunnel = "localhost:9000"  # as behind ssh -L 9000:127.0.0.1:...
        request, headers = dashboard.stream(f"http://{tunnel}")
        assert b" 101 " in dashboard.answer(request, **headers | {"Host": tunnel})
        answer = dashboard.answer("GET /_stcore/host-config HTTP/1.1", Origin=foreign)
        assert b"access-control-allow-origin: *" not in answer.lower()
        assert not _answers_at("127.0.0.2", port)
        time.sleep(5)  # torch is loaded meanwhile
    assert "cpython.run_module" in notes.read_text()  # the hook was there
    assert _outside(notes) == []


def _answers_at(address: str, port: int) -> bool:
    with socket.socket() as probe:
        probe.settimeout(2)
        return probe.connect_ex((address, port)) == 0


def test_launch_says_where_it_can_not_serve(storage: str) -> None:
    said: list[str] = []

    def call() -> None:
        try:
            launch(f"sqlite:///{storage}", open_browser=False)
        except acs.ActsearchError as error:
            said.append(str(error))

    async def within_a_loop() -> None:
        call()

    thread = threading.Thread(target=call)
    thread.start()
    thread.join()
    asyncio.run(within_a_loop())
    assert len(said) == 2
    assert all("actsearch dashboard STORAGE" in text for text in said)
