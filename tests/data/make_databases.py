"""Make the frozen databases of this folder, one for each schema: ``python tests/data/make_databases.py 0001``.

A file is made once, when its schema is new, and never again; tests upgrade and read what a version left behind.
Rows are written as plain SQL, so that nothing of the present version but its migrations takes part.
"""

from __future__ import annotations

import json
import runpy
import struct
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from alembic.operations import Operations
from alembic.runtime.migration import MigrationContext

from actsearch.storage.database import VERSION_TABLE
from actsearch.storage.migrations import stamp, upgrade

__all__ = ["FOLDER", "fill", "make_tables", "revisions"]

FOLDER = Path(__file__).parent
_TIME = "2026-11-21 10:00:00.000000"
_VERSIONS = {"python": "3.11.7", "actsearch": "0.1.0", "torch": "2.13.0", "optuna": "5.0.0"}
_SPACE = {
    "activations": ["relu", "silu", "tanh"],
    "operators": ["add", "mul", "tanh"],
    "max_size": 9,
    "max_depth": 4,
    "sites": "shared",
    "given": {"activations": None, "operators": None},
}

# number, formula, state, (value, text), reason, duplicate of
TRIALS = (
    (0, "tanh(x)", "COMPLETE", (0.1, None), "", None),
    (1, "x * tanh(x)", "COMPLETE", (0.30000000000000004, None), "", None),
    (2, "tanh(tanh(x))", "PRUNED", (None, "nan"), "stopped at epoch 1 of 2: loss is nan", None),
    (3, "x + x", "FAILED", None, "ValueError: it's no 'number' – ünï", None),
    (4, "x * x * x", "REJECTED", None, "too steep", None),
    (5, "tanh(x)", "DUPLICATE", None, "", 0),
    (6, "x + tanh(x)", "RUNNING", None, "", None),
    (7, "tanh(x) + tanh(x)", "WAITING", None, "", None),
)


def revisions() -> list[str]:
    """Every released schema, oldest first."""
    versions = Path(upgrade.__code__.co_filename).parent / "versions"
    return sorted(path.name.partition("_")[0] for path in versions.glob("[0-9]*.py"))


def _row(formula: str, number: int | None, mean: float) -> dict[str, Any]:
    return {
        "formula": formula, "label": formula, "mean": mean, "difference": 0.0, "low": 0.0, "high": 0.0,
        "p_value": 1.0, "verdict": "too few seeds" if number is not None else "baseline",
        "values": [mean, mean], "as_given": "nan", "learning_rate": 0.01, "diverged": 0, "number": number,
        "is_catalog": False, "activation": None,
    }  # fmt: skip


def _verdict() -> dict[str, Any]:
    return {
        "study_name": "frozen", "metric": "loss", "direction": "minimize", "seeds": 2, "comparisons": 1,
        "baseline": _row("ReLU", None, 0.5), "rows": [_row("tanh(x)", 0, 0.25)], "winner": 1,
        "versus_catalog": None, "visible_difference": 0.5, "min_effect": None, "validation_only": False,
    }  # fmt: skip


def _trial(number: int, formula: str, state: str, reason: str, original: int | None) -> Any:
    activation: dict[str, Any] = {
        "formula": formula,
        "name": None,
        "hyperparameters": {},
        "label": formula,
    }
    ended = state in ("COMPLETE", "PRUNED", "FAILED")
    return {
        "id": number + 1, "study_id": 1, "number": number, "state": state,
        "activations": {"*": activation}, "formula": formula, "label": formula, "operation": "random",
        "parents": [], "fingerprint": f"{number:032x}", "alias": f"{number:032x}", "duplicate_of": original,
        "spread": 0.01 if state == "COMPLETE" else None, "reason": reason, "warnings": ["steep"] if number == 1 else [],
        "user_attrs": {"note": "ä"} if number == 1 else {}, "seconds": 0.5 if ended else 0.0, "created": _TIME,
        "started": _TIME if ended or state == "RUNNING" else None, "completed": _TIME if ended else None,
    }  # fmt: skip


def _trainings(number: int, value: tuple[float | None, str | None]) -> Iterator[tuple[str, Any]]:
    yield "trial_values", {
        "trial_id": number + 1, "objective": 0, "value": value[0], "nonfinite": value[1],
    }  # fmt: skip
    for seed in (1, 2**31 - 1):
        key = 2 * number + (1 if seed == 1 else 2)
        yield "evaluations", {
            "id": key, "trial_id": number + 1, "seed": seed, "value": value[0],
            "metrics": {"loss": value[0] if value[1] is None else value[1]}, "seconds": 0.25, "reason": "",
        }  # fmt: skip
        for epoch in (1, 2):
            lost = value[1] is not None and epoch == 2
            yield "epochs", {
                "evaluation_id": key, "epoch": epoch, "train_loss": None if lost else 1.0 / epoch,
                "train_metric": None, "valid_loss": 0.5, "valid_metric": 0.5, "seconds": 0.125,
                "nonfinite": {"train_loss": "inf"} if lost else None,
            }  # fmt: skip


def _diagnosis() -> Iterator[tuple[str, Any]]:
    """Of trial 0 under its first seed."""
    for stage in ("start", "end"):
        yield "diagnostics", {
            "evaluation_id": 1, "stage": stage, "position": 0, "site": "act", "shape": [4, 2], "mean": 0.5, "sd": 1.0,
            "dead": 0.25, "zeros": 0.5, "saturation": None, "gain": None, "gradient_norm": 0.125,
            "histogram": [0.0] * 21 + [1.0], "learned": {"theta_0": [0.25, "nan"]}, "nonfinite": {"gain": "inf"},
        }  # fmt: skip


