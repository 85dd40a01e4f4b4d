"""Hostile texts: each is a FormulaError, at once, and at a place."""

from __future__ import annotations

import gc
import json
import time
from typing import Any

import pytest

import actsearch as acs
from actsearch.expression import Limits

_SECONDS = 0.05

# text -> position at which reading stops
HOSTILE: dict[str, tuple[str, int]] = {
    "empty": ("", 0),
    "blank": (" \n\t ", 0),
    "dunder attribute": ("x.__class__.__bases__", 0),
    "dunder of a tuple": ("().__class__", 0),
    "attribute of a number": ("1 .real", 0),
    "attribute as operator": ("x.sin(x)", 0),
    "dunder name": ("x + __builtins__", 4),
    "import call": ("__import__('os').system('true')", 0),
    "import statement": ("import os", 0),
    "open": ("x + open('f', 'w')", 4),
    "eval": ("eval('x')", 0),
    "unknown call": ("x * whatever(x)", 4),
    "call of x": ("x(x)", 0),
    "call of a number": ("1 + (2)(x)", 4),
    "call of a call": ("sin(x)(x)", 0),
    "unknown name": ("x + y", 4),
    "capital X": ("x + X", 4),
    "operator without arguments": ("x * sin", 4),
    "too few arguments": ("x + max(x)", 4),
    "too many arguments": ("x + sin(x, x)", 4),
    "no arguments": ("x + sin()", 4),
    "tower of powers": ("9**9**9", 0),
    "bracketed tower": ("x + (9**9)**(9**9)", 4),
    "power without a value": ("x * 0**-1", 4),
    "complex power": ("x * (-1)**0.5", 4),
    "1900 brackets": ("(" * 1900 + "x" + ")" * 1900, 200),
    "3000 minus signs": ("-" * 3000 + "x", 0),
    "90 minus signs": ("-" * 90 + "x", Limits.DEPTH),
    "90 plus signs": ("+" * 90 + "x", Limits.DEPTH),
    "60 nested calls": ("sin(" * 60 + "x" + ")" * 60, 4 * Limits.DEPTH),
    "unclosed brackets": ("sin(" * 150, 4 * 150 - 1),
    "unclosed keywords": ("sin(x=" * 150, 6 * 150 - 4 + 1),
    "1000 powers": ("x**" * 1000 + "x", 3 * (Limits.DEPTH - 1)),
    # node 301: after 39 sums and 17 brackets of 15 nodes, the seventh product of the next bracket
    "too many nodes": ("+".join(["(x*x*x*x*x*x*x*x)"] * 40), 17 * 18 + 1),
    "cyrillic x": ("1 + х", 4),
    "fullwidth x": ("1 + ｘ", 4),
    "greek sigma": ("σ(x)", 0),
    "roman numeral x": ("ⅹ", 0),
    "unicode minus": ("x − 1", 2),
    "unicode digit": ("x + ٣", 4),
    "zero-width space": ("x\u200b", 1),
    "right-to-left mark": ("\u202ex", 0),
    "no-break space": ("x\u00a0+ 1", 1),
    "NUL": ("x + \0", 4),
    "NUL inside a name": ("si\0n(x)", 2),
    "escape": ("x + \x1b[31m", 4),
    "carriage return": ("x\r", 1),
    "backslash": ("x + \\\n1", 4),
    "keyword argument": ("x + sin(x=1)", 4),
    "one keyword argument more": ("x + sin(x, x=1)", 4),
    "double star arguments": ("x + sin(**x)", 4),
    "starred argument": ("sin(*x)", 4),
    "walrus": ("(x := 1)", 3),
    "assignment": ("x = 1", 2),
    "comprehension": ("[x for y in x]", 0),
    "generator": ("max(x for y in x, 1)", 4),
    "lambda": ("lambda: x", 6),
    "bare lambda": ("lambda", 6),
    "f-string": ("f'x'", 0),
    "f-string with a call": ("f'{open}'", 2),
    "string": ("x + 'x'", 4),
    "bytes": ("x + b'x'", 4),
    "subscript": ("x[0]", 1),
    "dict": ("{}", 0),
    "tuple": ("x, x", 0),
    "conditional": ("x if x else 1", 0),
    "comparison": ("x == x", 0),
    "identity test": ("x is x", 0),
    "boolean": ("x and x", 0),
    "not": ("not x", 0),
    "900 nots": ("not " * 900 + "x", 0),
    "invert": ("~x", 0),
    "modulo": ("x % 2", 2),
    "floor division": ("1 + x // 2", 4),
    "matrix product": ("x @ x", 2),
    "await": ("await x", 0),
    "yield": ("(yield x)", 1),
    "long integer": ("9" * 3999, 0),
    "longer integer": ("x + " + "9" * 9000, 4),
    "long integer with underscores": ("x + " + "9_" * 4000 + "9", 4),
    "long fraction": ("0." + "3" * 9000, 2),
    "long hexadecimal": ("x + 0x" + "f" * 3000, 4),
    "1e400": ("x * 1e400", 4),
    "minus 1e400": ("x * -1e400", 5),
    "just too large": ("x + 1000000001", 4),
    "complex": ("x * 1j", 4),
    "True": ("x * True", 4),
    "minus True": ("x * -True", 5),
    "None": ("None", 0),
    "Ellipsis": ("x + ...", 4),
    "octal of old": ("0777", 0),
    "comment": ("x # + 1", 2),
    "semicolon": ("x; x", 1),
    "second line": ("x\nx", 2),
    "statement on a second line": ("x\nimport os", 2),
    "closing first": ("x)+(x", 1),
    "bracket too many": ("sin(x))", 6),
    "sum of one": ("x * sum(x)", 4),
    "max of nothing": ("max()", 0),
    "sum of a thousand": ("sum(x" + ", x" * 1000 + ")", 901),
    "blend by a formula": ("1 + mix(x, x, tanh(x))", 4),
    "blend of four": ("mix(x, x, 1, 1)", 0),
    "unclosed bracket": ("x + sin(x", 7),
    "unclosed string": ("x + '", 4),
    "juxtaposition": ("x x", 2),
    "number before name": ("2x", 0),
    "trailing operator": ("x +", 3),
    "trailing operator and space": (" x * \n", 4),
    "param of x": ("x + param(x)", 10),
    "param of a call": ("param(sin(1))", 6),
    "param of nothing": ("x + param()", 4),
    "param of two": ("x + param(1, 2)", 4),
    "param of a string": ("param('1')", 6),
    "param too large": ("param(1e10)", 6),
    "param of unknown scope": ("param(1, per='pixel')", 13),
    "param scope as a name": ("param(1, per=channel)", 13),
    "param of unknown keyword": ("param(1, init=2)", 14),
    "param with stars": ("param(1, **x)", 11),
    "param without brackets": ("x * param", 4),
    "name of 3990 letters": ("a" * 3990 + "(x)", 0),
    "ten thousand brackets": ("(" * 10_000 + "x" + ")" * 10_000, Limits.LENGTH),
    "a megabyte": ("x" * 1_000_000, Limits.LENGTH),
    "a megabyte of NUL": ("\0" * 1_000_000, Limits.LENGTH),
    "spaces without end": (" " * 1_000_000 + "x", Limits.LENGTH),
}


