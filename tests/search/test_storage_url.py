"""A storage URL leads to the file that was meant, or is refused with the right spelling; nothing is made then."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from driven import Launcher

import actsearch as acs
from actsearch.cli import main
from actsearch.storage import Storage, storage_file, storage_url
from actsearch.storage.url import sqlite_url

RIGHT = {
    "sqlite:///x.db": "x.db",
    "sqlite:///new/folders/x.db": "new/folders/x.db",
    "sqlite:////{here}/x.db": "x.db",
    "sqlite+pysqlite:///x.db": "x.db",
    "sqlite:///a b.db": "a b.db",
    "sqlite:///a%20b.db": "a b.db",
    "sqlite:///a#b.db": "a#b.db",
    "sqlite:///a%3Fb/m.db": "a?b/m.db",
    "sqlite:///a%2541.db": "a%41.db",
    "sqlite:///100%.db": "100%.db",
    "sqlite:///ünï/x.db": "ünï/x.db",
    "sqlite:///%C3%BCn.db": "ün.db",
    "sqlite:///%FF.db": "\udcff.db",
    "sqlite:///a\nb.db": "a\nb.db",
    "sqlite:///~x.db": "~x.db",
    "sqlite:///./~/x.db": "~/x.db",
    "sqlite:///./file:x.db": "file:x.db",
    "sqlite:///a@b:c.db": "a@b:c.db",
    "sqlite:///" + "n" * 247: "n" * 247,
    "sqlite:///" + ("d" * 30 + "/") * 10 + "x.db": ("d" * 30 + "/") * 10 + "x.db",
}

REFUSED: dict[Any, str] = {  # and what is to be written instead
    "sqlite://mine.db": "sqlite:///mine.db",
    "sqlite://studies/x.db": "sqlite:///studies/x.db",
    "sqlite://host/path/x.db": "sqlite:///host/path/x.db",
    "sqlite://../x.db": "sqlite:///../x.db",
    "sqlite://~/x.db": "sqlite:///{home}/x.db",
    "sqlite://:memory:": "sqlite:///:memory:",
    "sqlite://user:hunter2@host:5/x.db": "sqlite:///FILE",
    "sqlite://user@/x.db": "sqlite:///FILE",
    "sqlite://?mode=ro": "sqlite:///FILE",
    "sqlite:///": "sqlite:///FILE",
    "sqlite:////": "sqlite:///FILE",
    "sqlite:///x.db?timeout=3": "sqlite:///x.db",
    "sqlite:///x.db?": "sqlite:///x.db",
    "sqlite:///w?x/m.db": "sqlite:///w%3Fx/m.db",
    "sqlite:///:memory:?cache=shared": "sqlite:///:memory:",
    "sqlite:///file:x.db?mode=ro&uri=true": "sqlite:///x.db",
    "sqlite:///file:x.db": "sqlite:///x.db",
    "sqlite:///a%41.db": "sqlite:///a%2541.db",
    "sqlite:///a%2Fb.db": "sqlite:///a/b.db",
    "sqlite:///here%20/x.db": "sqlite:///here%2520/x.db",
    "sqlite:///~/x.db": "sqlite:///{home}/x.db",
    "sqlite:///~": "sqlite:///{home}",
    "sqlite:///~nobody-of-that-name/x.db": "sqlite:///./~nobody-of-that-name/x.db",
    "sqlite:///C:\\studies\\x.db": "path of Windows",
    "sqlite:///C:/studies/x.db": "path of Windows",
    "sqlite:///studies\\x.db": "sqlite:///studies/x.db",
    "sqlite:///studies/": "sqlite:///studies/actsearch.db",
    "sqlite:///.": "sqlite:///actsearch.db",
    "sqlite:/// x.db": "sqlite:///x.db",
    "sqlite:///x.db\n": "sqlite:///x.db",
    "sqlite:///x.db-wal": "sqlite:///x-wal.db",
    "sqlite:///studies/x.db-shm": "sqlite:///studies/x-shm.db",
    "sqlite:///x-journal": "sqlite:///x-journal.db",
    "sqlite:///x.sqlite-WAL": "sqlite:///x-WAL.sqlite",
    "sqlite:///x\0.db": "NUL",
    "sqlite:///x%00.db": "NUL",
    "sqlite:///x\ud800.db": "ordinary characters",
    "sqlite:///" + "n" * 248: "at most 247 bytes",
    "sqlite:///" + "n" * 300: "at most 247 bytes",
    "sqlite:///new/" + "d" * 300 + "/x.db": "at most 247 bytes",
    "sqlite:///" + "d/" * 300 + "x.db": "too long for SQLite",
    "sqlite:///" + "d/" * 3000 + "x.db": "too long for SQLite",
    "sqlite:////dev/null": "device",
    "sqlite+aiosqlite:///x.db": "sqlite:///x.db",
    "sqlite+pysqlcipher:///x.db": "sqlite:///x.db",
    "sqlite+pysqlcipher://:hunter2@/x.db": "sqlite:///FILE",
    "SQLite:///x.db": "sqlite:///x.db",
    "mysql://user:hunter2@host/d": "sqlite:///FILE",
    "duckdb:///x.db": "sqlite:///FILE",
    "postgresql+asyncpg://user:hunter2@host/d": "postgresql+psycopg://USER@HOST/DATABASE",
    "postgresql+psycopg2://user:hunter2@host/d": "postgresql+psycopg://USER@HOST/DATABASE",
    "postgresql://user@host:port/d": "postgresql+psycopg://USER@HOST/DATABASE",
    "": "sqlite:///FILE",
    "x.db": "sqlite:///x.db",
    "studies/x.db": "sqlite:///studies/x.db",
    "/tmp/x.db": "sqlite:////tmp/x.db",
    "~/x.db": "sqlite:///{home}/x.db",
    "file:x.db": "sqlite:///x.db",
    "sqlite:x.db": "sqlite:///x.db",
    "sqlite:/tmp/x.db": "sqlite:////tmp/x.db",
    "C:\\x.db": "sqlite:///FILE",
    "a?b.db": "sqlite:///FILE",
    Path("studies/x.db"): "sqlite:///studies/x.db",
    b"sqlite:///x.db": "sqlite:///FILE",
    3: "sqlite:///FILE",
}

OPENERS: dict[str, Callable[[Any], Any]] = {
    "create_study": lambda url: acs.create_study(study_name="s", storage=url),
    "load_study": lambda url: acs.load_study(study_name="s", storage=url),
    "delete_study": lambda url: acs.delete_study(study_name="s", storage=url),
}


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder, empty, with a home beside it."""
    for name in ("here", "home"):
        (tmp_path / name).mkdir()
    monkeypatch.chdir(tmp_path / "here")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    return tmp_path / "here"


