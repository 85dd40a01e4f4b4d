"""One seeded training loop, compared with a plain PyTorch loop written out here."""

from __future__ import annotations

import copy
import functools
import math
import random
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, Dataset, RandomSampler, TensorDataset
from trained import evaluate

import actsearch as acs
from actsearch.evaluation import Candidate, Run, make_subject
from actsearch.records import Outcome, TrialState
from actsearch.seeds import derive
from actsearch.training import (
    TrainingResult,
    check_task,
    fit,
    parameter_groups,
    uses_learning_rate,
)

CPU = torch.device("cpu")
generator = torch.Generator().manual_seed(0)
X = torch.randn(50, 6, generator=generator)
Y = (X[:, 0] + X[:, 1] ** 2 > 0.8).long()
XV, YV = torch.randn(21, 6, generator=generator), torch.randint(0, 2, (21,), generator=generator)


def make(act: Callable[[], nn.Module] = nn.ReLU, dropout: float = 0.0) -> nn.Module:
    return nn.Sequential(
        nn.Linear(6, 8), act(), nn.Dropout(dropout), nn.Linear(8, 5), act(), nn.Linear(5, 2)
    )


def task(**changes: Any) -> acs.Task:
    settings: dict[str, Any] = {
        "model": make, "train": (X, Y), "valid": (XV, YV), "loss": F.cross_entropy,
        "metric": "accuracy", "epochs": 3, "batch_size": 16, "lr": 0.02, "device": "cpu",
    }  # fmt: skip
    return acs.Task(**{**settings, **changes})


