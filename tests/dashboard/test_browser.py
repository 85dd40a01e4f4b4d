"""The dashboard in a real browser: Debian's Chromium, driven by Selenium."""

from __future__ import annotations

import csv
import re
import shutil
import socket
import sqlite3
import subprocess
import sys
import time
from contextlib import closing
from pathlib import Path
from urllib.parse import quote, urlsplit

import pytest
from chromium import IN_A_BROWSER, Browser, Keys, served, webdriver

import actsearch as acs
from actsearch_dashboard.app import PAGES as NAMES
from actsearch_dashboard.launch import ADDRESS

pytestmark = IN_A_BROWSER

PAGES = ["", *NAMES[1:]]  # the first one is what the bare address shows

DATA = Path(__file__).parent.parent / "data"


def test_pages_are_drawn_and_the_console_is_silent(browser: Browser, site: str) -> None:
    browser.open(f"{site}/?study=confirmed")
    browser.wait(lambda: browser.find("stDataFrame"))
    for page in ("leaderboard", "activation"):
        _follow(browser, page)
        browser.wait(lambda: browser.find("stPlotlyChart", ".main-svg"))
        assert "confirmed" in browser.text


def _follow(browser: Browser, page: str) -> None:
    """Go to a page by its link, as readers do; wait until it is drawn, with a silent console."""
    browser.find("stSidebar", f"a[href$='{page}'], a[href*='{page}?']")[0].click()
    browser.wait(lambda: browser.page == page)
    browser.settle()


@pytest.mark.slow
def test_each_page_is_drawn_and_the_console_is_silent(browser: Browser, site: str) -> None:
    for page in PAGES:
        browser.open(f"{site}/{page}?study=confirmed")
        browser.wait(lambda: "confirmed" in browser.text or browser.find("stDataFrame"))


@pytest.mark.slow
def test_light_and_dark_are_what_the_reader_prefers(browser: Browser, site: str) -> None:
    page = "return getComputedStyle(document.querySelector('[data-testid=stApp]')).backgroundColor"
    found = {}
    try:
        for wish in ("light", "dark"):
            wishes = {"features": [{"name": "prefers-color-scheme", "value": wish}]}
            browser.chrome.execute_cdp_cmd("Emulation.setEmulatedMedia", wishes)
            browser.open(f"{site}/study?study=confirmed")
            shade = browser.chrome.execute_script(page)
            found[wish] = sum(map(int, re.findall(r"\d+", shade)[:3]))
    finally:
        browser.chrome.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": []})
    assert found["dark"] < 200 < 600 < found["light"]


@pytest.mark.slow
def test_who_opens_a_new_server_with_an_activation_sees_its_numbers_first(
    browser: Browser, whole: Path
) -> None:
    with served(whole, browser) as address:
        browser.chrome.get(f"{address}/activation?study=confirmed")
        browser.wait(lambda: "Training" in browser.text)
        browser.wait(lambda: "Nearest candidates" in browser.text)  # another process computed it
        browser.wait(lambda: len(browser.find("stCode")) > 1)


@pytest.mark.slow
def test_from_the_studies_to_an_activation_by_clicks(browser: Browser, site: str) -> None:
    browser.open(site)
    browser.take_row(0, 0, 35)
    browser.wait(lambda: browser.page == "study")
    browser.settle()
    assert browser.query["study"] == ["confirmed"]
    _follow(browser, "leaderboard")
    browser.take_row(1, 0, 56)
    browser.wait(lambda: browser.page in ("activation", "candidate"))
    browser.settle()
    assert "trial" in browser.query
    browser.wait(lambda: browser.find("stCode"))


