"""A database that somebody tampered with: nothing of it is run, and what was not touched stays readable."""

from __future__ import annotations

import csv
import json
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from sqlalchemy import JSON, DateTime, Float
from torch import nn

import actsearch as acs
from actsearch.cli import main
from actsearch.records import Score
from actsearch.report import Reader
from actsearch.report.tables import escape_csv_formula
from actsearch.storage import Storage
from actsearch.storage.column_types import StorableText, UtcDateTime
from actsearch.storage.tables import Base

EVIL = "=cmd|' /C calc'!A0 \x1b[2J\x07 <script>alert(1)</script> '; DROP TABLE trials; -- {code}"
CHANGED = 1  # number of the trial that is tampered with
TEXTS = (StorableText, UtcDateTime, DateTime, Float)

COLUMNS = [
    f"{name}.{column.name}"
    for name, table in Base.metadata.tables.items()
    for column in table.columns
    if isinstance(column.type, (JSON, *TEXTS))
]
VALUES = {
    "text": "{evil}",
    "JSON text": '"{evil}"',
    "JSON list": '["{evil}", {{"a": 1}}, null]',
    "JSON object": '{{"{evil}": {{"formula": "{evil}", "name": "{evil}", "hyperparameters": {{"{evil}": "{evil}"}}}}}}',
    "deep JSON": "[" * 100_000,
    "empty": "",
}  # fmt: skip
QUICK = {
    ("studies.name", "text"),
    ("studies.strategy", "JSON list"),
    ("trials.state", "text"),
    ("trials.activations", "text"),
    ("trials.activations", "JSON object"),
    ("trials.reason", "text"),
    ("trials.created", "text"),
    ("confirmations.verdict", "JSON object"),
    ("leases.owner", "text"),
}
"""What every run of the tests looks at; all the others are slow in their number."""

WHERE = {
    "trials": f"number = {CHANGED} AND study_id = 1",
    "trial_values": f"trial_id = (SELECT id FROM trials WHERE number = {CHANGED} AND study_id = 1)",
    "evaluations": f"trial_id = (SELECT id FROM trials WHERE number = {CHANGED} AND study_id = 1)",
    "epochs": "epoch = 1 AND evaluation_id = (SELECT e.id FROM evaluations e JOIN trials t ON t.id = e.trial_id "
    f"WHERE t.number = {CHANGED} AND t.study_id = 1)",
    "studies": "id = 1",
    "diagnostics.stage": "stage = 'start'",  # part of the key: both rows of a site cannot have one
}  # fmt: skip


def _model() -> nn.Module:
    return nn.Sequential(nn.Linear(2, 4), nn.ReLU(), nn.Linear(4, 2))


