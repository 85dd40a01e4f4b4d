"""The pages of documentation: links lead somewhere, and files that they name exist."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGES = sorted(
    page.relative_to(ROOT)
    for folder in ("search", "dashboard", "studies", "tests", ".github")
    for page in (ROOT / folder).rglob("*.md")
) + [Path("README.md")]
HOMES = (ROOT, ROOT / "search/actsearch", ROOT / "dashboard/actsearch_dashboard")
"""Where a page may count the path of a file from, besides its own folder."""

_LINK = re.compile(r"\]\(([^)\s]+)\)")
_FENCE = re.compile(r"^```.*?^```", re.MULTILINE | re.DOTALL)
_NAMED = re.compile(r"`((?:[\w.-]+/)+|(?:[\w.-]+/)*[\w-]+\.(?:py|pyi|md))`")
_ELSEWHERE = {"src/", ".slow/"}  # other projects', and what .ci/slow makes


def _prose(page: Path) -> str:
    return _FENCE.sub("", (ROOT / page).read_text(encoding="utf-8"))


def _anchors(page: Path) -> set[str]:
    """What GitHub makes of headings."""
    headings = re.findall(r"^#+ (.*)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def test_there_are_pages() -> None:
    assert {Path("README.md"), Path("search/ARCHITECTURE.md")} <= set(PAGES)


@pytest.mark.parametrize("page", PAGES, ids=str)
def test_links_lead_to_files_and_headings(page: Path) -> None:
    for link in _LINK.findall(_prose(page)):
        if "://" in link:
            continue
        path, _, anchor = link.partition("#")
        target = (ROOT / page).parent / path if path else ROOT / page
        assert target.exists(), link
        assert not anchor or anchor in _anchors(target), link


@pytest.mark.parametrize("page", PAGES, ids=str)
def test_files_that_a_page_names_exist(page: Path) -> None:
    folder = (ROOT / page).parent
    for name in _NAMED.findall(_prose(page)):
        if name in _ELSEWHERE or any((home / name).exists() for home in (folder, *HOMES)):
            continue
        found = [path for home in (*HOMES[1:], ROOT / "tests") for path in home.rglob(name)]
        assert found, name
