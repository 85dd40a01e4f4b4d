"""Shape learning: two levels that never mix, a division of the training data, and refusals before anything is spent."""

from __future__ import annotations

import copy
import dataclasses
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.data import (
    DataLoader,
    IterableDataset,
    RandomSampler,
    SequentialSampler,
    TensorDataset,
    WeightedRandomSampler,
)

import actsearch as acs
from actsearch.activations import describe
from actsearch.evaluation import make_subject
from actsearch.evaluation.request import Request
from actsearch.records import CURVES, SHAPE, TRAININGS, CandidateRecord, Outcome
from actsearch.training import fit
from actsearch.training.loop import seed_streams
from actsearch.training.shape import (
    LearnedCurve,
    LearnedShape,
    ShapeRecipe,
    SharedCurve,
    learn_shape,
)
from actsearch.training.shape.split import split_training_data
from actsearch.training.stack import Member

pytestmark = pytest.mark.filterwarnings("ignore::actsearch.ActsearchWarning")

generator = torch.Generator().manual_seed(3)
X = torch.randn(160, 4, generator=generator)
Y = torch.sin(2 * X[:, :1]) + 0.5 * X[:, 1:2]
CPU = torch.device("cpu")
RELU = describe("relu")


def net(*, normed: bool = False) -> nn.Module:
    norm = [nn.BatchNorm1d(8), nn.Dropout(0.2)] if normed else []
    # a bias before a normalisation has rounding errors for a gradient, and Adam makes whole steps of them
    first = nn.Linear(4, 8, bias=not normed)
    return nn.Sequential(first, *norm, nn.ReLU(), nn.Linear(8, 8), nn.ReLU(), nn.Linear(8, 1))


def task(**settings: Any) -> acs.Task:
    usual = {
        "model": net, "train": (X[:128], Y[:128]), "valid": (X[128:], Y[128:]), "loss": F.mse_loss,
        "metric": "mse", "epochs": 4, "batch_size": 16, "lr": 1e-2, "tune_lr": False,
    }  # fmt: skip
    return acs.Task(**{**usual, **settings})


def learned_curve(points: int = 16) -> LearnedCurve:
    return LearnedCurve(torch.relu, points, CPU)


def copies(made: acs.Task, curve: LearnedCurve, count: int) -> list[Member]:
    """Models under different seeds with one curve at every hidden site."""
    members = []
    for seed in range(count):
        torch.manual_seed(seed)
        model = made.build()
        paths = [name for name, module in model.named_modules() if isinstance(module, nn.ReLU)]
        for path in paths:
            setattr(model, path, SharedCurve(RELU, curve))
        seed_streams(model, seed)
        members.append(Member(model, tuple(paths), seed, made.lr))
    return members


def learn(
    made: acs.Task, recipe: ShapeRecipe, *, stacked: bool = False
) -> tuple[LearnedShape, list[Member]]:
    curve = learned_curve(recipe.points)
    members = copies(made, curve, recipe.copies)
    return learn_shape(made, members, {"*": curve}, recipe, 5, stacked=stacked), members


# the curve


def test_a_curve_is_linear_between_its_points_and_beyond_them() -> None:
    curve = learned_curve(7)
    curve.begin(-2.0, 1.0)
    values = torch.tensor([3.0, -1.0, 0.5, 2.0, 2.0, -1.0, 4.0])
    curve.values = values.clone().requires_grad_()
    x = torch.linspace(-2, 1, 61, dtype=torch.float64)
    expected = np.interp(x.numpy(), np.linspace(-2, 1, 7), values.numpy())
    np.testing.assert_allclose(curve(x).detach().numpy(), expected, atol=1e-12)
    outside = curve(torch.tensor([-3.0, 2.0], dtype=torch.float64))
    torch.testing.assert_close(outside, torch.tensor([11.0, 14.0], dtype=torch.float64))
    assert curve(torch.tensor([float("nan")])).isnan().all()


