"""How fast the dashboard is with a study of 10,000 trials, and whether it bears one of 100,000: in a real browser.

Run ``python tests/benchmarks/dashboard_size.py``; the exit status is 1 when a limit is exceeded. It needs Selenium and
Chromium with its driver (Debian: ``chromium-driver``). Databases are written through the storage into a temporary
folder. A first paint is that of the page with which a newly started server and browser are opened. A page counts as
painted when its heading stands there and the server's script for it has ended, as Streamlit
marks it in the page; a page is left by a click in the navigation. For refreshes, trials are written into the study
while its page is looked at; each run of the fragment counts, from what the page marks. Memory is the server's peak.
The server's processor time stands beside each time: where others use the machine, it says what is ours.
"""

from __future__ import annotations

import argparse
import contextlib
import functools
import math
import os
import re
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from large_study import Writer, chunks, write_study
from selenium import webdriver
from selenium.webdriver.chrome.options import Options
from selenium.webdriver.chrome.service import Service

from actsearch_dashboard.launch import ADDRESS

LIMITS = {"first paint": 3.0, "page change": 1.5, "refresh": 0.3}  # s, with 10,000 trials
Time = tuple[float, float]  # on the clock, of the server's processor
MEMORY = 1000.0  # MB, with any number
_FIRST = ("", "study", "leaderboard", "trials", "activation")
_LIVE = ("study", "leaderboard", "evolution", "compare", "trials", "activation")
_SETTLED = 8.0  # seconds after which what is loaded ahead is there
_ROUNDS = 3
_PATIENCE = 120.0
_EVERY = 2.0  # seconds between two refreshes
_WATCHED = 20.0  # seconds for which refreshes are looked at

_STATE = "document.querySelector('[data-testid=stApp]')?.getAttribute('data-test-script-state')"
_PAINTED = f"return {_STATE} === 'notRunning' && document.querySelectorAll('h2').length > 0"
_RECORD = f"""
window.runs = []; let began = null;
new MutationObserver(() => {{
  const state = {_STATE};
  if (state === 'running' && began === null) began = performance.now();
  if (state === 'notRunning' && began !== null) {{ window.runs.push(performance.now() - began); began = null; }}
}}).observe(document.querySelector('[data-testid=stApp]'), {{attributes: true}});
"""
_CHANGE = f"""
const done = arguments[arguments.length - 1], title = arguments[0], before = location.pathname;
const links = document.querySelectorAll('[data-testid=stPageLink-NavLink]');
const link = [...links].find(a => a.textContent.includes(title));
let ran = false, ended = null;
const look = () => {{
  if ({_STATE} === 'running') ran = true;
  else if (ran && ended === null) ended = performance.now();
}};
new MutationObserver(look).observe(document.querySelector('[data-testid=stApp]'), {{attributes: true}});
const began = performance.now();
link.click();
const wait = () => {{
  if (ended !== null && location.pathname !== before) done(ended - began);
  else if (performance.now() - began > {_PATIENCE * 500}) done({_PATIENCE / 2} * 1000);
  else setTimeout(wait, 10);
}};
wait();
"""


@contextlib.contextmanager
def serving(url: str) -> Iterator[tuple[int, int]]:
    """The server for a storage, as (port, process number)."""
    with socket.socket() as probe:
        probe.bind((ADDRESS, 0))
        port = int(probe.getsockname()[1])
    command = [
        sys.executable,
        "-m",
        "actsearch_dashboard",
        url,
        "--no-browser",
        "--port",
        str(port),
    ]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    try:
        _wait(lambda: _healthy(port))
        yield port, process.pid
    finally:
        process.terminate()
        process.wait(timeout=20)


def _healthy(port: int) -> bool:
    with contextlib.suppress(OSError):
        with urllib.request.urlopen(f"http://{ADDRESS}:{port}/_stcore/health", timeout=2) as found:
            return bool(found.status == 200)
    return False


def _wait(condition: Callable[[], Any]) -> None:
    until = time.monotonic() + _PATIENCE
    while not condition():
        if time.monotonic() > until:
            raise TimeoutError(f"nothing for {_PATIENCE} s")
        time.sleep(0.02)


@contextlib.contextmanager
def browser() -> Iterator[webdriver.Chrome]:
    """A headless Chromium."""
    options = Options()
    for flag in ("--headless=new", "--no-sandbox", "--window-size=1400,1000", "--disable-gpu"):
        options.add_argument(flag)
    options.binary_location = "/usr/bin/chromium"
    driver = webdriver.Chrome(options=options, service=Service("/usr/bin/chromedriver"))
    driver.set_script_timeout(_PATIENCE + 10)
    try:
        yield driver
    finally:
        driver.quit()