def built(seed: int, factory: Callable[[], nn.Module] = make) -> nn.Module:
    """A model as the contract says it is built under a seed."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(derive(seed, "init"))
        return factory()


def run_of(seed: int) -> Run:
    return Run(seed, 0, "search", CPU, None)


def trial(made: acs.Task, act: str = "relu", seed: int = 1) -> Outcome:
    return evaluate(Candidate.of(act).record, made, [seed])


def weights(model: nn.Module) -> list[Tensor]:
    return [tensor.clone() for tensor in model.state_dict().values()]


def equal(a: list[Tensor], b: list[Tensor]) -> bool:
    return all(torch.equal(one, other) for one, other in zip(a, b, strict=True))


# an independent implementation


class ByHand(nn.Module):
    """Dropout whose masks come from a stream of its own."""

    def __init__(self, p: float, seed: int) -> None:
        super().__init__()
        self.p, self.stream = p, torch.Generator().manual_seed(seed)

    def forward(self, x: Tensor) -> Tensor:
        if not self.training or self.p == 0:
            return x
        kept = torch.empty(x.shape).bernoulli_(1 - self.p, generator=self.stream)
        return x * (kept / (1 - self.p))


def plain_loop(
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    seed: int,
    epochs: int = 3,
    clip: float | None = None,
    schedule: Callable[[int], float] | None = None,
) -> list[tuple[float, float, float]]:
    """Training loss, validation loss and validation accuracy by epoch.

    Data order and dropout draw from streams of their own; ``schedule`` gives the factor of the learning rate at
    each step, counted over all epochs.
    """
    order_stream = torch.Generator().manual_seed(derive(seed, "data"))
    base = [group["lr"] for group in optimizer.param_groups]
    history, step = [], 0
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(derive(seed, "dropout"))
        for _ in range(epochs):
            model.train()
            total = 0.0
            for rows in torch.split(torch.randperm(50, generator=order_stream), 16):
                if schedule is not None:
                    for group, lr in zip(optimizer.param_groups, base, strict=True):
                        group["lr"] = lr * schedule(step)
                optimizer.zero_grad()
                loss = F.cross_entropy(model(X[rows]), Y[rows])
                torch.autograd.backward(loss)
                if clip is not None:
                    nn.utils.clip_grad_norm_(model.parameters(), clip)
                optimizer.step()
                total += loss.item() * len(rows)
                step += 1
            model.eval()
            with torch.no_grad():
                output = model(XV)
            history.append(
                (
                    total / 50,
                    F.cross_entropy(output, YV).item(),
                    (output.argmax(1) == YV).double().mean().item(),
                )
            )
    return history


def cosine(step: int) -> float:
    return (1 + math.cos(math.pi * step / 12)) / 2  # 4 batches an epoch, 3 epochs


def linear(step: int) -> float:
    return 1 - step / 12


@pytest.mark.parametrize("seed", [0, 7])
@pytest.mark.parametrize("dropout", [0.0, 0.3])
@pytest.mark.parametrize(
    ("optimizer", "decay", "clip"),
    [
        (torch.optim.Adam, 0.0, None),
        (torch.optim.Adam, 0.1, 0.05),
        (torch.optim.AdamW, 0.1, None),
        (torch.optim.SGD, 0.01, 0.5),
    ],
)
def test_training_is_bit_equal_to_a_plain_loop(
    optimizer: type[torch.optim.Optimizer],
    decay: float,
    clip: float | None,
    dropout: float,
    seed: int,
) -> None:
    model = built(seed, lambda: make(dropout=dropout))
    plain = copy.deepcopy(model)
    plain.add_module("2", ByHand(dropout, derive(seed, "dropout", 0)))
    result = fit(task(optimizer=optimizer, weight_decay=decay, clip_grad_norm=clip), model, seed)
    build: Any = optimizer
    history = plain_loop(
        plain, build(plain.parameters(), lr=0.02, weight_decay=decay), seed, clip=clip
    )
    assert equal(weights(model), weights(plain))
    found = [(epoch.train_loss, epoch.valid_loss, epoch.valid_metric) for epoch in result.epochs]
    assert found == [pytest.approx(row, rel=1e-6) for row in history]
    assert result.metrics["accuracy"] == history[-1][2]
    assert result.stopped == ""


@pytest.mark.parametrize(
    ("schedule", "expected"),
    [
        (lambda optimizer: None, r"called with \(optimizer, total_steps\): .* takes 1 positional"),
        (lambda optimizer, steps: None, "returned None"),
    ],
)
def test_what_makes_no_schedule_is_refused(schedule: Any, expected: str) -> None:
    with pytest.raises(acs.TaskError, match=expected):
        fit(task(schedule=schedule), built(2), 0)


def one_cycle(optimizer: torch.optim.Optimizer, steps: int) -> Any:
    return torch.optim.lr_scheduler.OneCycleLR(optimizer, 1e-2, total_steps=steps)


def own_cycle(optimizer: torch.optim.Optimizer, steps: int) -> Any:
    rates = [group["lr"] for group in optimizer.param_groups]
    return torch.optim.lr_scheduler.OneCycleLR(optimizer, rates, total_steps=steps)


def warm_up(optimizer: torch.optim.Optimizer, steps: int) -> Any:
    return torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: min(1.0, step / 8))


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({}, True),
        ({"schedule": "cosine"}, True),
        ({"schedule": own_cycle}, True),
        ({"schedule": warm_up}, True),
        ({"optimizer": torch.optim.LBFGS}, True),
        ({"schedule": one_cycle}, False),
        ({"optimizer": lambda groups, lr: torch.optim.SGD(groups, lr=0.1)}, False),
    ],
)
def test_whether_the_rates_follow_the_task_is_found_out(settings: Any, expected: bool) -> None:
    assert uses_learning_rate(task(**settings)) is expected


@pytest.mark.parametrize(
    ("schedule", "factor"), [("cosine", cosine), ("linear", linear)], ids=["cosine", "linear"]
)
def test_a_schedule_reaches_its_end_with_the_last_batch(
    schedule: str, factor: Callable[[int], float]
) -> None:
    model = built(2)
    plain = copy.deepcopy(model)
    fit(task(schedule=schedule, optimizer=torch.optim.SGD), model, 2)
    plain_loop(plain, torch.optim.SGD(plain.parameters(), lr=0.02), 2, schedule=factor)
    for one, other in zip(weights(model), weights(plain), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-6)


def test_a_schedule_of_the_users_own_is_told_the_number_of_steps() -> None:
    told: list[int] = []

    def constant(optimizer: torch.optim.Optimizer, steps: int) -> Any:
        told.append(steps)
        return torch.optim.lr_scheduler.ConstantLR(optimizer, 1.0)

    fit(task(schedule=constant, epochs=5), built(1), 1)
    assert set(told) == {20}


@pytest.mark.parametrize("seed", [1, 2])
def test_a_trial_builds_the_model_under_the_seed_and_trains_it(seed: int) -> None:
    plain = built(seed)
    history = plain_loop(plain, torch.optim.Adam(plain.parameters(), lr=0.02), seed)
    outcome = trial(task(), "relu", seed)
    assert outcome.value == history[-1][2]
    assert outcome.evaluations[0].metrics["loss"] == pytest.approx(history[-1][1], rel=1e-6)


# random streams


@pytest.mark.parametrize("metric", ["accuracy", "loss"])
def test_the_same_seed_gives_the_same_result_and_another_seed_another(metric: str) -> None:
    made = task(metric=metric, model=lambda: make(dropout=0.2))

    def losses(seed: int) -> list[float | None]:
        return [epoch.train_loss for epoch in trial(made, "rrelu", seed).evaluations[0].epochs]

    assert losses(4) == losses(4)
    assert losses(4) != losses(5)


class Recording(Dataset[tuple[Tensor, Tensor]]):
    """Writes down which samples it was asked for."""

    def __init__(self, x: Tensor = X, y: Tensor = Y) -> None:
        self.x, self.y = x, y
        self.asked: list[int] = []

    def __len__(self) -> int:
        return len(self.x)

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        self.asked.append(int(index))
        return self.x[index], self.y[index]


def order_of_data(act: str, seed: int, dropout: float = 0.0) -> list[int]:
    data = Recording()
    fit(task(train=data), acs.place(built(seed, lambda: make(dropout=dropout)), act).model, seed)
    return data.asked


def test_neither_dropout_nor_a_random_activation_changes_the_order_of_data() -> None:
    expected = order_of_data("relu", 3)
    assert len(expected) == 150
    assert order_of_data("rrelu", 3) == expected
    assert order_of_data("relu", 3, dropout=0.5) == expected
    assert order_of_data("relu", 4) != expected


class Masking(nn.Module):
    """A layer whose random mask can be read afterwards."""

    def __init__(self) -> None:
        super().__init__()
        self.masks: list[Tensor] = []

    def forward(self, x: Tensor) -> Tensor:
        if not self.training:
            return x
        mask = torch.rand(x.shape[1])
        self.masks.append(mask)
        return x * (mask > 0.3)


@pytest.mark.parametrize("act", ["rrelu", "swish", "tanh"])
def test_no_activation_changes_the_dropout_of_a_model(act: str) -> None:
    def masks(name: str) -> list[Tensor]:
        def factory() -> nn.Module:
            return nn.Sequential(nn.Linear(6, 8), nn.ReLU(), Masking(), nn.Linear(8, 2))

        model = acs.place(built(3, factory), name).model
        fit(task(), model, 3)
        layer = model.get_submodule("2")
        assert isinstance(layer, Masking)
        return layer.masks

    assert equal(masks(act), masks("relu"))


@pytest.mark.parametrize("act", ["rrelu", "prelu", "max_affine"])
def test_no_activation_changes_the_initial_weights(act: str) -> None:
    """At a vanishing learning rate training keeps the weights drawn for the seed."""
    kept: list[list[Tensor]] = []

    def measure(model: nn.Module, batches: Any) -> float:
        kept.append(weights(nn.ModuleList(m for m in model.modules() if isinstance(m, nn.Linear))))
        return 0.0

    made = task(evaluate=measure, metric="loss", lr=1e-30, optimizer=torch.optim.SGD, epochs=1)
    for name in (act, "relu"):
        assert trial(made, name, 6).state is TrialState.COMPLETE
    assert equal(kept[0], kept[1])
    linears = [module for module in built(6).modules() if isinstance(module, nn.Linear)]
    assert equal(kept[0], weights(nn.ModuleList(linears)))


def test_random_activations_follow_the_seed_and_not_the_global_generator() -> None:
    def losses(global_seed: int, seed: int) -> list[float | None]:
        torch.manual_seed(global_seed)
        model = acs.place(built(1), "rrelu").model
        return [epoch.train_loss for epoch in fit(task(), model, seed).epochs]

    assert losses(1, 5) == losses(2, 5)


def global_states() -> tuple[Any, ...]:
    state: Any = np.random.get_state()  # noqa: NPY002
    return torch.get_rng_state().tolist(), random.getstate(), list(state[1]), state[2:]


class Noisy(nn.Module):
    """A model that draws from every global generator, as users' models do."""

    def __init__(self) -> None:
        super().__init__()
        self.body = make(dropout=0.2)
        self.scale = random.random() + np.random.rand()  # noqa: NPY002

    def forward(self, x: Tensor) -> Tensor:
        noise = random.random() + np.random.rand()  # noqa: NPY002
        result: Tensor = self.body(x) * (1 + 0.01 * noise * self.scale)
        return result


