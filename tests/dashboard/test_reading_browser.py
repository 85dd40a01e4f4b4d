"""In a real browser: links, titles, a press that moves nothing, and what is read at all widths, themes and on paper."""

from __future__ import annotations

import base64
import re
import time
from pathlib import Path

import pytest
from chromium import IN_A_BROWSER, Browser, served

from actsearch_dashboard import app

pytestmark = [pytest.mark.slow, *IN_A_BROWSER]

WIDTHS = (1440, 900, 420)
PAGES = (
    "studies", "study", "leaderboard", "evolution", "compare", "trials", "activation", "inside", "playground",
    "benchmark",
)  # fmt: skip


def test_links_carry_the_study_and_tabs_are_titled_apart(browser: Browser, site: str) -> None:
    browser.open(f"{site}/trials?study=plain")
    browser.wait(lambda: len(browser.find("stSidebar", "a")) >= 10)
    links = [str(link.get_attribute("href")) for link in browser.find("stSidebar", "a")]
    assert sum("study=plain" in link for link in links) == 8  # all but the list and the benchmark
    browser.wait(lambda: browser.chrome.title == "Trials · plain · actsearch")
    browser.open(f"{site}/study?study=confirmed")
    browser.wait(lambda: browser.chrome.title == "Study · confirmed · actsearch")


def test_pages_below_a_path_are_drawn_and_lead_to_each_other(
    browser: Browser, whole: Path
) -> None:
    with served(whole, browser, "/team/actsearch") as address:
        browser.open(f"{address}/leaderboard?study=confirmed")
        browser.wait(lambda: browser.find("stPlotlyChart", ".xtick"))
        (link,) = [a for a in browser.find("stSidebar", "a") if a.text.endswith("Trials")]
        link.click()
        browser.wait(lambda: browser.page == "team/actsearch/trials")
        browser.settle()
        assert browser.query["study"] == ["confirmed"]


def test_tabs_have_our_picture(browser: Browser, site: str) -> None:
    browser.open(f"{site}/study?study=confirmed")
    icon = "return document.querySelector('link[rel~=icon]').href"
    drawn = base64.b64encode((Path(app.__file__).with_name("icon.svg")).read_bytes()).decode()
    browser.wait(lambda: drawn[:40] in browser.chrome.execute_script(icon))


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
@pytest.mark.parametrize("page", PAGES)
def test_text_has_contrast(browser: Browser, site: str, page: str, theme: str) -> None:
    browser.look(1440, 1400, theme)
    browser.open(f"{site}/{page}?study=confirmed&trial=0")
    time.sleep(2)
    parts = ":is([data-testid=stMain], [data-testid=stSidebar])"
    where = f"{parts} :is(p, span, h1, h2, h3, label, strong, button)"  # but for code
    found = browser.chrome.execute_script(MEASURE, where)
    assert len(found) > 10
    icons = re.compile(r"^[a-z_0-9]+$")  # of a font: their names are their text
    pale = [
        (text, round(ratio, 2)) for text, ratio in found if ratio < 4.5 and not icons.match(text)
    ]
    assert not sorted(set(pale), key=lambda item: item[1])[:20]


