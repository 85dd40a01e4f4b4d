"""What a search tells while it trains, and how long a trial may take."""

from __future__ import annotations

import os
import time
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

import actsearch as acs
from actsearch.evaluation import Request, make_subject
from actsearch.records import CandidateRecord, TrialState
from actsearch.study import progress
from actsearch.training.pace import following


class Slow(nn.Module):
    """Each training step takes as long as the environment says: what a task computes with must not change."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 1))

    def forward(self, x: Tensor) -> Tensor:
        if self.training:
            time.sleep(float(os.environ.get("PAUSE", "0")))
            if left := os.environ.get("PAUSES_AFTER"):  # so many steps, once
                os.environ["PAUSES_AFTER"] = str(int(left) - 1)
                time.sleep(2.2 * (left == "1"))
        out: Tensor = self.layers(x)
        return out


def make_task(**changes: Any) -> acs.Task:
    x = torch.randn(160, 4, generator=torch.Generator().manual_seed(0))
    y = torch.sin(2 * x[:, :1])
    settings: dict[str, Any] = {
        "model": Slow, "train": (x[:60], y[:60]), "valid": (x[60:100], y[60:100]), "test": (x[100:], y[100:]),
        "loss": F.mse_loss, "epochs": 4, "batch_size": 20, "lr": 1e-2, "tune_lr": False, "device": "cpu",
    }  # fmt: skip
    return acs.Task(**(settings | changes))


def make_study() -> acs.Study:
    return acs.create_study(study_name="s", strategy="random", direction="minimize", seed=0)


class TestEvaluationsAreTold:
    def test_of_each_training(self) -> None:
        heard: list[tuple[int, int, int]] = []
        subject = make_subject(make_task())
        with following(lambda *told: heard.append(told)):
            subject.train([Request(CandidateRecord.baseline(), (0,))])
        assert heard == [(1, 4, 1), (2, 4, 1), (3, 4, 1), (4, 4, 1)]
        subject.train([Request(CandidateRecord.baseline(), (0,))])  # nobody listens any more
        assert len(heard) == 4

    def test_of_a_stack(
        self, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(progress, "_INTERVAL", 0.0)
        make_study().optimize(make_task(), n_trials=7, executor=acs.Local(batch=6))
        shown = capsys.readouterr().err
        assert [f"6 in training: {part}%" in shown for part in (25, 50, 75, 100)] == [True] * 4
        assert "best " in shown.splitlines()[-1]

    def test_of_a_verdict(
        self, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        task, study = make_task(), make_study()
        study.optimize(task, n_trials=3, show_progress_bar=False)
        monkeypatch.setattr(progress, "_INTERVAL", 0.0)
        study.confirm(task, top_k=1, seeds=2, lrs=[])
        assert "training: 50%" in capsys.readouterr().err


class TestATrialMayTakeSoLong:
    def test_longer_ones_fail_and_the_others_go_on(self, monkeypatch: pytest.MonkeyPatch) -> None:
        study = make_study()
        executor = acs.Local(1, trial_timeout=0.5)
        study.optimize(make_task(), n_trials=2, executor=executor, show_progress_bar=False)
        monkeypatch.setenv("PAUSE", "0.2")
        began = time.monotonic()
        study.optimize(make_task(), n_trials=1, executor=executor, show_progress_bar=False)
        assert time.monotonic() - began < 2.4  # a whole training waits that long
        monkeypatch.setenv("PAUSE", "0.0")
        study.optimize(make_task(), n_trials=1, executor=executor, show_progress_bar=False)
        trained = [trial for trial in study.trials if trial.state.is_trained]
        assert [trial.state.name for trial in trained] == [
            "COMPLETE", "COMPLETE", "FAILED", "COMPLETE",
        ]  # fmt: skip
        assert "took longer than 0.5 s a trial (trial_timeout)" in trained[2].record.reason

    def test_in_one_pass_so_many_times_as_long(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("PAUSE", "0.05")  # twelve steps
        study, task = make_study(), make_task()
        together = acs.Local(batch=5, trial_timeout=0.4)
        study.optimize(task, n_trials=6, executor=together, show_progress_bar=False)
        states = [trial.state for trial in study.trials if trial.state.is_trained]
        # the last one is alone, and takes longer than its share
        assert states == [TrialState.COMPLETE] * 5 + [TrialState.FAILED]

    @pytest.mark.parametrize(("pruned", "at"), [(False, 9), (True, 30)])
    def test_a_pass_that_takes_too_long_is_trained_one_by_one(
        self,
        monkeypatch: pytest.MonkeyPatch,
        caplog: pytest.LogCaptureFixture,
        pruned: bool,
        at: int,
    ) -> None:
        """It is not known which of them was slow."""

        def search(executor: acs.Local) -> list[tuple[Any, ...]]:
            study = acs.create_study(
                study_name="s", strategy="random", direction="minimize", seed=0,
                pruner=acs.SuccessiveHalving(1, 2) if pruned else None,
            )  # fmt: skip
            study.optimize(make_task(), n_trials=5, executor=executor, show_progress_bar=False)
            return [(t.number, t.state.name, t.value, t.record.reason) for t in study.trials]

        expected = search(acs.Local(batch=1))
        assert ("PRUNED" in {state for _, state, *_ in expected}) is pruned
        monkeypatch.setenv("PAUSES_AFTER", str(at))  # 30: after the first rung of the stack
        with caplog.at_level("WARNING", logger="actsearch"):
            found = search(acs.Local(batch=5, trial_timeout=0.4))
        assert "5 trials in one pass: took longer than 0.4 s a trial" in caplog.text
        assert found == expected

    def test_a_verdict_takes_it_for_no_divergence(self, monkeypatch: pytest.MonkeyPatch) -> None:
        task, study = make_task(), make_study()
        study.optimize(task, n_trials=3, show_progress_bar=False)
        monkeypatch.setenv("PAUSE", "0.2")
        with pytest.raises(
            acs.StudyError, match=r"did not come to its end.*took longer than 0\.3 s"
        ):
            study.confirm(
                task,
                top_k=1,
                seeds=2,
                executor=acs.Local(trial_timeout=0.3),
                show_progress_bar=False,
            )
        assert study.verdicts == []
        monkeypatch.setenv("PAUSE", "0.0")
        verdict = study.confirm(task, top_k=1, seeds=2, show_progress_bar=False)
        assert all(row.diverged == 0 for row in verdict.rows)

    @pytest.mark.parametrize("limit", [0, -1, float("nan"), "60"])
    def test_what_is_no_time_is_refused(self, limit: Any) -> None:
        with pytest.raises(acs.StudyError, match="trial_timeout"):
            acs.Local(trial_timeout=limit)


@pytest.mark.slow
def test_how_long_it_takes_together_is_said(capsys: pytest.CaptureFixture[str]) -> None:
    x = torch.randn(1200, 16, generator=torch.Generator().manual_seed(0))
    y = torch.sin(2 * x[:, :1])

    def model() -> nn.Module:
        return nn.Sequential(nn.Linear(16, 16), nn.ReLU(), nn.Linear(16, 1))

    task = make_task(
        model=model, train=(x[:1000], y[:1000]), valid=(x[1000:], y[1000:]), test=None, epochs=6
    )
    study = make_study()
    study.optimize(task, n_trials=2, executor=acs.Local(1), show_progress_bar=False)
    study.optimize(task, n_trials=20)
    shown = capsys.readouterr().err
    assert "study s: trials train together, each " in shown
    assert " times as fast as alone: " in shown
