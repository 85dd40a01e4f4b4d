"""Nothing in the package runs text, unpickles, or hands a string to a shell; least of all text from a file."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

import actsearch
import actsearch_dashboard

PACKAGES = [Path(package.__path__[0]) for package in (actsearch, actsearch_dashboard)]
FILES = sorted(path for package in PACKAGES for path in package.rglob("*.py"))

FORBIDDEN = {
    "eval", "exec", "compile", "__import__", "input_eval",
    "builtins.eval", "builtins.exec", "builtins.compile",
    "os.system", "os.popen", "os.execl", "os.execv", "os.execvp", "os.spawnl", "os.spawnv", "pty.spawn",
    "subprocess.getoutput", "subprocess.getstatusoutput",
    "yaml.load", "yaml.load_all", "yaml.unsafe_load", "yaml.full_load",
    "marshal.load", "marshal.loads", "shelve.open", "code.InteractiveInterpreter", "runpy.run_path",
    "pandas.read_pickle", "pd.read_pickle", "joblib.load",
    "gp.compile", "deap.gp.compile", "gp.PrimitiveTree.from_string", "deap.gp.PrimitiveTree.from_string",
    "sympy.sympify", "pandas.eval", "pd.eval",
}  # fmt: skip
PICKLERS = {"pickle", "cPickle", "_pickle", "dill", "cloudpickle", "joblib", "shelve", "marshal"}
LIVE_OBJECTS = "execution"  # objectives travel to child processes by cloudpickle, and nowhere else


def _allowed_to_pickle(path: Path) -> bool:
    return any(part.removesuffix(".py") == LIVE_OBJECTS for part in path.parts)


def breaches(source: str, *, may_pickle: bool = False) -> Iterator[str]:
    """What a source does that is not allowed, with its line."""
    for node in ast.walk(ast.parse(source)):
        line = getattr(node, "lineno", 0)
        if isinstance(node, ast.Import | ast.ImportFrom):
            module = getattr(node, "module", None) or ""
            names = [alias.name for alias in node.names]
            whole = [*names, *([f"{module}.{name}" for name in names] if module else [])]
            for name in {*whole, module}:
                if name.split(".")[0] in PICKLERS and not may_pickle:
                    yield f"{line}: import {name}"
                if name in FORBIDDEN:
                    yield f"{line}: import {name}"
        elif isinstance(node, ast.Call):
            yield from _call(node, line)


_OUR_OWN = r"os\.execve\(sys\.executable, \[sys\.executable, '-P', '-m', 'actsearch_dashboard'(, \*\w+)?\], \w+\)"
"""This interpreter with a module of ours: so the dashboard takes the place of the command."""


def _call(node: ast.Call, line: int) -> Iterator[str]:
    name = ast.unparse(node.func)
    keywords = {word.arg: ast.unparse(word.value) for word in node.keywords}
    if name in FORBIDDEN or name.endswith(".from_string"):
        yield f"{line}: {name}()"
    if name.startswith(("os.exec", "os.spawn", "os.posix_spawn")) and not re.fullmatch(
        _OUR_OWN, ast.unparse(node)
    ):
        yield f"{line}: {name}() of a program that is not ours"
    if name == "torch.load" and keywords.get("weights_only") != "True":
        yield f"{line}: torch.load() without weights_only=True"
    if name in ("np.load", "numpy.load") and keywords.get("allow_pickle") != "False":
        yield f"{line}: {name}() without allow_pickle=False"
    if name == "torch.save":
        yield f"{line}: torch.save(): weights are kept as safetensors"
    if keywords.get("shell", "False") != "False":
        yield f"{line}: {name}(shell=...)"
    if name.split(".")[-1] in ("Popen", "run", "call", "check_call", "check_output") and (
        name.split(".")[0] == "subprocess"
        and node.args
        and isinstance(node.args[0], ast.Constant | ast.JoinedStr)
    ):
        yield f"{line}: {name}() of one string"


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_no_file_of_the_package_opens_a_way(path: Path) -> None:
    source = path.read_text("utf-8")
    assert list(breaches(source, may_pickle=_allowed_to_pickle(path))) == []


def test_every_file_is_looked_at() -> None:
    assert len(FILES) > 100
    assert {"parser.py", "store.py", "app.py", "cli.py"} <= {path.name for path in FILES}


@pytest.mark.parametrize(
    "source",
    [
        "eval(text)",
        "exec(text, {})",
        "code = compile(text, 'x', 'eval')",
        "import builtins; builtins.eval(text)",
        "import pickle",
        "from pickle import loads",
        "import cloudpickle",
        "def f():\n    import dill",
        "torch.load(path)",
        "torch.load(path, weights_only=False)",
        "torch.save(model, path)",
        "yaml.load(text)",
        "os.system(text)",
        "from os import system",
        "os.execve(path, words, environment)",
        "os.execve(sys.executable, [sys.executable, '-c', text], environment)",
        "os.spawnve(os.P_WAIT, path, words, environment)",
        "subprocess.run(text, shell=True)",
        "subprocess.run(text, shell=flag)",
        "subprocess.run(f'ls {text}')",
        "gp.compile(tree, pset)",
        "gp.PrimitiveTree.from_string(text, pset)",
    ],
)
def test_each_of_these_would_be_seen(source: str) -> None:
    assert list(breaches(source))


@pytest.mark.parametrize(
    "source",
    [
        "re.compile(text)",
        "torch.compile(model)",
        "model.eval()",
        "torch.load(path, weights_only=True)",
        "ast.literal_eval(text)",
        "subprocess.Popen([program, text])",
        "subprocess.run(command, shell=False)",
    ],
)
def test_none_of_these_is_mistaken_for_one(source: str) -> None:
    assert not list(breaches(source))


def test_only_the_storage_knows_the_database_library() -> None:
    """Connections come from one place, where foreign keys, read-only opening and transactions are seen to."""
    for path in FILES:
        if "storage" in path.parts:
            continue
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.Import | ast.ImportFrom):
                module = getattr(node, "module", None) or ""
                for name in (module, *(alias.name for alias in node.names)):
                    assert name.split(".")[0] not in (
                        "sqlalchemy",
                        "sqlite3",
                        "psycopg",
                        "alembic",
                    ), path