def _made(folder: Path) -> set[str]:
    found = (str(path.relative_to(folder)) for path in folder.rglob("*") if not path.is_dir())
    return {name for name in found if not name.endswith(("-wal", "-shm"))}


def _everything(folder: Path) -> list[Path]:
    return sorted(folder.rglob("*"))


def _create(url: Any, name: str = "s") -> None:
    acs.create_study(study_name=name, storage=url)._storage.database.close()


@pytest.mark.parametrize("url", list(RIGHT), ids=lambda url: ascii(url)[:60])
def test_it_leads_to_the_file_that_was_meant(here: Path, url: str) -> None:
    given = url.format(here=str(here).lstrip("/")) if "{here}" in url else url
    _create(given)
    assert _made(here) == {RIGHT[url]}
    acs.load_study(study_name="s", storage=given)._storage.database.close()


@pytest.mark.parametrize("opener", list(OPENERS))
@pytest.mark.parametrize("url", list(REFUSED), ids=lambda url: ascii(url)[:60])
def test_it_is_refused_with_the_right_spelling(here: Path, url: Any, opener: str) -> None:
    if url == "sqlite:///here%20/x.db":
        (here / "here%20").mkdir()  # which shows that it is no escape
    before = _everything(here.parent)
    with pytest.raises(acs.StorageError) as caught:
        OPENERS[opener](url)
    said = str(caught.value)
    assert REFUSED[url].format(home=os.environ["HOME"]) in said
    assert "hunter2" not in said
    said.encode()  # a terminal can show it
    assert said.isprintable()
    assert _everything(here.parent) == before


def test_what_is_to_be_written_instead_is_taken(here: Path) -> None:
    """Invariant: whoever follows the advice is not refused again."""
    checked = 0
    for url in REFUSED:
        try:
            storage_file(url)  # of some, only the disk says that they cannot be
        except acs.StorageError as error:
            for right in re.findall(r"(?:write|or) (sqlite:[^\s;,]+)", str(error)):
                assert (
                    right in ("sqlite://", "sqlite:///:memory:") or storage_file(right) is not None
                )
                checked += 1
    assert checked > 40


def test_the_two_that_mean_memory_make_nothing(here: Path) -> None:
    for url in (None, "sqlite://", "sqlite:///:memory:"):
        study = acs.create_study(study_name="s", storage=url)
        study.enqueue_trial("relu")
        assert len(study.trials) == 1
    assert _everything(here) == []


def test_an_escape_is_taken_as_it_is_written_only_where_it_must_be(here: Path) -> None:
    """SQLAlchemy 2.0 does not unescape: a file of the literal name is not passed over for one that is made."""
    _create("sqlite:///a%2520b.db")
    assert _made(here) == {"a%20b.db"}
    with pytest.raises(
        acs.StorageError, match=r"for the file a%20b.db write sqlite:///a%2520b.db"
    ):
        acs.load_study(study_name="s", storage="sqlite:///a%20b.db")
    with pytest.raises(acs.StorageError, match=r"for a b.db write sqlite:///a b.db"):
        _create("sqlite:///a%20b.db")
    _create("sqlite:///a b.db", "t")
    assert acs.load_study(study_name="t", storage="sqlite:///a%20b.db").trials == []