def test_its_gradients_are_those_of_finite_differences() -> None:
    curve = learned_curve(9)
    curve.begin(-2.0, 2.0)
    curve.values = torch.randn(9, dtype=torch.float64, generator=generator).requires_grad_()
    curve.learns = True
    x = (6 * torch.rand(20, dtype=torch.float64, generator=generator) - 3).requires_grad_()

    def of(inputs: Tensor, values: Tensor) -> Tensor:
        curve.values = values
        return curve(inputs)

    assert torch.autograd.gradcheck(of, (x, curve.values), eps=1e-7)


def test_weights_get_no_gradient_of_a_curve_that_does_not_learn() -> None:
    curve = learned_curve()
    curve.begin(-2.0, 2.0)
    assert not curve(torch.zeros(3)).requires_grad
    curve.learns = True
    assert curve(torch.zeros(3)).requires_grad


# two levels


@pytest.mark.parametrize("normed", [False, True], ids=["plain", "batch norm, dropout"])
def test_a_step_of_the_weights_is_that_of_a_plain_training(normed: bool) -> None:
    """One step, after which the curve learns: weights and running means are those of no shape learning at all."""
    made = task(model=lambda: net(normed=normed), batch_size=128, epochs=1)
    recipe = ShapeRecipe(copies=2, length=0.75, held=0.25, warm=0.0, points=16, coefficients=8)
    shape, members = learn(made, recipe)
    assert shape.trainings == pytest.approx(
        2 * 2
    )  # two copies, a step of each level for each step of a training
    parts = split_training_data(made, 0.25, 2, 5)
    for seed, (member, (seen, _)) in enumerate(zip(members, parts, strict=True)):
        torch.manual_seed(seed)
        plain = made.build()
        fit(made.replace(train=seen), plain, seed)
        own = member.model.state_dict()
        for name, value in plain.state_dict().items():
            assert torch.equal(own[name], value), name


@pytest.mark.parametrize("normed", [False, True], ids=["plain", "batch norm, dropout"])
def test_copies_in_a_stack_and_alone_learn_one_curve(normed: bool) -> None:
    made = task(model=lambda: net(normed=normed))
    recipe = ShapeRecipe(copies=3, length=0.5, points=16, coefficients=8)
    alone, _ = learn(made, recipe)
    stacked, _ = learn(made, recipe, stacked=True)
    assert (alone.stacked, stacked.stacked) == (False, True)
    np.testing.assert_allclose(stacked.y["*"], alone.y["*"], atol=1e-5)
    np.testing.assert_allclose(stacked.density["*"], alone.density["*"], atol=2e-3)
    for a, b in zip(alone.epochs, stacked.epochs, strict=True):
        assert [r.valid_metric for r in a] == pytest.approx([r.valid_metric for r in b], rel=1e-4)


def test_the_curve_follows_the_loss_on_data_that_the_weights_do_not_see() -> None:
    """Held-out targets of the opposite sign turn the curve the other way; the weights' step is the same."""
    made = task(batch_size=96, epochs=1)
    recipe = ShapeRecipe(copies=1, length=0.75, held=0.25, warm=0.0, points=16, coefficients=8)
    ((_, held),) = split_training_data(made, recipe.held, 1, 5)
    rows = [int((X == row).all(1).nonzero()) for row in held[0]]
    other = Y[:128].clone()
    other[rows] *= -1
    plain, first = learn(made, recipe)
    turned, second = learn(made.replace(train=(X[:128], other)), recipe)
    for a, b in zip(first[0].model.parameters(), second[0].model.parameters(), strict=True):
        assert torch.equal(a, b)
    assert not np.allclose(plain.y["*"], turned.y["*"])


def test_the_grid_follows_the_inputs() -> None:
    recipe = ShapeRecipe(copies=2, points=32, coefficients=12)
    shape, _ = learn(task(train=(10 * X[:128] + 50, Y[:128])), recipe)
    assert shape.x["*"][-1] - shape.x["*"][0] > 20
    assert shape.density["*"].sum() == pytest.approx(1)
    assert len(shape.x["*"]) == len(shape.y["*"]) == len(shape.density["*"]) == 32


