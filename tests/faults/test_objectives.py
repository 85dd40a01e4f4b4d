"""What a user's objective may do: its trial fails with the reason, and the search goes on with the next."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import optuna
import pytest
import torch
import torch.nn.functional as F
from torch import nn

import actsearch as acs
from actsearch.records import TrialState

Objective = Callable[[acs.Candidate, acs.Run], Any]


def _raise(error: BaseException) -> Any:
    raise error


def _deep(depth: int = 0) -> Any:
    return _deep(depth + 1)


class _NotANumber:
    def __float__(self) -> float:
        raise ZeroDivisionError("of its own")


ENDINGS: dict[str, tuple[Callable[[], Any], str]] = {
    "raises": (lambda: _raise(ValueError("no such layer")), "ValueError: no such layer"),
    "raises with a long message": (lambda: _raise(ValueError("x" * 1_000_000)), "ValueError: xxx"),
    "raises without a message": (lambda: _raise(ValueError()), "ValueError"),
    "raises an assertion": (lambda: _raise(AssertionError()), "AssertionError"),
    "raises StopIteration": (lambda: _raise(StopIteration("empty loader")), "StopIteration"),
    "recurses": (_deep, "RecursionError"),
    "runs out of memory": (lambda: _raise(MemoryError("no more")), "MemoryError: no more"),
    "calls sys.exit": (lambda: _raise(SystemExit(3)), "SystemExit"),
    "a string": (lambda: "0.93", "the objective returned str"),
    "None": (lambda: None, "the objective returned NoneType"),
    "a truth value": (lambda: True, "the objective returned bool"),
    "nan": (lambda: math.nan, "the objective returned nan"),
    "a tensor of nan": (lambda: torch.tensor(math.nan), "the objective returned nan"),
    "inf": (lambda: -math.inf, "the objective returned -inf"),
    "a list": (lambda: [0.5], "TypeError"),
    "a tensor of several": (lambda: torch.ones(3), "Error: "),
    "a complex number": (lambda: 1j, "TypeError"),
    "a number beyond float": (lambda: 10**400, "OverflowError"),
    "what raises when it is read": (_NotANumber, "ZeroDivisionError: of its own"),
    "an empty mapping": (dict, "the objective returned no number"),
    "a mapping with a string": (lambda: {"loss": "low"}, "the objective returned str"),
    "a mapping with None": (lambda: {"loss": None}, "the objective returned NoneType"),
    "a mapping with nan": (lambda: {"loss": math.nan, "accuracy": 0.5}, "returned nan"),
}


@pytest.mark.parametrize("batch", [1, 3])
def test_its_trial_fails_and_no_other(sqlite_url: str, batch: int) -> None:
    """Invariant: FAILED with the reason, stored; the trials before and after it are as without it."""
    ends = list(ENDINGS.values())
    study = acs.create_study(
        study_name="s", storage=sqlite_url, strategy="random", direction="minimize"
    )
    calls: list[int] = []

    def objective(candidate: acs.Candidate, run: acs.Run) -> Any:
        calls.append(run.number)
        return ends[len(calls) // 2 - 1][0]() if len(calls) % 2 == 0 else float(len(calls))

    count = 2 * len(ends) + 1
    study.optimize(objective, n_trials=count, executor=acs.Local(batch), show_progress_bar=False)
    loaded = acs.load_study(study_name="s", storage=sqlite_url)
    trained = [trial for trial in loaded.trials if trial.state.is_trained]
    assert [trial.value for trial in trained[::2]] == list(range(1, count + 1, 2))
    wrong = {
        ending: (trial.state, trial.value, trial.reason)
        for (ending, (_, says)), trial in zip(ENDINGS.items(), trained[1::2], strict=True)
        if (trial.state, trial.value) != (TrialState.FAILED, None)
        or says not in trial.reason
        or len(trial.reason) >= 3000
    }
    assert wrong == {}
    assert len(set(calls)) == count
    assert loaded.best_value == 1


@pytest.mark.parametrize("batch", [1, 4])
def test_one_in_which_the_user_interrupts_is_obeyed_and_nothing_is_lost(
    tmp_path: Path, distance: Objective, batch: int
) -> None:
    """Invariant: what was reported is stored, the trial is made again
    under its number by the next run, and the study equals the unbroken one.
    """
    leave = [True]
    reported: list[int] = []

    def objective(candidate: acs.Candidate, run: acs.Run) -> Any:
        if len(reported) >= 4 and leave:
            leave.clear()
            raise KeyboardInterrupt
        return distance(candidate, run)

    def run(name: str) -> list[tuple[Any, ...]]:
        study = acs.create_study(
            study_name="s",
            storage=f"sqlite:///{tmp_path}/{name}.db",
            strategy="genetic",
            direction="minimize",
            load_if_exists=True,
        )
        study.optimize(
            objective,
            total_trials=24,
            executor=acs.Local(batch),
            callbacks=[lambda _, trial: reported.append(trial.number)],
            show_progress_bar=False,
        )
        return [(t.number, t.state, t.candidate.formula, t.value) for t in study.trials]

    with pytest.raises(KeyboardInterrupt):
        run("left")
    assert len(reported) == 4
    rows = run("left")
    assert len(reported) == len(set(reported)) == 24
    assert rows == run("unbroken")


# objectives that were written for Optuna


class _OfTheirOwn(optuna.TrialPruned):
    """A user's kind of it."""


