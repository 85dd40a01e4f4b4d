"""Storages that change under the eyes of whoever looks: older ones, ones being migrated, and newer ones."""

from __future__ import annotations

import shutil
import sqlite3
import threading
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest
import sqlalchemy as sa
from crossed import WITHOUT_STUDY, only
from saying import said
from streamlit.testing.v1 import AppTest

import actsearch as acs
from actsearch.storage import sqlite
from actsearch_dashboard.app import PAGES as NAMES

Opener = Callable[..., AppTest]

DATA = Path(__file__).parent.parent / "data"
PATIENCE = 30.0  # seconds
WITH_STORAGE = [page for page in NAMES if page not in WITHOUT_STUDY]
PAGES = only(WITH_STORAGE, quick=("studies", "trials"))


@pytest.fixture(params=["WAL", "DELETE"])
def older(tmp_path: Path, request: pytest.FixtureRequest) -> Path:
    """Study "frozen" in a file of the schema before this one, with a log beside it and without."""
    path = tmp_path / "older.db"
    shutil.copy(DATA / "schema_0005.db", path)
    with closing(sqlite3.connect(path)) as base:
        base.execute(f"PRAGMA journal_mode = {request.param}")
    return path


@contextmanager
def migrating(path: Path) -> Iterator[None]:
    """While inside, the storage is being brought up to date: changed, and the change not yet kept."""
    changed, go_on = threading.Event(), threading.Event()
    failed: list[Exception] = []

    def migrate() -> None:
        try:
            acs.load_study(study_name="frozen", storage=f"sqlite:///{path}")
        except Exception as error:
            failed.append(error)

    thread = threading.Thread(target=migrate)

    def pause(_c: object, _k: object, statement: str, *_: object) -> None:
        if threading.current_thread() is thread and statement.startswith(
            "UPDATE actsearch_schema"
        ):
            changed.set()
            go_on.wait(PATIENCE)

    sa.event.listen(sa.Engine, "after_cursor_execute", pause)
    try:
        thread.start()
        assert changed.wait(PATIENCE), failed
        yield
    finally:
        go_on.set()
        thread.join(PATIENCE)
        sa.event.remove(sa.Engine, "after_cursor_execute", pause)
    assert not failed


@pytest.mark.parametrize("page", PAGES)
def test_an_older_storage_says_what_to_do_and_is_there_once_it_is_done(
    opened: Opener, older: Path, page: str
) -> None:
    before = older.read_bytes()
    app = opened(page, older)
    assert "open it once with actsearch.load_study, which brings it up to date" in said(app)
    assert older.read_bytes() == before
    acs.load_study(study_name="frozen", storage=f"sqlite:///{older}")
    app.run()
    assert not app.error
    assert "frozen" in said(app) or "frozen" in set(app.dataframe[0].value["study"])


@pytest.mark.parametrize("page", PAGES)
def test_a_storage_that_is_being_migrated_is_a_calm_message(
    opened: Opener, older: Path, page: str
) -> None:
    with migrating(older):
        app = opened(page, older)
        assert "has schema 0005, this version reads 0008" in said(app)
    app.run()
    assert not app.error
    said(app)


@pytest.mark.parametrize("page", PAGES)
def test_a_migration_that_keeps_readers_out_is_a_calm_message(
    opened: Opener, older: Path, page: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As SQLite does without a log, while it writes the change into the file."""
    monkeypatch.setattr(sqlite, "READ_SECONDS", 0.1)
    with closing(sqlite3.connect(older, isolation_level=None)) as base:
        base.execute("PRAGMA journal_mode = DELETE")
        base.execute("BEGIN EXCLUSIVE")
        base.execute("CREATE TABLE next (x)")
        app = opened(page, older)
        assert "locked; another program has held it" in said(app)
        base.execute("ROLLBACK")
    app.run()
    assert "open it once with actsearch.load_study" in said(app)


@pytest.mark.parametrize("page", PAGES)
def test_a_newer_version_may_migrate_what_is_looked_at(
    opened: Opener, copied: Path, page: str
) -> None:
    app = opened(page, copied, study="confirmed")
    assert not app.error
    with closing(sqlite3.connect(copied)) as base, base:
        base.execute("UPDATE actsearch_schema SET version_num = '9999'")
        base.execute("ALTER TABLE trials RENAME TO runs")
        base.execute("ALTER TABLE studies RENAME TO searches")
    app.run()
    text = said(app)
    assert "9999" in text
    assert "install the actsearch version that wrote it" in text