def test_the_longest_path_that_is_taken_works(here: Path) -> None:
    """SQLite makes journals beside the file, whose names are longer."""
    name = "x" * 100
    rest = 500 - len(os.fsencode(here)) - 2 - len(name)
    folders = "/".join(["d" * 40] * 20)[: rest - 1] + "e"
    url = f"sqlite:///{folders}/{name}"
    _create(url)
    acs.load_study(study_name="s", storage=url).enqueue_trial("relu")
    with pytest.raises(acs.StorageError, match="501 bytes from / on"):
        _create(url + "x")


FOLDERS = [
    "a?b",
    "50%41off",
    "100%",
    "a#b",
    "two words",
    "ünï",
    "a\nb",
    "~",
    "a\\b",
    "file:x",
    "C:",
    b"\xff",
    " ",
]


@pytest.mark.parametrize("name", FOLDERS, ids=ascii)
def test_a_relative_path_works_in_any_folder(
    here: Path, name: str | bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = here / os.fsdecode(name)
    folder.mkdir()
    monkeypatch.chdir(folder)
    _create("sqlite:///sub/x.db")
    study = acs.load_study(study_name="s", storage="sqlite:///sub/x.db")
    study.enqueue_trial("relu")
    assert _made(folder) == {"sub/x.db"}
    assert main(["list", "--storage", "sub/x.db"]) == 0
    path = storage_file("sqlite:///sub/x.db")
    assert path is not None
    assert path.resolve() == folder / "sub/x.db"
    url = sqlite_url(path.resolve())
    assert storage_file(url) == folder / "sub/x.db"
    url.encode()  # it is an argument of another process
    monkeypatch.chdir(here)
    assert len(study.trials) == 1


@pytest.mark.parametrize(
    "name",
    [
        "a?b%41.db",
        "a?mode=ro",
        "%20.db",
        "100%.db",
        "a#b.db",
        " x ",
        "a\\b.db",
        "a\nb.db",
        "ü@:x.db",
    ],
)
def test_the_command_line_takes_any_name_of_a_file(
    here: Path, name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    _create("sqlite:///plain.db")
    (here / "plain.db").rename(here / name)
    assert main(["list", "--storage", name]) == 0
    assert main(["list", "--storage", str(here / name)]) == 0
    assert capsys.readouterr().out.splitlines()[0].split()[0] == "s"
    assert main(["doctor", name]) == 0
    path = storage_file(storage_url(name))
    assert path is not None
    assert path.resolve() == here / name


def test_what_is_a_url_stays_one() -> None:
    for url in ("sqlite:///x.db", "postgresql+psycopg://user@host/d", "sqlite://x.db"):
        assert storage_url(url) == url
    assert storage_file("postgresql+psycopg://user@host/d") is None


@pytest.mark.parametrize("name", ["plain.db", "a?b.db", "a%41.db", "a\\b.db", " x"])
def test_a_url_object_names_its_file_literally(here: Path, name: str) -> None:
    Storage(sa.URL.create("sqlite", database=name), create=True).database.close()  # type: ignore[arg-type]
    assert _made(here) == {name}
    with pytest.raises(acs.StorageError, match="takes no options"):
        OPENERS["load_study"](sa.URL.create("sqlite", database="plain.db", query={"mode": "ro"}))


@pytest.mark.parametrize("end", ["-wal", "-journal", "-shm"])
def test_no_database_is_taken_for_the_log_of_another(here: Path, end: str) -> None:
    """SQLite deletes such a file; one may have been made by an earlier version, or by another program."""
    _create("sqlite:///other.db")
    (here / "other.db").rename(here / f"x.db{end}")
    before = (here / f"x.db{end}").read_bytes()
    named = [f"sqlite:///x.db{end}"] + (["sqlite:///x.db"] if end != "-shm" else [])
    for url in named:
        for opener in OPENERS.values():
            if opener is OPENERS["create_study"] or url != "sqlite:///x.db":
                with pytest.raises(acs.StorageError, match=rf"x{end}\.db"):
                    opener(url)
    (here / "link.db").symlink_to(f"x.db{end}")
    with pytest.raises(acs.StorageError, match=rf"write sqlite:///.*x{end}\.db, after renaming"):
        acs.load_study(study_name="s", storage="sqlite:///link.db")
    assert (here / f"x.db{end}").read_bytes() == before
    (here / f"x.db{end}").rename(here / f"x{end}.db")
    acs.load_study(study_name="s", storage=f"sqlite:///x{end}.db")
    _create("sqlite:///x.db")


def test_a_folder_that_was_deleted_is_said(launcher: Launcher, tmp_path: Path) -> None:
    """The current folder of a process may be gone."""
    script = (
        "import os, sys; os.chdir(sys.argv[1]); os.rmdir(os.getcwd())\n"
        "from actsearch.storage import Storage\nfrom actsearch.errors import StorageError\n"
        "try: Storage('sqlite:///x.db', create=True)\nexcept StorageError as error: print(error)"
    )
    (tmp_path / "gone").mkdir()
    child = launcher.start(script, tmp_path / "gone")
    assert child.wait() == 0, child.errors
    assert "x.db cannot be opened" in child.lines[0]
