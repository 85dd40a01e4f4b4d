"""Every public name has an example in its docstring, and every example runs; so does the code of the READMEs."""

from __future__ import annotations

import doctest
import importlib
import inspect
import re
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

import actsearch as acs

_OPTIONS = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE


def _documented(name: str) -> Any:
    """The function, class or module; of the catalog, which is an object, its class."""
    value = getattr(acs, name)
    is_one = inspect.isroutine(value) or inspect.isclass(value) or inspect.ismodule(value)
    return value if is_one else type(value)


@pytest.mark.parametrize("name", acs.__all__)
def test_the_example_of_a_public_name_runs(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)  # examples store studies where they run
    names = {"acs": acs, "torch": torch, "nn": nn}
    tests = doctest.DocTestFinder(recurse=False).find(_documented(name), name, globs=names)
    examples = [example for test in tests for example in test.examples]
    assert examples, "no example"
    runner = doctest.DocTestRunner(optionflags=_OPTIONS)
    told: list[str] = []
    for test in tests:
        runner.run(test, out=told.append)
    assert runner.failures == 0, "".join(told)


def _blocks(readme: str) -> list[str]:
    text = (_ROOT / readme).read_text(encoding="utf-8")
    return re.findall(r"^```python\n(.*?)^```", text, re.MULTILINE | re.DOTALL)


_ROOT = Path(__file__).parents[2]
_READMES = ("README.md", "search/README.md", "dashboard/README.md", "studies/README.md")
# names that stand for something of the reader's own, or for libraries that the tests do without
_OF_THE_READER = re.compile(r"\btrain=|\baddress=|=\.\.\.|\.\.\.,|timm\.|Bert|tokenized|Callback")


@pytest.mark.parametrize("readme", _READMES)
def test_the_code_of_a_readme_is_python(readme: str) -> None:
    for block in _blocks(readme):
        compile(block, readme, "exec")


@pytest.mark.slow
def test_the_first_example_of_the_readme_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    names: dict[str, Any] = {}
    for block in _blocks("README.md"):
        exec(compile(block, "README.md", "exec"), names)
    assert names["verdict"].sentence in capsys.readouterr().out
    assert len(names["study"].trials) >= 110


@pytest.fixture(scope="module")
def names(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What the examples of search/README.md speak of: a model, its task, and a confirmed study in a storage."""
    url = f"sqlite:///{tmp_path_factory.mktemp('readme') / 'studies.db'}"
    x = torch.randn(128, 4, generator=torch.Generator().manual_seed(0))
    y = (x[:, 0] > 0).long()

    # which three sigmoids hardly learn: the examples speak of a winner
    def model() -> nn.Module:
        return nn.Sequential(
            nn.Linear(4, 8),
            nn.Sigmoid(),
            nn.Linear(8, 8),
            nn.Sigmoid(),
            nn.Linear(8, 8),
            nn.Sigmoid(),
            nn.Linear(8, 2),
        )

    task = acs.Task(
        model=model, train=(x[:64], y[:64]), valid=(x[64:96], y[64:96]), test=(x[96:], y[96:]),
        loss=nn.functional.cross_entropy, metric="loss", epochs=2, batch_size=16, lr=1e-2, name="signs", tune_lr=False,
    )  # fmt: skip
    study = acs.create_study(study_name="narrow", storage=url)
    study.optimize(task, n_trials=6, show_progress_bar=False)
    verdict = study.confirm(task, top_k=1, seeds=8, lrs=[], show_progress_bar=False)
    assert verdict.winner is not verdict.baseline
    actsearch = importlib.import_module("actsearch")
    importlib.import_module("actsearch.report")
    return {
        "acs": acs, "actsearch": actsearch, "nn": nn, "torch": torch,
        "model": model(), "trained": acs.place(model(), study.best_trial).model, "x": x, "url": url,
        "study": study, "task": task, "verdict": verdict,
    }  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize(
    "block", [block for block in _blocks("search/README.md") if not _OF_THE_READER.search(block)]
)
def test_the_code_of_the_engines_readme_runs(
    block: str, names: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "studies").mkdir()
    acs.create_study(study_name="digits", storage="sqlite:///studies/actsearch.db")
    exec(compile(block, "search/README.md", "exec"), dict(names))
