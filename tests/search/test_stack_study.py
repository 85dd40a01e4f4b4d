"""A study comes to the same trials and the same verdict whether its candidates train together or one at a time."""

from __future__ import annotations

import time
from typing import Any

import pytest
import torch
from stack_tasks import LABELS, ROWS, task_of
from torch import Tensor
from torch.nn import functional as F

import actsearch as acs
from actsearch.evaluation.subject import stack_choice
from actsearch.evaluation.subject.of_task import TaskSubject
from actsearch.strategies import STRATEGIES
from actsearch.training.stack import fit_together


@pytest.fixture
def always(monkeypatch: pytest.MonkeyPatch) -> None:
    """However small the task and however little it brings, what can be stacked is stacked."""
    monkeypatch.setattr(stack_choice, "_WORTH", 0)
    monkeypatch.setattr(stack_choice, "_GAIN", 0.0)


def _trials(study: acs.Study) -> list[tuple[Any, ...]]:
    return [
        (t.number, t.state, t.candidate.formula, t.value, t.duplicate_of, t.reason)
        for t in study.trials
    ]


def _searched(task: acs.Task, executor: Any, *counts: int, strategy: str = "genetic") -> acs.Study:
    study = acs.create_study(study_name="s", strategy=strategy, seed=3)
    for count in counts:
        study.optimize(task, n_trials=count, executor=executor, show_progress_bar=False)
    return study


@pytest.mark.usefixtures("always")
@pytest.mark.parametrize(
    ("strategy", "executor"),
    [
        ("random", None),
        *(
            pytest.param(strategy, executor, marks=pytest.mark.slow)
            for strategy in STRATEGIES
            for executor in (None, acs.Local(batch=2), acs.Local(batch=64))
            if (strategy, executor) != ("random", None)
        ),
    ],
    ids=str,
)
def test_trials_are_those_of_one_at_a_time(strategy: str, executor: Any) -> None:
    # 64 rows, the fewest that shape learning divides in two
    task = task_of(
        "mlp", epochs=1, train=(ROWS[:64], LABELS[:64]), valid=(ROWS[64:72], LABELS[64:72])
    )
    expected = _trials(_searched(task, acs.Local(batch=1), 10, strategy=strategy))
    assert _trials(_searched(task, executor, 10, strategy=strategy)) == expected
    assert _trials(_searched(task, executor, 3, 2, 5, strategy=strategy)) == expected


@pytest.mark.usefixtures("always")
def test_the_choice_is_measured_once_and_logged(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level("INFO", logger="actsearch"):
        _searched(task_of("mlp", epochs=1), None, 10)
    assert sum("in one pass take" in line for line in caplog.messages) == 1


@pytest.mark.usefixtures("always")
def test_the_next_study_of_a_task_does_not_measure_again(caplog: pytest.LogCaptureFixture) -> None:
    task = task_of("mlp", epochs=1)
    with caplog.at_level("INFO", logger="actsearch"):
        _searched(task, None, 10)
        _searched(task, None, 10, strategy="random")
    assert sum("in one pass take" in line for line in caplog.messages) == 1


@pytest.mark.slow
@pytest.mark.usefixtures("always")
@pytest.mark.parametrize("kind", ["mlp", "cnn"])
def test_a_verdict_is_that_of_one_at_a_time(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    task = task_of(kind, epochs=1, seeds=1)
    together = _searched(task, None, 12).confirm(task, top_k=2, seeds=3, show_progress_bar=False)
    monkeypatch.setattr(TaskSubject, "batch_for", lambda self, requests, largest: 1)
    alone = _searched(task, None, 12).confirm(task, top_k=2, seeds=3, show_progress_bar=False)
    assert str(together) == str(alone)
    assert together.rows == alone.rows


@pytest.mark.usefixtures("always")
def test_a_stack_that_ran_out_of_memory_is_recorded_and_stays_small(
    monkeypatch: pytest.MonkeyPatch, sqlite_url: str
) -> None:
    # 64 rows, the fewest that shape learning divides in two
    task = task_of(
        "mlp", epochs=1, train=(ROWS[:64], LABELS[:64]), valid=(ROWS[64:72], LABELS[64:72])
    )
    expected = _trials(_searched(task, acs.Local(batch=1), 12))
    sizes: list[int] = []

    def small(task: Any, members: Any, **more: Any) -> Any:
        sizes.append(len(members))
        if len(members) > 4:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return fit_together(task, members, **more)

    monkeypatch.setattr("actsearch.evaluation.stacked.fit_together", small)
    study = acs.create_study(study_name="s", storage=sqlite_url, strategy="genetic", seed=3)
    study.optimize(task, n_trials=9, executor=acs.Local(batch=8), show_progress_bar=False)
    resumed = acs.load_study(study_name="s", storage=sqlite_url)
    assert resumed.record.user_attrs["largest_stack"] == 4
    sizes.clear()
    resumed.optimize(task, n_trials=3, executor=acs.Local(batch=8), show_progress_bar=False)
    assert max(sizes) <= 4
    assert _trials(resumed) == expected


def test_a_task_too_small_to_be_worth_it_is_not_measured(
    tiny_task: acs.Task, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level("INFO", logger="actsearch"):
        _searched(tiny_task, None, 12)
    assert not any("in one pass" in line for line in caplog.messages)


def slow_loss(output: Tensor, target: Tensor) -> Tensor:
    time.sleep(0.03)
    return F.cross_entropy(output, target)


@pytest.mark.usefixtures("always")
def test_a_stack_takes_no_more_than_ends_in_time(
    tiny_task: acs.Task, monkeypatch: pytest.MonkeyPatch
) -> None:
    sizes: list[int] = []
    run = acs.Local.run

    def noting(self: acs.Local, jobs: Any, work: Any) -> Any:
        sizes.append(len(jobs))
        return run(self, jobs, work)

    monkeypatch.setattr(acs.Local, "run", noting)
    study = acs.create_study(study_name="s", strategy="random")
    task = tiny_task.replace(loss=slow_loss)  # a training has two batches, and an evaluation
    study.optimize(task, n_trials=100, timeout=0.3, show_progress_bar=False)
    assert sizes[:1] == [1]
    assert all(size <= 4 for size in sizes[1:2])
