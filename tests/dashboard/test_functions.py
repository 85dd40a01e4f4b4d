"""Where the functions of candidates come from: known, stored, or asked of another process that may not answer."""

from __future__ import annotations

import subprocess
import threading
import time
from collections.abc import Callable, Collection, Sequence
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from actsearch.errors import ActsearchError
from actsearch.records import ActivationRecord, CandidateRecord, Curve
from actsearch_dashboard import function_client, functions

X = np.linspace(-6, 6, 81)
ZIGZAG = Curve(X, np.sin(40 * X), 40 * np.cos(40 * X))  # turns faster than its points show


def record(slope: float) -> ActivationRecord:
    return ActivationRecord(f"{slope} * x", label=f"{slope} * x")


def line(slope: float) -> Curve:
    return Curve(X, slope * X, np.full_like(X, slope))


def lists(curve: Curve) -> list[list[float]]:
    return [numbers.tolist() for numbers in curve]


def study(*stored: tuple[ActivationRecord, Curve]) -> Any:
    """A study with these functions."""
    curves = {record.digest: curve for record, curve in stored}

    def read(_: object, digests: Collection[bytes]) -> dict[bytes, Curve]:
        return {digest: curves[digest] for digest in digests if digest in curves}

    return SimpleNamespace(
        record=None, store=SimpleNamespace(reader=SimpleNamespace(functions=read))
    )


@pytest.fixture(autouse=True)
def forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is known yet, and two functions fill the memory."""
    monkeypatch.setattr(functions, "_curves", functions._Memory(2))
    monkeypatch.setattr(functions, "_pictures", functions._Memory(2))


def refuse(*_: object, **__: object) -> None:
    raise ActsearchError("the process ended")


def test_a_picture_is_drawn_once_the_process_answers_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    candidate = CandidateRecord.shared(record(0.5))
    monkeypatch.setattr(functions, "ask", refuse)
    assert functions.pictures(study(), [candidate]) == [""]
    monkeypatch.setattr(functions, "ask", lambda *_, **__: [lists(line(0.5))])
    (picture,) = functions.pictures(study(), [candidate])
    assert picture.startswith("data:image/svg")
    monkeypatch.setattr(functions, "ask", refuse)
    assert functions.pictures(study(), [candidate]) == [picture]  # and then it is known


def test_what_is_known_or_stored_is_asked_of_no_process(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(functions, "ask", refuse)
    slopes = (0.1, 0.2, 0.3, 0.4)
    view = study(*((record(slope), line(slope)) for slope in slopes))
    functions.curves(view, [record(0.1), record(0.2)])
    for asked in ([0.1, 0.3], [0.1, 0.2, 0.3, 0.4]):  # each of them more than the memory holds
        curves = functions.curves(view, [record(slope) for slope in asked])
        assert [curve.dy[0] for curve in curves if curve is not None] == asked


def test_another_session_may_fill_the_memory_meanwhile(monkeypatch: pytest.MonkeyPatch) -> None:
    view = study(*((record(slope), line(slope)) for slope in (0.1, 0.2, 0.3)))

    def answer(_: str, items: Sequence[dict[str, Any]]) -> list[list[list[float]]]:
        functions.curves(view, [record(0.2), record(0.3)])
        return [lists(line(0.9)) for _ in items]

    monkeypatch.setattr(functions, "ask", answer)
    stored, computed = functions.curves(view, [record(0.1), record(0.9)])
    assert stored is not None
    assert computed is not None


def test_a_row_that_the_catalog_no_longer_has_is_drawn_from_its_stored_points(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    gone = ActivationRecord("sin(40*x)", name="gone", label="gone")
    monkeypatch.setattr(functions, "ask", lambda *_, **__: [None])
    (curve,) = functions.large_curves(study((gone, ZIGZAG)), [gone])
    assert curve is ZIGZAG


def test_sessions_that_begin_together_share_one_process(monkeypatch: pytest.MonkeyPatch) -> None:
    started = []

    def start(*_: object, **__: object) -> Any:
        started.append(threading.current_thread())
        time.sleep(0.02)  # while the others ask whether it runs
        return SimpleNamespace(poll=lambda: None)

    monkeypatch.setattr(subprocess, "Popen", start)
    client = function_client._Client()
    together = threading.Barrier(4)

    def begin(act: Callable[[], object]) -> None:
        together.wait()
        act()

    threads = [threading.Thread(target=begin, args=(client.start,)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(started) == 1
    assert isinstance(client.start(), SimpleNamespace)


def test_starting_does_not_wait_for_the_answer_to_another_session() -> None:
    client = function_client._Client()
    running: Any = SimpleNamespace(poll=lambda: None)
    client._process = running
    with client._conversation:
        assert client.start() is running


def test_the_next_process_takes_the_place_of_one_that_ended(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Its pipes are closed with it: a server that runs for weeks has only so many."""
    monkeypatch.setattr(function_client, "_CODE", "print(input()[::-1])  # {path!r}")
    client = function_client._Client()
    assert client.ask(b"first\n") == b"tsrif\n"
    first = client._process
    assert first is not None
    first.wait()
    assert client.ask(b"next\n") == b"txen\n"
    assert first.stdin is not None
    assert first.stdout is not None
    assert first.stdin.closed
    assert first.stdout.closed
    assert client._process is not None
    client._process.communicate()
