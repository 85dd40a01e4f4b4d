"""What loops of users do: closures, groups of parameters, schedules of every kind, half precision, derivatives.

Each is trained as a plain loop of torch trains it, or refused in a sentence before the first trial.
"""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.optim import lr_scheduler
from torch.utils.data import DataLoader, TensorDataset

import actsearch as acs
from actsearch.evaluation import make_subject
from actsearch.training import check_task, fit

X = torch.randn(80, 4, generator=torch.Generator().manual_seed(0))
R = torch.sin(X[:, :1] * 2) + X[:, 1:2]
LEARNS = "x*sigmoid(param(1.0)*x)"


def build() -> nn.Module:
    return nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 1))


def built() -> nn.Module:
    torch.manual_seed(0)
    return build()


def make_task(**settings: Any) -> acs.Task:
    usual: dict[str, Any] = dict(
        model=build, train=(X[:48], R[:48]), valid=(X[48:], R[48:]), loss=F.mse_loss, metric="mse",
        epochs=3, batch_size=16, lr=1e-2,
    )  # fmt: skip
    return acs.Task(**{**usual, **settings})


def one_batch(**settings: Any) -> acs.Task:
    """A task whose epochs are one batch, of which the order is of no matter but for rounding."""
    return make_task(batch_size=48, **settings)


def outcome(task: acs.Task, act: str | None = LEARNS) -> Any:
    """How a trial ends after the check of a search, alone."""
    subject = make_subject(task)
    subject.check()
    study = acs.create_study(study_name="loop", strategy="random", direction=subject.direction)
    study.enqueue_trial(act)
    study.optimize(task, n_trials=1, show_progress_bar=False)
    return study.trials[0]


def close(one: nn.Module, other: nn.Module, rtol: float = 1e-4) -> None:
    for a, b in zip(one.parameters(), other.parameters(), strict=True):
        torch.testing.assert_close(a, b, rtol=rtol, atol=1e-5)


# optimizers


def test_lbfgs_trains_as_in_a_loop_of_torch() -> None:
    model, plain = built(), built()
    optimizer = torch.optim.LBFGS(plain.parameters(), lr=0.1, max_iter=4)

    def closure() -> Any:
        optimizer.zero_grad()
        loss = F.mse_loss(plain(X[:48]), R[:48])
        torch.autograd.backward(loss)
        return loss

    for _ in range(3):
        optimizer.step(closure)  # type: ignore[no-untyped-call]
    task = one_batch(
        optimizer=lambda groups, lr: torch.optim.LBFGS(groups, lr=lr, max_iter=4), lr=0.1
    )
    fit(task, model, 0)
    close(model, plain, 1e-3)
    assert outcome(task).state.name == "COMPLETE"


@pytest.mark.parametrize(
    "settings", [{"accumulate_grad_batches": 3}, {"amp": "float16"}], ids=["accumulate", "float16"]
)
def test_a_closure_goes_with_no_accumulation_and_no_scaling(settings: dict[str, Any]) -> None:
    with pytest.raises(
        acs.TaskError, match="LBFGS evaluates the loss several times in one step: leave out"
    ):
        check_task(make_task(optimizer=torch.optim.LBFGS, **settings), built())


class Grouping(nn.Module):
    """A model that groups its parameters by their dimensions, as nanoGPT does."""

    def __init__(self) -> None:
        super().__init__()
        self.body = build()

    def forward(self, x: Tensor) -> Tensor:
        result: Tensor = self.body(x)
        return result

    def configure_optimizers(self, weight_decay: float, lr: float) -> torch.optim.Optimizer:
        own = [p for p in self.parameters() if p.requires_grad]
        groups = [
            {"params": [p for p in own if p.dim() >= 1], "weight_decay": weight_decay},
            {"params": [p for p in own if p.dim() < 1], "weight_decay": 0.0},
        ]
        return torch.optim.AdamW(groups, lr=lr)


seen: list[torch.optim.Optimizer] = []


def by_model(model: Any, lr: float, weight_decay: float) -> torch.optim.Optimizer:
    seen.append(model.configure_optimizers(weight_decay, lr))
    return seen[-1]