def _refused(text: Any) -> tuple[acs.FormulaError, float]:
    """The error, and the shortest of three times, without the garbage collector's pauses."""
    seconds, errors = [], []
    gc.disable()
    try:
        for _ in range(3):
            start = time.perf_counter()
            with pytest.raises(acs.FormulaError) as caught:
                acs.parse(text)
            seconds.append(time.perf_counter() - start)
            errors.append(caught.value)
    finally:
        gc.enable()
    return errors[-1], min(seconds)


@pytest.mark.parametrize("kind", list(HOSTILE))
def test_a_hostile_text_is_refused_at_once_and_with_its_place(kind: str) -> None:
    text, position = HOSTILE[kind]
    error, seconds = _refused(text)
    assert error.position == position, str(error)[:300]
    assert seconds < _SECONDS
    assert f"position {position}" in str(error)
    assert len(str(error)) < 6_000
    assert isinstance(error, ValueError)


@pytest.mark.parametrize("thing", [None, 3, 2.5, b"x", ["x"], object()])
def test_what_is_no_text_is_refused(thing: Any) -> None:
    error, _ = _refused(thing)
    assert error.position is None
    assert type(thing).__name__ in str(error)


@pytest.mark.parametrize(
    ("text", "meant"),
    [
        ("sgmoid(x)", "sigmoid"),
        ("x * tahn(x)", "tanh"),
        ("softpuls(x)", "softplus"),
        ("ReLU(x)", "relu"),
        ("x * X", "x"),
        ("parm(1.0) * x", "param"),
    ],
)
def test_a_misspelt_operator_is_answered_with_the_nearest(text: str, meant: str) -> None:
    with pytest.raises(acs.FormulaError, match=f"did you mean .*'{meant}'"):
        acs.parse(text)


def test_the_caret_in_the_message_stands_under_the_place() -> None:
    text = "x * sin(x) + tan(x) * 3"
    with pytest.raises(acs.FormulaError) as caught:
        acs.parse(text)
    *_, line, caret = str(caught.value).split("\n")
    assert line[caret.index("^") :].startswith("tan(x)")


def test_the_largest_formulas_inside_the_limits_are_read() -> None:
    assert acs.parse("sin(" * (Limits.DEPTH - 1) + "x" + ")" * (Limits.DEPTH - 1)).depth == 50
    assert acs.parse("x" + " " * (Limits.LENGTH - 1)).size == 1
    assert acs.parse("1000000000 * x").size == 3
    assert json.dumps(acs.parse("param(+1) * x").to_json()) == json.dumps(
        ["mul", {"param": 1.0, "per": "tensor"}, "x"]
    )
