"""A timeout bounds what is trained in one pass, and forecasts are of what is to come."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn
from torch.nn import functional as F

import actsearch as acs
from actsearch.evaluation import make_subject
from actsearch.execution import Finished
from actsearch.records import Outcome, TrialState
from actsearch.study.forecast import describe_gain, log_forecast


def make_task(**changes: Any) -> acs.Task:
    x = torch.randn(100, 4, generator=torch.Generator().manual_seed(0))
    y = torch.sin(2 * x[:, :1])
    settings: dict[str, Any] = {
        "model": lambda: nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 1)), "train": (x[:60], y[:60]),
        "valid": (x[60:], y[60:]), "loss": F.mse_loss, "epochs": 1, "batch_size": 20, "lr": 1e-2, "tune_lr": False,
        "device": "cpu",
    }  # fmt: skip
    return acs.Task(**(settings | changes))


def make_study() -> acs.Study:
    return acs.create_study(study_name="s", strategy="random", direction="minimize", seed=0)


@pytest.mark.parametrize("state", [TrialState.PRUNED, TrialState.FAILED])
def test_what_was_given_up_does_not_say_how_long_others_take(
    state: TrialState, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After one that took a thousandth, a whole batch would be thought to end in time."""
    passes: list[int] = []

    def run(self: acs.Local, jobs: Any, work: Any) -> Any:
        passes.append(len(jobs))
        is_given_up = len(passes) == 2
        outcome = (
            Outcome(state, None, reason="nothing came of it", seconds=0.001)
            if is_given_up
            else Outcome(TrialState.COMPLETE, 0.5, seconds=400.0)
        )
        yield Finished([(job, outcome) for job in jobs])

    monkeypatch.setattr(acs.Local, "run", run)
    make_study().optimize(
        make_task(), n_trials=6, timeout=1000, executor=acs.Local(batch=8), show_progress_bar=False
    )
    assert max(passes) <= 2


def trained_twice(seconds: list[float], gain: float, monkeypatch: pytest.MonkeyPatch) -> str:
    """What is told of how long eight trials take in one pass, when a study goes on."""
    task, study = make_task(), make_study()
    left = iter(seconds)

    def run(self: acs.Local, jobs: Any, work: Any) -> Any:
        ended = [
            (job, Outcome(TrialState.COMPLETE, 0.5 + job.number, seconds=next(left)))
            for job in jobs
        ]
        yield Finished(ended)

    monkeypatch.setattr(acs.Local, "run", run)
    executor = acs.Local(batch=1)
    study.optimize(task, n_trials=len(seconds), executor=executor, show_progress_bar=False)
    told: list[str] = []
    monkeypatch.setattr("actsearch.study.driver.announce", lambda text, _: told.append(text))
    of_task = "actsearch.evaluation.subject.of_task.TaskSubject"
    monkeypatch.setattr(f"{of_task}.stack_gain", gain)
    monkeypatch.setattr(f"{of_task}.batch_for", lambda self, requests, largest: len(requests))
    left = iter([1.0] * 8)
    study.optimize(task, n_trials=8, show_progress_bar=False)
    return told[0]


def test_the_gain_of_a_stack_is_counted_once_when_a_study_goes_on(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Stored trials have had it already, but for a single one, which was alone."""
    assert trained_twice([2.0, 2.0, 2.0], 4.0, monkeypatch).endswith("8 trials in about 16 s")


def test_a_single_trial_was_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    assert trained_twice([2.0], 4.0, monkeypatch).endswith("8 trials in about 4 s")


def test_forecasts_know_how_many_workers_share_the_trials(
    caplog: pytest.LogCaptureFixture,
) -> None:
    study, subject = make_study(), make_subject(make_task())
    subject.note_stack_gain(4.0, 1)
    assert describe_gain(study.record, subject, 3.0, 40, 4).endswith("40 trials in about 30 s")
    with caplog.at_level("INFO", logger="actsearch"):
        log_forecast(study.record, subject, 2, 40, lambda: 3.0, 4)
    assert "about 6 s a trial; with 4 workers 2400 an hour, 40 trials in about 60 s" in caplog.text