# of lines, points and bars of figures on the page's own colour, with all that makes them transparent; what is filled
# below .4 is a band behind others
MARKS = (
    MEASURE.split("const found")[0]
    + """
const page = parse(getComputedStyle(document.querySelector('[data-testid=stApp]')).backgroundColor);
const found = [];
for (const mark of document.querySelectorAll('.js-plotly-plot .scatterlayer path, .js-plotly-plot .barlayer path')) {
    const style = getComputedStyle(mark);
    const filled = style.fill !== 'none' && !mark.matches('.xerror, .yerror, .js-line');
    if (!filled && parseFloat(style.strokeWidth) === 0) continue;
    if (!mark.getClientRects().length || mark.closest('.fills')) continue;
    let opacity = 1;
    for (let e = mark; e && e.tagName !== 'svg'; e = e.parentElement) opacity *= getComputedStyle(e).opacity;
    opacity *= filled ? style.fillOpacity : style.strokeOpacity;
    const colour = over([...parse(filled ? style.fill : style.stroke).slice(0, 3), opacity], page);
    const [dark, bright] = [light(page), light(colour)].sort((a, b) => a - b);
    const name = `${mark.getAttribute('class')} ${filled ? style.fill : style.stroke} ${opacity}`;
    if (opacity >= 0.4) found.push([name, (bright + 0.05) / (dark + 0.05)]);
}
return found;
"""
)


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("page", ["study", "leaderboard", "compare", "activation", "inside"])
def test_marks_have_contrast(browser: Browser, site: str, page: str, theme: str) -> None:
    browser.look(1440, 2600, theme)
    browser.open(f"{site}/{page}?study=confirmed&trial=0")
    browser.wait(lambda: browser.chrome.execute_script(MARKS))
    time.sleep(2)
    found = browser.chrome.execute_script(MARKS)
    assert [(name, round(ratio, 2)) for name, ratio in found if ratio < 3] == []


# what is wider than the window, and texts of a figure that cover each other or its buttons; turned labels stand closer
# than the boxes around them
OVERLAPS = """
const found = [];
const main = document.querySelector('[data-testid=stMain]');
if (main.scrollWidth > main.clientWidth + 1) found.push('the page');
for (const figure of document.querySelectorAll('.js-plotly-plot')) {
    const edges = figure.getBoundingClientRect();
    const parts = [...figure.querySelectorAll('svg text, .modebar-container')]
        .filter(part => part.getClientRects().length && (part.textContent.trim() || part.matches('div')))
        .map(part => [part.textContent.trim() || 'buttons', part.getBoundingClientRect(),
                      /rotate/.test(part.getAttribute('transform') || '')]);
    parts.forEach(([text, a, turned], index) => {
        if (a.left < edges.left - 2 || a.right > edges.right + 2) found.push('outside: ' + text);
        for (const [other, b, other_turned] of parts.slice(index + 1)) {
            const across = Math.min(a.right, b.right) - Math.max(a.left, b.left);
            const down = Math.min(a.bottom, b.bottom) - Math.max(a.top, b.top);
            if (across > 2 && down > 3 && !(turned && other_turned && across < 12)) found.push(text + ' on ' + other);
        }
    });
}
return found;
"""


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("page", PAGES)
def test_nothing_overlaps_nor_is_wider_than_the_window(
    browser: Browser, site: str, page: str, width: int
) -> None:
    browser.look(width, 2600)
    browser.open(f"{site}/{page}?study=confirmed&trial=0")
    time.sleep(2)
    assert browser.chrome.execute_script(OVERLAPS) == []


def test_paper_has_the_whole_intervals(browser: Browser, site: str) -> None:
    """Figures are as wide as the window; A4 is half as wide, and the browser cuts off what does not fit."""
    pdfium = pytest.importorskip("pypdfium2", reason="pypdfium2 reads what was printed")
    for width in (1440, 2200):
        browser.look(width, 1400)
        browser.open(f"{site}/leaderboard?study=confirmed")
        browser.wait(lambda: browser.find("stPlotlyChart", ".xtick"))
        a4 = {"paperWidth": 8.27, "paperHeight": 11.69}
        printed = browser.chrome.execute_cdp_cmd("Page.printToPDF", a4)
        document = pdfium.PdfDocument(base64.b64decode(printed["data"]))
        page = document[0]
        text = page.get_textpage()
        boxes = [text.get_charbox(i) for i in range(text.count_chars())]
        letters = [text.get_text_range(i, 1) for i in range(len(boxes))]
        far = [i for i, box in enumerate(boxes) if box[2] >= page.get_width() - 20]
        assert (
            "".join(letters[i] for i in far).strip("f\r\n") == ""
        )  # pdfium misplaces the ligature ff
        said = re.sub(r"\s", "", text.get_text_range())
        assert "differenceinaccuracy" in said
        assert "95%interval" in said
        assert "Playground" not in said  # the sidebar would take a third
        text.close(), page.close(), document.close()
