"""Pictures of every page for the manuals: ``python tests/dashboard/browsing/screenshots.py studies/actsearch.db``.

Starts the dashboard on a storage that ``studies/digits_mlp.py`` and ``studies/digits_deep_mlp.py`` have filled, looks
at it with Debian's Chromium (``apt-get install chromium chromium-driver``) at two widths, on a light and on a dark
page, and writes small PNG files to ``dashboard/screenshots/``: ``study.png``, ``study-dark.png``, ``study-420.png``,
``study-420-dark.png``. Names of pages after the database take these alone.
"""

from __future__ import annotations

import io
import sqlite3
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

from chromium import Browser, served
from PIL import Image

FOLDER = Path(__file__).parents[3] / "dashboard" / "screenshots"
COLOURS = 255
WIDTHS = {"": (1440, 1500, 0.6), "-420": (420, 1500, 1.0)}
"""Part of the file's name: width and height of the window in pixels, and how much of that the picture has."""
THEMES = {"": "light", "-dark": "dark"}

PAGES = {
    "studies": "",
    "study": "study?study=digits-genetic",
    "leaderboard": "leaderboard?study=digits-genetic",
    "evolution": "evolution?study=digits-genetic",
    "compare": "compare?studies=digits-bayesian,digits-genetic",
    "trials": "trials?study=digits-genetic",
    "activation": "activation?study=digits-deep-bands",
    "inside": "inside?study=digits-deep-bands",
    "playground": "playground?study=digits-genetic&formula=sin(2*x)",
    "benchmark": "benchmark?activation=gelu",
}
"""Name of the file, and what is looked at."""


def main(database: Path, names: Sequence[str]) -> None:
    """Take them all, of a copy."""
    FOLDER.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder) / database.name
        with (
            closing(sqlite3.connect(database)) as source,
            closing(sqlite3.connect(copy)) as target,
        ):
            source.backup(target)
        browser = Browser(Path(folder))
        with served(copy, browser) as address:
            for name in names or PAGES:
                for theme in THEMES:
                    browser.look(*WIDTHS[""][:2], THEMES[theme])
                    browser.open(f"{address}/{PAGES[name]}")
                    for width in WIDTHS:
                        browser.look(*WIDTHS[width][:2], THEMES[theme])
                        time.sleep(3)  # figures are drawn after the page's script has ended
                        _save(browser, FOLDER / f"{name}{width}{theme}.png", WIDTHS[width][2])
        browser.chrome.quit()


def _save(browser: Browser, path: Path, scale: float) -> None:
    picture = Image.open(io.BytesIO(browser.chrome.get_screenshot_as_png())).convert("RGB")
    size = round(picture.width * scale), round(picture.height * scale)
    picture.resize(size, Image.Resampling.LANCZOS).quantize(COLOURS).save(path, optimize=True)
    print(f"{path.name}  {path.stat().st_size // 1024} KB", flush=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2:])
