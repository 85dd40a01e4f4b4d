"""A real database, every field that it stores, and what somebody else might write into them."""

from __future__ import annotations

import ast
import contextlib
import importlib.util
import json
import re
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import nn

import actsearch as acs

__all__ = ["Field", "check_python", "fields", "hostile", "leaves", "make", "replaced", "tamper"]

_HUGE = 10_000_000  # characters


def _model() -> nn.Module:
    layers: list[nn.Module] = [nn.Linear(2, 4), nn.ReLU()]
    return nn.Sequential(
        *layers, nn.Linear(4, 4), nn.ReLU(), nn.Linear(4, 4), nn.ReLU(), nn.Linear(4, 2)
    )


def _task(**changes: Any) -> acs.Task:
    x = torch.randn(48, 2, generator=torch.Generator().manual_seed(0))
    y = (x[:, 0] * x[:, 1] > 0).long()
    settings: dict[str, Any] = dict(
        model=_model, train=(x[:16], y[:16]), valid=(x[16:32], y[16:32]), test=(x[32:], y[32:]),
        loss=F.cross_entropy, metric="loss", epochs=2, batch_size=16, device="cpu",
    )  # fmt: skip
    return acs.Task(**{"tune_lr": False} | settings | changes)


def _interrupt(study: acs.Study) -> None:
    """Begin a verdict that is not made: the test data are looked at, and some trainings are stored."""

    left = iter([True] * 12)

    def model() -> nn.Module:
        if next(left, False):
            return _model()
        raise KeyboardInterrupt

    with contextlib.suppress(KeyboardInterrupt):
        study.confirm(_task(model=model), top_k=1, seeds=3, show_progress_bar=False)


def make(path: Path) -> None:
    """Studies "s", "groups" and "two" with trials, verdicts, waiting trials and a lease."""
    url = f"sqlite:///{path}"
    study = acs.create_study(
        study_name="s", storage=url, strategy="genetic", pruner=acs.SuccessiveHalving()
    )
    for formula in ("x*tanh(x)", 'x*sigmoid(param(1.0, per="channel")*x)'):
        study.enqueue_trial(formula)
    study.enqueue_trial("leaky_relu", negative_slope=0.2)
    study.enqueue_trial("rational")  # its start, a text, is a hyperparameter
    study.optimize(_task(), n_trials=5, show_progress_bar=False)
    study.confirm(_task(), top_k=2, seeds=2, baseline="gelu", show_progress_bar=False)
    study.confirm(_task(), top_k=1, seeds=2, show_progress_bar=False)
    _interrupt(study)
    study.enqueue_trial("sin(x)")
    groups = acs.create_study(
        study_name="groups", storage=url, strategy="random", space=acs.Space(sites="per_depth")
    )
    groups.enqueue_trial({"depth:1/3": "relu", "depth:2/3": "sin", "depth:3/3": "x*tanh(x)"})
    groups.optimize(_task(), n_trials=3, show_progress_bar=False)
    groups.confirm(_task(), top_k=2, seeds=2, show_progress_bar=False)
    two = acs.create_study(
        study_name="two", storage=url, strategy="random", directions=("minimize", "minimize")
    )
    two.enqueue_trial("relu")
    two.optimize(_task(objectives=("loss", "size")), n_trials=2, show_progress_bar=False)
    with (
        closing(sqlite3.connect(path)) as base,
        base,
    ):  # as if something were better: that is written as code
        for key, text in base.execute("SELECT id, verdict FROM confirmations").fetchall():
            verdict = json.loads(text)
            verdict["winner"] = 1
            verdict["rows"][0]["verdict"] = "better"
            base.execute("UPDATE confirmations SET verdict = ? WHERE id = ?", (json.dumps(verdict), key))  # fmt: skip
        base.execute(
            "INSERT INTO leases SELECT id, 'token', 'owner', 'host', 1, 'now', created, created, 'search', 5, created "
            "FROM studies WHERE name = 'two'"
        )
    for made in (study, groups, two):
        made._storage.database.close()


