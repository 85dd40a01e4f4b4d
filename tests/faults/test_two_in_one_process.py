"""Two threads of one process share the global random streams: what they may do at once, and what is refused."""

from __future__ import annotations

import contextlib
import dataclasses
import threading
import time
from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import nn

import actsearch as acs

Rows = list[tuple[Any, ...]]


def _model() -> nn.Module:
    return nn.Sequential(nn.Linear(2, 8), nn.ReLU(), nn.Dropout(0.3), nn.Linear(8, 2))


def _step(model: nn.Module, batch: tuple[torch.Tensor, torch.Tensor]) -> torch.Tensor:
    """Noise from the global stream, as many a user adds it."""
    x, y = batch
    loss: torch.Tensor = F.cross_entropy(model(x + 0.1 * torch.randn_like(x)), y)
    return loss


@pytest.fixture
def task(tiny_task: acs.Task) -> acs.Task:
    return dataclasses.replace(tiny_task, model=_model, step=_step)


def _study(name: str, strategy: str = "random") -> acs.Study:
    return acs.create_study(study_name=name, strategy=strategy, seed=len(name))


def _optimize(study: acs.Study, objective: Any, n_trials: int = 4, **more: Any) -> None:
    study.optimize(
        objective, n_trials=n_trials, executor=acs.Local(1), show_progress_bar=False, **more
    )


def _rows(study: acs.Study) -> Rows:
    return [(t.number, t.state.name, t.candidate.formula, t.value) for t in study.trials]


def _alone(name: str, task: acs.Task, strategy: str = "random") -> Rows:
    study = _study(name, strategy)
    _optimize(study, task)
    return _rows(study)


def _in_thread(call: Callable[[], Any]) -> str:
    """The error that a call in another thread ends with; "" without one."""
    errors: list[str] = []

    def run() -> None:
        try:
            call()
        except acs.ActsearchError as error:
            errors.append(str(error))

    thread = threading.Thread(target=run)
    thread.start()
    thread.join(120)
    assert not thread.is_alive()
    return errors[0] if errors else ""


def test_of_two_studies_in_two_threads_one_is_refused_and_both_are_as_alone(
    task: acs.Task,
) -> None:
    studies = {name: _study(name, "genetic") for name in ("one", "other")}
    barrier, is_refused = threading.Barrier(2), threading.Event()
    refused: dict[str, str] = {}

    def run(name: str) -> None:
        barrier.wait()
        try:
            _optimize(studies[name], task, callbacks=[lambda *_: is_refused.wait(60) and None])
        except acs.StudyError as error:
            refused[name] = str(error)
            is_refused.set()

    threads = [threading.Thread(target=run, args=(name,)) for name in studies]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(120)
    ((name, said),) = refused.items()
    (winner,) = {*studies} - {name}
    assert f"study {name!r} cannot optimize now" in said
    assert f"optimizing study {winner!r}" in said
    assert "subprocess" in said
    assert not studies[name].trials
    assert _rows(studies[winner]) == _alone(winner, task, "genetic")
    _optimize(studies[name], task)
    assert _rows(studies[name]) == _alone(name, task, "genetic")


def test_nor_is_another_thread_let_into_the_same_study_or_a_verdict(task: acs.Task) -> None:
    done, running = _study("done"), _study("running")
    _optimize(done, task)
    said: list[str] = []

    def ask(*_: Any) -> None:
        if not said:
            said.append(_in_thread(lambda: _optimize(running, task)))
            said.append(_in_thread(lambda: done.confirm(task, show_progress_bar=False)))

    _optimize(running, task, callbacks=[ask])
    assert "study 'running' cannot optimize now" in said[0]
    assert "study 'done' cannot confirm now" in said[1]
    assert all("optimizing study 'running'" in text for text in said)
    assert _rows(running) == _alone("running", task)


def test_while_a_verdict_is_made_no_other_thread_optimizes(task: acs.Task) -> None:
    study, other = _study("one"), _study("other")
    said: list[str] = []

    def step(model: nn.Module, batch: Any) -> torch.Tensor:
        if is_confirming.is_set() and not said:
            said.append(_in_thread(lambda: _optimize(other, task)))
        return _step(model, batch)

    is_confirming = threading.Event()  # not a setting of the task, as a number would be
    asking = dataclasses.replace(task, step=step)
    _optimize(study, asking)
    is_confirming.set()
    study.confirm(asking, top_k=1, seeds=2, show_progress_bar=False)
    assert "confirming study 'one'" in said[0]