def _pruned_at_third(error: type[Exception], several: bool) -> Objective:
    """Of six trials the third ends early; what it reports is the best that any trial has."""

    def objective(candidate: acs.Candidate, run: acs.Run) -> Any:
        run.report(1, 0.5 + run.number)
        if run.number == 2:
            run.report(2, 0.25)
            raise error("hopeless")
        return {"loss": 1.0 + run.number, "size": 2.0} if several else 1.0 + run.number

    return objective


@pytest.mark.parametrize(
    ("executor", "error", "several"),
    [
        ("alone", optuna.TrialPruned, False),
        ("alone", _OfTheirOwn, True),
        ("together", _OfTheirOwn, False),
        pytest.param("processes", optuna.TrialPruned, False, marks=pytest.mark.slow),
        pytest.param("processes", _OfTheirOwn, True, marks=pytest.mark.slow),
    ],
)
def test_optunas_trial_pruned_prunes(
    sqlite_url: str, executor: str, error: type[Exception], several: bool
) -> None:
    """Invariant: PRUNED with what was reported last, never best; the other trials as without it."""
    made: dict[str, Any] = {
        "alone": acs.Local(1),
        "together": acs.Local(3),
        "processes": acs.Processes(2),
    }
    goal: dict[str, Any] = (
        {"directions": ("minimize", "minimize")} if several else {"direction": "minimize"}
    )
    study = acs.create_study(study_name="s", storage=sqlite_url, strategy="random", **goal)
    study.optimize(
        _pruned_at_third(error, several),
        n_trials=6,
        executor=made[executor],
        show_progress_bar=False,
    )
    loaded = acs.load_study(study_name="s", storage=sqlite_url)
    trained = [trial for trial in loaded.trials if trial.state.is_trained]
    states = ["PRUNED" if trial.number == 2 else "COMPLETE" for trial in trained]
    assert [trial.state.name for trial in trained] == states
    pruned = loaded.trials[2]
    assert pruned.value == 0.25
    assert "hopeless" in pruned.reason
    assert [trial.number for trial in loaded.best_trials] == [0]
    assert str(loaded.optuna_study.trials[2].state.name) == "PRUNED"


def test_a_report_in_optunas_order_fails_its_trial() -> None:
    def objective(candidate: acs.Candidate, run: acs.Run) -> float:
        run.report(0.93, 1)  # type: ignore[arg-type]
        raise optuna.TrialPruned

    study = acs.create_study(study_name="s", strategy="random", direction="minimize")
    study.optimize(objective, n_trials=1, show_progress_bar=False)
    assert study.trials[0].state is TrialState.FAILED
    assert "step must be a whole number, not 0.93; Optuna's report" in study.trials[0].reason


def test_only_optunas_own_is_taken_for_it() -> None:
    """A class of that name from elsewhere is an error like any other; without a report there is no value."""

    class TrialPruned(Exception):
        """Of the user's."""

    ends: list[Exception] = [TrialPruned("mine"), optuna.TrialPruned()]
    study = acs.create_study(study_name="s", strategy="random", direction="minimize")
    study.optimize(lambda c, run: _raise(ends[run.number]), n_trials=2, show_progress_bar=False)
    failed, pruned = study.trials[:2]
    assert failed.state is TrialState.FAILED
    assert "TrialPruned: mine" in failed.reason
    assert (pruned.state, pruned.value) == (TrialState.PRUNED, None)
    assert "pruned by the objective" in pruned.reason


def _data() -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(128, 2, generator=generator)
    return x, (x[:, 0] * x[:, 1] > 0).long()


def _task(model: Callable[[], nn.Module], **settings: Any) -> acs.Task:
    x, y = _data()
    return acs.Task(
        model=model,
        train=(x[:64], y[:64]),
        valid=(x[64:], y[64:]),
        loss=F.cross_entropy,
        epochs=1,
        batch_size=64,
        lr=1e-2,
        device="cpu",
        **settings,
    )


def _mlp() -> nn.Module:
    return nn.Sequential(nn.Linear(2, 8), nn.ReLU(), nn.Linear(8, 2))