@pytest.mark.parametrize("source", ["tensors", "Dataset", "shuffling DataLoader"])
def test_global_generators_go_on_as_if_nothing_had_happened(source: str) -> None:
    data: Any = {
        "tensors": (X, Y),
        "Dataset": TensorDataset(X, Y),
        "shuffling DataLoader": DataLoader(TensorDataset(X, Y), batch_size=16, shuffle=True),
    }[source]
    before = global_states()
    outcome = trial(task(model=Noisy, train=data, valid=data), "rrelu")
    assert outcome.state is TrialState.COMPLETE
    assert global_states() == before


def test_global_generators_decide_nothing() -> None:
    values = []
    for number in range(2):
        torch.manual_seed(number)
        random.seed(number)
        np.random.seed(number)  # noqa: NPY002
        epochs = trial(task(model=Noisy), "silu", 9).evaluations[0].epochs
        values.append([epoch.valid_loss for epoch in epochs])
    assert values[0] == values[1]


# what is measured


def test_every_epoch_is_recorded_completely() -> None:
    result = fit(task(epochs=4), built(1), 1)
    assert [epoch.epoch for epoch in result.epochs] == [1, 2, 3, 4]
    for epoch in result.epochs:
        for value in (epoch.train_loss, epoch.valid_loss):
            assert value is not None
            assert value > 0
        for value in (epoch.train_metric, epoch.valid_metric):
            assert value is not None
            assert 0 <= value <= 1
        assert epoch.seconds > 0
    assert result.seconds >= sum(epoch.seconds for epoch in result.epochs)