@pytest.mark.slow
def test_an_old_link_to_a_candidate_leads_to_its_activation(browser: Browser, site: str) -> None:
    browser.open(f"{site}/candidate?study=confirmed&trial=1")
    browser.wait(lambda: browser.page == "activation")
    browser.settle()
    assert (browser.query["study"], browser.query["trial"]) == (["confirmed"], ["1"])
    browser.wait(lambda: browser.find("stCode"))
    box = browser.chrome.find_element("css selector", "input[aria-label*='Trial']")
    assert str(box.get_attribute("value")).startswith("1: ")
    browser.open(f"{site}/studies")  # the first page is at the bare address
    browser.wait(lambda: browser.page == "" and browser.find("stDataFrame"))


@pytest.mark.slow
def test_the_keyboard_alone_leads_to_a_page_and_to_an_activation(
    browser: Browser, site: str
) -> None:
    browser.open(site)
    _tab_to(browser, "href", "leaderboard")
    _press(browser, Keys.ENTER)
    browser.wait(lambda: browser.page == "leaderboard")
    browser.settle()
    _tab_to(browser, "href", "activation")
    _press(browser, Keys.ENTER)
    browser.wait(lambda: browser.page == "activation")
    browser.settle()
    before = browser.query["trial"]
    _tab_to(browser, "label", "Trial")
    for _ in range(3):
        _press(browser, Keys.ARROW_DOWN)
    _press(browser, Keys.ENTER)
    browser.wait(lambda: browser.query["trial"] != before)
    browser.settle()
    browser.wait(lambda: browser.find("stCode"))


_FOCUS = """
const at = arguments[0] || document.activeElement;
const styles = [];
for (let one = at, up = 0; one && up < 4; one = one.parentElement, up += 1) {
    const style = getComputedStyle(one);
    styles.push(style.outline, style.boxShadow, style.borderColor, style.backgroundColor);
}
const place = at.getBoundingClientRect();
return {kind: at.tagName, href: at.getAttribute('href') || '', label: at.getAttribute('aria-label') || '',
        style: styles.join(), inSight: place.width > 0 && place.bottom > 0 && place.top < innerHeight};
"""


def _press(browser: Browser, key: str) -> None:
    webdriver.ActionChains(browser.chrome).send_keys(key).perform()


def _tab_to(browser: Browser, name: str, wanted: str) -> None:
    """Press Tab until that has the focus; it must be something to use, in sight, and look otherwise than without."""
    met = []
    for _ in range(60):
        _press(browser, Keys.TAB)
        met.append(browser.chrome.execute_script(_FOCUS))
        if wanted in met[-1][name]:
            break
    assert wanted in met[-1][name], met
    assert met[-1]["kind"] in ("A", "BUTTON", "INPUT")
    assert met[-1]["inSight"]
    element = browser.chrome.switch_to.active_element
    styles = []
    for act in ("blur", "focus"):
        browser.chrome.execute_script(f"arguments[0].{act}()", element)
        time.sleep(0.3)  # a colour takes a moment to change
        styles.append(browser.chrome.execute_script(_FOCUS, element)["style"])
    assert styles[0] != styles[1]


@pytest.mark.slow
def test_csv_comes_down(browser: Browser, site: str) -> None:
    browser.open(f"{site}/trials?study=confirmed")
    browser.wait(lambda: browser.find("stDownloadButton", "button"))
    browser.find("stDownloadButton", "button")[0].click()
    browser.wait(lambda: list(browser.downloads.glob("*.csv")))
    (path,) = browser.downloads.glob("*.csv")
    with path.open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) >= 7
    assert any("tanh" in row["formula"] for row in rows)


SEARCH = """
import sys, time
import actsearch as acs

def objective(candidate, run):
    time.sleep(0.3)
    return float(candidate.formula.count("x"))

study = acs.load_study(study_name="live", storage=sys.argv[1])
study.optimize(objective, n_trials=200, executor=acs.Local(batch=1), timeout=60)
"""


