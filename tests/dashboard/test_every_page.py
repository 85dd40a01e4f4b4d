"""Every page with every kind of database, without torch, and from a folder that cannot be written."""

from __future__ import annotations

import ctypes
import os
import re
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest
from crossed import WITHOUT_STUDY
from saying import said
from streamlit.testing.v1 import AppTest

from actsearch_dashboard import function_client
from actsearch_dashboard.app import PAGES

Opener = Callable[..., AppTest]

KINDS = {
    "empty": "empty",
    "plain": "plain",
    "several": "several",
    "by_site": "by site",
    "hostile": "",
}
QUICK = {  # a representative of each kind of database; a page takes half a second
    ("studies", "hostile"),
    ("study", "by_site"),
    ("study", "several"),
    ("trials", "several"),
    ("trials", "by_site"),
    ("activation", "several"),
    ("playground", "empty"),
    ("playground", "plain"),
    ("benchmark", "empty"),
}


def _case(page: str, kind: str) -> object:
    return pytest.param(page, kind, marks=() if (page, kind) in QUICK else pytest.mark.slow)


@pytest.mark.parametrize(("page", "kind"), [_case(page, kind) for page in PAGES for kind in KINDS])
def test_every_page_with_every_kind_of_database(
    opened: Opener, request: pytest.FixtureRequest, evil: str, page: str, kind: str
) -> None:
    storage = request.getfixturevalue(
        kind if kind in ("several", "by_site", "hostile") else "whole"
    )
    study = KINDS[kind] or evil
    app = opened(page, storage, study=study)
    text = said(app)
    assert not app.error
    frames = [str(value) for table in app.dataframe for value in table.value.astype(str).values]
    if page != "benchmark":
        assert study[:20] in text + "".join(frames)
    if kind == "empty" and page not in ("studies", *WITHOUT_STUDY):
        assert "study.optimize(task, n_trials=100)" in text
    for chart in app.get("plotly_chart"):
        assert "<img" not in chart.proto.spec


def _child(storage: Path) -> int:
    """A trial with parents, if there is one."""
    with closing(sqlite3.connect(storage)) as base:
        query = "SELECT max(number) FROM trials WHERE parents != '[]'"
        return base.execute(query).fetchone()[0] or 0


@pytest.mark.parametrize("page", ["activation", "leaderboard", "playground"])
def test_what_needs_no_other_process_is_shown_although_none_answers(
    opened: Opener, whole: Path, monkeypatch: pytest.MonkeyPatch, page: str
) -> None:
    monkeypatch.setattr(function_client._client, "start", lambda: None)
    monkeypatch.setattr(function_client._client, "ask", lambda request: b"")
    app = opened(page, whole, study="confirmed", trial="0")
    text = said(app)
    assert ("the process that loads torch ended" in text) == (page != "leaderboard")
    if page == "activation":
        assert app.metric
        assert len(app.get("plotly_chart")) == 4
    if page == "leaderboard":
        table = app.dataframe[-1].value  # the model unchanged has no function to draw
        drawn = table[~table["activation"].str.contains("unchanged")]
        assert drawn["function"].str.startswith("data:image/svg").all()


WITHOUT_TORCH = """
import sys

class NoTorch:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] == "torch":
            raise ImportError("torch is not to be loaded here")

sys.meta_path.insert(0, NoTorch())
"""

EVERY = """
from streamlit.testing.v1 import AppTest

def page(name):
    import importlib
    importlib.import_module("actsearch_dashboard.pages." + name).render()

url, trial, *names = sys.argv[1:]
sys.argv = ["serve.py", url]
for name in names:
    app = AppTest.from_function(page, kwargs={"name": name}, default_timeout=60)
    app.query_params["trial"] = trial
    app.run()
    assert not app.exception, (name, app.exception)
    words = [e.value for kind in (app.header, app.caption, app.info, app.error) for e in kind]
    print(name, len(app.dataframe), *words, sep=" | ")
"""


def _pages_in_a_process(
    before: str, storage: Path, script: Path, preexec: Callable[[], None] | None = None
) -> dict[str, str]:
    """What each page says in a process of its own, which first does something else."""
    script.write_text(before + EVERY)
    result = subprocess.run(
        [sys.executable, str(script), f"sqlite:///{storage}", str(_child(storage)), *PAGES],
        capture_output=True,
        text=True,
        cwd="/",
        preexec_fn=preexec,
        timeout=300,
    )
    assert result.returncode == 0, result.stderr
    assert "Traceback" not in result.stderr, result.stderr
    lines = re.split(r"^(?=\w+ \| )", result.stdout, flags=re.MULTILINE)
    found = {line.partition(" ")[0]: line for line in lines if line}
    assert set(found) == set(PAGES)
    return found


@pytest.mark.slow
def test_no_page_needs_torch(family: Path, tmp_path: Path) -> None:
    said = _pages_in_a_process(WITHOUT_TORCH, family, tmp_path / "pages.py")
    assert not any("torch" in text for text in said.values())


_DROP_FROM_BOUNDING_SET, _OVERRIDE_PERMISSIONS = 24, 1  # prctl(2), capabilities(7)


def _give_up_permissions() -> None:
    """Root may write anywhere; without this capability it is a user like others."""
    if os.geteuid() == 0:
        ctypes.CDLL(None).prctl(_DROP_FROM_BOUNDING_SET, _OVERRIDE_PERMISSIONS, 0, 0, 0)


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="gives up root's permissions as Linux does")
def test_every_page_of_a_storage_in_a_folder_that_cannot_be_written(
    whole: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "kept"
    folder.mkdir()
    with (
        closing(sqlite3.connect(whole)) as source,
        closing(sqlite3.connect(folder / "kept.db")) as target,
    ):
        source.backup(target)
        target.execute("PRAGMA journal_mode = WAL")
    assert [path.name for path in folder.iterdir()] == ["kept.db"]
    folder.chmod(0o555)
    try:
        found = _pages_in_a_process(
            "import sys", folder / "kept.db", tmp_path / "pages.py", _give_up_permissions
        )
    finally:
        folder.chmod(0o755)
    assert [path.name for path in folder.iterdir()] == ["kept.db"]
    assert "refresh is off" in found["studies"]
    for page in set(PAGES) - {"studies", *WITHOUT_STUDY}:
        assert "Read from a folder that cannot be written" in found[page], page
