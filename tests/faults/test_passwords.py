"""A password in a storage URL, wherever it stands in it: it comes out nowhere."""

from __future__ import annotations

import base64
import json
import logging
import sqlite3
import traceback
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit

import postgresql_server
import pytest
import sqlalchemy as sa
from dashboards import ADDRESS, COMMAND, free_port, hostile_home, running, wait
from postgresql_server import GUARDED, Server
from saying import said
from streamlit.components.v2 import manifest_scanner
from streamlit.testing.v1 import AppTest

import actsearch as acs
from actsearch import cli
from actsearch.report import Reader
from actsearch.storage import Storage, redact
from actsearch_dashboard import __main__ as dashboard_main
from actsearch_dashboard.data import open_store

SECRET = "hunter2Sesam"
NOBODY = "127.0.0.1:1"  # where nobody listens

READ = [
    f"postgresql://u:{SECRET}@{NOBODY}/db",
    f"postgres://u:{SECRET}@{NOBODY}/db",
    f"postgresql+psycopg://:{SECRET}@{NOBODY}/db",
    f"postgresql+psycopg://u:a%40{SECRET}%2F@{NOBODY}/db",
    f"postgresql+psycopg://u:a/{SECRET}@{NOBODY}/db",
    f"postgresql+psycopg://u:a:{SECRET}@{NOBODY}/db",
    f"postgresql+psycopg://u:a?{SECRET}@{NOBODY}/db",
    f"postgresql+psycopg://{NOBODY}/db?password={SECRET}",
    f"postgresql+psycopg://{NOBODY}/db?user=u&PASSWORD={SECRET}",
    f"postgresql+psycopg://{NOBODY}/db?sslmode=prefer&sslpassword={SECRET}",
    f"postgresql+psycopg://{NOBODY}/db?passwrod={SECRET}",
    f"postgresql+psycopg://{NOBODY}/db?passfile=/none&plugin={SECRET}",
    f"postgresql+psycopg://{NOBODY}/db?sslmode=prefer;password={SECRET}",
    f"postgresql+psycopg://{NOBODY}/db?password=a&{SECRET}=1",
    f"postgresql+psycopg://{NOBODY}/db;password={SECRET}",
    f"postgresql+psycopg://{NOBODY}/db%3Fpassword%3D{SECRET}",
    f"postgresql+psycopg://u%3A{SECRET}@{NOBODY}/db",
    f"postgresql+psycopg://u@/db?host=127.0.0.1&host=127.0.0.1&port=1&password={SECRET}",
    f"postgresql+psycopg2://u:{SECRET}@{NOBODY}/db",
    f"mysql+pymysql://u:{SECRET}@{NOBODY}/db?ssl_key={SECRET}",
    f"bogus://u:{SECRET}@host",
    f"sqlite:///nowhere/a.db?password={SECRET}",
    f"sqlite+pysqlcipher://:{SECRET}@/nowhere/a.db?key={SECRET}",
]
"""URLs that can be read."""

UNREADABLE = [
    f"postgresql://u:a@{SECRET}@{NOBODY}/db",
    f"postgresql://u:a@b/{SECRET}@{NOBODY}/db",
    f"postgresql://u/a:{SECRET}@{NOBODY}/db",
    f"postgresql:///u:{SECRET}@{NOBODY}/db",
    f"postgresql://u:{SECRET}@host:port/db",
    f"postgresql://u:{SECRET}@host:99999/db",
    f"postgresql://u:{SECRET}",
    f"postgresql://u:{SECRET}/db",
    f"postgresql://host;password={SECRET}/db",
    f"postgresql://host password={SECRET}",
    f"postgresql:/u:{SECRET}@{NOBODY}/db",
    f"postgresql//u:{SECRET}@{NOBODY}/db",
    f"postgresql:u:{SECRET}@{NOBODY}",
    f" postgresql://u:{SECRET}@{NOBODY}/db",
    f"post gresql://u:{SECRET}@{NOBODY}/db",
    f"u:{SECRET}@{NOBODY}/db",
    f"host=127.0.0.1 port=1 password={SECRET}",
    f"host=127.0.0.1 port=1 password = '{SECRET}'",
    f"sqlite://u:a@b/{SECRET}@/nowhere/a.db",
    f"jdbc:postgresql://{NOBODY}/db?user=u&password={SECRET}",
]
"""What looks like one, or can be read in two ways."""

