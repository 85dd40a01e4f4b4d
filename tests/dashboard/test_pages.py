"""Each page on a real database, and on what can be wrong with one."""

from __future__ import annotations

import csv
import io
import re
import sqlite3
import sys
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest
from crossed import WITHOUT_STUDY, only, pairs
from saying import said
from streamlit.testing.v1 import AppTest

import actsearch_dashboard
from actsearch.report import Reader
from actsearch.storage import Storage
from actsearch_dashboard.app import PAGES as EVERY_PAGE
from actsearch_dashboard.data import open_store
from actsearch_dashboard.filters import Filters
from actsearch_dashboard.pages.trials import trials_csv

PAGES = [name for name in EVERY_PAGE if name not in WITHOUT_STUDY]
Opener = Callable[..., AppTest]


def address(app: AppTest, name: str) -> str:
    found = app.query_params[name]
    return found if isinstance(found, str) else found[0]


def test_studies_lists_every_study(opened: Opener, whole: Path) -> None:
    app = opened("studies", whole)
    said(app)
    frame = app.dataframe[0].value
    assert list(frame["study"]) == ["confirmed", "plain", "empty"]
    assert list(frame["trained"]) == [6, 2, 0]
    assert list(frame["verdicts"]) == [1, 0, 0]


def test_study_shows_verdict_best_and_history(opened: Opener, whole: Path) -> None:
    reader = Reader(f"sqlite:///{whole}")
    study = reader.study("confirmed")
    sentence = reader.verdicts(study)[0][1].sentence
    app = opened("study", whole, study="confirmed")
    assert sentence in said(app)
    metrics = {item.label: item.value for item in app.metric}
    best = reader.summary(study).best
    assert best is not None
    assert metrics["Best so far (optimistic)"] == f"{best.value:.4f}"
    assert metrics["Trials trained"] == "6"
    assert (
        len(app.get("plotly_chart")) >= 2
    )  # history, states, and Optuna's, if there is enough for it
    app.button(key="best so far").click().run()
    assert app.query_params["trial"] == str(best.number)
    reader.close()


def test_trials_that_no_verdict_has_compared_are_counted(opened: Opener, copied: Path) -> None:
    assert "no verdict has compared" not in said(opened("study", copied, study="confirmed"))
    with closing(sqlite3.connect(copied)) as base, base:
        base.execute("UPDATE confirmations SET created = '2020-01-01 00:00:00.000000'")
    assert "6 trials have completed since then" in said(opened("study", copied, study="confirmed"))


def test_study_without_verdict_says_how_to_get_one(opened: Opener, whole: Path) -> None:
    for page in ("study", "leaderboard"):
        assert "study.confirm(task" in said(opened(page, whole, study="plain"))


@pytest.mark.parametrize("page", PAGES[1:])
def test_study_without_trials_says_how_to_start(opened: Opener, whole: Path, page: str) -> None:
    assert "study.optimize(task, n_trials=100)" in said(opened(page, whole, study="empty"))


def test_leaderboard_ranks_and_joins_the_verdict(opened: Opener, whole: Path) -> None:
    app = opened("leaderboard", whole, study="confirmed")
    said(app)
    verdict, ranking = (table.value for table in app.dataframe)
    assert verdict["verdict"].iloc[0] == "baseline"
    values = list(ranking["accuracy"])
    assert values == sorted(values, reverse=True)
    words = dict(zip(ranking["trial"], ranking["verdict"], strict=True))
    for number, word in zip(verdict["trial"], verdict["verdict"], strict=True):
        if number in words:
            assert words[number] == word


def test_trials_filter_and_download(opened: Opener, whole: Path) -> None:
    app = opened("trials", whole, study="confirmed")
    said(app)
    everything = len(app.dataframe[0].value)
    assert everything >= 7
    assert len(app.download_button) == 1
    app.multiselect(key="states").set_value(["DUPLICATE"]).run()
    said(app)
    assert set(app.dataframe[0].value["state"]) == {"duplicate"}
    app.multiselect(key="states").set_value([]).run()
    app.text_input(key="words").set_value("TANH").run()
    said(app)
    assert 0 < len(app.dataframe[0].value) < everything
    app.text_input(key="words").set_value("no such word").run()
    assert "No trial matches" in said(app)


def test_candidate_shows_formula_figure_curves_and_code(opened: Opener, whole: Path) -> None:
    app = opened("activation", whole, study="confirmed", trial="0")
    text = said(app)
    assert "x * tanh(x)" in text
    assert "tanh" in app.latex[0].value
    assert len(app.get("plotly_chart")) == 4  # the function, two curves, what was seen inside
    (python,) = (block.value for block in app.code if block.language == "python")
    compile(python, "pasted", "exec")
    assert "class FoundActivation" in python


