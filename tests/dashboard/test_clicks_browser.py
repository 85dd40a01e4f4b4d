"""In a real browser: what is clicked on opens, a cell of a row as well as its box, and a point of a figure."""

from __future__ import annotations

import time

import pytest
from chromium import BROWSER, DRIVER, Browser, webdriver

from actsearch.report import Reader

pytestmark = [
    pytest.mark.browser,
    pytest.mark.slow,
    pytest.mark.skipif(
        BROWSER is None or DRIVER is None,
        reason="browser tests need chromium and chromedriver: apt-get install chromium chromium-driver",
    ),
]


def _opened(browser: Browser) -> str:
    browser.wait(lambda: browser.page == "activation")
    browser.settle()
    return browser.query["trial"][0]


@pytest.mark.parametrize("across", [18, 200])
def test_a_click_on_a_row_of_the_ranking_opens_its_trial(
    browser: Browser, site: str, across: int
) -> None:
    browser.look(1440, 1400)
    browser.open(f"{site}/leaderboard?study=confirmed")
    browser.take_row(1, 0, 56, across)
    assert _opened(browser)


def test_a_click_on_a_row_of_the_verdict_opens_its_trial(
    browser: Browser, site: str, whole_reader: Reader
) -> None:
    verdict = whole_reader.verdicts(whole_reader.study("confirmed"))[-1][1]
    browser.look(1440, 1400)
    browser.open(f"{site}/leaderboard?study=confirmed")
    browser.take_row(0, 1, 35, 80)  # below the baseline, which may be no trial
    assert _opened(browser) == str(verdict.rows[0].number)


def test_a_click_on_a_point_of_the_history_opens_its_trial(browser: Browser, site: str) -> None:
    browser.look(1440, 1400)
    browser.open(f"{site}/study?study=confirmed")
    browser.wait(lambda: browser.find("stPlotlyChart", ".scatterlayer path.point"))
    time.sleep(2)  # until all is drawn, it may move
    point = browser.find("stPlotlyChart", ".scatterlayer path.point")[0]
    browser.chrome.execute_script("arguments[0].scrollIntoView({block: 'center'})", point)
    webdriver.ActionChains(browser.chrome).move_to_element(point).pause(1).click().perform()
    assert _opened(browser).isdigit()