def test_training_metrics_are_measured_on_the_training_batches() -> None:
    (epoch,) = fit(task(epochs=1, lr=1e-30, optimizer=torch.optim.SGD), built(3), 3).epochs
    output = built(3)(X)
    assert epoch.train_metric == pytest.approx((output.argmax(1) == Y).double().mean().item())
    assert epoch.train_loss == pytest.approx(F.cross_entropy(output, Y).item(), rel=1e-5)


def test_a_loss_over_unequal_batches_is_the_mean_over_samples() -> None:
    loader = DataLoader(TensorDataset(XV, YV), batch_size=8)  # 8, 8 and 5
    model = built(1)
    (epoch,) = fit(task(epochs=1, valid=loader), model, 1).epochs
    with torch.no_grad():
        assert epoch.valid_loss == pytest.approx(F.cross_entropy(model(XV), YV).item(), rel=1e-6)


def test_the_value_is_the_last_epochs_and_not_the_best() -> None:
    scores = iter([0.2, 0.9, 0.4])
    outcome = trial(task(evaluate=lambda model, batches: {"score": next(scores)}, metric="score"))
    assert outcome.value == 0.4
    seen = [epoch.valid_metric for epoch in outcome.evaluations[0].epochs]
    assert seen == [0.2, 0.9, 0.4]


def test_each_epoch_is_reported() -> None:
    reported: list[tuple[int, float]] = []
    result = fit(task(), built(1), 1, report=lambda *item: reported.append(item))
    assert reported == [(epoch.epoch, epoch.valid_metric) for epoch in result.epochs]


@pytest.mark.parametrize(
    ("metric", "higher"), [("loss", None), ("accuracy", None), ("custom", True)]
)
def test_the_optimised_metric_comes_first(metric: str, higher: bool | None) -> None:
    def custom(outputs: Tensor, targets: Tensor) -> float:
        return float(len(outputs) * 100 + len(targets))

    metrics = fit(task(metric=custom if higher else metric), built(1), 1).metrics
    assert next(iter(metrics)) == metric
    assert "loss" in metrics
    if higher:
        assert metrics["custom"] == 2121  # all 21 validation samples at once