@pytest.mark.parametrize("error", [KeyboardInterrupt, acs.StudyError, RuntimeError])
def test_however_a_call_ends_the_next_thread_is_let_in(
    task: acs.Task, error: type[BaseException]
) -> None:
    def end(*_: Any) -> None:
        raise error("from a callback")

    with pytest.raises(error):
        _optimize(_study("one"), task, callbacks=[end])
    assert _in_thread(lambda: _optimize(_study("two"), task, n_trials=1)) == ""


def test_calls_within_each_other_are_as_alone(task: acs.Task) -> None:
    """A search whose objective runs a search, and whose callback makes a verdict."""
    finished = _study("finished")
    _optimize(finished, task)
    inner: list[Rows] = []

    def objective(candidate: acs.Candidate, run: acs.Run) -> float:
        torch.manual_seed(run.seed)
        noise = torch.randn(3)
        if nests and run.number == 2:
            study = _study("inner")
            _optimize(study, task)
            inner.append(_rows(study))
        return float((noise + torch.randn(3)).sum())

    def confirm(_: acs.Study, trial: acs.Trial) -> None:
        if nests and trial.number == 3:
            finished.confirm(task, top_k=1, seeds=2, show_progress_bar=False)

    def outer() -> Rows:
        study = acs.create_study(
            study_name="outer", strategy="genetic", direction="minimize", seed=1
        )
        _optimize(study, objective, callbacks=[confirm])
        return _rows(study)

    nests = False
    plain = outer()
    nests = True
    assert outer() == plain
    assert inner == [_alone("inner", task)]
    assert len(finished.verdicts) == 1


def test_what_another_thread_places_and_measures_changes_no_trial(task: acs.Task) -> None:
    model, x = (
        _model(),
        torch.randn(4, 2),
    )  # made here: where they are made, the global stream moves
    is_over = threading.Event()
    calls = [0]

    def disturb() -> None:
        while not is_over.is_set():
            acs.place(model, "gelu", sample=x)
            acs.activation("rrelu")(x)
            calls[0] += 1

    thread = threading.Thread(target=disturb)
    thread.start()
    try:
        disturbed = _alone("one", task)
    finally:
        is_over.set()
        thread.join(60)
    assert calls[0] > 0
    assert disturbed == _alone("one", task)


def test_a_training_that_waits_for_such_a_call_does_not_hang(
    task: acs.Task, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("actsearch.seeds._LONGEST_WAIT", 0.2)

    def step(model: nn.Module, batch: tuple[torch.Tensor, torch.Tensor]) -> torch.Tensor:
        if said := _in_thread(lambda: acs.place(_model(), "gelu", sample=batch[0])):
            raise RuntimeError(said)
        return _step(model, batch)

    study = _study("one")
    with pytest.raises(acs.ActsearchError, match="another thread of this process has used"):
        _optimize(study, dataclasses.replace(task, step=step))


def test_a_call_of_another_thread_that_takes_long_fails_no_trial(
    task: acs.Task, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The search waits for it; only what is called beside a search gives up after a while."""
    monkeypatch.setattr("actsearch.seeds._LONGEST_WAIT", 0.1)

    class Slow(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.last = nn.Linear(2, 8), nn.Linear(8, 2)

        def forward(self, x: torch.Tensor) -> Any:
            begun.set()
            time.sleep(0.5)
            return self.last(torch.relu(self.first(x)))

    begun = threading.Event()
    model, x = Slow(), torch.randn(4, 2)

    def place() -> None:
        with contextlib.suppress(acs.StudyError):  # it may give up between two parts of its work
            acs.place(model, "gelu", sample=x)

    thread = threading.Thread(target=place)
    thread.start()
    begun.wait(60)
    disturbed = _alone("one", task)
    thread.join(60)
    assert "FAILED" not in {row[1] for row in disturbed}
    assert disturbed == _alone("one", task)
