"""A task refuses at the door what cannot be trained, measures as others do, and knows when it changed."""

from __future__ import annotations

import functools
import json
import math
import re
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
import torch
from sklearn import metrics as reference
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, Dataset, IterableDataset, TensorDataset

import actsearch as acs
from actsearch.task import Batches
from actsearch.task.metrics import METRICS, resolve_metric

X = torch.arange(24.0).reshape(12, 2) / 24
Y = torch.arange(12) % 3


def make() -> nn.Module:
    return nn.Sequential(nn.Linear(2, 4), nn.ReLU(), nn.Linear(4, 3))


def make_wider() -> nn.Module:
    return nn.Sequential(nn.Linear(2, 5), nn.ReLU(), nn.Linear(5, 3))


def task(**changes: Any) -> acs.Task:
    settings: dict[str, Any] = {
        "model": make, "train": (X, Y), "valid": (X, Y), "loss": F.cross_entropy,
        "metric": "accuracy", "epochs": 2, "batch_size": 5,
    }  # fmt: skip
    return acs.Task(**{**settings, **changes})


class Squares(Dataset[tuple[Tensor, int]]):
    def __len__(self) -> int:
        return 7

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        return torch.tensor([float(index), float(index**2)]), index % 3


class Stream(IterableDataset[tuple[Tensor, int]]):
    def __iter__(self) -> Iterator[tuple[Tensor, int]]:
        return (Squares()[index] for index in range(7))


class Empty(Squares):
    def __len__(self) -> int:
        return 0


# what is refused


@pytest.mark.parametrize("which", ["train", "valid", "test"])
@pytest.mark.parametrize(
    ("data", "says"),
    [
        ((), "is empty"),
        ((X[:0], Y[:0]), "is empty"),
        (Empty(), "is empty"),
        (DataLoader(TensorDataset(X[:0], Y[:0])), "is empty"),
        ((X, Y[:3]), "differ in length: 12 and 3"),
        ((np.zeros((5, 2)), np.zeros(4)), "differ in length: 5 and 4"),
        ((3.0, 4.0), "first axis of samples"),
        ((["a", "b"], [0, 1]), "cannot be made a tensor"),
        ("digits.csv", "must be a tuple of tensors, a Dataset or a DataLoader, not str"),
        (5, "not int"),
        ({"x": X, "y": Y}, "not dict"),
        (Stream(), "give DataLoader"),
    ],
)
def test_bad_data_is_refused_and_named(which: str, data: Any, says: str) -> None:
    with pytest.raises(acs.TaskError, match=f"{which} data.*{says}"):
        task(**{which: data})


@pytest.mark.parametrize(
    ("setting", "values"),
    [
        ("epochs", [0, -1, 1.5, "10", None, True, 2**31, 2**70, np.int64(0)]),
        ("batch_size", [0, -64, 2.0, None, True, 2**63, 2**70, np.float64(8)]),
        ("lr", [0, 0.0, -1e-3, math.nan, math.inf, "1e-3", None, True]),
        ("weight_decay", [-0.1, math.nan, math.inf, "0", None]),
        ("clip_grad_norm", [0, -1.0, math.nan, "1"]),
        ("seeds", [0, -1, True, None, [], [1, 1], [1.5], ["a"], "12", 2.0, (3, True), {1, 2}]),
        ("seeds", [2**70, 1001, [2**70], [0, 2**63], [-(2**63) - 1], range(1001), range(0)]),
        ("seeds", [np.arange(4).reshape(2, 2), np.array([1.0]), [np.int64(3), 3], np.bool_(True)]),
        ("metric", [3, None]),
        ("loss", ["cross_entropy", 3]),
        ("optimizer", ["adam", None]),
        ("step", ["step"]),
        ("evaluate", [0.5]),
        ("schedule", ["cosinus", 3, ["cosine"]]),
        ("amp", ["float32", torch.float64, True]),
        ("device", ["gpu", None, "cuda:zero"]),
        ("model", [None, 3, "resnet18"]),
    ],
)
def test_a_bad_setting_is_refused_and_named(setting: str, values: list[Any]) -> None:
    for value in values:
        with pytest.raises(acs.TaskError, match=setting) as refused:
            task(**{setting: value})
        assert isinstance(refused.value, ValueError)


