"""A real Chromium driven by Selenium, and a server of the dashboard for it to look at."""

from __future__ import annotations

import json
import re
import shutil
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from actsearch_dashboard.launch import ADDRESS

__all__ = ["BROWSER", "DRIVER", "IN_A_BROWSER", "Browser", "Keys", "served", "webdriver"]

webdriver = pytest.importorskip(
    "selenium.webdriver", reason="browser tests need selenium: pip install selenium"
)

BROWSER = next(
    filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None
)
DRIVER = shutil.which("chromedriver")

Keys = pytest.importorskip("selenium.webdriver.common.keys").Keys

IN_A_BROWSER = [
    pytest.mark.browser,
    pytest.mark.skipif(
        BROWSER is None or DRIVER is None,
        reason="browser tests need chromium and chromedriver: apt-get install chromium chromium-driver",
    ),
]
"""Marks of every test that takes :class:`Browser`."""

PATIENCE = 60.0  # seconds; a loaded machine is slow to draw

# Streamlit finds out under which path it is served by asking below the page's own address first.
_EXPECTED = re.compile(r"/_stcore/(health|host-config) - Failed to load resource.*404")

_WATCH = """
window.called = [];
for (const name of ['alert', 'confirm', 'prompt', 'open', 'print'])
    window[name] = (...words) => { window.called.push(name + ' ' + words.join(' ')); };
"""


class Browser:
    """A Chromium that notes what a page says, calls and asks for."""

    def __init__(self, downloads: Path) -> None:
        options = webdriver.ChromeOptions()
        options.binary_location = BROWSER
        for flag in (
            "--headless=new",
            "--no-sandbox",
            "--disable-dev-shm-usage",
            "--disable-gpu",
            "--force-prefers-reduced-motion",  # without a GPU, the processor draws animations
            "--window-size=1400,1400",
        ):
            options.add_argument(flag)
        options.add_experimental_option("prefs", {"download.default_directory": str(downloads)})
        options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
        service = webdriver.ChromeService(executable_path=DRIVER)
        self.chrome = webdriver.Chrome(options=options, service=service)
        self.downloads = downloads
        self.chrome.execute_cdp_cmd("Page.addScriptToEvaluateOnNewDocument", {"source": _WATCH})

    def open(self, address: str) -> None:
        """Go to an address and wait until the page is drawn; nothing may have gone wrong on it."""
        self.chrome.get(address)
        self.settle()

    def look(self, width: int, height: int, theme: str = "light") -> None:
        """Look at pages in a window of so many pixels, on a machine whose user prefers this theme."""
        size = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": False}
        self.chrome.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
        features = [{"name": "prefers-color-scheme", "value": theme}]
        self.chrome.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": features})

    def leave(self) -> None:
        """Look at nothing, so that no page asks for a server that is gone."""
        self.chrome.get("about:blank")
        self.chrome.get_log("browser")

    def settle(self) -> None:
        """Wait until the page's script has run to its end."""
        self.wait(self._is_still)
        time.sleep(
            0.2
        )  # between an event and the script that it starts the page is still for a moment
        self.wait(self._is_still)
        assert not self.find("stException"), self.text
        problems = [
            entry["message"]
            for entry in self.chrome.get_log("browser")
            if entry["level"] == "SEVERE" and not _EXPECTED.search(entry["message"])
        ]
        assert not problems

    def _is_still(self) -> bool:
        state = "return document.querySelector('[data-testid=stApp]')?.dataset.testScriptState"
        return bool(self.chrome.execute_script(state) == "notRunning" and self.find("stHeading"))

    def wait(self, condition: Callable[[], object]) -> None:
        until = time.monotonic() + PATIENCE
        while not condition():
            assert time.monotonic() < until, self.text
            time.sleep(0.05)

    def find(self, test_id: str, inside: str = "") -> list[Any]:
        return list(
            self.chrome.find_elements("css selector", f"[data-testid={test_id}] {inside}".strip())
        )

    @property
    def text(self) -> str:
        return str(self.chrome.find_element("css selector", "body").text)

    @property
    def query(self) -> dict[str, list[str]]:
        return parse_qs(urlsplit(self.chrome.current_url).query)

    @property
    def page(self) -> str:
        return urlsplit(str(self.chrome.current_url)).path.strip("/")

    def take_row(self, table: int, row: int, height: int, across: int = 18) -> None:
        """Click on a row of a table, which is drawn on a canvas, so many pixels from its left; 18 is its box."""
        self.wait(lambda: len(self.find("stDataFrame", "canvas")) > table)
        canvas = self.find("stDataFrame", "canvas:first-of-type")[table]
        self.chrome.execute_script("arguments[0].scrollIntoView({block: 'center'})", canvas)
        time.sleep(0.5)  # the table draws itself after it has been scrolled to
        left, top = -canvas.size["width"] / 2, -canvas.size["height"] / 2
        webdriver.ActionChains(self.chrome).move_to_element_with_offset(
            canvas, int(left + across), int(top + 36 + height * (row + 0.5))
        ).click().perform()

    def requests(self) -> list[str]:
        """Addresses that pages have asked for since this was last read."""
        found = []
        for entry in self.chrome.get_log("performance"):
            message = json.loads(entry["message"])["message"]
            if message["method"] == "Network.requestWillBeSent":
                found.append(message["params"]["request"]["url"])
            elif message["method"] == "Network.webSocketCreated":
                found.append(message["params"]["url"])
        return found


@contextmanager
def served(storage: Path, browser: Browser, base_path: str = "") -> Iterator[str]:
    """A server of its own, as ``actsearch dashboard`` starts it; gives its address."""
    with socket.socket() as probe:
        probe.bind((ADDRESS, 0))
        port = int(probe.getsockname()[1])
    words = [sys.executable, "-m", "actsearch_dashboard", f"sqlite:///{storage}", "--no-browser"]
    words += ["--base-path", base_path] * bool(base_path)
    errors = storage.with_suffix(".errors")
    with errors.open("wb") as log:
        server = subprocess.Popen(
            [*words, "--port", str(port)], stdout=log, stderr=subprocess.STDOUT
        )
    try:
        until = time.monotonic() + PATIENCE
        while not _is_up(port, base_path):
            assert time.monotonic() < until, errors.read_text()
            assert server.poll() is None, errors.read_text()
            time.sleep(0.1)
        yield f"http://{ADDRESS}:{port}{base_path}"
    finally:
        browser.leave()
        server.terminate()
        server.wait(timeout=20)
    assert "Traceback" not in errors.read_text(), errors.read_text()


def _is_up(port: int, base_path: str) -> bool:
    try:
        with urllib.request.urlopen(
            f"http://{ADDRESS}:{port}{base_path}/_stcore/health", timeout=2
        ) as answer:
            return bool(answer.read() == b"ok")
    except (urllib.error.URLError, OSError):
        return False
