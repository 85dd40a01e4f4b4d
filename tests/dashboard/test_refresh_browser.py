"""In a real browser: what a reader does to a figure outlives the refreshes of a running study."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from chromium import IN_A_BROWSER, Browser, served, webdriver
from written import add_trials, write_study

from actsearch.storage import Lease, Storage

pytestmark = [pytest.mark.slow, *IN_A_BROWSER]

REFRESHES = 5.0  # seconds: two of them, on a slow machine

WATCH = """
const graph = document.querySelector('.js-plotly-plot');
graph.marked = true;
window.drawn = 0;
graph.on('plotly_afterplot', () => { window.drawn += 1; });
"""
RANGES = """
const graph = document.querySelector('.js-plotly-plot');
return [graph.marked === true, graph._fullLayout.xaxis.range, graph._fullLayout.yaxis.range,
        Math.max(...graph.data.flatMap(trace => [...trace.x]))];
"""
HOVERED = "return document.querySelectorAll('.js-plotly-plot .hoverlayer .hovertext').length"


@pytest.fixture
def running(tmp_path: Path) -> Iterator[tuple[Path, Storage, Lease]]:
    """A study that this process drives."""
    values = [0.5 + 0.01 * (number * 7 % 12) for number in range(12)]
    path = write_study(tmp_path / "running.db", "running", values)
    storage = Storage(f"sqlite:///{path}")
    lease = storage.lease(storage.study("running"))
    lease.acquire()
    yield path, storage, lease
    lease.release()
    storage.database.close()


def _drag(browser: Browser) -> None:
    """Zoom in on the middle of the first figure, as a reader does."""
    area = browser.chrome.find_element("css selector", ".js-plotly-plot .nsewdrag")
    browser.chrome.execute_script("arguments[0].scrollIntoView({block: 'center'})", area)
    width, height = area.size["width"], area.size["height"]
    actions = webdriver.ActionChains(browser.chrome)
    actions.move_to_element_with_offset(area, -width // 4, -height // 4).click_and_hold()
    actions.move_by_offset(width // 2, height // 2).release().perform()


def _state(browser: Browser) -> list[Any]:
    return list(browser.chrome.execute_script(RANGES))


def test_a_figure_stays_zoomed_when_a_trial_is_added(
    browser: Browser, running: tuple[Path, Storage, Lease]
) -> None:
    path, storage, lease = running
    browser.look(1440, 1400)
    with served(path, browser) as address:
        browser.open(f"{address}/study?study=running")
        browser.wait(lambda: browser.chrome.find_elements("css selector", ".nsewdrag"))
        browser.chrome.execute_script(WATCH)
        before = _state(browser)
        _drag(browser)
        browser.wait(lambda: _state(browser)[1] != before[1])
        zoomed = _state(browser)
        time.sleep(REFRESHES)
        assert _state(browser) == zoomed  # on the same element of the page
        assert browser.chrome.execute_script("return window.drawn") == 1

        add_trials(storage, "running", lease, [0.7, 0.1])
        browser.wait(lambda: _state(browser)[3] > before[3])
        time.sleep(REFRESHES)
        after = _state(browser)
        assert after[1:3] == [pytest.approx(ends) for ends in zoomed[1:3]]

        area = browser.chrome.find_element("css selector", ".js-plotly-plot .nsewdrag")
        webdriver.ActionChains(browser.chrome).double_click(area).perform()
        browser.wait(lambda: _state(browser)[1][1] > 13)  # all of it again, and from now on
        add_trials(storage, "running", lease, [0.6] * 20)
        browser.wait(lambda: _state(browser)[1][1] > 30)


def test_a_figure_whose_data_stay_is_not_drawn_anew(
    browser: Browser, running: tuple[Path, Storage, Lease]
) -> None:
    path, _, _ = running
    browser.look(1440, 1400)
    with served(path, browser) as address:
        browser.open(f"{address}/study?study=running")
        browser.wait(lambda: browser.chrome.find_elements("css selector", ".nsewdrag"))
        point = browser.chrome.find_elements("css selector", ".js-plotly-plot .points path")[3]
        browser.chrome.execute_script("arguments[0].scrollIntoView({block: 'center'})", point)
        time.sleep(1)
        webdriver.ActionChains(browser.chrome).move_to_element(point).perform()
        browser.wait(lambda: browser.chrome.execute_script(HOVERED))
        browser.chrome.execute_script(WATCH)
        time.sleep(REFRESHES)
        assert browser.chrome.execute_script("return window.drawn") == 0
        assert browser.chrome.execute_script(HOVERED)


def test_the_refresh_that_was_switched_off_stays_off_on_the_next_page(
    browser: Browser, running: tuple[Path, Storage, Lease]
) -> None:
    path, _, _ = running
    browser.look(1440, 1400)
    is_on = "return document.querySelector('.st-key-live input').checked"
    with served(path, browser) as address:
        browser.open(f"{address}/study?study=running")
        browser.wait(lambda: browser.chrome.find_elements("css selector", ".st-key-live label"))
        assert browser.chrome.execute_script(is_on)
        browser.chrome.find_element("css selector", ".st-key-live label").click()
        browser.settle()
        for page in ("trials", "leaderboard", "study"):
            browser.find("stSidebar", f"a[href*='{page}?']")[0].click()
            browser.settle()
            assert browser.page == page
            browser.wait(
                lambda: browser.chrome.find_elements("css selector", ".st-key-live input")
            )
            assert browser.chrome.execute_script(is_on) is False
