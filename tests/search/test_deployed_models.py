"""Whole models with their activations converted: what calibrates them, what is refused, and what they are made of."""

from __future__ import annotations

import pickle
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

import actsearch as acs


def make_model() -> nn.Module:
    return nn.Sequential(nn.Linear(1, 8), nn.ReLU(), nn.Linear(8, 1))


def make_task(**changes: Any) -> acs.Task:
    x = torch.linspace(-3, 3, 4000)[:, None]  # sorted, as data often lie
    held = x[::8] + 1e-3
    settings: dict[str, Any] = dict(
        model=make_model, train=(x, x.sin()), valid=(held, held.sin()), loss=F.mse_loss, metric="mse", epochs=1,
        batch_size=32, device="cpu", tune_lr=False,
    )  # fmt: skip
    return acs.Task(**settings | changes)


@pytest.fixture
def model() -> nn.Module:
    torch.manual_seed(0)
    return acs.place(make_model(), "silu").model


def test_sorted_data_calibrate_with_all_of_their_kinds(model: nn.Module) -> None:
    task = make_task()
    low, high = acs.deploy("silu", "int8", model=model, task=task).sites[0].inputs
    with torch.no_grad():
        arrived = model.get_submodule("0")(task.train[0])
    assert low == pytest.approx(arrived.min().item(), abs=0.05)
    assert high == pytest.approx(arrived.max().item(), abs=0.05)
    again = acs.deploy("silu", "int8", model=model, task=task).sites[0].inputs
    assert again == (low, high)


def slope_of(model: nn.Module, x: Tensor) -> Tensor:
    x = x.clone().requires_grad_()
    slopes: tuple[Tensor, ...] = torch.autograd.grad(model(x).sum(), x, create_graph=True)
    return slopes[0]


def residual(model: nn.Module, batch: tuple[Tensor, Tensor]) -> Tensor:
    """That the derivative is a cosine, as of an equation."""
    return (slope_of(model, batch[0]) - batch[0].cos()).square().mean()


def distance(model: nn.Module, batches: Any) -> dict[str, float]:
    return {"mse": torch.stack([F.mse_loss(model(x), y) for x, y in batches]).mean().item()}


def mean_residual(model: nn.Module, batches: Any) -> dict[str, float]:
    return {"mse": torch.stack([residual(model, batch) for batch in batches]).mean().item()}


def test_a_loss_that_asks_for_derivatives_calibrates(model: nn.Module) -> None:
    task = make_task(loss=None, step=residual, evaluate=distance)
    made = acs.deploy("silu", "int8", model=model, task=task)
    assert made.difference is not None
    assert abs(made.difference) < 0.01


def test_what_cannot_be_measured_through_codes_is_said(model: nn.Module) -> None:
    task = make_task(loss=None, step=residual, evaluate=mean_residual)
    made = acs.deploy("silu", "int8", model=model, task=task)
    assert made.before is not None
    assert made.after is None
    assert "not measured as int8: it asks for derivatives" in str(made)
    lines = acs.deploy("silu", "hinges", model=model, task=task)  # these have slopes
    assert lines.after is not None


class Slope(nn.Module):
    """A model that asks for derivatives itself."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = make_model()

    def forward(self, x: Tensor) -> Tensor:
        return slope_of(self.inner, x)


def test_a_model_that_asks_for_derivatives_is_calibrated_on_one_batch() -> None:
    model = acs.place(Slope(), "silu").model
    made = acs.deploy("silu", "hinges", model=model, inputs=torch.linspace(-2, 2, 64)[:, None])
    assert len(made.sites) == 1


IGNORED: dict[str, Any] = {
    "input_scale": 0.1, "input_zero_point": 3, "output_scale": 0.1, "output_zero_point": 3, "interval": (-1, 1),
    "opset": 18, "form": "int8", "name": "found",
}  # fmt: skip


@pytest.mark.parametrize("name", IGNORED)
def test_what_belongs_to_one_activation_is_refused(model: nn.Module, name: str) -> None:
    batch = torch.ones(4, 1)
    with pytest.raises(acs.ActivationError, match=f"{name}= cannot be given with model="):
        acs.deploy("silu", "int8", model=model, inputs=batch, **{name: IGNORED[name]})


def test_one_thing_calibrates(model: nn.Module) -> None:
    with pytest.raises(acs.TaskError, match="task= and inputs= both say what calibrates"):
        acs.deploy("silu", "int8", model=model, task=make_task(), inputs=torch.ones(4, 1))


def test_a_site_that_cannot_be_converted_is_named() -> None:
    sample = torch.ones(4, 1)
    form = 'x * sigmoid(param(1.0, per="channel") * x)'
    model = acs.place(make_model(), form, sample=sample).model
    with pytest.raises(
        acs.ActivationError, match=r"the site 1 cannot be converted: .* for each channel"
    ):
        acs.deploy(form, "int8", model=model, inputs=torch.randn(8, 1))


@pytest.fixture(scope="module")
def study() -> acs.Study:
    study = acs.create_study(study_name="s", strategy="random", seed=0)
    study.enqueue_trial("x * sigmoid(param(1.9) * x)")
    x = torch.linspace(-3, 3, 320)[
        torch.randperm(320, generator=torch.Generator().manual_seed(0)), None
    ]
    y = x * torch.sigmoid(2.5 * x)
    parts = {name: (x[k::3], y[k::3]) for k, name in enumerate(("train", "valid", "test"))}
    task = make_task(**parts, model=make_model, epochs=12, lr=3e-2)
    study.optimize(task, n_trials=2, show_progress_bar=False)
    study.confirm(task, top_k=1, seeds=8, baseline="sign(x)", show_progress_bar=False)
    return study


def test_a_study_and_a_verdict_stand_for_their_activation_in_a_model(study: acs.Study) -> None:
    verdict = study.verdicts[-1]
    assert verdict.winner.verdict == "better"
    batch = torch.linspace(-3, 3, 64)[:, None]
    for what in (study, verdict):
        model = acs.place(
            make_model(), study.best_trial.candidate if what is study else verdict
        ).model
        made = acs.deploy(what, "int8", model=model, inputs=batch)
        assert [site.path for site in made.sites] == ["1"]


def test_a_verdict_has_the_inputs_and_numbers_of_its_trial(study: acs.Study) -> None:
    verdict = study.verdicts[-1]
    assert verdict.winner.number is not None
    trial = study.trials[verdict.winner.number]
    made = acs.deploy(verdict, "int8")
    assert made.table == acs.deploy(trial, "int8").table
    assert made.notes == acs.deploy(trial, "int8").notes
    assert acs.deploy(verdict.winner, "int8").table == made.table
    # read alone, as from a file, a verdict has no trials
    alone = acs.Verdict.from_json(verdict.to_json())
    assert alone == verdict
    assert pickle.loads(pickle.dumps(verdict)) == verdict
    with pytest.raises(acs.ActivationError, match="needs to know which inputs arrive"):
        acs.deploy(alone, "int8")