Steps = tuple[Any, ...]
KEY = "the key"


class Field(NamedTuple):
    """One place in a database: a column of a row, or what lies within its JSON.

    Attributes:
        table: its name.
        row: which row of it, in the order of SQLite.
        column: its name.
        steps: keys and indices into the JSON, and at last KEY where the key itself is meant; empty for all of it.
    """

    table: str
    row: int
    column: str
    steps: Steps

    def __str__(self) -> str:
        return ".".join(map(str, (self.table, self.row, self.column, *self.steps)))


def leaves(data: Any, before: Steps = ()) -> Iterator[Steps]:
    """Places within JSON data, of lists the first two items; each key is a place of its own."""
    yield before
    if isinstance(data, dict):
        for key, item in data.items():
            yield (*before, key, KEY)
            yield from leaves(item, (*before, key))
    elif isinstance(data, list):
        for at, item in enumerate(data[:2]):
            yield from leaves(item, (*before, at))


def fields(path: Path) -> list[Field]:
    """Every field of every table, as the schema itself says, those within JSON included."""
    found: dict[tuple[str, str, Steps], Field] = {}
    with closing(sqlite3.connect(path)) as base:
        tables = base.execute("SELECT name FROM sqlite_master WHERE type = 'table'").fetchall()
        for (table,) in tables:
            names = [row[1] for row in base.execute(f"PRAGMA table_info({table})")]
            for row, cells in enumerate(base.execute(f"SELECT * FROM {table}").fetchall()):
                for column, cell in zip(names, cells, strict=True):
                    for steps in leaves(_data(cell)):
                        shape = tuple("#" if isinstance(step, int) else step for step in steps)
                        found.setdefault(
                            (table, column, shape if steps else ()),
                            Field(table, row, column, steps),
                        )
    return list(found.values())


def _data(cell: Any) -> Any:
    """JSON of a cell that has some."""
    try:
        return json.loads(cell) if isinstance(cell, str) and cell[:1] in "[{" else None
    except ValueError:
        return None


def replaced(data: Any, steps: Steps, value: Any) -> Any:
    """The same JSON data with something else in one place."""
    if not steps:
        return value
    step, *rest = steps
    if rest == [KEY]:
        return {str(value) if key == step else key: item for key, item in data.items()}
    copy = dict(data) if isinstance(data, dict) else list(data)
    copy[step] = replaced(data[step], tuple(rest), value)
    return copy


def _put(path: Path, field: Field, value: Any) -> bool:
    """Write a value into a field; False where SQLite itself refuses it."""
    with closing(sqlite3.connect(path)) as base, base:
        base.execute("PRAGMA ignore_check_constraints = ON")
        names = [row[1] for row in base.execute(f"PRAGMA table_info({field.table})")]
        keys = [row[1] for row in base.execute(f"PRAGMA table_info({field.table})") if row[5]]
        rows = base.execute(f"SELECT * FROM {field.table}").fetchall()
        cells = dict(zip(names, rows[field.row], strict=True))
        if field.steps:
            value = json.dumps(replaced(json.loads(cells[field.column]), field.steps, value))
        elif isinstance(value, (list, dict)):
            value = json.dumps(value)
        elif isinstance(value, str):
            value = value.encode("utf-8", "backslashreplace").decode()
        where = " AND ".join(f"{key} IS ?" for key in keys or names)
        try:
            base.execute(
                f"UPDATE {field.table} SET {field.column} = ? WHERE {where}",
                (value, *(cells[key] for key in keys or names)),
            )
        except (sqlite3.IntegrityError, OverflowError):
            return False
    return True