# the division of the training data


def _rows(part: Any) -> set[tuple[float, ...]]:
    if isinstance(part, tuple):
        return {tuple(row) for row in part[0].tolist()}
    batches = part if isinstance(part, DataLoader) else DataLoader(part, batch_size=64)
    return {tuple(row) for batch in batches for row in batch[0].tolist()}


@pytest.mark.parametrize(
    "source",
    [
        (X[:128], Y[:128]),
        TensorDataset(X[:128], Y[:128]),
        DataLoader(TensorDataset(X[:128], Y[:128]), batch_size=16, shuffle=True),
        DataLoader(TensorDataset(X[:128], Y[:128]), batch_size=16, drop_last=True),
    ],
    ids=["tensors", "data set", "shuffled loader", "loader"],
)
def test_the_training_data_are_divided(source: Any) -> None:
    made = task(train=source)
    ((one, other),) = split_training_data(made, 0.25, 1, 1)
    seen, held = _rows(one), _rows(other)
    if not (isinstance(source, DataLoader) and source.drop_last):
        assert (len(seen), len(held)) == (96, 32)
        assert seen | held == _rows((X[:128],))
    assert not seen & held
    ((again, _),) = split_training_data(made, 0.25, 1, 2)
    assert _rows(again) != seen


def test_what_one_of_two_copies_sees_the_other_holds_back() -> None:
    (first, second) = split_training_data(task(), 0.5, 2, 1)
    assert _rows(first[0]) == _rows(second[1])
    assert _rows(first[1]) == _rows(second[0])


class Stream(IterableDataset[Any]):
    def __iter__(self) -> Any:
        return iter(zip(X[:128], Y[:128], strict=True))


class Changing(DataLoader[Any]):
    def __iter__(self) -> Any:
        return ((0.1 * x, y) for x, y in super().__iter__())


DATA = TensorDataset(X[:128], Y[:128])
WEIGHTED = WeightedRandomSampler([1.0] * 128, 128)


def step_that_trains(model: Any, batch: Any) -> Tensor:
    """As of a GAN, whose critic has an optimizer of its own."""
    torch.autograd.backward(F.mse_loss(model(batch[0]), batch[1]))
    torch.optim.SGD(model[4].parameters(), 1e-2).step()
    model.zero_grad()
    return F.mse_loss(model(batch[0]), batch[1])


def finite_with_relu_alone(output: Tensor, target: Tensor) -> Tensor:
    """As a loss that the slopes of a function of its own, in a range of its own, make infinite."""
    loss = F.mse_loss(output, target)
    return loss * (float("nan") if "Interpolation" in graph_of(loss) else 1.0)


def graph_of(tensor: Tensor) -> str:
    names: list[str] = []
    open_nodes = [tensor.grad_fn]
    while open_nodes and len(names) < 200:
        if (node := open_nodes.pop()) is not None:
            names.append(node.name())
            open_nodes += [following for following, _ in node.next_functions]
    return " ".join(names)


def mean_error(model: nn.Module, batches: Any) -> dict[str, float]:
    return {"mse": sum(F.mse_loss(model(x), y).item() for x, y in batches)}


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"loss": None, "step": step_that_trains, "evaluate": mean_error}, "an optimizer of its own"),
        ({"train": (X[:63], Y[:63])}, "63 samples are too few"),
        ({"optimizer": torch.optim.LBFGS}, "builds on a loss that stays the same"),
        ({"train": DataLoader(Stream(), batch_size=16), "steps": 8}, "of a stream no part can be held back"),
        ({"train": DataLoader(TensorDataset(X[:128], Y[:128]), sampler=WEIGHTED)}, "a sampler, batches or"),
        ({"train": Changing(DATA, batch_size=16)}, "an __iter__ of its own"),
        ({"train": DataLoader(DATA, sampler=RandomSampler(DATA, num_samples=70))}, "a sampler, batches or"),
        ({"train": DataLoader(DATA, sampler=SequentialSampler(range(70)))}, "a sampler, batches or"),
        ({"diagnostics": False}, "leave out diagnostics=False"),
        ({"loss": lambda o, t: F.mse_loss(o, t) * float("nan")},
         r"^the task's own loss is not finite in a fresh model with relu\(x\), .*: mend the task's loss or data$"),
        ({"loss": finite_with_relu_alone}, "though with the activation itself it is finite"),
        ({"model": lambda: nn.Sequential(nn.Linear(4, 8), nn.ReLU(), Detached(), nn.Linear(8, 1))},
         "no gradient arrives at the activation"),
        ({"model": lambda: nn.Sequential(nn.Linear(4, 8), acs.activation("step"), nn.Linear(8, 1))},
         "or a step: say where to begin"),
    ],
)  # fmt: skip
def test_what_cannot_be_learned_is_said_before_any_trial(
    settings: dict[str, Any], says: str
) -> None:
    study = acs.create_study(study_name="s", strategy="gradient")
    with pytest.raises((acs.TaskError, acs.SpaceError), match=says):
        study.optimize(task(**settings), n_trials=2, show_progress_bar=False)
    assert not study.trials