CALLS: dict[str, Callable[[str], object]] = {
    "create_study": lambda url: acs.create_study(study_name="s", storage=url),
    "load_study": lambda url: acs.load_study(study_name="s", storage=url),
    "delete_study": lambda url: acs.delete_study(study_name="s", storage=url),
    "Reader": Reader,
    "Storage": lambda url: Storage(url, create=True),
    "open_store": open_store,
}

COMMANDS = [
    ["list", "--storage", "URL"], ["list", "--storage=URL"], ["list", "URL"], ["list", "--stroage=URL"],
    ["show", "s", "--storage", "URL"], ["show", "URL"], ["show", "s", "--top", "URL"],
    ["export", "s", "--storage", "URL", "--to-csv", "x.csv"], ["export", "s", "--to", "URL", "x"],
    ["export", "s", "--storage", "STORED", "--to-optuna", "URL"], ["URL"],
    ["doctor", "URL"], ["doctor", "URL", "URL"], ["unlock", "s", "--storage", "URL", "--yes"], ["unlock", "URL"],
    ["dashboard", "URL", "--no-browser"], ["dashboard", "URL", "URL"], ["dashboard", "--port", "URL"],
]  # fmt: skip
"""Right and wrong ways to hand a URL to the command line."""


@pytest.fixture(scope="module")
def stored(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A storage that has nothing to do with any of this."""
    url = f"sqlite:///{tmp_path_factory.mktemp('stored')}/a.db"
    acs.create_study(study_name="s", storage=url, strategy="random")
    return url


def _check(text: str) -> None:
    for form in (SECRET, quote(SECRET), SECRET[:7]):
        assert form not in text


@pytest.mark.parametrize("url", READ + UNREADABLE)
def test_a_call_that_fails_shows_none(
    url: str, caplog: pytest.LogCaptureFixture, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    caplog.set_level(logging.DEBUG)
    _check(redact(url))
    for call in CALLS.values():
        try:
            call(url)
        except acs.ActsearchError as error:
            _check(traceback.format_exc() + str(error) + repr(error))
        else:
            raise AssertionError("nothing was refused")
    _check(caplog.text)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("url", READ + UNREADABLE)
def test_a_command_that_fails_shows_none(
    url: str,
    stored: str,
    capfd: pytest.CaptureFixture[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    for words in COMMANDS:
        try:
            code = cli.main([word.replace("URL", url).replace("STORED", stored) for word in words])
        except SystemExit as wrong_usage:
            code = 2 if wrong_usage.code == 2 else 0
        assert code, words
        written = capfd.readouterr()
        _check(written.out + written.err)
        assert written.out + written.err


@pytest.mark.parametrize("url", READ + UNREADABLE)
def test_in_the_place_of_a_name_it_shows_none(
    url: str, stored: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    made = acs.create_study(
        study_name="new", storage=stored, strategy="random", load_if_exists=True
    )
    calls: list[Callable[[], object]] = [
        lambda: acs.load_study(study_name=url, storage=stored),
        lambda: acs.delete_study(study_name=url, storage=stored),
        lambda: acs.create_study(study_name="t", storage=stored, warm_start_from=url),
        lambda: acs.create_study(
            study_name="new", storage=stored, warm_start_from=url, load_if_exists=True
        ),
        lambda: acs.load_study(study_name=url.encode(), storage=stored),  # type: ignore[arg-type]
        lambda: acs.create_study(study_name=url.encode(), storage=stored),  # type: ignore[arg-type]
    ]
    if "://" in url:
        calls.append(lambda: acs.create_study(study_name=url, storage=stored))
    for call in calls:
        with pytest.raises(acs.ActsearchError) as caught:
            call()
        _check("".join(traceback.format_exception(caught.value)))
    assert made.study_name == "new"
    _check(caplog.text)


def test_a_stored_name_shows_none(tmp_path: Path) -> None:
    """As an earlier version took it."""
    url = f"sqlite:///{tmp_path}/a.db"
    name = f"postgresql://u:{SECRET}@h/db"
    acs.create_study(study_name="s", storage=url, strategy="random")._storage.database.close()
    with closing(sqlite3.connect(tmp_path / "a.db")) as base:
        base.execute("UPDATE studies SET name = ?", (name,))
        base.commit()
    for wrong in ("t", name + "x"):
        with pytest.raises(acs.StudyError, match="u:[*][*][*]@h") as caught:
            acs.load_study(study_name=wrong, storage=url)
        _check(str(caught.value))
    acs.delete_study(study_name=name, storage=url)


@pytest.mark.parametrize("text", [item for item in UNREADABLE if "/" not in item])
def test_a_file_of_such_a_name_changes_nothing(
    text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    if "=" in text:
        Path(text).touch()
    for words in (["list", "--storage", text], ["doctor", text], ["show", "s", text]):
        assert cli.main(words) == 1
    written = capfd.readouterr()
    _check(written.out + written.err)


def test_the_variable_is_the_default_and_is_not_shown(
    stored: str, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("ACTSEARCH_STORAGE", stored)
    assert cli.main(["show", "s"]) == 0
    monkeypatch.setenv("ACTSEARCH_STORAGE", READ[0])
    assert cli.main(["list"]) == 1
    for main in (cli.main, dashboard_main.main):
        for words in (["--help"], ["dashboard", "--help"], ["--port", "x"], ["list", "--top"]):
            with pytest.raises(SystemExit):
                main(words)
    written = capfd.readouterr()
    _check(written.out + written.err)
    assert "$ACTSEARCH_STORAGE" in written.out


def test_what_is_no_secret_is_shown() -> None:
    assert redact("studies/mine.db") == "studies/mine.db"
    assert redact("sqlite:////home/a@b/pass/mine.db").endswith("mine.db")
    url = "postgresql+psycopg://user@[::1]:5432/db?application_name=mine&sslmode=require"
    assert redact(url) == url
    assert redact("sqlite:///x.db?timeout=30") == "sqlite:///x.db?timeout=***"
    assert redact("postgresql://u:p@h/db?password=p") == "postgresql://u:***@h/db?password=***"


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    """One with a user whose password is asked for."""
    if reason := postgresql_server.missing():
        pytest.skip(reason)
    with postgresql_server.running_server() as running:
        postgres = running.url("postgres")
        running.execute(postgres, f"CREATE ROLE {GUARDED} LOGIN PASSWORD '{SECRET}'")
        running.execute(postgres, f"GRANT CREATE ON DATABASE postgres TO {GUARDED}")
        running.execute(postgres, f"CREATE SCHEMA AUTHORIZATION {GUARDED}")
        yield running


def _urls(server: Server, password: str) -> list[str]:
    place = f"/postgres?host={server.folder}"
    encoded = "".join(f"%{ord(letter):02x}" for letter in password)
    return [
        f"postgresql+psycopg://{GUARDED}:{password}@{place}",
        f"postgresql+psycopg://{GUARDED}:{encoded}@{place}",
        f"postgresql+psycopg://{GUARDED}@{place}&password={password}",
        f"postgresql://{place}&user={GUARDED}&password={encoded}",
    ]


@pytest.mark.parametrize("form", range(4))
def test_a_server_that_refuses_it_shows_none(
    server: Server, form: int, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    url = _urls(server, wrong := SECRET + "-wrong")[form]
    for call in CALLS.values():
        with pytest.raises(acs.StorageError, match="check the user and the password") as caught:
            call(url)
        text = "".join(traceback.format_exception(caught.value))
        _check(text)
        assert wrong not in text
    _check(caplog.text)


@pytest.mark.parametrize("form", range(4))
def test_an_opened_storage_shows_none(
    server: Server, form: int, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    caplog.set_level(logging.DEBUG)
    url = _urls(server, SECRET)[form]
    study = acs.create_study(study_name="s", storage=url, strategy="random", load_if_exists=True)
    storage = Storage(url)
    engine = storage.database._backend.engine
    assert isinstance(engine, sa.Engine)
    store = open_store(url)
    holders: list[object] = [
        study,
        storage,
        storage.database,
        storage.database._backend,
        engine,
        store,
    ]
    holders += [engine.url, store.reader, store.view("s"), store.name]
    for holder in holders:
        _check(repr(holder) + str(holder))
    for holder in (study, storage, storage.database, storage.database._backend, engine):
        _check(repr(vars(holder)))
    with pytest.raises(acs.StudyError) as caught:
        acs.load_study(study_name="t", storage=url)
    _check("".join(traceback.format_exception(caught.value)) + caplog.text)
    assert "postgres" in store.name
    storage.database.close()


def test_words_of_a_driver_that_hold_it_are_hidden(server: Server) -> None:
    """As a server says that there is no database of the password's name."""
    url = f"postgresql+psycopg://actsearch:{SECRET}@/{SECRET}?host={server.folder}"
    with pytest.raises(acs.StorageError, match="createdb") as caught:
        acs.load_study(study_name="s", storage=url)
    text = "".join(traceback.format_exception(caught.value))
    assert text.count(SECRET) == str(caught.value).count(SECRET)  # nothing but the name in the URL


@pytest.mark.parametrize(
    ("form", "password"), [(0, SECRET), (2, SECRET), (3, SECRET), (2, SECRET + "-wrong")]
)
def test_a_page_shows_none(
    server: Server, monkeypatch: pytest.MonkeyPatch, form: int, password: str
) -> None:
    url = _urls(server, password)[form]
    if password == SECRET:
        acs.create_study(study_name="s", storage=url, strategy="random", load_if_exists=True)
    monkeypatch.setattr("sys.argv", ["serve.py", url])
    # as the server does; the search for components alone would take most of the time
    monkeypatch.setattr(manifest_scanner, "scan_component_manifests", lambda: [])
    app = AppTest.from_function(_whole_app, default_timeout=60).run()
    texts = [said(app), repr(app.session_state), repr(app.query_params), repr(app.main)]
    texts += [repr(app.sidebar), *(item.value for item in app.sidebar.caption)]
    _check("\n".join(texts))
    assert password != SECRET or "read only" in "\n".join(texts)


def _whole_app() -> None:
    from actsearch_dashboard.app import main

    main()


def _start(form: str, url: str, port: int) -> tuple[list[str], dict[str, str]]:
    flags = ["--no-browser", "--port", str(port)]
    module = [COMMAND[0], "-m", "actsearch_dashboard"]
    return {
        "argument of actsearch": ([*COMMAND, url, *flags], {}),
        "argument of the module": ([*module, url, *flags], {}),
        "variable": ([*COMMAND, *flags], {"ACTSEARCH_STORAGE": url}),
    }[form]


@pytest.mark.slow
@pytest.mark.parametrize("form", ["argument of actsearch", "argument of the module", "variable"])
def test_the_list_of_processes_shows_none(server: Server, tmp_path: Path, form: str) -> None:
    url = _urls(server, SECRET)[0]
    acs.create_study(study_name="s", storage=url, strategy="random", load_if_exists=True)
    command, environment = _start(form, url, port := free_port())
    with running(command, tmp_path, port, **environment) as dashboard:
        assert wait(dashboard.serves), dashboard.said
        lines = dashboard.processes()
        assert len(lines) == 2  # the server, and what loads torch
        _check("\n".join(lines.values()) + dashboard.said)
        assert "actsearch_dashboard" in "".join(lines.values())


@pytest.mark.slow
def test_a_browser_is_sent_none_and_sent_nowhere_else(server: Server, tmp_path: Path) -> None:
    """With a user's own settings that would load a font from elsewhere and report usage."""
    chromium = pytest.importorskip("chromium")
    if chromium.BROWSER is None or chromium.DRIVER is None:
        pytest.skip("needs chromium and chromedriver")
    url = _urls(server, SECRET)[2]
    acs.create_study(study_name="s", storage=url, strategy="random", load_if_exists=True)
    command, environment = _start("variable", url, port := free_port())
    browser = chromium.Browser(tmp_path)
    try:
        environment |= hostile_home(tmp_path)
        with running(command, tmp_path, port, **environment) as dashboard:
            assert wait(dashboard.serves), dashboard.said
            for page in ("", "study", "trials", "playground"):
                browser.open(f"http://{ADDRESS}:{port}/{page}")
                texts = [browser.chrome.page_source, browser.text, browser.chrome.title]
                _check("\n".join([*texts, browser.chrome.current_url]))
            log = [
                json.loads(entry["message"])["message"]
                for entry in browser.chrome.get_log("performance")
            ]
            _check(_received(log))
            asked = [
                item["params"]["request"]["url"]
                for item in log
                if item["method"] == "Network.requestWillBeSent"
            ]
            outside = [text for text in asked if urlsplit(text).scheme.startswith("http")
                       and urlsplit(text).netloc != f"{ADDRESS}:{port}"]  # fmt: skip
            assert len(asked) > 10
            assert outside == []
            browser.leave()
    finally:
        browser.chrome.quit()


def _received(log: list[dict[str, Any]]) -> str:
    """What came through the stream of a page, as text."""
    frames = [
        base64.b64decode(item["params"]["response"]["payloadData"])
        for item in log
        if item["method"] == "Network.webSocketFrameReceived"
    ]
    assert frames
    return b"\n".join(frames).decode(errors="replace")