# what cannot go on


class Poisoned(Recording):
    """One sample is no number."""

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        x, y = super().__getitem__(index)
        return (x * math.nan if index == 13 else x), y


def test_training_stops_at_the_first_loss_that_is_no_number_and_says_where() -> None:
    data = Poisoned()
    model = built(1)
    result = fit(task(train=data, epochs=3), model, 1)
    step = data.asked.index(13) // 16 + 1
    assert result.stopped == f"training loss became nan at epoch 1, step {step}"
    assert result.metrics == {}
    assert result.epochs == ()
    assert len(data.asked) == min(16 * step, 50)
    assert all(tensor.isfinite().all() for tensor in weights(model))


class Growing(nn.Module):
    """Infinite from its n-th training batch on."""

    def __init__(self, good: int) -> None:
        super().__init__()
        self.fc, self.act, self.left = nn.Linear(6, 2), nn.ReLU(), good

    def forward(self, x: Tensor) -> Tensor:
        self.left -= self.training
        result: Tensor = self.act(self.fc(x)) * (1 if self.left >= 0 else math.inf)
        return result


@pytest.mark.parametrize(("good", "epoch", "step"), [(0, 1, 1), (3, 1, 4), (4, 2, 1), (10, 3, 3)])
def test_the_result_names_epoch_and_step(good: int, epoch: int, step: int) -> None:
    outcome = trial(task(model=lambda: Growing(good)))
    assert outcome.state is TrialState.FAILED
    assert outcome.value is None
    assert f"at epoch {epoch}, step {step}" in outcome.reason
    assert len(outcome.evaluations[0].epochs) == epoch - 1


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"valid": (XV * math.inf, YV)}, "loss became nan in validation after epoch 1"),
        ({"metric": lambda outputs, targets: math.inf}, "became inf in validation after epoch 1"),
        ({"metric": "score", "evaluate": lambda m, b: {"score": math.nan}}, "score became nan"),
        ({"loss": lambda output, target: output.sum() * math.inf}, "epoch 1, step 1"),
    ],
)
def test_measures_that_are_no_number_end_the_run(settings: dict[str, Any], says: str) -> None:
    outcome = trial(task(**settings))
    assert outcome.state is TrialState.FAILED
    assert says in outcome.reason


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"train": (X[:, :3], Y)}, r"does not take its inputs.*\(16, 3\).*mat1 and mat2"),
        ({"train": (X, Y + 2)}, "loss or metric do not fit the model's output"),
        ({"train": (X, Y.float()[:, None])}, r"targets \(16, 1\) float32"),
        ({"metric": "mse"}, r"\(16, 2\) and target of shape \(16,\)"),
        ({"loss": lambda output, target: output}, "must be one number"),
        ({"loss": lambda output, target: output.sum().detach()}, "depends on the weights"),
        ({"train": (X,)}, r"a batch must be \(inputs, targets\), not tuple"),
        ({"train": [X[0], Y[:6]], "loss": F.mse_loss}, "do not fit"),
    ],
)
def test_a_task_that_does_not_fit_is_explained_before_the_search(
    settings: dict[str, Any], says: str
) -> None:
    with pytest.raises(acs.TaskError, match=says):
        check_task(task(**settings), make())


def test_checking_a_task_trains_nothing() -> None:
    model = make()
    before = weights(model)
    check_task(task(), model)
    assert equal(weights(model), before)


def frozen() -> nn.Module:
    return make().requires_grad_(False)


class NoDecay(torch.optim.SGD):
    def __init__(self, params: Any, lr: float) -> None:
        super().__init__(params, lr=lr)


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"model": frozen}, "no parameters that require gradients"),
        ({"optimizer": NoDecay, "weight_decay": 0.1}, "takes no weight_decay"),
        ({"optimizer": lambda parameters: None}, "the optimizer cannot be built"),
    ],
)
def test_an_optimizer_that_cannot_be_built_is_explained(
    settings: dict[str, Any], says: str
) -> None:
    made = task(**settings)
    with pytest.raises(acs.TaskError, match=says):
        fit(made, made.build(), 1)