def test_a_seed_that_does_not_fit_is_named() -> None:
    with pytest.raises(acs.TaskError, match=r"64 bits.*not 1180591620717411303424"):
        task(seeds=[1, 2**70])
    with pytest.raises(acs.TaskError, match=r"for the seed itself give seeds=\[...\]"):
        task(seeds=20261128)
    with pytest.raises(acs.TaskError, match="5 is there more than once"):
        task(seeds=[4, 5, 5])


def test_integers_of_numpy_are_integers() -> None:
    made = task(epochs=np.int32(3), batch_size=np.uint8(5), seeds=np.arange(2))
    assert made.describe() == task(epochs=3, batch_size=5, seeds=[0, 1]).describe()
    assert json.loads(json.dumps(made.describe())) == made.describe()
    assert task(seeds=np.int64(2)).seeds == 2


@pytest.mark.parametrize("seeds", [[2**63 - 1], [-(2**63)], (2**32, -1)])
def test_seeds_of_64_bits_are_trained_and_stored(seeds: Any, sqlite_url: str) -> None:
    study = acs.create_study(study_name="s", storage=sqlite_url, strategy="random")
    made = task(seeds=seeds, epochs=1, train=(X[:6], Y[:6]), valid=(X[6:], Y[6:]), metric="loss")
    study.optimize(made, n_trials=1, show_progress_bar=False)
    loaded = acs.load_study(study_name="s", storage=sqlite_url)
    assert loaded.best_trial.state is acs.TrialState.COMPLETE
    assert set(loaded.diagnostics_dataframe().seed) == set(seeds)


@pytest.mark.parametrize(
    ("changes", "suggested"),
    [
        ({"metric": "acuracy"}, "did you mean 'accuracy'"),
        ({"metric": "RMSE"}, "did you mean 'rmse'"),
        ({"metric": "bleu"}, r"known: accuracy, loss, .*or give a function \(outputs, targets\)"),
        ({"metric": "top_k_accuracy"}, "top5_accuracy"),
        ({"schedule": "cosin"}, "did you mean 'cosine'"),
    ],
)
def test_an_unknown_name_gets_a_suggestion(changes: dict[str, str], suggested: str) -> None:
    with pytest.raises(acs.TaskError, match=suggested):
        task(**changes)


@pytest.mark.parametrize("only", [None, "step", "evaluate"])
def test_without_a_loss_both_step_and_evaluate_are_needed(only: str | None) -> None:
    given = {} if only is None else {only: lambda model, batch: torch.zeros(())}
    with pytest.raises(acs.TaskError, match=r"give loss=, or both step= and evaluate="):
        task(loss=None, **given)


@pytest.mark.skipif(torch.cuda.is_available(), reason="needs a machine without a GPU")
def test_cuda_is_refused_where_there_is_none() -> None:
    with pytest.raises(acs.TaskError, match="device 'cuda'.*no CUDA device"):
        task(device="cuda")


def raises() -> nn.Module:
    raise KeyError("weights.pt")


@pytest.mark.parametrize(
    ("model", "says"),
    [
        (raises, "the model function failed: KeyError: 'weights.pt'"),
        (lambda: None, "returned NoneType, not a torch.nn.Module"),
        (lambda: [make()], "returned list"),
        (nn.Linear, "the model function failed: TypeError"),
    ],
)
def test_a_model_function_that_builds_no_module_is_refused(model: Any, says: str) -> None:
    with pytest.raises(acs.TaskError, match=says):
        task(model=model).build()


def test_a_factory_builds_anew_and_an_instance_stays_the_same() -> None:
    instance = make()
    assert task(model=make).build() is not task(model=make).build()
    assert task(model=instance).build() is instance


# data


@pytest.mark.parametrize("as_array", [np.asarray, np.ndarray.tolist], ids=["array", "list"])
def test_floating_arrays_become_float32_and_integers_stay(as_array: Callable[[Any], Any]) -> None:
    inputs = np.linspace(0, 1, 6).reshape(3, 2)
    made = task(train=(as_array(inputs), as_array(np.array([0, 2, 1]))))
    x, y = made.train
    assert (x.dtype, y.dtype) == (torch.float32, torch.int64)
    assert x.tolist() == inputs.astype(np.float32).tolist()
    assert y.tolist() == [0, 2, 1]


def test_tensors_keep_their_dtype() -> None:
    x, _ = task(train=(X.double(), Y)).train
    assert x.dtype == torch.float64


def collected(source: Any, seed: int | None = None, size: int = 5) -> list[tuple[Tensor, ...]]:
    return list(Batches(source, size, torch.device("cpu"), seed))


