"""A process that answers about functions, so that another needs no torch."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

import pytest

from actsearch.function_server import answer


def asked(call: str, **arguments: Any) -> Any:
    reply = json.loads(answer(json.dumps({"call": call, **arguments})))
    return reply["result"] if "result" in reply else reply["error"]


def item(formula: str, name: str | None = None, **settings: float) -> dict[str, Any]:
    return {"formula": formula, "name": name, "hyperparameters": settings, "label": ""}


def test_a_typed_formula_is_described_identified_and_sampled() -> None:
    found = asked("inspect", what="leaky_relu", settings={"negative_slope": 0.5})
    assert found["activation"]["name"] == "leaky_relu"
    assert len(found["identity"]) == 3
    x, y, dy = found["curve"]
    assert (x[0], y[0], dy[0]) == (-6, -3, 0.5)
    softmax = asked("inspect", what="softmax", settings={})
    assert softmax["curve"] is None
    assert "not a function of one number" in softmax["reason"]


@pytest.mark.parametrize("text", ["__import__('os')", "x +", "relu(y)", "no_such_row", ""])
def test_what_cannot_be_read_is_an_error_and_is_not_run(text: str) -> None:
    assert isinstance(asked("inspect", what=text, settings={}), str)


@pytest.mark.parametrize("request_", ["", "{}", "[]", "null", '{"call": "main"}', '{"call": []}'])
def test_a_request_that_is_none_is_an_error(request_: str) -> None:
    assert set(json.loads(answer(request_))) == {"error"}


def test_moments_samples_neighbours_python_and_cost() -> None:
    assert asked("find_moments", item=item("x")) == pytest.approx([0, 1])
    assert asked("find_moments", item=item("softmax(x)", "softmax")) is None
    samples = asked("sample_all", items=[item("x"), item("?")])
    assert len(samples[0][1]) == 81
    assert samples[1] is None
    x, y, _ = asked("sample_learned", item=item("param(1.0)*x"), learned={"theta_0": [2.0, 4.0]})
    assert y == pytest.approx([3 * value for value in x])
    others = [{"*": item("x + 1")}, {"*": item("x")}, {"*": item("?")}]
    assert asked("find_closest", what={"*": item("x")}, others=others, count=5) == [
        [1, 0.0],
        [0, pytest.approx(1)],
    ]
    code = asked("write_python", items={"*": item("x*tanh(x)")}, note="Study digits.")
    compile(code, "found.py", "exec")
    assert "Study digits." in code
    assert "times ReLU" in asked("measure_cost", item=item("tanh(x)"), shape=[4, 4])


@pytest.mark.slow
def test_it_answers_line_by_line_and_ends_with_its_input() -> None:
    code = "from actsearch.function_server import main; raise SystemExit(main())"
    requests = [{"call": "find_moments", "item": item("x")}, {"call": "nothing"}]
    process = subprocess.run(
        [sys.executable, "-c", code],
        input="".join(json.dumps(request) + "\n" for request in requests),
        capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    assert process.returncode == 0, process.stderr
    first, second = map(json.loads, process.stdout.splitlines())
    assert first["result"] == pytest.approx([0, 1])
    assert "nothing" in second["error"]