def test_an_optimizer_without_weight_decay_trains() -> None:
    assert fit(task(optimizer=NoDecay), acs.place(make(), "prelu").model, 1).stopped == ""


# models


def test_an_instance_keeps_its_weights_and_is_never_changed() -> None:
    instance = make(nn.SiLU)
    pretrained = fit(task(epochs=5), instance, 8)
    before, text = weights(instance), repr(instance)
    made = task(model=instance, lr=1e-30, optimizer=torch.optim.SGD, epochs=1)
    outcome = trial(made, "silu", 1)
    assert outcome.evaluations[0].epochs[0].valid_loss == pretrained.epochs[-1].valid_loss
    trial(task(model=instance, lr=0.1), "prelu", 2)
    assert equal(weights(instance), before)
    assert repr(instance) == text


def test_seeds_vary_data_order_and_dropout_of_an_instance() -> None:
    instance = make(dropout=0.3)
    losses = {
        seed: trial(task(model=instance), "relu", seed).evaluations[0].epochs[0].train_loss
        for seed in (1, 2)
    }
    assert losses[1] != losses[2]


def test_a_factory_is_called_anew_under_each_seed() -> None:
    drawn: list[float] = []

    def factory() -> nn.Module:
        model = make()
        drawn.append(next(model.parameters()).flatten()[0].item())
        return model

    made = task(model=factory)
    make_subject(made).check()
    drawn.clear()
    for act in ("relu", "tanh"):
        evaluate(Candidate.of(act).record, made, [3, 4])
    assert len(drawn) == 4
    assert drawn[0] == drawn[2] != drawn[1] == drawn[3]


# learned parameters


@pytest.mark.parametrize("act", ["swish", 'tanh(param(1.0, per="channel") * x)', "max_affine"])
def test_learned_activation_parameters_have_no_weight_decay(act: str) -> None:
    model = acs.place(make(), act).model
    first, second = parameter_groups(model)
    learned = {id(p) for name, p in model.named_parameters() if "theta" in name}
    assert {id(p) for p in second["params"]} == learned
    assert learned
    assert second["weight_decay"] == 0
    assert len(first["params"]) == 6
    assert "weight_decay" not in first  # the task's own


def test_weight_decay_pulls_weights_and_leaves_learned_slopes() -> None:
    model = acs.place(make(), "prelu").model
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    still = task(
        optimizer=torch.optim.SGD,
        lr=0.01,
        weight_decay=0.5,
        epochs=1,
        loss=lambda o, t: o.sum() * 0,
    )
    fit(still, model, 1)
    for name, parameter in model.named_parameters():
        factor = 1.0 if "theta" in name else (1 - 0.01 * 0.5) ** 4
        torch.testing.assert_close(parameter.detach(), before[name] * factor)


@pytest.mark.parametrize(
    ("decay", "expected"), [(0.0, 0.3), (0.5, 0.5)], ids=["of the partial", "of the task"]
)
def test_weight_decay_bound_to_the_optimizer_holds_unless_the_task_has_its_own(
    decay: float, expected: float
) -> None:
    model = make()
    before = next(model.parameters()).detach().clone()
    bound = functools.partial(torch.optim.SGD, weight_decay=0.3)
    still = task(
        optimizer=bound, lr=0.01, weight_decay=decay, epochs=1, loss=lambda o, t: o.sum() * 0
    )
    fit(still, model, 1)
    after = next(model.parameters()).detach()
    torch.testing.assert_close(after, before * (1 - 0.01 * expected) ** 4)


def test_a_model_without_learned_activations_has_one_group() -> None:
    assert len(parameter_groups(make())) == 1


# precision


def test_bfloat16_autocast_trains_and_keeps_float32_weights() -> None:
    seen: set[torch.dtype] = set()

    def loss(output: Tensor, target: Tensor) -> Tensor:
        if (
            output.grad_fn is not None
        ):  # in training; the look at the loss draws outputs of its own
            seen.add(output.dtype)
        return F.cross_entropy(output.float(), target)

    model = acs.place(built(1), "silu").model
    result = fit(task(amp="bfloat16", loss=loss), model, 1)
    assert result.stopped == ""
    assert seen == {torch.bfloat16}
    assert {tensor.dtype for tensor in weights(model)} == {torch.float32}
    exact = fit(task(), acs.place(built(1), "silu").model, 1)
    assert result.epochs[-1].valid_loss == pytest.approx(exact.epochs[-1].valid_loss, rel=0.05)
    assert result.epochs[-1].valid_loss != exact.epochs[-1].valid_loss