@pytest.mark.parametrize(
    "data",
    [Squares(), TensorDataset(X, Y), [Squares()[i][0] for i in range(4)]],
    ids=["Dataset", "TensorDataset", "list"],
)
def test_data_of_each_kind_gives_batches_of_tensors(data: Any) -> None:
    if isinstance(data, list):
        data = (torch.stack(data), torch.arange(4))
    source = task(train=data).train
    batches = collected(source, seed=1, size=2)
    assert all(isinstance(part, Tensor) for batch in batches for part in batch)
    total = len(data[0]) if isinstance(data, tuple) else len(data)
    assert sum(len(y) for _, y in batches) == total


def test_a_data_loader_keeps_its_batches() -> None:
    loader = DataLoader(Squares(), batch_size=3)
    batches = collected(task(valid=loader).valid, size=64)
    assert [y.tolist() for _, y in batches] == [[0, 1, 2], [0, 1, 2], [0]]
    assert batches[0][0].tolist() == [[0, 0], [1, 1], [2, 4]]


@pytest.mark.parametrize("source", [(X, Y), TensorDataset(X, Y)], ids=["tensors", "Dataset"])
def test_an_epoch_is_a_permutation_that_the_seed_decides(source: Any) -> None:
    def orders(seed: int) -> list[list[float]]:
        batches = Batches(source, 5, torch.device("cpu"), seed)
        return [[row[0].item() for x, _ in batches for row in x] for _ in range(3)]

    first = orders(1)
    assert all(sorted(order) == X[:, 0].tolist() for order in first)
    assert first[0] != first[1] != first[2]  # each epoch has an order of its own
    assert first == orders(1)
    assert first != orders(2)


def test_without_a_seed_the_order_is_kept() -> None:
    (batch,) = collected((X, Y), None)
    assert torch.equal(batch[0], X)


def test_the_last_batch_holds_the_rest() -> None:
    assert [len(y) for _, y in collected((X, Y), 3)] == [5, 5, 2]


# metrics

generator = torch.Generator().manual_seed(5)
SCORES = torch.randn(40, 4, generator=generator)
CLASSES = torch.randint(0, 4, (40,), generator=generator)
LOGITS = torch.randn(40, generator=generator)
LABELS = torch.randint(0, 2, (40,), generator=generator)
VALUES = torch.randn(40, generator=generator)
TARGETS = 0.7 * VALUES + torch.randn(40, generator=generator)
SPLITS = [[40], [17, 20, 3], [1] * 40]


def measured(name: str, output: Tensor, target: Tensor, split: list[int]) -> float:
    make_accumulator = METRICS[name].accumulator
    assert make_accumulator is not None
    accumulator = make_accumulator()
    for a, b in zip(torch.split(output, split), torch.split(target, split), strict=True):
        accumulator.update(a, b)
    return accumulator.result()


@pytest.mark.parametrize("split", SPLITS, ids=["one batch", "unequal", "single"])
@pytest.mark.parametrize(
    ("name", "output", "target", "expected"),
    [
        ("accuracy", SCORES, CLASSES, reference.accuracy_score(CLASSES, SCORES.argmax(1))),
        ("accuracy", LOGITS, LABELS, reference.accuracy_score(LABELS, LOGITS > 0)),
        ("accuracy", LOGITS[:, None], LABELS, reference.accuracy_score(LABELS, LOGITS > 0)),
        ("accuracy", LOGITS, LABELS.float(), reference.accuracy_score(LABELS, LOGITS > 0)),
        ("accuracy", LOGITS[:, None], LABELS[:, None], reference.accuracy_score(LABELS, LOGITS > 0)),
        ("mse", VALUES, TARGETS, reference.mean_squared_error(TARGETS, VALUES)),
        ("mse", VALUES[:, None], TARGETS, reference.mean_squared_error(TARGETS, VALUES)),
        ("mse", SCORES, -SCORES, reference.mean_squared_error(-SCORES, SCORES)),
        ("mae", VALUES, TARGETS, reference.mean_absolute_error(TARGETS, VALUES)),
        ("mae", VALUES[:, None], TARGETS[:, None], reference.mean_absolute_error(TARGETS, VALUES)),
        ("r2", VALUES, TARGETS, reference.r2_score(TARGETS, VALUES)),
        ("r2", VALUES[:, None], TARGETS, reference.r2_score(TARGETS, VALUES)),
        ("r2", VALUES + 50, TARGETS + 50, reference.r2_score(TARGETS, VALUES)),
    ],
)  # fmt: skip
def test_metrics_agree_with_scikit_learn(
    name: str, output: Tensor, target: Tensor, expected: float, split: list[int]
) -> None:
    assert measured(name, output, target, split) == pytest.approx(expected, abs=1e-5)


