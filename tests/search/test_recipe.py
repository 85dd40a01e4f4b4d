"""What a verdict tells to set: pasted into a plain loop of torch's, it gives the verdict's numbers again."""

from __future__ import annotations

import functools
import types
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import nn

import actsearch as acs
from actsearch.placement.random_streams import isolated_random
from actsearch.report import Measured, Verdict, compute_verdict
from actsearch.seeds import derive, seed_list

X = torch.randn(120, 2, generator=torch.Generator().manual_seed(0))
Y = (torch.sin(3 * X[:, 0]) + X[:, 1] > 0).long()
GIVEN = 1e-3  # far too small for these epochs


def make() -> nn.Sequential:
    return nn.Sequential(nn.Linear(2, 16), nn.ReLU(), nn.Linear(16, 2))


def task(**changes: Any) -> acs.Task:
    settings = {
        "model": make, "train": (X[:64], Y[:64]), "valid": (X[64:88], Y[64:88]), "test": (X[88:], Y[88:]),
        "loss": F.cross_entropy, "metric": "loss", "epochs": 4, "batch_size": 16, "lr": GIVEN, "device": "cpu",
        "optimizer": functools.partial(torch.optim.SGD, momentum=0.9), "weight_decay": 0.05, "diagnostics": False,
    }  # fmt: skip
    return acs.Task(**{**settings, **changes})


def confirmed(formula: str, what: acs.Task, seeds: int = 4) -> tuple[acs.Study, Verdict]:
    study = acs.create_study(study_name="s", strategy="random", seed=1)
    study.enqueue_trial(formula)
    study.optimize(what, n_trials=1, show_progress_bar=False)
    return study, study.confirm(what, top_k=1, seeds=seeds, show_progress_bar=False)


def pasted(code: str) -> Any:
    """What a user pastes, run as a module of its own."""
    assert "actsearch" not in code.split('"""')[2]  # it needs torch alone
    module: Any = types.ModuleType("pasted")
    exec(compile(code, "pasted", "exec"), module.__dict__)  # our own text, made just now
    return module


def plain_score(module: Any, kind: Any, seed: int, lr: float) -> float:
    """A user's own loop with what was pasted; initialised and shuffled as in the study."""
    module.LEARNING_RATE = lr
    with isolated_random(derive(seed, "init")):
        model = make()
    model[1] = kind()
    optimizer = module.make_optimizer(model)
    order = torch.Generator().manual_seed(derive(seed, "data"))
    for _ in range(4):
        for rows in torch.split(torch.randperm(64, generator=order), 16):
            optimizer.zero_grad()
            torch.autograd.backward(F.cross_entropy(model(X[rows]), Y[rows]))
            optimizer.step()
    with torch.no_grad():
        return F.cross_entropy(model(X[88:]), Y[88:]).item()


def test_pasted_into_a_plain_loop_it_gives_the_verdicts_numbers() -> None:
    """With a learned number, which weight decay would pull to 0."""
    study, verdict = confirmed("x * sigmoid(param(2.5) * x)", task())
    trial = next(trial for trial in study.trials if trial.verdict is not None)
    module = pasted(acs.to_python(trial, name="Found"))
    (row,) = verdict.rows
    seeds = seed_list(1, "confirm 0", 4)
    scores = [
        plain_score(module, module.Found, seed, lr)
        for seed, lr in zip(seeds, row.learning_rates, strict=True)
    ]
    assert scores == [pytest.approx(value, rel=1e-5) for value in row.values]
    assert row.learning_rate == sorted(row.learning_rates)[1]  # the lower median of 4
    assert row.learning_rate > 3 * GIVEN
    module = pasted(acs.to_python(trial, name="Found"))
    assert row.learning_rate == module.LEARNING_RATE


def test_what_is_learned_is_in_a_group_without_decay() -> None:
    study, _ = confirmed("x * sigmoid(param(2.5) * x)", task(), 2)
    trial = next(trial for trial in study.trials if trial.verdict is not None)
    module = pasted(acs.to_python(trial, name="Found"))
    model = make()
    model[1] = module.Found()
    weights, learned = module.make_optimizer(model).param_groups
    assert [len(group["params"]) for group in (weights, learned)] == [4, 1]
    assert learned["params"] == list(model[1].parameters())
    assert (weights["weight_decay"], learned["weight_decay"]) == (0.05, 0.0)
    assert (weights["momentum"], learned["momentum"]) == (0.9, 0.9)


def test_without_learned_numbers_there_are_no_groups() -> None:
    study, _ = confirmed("sin(x)", task(), 2)
    trial = next(trial for trial in study.trials if trial.verdict is not None)
    code = acs.to_python(trial)
    assert "parameter_groups" not in code
    (group,) = pasted(code).make_optimizer(make()).param_groups
    assert (group["weight_decay"], group["momentum"]) == (0.05, 0.9)


