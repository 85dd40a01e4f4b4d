"""A verdict whose trainings run in an executor, and whose callbacks see each of them."""

from __future__ import annotations

import os
from collections.abc import Generator, Sequence
from pathlib import Path

import pytest
import torch
from torch import nn
from torch.nn import functional as F

import actsearch as acs
from actsearch.execution import Finished, Job, Work
from actsearch.study.confirm import TooEarly


def task() -> acs.Task:
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(200, 4, generator=generator)
    y = torch.sin(2 * x[:, :1]) + x[:, 1:2]

    def model() -> nn.Module:
        return nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 1))

    return acs.Task(
        model=model, train=(x[:60], y[:60]), valid=(x[60:100], y[60:100]), test=(x[100:], y[100:]), loss=F.mse_loss,
        metric="mse", epochs=2, batch_size=20, lr=1e-2, tune_lr=False, device="cpu",
    )  # fmt: skip


def searched(path: Path) -> str:
    """A study of four trials, in a file."""
    url = f"sqlite:///{path}"
    study = acs.create_study(study_name="s", storage=url, strategy="random", seed=0)
    study.optimize(task(), n_trials=4, show_progress_bar=False)
    return url


def confirm(url: str, **settings: object) -> acs.Verdict:
    study = acs.load_study(study_name="s", storage=url)
    given = {"top_k": 2, "seeds": 8, **settings}
    return study.confirm(task(), show_progress_bar=False, **given)  # type: ignore[arg-type]


class Watched(acs.Local):
    """In this process; notes what it was given."""

    def __init__(self) -> None:
        super().__init__(batch=1)
        self.jobs: list[Job] = []
        self.is_closed = False

    def run(self, jobs: Sequence[Job], work: Work) -> Generator[Finished]:
        self.jobs += jobs
        yield from super().run(jobs, work)

    def close(self) -> None:
        self.is_closed = True


def test_every_training_runs_in_the_executor(tmp_path: Path) -> None:
    executor = Watched()
    verdict = confirm(searched(tmp_path / "a.db"), executor=executor)
    assert len(executor.jobs) == verdict.trainings
    assert executor.is_closed
    splits = [job.request.split for job in executor.jobs if job.request is not None]
    assert splits.count("valid") >= 3  # finalists and the baseline
    assert splits.count("test") >= 3 * 8


def test_callbacks_see_each_training_when_it_is_stored(tmp_path: Path) -> None:
    seen: list[acs.VerdictTraining] = []
    verdict = confirm(
        searched(tmp_path / "a.db"), callbacks=[lambda study, training: seen.append(training)]
    )
    assert [training.count for training in seen] == list(range(1, verdict.trainings + 1))
    assert {training.phase for training in seen} == {"search", "confirm"}
    assert seen[0].label == "baseline"
    assert all(training.value is not None and training.lr for training in seen)


@pytest.mark.slow  # two seconds
def test_a_callback_ends_a_verdict_and_another_call_goes_on_from_there(tmp_path: Path) -> None:
    whole = confirm(searched(tmp_path / "a.db"))

    def stop(study: acs.Study, training: acs.VerdictTraining) -> None:
        if training.phase == "confirm" and training.count == 40:
            study.stop()

    url = searched(tmp_path / "b.db")
    stopped = confirm(url, callbacks=[stop], executor=acs.Local(batch=1))
    assert stopped.cut == "study.stop()"
    assert "called again" in stopped.sentence
    assert 40 <= stopped.trainings < whole.trainings
    made: list[int] = []
    executor = Watched()
    again = confirm(
        url,
        executor=executor,
        callbacks=[lambda study, training: made.append(training.count)],
    )
    assert made[0] > 40
    # one that was stored is trained once more where the others are, with the threads that it had
    assert len(executor.jobs) == len(made) + 1
    assert str(again) == str(whole)
    assert again.trainings == whole.trainings


def test_one_that_ends_before_anything_was_compared_says_so(tmp_path: Path) -> None:
    url = searched(tmp_path / "a.db")
    with pytest.raises(TooEarly, match=r"study.stop\(\) ended the verdict before the finalists"):
        confirm(url, callbacks=[lambda study, training: study.stop()])


def test_a_budget_that_is_too_small_for_a_new_verdict_reads_the_one_that_there_is(
    tmp_path: Path,
) -> None:
    url = searched(tmp_path / "a.db")
    with pytest.raises(acs.StudyError, match="budget=1 trainings are too few"):
        confirm(url, budget=1)
    assert confirm(url) == confirm(url, budget=1)


@pytest.mark.slow
def test_processes_give_the_same_verdict(tmp_path: Path) -> None:
    whole = confirm(searched(tmp_path / "a.db"))
    with_processes = confirm(searched(tmp_path / "b.db"), executor=acs.Processes(2))
    assert str(with_processes) == str(whole)
    assert with_processes.trainings == whole.trainings
    assert [row.low for row in with_processes.rows] == [row.low for row in whole.rows]


@pytest.mark.slow
def test_a_training_that_crashes_says_nothing_of_its_activation(tmp_path: Path) -> None:
    def objective(candidate: acs.Candidate, run: acs.Run) -> float:
        if run.phase == "confirm" and candidate.formula == "tanh(x)":
            os._exit(3)
        return len(candidate.formula) + run.seed % 7 / 100

    study = acs.create_study(
        study_name="s",
        storage=f"sqlite:///{tmp_path / 'a.db'}",
        direction="maximize",
        strategy="random",
    )
    study.enqueue_trial("sin")
    study.enqueue_trial("tanh")
    study.optimize(objective, n_trials=3, show_progress_bar=False)
    with pytest.raises(
        acs.StudyError, match="tanh.* under seed .* did not come to its end: .*code 3"
    ):
        study.confirm(objective, seeds=8, executor=acs.Processes(1), show_progress_bar=False)
    assert study.verdicts == []