# data of each kind


class Records(Dataset[dict[str, Tensor]]):
    def __len__(self) -> int:
        return 50

    def __getitem__(self, index: int) -> dict[str, Tensor]:
        return {"x": X[index], "y": Y[index]}


def dict_step(model: nn.Module, batch: Mapping[str, Tensor]) -> Tensor:
    return F.cross_entropy(model(batch["x"]), batch["y"])


def dict_evaluate(model: nn.Module, batches: Any) -> dict[str, float]:
    assert not model.training
    assert not torch.is_grad_enabled()
    hits = [(model(batch["x"]).argmax(1) == batch["y"]).float() for batch in batches]
    return {"accuracy": torch.cat(hits).mean().item(), "batches": len(hits)}


def test_step_and_evaluate_serve_batches_of_another_form() -> None:
    made = task(
        train=Records(), valid=DataLoader(Records(), batch_size=20), loss=None,
        step=dict_step, evaluate=dict_evaluate, lr=0.05, epochs=20,
    )  # fmt: skip
    outcome = trial(made, "relu")
    assert outcome.state is TrialState.COMPLETE, outcome.reason
    assert outcome.evaluations[0].metrics["batches"] == 3
    losses = [epoch.train_loss for epoch in outcome.evaluations[0].epochs]
    assert losses[0] is not None
    assert losses[-1] is not None
    assert losses[-1] < losses[0]
    check_task(made, make())


