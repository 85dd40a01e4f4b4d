"""Candidates that give nan or inf, at the first, a middle or the last step: failed with the reason, and never best."""

from __future__ import annotations

import math
from collections.abc import Sequence

import pytest
import torch
import torch.nn.functional as F
from torch import nn

import actsearch as acs
from actsearch.records import TrialState
from actsearch.seeds import derive, seed_list
from actsearch.task import Batches

_STEPS = 4
_BATCH = 16
_TAME = ["tanh(x)", "sin(x)", "max(x, 0)", "x * sigmoid(x)"]

# what one sample far from all others makes of them, while all others are harmless
_EXPLODING = {
    "inf": "exp(x) - 1",
    "beyond all": "exp(0.01 * exp(x))",
    "nan": "x * sqrt(20 - x)",
    "nan from inf - inf": "exp(x) - exp(x + 0.1)",
}


def _model() -> nn.Module:
    return nn.Sequential(nn.Linear(2, 8), nn.ReLU(), nn.Linear(8, 2))


def _task(step: int | None, direction: str = "min") -> acs.Task:
    """One sample lies far out; it comes at a step of the training, or (None) in the validation data."""
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(96, 2, generator=generator)
    y = (x[:, 0] * x[:, 1] > 0).long()
    train, valid = (x[:64].clone(), y[:64]), (x[64:].clone(), y[64:])
    if step is None:
        valid[0][7] = 1e3
    else:
        seed = seed_list(0, "search", 1)[0]
        order = Batches(
            (torch.arange(64), y[:64]), _BATCH, torch.device("cpu"), derive(seed, "data")
        )
        batches = [rows.tolist() for rows, _ in order]
        row = next(
            row for row in batches[step - 1] if row > 8
        )  # not among the samples one sees first
        train[0][row] = 1e3
    return acs.Task(
        tune_lr=False,
        model=_model,
        train=train,
        valid=valid,
        loss=F.cross_entropy,
        metric="loss" if direction == "min" else "accuracy",
        epochs=1,
        batch_size=_BATCH,
        lr=1e-3,
        device="cpu",
    )


def _trained(task: acs.Task, formulas: Sequence[str], stack: int) -> dict[str, acs.Trial]:
    study = acs.create_study(study_name="s", strategy="random")
    for formula in formulas:
        study.enqueue_trial(formula)
    study.optimize(
        task, n_trials=len(formulas), executor=acs.Local(stack), show_progress_bar=False
    )
    assert study.best_trial.state is TrialState.COMPLETE
    assert math.isfinite(study.best_value)
    return dict(zip(formulas, study.trials, strict=False))


@pytest.mark.parametrize("stack", [1, 8], ids=["alone", "stacked"])
@pytest.mark.parametrize("step", [1, 2, _STEPS, None], ids=["first", "middle", "last", "valid"])
@pytest.mark.parametrize(
    "kind", ["inf", *(pytest.param(kind, marks=pytest.mark.slow) for kind in list(_EXPLODING)[1:])]
)
def test_it_fails_with_where_and_its_neighbours_do_not_notice(
    kind: str, step: int | None, stack: int
) -> None:
    """Invariant: FAILED, the reason says where, never best; the others have the values they have without it."""
    task, bad = _task(step), _EXPLODING[kind]
    trials = _trained(task, [_TAME[0], bad, *_TAME[1:]], stack)
    failed = trials.pop(bad)
    assert failed.state is TrialState.FAILED
    assert failed.value is None
    where = "validation after epoch 1" if step is None else f"epoch 1, step {step}"
    assert where in failed.reason
    undisturbed = _trained(task, _TAME, stack)
    for formula in _TAME:
        assert trials[formula].state is TrialState.COMPLETE
        assert trials[formula].value == undisturbed[formula].value


def test_what_explodes_on_ordinary_values_is_not_even_trained() -> None:
    trials = _trained(_task(2), ["exp(exp(x))", *_TAME], 1)
    assert trials["exp(exp(x))"].state is TrialState.REJECTED
    assert "not finite" in trials["exp(exp(x))"].reason


@pytest.mark.parametrize("stack", [1, 8], ids=["alone", "stacked"])
def test_several_may_explode_at_once(stack: int) -> None:
    task = _task(2)
    trials = _trained(task, [*_EXPLODING.values(), *_TAME], stack)
    assert all(trials[bad].state is TrialState.FAILED for bad in _EXPLODING.values())
    assert all(trials[good].state is TrialState.COMPLETE for good in _TAME)


@pytest.mark.parametrize("stack", [1, 8], ids=["alone", "stacked"])
def test_a_model_whose_weights_explode_in_the_last_update_fails(stack: int) -> None:
    """The last loss is finite still, and only what comes after it is not: validation notices."""
    task = _task(_STEPS).replace(lr=1e38, optimizer=torch.optim.SGD)
    study = acs.create_study(study_name="s", strategy="random")
    for formula in _TAME:
        study.enqueue_trial(formula)
    study.optimize(task, n_trials=4, executor=acs.Local(stack), show_progress_bar=False)
    assert [trial.state for trial in study.trials[:4]] == [TrialState.FAILED] * 4
    with pytest.raises(acs.StudyError):
        _ = study.best_trial


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("at", [0, 3, 7], ids=["first", "middle", "last"])
@pytest.mark.parametrize("direction", ["minimize", "maximize"])
def test_a_value_that_is_no_finite_number_is_never_best(
    direction: str, at: int, value: float
) -> None:
    """Whichever trial it is of, and whichever way is better."""
    calls: list[int] = []

    def objective(candidate: acs.Candidate, run: acs.Run) -> float:
        calls.append(run.number)
        return value if len(calls) == at + 1 else 1.0 + len(calls)

    study = acs.create_study(study_name="s", strategy="random", direction=direction)  # type: ignore[arg-type]
    study.optimize(objective, n_trials=8, show_progress_bar=False)
    trained = [trial for trial in study.trials if trial.state.is_trained]
    assert [trial.state is TrialState.FAILED for trial in trained] == [n == at for n in range(8)]
    assert trained[at].reason.endswith(f"the objective returned {value}")
    finite = [trial.value for trial in trained if trial.value is not None]
    assert study.best_value == (min(finite) if direction == "minimize" else max(finite))
