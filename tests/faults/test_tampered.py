"""A database in which every stored field in turn was changed: whichever way its content leaves, none of it runs."""

from __future__ import annotations

import csv
import itertools
import json
import logging
import math
import re
import sqlite3
import warnings
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import optuna
import pytest
from driven import opened_optuna
from tampering import Field, check_python, fields, hostile, leaves, make, replaced, tamper

import actsearch as acs
from actsearch.cli import main
from actsearch.export import average_learned
from actsearch.report import Reader, Verdict, first_diagnostics
from actsearch.report.json_view import trial_json
from actsearch.report.tables import escape_csv_formula

_EXECUTED = re.compile(r"\\(?:href|input|include|url|write|immediate|catcode)")


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("tampered") / "whole.db"
    make(path)
    return path


@pytest.fixture
def marker(tmp_path: Path) -> Iterator[Path]:
    """A file that only code from the database would make."""
    path = tmp_path / "ran"
    yield path
    assert not path.exists()


class _Ways:
    """Every way out, each by itself: an error of ours is an answer, any other one is not."""

    def __init__(self, path: Path, folder: Path) -> None:
        self.url, self.folder = f"sqlite:///{path}", folder
        self.codes: set[str] = set()
        self.drawn: set[str] = set()
        self.drawings = math.inf  # at most
        self.refused: list[str] = []

    def tried(self, way: Callable[[], Any]) -> Any:
        try:
            return way()
        except acs.ActsearchError as error:
            self.refused.append(str(error))
            return None

    def python(self, what: Any, **more: Any) -> None:
        code = self.tried(lambda: acs.to_python(what, **more))
        if code is not None and code not in self.codes:
            self.codes.add(code)
            check_python(code, self.folder)

    def plot(self, what: Any) -> None:
        if str(what) not in self.drawn:  # drawing takes the most
            self.drawn.add(str(what))
            if len(self.drawn) <= self.drawings:
                self.tried(lambda: acs.plot(what))

    def read(self) -> None:
        """What the dashboard reads."""
        reader = self.tried(lambda: Reader(self.url))
        if reader is None:
            return
        self.tried(reader.summaries)
        for record in self.tried(reader.studies) or []:
            trials = self.tried(lambda: reader.trials(record, epochs=True, diagnostics=True)) or []  # noqa: B023
            self.tried(lambda: reader.frame(record))  # noqa: B023
            self.tried(lambda: reader.pruning(record, [trial.number for trial in trials]))  # noqa: B023
            self.tried(lambda: reader.run_goal(record))  # noqa: B023
            for trial in trials:
                json.loads(trial_json(record.name, trial), parse_constant=pytest.fail)
                seen = first_diagnostics(trial)
                for item in trial.candidate.activations.values():
                    if seen is not None and seen.end:
                        self.learned(item, dict(seen.end[0].learned))
            for _, verdict in self.tried(lambda: reader.verdicts(record)) or []:  # noqa: B023
                self.verdict(verdict)
        reader.close()

    def learned(self, item: Any, values: dict[str, Any]) -> None:
        module = self.tried(lambda: average_learned(item, values))
        if module is not None:
            self.python(module)

    def verdict(self, verdict: Verdict) -> None:
        assert str(verdict).replace("\n", "").isprintable()
        json.dumps(verdict.to_json(), allow_nan=False)
        self.python(verdict)
        for row in (verdict.baseline, *verdict.rows):
            assert verdict.remark(row).isprintable()
            self.python(row)
            self.plot(row)
            self.python("tanh(x)", note=verdict.remark(row))

    def study(self, name: str) -> None:
        """What the Python API gives."""
        study = self.tried(lambda: acs.load_study(study_name=name, storage=self.url))
        if study is None:
            return
        repr(study)
        for way in (
            study.trials_dataframe,
            study.diagnostics_dataframe,
            lambda: study.best_trial,
            lambda: study.pruning,
        ):
            self.tried(way)
        made = self.tried(lambda: study.optuna_study)
        assert made is None or made.trials is not None
        for verdict in self.tried(lambda: study.verdicts) or []:
            self.verdict(verdict)
        trials = self.tried(lambda: study.trials) or []
        waiting = [trial for trial in trials if trial.state.is_open]
        for trial in [*(trial for trial in trials if trial not in waiting), *waiting[:1]]:
            repr(trial)
            self.python(trial)
            if trial.state.is_trained:
                self.plot(trial.candidate)
            for item in trial.record.candidate.activations.values():
                if str(item) not in self.drawn:
                    self.drawn.add(str(item))
                    self.python(item)
            tree = self.tried(lambda: trial.candidate.expression)  # noqa: B023
            if tree is not None:
                assert not _EXECUTED.search(tree.latex())
        study._storage.database.close()

    def command_line(self, name: str, capsys: pytest.CaptureFixture[str]) -> None:
        where = ["--storage", self.url]
        self.command(["show", *where, "--", name], capsys)
        for kind in ("csv", "json", "optuna"):
            target = self.folder / f"out.{kind}"
            self.command(["export", *where, "--to", kind, str(target), "--", name], capsys)
            if target.exists():
                self.file(kind, target)
                target.unlink()

    def command(self, words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
        assert main(words) in (0, 1)
        said = capsys.readouterr()
        assert all(c.isprintable() or c == "\n" for c in said.out + said.err)

    def file(self, kind: str, target: Path) -> None:
        if kind == "json":
            json.loads(target.read_text("utf-8"), parse_constant=pytest.fail)
        elif kind == "csv":
            csv.field_size_limit(100_000_000)
            with target.open(newline="", encoding="utf-8") as file:
                for cell in (cell for row in csv.reader(file) for cell in row):
                    assert cell == escape_csv_formula(cell) or re.fullmatch(
                        r"-(inf|[\d.e+-]+)", cell
                    )
        else:
            with opened_optuna(f"sqlite:///{target}") as storage:
                for found in optuna.get_all_study_summaries(storage):
                    optuna.load_study(study_name=found.study_name, storage=storage)


def _names(path: Path) -> list[str]:
    with closing(sqlite3.connect(path)) as base:
        base.text_factory = lambda raw: raw.decode("utf-8", "replace")
        return [str(name) for (name,) in base.execute("SELECT name FROM studies")]


def _study_of(path: Path, field: Field) -> int:
    """Which study, counted from 0, a changed field belongs to; the first for what belongs to none."""
    joined = {
        "studies": "SELECT rowid FROM studies",
        "trials": "SELECT study_id FROM trials",
        "trial_values": "SELECT study_id FROM trial_values JOIN trials ON id = trial_id",
        "confirmations": "SELECT study_id FROM confirmations",
        "leases": "SELECT study_id FROM leases",
    }
    if field.table not in joined:
        return 0
    with closing(sqlite3.connect(path)) as base:
        owners = [owner for (owner,) in base.execute(joined[field.table])]
    owner = owners[field.row] if field.row < len(owners) else 1
    return owner - 1 if owner in (1, 2, 3) else 0


_DRAWN: set[str] = set()  # what has been drawn once is not drawn again, it takes the most


def _every_way_out(
    path: Path,
    folder: Path,
    capsys: pytest.CaptureFixture[str],
    field: Field | None = None,
    drawings: float = math.inf,
) -> _Ways:
    ways, names = _Ways(path, folder), _names(path)
    ways.drawn, ways.drawings = _DRAWN, drawings
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of Optuna and pandas, about odd numbers
        ways.read()
        for words in (["list", "--storage", ways.url], ["doctor", ways.url]):
            ways.command(words, capsys)
        for name in names if field is None else [names[_study_of(path, field)]]:
            ways.study(name)
            ways.command_line(name, capsys)
    return ways


def test_of_a_database_that_nobody_changed_everything_goes_out(
    whole: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    ways = _every_way_out(whole, tmp_path, capsys, drawings=4)
    assert len(ways.codes) > 15
    assert not [text for text in ways.refused if "damaged" in text or "cannot be read" in text]


def test_every_table_and_column_is_tampered_with(whole: Path) -> None:
    found = {(field.table, field.column) for field in fields(whole)}
    with closing(sqlite3.connect(whole)) as base:
        tables = [
            name for (name,) in base.execute("SELECT name FROM sqlite_master WHERE type = 'table'")
        ]
        for table in tables:
            for row in base.execute(f"PRAGMA table_info({table})"):
                assert (table, row[1]) in found
    assert len(fields(whole)) > 250


_HUGE = 100_000  # in the quick suite


_TELLING = ("docstring", "terminal")  # one that would run in Python, one that a terminal obeys


@pytest.mark.parametrize(
    "names", [_TELLING, pytest.param((), marks=pytest.mark.slow)], ids=["telling", "all"]
)
def test_every_place_of_a_verdict_with_every_value(
    whole: Path, marker: Path, tmp_path: Path, names: tuple[str, ...]
) -> None:
    with closing(sqlite3.connect(whole)) as base:
        stored = [
            json.loads(text) for (text,) in base.execute("SELECT verdict FROM confirmations")
        ]
    values, ways, read = hostile(marker, _HUGE), _Ways(whole, tmp_path), 0
    values = {name: values[name] for name in names or values}
    for data in stored if not names else stored[::2]:  # of one activation, and of several
        for steps in leaves(data):
            for value in values.values():
                changed = json.loads(json.dumps(replaced(data, steps, value)))
                verdict = ways.tried(lambda: Verdict.from_json(changed))  # noqa: B023
                if verdict is not None:
                    read += 1
                    assert len(str(verdict)) < 100_000
                    assert str(verdict).replace("\n", "").isprintable()
                    json.dumps(verdict.to_json(), allow_nan=False)
                    again = verdict.to_json()
                    assert Verdict.from_json(again).to_json() == again
                    ways.python(verdict)
    assert read > 100 * len(values) < len(ways.refused)


QUICK = [
    ("studies.name", "terminal"), ("studies.seed", "docstring"), ("trials.number", "call"),
    ("trials.activations.*.hyperparameters.negative_slope.the key", "argument"),
    ("trials.activations.depth:1/3.the key", "docstring"),
    ("confirmations.verdict.rows.1.activation.groups.depth:1/3.the key", "lines"),
]  # fmt: skip


@pytest.mark.parametrize(("where", "what"), QUICK)
def test_a_field_that_was_changed_runs_nowhere(
    whole: Path,
    tmp_path: Path,
    marker: Path,
    capsys: pytest.CaptureFixture[str],
    where: str,
    what: str,
) -> None:
    field = next(
        field for field in fields(whole) if re.sub(r"\.\d+", "", str(field), count=1) == where
    )
    copy = tmp_path / "copy.db"
    assert tamper(whole, copy, field, hostile(marker, _HUGE)[what])
    _every_way_out(copy, tmp_path, capsys, field)


_PARTS = 8  # for processes that share the work; a verdict has most of the fields
TABLES = ("studies", "environments", "trials", "trial_values", "evaluations", "epochs", "diagnostics", "functions",
          "confirmations", "open_confirmations", "confirmation_trainings", "looks", "leases",
          "actsearch_schema")  # fmt: skip


@pytest.mark.slow
@pytest.mark.timeout(0)
@pytest.mark.parametrize("part", range(_PARTS))
@pytest.mark.parametrize("table", TABLES)
def test_every_field_with_one_value_after_the_other_runs_nowhere(
    whole: Path,
    tmp_path: Path,
    marker: Path,
    capsys: pytest.CaptureFixture[str],
    table: str,
    part: int,
) -> None:
    """All of them with all values would take a day: each field has the next value in turn."""
    copy, values = tmp_path / "copy.db", itertools.cycle(hostile(marker).items())
    logging.getLogger("actsearch").setLevel(logging.ERROR)
    of_table = [field for field in fields(whole) if field.table == table]
    for field, (what, value) in list(zip(of_table, values, strict=False))[part::_PARTS]:
        if tamper(whole, copy, field, value):
            try:
                _every_way_out(copy, tmp_path, capsys, field)
            except BaseException as error:
                error.add_note(f"{field} with {what}")
                raise
            assert not marker.exists(), field


def test_no_table_is_forgotten(whole: Path) -> None:
    assert {field.table for field in fields(whole)} <= set(TABLES)