def of_all(groups: Any, lr: float) -> torch.optim.Optimizer:
    seen.append(torch.optim.AdamW(groups, lr=lr, weight_decay=0.1))
    return seen[-1]


@pytest.mark.parametrize("optimizer", [by_model, of_all])
def test_what_activations_learn_is_decayed_in_nobodys_groups(optimizer: Any) -> None:
    decay = 0.1 if optimizer is by_model else 0.0
    seen.clear()
    task = make_task(model=Grouping, optimizer=optimizer, weight_decay=decay)
    assert outcome(task, "max(x, param(0.1, per='channel')*x)").state.name == "COMPLETE"
    decays = {  # by number of elements: 8 slopes, one for each channel
        (item.numel(), group["weight_decay"])
        for group in seen[-1].param_groups
        for item in group["params"]
        if item.requires_grad
    }
    assert (32, 0.1) in decays, "weights are decayed"
    every = [item for group in seen[-1].param_groups for item in group["params"]]
    assert len(every) == len({id(item) for item in every}) == 5
    undecayed = [
        g["params"] for g in seen[-1].param_groups if g["weight_decay"] == 0 and g["params"]
    ]
    assert [[item.numel() for item in group] for group in undecayed] == [[8]]


@pytest.mark.parametrize(
    ("optimizer", "says"),
    [
        (lambda net, lr: torch.optim.SGD(net.parameters(), lr), "call its first argument model"),
        (lambda model, lr: model.configure(lr), "has no attribute 'configure'"),
        (lambda groups, lr: None, "optimizer= returned NoneType, not an Optimizer"),
        (lambda groups: torch.optim.SGD(groups, 0.1), "unexpected keyword argument 'lr'"),
    ],
)
def test_an_optimizer_that_cannot_be_built_says_why(optimizer: Any, says: str) -> None:
    with pytest.raises(acs.TaskError, match=says):
        check_task(make_task(optimizer=optimizer), built())


def test_an_optimizer_whose_step_fails_is_found_before_the_first_trial() -> None:
    class Asking(torch.optim.SGD):
        def step(self, closure: Any = None) -> Any:
            assert closure is not None, "sharpness-aware steps need a closure"

    with pytest.raises(
        acs.TaskError, match="first step of the optimizer fails: AssertionError: sharp"
    ):
        check_task(make_task(optimizer=Asking), built())


def test_an_optimizer_by_the_model_trains_as_in_a_loop_of_torch() -> None:
    torch.manual_seed(0)
    model: Any = Grouping()
    plain = copy.deepcopy(model)
    optimizer = plain.configure_optimizers(0.1, 1e-2)
    for _ in range(3):
        optimizer.zero_grad()
        torch.autograd.backward(F.mse_loss(plain(X[:48]), R[:48]))
        optimizer.step()
    fit(one_batch(model=Grouping, optimizer=by_model, weight_decay=0.1), model, 0)
    close(model, plain)


# schedules


class Spy(torch.optim.SGD):
    rates: list[float] = []

    def step(self, closure: Any = None) -> Any:
        Spy.rates.append(self.param_groups[0]["lr"])
        return super().step(closure)


def rates(**settings: Any) -> list[float]:
    Spy.rates = []
    fit(make_task(optimizer=Spy, **settings), built(), 0)
    return Spy.rates


def test_a_schedule_by_epochs_is_stepped_after_each_epoch() -> None:
    told: list[int] = []

    def halve(optimizer: torch.optim.Optimizer, total: int) -> Any:
        told.append(total)
        return lr_scheduler.StepLR(optimizer, 2, 0.1)

    found = rates(schedule=halve, schedule_every="epoch", epochs=6)
    assert set(told) == {6}
    assert found == pytest.approx([1e-2] * 6 + [1e-3] * 6 + [1e-4] * 6)


@pytest.mark.parametrize(
    "schedule",
    [
        lambda o, n: lr_scheduler.StepLR(o, 2, 0.1),
        lambda o, n: lr_scheduler.ExponentialLR(o, 0.75),
        lambda o, n: lr_scheduler.LambdaLR(o, lambda epoch: float(epoch < 20)),
    ],
)
@pytest.mark.parametrize("settings", [{"epochs": 20}, {"steps": 60, "eval_every": 20}])
def test_a_schedule_for_epochs_that_is_stepped_every_batch_is_refused(
    settings: Any, schedule: Any
) -> None:
    task = make_task(schedule=schedule, **settings)
    way = "say schedule_every='epoch'" if "epochs" in settings else "let it count up to 60"
    with pytest.raises(acs.TaskError, match=f"below 1e-06 of its largest: {way}"):
        fit(task, built(), 0)