def test_accuracy_of_images_counts_pixels() -> None:
    scores = torch.randn(3, 4, 5, 6, generator=torch.Generator().manual_seed(1))
    target = scores.argmax(1)
    target[0] = (target[0] + 1) % 4
    assert measured("accuracy", scores, target, [2, 1]) == pytest.approx(2 / 3)


@pytest.mark.parametrize(
    ("name", "output", "target"),
    [
        ("mse", torch.zeros(4, 2), torch.zeros(4)),
        ("mae", torch.zeros(4), torch.zeros(4, 1)),
        ("r2", torch.zeros(4, 3), torch.zeros(4)),
        ("accuracy", torch.zeros(4, 3, 2), torch.zeros(4, 5)),
        ("accuracy", torch.zeros(4), torch.zeros(4, 2)),
    ],
)
def test_shapes_that_do_not_fit_are_not_broadcast(
    name: str, output: Tensor, target: Tensor
) -> None:
    with pytest.raises(acs.TaskError, match=re.escape(str(tuple(output.shape)))):
        measured(name, output, target, [4])


@pytest.mark.parametrize("name", ["accuracy", "mse", "mae", "r2"])
def test_no_data_gives_no_number(name: str) -> None:
    make_accumulator = METRICS[name].accumulator
    assert make_accumulator is not None
    assert math.isnan(make_accumulator().result())


def test_r2_of_constant_targets_is_no_number() -> None:
    assert math.isnan(measured("r2", VALUES, torch.ones(40), [40]))


@pytest.mark.parametrize(
    ("name", "direction"),
    [("accuracy", "maximize"), ("r2", "maximize"), ("loss", "minimize"), ("mse", "minimize"), ("mae", "minimize")],
)  # fmt: skip
def test_each_metric_knows_which_way_is_better(name: str, direction: str) -> None:
    assert task(metric=name).resolved_metric.direction == direction


class TopTwo:
    """As torchmetrics' objects: callable, with a direction."""

    def __init__(self, higher_is_better: bool | None) -> None:
        self.higher_is_better = higher_is_better

    def __call__(self, outputs: Tensor, targets: Tensor) -> Tensor:
        return (outputs.topk(2, dim=1).indices == targets[:, None]).any(1).double().mean()


@pytest.mark.parametrize(
    ("higher", "direction"), [(True, "maximize"), (False, "minimize"), (None, None)]
)
def test_a_function_as_metric_sees_all_outputs_at_once(
    higher: bool | None, direction: str | None
) -> None:
    metric = resolve_metric(TopTwo(higher), has_evaluate=False)
    assert metric.accumulator is not None
    accumulator = metric.accumulator()
    for a, b in zip(torch.split(SCORES, 17), torch.split(CLASSES, 17), strict=True):
        accumulator.update(a, b)
    expected = reference.top_k_accuracy_score(CLASSES, SCORES, k=2)
    assert accumulator.result() == pytest.approx(expected)
    assert metric.direction == direction
    assert metric.name == "TopTwo"


def test_with_evaluate_any_name_may_be_the_metric() -> None:
    made = task(metric="bleu", evaluate=lambda model, batches: {"bleu": 1.0})
    assert (made.resolved_metric.name, made.resolved_metric.direction) == ("bleu", None)


# describe


class FocalLoss(nn.Module):
    def __init__(self, gamma: float) -> None:
        super().__init__()
        self.gamma = gamma

    def extra_repr(self) -> str:
        return f"gamma={self.gamma}"

    def forward(self, output: Tensor, target: Tensor) -> Tensor:
        return F.cross_entropy(output, target) * self.gamma


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"loss": FocalLoss(2.0), "optimizer": functools.partial(torch.optim.SGD, momentum=0.9)},
        {"schedule": "cosine", "clip_grad_norm": 1.0, "amp": "bfloat16", "seeds": [4, 5]},
        {"train": Squares(), "valid": DataLoader(TensorDataset(X, Y), batch_size=4)},
        {"metric": TopTwo(True)},
    ],
)
def test_equal_tasks_describe_themselves_alike(settings: dict[str, Any]) -> None:
    torch.manual_seed(1)
    first = task(**settings).describe()
    torch.manual_seed(2)  # a description does not depend on the weights drawn
    copied = {name: (X.clone(), Y.clone()) for name in ("train", "valid") if name not in settings}
    assert task(**{**settings, **copied}).describe() == first


