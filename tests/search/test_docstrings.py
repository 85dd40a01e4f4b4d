"""Every public name has an example in its docstring, and every example runs; so does the code of the READMEs."""

from __future__ import annotations

import doctest
import inspect
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

import actsearch as acs

_OPTIONS = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE


def _documented(name: str) -> Any:
    """The function or class; of the catalog, which is an object, its class."""
    value = getattr(acs, name)
    return value if inspect.isroutine(value) or inspect.isclass(value) else type(value)


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
