"""In a real browser: what is clicked on opens, any cell of a row and a point of a figure, and nothing by arrow keys."""

from __future__ import annotations

import time

import pytest
from chromium import IN_A_BROWSER, Browser, Keys, webdriver

from actsearch.records import TrialState
from actsearch.report import Reader

pytestmark = [pytest.mark.slow, *IN_A_BROWSER]


def _opened(browser: Browser) -> str:
    browser.wait(lambda: browser.page == "activation")
    browser.settle()
    return browser.query["trial"][0]


def _press(browser: Browser, key: str) -> None:
    webdriver.ActionChains(browser.chrome).send_keys(key).perform()


def _ranked(reader: Reader) -> list[int]:
    """Numbers of complete trials, best first."""
    study = reader.study("confirmed")
    complete = [trial for trial in reader.trials(study) if trial.state is TrialState.COMPLETE]
    sign = -1 if study.direction == "maximize" else 1
    return [
        trial.number for trial in sorted(complete, key=lambda trial: sign * (trial.value or 0))
    ]


@pytest.mark.parametrize("across", [18, 200])
def test_a_click_on_a_row_of_the_ranking_opens_its_trial(
    browser: Browser, site: str, whole_reader: Reader, across: int
) -> None:
    browser.look(1440, 1400)
    browser.open(f"{site}/leaderboard?study=confirmed")
    browser.take_row(1, 1, 56, across)
    assert _opened(browser) == str(_ranked(whole_reader)[1])


def test_by_keyboard_a_table_is_walked_through_and_a_row_opened(
    browser: Browser, site: str, whole_reader: Reader
) -> None:
    browser.look(1440, 1400)
    browser.open(f"{site}/leaderboard?study=confirmed")
    browser.wait(lambda: len(browser.find("stDataFrame", "canvas")) > 1)
    tables = 0
    while tables < 2:
        _press(browser, Keys.TAB)
        focused = browser.chrome.switch_to.active_element
        tables += focused.tag_name == "canvas"
    for _ in range(3):  # to the first row, and two further
        _press(browser, Keys.ARROW_DOWN)
        time.sleep(0.5)
    assert browser.page == "leaderboard"
    webdriver.ActionChains(browser.chrome).key_down(Keys.SHIFT).send_keys(" ").key_up(
        Keys.SHIFT
    ).perform()
    assert _opened(browser) == str(_ranked(whole_reader)[2])


def test_a_row_without_a_trial_that_was_taken_hides_no_later_click(
    browser: Browser, site: str, whole_reader: Reader
) -> None:
    verdict = whole_reader.verdicts(whole_reader.study("confirmed"))[-1][1]
    browser.look(1440, 1400)
    browser.open(f"{site}/leaderboard?study=confirmed")
    browser.take_row(0, 0, 35)  # the baseline of this one is no trial
    time.sleep(1)
    browser.settle()
    assert browser.page == "leaderboard"
    browser.take_row(0, 1, 35, 80)
    assert _opened(browser) == str(verdict.rows[0].number)


def test_a_click_on_a_row_of_the_verdict_opens_its_trial(
    browser: Browser, site: str, whole_reader: Reader
) -> None:
    verdict = whole_reader.verdicts(whole_reader.study("confirmed"))[-1][1]
    browser.look(1440, 1400)
    browser.open(f"{site}/leaderboard?study=confirmed")
    browser.take_row(0, 1, 35, 80)  # below the baseline, which may be no trial
    assert _opened(browser) == str(verdict.rows[0].number)


def test_a_click_on_a_point_of_the_history_opens_its_trial(
    browser: Browser, site: str, whole_reader: Reader
) -> None:
    browser.look(1440, 1400)
    browser.open(f"{site}/study?study=confirmed")
    browser.wait(lambda: browser.find("stPlotlyChart", ".scatterlayer path.point"))
    time.sleep(2)  # until all is drawn, it may move
    point = browser.find("stPlotlyChart", ".scatterlayer path.point")[0]
    browser.chrome.execute_script("arguments[0].scrollIntoView({block: 'center'})", point)
    webdriver.ActionChains(browser.chrome).move_to_element(point).pause(1).click().perform()
    assert _opened(browser) == str(min(_ranked(whole_reader)))