@pytest.mark.parametrize(
    "changes",
    [
        {"lr": 1.1e-3},
        {"epochs": 3},
        {"batch_size": 6},
        {"weight_decay": 0.1},
        {"optimizer": torch.optim.SGD},
        {"optimizer": functools.partial(torch.optim.Adam, betas=(0.8, 0.9))},
        {"loss": FocalLoss(2.0)},
        {"metric": "loss"},
        {"schedule": "linear"},
        {"clip_grad_norm": 1.0},
        {"amp": "bfloat16"},
        {"seeds": 2},
        {"model": make_wider},
        {"model": lambda: nn.Sequential(nn.Linear(2, 4), nn.Tanh(), nn.Linear(4, 3))},
        {"model": nn.Sequential(nn.Linear(2, 4), nn.ELU(), nn.Linear(4, 3))},
        {"train": (X + torch.eye(12, 2) * 1e-3, Y)},
        {"train": (X, Y.flip(0))},
        {"train": (X[:11], Y[:11])},
        {"valid": (X.double(), Y)},
        {"train": TensorDataset(X, Y)},
        {"valid": DataLoader(TensorDataset(X, Y))},
    ],
    ids=lambda changes: ",".join(changes),
)
def test_a_changed_task_describes_itself_differently(changes: dict[str, Any]) -> None:
    before, after = task().describe(), task(**changes).describe()
    assert {key for key in before if before[key] != after[key]} >= (set(changes) & set(before))
    assert before != after


def test_a_function_and_an_instance_describe_themselves_differently() -> None:
    before, after = task(model=make).describe(), task(model=make()).describe()
    assert {key for key in before if before[key] != after[key]} == {"weights"}


def test_two_values_of_a_loss_modules_setting_differ() -> None:
    assert task(loss=FocalLoss(1.0)).describe() != task(loss=FocalLoss(2.0)).describe()


@pytest.mark.parametrize(
    "changes", [{"test": (X, Y)}, {"test": (X + 1, Y)}, {"name": "renamed"}, {"device": "cpu"}]
)
def test_test_data_name_and_device_are_no_part_of_the_description(changes: dict[str, Any]) -> None:
    assert task(**changes).describe() == task().describe()


def test_describing_draws_no_random_numbers() -> None:
    state = torch.get_rng_state()
    task().describe()
    assert torch.equal(torch.get_rng_state(), state)


def test_replace_changes_one_setting_and_checks_it() -> None:
    changed = task().replace(lr=0.5)
    assert (changed.lr, changed.epochs) == (0.5, 2)
    with pytest.raises(acs.TaskError, match="lr"):
        task().replace(lr=-1)


class Items(Dataset[tuple[torch.Tensor, int]]):
    """A data set that is no TensorDataset."""

    def __init__(self, shift: float) -> None:
        self.shift = shift

    def __len__(self) -> int:
        return 100

    def __getitem__(self, index: int) -> tuple[torch.Tensor, int]:
        return torch.tensor([float(index), self.shift]), index % 2


def test_other_items_of_a_dataset_are_another_task() -> None:
    tasks = [
        acs.Task(
            model=lambda: torch.nn.Linear(2, 2),
            train=Items(shift),
            valid=Items(0),
            loss=F.cross_entropy,
        )
        for shift in (0.0, 0.0, 1.0)
    ]
    same, again, other = (task.describe() for task in tasks)
    assert same == again
    assert same["train"] != other["train"]
    assert same["valid"] == other["valid"]


@pytest.mark.parametrize(
    ("seeds", "says"),
    [([1.5], "[0] is 1.5"), ([3, "a"], "[1] is 'a'"), ([True], "[0] is True"), ([1, None], "[1] is None")],
)  # fmt: skip
def test_a_seed_that_is_no_integer_is_named(seeds: list[object], says: str) -> None:
    data = (torch.zeros(4, 2), torch.zeros(4, 1))
    with pytest.raises(acs.TaskError) as caught:
        acs.Task(
            model=lambda: nn.Linear(2, 1), train=data, valid=data, epochs=1, loss=F.mse_loss, batch_size=2,
            metric="mse", seeds=seeds,  # type: ignore[arg-type]
        )  # fmt: skip
    assert f"seeds{says}" in str(caught.value)