@pytest.mark.slow
def test_a_live_study_grows_before_the_eyes(browser: Browser, tmp_path: Path) -> None:
    path = tmp_path / "live.db"
    url = f"sqlite:///{path}"
    acs.create_study(study_name="live", storage=url, strategy="random", direction="maximize")
    search = subprocess.Popen([sys.executable, "-c", SEARCH, url])
    try:
        with served(path, browser) as address:  # starts while the search does
            browser.wait(lambda: acs.load_study(study_name="live", storage=url).trials[:1])
            browser.chrome.get(f"{address}/study?study=live")
            browser.wait(lambda: _trained(browser) > 0)
            first = _trained(browser)
            browser.chrome.execute_script("window.notReloaded = true")
            browser.wait(lambda: _trained(browser) >= first + 3)
            assert browser.chrome.execute_script("return window.notReloaded === true")
    finally:
        search.kill()
        search.wait()


def _trained(browser: Browser) -> int:
    found = re.search(r"Trials trained\s+(\d+)", browser.text)
    return int(found[1]) if found else 0


@pytest.mark.slow
def test_hostile_text_is_shown_and_nothing_of_it_happens(
    browser: Browser, hostile: Path, evil: str
) -> None:
    with served(hostile, browser) as address:
        browser.requests()
        shown = ""
        for page in PAGES:
            for query in ("", "&trial=1", "&compare=0,1,2"):
                if query and page not in ("activation", "candidate", "compare"):
                    continue
                browser.open(f"{address}/{page}?study={quote(evil)}{query}")
                shown += browser.text
                assert browser.chrome.execute_script("return window.called") == []
                for made in ("img[src='x']", "[onerror]", "a[href^='javascript']"):
                    assert not browser.chrome.find_elements("css selector", made), (page, made)
                links = browser.chrome.find_elements("css selector", "a[href]")
                led_to = {urlsplit(str(link.get_attribute("href"))).hostname for link in links}
                assert "evil.example" not in led_to, page
                assert (
                    urlsplit(address).hostname in led_to
                )  # the navigation's: links were looked at
        asked = [url for url in browser.requests() if not url.startswith(("data:", "blob:"))]
        outside = [url for url in asked if urlsplit(url).netloc != urlsplit(address).netloc]
        assert not outside
        assert len(asked) > 10
        assert "<img src=x onerror=alert(1)>" in shown
        assert r"$\href{javascript:alert(1)}{x}$" in shown


WRONG = {
    "missing": "there is no database",
    "older": "open it once with actsearch.load_study",
    "damaged": "restore it from a backup",
}


@pytest.mark.slow
@pytest.mark.parametrize("what", list(WRONG))
def test_a_server_whose_storage_is_wrong_starts_and_shows_it_once_it_is_right(
    browser: Browser, copied: Path, tmp_path: Path, what: str
) -> None:
    path = tmp_path / "storage.db"
    if what == "older":
        shutil.copy(DATA / "schema_0005.db", path)
    elif what == "damaged":
        shutil.copy(copied, path)
        with closing(sqlite3.connect(path)) as base:
            (at,) = base.execute(
                "SELECT rootpage FROM sqlite_master WHERE name = 'trials'"
            ).fetchone()
            (size,) = base.execute("PRAGMA page_size").fetchone()
        with path.open("r+b") as file:
            file.seek((at - 1) * size)
            file.write(b"\xff" * size)
    with served(path, browser) as address:
        browser.open(address)
        browser.wait(lambda: WRONG[what] in browser.text)
        if what == "older":
            acs.load_study(study_name="frozen", storage=f"sqlite:///{path}")
        else:
            path.unlink(missing_ok=True)
            copied.rename(path)
        browser.open(address)
        browser.wait(lambda: browser.find("stDataFrame"))
        assert WRONG[what] not in browser.text


def test_nobody_else_can_connect(site: str) -> None:
    port = int(site.rpartition(":")[2])
    others = {"127.0.0.2", socket.gethostbyname(socket.gethostname())} - {ADDRESS}
    for other in others:
        with socket.socket() as probe:
            probe.settimeout(2)
            assert probe.connect_ex((other, port)) != 0, other