class Detached(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x.detach() + 0 * x.sum().detach()


def test_a_function_keeps_its_model_to_itself() -> None:
    study = acs.create_study(study_name="s", strategy="gradient", direction="minimize")
    with pytest.raises(acs.TaskError, match="keeps its model to itself: give a Task"):
        study.optimize(lambda candidate, run: 1.0, n_trials=1, show_progress_bar=False)
    assert not study.trials


# as a trial


def run_pass(made: acs.Task, record: CandidateRecord, number: int = 1) -> Outcome:
    (outcome,) = make_subject(made).train([Request(record, (3,), number)])
    return outcome


def test_a_pass_is_an_outcome_with_its_curve_and_its_cost() -> None:
    outcome = run_pass(task(), CandidateRecord({"*": RELU}, SHAPE))
    assert outcome.state is acs.TrialState.PRUNED
    assert (
        "fresh copies of the model, trained up to epoch 4 with one curve; it took"
        in outcome.reason
    )
    curve = outcome.user_attrs[CURVES]["*"]
    assert len(curve["x"]) == len(curve["y"]) == len(curve["density"])
    assert 0 < outcome.user_attrs[TRAININGS] < 4
    assert outcome == dataclasses.replace(
        run_pass(task(), CandidateRecord({"*": RELU}, SHAPE)),
        seconds=outcome.seconds, evaluations=outcome.evaluations,
    )  # fmt: skip
    other = run_pass(task(), CandidateRecord({"*": RELU}, SHAPE), number=2)
    assert other.user_attrs[CURVES] != outcome.user_attrs[CURVES]


def test_later_passes_step_less_than_the_first() -> None:
    """Passes that go together have one schedule: in the last one the curve comes to rest."""
    first, last = (
        run_pass(task(), CandidateRecord({"*": RELU}, f"{SHAPE} {turn} of 4")).user_attrs[CURVES][
            "*"
        ]
        for turn in (1, 4)
    )
    moved = [np.abs(np.array(c["y"]) - np.maximum(c["x"], 0)).max() for c in (first, last)]
    assert moved[1] < 0.5 * moved[0]


class Recurrent(nn.Module):
    """Which torch.vmap cannot take apart."""

    def __init__(self) -> None:
        super().__init__()
        self.rnn, self.last = nn.GRU(2, 6, batch_first=True), nn.Linear(6, 1)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.last(F.relu(self.rnn(x.reshape(-1, 2, 2))[0][:, -1]))
        return out


class DropsByCall(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first, self.last = nn.Linear(4, 6), nn.Linear(6, 1)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.last(F.dropout(F.relu(self.first(x)), 0.1, self.training))
        return out


class Counting(DropsByCall):
    """What it computes depends on a number that it reads."""

    def forward(self, x: Tensor) -> Tensor:
        h = F.relu(self.first(x))
        out: Tensor = self.last(h if h.mean().item() < 1e6 else -h)
        return out


@pytest.mark.parametrize(
    "settings",
    [
        {"model": Recurrent}, {"patience": 2}, {"model": DropsByCall}, {"model": Counting},
        {"model": lambda: net(normed=True), "train": (X[:66], Y[:66]), "batch_size": 32},
    ],
    ids=["recurrent", "patience", "dropout by call", "item", "a batch of one"],
)  # fmt: skip
def test_what_cannot_be_stacked_is_trained_by_itself(settings: dict[str, Any]) -> None:
    record = CandidateRecord({"*": RELU}, SHAPE)
    outcome = run_pass(task(**settings), record)
    assert outcome.state is acs.TrialState.PRUNED, outcome.reason


class Detector(DropsByCall):
    """In training it gives its loss, otherwise its answers."""

    def forward(self, x: Tensor, y: Tensor | None = None) -> Any:
        out = super().forward(x)
        return {"loss": F.mse_loss(out, y)} if self.training and y is not None else out


def detect(model: nn.Module, batch: Any) -> Tensor:
    loss: Tensor = model(*batch)["loss"]
    return loss


def test_the_held_loss_is_that_of_training() -> None:
    made = task(model=Detector, loss=None, step=detect, evaluate=mean_error)
    outcome = run_pass(made, CandidateRecord({"*": RELU}, SHAPE))
    assert outcome.state is acs.TrialState.PRUNED, outcome.reason


def test_a_pass_of_one_step_has_a_density_as_well() -> None:
    record = CandidateRecord({"*": RELU}, SHAPE)
    curve = run_pass(task(epochs=1, batch_size=128), record).user_attrs[CURVES]["*"]
    assert sum(curve["density"]) == pytest.approx(1)
    assert max(curve["density"]) == curve["density"][len(curve["density"]) // 2]


def test_a_budget_in_steps_is_cut_in_steps() -> None:
    outcome = run_pass(
        task(steps=20, eval_every=20, epochs=1), CandidateRecord({"*": RELU}, SHAPE)
    )
    assert outcome.user_attrs[TRAININGS] == pytest.approx(2, abs=0.2)


def test_validation_data_have_no_part_in_the_grid_and_the_density() -> None:
    far = task(valid=(1e3 + X[128:], Y[128:]))
    record = CandidateRecord({"*": RELU}, SHAPE)
    ours, theirs = (run_pass(made, record).user_attrs[CURVES]["*"] for made in (task(), far))
    assert ours == theirs


def test_each_group_has_a_curve_of_its_own() -> None:
    record = CandidateRecord({"1": RELU, "3": describe("tanh")}, SHAPE)
    curves = run_pass(task(), record).user_attrs[CURVES]
    assert list(curves) == ["1", "3"]
    outcome = run_pass(task(steps=8, eval_every=4), record)
    assert "up to step " in outcome.reason
    assert "with one curve for each group of sites;" in outcome.reason
    assert curves["1"] != curves["3"]


def test_a_loss_that_is_not_finite_is_the_reason() -> None:
    calls = iter(range(10**6))

    def loss(o: Tensor, t: Tensor) -> Tensor:
        return F.mse_loss(o, t) * (float("nan") if next(calls) > 40 else 1.0)

    outcome = run_pass(task(loss=loss), CandidateRecord({"*": RELU}, SHAPE))
    assert outcome.state is acs.TrialState.FAILED
    assert "became nan" in outcome.reason


def test_test_data_are_not_touched() -> None:
    class Forbidden(TensorDataset):
        def __getitem__(self, index: Any) -> Any:
            raise AssertionError("test data were read")

    made = task(test=Forbidden(X, Y))
    assert run_pass(made, CandidateRecord({"*": RELU}, SHAPE)).state is acs.TrialState.PRUNED


def test_the_users_model_and_data_stay_as_they_are() -> None:
    model = net()
    before = copy.deepcopy(model.state_dict())
    made = task(model=model)
    run_pass(made, CandidateRecord({"*": RELU}, SHAPE))
    for name, value in model.state_dict().items():
        assert torch.equal(before[name], value)
    assert made.train[0].shape == (128, 4)