def _task() -> acs.Task:
    x = torch.randn(48, 2, generator=torch.Generator().manual_seed(0))
    y = (x[:, 0] * x[:, 1] > 0).long()
    return acs.Task(
        tune_lr=False,
        model=_model, train=(x[:16], y[:16]), valid=(x[16:32], y[16:32]), test=(x[32:], y[32:]),
        loss=F.cross_entropy, metric="loss", epochs=2, batch_size=16, device="cpu",
    )  # fmt: skip


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Studies "s", with a verdict, and "bystander"; the lease of "s" is held by this process."""
    path = tmp_path_factory.mktemp("doctored") / "whole.db"
    url = f"sqlite:///{path}"
    for name in ("s", "bystander"):
        study = acs.create_study(study_name=name, storage=url, strategy="random")
        for formula in ("x*tanh(x)", "sin(x)", "x*sigmoid(2*x)"):
            study.enqueue_trial(formula)
        study.optimize(_task(), n_trials=3, show_progress_bar=False)
    study = acs.load_study(study_name="s", storage=url)
    study.confirm(_task(), top_k=1, seeds=2, show_progress_bar=False)
    storage = Storage(url)
    lease = storage.lease(storage.study("s"))
    lease.acquire()
    begun = storage.begin_confirmation(1, "interrupted", "cpu", lease)
    storage.add_scores(begun, {"training": Score(0.5, 0.5, False)}, lease)
    return path


@pytest.fixture
def copy(whole: Path, tmp_path: Path) -> Path:
    copied = tmp_path / "copy.db"
    with closing(sqlite3.connect(whole)) as source, closing(sqlite3.connect(copied)) as target:
        source.backup(target)
    return copied


@pytest.fixture
def code(tmp_path: Path) -> Iterator[str]:
    """Python that would leave a file behind; at the end there is none."""
    target = tmp_path / "made"
    yield f"__import__('pathlib').Path('{target}').touch()"
    assert not target.exists()


def _tamper(path: Path, column: str, value: str) -> None:
    table, name = column.split(".")
    where = WHERE.get(column) or WHERE.get(table, "TRUE")
    with closing(sqlite3.connect(path)) as base, base:
        base.execute("PRAGMA ignore_check_constraints = ON")
        changed = base.execute(f"UPDATE {table} SET {name} = ? WHERE {where}", (value,))
        assert changed.rowcount >= 1


def _rows(reader: Reader, name: str) -> list[tuple[Any, ...]]:
    return [
        (t.number, t.state, t.value, t.candidate, t.reason, t.evaluations)
        for t in reader.trials(reader.study(name), epochs=True)
    ]


def _frame(reader: Reader, name: str, changed: int | None = CHANGED) -> list[str]:
    """What tables of many trials show, but for the trial that was tampered with."""
    frame = reader.frame(reader.study(name))
    return frame[frame["number"] != changed].astype(str).to_csv().splitlines()


def _untouched(rows: list[tuple[Any, ...]]) -> list[tuple[Any, ...]]:
    return [row for row in rows if row[0] != CHANGED]


@pytest.mark.parametrize(
    ("column", "kind"),
    [
        pytest.param(column, kind, marks=[] if (column, kind) in QUICK else pytest.mark.slow)
        for column in COLUMNS
        for kind in VALUES
    ],
)
def test_the_rest_stays_readable(
    whole: Path,
    copy: Path,
    code: str,
    column: str,
    kind: str,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
) -> None:
    before = Reader(f"sqlite:///{whole}")
    evil = EVIL.format(code=code)
    if kind.startswith("JSON"):
        evil = json.dumps(evil)[1:-1]
    value = VALUES[kind].format(evil=evil)
    _tamper(copy, column, value)
    url, name = f"sqlite:///{copy}", value if column == "studies.name" else "s"

    reader = Reader(url)  # as the dashboard does
    assert _untouched(_rows(reader, name)) == _untouched(_rows(before, "s"))
    assert _rows(reader, "bystander") == _rows(before, "bystander")
    assert _frame(reader, name) == _frame(before, "s")
    assert _frame(reader, "bystander", None) == _frame(before, "bystander", None)
    assert len(reader.summaries()) == 2
    for stored in reader.studies():
        reader.verdicts(stored)

    study = acs.load_study(study_name=name, storage=url)
    trials = study.trials
    assert len(trials) == len(_rows(before, "s"))
    assert len(study.trials_dataframe()) == len(trials)
    assert study.best_trial.state.name == "COMPLETE"
    assert len(study.optuna_study.trials) == 3
    for trial in trials:
        try:
            trial.candidate.module()
        except acs.ActsearchError:
            assert trial.number == CHANGED

    for command in (["list"], ["show", name], ["doctor"]):
        words = [*command, url] if command == ["doctor"] else [*command, "--storage", url]
        ended = main(words)
        if command != ["doctor"]:
            assert ended == 0
        elif column in ("trials.state", "trials.activations", "confirmations.verdict"):
            assert ended == 1  # of a text that may be any text it cannot know
    for target in ("csv", "json"):
        assert (
            main(["export", name, "--storage", url, "--to", target, str(tmp_path / target)]) == 0
        )
    said = capsys.readouterr()
    assert all(c.isprintable() or c == "\n" for c in said.out + said.err)
    json.loads((tmp_path / "json").read_text("utf-8"))
    with (tmp_path / "csv").open(newline="", encoding="utf-8") as file:
        for cells in list(csv.reader(file))[1:]:
            assert all(cell == escape_csv_formula(cell) or _is_number(cell) for cell in cells)
    before.close()
    reader.close()


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


@pytest.mark.parametrize(
    ("strategy", "name", "hyperparameters"),
    [
        ("bayesian", None, {"alpha": "1; {code}"}),
        *(
            pytest.param(*case, marks=pytest.mark.slow)
            for case in [
                ("bayesian", "{code}", {}), ("bayesian", "elu", {"alpha": [{"a": 1}]}),
                ("genetic", None, {}), ("genetic", "{code}", {"alpha": [{"a": 1}]}),
                ("genetic", "elu", {"alpha": "1; {code}"}), ("random", None, {"alpha": [{"a": 1}]}),
                ("random", "{code}", {"alpha": "1; {code}"}), ("random", "elu", {}),
            ]
        ),
    ],
)  # fmt: skip
def test_a_search_goes_on_beside_a_formula_that_is_none(
    code: str, strategy: str, name: str | None, hyperparameters: dict[str, Any], tmp_path: Path
) -> None:
    url = f"sqlite:///{tmp_path}/mine.db"
    study = acs.create_study(study_name="s", storage=url, strategy=strategy)
    study.optimize(_task(), n_trials=6, show_progress_bar=False)
    item = {"formula": code, "name": name, "hyperparameters": hyperparameters, "label": code}
    text = json.dumps({"*": item}).replace("{code}", code)
    _tamper(tmp_path / "mine.db", "trials.activations", text)
    study = acs.load_study(study_name="s", storage=url)
    study.optimize(_task(), n_trials=30, show_progress_bar=False)
    assert sum(trial.state.is_trained for trial in study.trials) == 36
    if name != "elu" or hyperparameters:
        with pytest.raises(acs.ActsearchError):
            study.trials[CHANGED].candidate.module()


def test_a_waiting_formula_that_is_none_is_refused_when_its_turn_comes(
    code: str, tmp_path: Path
) -> None:
    url = f"sqlite:///{tmp_path}/mine.db"
    study = acs.create_study(study_name="s", storage=url, strategy="random")
    study.enqueue_trial("tanh")
    study.enqueue_trial("x*tanh(x)")
    item: dict[str, Any] = {"formula": code, "name": None, "hyperparameters": {}, "label": code}
    _tamper(tmp_path / "mine.db", "trials.activations", json.dumps({"*": item}))
    study.optimize(_task(), n_trials=2, show_progress_bar=False)
    assert study.trials[CHANGED].state.name == "REJECTED"


@pytest.mark.parametrize(
    "name", ["../../outside", "/etc/passwd", "a/b", "..", "x\0y".replace("\0", "")]
)
def test_no_file_is_named_after_a_study(
    tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "a" / "b"
    folder.mkdir(parents=True)
    monkeypatch.chdir(folder)
    study = acs.create_study(study_name=name, storage="sqlite:///mine.db", strategy="random")
    study.enqueue_trial("tanh")
    study.optimize(_task(), n_trials=1, show_progress_bar=False)
    for kind in ("csv", "json"):
        assert main(["export", name, "--storage", "mine.db", "--to", kind, f"out.{kind}"]) == 0
    assert main(["show", name, "--storage", "mine.db"]) == 0
    made = {path.name.removesuffix("-wal").removesuffix("-shm") for path in folder.iterdir()}
    assert made == {"mine.db", "out.csv", "out.json"}
    assert [path.name for path in tmp_path.rglob("*") if path.is_file()].count("out.csv") == 1
    assert {path.name for path in tmp_path.iterdir()} == {"a"}


@pytest.mark.parametrize("start", ["=", "+", "-", "@", "\t", "\r", "\n"])
def test_a_cell_that_a_spreadsheet_would_run_is_disarmed_and_numbers_stay_numbers(
    copy: Path, start: str, tmp_path: Path
) -> None:
    text = f"{start}HYPERLINK(1)\r=2+2\n=3+3"  # nor may a line break within it begin a row
    for column in ("reason", "operation"):
        _tamper(copy, f"trials.{column}", text)
    item: dict[str, Any] = {"formula": text, "name": None, "hyperparameters": {}, "label": text}
    _tamper(copy, "trials.activations", json.dumps({"*": item}))
    _tamper(copy, "trials.warnings", json.dumps([text]))
    _tamper(copy, "trial_values.value", "-0.5")
    url = f"sqlite:///{copy}"
    assert main(["export", "s", "--storage", url, "--to-csv", str(tmp_path / "out.csv")]) == 0
    with (tmp_path / "out.csv").open(newline="", encoding="utf-8") as file:
        row = next(row for row in csv.DictReader(file) if row["number"] == str(CHANGED))
    for column in ("reason", "operation", "formula", "activation", "warnings"):
        assert row[column] == f"'{text}"
    assert row["value"] == "-0.5"