def test_candidate_without_a_number_is_the_best(opened: Opener, whole: Path) -> None:
    reader = Reader(f"sqlite:///{whole}")
    best = reader.summary(reader.study("confirmed")).best
    reader.close()
    app = opened("activation", whole, study="confirmed")
    said(app)
    assert best is not None
    assert address(app, "trial") == str(best.number)


def test_choosing_another_candidate_changes_the_address(opened: Opener, whole: Path) -> None:
    app = opened("activation", whole, study="confirmed", trial="0")
    app.selectbox(key="trial_box").set_value(2).run()
    said(app)
    assert address(app, "trial") == "2"


@pytest.mark.parametrize("trial", ["999", "-1", "one", "٣", "9" * 40, "1.5"])
def test_unknown_trial_is_a_calm_message(opened: Opener, whole: Path, trial: str) -> None:
    app = opened("activation", whole, study="confirmed", trial=trial)
    assert "There is no trial" in said(app)
    assert not app.metric


@pytest.mark.parametrize("page", only(PAGES, quick=("studies",)))
def test_missing_empty_and_foreign(opened: Opener, tmp_path: Path, page: str) -> None:
    assert "there is no database" in said(opened(page, tmp_path / "missing.db"))
    blank = tmp_path / "blank.db"
    blank.touch()
    assert "is empty: create_study" in said(opened(page, blank))
    foreign = tmp_path / "foreign.db"
    with closing(sqlite3.connect(foreign)) as base, base:
        base.execute("CREATE TABLE songs (title TEXT)")
    assert "database of another program" in said(opened(page, foreign))
    assert "no storage was given" in said(opened(page, None))


def test_noise_newer_and_no_url(opened: Opener, copied: Path, tmp_path: Path) -> None:
    page = PAGES[0]
    noise = tmp_path / "noise.db"
    noise.write_bytes(b"no database at all" * 500)
    assert "not a database" in said(opened(page, noise))
    with closing(sqlite3.connect(copied)) as base, base:
        base.execute("UPDATE actsearch_schema SET version_num = '9999'")
    assert "9999" in said(opened(page, copied))
    assert "not a storage URL" in said(opened(page, "nonsense"))


@pytest.mark.parametrize("page", PAGES)
def test_storage_without_studies(opened: Opener, copied: Path, page: str) -> None:
    with closing(sqlite3.connect(copied)) as base, base:
        base.execute("PRAGMA foreign_keys = ON")
        base.execute("DELETE FROM studies")
    assert "acs.create_study" in said(opened(page, copied))


def raw_markdown(app: AppTest) -> str:
    kinds = (app.title, app.header, app.subheader, app.caption, app.markdown,
             app.info, app.success, app.warning, app.error)  # fmt: skip
    return "\n".join(str(element.value) for kind in kinds for element in kind) + "\n".join(
        metric.label for metric in app.metric
    )


@pytest.mark.parametrize(
    ("page", "trial"),
    [(page, None) for page in PAGES] + [("activation", str(number)) for number in range(4)],
)
def test_hostile_text_stays_text_and_stays_as_it_was(
    opened: Opener, hostile: Path, evil: str, page: str, trial: str | None
) -> None:
    query = {} if trial is None else {"trial": trial}
    if page != "studies":
        query["study"] = evil
    with closing(sqlite3.connect(hostile)) as base:
        before = list(base.iterdump())
        app = opened(page, hostile, **query)
        said(app)
        assert list(base.iterdump()) == before  # no page writes
    raw = raw_markdown(app)
    for live in (
        r"<img",
        r"<b\>",
        r"\*strong",
        r"\[click",
        r"\$x",
        r"\$\\",
        r":red",
        r"https:\/\/",
    ):
        assert not re.search(r"(?<!\\)" + live, raw)
    for chart in app.get("plotly_chart"):
        assert "<img" not in chart.proto.spec
        assert "<b>bold" not in chart.proto.spec


def test_no_cell_of_a_csv_is_taken_for_a_formula(hostile: Path, evil: str) -> None:
    view = open_store(f"sqlite:///{hostile}").view(evil)
    rows = list(csv.reader(io.StringIO(trials_csv(view, Filters(), "newest first"), newline="")))
    cells = [cell for row in rows[1:] for cell in row if not re.fullmatch(r"[-+.\de]*", cell)]
    assert f"'{evil}" in cells
    assert not [cell for cell in cells if cell[0] in "=+-@\t\r\n"]


def test_a_formula_that_no_longer_parses_leaves_the_rest(
    opened: Opener, hostile: Path, evil: str
) -> None:
    app = opened("activation", hostile, study=evil, trial="0")
    assert "cannot be read as an activation" in said(app)
    assert len(app.get("plotly_chart")) == 3  # its epochs, and what was seen inside


def test_code_to_paste_holds_nothing_of_a_hostile_label(
    opened: Opener, hostile: Path, evil: str
) -> None:
    app = opened("activation", hostile, study=evil, trial="1")
    (python,) = (block.value for block in app.code if block.language == "python")
    compile(python, "pasted", "exec")
    assert "\nimport os" not in python