@pytest.mark.parametrize("batch", [1, 4])
def test_a_tasks_evaluate_without_the_metric_fails_its_trial(batch: int) -> None:
    calls: list[int] = []

    def evaluate(model: nn.Module, loader: Any) -> dict[str, float]:
        calls.append(1)
        return {"speed": 1.0} if len(calls) == 3 else {"loss": 1.0 / len(calls), "speed": 1.0}

    study = acs.create_study(study_name="s", strategy="random")
    study.optimize(
        _task(_mlp, metric="loss", evaluate=evaluate, tune_lr=False),
        n_trials=6,
        executor=acs.Local(batch),
        show_progress_bar=False,
    )
    failed = [trial for trial in study.trials if trial.state is TrialState.FAILED]
    assert len(failed) == 1
    assert "evaluate returned speed, not the metric loss" in failed[0].reason
    assert sum(trial.state is TrialState.COMPLETE for trial in study.trials) == 5


# memory

_MEGABYTE = 2**20
_HELD = 16 * _MEGABYTE  # by each trial, when its memory runs out
_MANY = 40  # trials
_GROWTH = 100 * _MEGABYTE  # over them; were nothing given back, they would hold 200 or more


def _resident() -> int:
    """Bytes of this process in memory."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * 4096


def _no_memory() -> torch.Tensor:
    """What torch itself raises on a CPU: more than any machine has."""
    return torch.empty(2**48, dtype=torch.float64)


def _no_gpu_memory() -> torch.Tensor:
    raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB")


@pytest.mark.parametrize("run_out", [_no_memory, _no_gpu_memory])
def test_an_objective_without_memory_gives_it_back(
    run_out: Callable[[], Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Invariant: its trial fails with the reason, and over many trials the process grows by less than 100 MB."""
    # pytest keeps what is logged, and with the exceptions all that they hold
    monkeypatch.setattr(logging.getLogger("actsearch"), "disabled", True)
    before = [0]
    calls: list[int] = []

    def objective(candidate: acs.Candidate, run: acs.Run) -> float:
        calls.append(1)
        if len(calls) == 5:
            before[0] = _resident()
        held = torch.ones(_HELD // 4)
        if len(calls) % 2:
            run_out()
        return float(held[0])

    study = acs.create_study(study_name="s", strategy="random", direction="minimize")
    study.optimize(objective, n_trials=_MANY, show_progress_bar=False)
    assert _resident() - before[0] < _GROWTH
    states = [trial.state for trial in study.trials if trial.state.is_trained]
    assert states == [TrialState.FAILED, TrialState.COMPLETE] * (_MANY // 2)
    reason = study.trials[0].reason
    assert "can't allocate memory" in reason or "OutOfMemoryError: CUDA out of memory" in reason


class _Hungry(nn.Module):
    """Runs out of memory in every third training step, all of its trainings counted."""

    run_out: Callable[[], Any] = _no_memory
    steps = 0
    before = 0

    def __init__(self) -> None:
        super().__init__()
        self.layers = _mlp()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if self.training:
            _Hungry.steps += 1
            if _Hungry.steps == 10:
                _Hungry.before = _resident()
            held = torch.ones(_HELD // 4)
            if _Hungry.steps > 6 and _Hungry.steps % 3 == 0:  # not where the model is looked at
                _Hungry.run_out()
            x = x + 0 * held[0]
        out: torch.Tensor = self.layers(x)
        return out


@pytest.mark.parametrize("run_out", [_no_memory, _no_gpu_memory])
def test_a_batch_that_never_fits_is_told_before_anything_is_trained(
    run_out: Callable[[], Any],
) -> None:
    def loss(output: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        run_out()
        return F.cross_entropy(output, target)

    study = acs.create_study(study_name="s", strategy="random")
    task = _task(_mlp, metric="accuracy").replace(loss=loss)
    with pytest.raises(acs.TaskError, match="memory ran out on the first batch.*make batch_size"):
        study.optimize(task, n_trials=1, show_progress_bar=False)
    assert study.trials == []


@pytest.mark.parametrize(
    ("run_out", "stack"), [(_no_memory, 1), (_no_gpu_memory, 1), (_no_memory, 8)]
)
def test_a_task_without_memory_gives_it_back(
    run_out: Callable[[], Any], stack: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_Hungry, "run_out", staticmethod(run_out))
    monkeypatch.setattr(_Hungry, "steps", 0)
    study = acs.create_study(study_name="s", strategy="random")
    study.optimize(
        _task(_Hungry, metric="loss"),
        n_trials=_MANY,
        executor=acs.Local(stack),
        show_progress_bar=False,
    )
    assert _resident() - _Hungry.before < _GROWTH
    trained = [trial for trial in study.trials if trial.state.is_trained]
    failed = [trial for trial in trained if trial.state is TrialState.FAILED]
    assert len(trained) == _MANY
    # what a stack has no memory for is trained again alone
    assert (1 if stack > 1 else 5) < len(failed) < _MANY
    assert all("memory" in trial.reason for trial in failed)
    assert math.isfinite(study.best_value)