def tamper(whole: Path, copy: Path, field: Field, value: Any) -> bool:
    """A copy of a database with one field changed."""
    for end in ("", "-wal", "-shm"):
        copy.with_name(copy.name + end).unlink(missing_ok=True)
    with closing(sqlite3.connect(whole)) as source, closing(sqlite3.connect(copy)) as target:
        source.backup(target)
    return _put(copy, field, value)


def _nested(levels: int) -> Any:
    data: Any = "x"
    for _ in range(levels):
        data = [data]
    return data


def hostile(marker: Path, huge: int = _HUGE) -> dict[str, Any]:
    """Values by name; the code in them would make a file."""
    code = f"open({str(marker)!r}, 'w')"
    return {
        "docstring": f'"""\n{code}\n"""',
        "backslash": f'\\"""\n{code}\n\\',
        "call": f"0); {code}; (",
        "argument": f"inplace={code},negative_slope",
        "lines": "".join(f"{end}{code}" for end in "\n\r\x0b\x0c\x1c\x1d\x1e\x85\u2028\u2029"),
        "encoding": f"coding: unicode_escape \\x0a{code}\\x0a#",
        "utf-7": f"coding=utf-7 +AAo-{code}+AAo-",
        "markup": "<img src=x onerror=alert(1)><script>alert(1)</script> **x** [x](javascript:alert(1)) :red[x]",
        "latex": r"\href{javascript:alert(1)}{x} \input{/etc/passwd} $x$ \immediate\write18{id}",
        "cell": '=HYPERLINK("http://example.org")\r=1+1',
        "terminal": "\x1b]0;x\x07\x1b[2J\x9b31m\x08\x00\u202e\u2066\ud800",
        "long": "A" * huge,
        "deep": _nested(400),
        "shallow": _nested(90),
        "none": None,
        "true": True,
        "minus": -1,
        "large": 10**18,
        "huge": 1.5e308,
        "digits": "9" * 4000,
        "nan": "nan",
        "list": [],
        "object": {},
        "mixed": {"formula": [1], "name": {}, "hyperparameters": {"a": [1]}, "groups": "x"},
    }


# the generated Python

_NAMES = re.compile(
    r"torch|nn|F|x|self|shape|channels|theta_\d+|axis|value|surrogate|super|float|int|piecewise|mix|"
    r"a|b|weight|left|right|channel_axis|[A-Z][A-Za-z0-9_]*|"
    r"model|learned|id|p|m|isinstance|parts|parameter|parameter_groups|list|dict"
)
_STATEMENTS = (ast.Expr, ast.Import, ast.ImportFrom, ast.FunctionDef, ast.ClassDef, ast.Assign)
_KNOWN_TEXTS = re.compile(r"nan|-?inf|tanh|none|tensor|channel|params|weight_decay")


def check_python(code: str, folder: Path) -> None:
    """Raises AssertionError unless generated source has the shapes that are expected, and can be imported."""
    source = code.encode()
    tree = ast.parse(source)  # from bytes: a comment may name another encoding
    for statement in tree.body:
        assert isinstance(statement, _STATEMENTS), ast.dump(statement)
    texts: set[int] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
            texts.add(id(node.value))  # a docstring
    for node in ast.walk(tree):
        if isinstance(node, (ast.Import, ast.ImportFrom)):
            assert ast.unparse(node) in (
                "import torch", "from torch import nn", "from torch.nn import functional as F",
            )  # fmt: skip
        elif isinstance(node, ast.Name):
            assert _NAMES.fullmatch(node.id), node.id
        elif isinstance(node, ast.Attribute):
            assert not node.attr.startswith("_") or node.attr == "__init__", node.attr
        elif isinstance(node, ast.Dict):
            texts |= {id(key) for key in node.keys}  # groups of sites
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            assert id(node) in texts or _KNOWN_TEXTS.fullmatch(node.value), node.value
    file = folder / "generated.py"
    file.write_bytes(source)
    spec = importlib.util.spec_from_file_location("generated", file)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    file.unlink()