@pytest.mark.parametrize("page", only(PAGES, quick=("activation",)))
def test_pages_never_write(opened: Opener, copied: Path, page: str) -> None:
    with closing(sqlite3.connect(copied)) as base:
        before = list(base.iterdump())
    said(opened(page, copied))
    with closing(sqlite3.connect(copied)) as base:
        assert list(base.iterdump()) == before


@pytest.mark.parametrize("page", PAGES[1:-1])
def test_a_running_study_has_a_switch_and_is_drawn(
    opened: Opener, copied: Path, page: str
) -> None:
    storage = Storage(f"sqlite:///{copied}")
    storage.lease(storage.study("confirmed")).acquire()
    moment = "2026-01-01 00:00:00.000000"
    with closing(sqlite3.connect(copied)) as base, base:
        base.execute("UPDATE trials SET completed = ?, created = ?", (moment, moment))
    app = opened(page, copied, study="confirmed")
    assert app.toggle(key="live").value is True
    assert "running now" in said(app)
    assert page != "study" or "No trial has ended for more than 10 minutes" in said(app)
    if page == "study":
        app.toggle(key="live").set_value(False).run()
        said(app)


def test_changes_are_seen_although_reading_is_cached(opened: Opener, copied: Path) -> None:
    app = opened("study", copied, study="confirmed")
    with closing(sqlite3.connect(copied)) as base, base:
        base.execute("UPDATE trials SET state = 'FAILED' WHERE state = 'COMPLETE'")
    app.run()
    assert "All 6 trained trials failed" in said(app)


@pytest.mark.parametrize("script", ["app.py", "entry/serve.py"])
def test_the_app_starts_with_the_list_of_studies(
    monkeypatch: pytest.MonkeyPatch, whole: Path, script: str
) -> None:
    monkeypatch.setattr(sys, "argv", ["app.py", f"sqlite:///{whole}"])
    path = Path(actsearch_dashboard.__path__[0]) / script
    app = AppTest.from_file(path, default_timeout=30).run()
    said(app)
    assert app.header[0].value == "Studies"
    box = app.sidebar.selectbox(key="study_box")
    assert box.value == "confirmed"
    box.set_value("plain").run()
    said(app)
    assert address(app, "study") == "plain"


TAMPERED = {
    "no JSON": (("activations", "parents", "warnings", "user_attrs"), "{"),
    "JSON of another kind": (("activations", "parents", "warnings", "user_attrs"), '["=1+1"]'),
    "deep JSON": (("activations", "parents", "warnings", "user_attrs"), "[" * 50_000),
    "no state, no time": (("state", "created", "started", "completed"), "<b>=1+1</b>"),
    "no numbers": (("spread", "seconds"), "<b>=1+1</b>"),
}


@pytest.mark.parametrize(("page", "kind"), pairs(PAGES, TAMPERED))
def test_one_tampered_trial_leaves_the_others_to_be_seen(
    opened: Opener, copied: Path, page: str, kind: str
) -> None:
    columns, value = TAMPERED[kind]
    with closing(sqlite3.connect(copied)) as base, base:
        base.execute("PRAGMA ignore_check_constraints = ON")
        for column in columns:
            base.execute(
                f"UPDATE trials SET {column} = ? WHERE number = 0 AND study_id = "
                "(SELECT id FROM studies WHERE name = 'confirmed')",
                (value,),
            )
    query = {"trial": "0"} if page == "activation" else {}
    if page != "studies":
        query["study"] = "confirmed"
    app = opened(page, copied, **query)
    assert "confirmed" in said(app) or page == "studies"
    if page == "trials":
        frame = app.dataframe[0].value
        assert len(frame) >= 7
        assert (frame["activation"] != "unreadable").sum() >= 6


@pytest.mark.parametrize(
    ("table", "value"), pairs(("studies", "confirmations", "leases"), ("{", '["=1+1"]'))
)
@pytest.mark.parametrize("page", only(PAGES, quick=("study", "leaderboard")))
def test_a_tampered_study_is_shown_beside_the_others(
    opened: Opener, copied: Path, page: str, value: str, table: str
) -> None:
    columns = {
        "studies": ("space", "strategy", "task", "versions", "user_attrs", "pruner", "created"),
        "confirmations": ("verdict", "created"),
        "leases": ("owner", "host", "renewed", "acquired", "process"),
    }[table]
    storage = Storage(f"sqlite:///{copied}")
    storage.lease(storage.study("confirmed")).acquire()
    with closing(sqlite3.connect(copied)) as base, base:
        base.execute("PRAGMA ignore_check_constraints = ON")
        for column in columns:
            where = "name = 'confirmed'" if table == "studies" else "TRUE"
            base.execute(f"UPDATE {table} SET {column} = ? WHERE {where}", (value,))
    said(opened(page, copied, **({} if page == "studies" else {"study": "confirmed"})))
    said(opened(page, copied, **({} if page == "studies" else {"study": "plain"})))