def test_an_optimizer_of_the_users_own_is_left_to_them() -> None:
    def own(parameters: Any, lr: float) -> torch.optim.Optimizer:
        return torch.optim.SGD(parameters, lr=lr)

    study, verdict = confirmed("sin(x)", task(optimizer=own, weight_decay=0.0), 2)
    trial = next(trial for trial in study.trials if trial.verdict is not None)
    assert not hasattr(pasted(acs.to_python(trial)), "make_optimizer")
    assert "Optimizer: that of the task" in str(verdict.recipe())


def test_what_else_the_task_trains_with_is_named() -> None:
    made = task(schedule="cosine", clip_grad_norm=1.0)
    study, verdict = confirmed("sin(x)", made, 2)
    assert str(verdict.recipe(verdict.rows[0])).endswith(
        "Besides, as in the task: schedule='cosine', clip_grad_norm=1.0."
    )
    code = acs.to_python(next(trial for trial in study.trials if trial.verdict is not None))
    assert "# besides, the study trained with: schedule='cosine', clip_grad_norm=1.0" in code


def test_where_the_schedule_sets_the_rates_the_groups_are_written_all_the_same() -> None:
    def one_cycle(optimizer: Any, steps: int) -> Any:
        rates = [0.1] * len(optimizer.param_groups)
        return torch.optim.lr_scheduler.OneCycleLR(optimizer, rates, total_steps=steps)

    study, verdict = confirmed("x * sigmoid(param(2.5) * x)", task(schedule=one_cycle), 2)
    assert verdict.rows[0].learning_rate is None
    module = pasted(
        acs.to_python(next(t for t in study.trials if t.verdict is not None), name="F1")
    )
    assert module.LEARNING_RATE == GIVEN
    model = make()
    model[1] = module.F1()
    assert [group["weight_decay"] for group in module.make_optimizer(model).param_groups] == [
        0.05,
        0.0,
    ]


def test_nothing_is_drawn_anew_in_the_model_unchanged() -> None:
    _, verdict = confirmed("sin(x)", task(gain="auto"), 2)
    assert "drawn anew" in str(verdict.recipe(verdict.rows[0]))
    assert "drawn anew" not in str(verdict.recipe(verdict.baseline))


def test_it_is_said_in_sentences_and_survives_the_database() -> None:
    _, verdict = confirmed("sin(x)", task(gain="auto"), 2)
    verdict = Verdict.from_json(verdict.to_json())
    (row,) = verdict.rows
    said = str(verdict.recipe(row))
    assert said.startswith(
        f"Activation: sin(x), at 1 (ReLU). Learning rate: {row.learning_rate:.6g}"
    )
    assert said.endswith(
        "Optimizer: SGD, momentum=0.9. Weight decay: 0.05, none on what the activation learns. "
        "Layers before it: drawn anew with its gain, as by Task(gain='auto')."
    )
    assert verdict.recipe(verdict.baseline).label == "ReLU"


@pytest.mark.parametrize(("gain", "advice"), [(1.0, "Use sin(x)"), (0.0, "Keep ReLU")])
def test_the_sentence_has_the_rate_at_which_it_holds(gain: float, advice: str) -> None:
    noise = [0.01 * (seed % 3) for seed in range(8)]
    base = Measured("ReLU", "ReLU", [0.0] * 8, learning_rate=0.03)
    other = Measured("sin(x)", "sin(x)", [gain + item for item in noise], learning_rate=0.03)
    told = compute_verdict(
        base, [other], study_name="s", metric="accuracy", direction="maximize", min_effect=0.1
    )
    assert told.sentence.startswith(f"{advice}, trained with lr 0.03: ")


@pytest.mark.parametrize(
    ("changed", "expected"),
    [
        ({"optimizer": "Adam\nimport os"}, ""),
        ({"options": {"momentum": 0.9, "x)\nimport os\n(": 1}}, None),
        ({"options": {"momentum": "__import__('os')"}}, None),
    ],
)
def test_nothing_of_a_changed_database_goes_into_the_code(
    changed: dict[str, Any], expected: str | None
) -> None:
    _, verdict = confirmed("sin(x)", task(), 2)
    data = verdict.to_json()
    data["settings"] |= changed
    if expected is None:
        with pytest.raises(acs.StorageError, match="not a setting of an optimizer"):
            Verdict.from_json(data)
        return
    read = Verdict.from_json(data).recipe()
    assert read.settings is not None
    assert read.settings.optimizer == expected
    assert "import os" not in read.code()
