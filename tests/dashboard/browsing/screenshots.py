"""Pictures of every page for the manuals: ``python tests/dashboard/browsing/screenshots.py studies/actsearch.db``.

Starts the dashboard on a storage that ``studies/digits_mlp.py`` and ``studies/digits_deep_mlp.py`` have filled, looks
at it with Debian's Chromium (``apt-get install chromium chromium-driver``), and writes small PNG files to
``dashboard/screenshots/``.
"""

from __future__ import annotations

import io
import sqlite3
import sys
import tempfile
import time
from contextlib import closing
from pathlib import Path

from chromium import Browser, served
from PIL import Image

FOLDER = Path(__file__).parents[3] / "dashboard" / "screenshots"
WIDTH, COLOURS = 1000, 255

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


def main(database: Path) -> None:
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
            for name, page in PAGES.items():
                browser.open(f"{address}/{page}")
                time.sleep(4)  # figures and pictures are drawn after the page's script has ended
                picture = Image.open(io.BytesIO(browser.chrome.get_screenshot_as_png()))
                height = picture.height * WIDTH // picture.width
                small = picture.convert("RGB").resize((WIDTH, height), Image.Resampling.LANCZOS)
                small.quantize(COLOURS).save(FOLDER / f"{name}.png", optimize=True)
                print(f"{name}.png  {(FOLDER / f'{name}.png').stat().st_size // 1024} KB")
        browser.chrome.quit()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