class ByName(nn.Module):
    """A model that names what a batch holds, and computes its loss, as those of transformers do."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.act, self.last = nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 2)

    def forward(self, x: Tensor, y: Tensor | None = None) -> Tensor:
        scores: Tensor = self.last(self.act(self.first(x)))
        return scores if y is None else F.cross_entropy(scores, y)


class Doubled(Records):
    """Records that a step has to prepare before the model takes them."""

    def __getitem__(self, index: int) -> dict[str, Tensor]:
        return {"x": torch.cat([X[index], X[index]]), "y": Y[index]}


@pytest.mark.parametrize(
    "train", [Records(), DataLoader(Records(), batch_size=20)], ids=["Dataset", "DataLoader"]
)
def test_a_batch_of_what_the_model_names_tells_the_channels_of_a_site(train: Any) -> None:
    made = task(
        model=ByName, train=train, valid=Records(), loss=None,
        step=lambda model, batch: model(**batch), evaluate=dict_evaluate,
    )  # fmt: skip
    outcome = trial(made, "max(x, param(0.1, per='channel') * x)")
    assert outcome.state is TrialState.COMPLETE, outcome.reason
    assert len(make_subject(made).pre_activations()) == 1


def test_a_batch_that_the_step_prepares_tells_the_channels_by_running_the_step() -> None:
    def step(model: nn.Module, batch: Mapping[str, Tensor]) -> Tensor:
        return F.cross_entropy(model(batch["x"][:, :6]), batch["y"])

    made = task(
        model=ByName, train=Doubled(), valid=Records(), loss=None, step=step, evaluate=dict_evaluate
    )  # fmt: skip
    assert len(make_subject(made).pre_activations()) == 1
    outcome = trial(made, "max(x, param(0.1, per='channel') * x)")
    assert outcome.state is TrialState.COMPLETE, outcome.reason


def test_evaluate_without_the_metric_is_an_error() -> None:
    with pytest.raises(acs.TaskError, match="evaluate returned f1, not the metric bleu"):
        fit(task(metric="bleu", evaluate=lambda model, batches: {"f1": 1.0}), make(), 1)


class TwoInputs(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.body = make()

    def forward(self, a: Tensor, b: Tensor) -> Tensor:
        result: Tensor = self.body(torch.cat([a, b], dim=1))
        return result


def test_several_inputs_go_to_the_model_in_order() -> None:
    def losses(made: acs.Task) -> list[float | None]:
        return [epoch.valid_loss for epoch in trial(made, "tanh").evaluations[0].epochs]

    split = task(
        model=TwoInputs,
        train=(X[:, :2], X[:, 2:], Y),
        valid=(XV[:, :2], XV[:, 2:], YV),
    )
    assert losses(split) == losses(task())


@pytest.mark.parametrize(
    "data",
    [
        (X.numpy(), Y.numpy()),
        TensorDataset(X, Y),
        Recording(),
        DataLoader(TensorDataset(X, Y), batch_size=16, shuffle=True),
        [X, Y],
    ],
    ids=["arrays", "TensorDataset", "Dataset", "DataLoader", "list"],
)
def test_data_of_each_kind_trains(data: Any) -> None:
    outcome = trial(task(train=data, epochs=25, lr=0.05), 'tanh(param(1.0, per="channel") * x)')
    assert outcome.state is TrialState.COMPLETE, outcome.reason
    last = outcome.evaluations[0].epochs[-1]
    assert last.train_metric is not None
    assert last.train_metric > 0.9


def loader(kind: str) -> tuple[Recording, DataLoader[Any]]:
    data = Recording()
    own = torch.Generator().manual_seed(99)
    if kind == "own generator":
        return data, DataLoader(data, batch_size=16, shuffle=True, generator=own)
    if kind == "own sampler":
        return data, DataLoader(data, batch_size=16, sampler=RandomSampler(data, generator=own))
    return data, DataLoader(data, batch_size=16, shuffle=True)


@pytest.mark.parametrize("kind", ["plain", "own generator", "own sampler"])
def test_the_order_of_a_shuffling_loader_depends_on_the_seed_alone(kind: str) -> None:
    data, source = loader(kind)
    made = task(train=source, epochs=2)

    def order(seed: int, global_seed: int) -> list[int]:
        torch.manual_seed(global_seed)
        data.asked.clear()
        fit(made, built(1), seed)
        return list(data.asked)

    first = order(5, global_seed=1)
    assert sorted(first[:50]) == list(range(50))
    assert first[:50] != first[50:]
    assert order(5, global_seed=2) == first
    assert order(6, global_seed=1) != first


# test data


@pytest.mark.parametrize("split", ["valid", "test"])
def test_test_data_is_touched_in_a_confirmation_alone(split: Any) -> None:
    test = Recording(XV, YV)
    made = task(test=test)
    made.describe()
    check_task(made, make())
    outcome = evaluate(Candidate.of("relu").record, made, [1, 2], split=split)
    assert outcome.state is TrialState.COMPLETE
    expected = [*range(21)] * 2 if split == "test" else []  # once a seed, after the last epoch
    assert test.asked == expected


def test_a_confirmation_scores_the_trained_model_on_test_data() -> None:
    plain = built(1)
    plain_loop(plain, torch.optim.Adam(plain.parameters(), lr=0.02), 1)
    made = task(test=(X, Y))
    outcome = evaluate(Candidate.of("relu").record, made, [1], split="test")
    plain.eval()
    with torch.no_grad():
        assert outcome.value == (plain(X).argmax(1) == Y).double().mean().item()


def test_a_confirmation_without_test_data_fails_and_says_so() -> None:
    outcome = evaluate(Candidate.of("relu").record, task(), [1], split="test")
    assert outcome.state is TrialState.FAILED
    assert "give the Task test=" in outcome.reason


# device


def frames(result: TrainingResult) -> Iterator[float]:
    for epoch in result.epochs:
        assert epoch.valid_loss is not None
        yield epoch.valid_loss


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@pytest.mark.parametrize("act", ["relu", "swish", "rrelu", 'tanh(param(1.0, per="channel") * x)'])
def test_training_on_a_gpu_gives_nearly_the_same(act: str) -> None:
    results = {}
    for device in ("cpu", "cuda"):
        model = acs.place(built(1), act).model
        results[device] = fit(task(device=device), model, 1)
        assert next(model.parameters()).device.type == device
    tolerance = 0.2 if act == "rrelu" else 1e-3  # generators of two devices draw other numbers
    assert list(frames(results["cuda"])) == pytest.approx(
        list(frames(results["cpu"])), rel=tolerance
    )