@pytest.mark.parametrize(
    "schedule",
    [
        lambda o, n: lr_scheduler.CosineAnnealingLR(o, n),
        lambda o, n: lr_scheduler.CosineAnnealingWarmRestarts(o, 30),
        lambda o, n: lr_scheduler.OneCycleLR(o, 0.1, total_steps=n),
        lambda o, n: lr_scheduler.LambdaLR(o, lambda step: step / n),
        lambda o, n: lr_scheduler.MultiStepLR(o, [n // 2, n * 3 // 4]),
    ],
)
def test_schedules_that_come_down_late_are_taken(schedule: Any) -> None:
    assert len(rates(schedule=schedule, epochs=20)) == 60


@pytest.mark.parametrize(
    ("schedule", "number"),
    [
        (lambda o: lr_scheduler.MultiStepLR(o, [2, 3], 0.5), "milestones=3"),
        (lambda o: lr_scheduler.StepLR(o, 2, 0.5), "step_size=2"),
        (lambda o: lr_scheduler.LinearLR(o, total_iters=4), "total_iters=4"),
        (lambda o: lr_scheduler.CosineAnnealingLR(o, 4), "T_max=4"),
        (lambda o: lr_scheduler.CosineAnnealingWarmRestarts(o, 2), "T_0=2"),
        (
            lambda o: lr_scheduler.SequentialLR(
                o,
                [lr_scheduler.LinearLR(o, total_iters=1), lr_scheduler.StepLR(o, 2, 0.5)],
                milestones=[1],
            ),
            "step_size=2",
        ),
        (lambda o: lr_scheduler.StepLR(o, 5, 0.5), "step_size=5"),  # more than the epochs
        (lambda o: lr_scheduler.ExponentialLR(o, 0.9), "its own course"),
        (lambda o: lr_scheduler.LambdaLR(o, lambda t: 1 / (1 + t)), "its own course"),
    ],
)
def test_numbers_that_may_count_epochs_or_steps_are_refused_and_both_can_be_said(
    schedule: Any, number: str
) -> None:
    settings = dict(schedule=lambda optimizer, total: schedule(optimizer), epochs=4)
    with pytest.raises(
        acs.TaskError, match=f"has {number}, .* may count the 4 epochs or the 12 steps"
    ):
        fit(make_task(**settings), built(), 0)
    by_epoch = rates(**settings, schedule_every="epoch")
    assert [len(set(by_epoch[i : i + 3])) for i in range(0, 12, 3)] == [1] * 4
    by_step = rates(**settings, schedule_every="step")
    assert len(set(by_step[:6])) > 1


def test_a_long_schedule_is_looked_through_as_far_as_is_cheap(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("actsearch.training.schedule._LOOKED_THROUGH", 40)
    task = make_task(schedule=lambda o, n: lr_scheduler.StepLR(o, 2, 0.1), steps=300)
    with pytest.raises(acs.TaskError, match="below 1e-06 of its largest"):
        fit(task, built(), 0)
    assert len(rates(schedule=lambda o, n: lr_scheduler.StepLR(o, 100, 0.1), steps=300)) == 300


def test_what_belongs_to_one_model_is_no_function_that_makes_it() -> None:
    optimizer = torch.optim.SGD(built().parameters(), 0.1)
    with pytest.raises(acs.TaskError, match=r"optimizer must be a function .* as torch.optim.SGD"):
        make_task(optimizer=optimizer)
    with pytest.raises(acs.TaskError, match="schedule must be a function .* not a StepLR of one"):
        make_task(schedule=lr_scheduler.StepLR(optimizer, 2))


def test_a_schedule_that_ends_before_the_training_is_refused() -> None:
    task = make_task(schedule=lambda o, n: lr_scheduler.OneCycleLR(o, 0.1, total_steps=8))
    with pytest.raises(acs.TaskError, match="is made for 8 steps, and this training has 9"):
        check_task(task, built())


def test_rates_by_group_have_to_count_the_group_of_what_activations_learn() -> None:
    task = make_task(schedule=lambda o, n: lr_scheduler.OneCycleLR(o, [0.1], total_steps=n))
    with pytest.raises(
        acs.TaskError, match="2 groups of parameters, one of them for what activations"
    ):
        make_subject(task).check()
    by_group = make_task(
        schedule=lambda o, n: lr_scheduler.OneCycleLR(
            o, [0.1] * len(o.param_groups), total_steps=n
        )
    )
    assert outcome(by_group).state.name == "COMPLETE"


@pytest.mark.parametrize("metric", ["loss", "r2"])
def test_a_plateau_goes_by_the_loss_or_by_a_metric_that_is_maximized(metric: str) -> None:
    mode: Any = "min" if metric == "loss" else "max"
    model, plain = built(), built()
    optimizer = torch.optim.SGD(plain.parameters(), lr=0.5)
    schedule = lr_scheduler.ReduceLROnPlateau(optimizer, mode, factor=0.1, patience=0)
    expected = []
    for _ in range(6):
        expected.append(optimizer.param_groups[0]["lr"])
        optimizer.zero_grad()
        torch.autograd.backward(F.mse_loss(plain(X[:48]), R[:48]))
        optimizer.step()
        with torch.no_grad():
            error = F.mse_loss(plain(X[48:]), R[48:])
        schedule.step(error if metric == "loss" else 1 - error / R[48:].var(unbiased=False))
    Spy.rates = []
    made = one_batch(
        optimizer=Spy, lr=0.5, epochs=6, metric=metric,
        schedule=lambda o, n: lr_scheduler.ReduceLROnPlateau(o, mode, factor=0.1, patience=0),
    )  # fmt: skip
    fit(made, model, 0)
    assert expected[-1] < 0.5, "an example in which it matters"
    assert pytest.approx(expected) == Spy.rates


def test_a_plateau_at_the_wrong_end_is_refused() -> None:
    task = make_task(schedule=lambda o, n: lr_scheduler.ReduceLROnPlateau(o, "max"))
    with pytest.raises(acs.TaskError, match="waits for the wrong end of mse: give mode='min'"):
        check_task(task, built())


# the last batch


def normalised() -> nn.Module:
    return nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, 1))


ROWS = TensorDataset(X[:33], R[:33])


@pytest.mark.parametrize(
    "settings",
    [
        {"train": (X[:33], R[:33])},
        {"train": ROWS},
        {"train": DataLoader(ROWS, batch_size=16)},
        {"train": DataLoader(ROWS, batch_size=4, shuffle=True), "batch_size": 5},
        {"train": DataLoader(ROWS, batch_sampler=[[0, 1, 2], [3], list(range(4, 33))])},
    ],
)
def test_a_last_batch_of_one_sample_is_refused_under_batch_normalisation(settings: Any) -> None:
    task = make_task(model=normalised, **settings)
    with pytest.raises(
        acs.TaskError, match=r"last training batch of an epoch has 1 sample, .*drop_last"
    ):
        make_subject(task).check()


@pytest.mark.parametrize(
    "settings",
    [
        {"train": (X[:34], R[:34])},
        {"train": DataLoader(ROWS, batch_size=16, drop_last=True)},
        {"train": ROWS, "steps": 2},
        {"train": ROWS, "model": build},
    ],
)
def test_a_last_batch_that_can_be_trained_on_is_no_error(settings: Any) -> None:
    make_subject(make_task(**{"model": normalised, **settings})).check()


def test_a_last_validation_batch_of_one_sample_that_is_squeezed_away_is_found() -> None:
    class Squeezing(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.body = build()

        def forward(self, x: Tensor) -> Tensor:
            result: Tensor = self.body(x).squeeze()
            return result

    def loss(output: Tensor, target: Tensor) -> Tensor:
        assert output.shape == target.shape
        return F.mse_loss(output, target)

    rows = TensorDataset(X[48:], R[48:, 0])
    task = make_task(
        model=Squeezing,
        train=(X[:48], R[:48, 0]),
        valid=DataLoader(rows, batch_size=31),
        loss=loss,
    )
    with pytest.raises(acs.TaskError, match=r"\(valid inputs \(1, 4\) float32, targets \(1,\)"):
        check_task(task, task.build())


# evaluate


@pytest.mark.parametrize(
    ("result", "says"),
    [
        ({"f1": 1.0}, "evaluate returned f1, not the metric score"),
        ({"score": float("nan")}, "evaluate= must return finite numbers: score became nan"),
        (None, "evaluate= fails on the validation data: TypeError"),
        ({"score": "high"}, "evaluate= fails on the validation data: ValueError"),
    ],
)
def test_what_evaluate_returns_is_looked_at_before_the_first_trial(result: Any, says: str) -> None:
    task = make_task(metric="score", evaluate=lambda model, batches: result)
    with pytest.raises(acs.TaskError, match=says):
        make_subject(task).check()


# derivatives


class Force(nn.Module):
    """The negative gradient of an energy."""

    def __init__(self) -> None:
        super().__init__()
        self.energy = build()

    def forward(self, x: Tensor) -> Tensor:
        x = x.requires_grad_(True)
        return -torch.autograd.grad(self.energy(x).sum(), x, create_graph=True)[0]


def test_a_model_that_takes_derivatives_is_measured_as_in_a_loop_of_torch() -> None:
    torch.manual_seed(0)
    model, target = Force(), torch.cos(X)
    plain = copy.deepcopy(model)
    optimizer = torch.optim.Adam(plain.parameters(), lr=1e-2)
    for _ in range(3):
        optimizer.zero_grad()
        torch.autograd.backward(F.mse_loss(plain(X[:48]), target[:48]))
        optimizer.step()
    task = one_batch(model=Force, train=(X[:48], target[:48]), valid=(X[48:], target[48:]))
    result = fit(task, model, 0)
    assert result.metrics["mse"] == pytest.approx(
        float(F.mse_loss(plain(X[48:]), target[48:]).detach()), rel=1e-4
    )
    assert outcome(task, "tanh").state.name == "COMPLETE"


def test_a_model_that_takes_derivatives_gets_the_same_values_in_any_batch() -> None:
    target = torch.cos(X)
    task = make_task(model=Force, train=(X[:48], target[:48]), valid=(X[48:], target[48:]))

    def values(batch: int) -> list[Any]:
        study = acs.create_study(study_name="forces", strategy="random")
        study.optimize(task, n_trials=3, show_progress_bar=False, executor=acs.Local(batch=batch))
        return [(t.number, t.state, t.value) for t in study.trials]

    assert values(1) == values(3)


def test_evaluate_may_take_derivatives() -> None:
    def residual(model: nn.Module, batches: Any) -> dict[str, float]:
        total = 0.0
        for x, _ in batches:
            x = x.clone().requires_grad_()
            (slope,) = torch.autograd.grad(model(x).sum(), x)
            total += float(slope.square().sum())
        return {"residual": total}

    model, plain = built(), built()
    task = one_batch(metric="residual", evaluate=residual, epochs=1)
    found = fit(task, model, 0).metrics["residual"]
    optimizer = torch.optim.Adam(plain.parameters(), lr=1e-2)
    torch.autograd.backward(F.mse_loss(plain(X[:48]), R[:48]))
    optimizer.step()
    assert found == pytest.approx(residual(plain, [(X[48:], R[48:])])["residual"], rel=1e-4)


# half precision


def test_float16_is_trained_with_a_scaled_loss() -> None:
    """A loss so small that its gradients are 0 in float16 unless they are scaled."""
    model = built()
    start = copy.deepcopy(model)
    small = make_task(
        amp="float16", loss=lambda o, t: F.mse_loss(o, t) * 1e-6, optimizer=torch.optim.Adam
    )
    result = fit(small, model, 0)
    assert result.stopped == ""
    moved = [
        float((a - b).abs().max().detach())
        for a, b in zip(model.parameters(), start.parameters(), strict=True)
    ]
    assert min(moved) > 1e-3
    wide = fit(make_task(), built(), 0).metrics["mse"]
    assert fit(make_task(amp="float16"), built(), 0).metrics["mse"] == pytest.approx(
        wide, rel=0.05
    )
