"""A formula is read, never run: code in its place does nothing, wherever the text goes in."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import actsearch as acs

TEXTS = [
    "{code}",
    "eval({code!r})",
    "x + (lambda: {code})()",
    "[{code} for _ in x]",
    'f"{{{code}}}"',
    "sin({code})",
    "param({code})",
    "param(1.0, per={code})",
    "x if {code} else x",
    "sin(x, *({code},))",
    "sin(x)({code})",
]

DOORS: dict[str, Callable[[str], Any]] = {
    "parse": acs.parse,
    "activation": acs.activation,
    "moments": acs.moments,
    "from_json": acs.Expression.from_json,
    "operator in from_json": lambda text: acs.Expression.from_json([text, "x"]),
    "scope in from_json": lambda text: acs.Expression.from_json({"param": 1.0, "per": text}),
    "catalog": lambda text: acs.catalog[text],
}


def _code(tmp_path: Path) -> tuple[str, Path]:
    target = tmp_path / "made"
    return f"__import__('pathlib').Path('{target}').touch()", target


@pytest.mark.parametrize("door", list(DOORS))
@pytest.mark.parametrize("text", TEXTS)
def test_code_in_a_formula_is_refused_and_not_run(text: str, door: str, tmp_path: Path) -> None:
    code, target = _code(tmp_path)
    with pytest.raises(acs.ActsearchError):
        DOORS[door](text.format(code=code))
    assert not target.exists()


@pytest.mark.parametrize("text", TEXTS)
def test_the_same_code_would_leave_a_file_if_it_were_run(text: str, tmp_path: Path) -> None:
    code, target = _code(tmp_path)
    names = {"x": (1.0,), "sin": lambda *a: lambda *b: 0, "param": lambda *a, **k: 0}
    with contextlib.suppress(TypeError):
        eval(text.format(code=code), names)
    assert target.exists()