def peak(pid: int) -> float:
    """Peak memory of a process in MB."""
    found = re.search(r"VmHWM:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text())
    return int(found[1]) * 1024 / 1e6 if found else 0.0


class Clock:
    """Seconds on the clock and of the server's processor."""

    def __init__(self, pid: int) -> None:
        self._pid = pid

    def spent(self) -> float:
        """Processor time of the server so far."""
        fields = Path(f"/proc/{self._pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def timed(self, action: Callable[[], float]) -> Time:
        """What an action says it took, and what the server did meanwhile."""
        before = self.spent()
        wall = action()
        return wall, self.spent() - before


def first_paint(driver: webdriver.Chrome, port: int, page: str) -> float:
    """Seconds from a link that is opened to its painted page."""
    driver.get("about:blank")
    began = time.monotonic()
    driver.get(f"http://{ADDRESS}:{port}/{page}?study=big")
    _wait(lambda: driver.execute_script(_PAINTED))
    return time.monotonic() - began


def page_changes(
    driver: webdriver.Chrome, clock: Clock, pages: Sequence[str]
) -> dict[str, list[Time]]:
    """Seconds for a change to each page of the navigation, round after round."""
    links = driver.find_elements("css selector", "[data-testid=stPageLink-NavLink]")
    titles = [link.text.strip().splitlines()[-1] for link in links]
    titles = [title for title in titles if not pages or title in pages]
    found: dict[str, list[Time]] = {title: [] for title in titles}
    for _ in range(_ROUNDS):
        for title in (*titles[1:], titles[0]):
            change = functools.partial(_changed, driver, title)
            found[title].append(clock.timed(change))
            time.sleep(0.3)
    return found


def _changed(driver: webdriver.Chrome, title: str) -> float:
    return float(driver.execute_async_script(_CHANGE, title)) / 1000


def refreshes(
    driver: webdriver.Chrome, port: int, url: str, page: str, clock: Clock
) -> list[Time]:
    """Seconds of each run of a page's fragment while trials are added."""
    writer, stop = Writer(url, "big"), threading.Event()

    def write() -> None:
        while not stop.wait(0.5):
            writer.write(2)

    thread = threading.Thread(target=write)
    thread.start()
    try:
        first_paint(driver, port, page)
        time.sleep(_SETTLED)
        driver.execute_script(_RECORD)
        before = clock.spent()
        time.sleep(_WATCHED)
        walls = [float(run) / 1000 for run in driver.execute_script("return window.runs")]
        each = (
            (clock.spent() - before) * _EVERY / _WATCHED
        )  # of runs that follow at once, one is seen
        return [(wall, each) for wall in walls]
    finally:
        stop.set()
        thread.join()
        writer.close()


def _opened(url: str, page: str) -> Time:
    """A page that is the first one of a new server and a new browser."""
    with serving(url) as (port, pid), browser() as driver:
        return Clock(pid).timed(lambda: first_paint(driver, port, page))


def measure(
    trials: int, limits: dict[str, float], folder: Path, pages: Sequence[str] = ()
) -> bool:
    """Make a database, measure, print; whether a limit was exceeded."""
    url = f"sqlite:///{folder / f'{trials}.db'}"
    write_study(url, "big", chunks(trials))
    rows: list[tuple[str, str, list[Time]]] = []
    for page in _FIRST:
        times = [_opened(url, page) for _ in range(_ROUNDS)]
        rows.append(("first paint", page or "studies", times))
    with serving(url) as (port, pid), browser() as driver:
        clock = Clock(pid)
        first_paint(driver, port, "")
        time.sleep(_SETTLED)
        rows += [("page change", *item) for item in page_changes(driver, clock, pages).items()]
        for page in _LIVE:
            rows.append(("refresh", page, refreshes(driver, port, url, page, clock)))
        memory = peak(pid)
    missed = [_row(trials, *row, limits.get(row[0])) for row in rows]
    missed.append(memory > MEMORY)
    print(f"{trials:7,}  server's peak memory {memory:21.0f} MB            limit {MEMORY:.0f} MB")
    load = os.getloadavg()[0]
    print(f"{trials:7,}  load of the machine {load:22.1f}", flush=True)
    return any(missed)


def _row(trials: int, kind: str, name: str, times: list[Time], limit: float | None) -> bool:
    """Print the median; whether it exceeds the limit."""
    wall, cpu = (
        statistics.median(time[at] for time in times) if times else math.nan for at in (0, 1)
    )
    worst = max((time[0] for time in times), default=math.nan)
    missed = limit is not None and not wall <= limit
    said = "" if limit is None else f"   limit {limit:.1f} s" + "  MISSED" * missed
    print(
        f"{trials:7,}  {kind:11}  {name:25} {wall:6.2f} s  processor {cpu:5.2f} s  worst {worst:5.2f} s{said}"
    )
    return missed


def main() -> int:
    """Measure both sizes, print, and compare with the limits."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--trials", type=int, nargs="+", default=[10_000, 100_000])
    parser.add_argument("--pages", nargs="+", default=[], help="titles; change to these alone")
    arguments = parser.parse_args()
    missed = False
    with tempfile.TemporaryDirectory() as folder:
        for trials in arguments.trials:
            missed |= measure(
                trials, LIMITS if trials <= 10_000 else {}, Path(folder), arguments.pages
            )
    return int(missed)


if __name__ == "__main__":
    sys.exit(main())
