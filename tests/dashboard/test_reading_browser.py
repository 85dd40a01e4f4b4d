"""In a real browser: links and titles, a press that moves nothing, and text that can be read on both themes."""

from __future__ import annotations

import re
import time

import pytest
from chromium import BROWSER, DRIVER, Browser

pytestmark = [
    pytest.mark.browser,
    pytest.mark.slow,
    pytest.mark.skipif(
        BROWSER is None or DRIVER is None,
        reason="browser tests need chromium and chromedriver: apt-get install chromium chromium-driver",
    ),
]

WIDTHS = (1440, 900, 420)


def test_links_carry_the_study_and_tabs_are_titled_apart(browser: Browser, site: str) -> None:
    browser.open(f"{site}/trials?study=plain")
    browser.wait(lambda: len(browser.find("stSidebar", "a")) >= 10)
    links = [str(link.get_attribute("href")) for link in browser.find("stSidebar", "a")]
    assert sum("study=plain" in link for link in links) == 8  # all but the list and the benchmark
    browser.wait(lambda: browser.chrome.title == "Trials · plain · actsearch")
    browser.open(f"{site}/study?study=confirmed")
    browser.wait(lambda: browser.chrome.title == "Study · confirmed · actsearch")


def test_choosing_a_figure_moves_nothing_and_is_kept_in_the_address(
    browser: Browser, site: str
) -> None:
    browser.look(1200, 700)
    browser.open(f"{site}/study?study=confirmed")
    browser.wait(lambda: [b for b in browser.find("stButtonGroup", "button") if b.text == "Rank"])
    (button,) = [b for b in browser.find("stButtonGroup", "button") if b.text == "Rank"]
    browser.chrome.execute_script("arguments[0].scrollIntoView({block: 'center'})", button)
    time.sleep(1)
    top = "return arguments[0].getBoundingClientRect().top"
    before = browser.chrome.execute_script(top, button)
    button.click()
    tops = []
    until = time.monotonic() + 5
    while time.monotonic() < until:
        (button,) = [b for b in browser.find("stButtonGroup", "button") if b.text == "Rank"]
        tops.append(browser.chrome.execute_script(top, button))
    assert max(abs(place - before) for place in tops) < 5
    assert browser.query["figure"] == ["Rank"]


# relative luminance and contrast ratio as WCAG 2.1 defines them, of each visible text on what lies behind it
MEASURE = """
const parse = text => (text.match(/[\\d.]+/g) || [0, 0, 0, 0]).map(Number);
const over = (top, below) => { const a = top[3] === undefined ? 1 : top[3];
    return [0, 1, 2].map(i => a * top[i] + (1 - a) * below[i]); };
const linear = v => { v /= 255; return v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4; };
const light = c => 0.2126 * linear(c[0]) + 0.7152 * linear(c[1]) + 0.0722 * linear(c[2]);
const behind = element => {
    const layers = [];
    for (let e = element; e; e = e.parentElement) layers.push(parse(getComputedStyle(e).backgroundColor));
    return layers.reverse().reduce((below, layer) => over(layer, below), [255, 255, 255]);
};
const found = [];
for (const element of document.querySelectorAll(arguments[0])) {
    const text = [...element.childNodes].filter(n => n.nodeType === 3).map(n => n.data.trim()).join('');
    if (!text || !element.getClientRects().length || element.closest('[data-testid=stCode]')) continue;
    const below = behind(element), colour = over(parse(getComputedStyle(element).color), below);
    const [dark, bright] = [light(below), light(colour)].sort((a, b) => a - b);
    found.push([text.slice(0, 40), (bright + 0.05) / (dark + 0.05)]);
}
return found;
"""


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("page", ["compare", "study", "activation"])
def test_text_has_contrast(browser: Browser, site: str, page: str, theme: str) -> None:
    browser.look(1440, 1400, theme)
    browser.open(f"{site}/{page}?study=confirmed&trial=0")
    time.sleep(2)
    where = "[data-testid=stMain] :is(p, span, h1, h2, h3, label, strong, button)"  # but for code
    found = browser.chrome.execute_script(MEASURE, where)
    assert len(found) > 10
    icons = re.compile(r"^[a-z_0-9]+$")  # of a font: their names are their text
    pale = [
        (text, round(ratio, 2)) for text, ratio in found if ratio < 4.5 and not icons.match(text)
    ]
    assert not sorted(set(pale), key=lambda item: item[1])[:20]


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("page", ["leaderboard", "study", "activation", "trials", "compare"])
def test_nothing_is_wider_than_the_window(
    browser: Browser, site: str, page: str, width: int
) -> None:
    browser.look(width, 1400)
    browser.open(f"{site}/{page}?study=confirmed&trial=0")
    time.sleep(1)
    wide = """
    const main = document.querySelector('[data-testid=stMain]');
    return [main.scrollWidth, main.clientWidth]"""
    inside, shown = browser.chrome.execute_script(wide)
    assert inside <= shown + 1