def _interrupted() -> Iterator[tuple[str, Any]]:
    """A confirmation under the key "open", with one comparison counted and two trainings."""
    yield "looks", {
        "id": 2, "test_data": "t", "comparisons": 1, "study_name": "frozen", "created": _TIME, "key": "look",
    }  # fmt: skip
    yield "open_confirmations", {
        "id": 1, "study_id": 1, "number": 1, "key": "open", "environment_id": 1, "device": "cpu", "created": _TIME,
    }  # fmt: skip
    yield "confirmation_trainings", {
        "confirmation_id": 1, "key": "good", "reason": "",
        "score": {"valid": 0.30000000000000004, "test": 0.1, "blind": False, "losses": [0.5, "inf", None]},
    }  # fmt: skip
    yield "confirmation_trainings", {
        "confirmation_id": 1, "key": "diverged", "reason": "seed 1: stopped at epoch 1 of 2: loss is nan",
        "score": {"valid": None, "test": None, "blind": False, "losses": ["nan"]},
    }  # fmt: skip


def _functions() -> Iterator[tuple[str, Any]]:
    """That of trial 0 at 81 points, as if it were f(x) = 0.5 with the derivative 0.25."""
    yield "functions", {
        "study_id": 1, "digest": bytes.fromhex("d4fc17051f1d47dc9e4b79d3091f21d3"),
        "samples": struct.pack("<162f", *[0.5] * 81, *[0.25] * 81),
    }  # fmt: skip


def _study() -> dict[str, Any]:
    return {
        "id": 1, "name": "frozen", "seed": 2**31 - 1, "direction": "minimize", "space": _SPACE,
        "strategy": {"name": "random", "settings": {"formulas": 0.5}}, "task": None, "versions": _VERSIONS,
        "user_attrs": {"task_changes": []}, "created": _TIME,
    }  # fmt: skip


def _rows(revision: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """(table, row) as the version with that schema wrote them."""
    pruner = {"pruner": {"name": "successive_halving", "settings": {}}}
    yield "studies", _study() | (pruner if revision == "0003" else {})
    if revision >= "0004":
        yield "environments", {"id": 1, "digest": "d" * 64, "versions": _VERSIONS}
    for number, formula, state, value, reason, original in TRIALS:
        row = _trial(number, formula, state, reason, original)
        if revision >= "0002":
            row["mirror"] = f"{number:032x}"
        if revision >= "0004":
            row |= {"proposed_in": 1, "trained_in": 1 if row["started"] else None}
        yield "trials", row
        if value is not None:
            for table, made in _trainings(number, value):
                if table == "evaluations" and revision >= "0005":
                    made |= {"parameters_added": 1, "loss_gap": -0.25}
                yield table, made
    if revision >= "0005":
        yield from _diagnosis()
    yield "confirmations", {
        "id": 1, "study_id": 1, "number": 0, "key": "k", "verdict": _verdict(), "created": _TIME,
    }  # fmt: skip
    yield "looks", {
        "id": 1, "test_data": "t", "comparisons": 3, "study_name": "frozen", "created": _TIME,
    }  # fmt: skip
    if revision >= "0007":
        yield from _interrupted()
    if revision >= "0008":
        yield from _functions()
    aim = {"purpose": "search", "target": 100, "until": _TIME} if revision >= "0006" else {}
    yield "leases", aim | {
        "study_id": 1, "token": "t", "owner": "somebody", "host": "elsewhere", "pid": 1, "process": "",
        "acquired": _TIME, "renewed": _TIME,
    }  # fmt: skip


def _literal(value: Any, dialect: str) -> str:
    if value is None:
        return "NULL"
    if isinstance(value, bytes):
        return f"X'{value.hex()}'" if dialect == "sqlite" else f"'\\x{value.hex()}'"
    if isinstance(value, (int, float)):
        return repr(value)
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return "'" + text.replace("'", "''") + "'"


def _insert(table: str, row: Mapping[str, Any], dialect: str) -> str:
    values = ", ".join(_literal(value, dialect) for value in row.values())
    return f"INSERT INTO {table} ({', '.join(row)}) VALUES ({values})"


def make_tables(connection: sa.Connection, revision: str) -> None:
    """Make the empty tables of a revision."""
    first = runpy.run_path(str(FOLDER / "schema_0001.py"))
    first["make_tables"](Operations(MigrationContext.configure(connection)))
    stamp(connection, "0001", VERSION_TABLE)
    upgrade(connection, revision, VERSION_TABLE)


def fill(connection: sa.Connection, revision: str) -> None:
    """Make the tables of a revision and a study in them."""
    make_tables(connection, revision)
    for table, row in _rows(revision):
        connection.exec_driver_sql(_insert(table, row, connection.dialect.name))


def _make(revision: str) -> None:
    path = FOLDER / f"schema_{revision}.db"
    if path.exists():
        raise SystemExit(f"{path} is frozen: it is what that version left behind")
    engine = sa.create_engine(f"sqlite:///{path}", poolclass=sa.NullPool)
    with engine.connect() as connection:
        connection.exec_driver_sql("PRAGMA page_size = 512")  # most tables hold a row or two
        connection.exec_driver_sql("PRAGMA journal_mode = WAL")
        fill(connection, revision)
        connection.commit()
    print(path, path.stat().st_size, "bytes")


if __name__ == "__main__":
    for wanted in sys.argv[1:]:
        _make(wanted)
