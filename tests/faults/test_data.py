"""Something is wrong with the data: it is said of the data, with counts, before the first trial."""

from __future__ import annotations

import dataclasses
import functools
import io
import json
import logging
import time
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.data import (
    ConcatDataset,
    DataLoader,
    Dataset,
    IterableDataset,
    RandomSampler,
    Subset,
    SubsetRandomSampler,
    TensorDataset,
    WeightedRandomSampler,
)

import actsearch as acs
from actsearch.training import check_data

X = torch.randn(240, 4, generator=torch.Generator().manual_seed(0))
Y = (X[:, 0] * X[:, 1] > 0).long()
NAN, INF = float("nan"), float("inf")

Pair = tuple[Tensor, Tensor]


def _model() -> nn.Module:
    return nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 2))


def _one_output() -> nn.Module:
    return nn.Sequential(nn.Linear(4, 8), nn.Tanh(), nn.Linear(8, 1))


def _rows(start: int, stop: int) -> Pair:
    return X[start:stop], Y[start:stop]


def _task(**changes: Any) -> acs.Task:
    settings: dict[str, Any] = {
        "model": _model, "train": _rows(0, 120), "valid": _rows(120, 180), "test": _rows(180, 240),
        "loss": F.cross_entropy, "metric": "accuracy", "epochs": 1, "lr": 1e-2, "device": "cpu",
    }  # fmt: skip
    return acs.Task(**{"tune_lr": False} | settings | changes)


def _search(task: acs.Task, storage: str | None = None, n_trials: int = 2) -> acs.Study:
    study = acs.create_study(
        study_name="s", storage=storage, strategy="random", load_if_exists=True
    )
    study.optimize(task, n_trials=n_trials, show_progress_bar=False)
    return study


def _refused(task: acs.Task) -> str:
    """What is said; no trial was proposed."""
    study = acs.create_study(study_name="s", strategy="random")
    with pytest.raises(acs.TaskError) as error:
        study.optimize(task, n_trials=1, show_progress_bar=False)
    assert study.trials == []
    return str(error.value)


def _warned(task: acs.Task) -> list[str]:
    """What is said of a task that is searched all the same."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        study = _search(task)
    assert {trial.state.name for trial in study.trials if trial.state.is_trained} == {"COMPLETE"}
    ours = [item for item in caught if item.category is acs.ActsearchWarning]
    assert all(item.filename == __file__ for item in ours)  # the user's line, not ours
    return [str(item.message) for item in ours]


# shared rows


class Reads:
    """Counts over all copies of a data set, since it has no __dict__ and is shared by them."""

    __slots__ = ("count",)

    def __init__(self) -> None:
        self.count = 0


class Items(Dataset[Any]):
    """A data set of its own kind, whose items are read one by one."""

    def __init__(self, start: int, stop: int) -> None:
        self.rows = range(start, stop)
        self.reads = Reads()

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: int) -> Any:
        self.reads.count += 1
        return X[self.rows[index]], int(Y[self.rows[index]])


class Records(Items):
    """Items that are mappings."""

    def __getitem__(self, index: int) -> Any:
        x, y = super().__getitem__(index)
        return {"x": x, "y": y}


def _step(model: nn.Module, batch: Any) -> Tensor:
    return F.cross_entropy(model(batch["x"]), batch["y"])


def _evaluate(model: nn.Module, loader: Any) -> float:
    batches = [(model(batch["x"]).argmax(1) == batch["y"]).float().mean() for batch in loader]
    return float(torch.stack(batches).mean())


ALL = TensorDataset(X, Y)
KINDS: dict[str, Callable[[int, int], Any]] = {
    "tensors": _rows,
    "arrays": lambda a, b: (X[a:b].numpy(), Y[a:b].numpy()),
    "float64 beside float32": lambda a, b: (X[a:b].double() if a < 120 else X[a:b], Y[a:b]),
    "TensorDataset": lambda a, b: TensorDataset(*_rows(a, b)),
    "Subset": lambda a, b: Subset(ALL, range(a, b)),
    "Subset of a Subset": lambda a, b: Subset(Subset(ALL, range(239, -1, -1)), range(239 - a, 239 - b, -1)),
    "ConcatDataset": lambda a, b: ConcatDataset([Subset(ALL, range(a, b - 3)), TensorDataset(*_rows(b - 3, b))]),
    "DataLoader": lambda a, b: DataLoader(Subset(ALL, range(a, b)), batch_size=16, shuffle=True),
    "sampler": lambda a, b: DataLoader(ALL, batch_size=16, sampler=SubsetRandomSampler(range(a, b))),
}  # fmt: skip


def _model_for(kind: str) -> Callable[[], nn.Module]:
    return lambda: _model().double() if kind.startswith("float64") else _model()


@pytest.mark.parametrize("kind", KINDS)
def test_test_data_that_the_search_sees_are_refused(kind: str) -> None:
    make = KINDS[kind]
    settings = {"train": make(0, 120), "valid": make(120, 180)}
    said = _refused(_task(**settings, test=make(0, 120)))
    assert "test and train share 120 of 120 rows (first: test row 0 = train row 0)" in said
    assert "give test= rows of their own" in said
    half = _refused(_task(**settings, test=make(110, 140)))
    assert "test and train share 10 of 30 rows (first: test row 0 = train row 110)" in half
    assert "test and valid share 20 of 30 rows (first: test row 10 = valid row 0)" in half


@pytest.mark.parametrize("kind", [kind for kind in KINDS if not kind.startswith("float64")])
def test_a_few_shared_rows_are_counted(kind: str) -> None:
    make = KINDS[kind]
    said = _warned(_task(train=make(0, 120), valid=make(117, 180), test=make(173, 240)))
    assert len(said) == 2
    assert "test and valid share 7 of 67 rows (first: test row 0 = valid row 56)" in said[0]
    assert "the verdict may favour" in said[0]
    assert "valid and train share 3 of 63 rows (first: valid row 0 = train row 117)" in said[1]


def test_validation_on_the_training_data_is_a_warning() -> None:
    (said,) = _warned(_task(valid=_rows(0, 120)))
    assert "valid and train share 120 of 120 rows" in said
    assert "every trial is scored on what it was trained on" in said


def test_several_inputs_are_one_row() -> None:
    class Two(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layers = _model()

        def forward(self, a: Tensor, b: Tensor) -> Any:
            return self.layers(torch.cat([a, b], 1))

    def parts(a: int, b: int, shift: int = 0) -> tuple[Tensor, ...]:
        return X[a:b, :2], X[a + shift : b + shift, 2:], Y[a:b]

    task = _task(model=Two, train=parts(0, 120), valid=parts(120, 180), test=parts(0, 60, 1))
    assert _warned(task) == []  # each of the two is known, the pairs are not
    assert "share 60 of 60 rows" in _refused(task.replace(test=parts(0, 60)))


def test_rows_with_other_targets_are_told_apart() -> None:
    flipped = Y[90:120].clone()
    flipped[:4] = 1 - flipped[:4]
    (said,) = _warned(_task(test=(X[90:120], flipped)))
    assert "test and train share 30 of 30 inputs, 4 of them with other targets" in said


def test_inputs_from_a_small_set_are_expected_to_return() -> None:
    """XOR drawn at random: every test row is known, and the test is as good as any."""
    bits = torch.randint(0, 2, (240, 2), generator=torch.Generator().manual_seed(1)).float()
    labels = (bits[:, 0] != bits[:, 1]).long()
    parts = [(bits[a:b], labels[a:b]) for a, b in ((0, 120), (120, 180), (180, 240))]
    task = _task(
        model=lambda: nn.Sequential(nn.Linear(2, 8), nn.ReLU(), nn.Linear(8, 2)),
        **dict(zip(("train", "valid", "test"), parts, strict=True)),
    )
    said = _warned(task)
    assert len(said) == 3
    assert (
        "train holds 4 different inputs in 120 rows, so some shared rows are to be expected"
        in said[0]
    )
    assert "share 120 of 120 rows" in _refused(task.replace(test=parts[0]))  # the very same rows


def _xor(count: int) -> Pair:
    bits = torch.tensor([[0.0, 0.0], [0.0, 1.0], [1.0, 0.0], [1.0, 1.0]]).repeat(count, 1)
    return bits, (bits[:, 0] != bits[:, 1]).long()


def _factors() -> Pair:
    rows = torch.cartesian_prod(torch.arange(4.0), torch.arange(5.0))
    return rows, (rows[:, 0] + rows[:, 1] > 3).long()


@pytest.mark.parametrize("kind", ["XOR", "XOR repeated", "factorial", "one data set"])
def test_a_table_of_all_combinations_has_no_new_rows_to_give(kind: str) -> None:
    inputs, labels = _factors()
    few = torch.tensor([1, 7, 12, 18])
    rows = TensorDataset(*_xor(1))
    train, test = {
        "XOR": (_xor(1), _xor(1)),
        "XOR repeated": (_xor(16), _xor(4)),
        "factorial": ((inputs, labels), (inputs[few], labels[few])),
        "one data set": (rows, rows),
    }[kind]
    two = lambda: nn.Sequential(nn.Linear(2, 8), nn.ReLU(), nn.Linear(8, 2))  # noqa: E731
    said = _warned(_task(model=two, train=train, valid=train, test=test))
    assert "test and train share" in said[0]
    assert "about all combinations of their values, so hardly any row can be new" in said[0]


def test_a_grid_of_measured_numbers_is_no_table_and_the_way_out_is_named() -> None:
    grid = torch.cartesian_prod(torch.linspace(-1, 1, 10), torch.linspace(-1, 1, 10))
    one = torch.linspace(-1, 1, 8)[:, None]
    for inputs in (grid, one):
        targets = inputs.prod(1, keepdim=True)
        width = inputs.shape[1]
        task = _task(
            model=lambda width=width: nn.Sequential(nn.Linear(width, 4), nn.Tanh(), nn.Linear(4, 1)),
            train=(inputs, targets), valid=(inputs + 0.01, targets), test=(inputs[::2], targets[::2]),
            loss=F.mse_loss, metric="mse",
        )  # fmt: skip
        assert "or leave test= out (a search needs none; confirm() does)" in _refused(task)


def test_an_oversampled_training_set_is_no_small_set() -> None:
    """Every row stands there three times, and those of the test data once each: they are copies."""
    x, y = _rows(0, 120)
    said = _refused(_task(train=(x.repeat(3, 1), y.repeat(3)), test=(x.flip(0), y.flip(0))))
    assert "test and train share 120 of 120 rows (first: test row 0 = train row 119)" in said


def test_items_of_a_dataset_are_compared_and_those_of_the_test_data_only_by_confirm() -> None:
    train, valid, test = Items(0, 120), Items(115, 180), Items(178, 240)
    task = _task(train=train, valid=valid, test=test)
    with pytest.warns(acs.ActsearchWarning, match="valid and train share 5 of 65 rows") as caught:
        study = _search(task)
    assert len(caught) == 1
    assert test.reads.count == 0
    with pytest.warns(acs.ActsearchWarning, match="test and valid share 2 of 62 rows") as caught:
        verdict = study.confirm(task, top_k=1, seeds=2, show_progress_bar=False)
    assert len(caught) == 1
    assert [item.shared for item in verdict.shared_rows] == [2]


def test_one_dataset_object_is_known_without_reading_its_items() -> None:
    rows = Items(0, 240)
    train, valid = Subset(rows, range(120)), Subset(rows, range(120, 180))
    task = _task(train=train, valid=valid, test=Subset(rows, range(100, 130)))
    said = _refused(task)
    assert "test and train share 20 of 30 rows" in said
    assert "test and valid share 10 of 30 rows" in said


def test_mappings_are_compared_too() -> None:
    settings = {"step": _step, "evaluate": _evaluate, "loss": None, "model": _model}
    task = _task(train=Records(0, 120), valid=Records(110, 180), test=None, **settings)
    (said,) = _warned(task)
    assert "valid and train share 10 of 70 rows" in said


# what a verdict says


def test_the_verdict_repeats_what_is_shared(sqlite_url: str) -> None:
    task = _task(test=_rows(170, 240))
    with pytest.warns(acs.ActsearchWarning, match="test and valid share 10 of 70 rows"):
        study = _search(task, sqlite_url)
    verdict = study.confirm(task, top_k=1, seeds=2, show_progress_bar=False)  # no second warning
    sentence = "10 of 70 test rows also stand in valid"
    assert sentence in str(verdict)
    loaded = acs.load_study(study_name="s", storage=sqlite_url).verdicts[-1]
    assert sentence in loaded.sentence
    assert loaded == verdict
    data = json.loads(json.dumps(verdict.to_json()))
    assert data["shared_rows"] == [{"other": "valid", "shared": 10, "rows": 70, "relabelled": 0}]
    del data["shared_rows"]  # as verdicts of before
    assert type(verdict).from_json(data).shared_rows == ()
    data["shared_rows"] = [{"other": "'); import os", "shared": 1, "rows": 2, "relabelled": 0}]
    with pytest.raises(acs.StorageError, match="cannot be read"):
        type(verdict).from_json(data)


def test_a_second_task_is_looked_at_by_confirm(sqlite_url: str) -> None:
    study = _search(_task(test=None), sqlite_url)
    with pytest.raises(acs.TaskError, match="test and train share 60 of 60 rows"):
        study.confirm(_task(test=_rows(0, 60)), top_k=1, seeds=2, show_progress_bar=False)
    assert study.verdicts == []


# numbers that are not finite


def _with(value: float, row: int, column: int, pair: Pair) -> Pair:
    inputs = pair[0].clone()
    inputs[row, column] = value
    return inputs, pair[1]


@pytest.mark.parametrize("value", [NAN, INF, -INF])
@pytest.mark.parametrize("which", ["train", "valid", "test"])
def test_one_number_that_is_not_finite_is_found(value: float, which: str) -> None:
    places = {"train": (0, 120), "valid": (120, 180), "test": (180, 240)}
    a, b = places[which]
    said = _refused(_task(**{which: _with(value, 13, 2, _rows(a, b))}))
    kind = "NaN" if value != value else "inf"
    counts = f"{which} inputs hold 1 {kind} in 1 of {b - a} rows (first: row 13, column 2)"
    assert counts in said
    assert "remove these rows" in said


def test_they_are_counted_by_kind_and_row() -> None:
    inputs, targets = X[:120].clone(), X[:120, :1].clone()
    inputs[5, 1:] = NAN
    inputs[7, 0] = INF
    targets[9] = NAN
    numbers = {"model": _one_output, "loss": F.mse_loss, "metric": "mse", "test": None}
    task = _task(**numbers, train=(inputs, targets), valid=(X[120:180], X[120:180, :1]))
    said = _refused(task).splitlines()
    assert "train inputs hold 3 NaN and 1 inf in 2 of 120 rows (first: row 5, column 1)" in said[0]
    assert "train targets hold 1 NaN in 1 of 120 rows (first: row 9, column 0)" in said[1]


class Imputes(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layers = _model()

    def forward(self, x: Tensor) -> Any:
        return self.layers(torch.nan_to_num(x))


def test_a_model_that_imputes_them_is_left_alone(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, logger="actsearch")
    assert _warned(_task(model=Imputes, train=_with(NAN, 13, 2, _rows(0, 120)))) == []
    assert "train inputs hold 1 NaN in 1 of 120 rows" in caplog.text


class Attends(nn.Module):
    """Attention whose mask, of 0 and -inf, is added to its scores."""

    def __init__(self) -> None:
        super().__init__()
        self.scores, self.out = nn.Sequential(nn.Linear(4, 4), nn.ReLU()), nn.Linear(4, 2)

    def forward(self, x: Tensor, mask: Tensor) -> Any:
        return self.out(torch.softmax(self.scores(x) + mask, 1) * x)


def test_an_additive_attention_mask_is_left_alone() -> None:
    mask = torch.zeros(240, 4)
    mask[::3, 2:] = -INF
    parts = {name: (X[a:b], mask[a:b], Y[a:b]) for name, (a, b) in PLACES.items()}
    assert _warned(_task(model=Attends, **parts)) == []
    mask[5] = -INF  # nothing is left to attend to
    assert "train inputs[1] hold" in _refused(_task(model=Attends, **parts))
    mask[5] = 0
    mask[7, 0] = 0.5  # a number, so no mask
    (said,) = _warned(_task(model=Attends, **parts))
    assert "train inputs[1] hold 80 inf in 40 of 120 rows" in said


def test_an_activation_that_hides_inf_is_not_relied_upon() -> None:
    """tanh(inf) is 1: the loss is finite, and a candidate that bounds nothing would be blamed."""
    numbers: dict[str, Any] = {"model": _one_output, "loss": F.mse_loss, "metric": "mse"}
    train, valid = (X[:120], X[:120, :1]), (X[120:180], X[120:180, :1])
    task = _task(**numbers, train=train, valid=_with(INF, 3, 0, valid), test=None)
    with pytest.warns(acs.ActsearchWarning) as caught:
        _search(task)
    assert len(caught) == 1
    said = str(caught[0].message)
    assert "valid inputs hold 1 inf in 1 of 60 rows (first: row 3, column 0)" in said
    task = task.replace(train=_with(INF, 3, 0, train), valid=valid)
    assert "its gradient is not finite" in _refused(task)


# labels


def _wrapped_cross_entropy(output: Tensor, target: Tensor) -> Tensor:
    return F.cross_entropy(output, target)


PLACES = {"train": (0, 120), "valid": (120, 180), "test": (180, 240)}


def _ones(which: str) -> dict[str, Pair]:
    a, b = PLACES[which]
    return {which: (X[a:b], torch.ones(b - a).long())}


@pytest.mark.parametrize("which", PLACES)
def test_one_class_scored_by_accuracy_is_refused(which: str) -> None:
    a, b = PLACES[which]
    assert f"all {b - a} {which} labels are 1" in _refused(_task(**_ones(which)))


@pytest.mark.parametrize(
    "loss", [F.cross_entropy, nn.CrossEntropyLoss(), functools.partial(F.cross_entropy), _wrapped_cross_entropy]
)  # fmt: skip
def test_one_class_is_refused_in_train_and_a_warning_elsewhere(loss: Any) -> None:
    assert "all 120 train labels are 1" in _refused(
        _task(**_ones("train"), metric="loss", loss=loss)
    )
    for which, rows in (("valid", 60), ("test", 60)):
        (said,) = _warned(_task(**_ones(which), metric="loss", loss=loss))
        assert said == f"all {rows} {which} labels are 1: check that this is intended"


def test_counts_that_are_one_value_are_a_warning() -> None:
    """Integers are no classes where the loss takes them for numbers."""
    counts = {name: (X[a:b], torch.zeros(b - a, 1).long()) for name, (a, b) in PLACES.items()}
    poisson = lambda output, target: F.poisson_nll_loss(output, target.float())  # noqa: E731
    said = _warned(_task(**counts, model=_one_output, loss=poisson, metric="loss"))
    assert [text.split(" labels")[0] for text in said] == ["all 120 train", "all 60 valid", "all 60 test"]  # fmt: skip


@pytest.mark.parametrize("metric", ["loss", "accuracy"])
def test_masks_of_background_alone_are_counted_in_rows(metric: str) -> None:
    pixels, masks = torch.randn(24, 1, 4, 4), (torch.arange(24 * 16) % 2).reshape(24, 4, 4)
    settings: dict[str, Any] = {
        "model": lambda: nn.Sequential(nn.Conv2d(1, 4, 1), nn.ReLU(), nn.Conv2d(4, 2, 1)),
        "metric": metric, "test": None,
    }  # fmt: skip
    valid = pixels[16:], torch.zeros_like(masks[16:])
    (said,) = _warned(_task(**settings, train=(pixels[:16], masks[:16]), valid=valid))
    assert said == "the labels of all 8 valid rows are 0: check that this is intended"
    train = pixels[:16], torch.zeros_like(masks[:16])
    refused = _refused(_task(**settings, train=train, valid=(pixels[16:], masks[16:])))
    assert "the labels of all 16 train rows are 0" in refused


@pytest.mark.parametrize("which", PLACES)
@pytest.mark.parametrize(
    ("loss", "ignored"),
    [(F.cross_entropy, -100), (_wrapped_cross_entropy, -100), (nn.CrossEntropyLoss(ignore_index=255), 255)],
)  # fmt: skip
def test_labels_that_the_loss_leaves_out_everywhere_are_refused(
    which: str, loss: Any, ignored: int
) -> None:
    a, b = PLACES[which]
    data = {which: (X[a:b], torch.full((b - a,), ignored))}
    said = _refused(_task(**data, loss=loss, metric="loss"))
    assert f"all {b - a} labels of {which} are {ignored}, which the loss leaves out" in said


def test_minus_100_is_a_number_to_a_loss_of_numbers() -> None:
    cold = {name: (X[a:b], torch.full((b - a, 1), -100)) for name, (a, b) in PLACES.items()}
    square = lambda output, target: F.mse_loss(output, target.float())  # noqa: E731
    said = _warned(_task(**cold, model=_one_output, loss=square, metric="loss"))
    assert said[0] == "all 120 train labels are -100: check that this is intended"
    unused = lambda output, target: output.square().mean()  # noqa: E731
    assert _warned(_task(**cold, model=_one_output, loss=unused, metric="loss")) == []


def test_targets_of_one_number_are_a_warning_and_placeholders_are_not() -> None:
    def zeros(a: int, b: int) -> Pair:
        return X[a:b], torch.zeros(b - a, 1)

    numbers: dict[str, Any] = {"model": _one_output, "metric": "loss", "test": None}
    task = _task(**numbers, train=zeros(0, 120), valid=zeros(120, 180), loss=F.mse_loss)
    said = _warned(task)
    assert [text.split(":")[0] for text in said] == [
        "all 120 train targets are 0.0",
        "all 60 valid targets are 0.0",
    ]
    assert _warned(task.replace(loss=lambda output, target: output.square().mean())) == []
    r2 = _refused(task.replace(metric="r2", train=(X[:120], X[:120, :1])))
    assert "all 60 valid labels are 0.0: r2 is undefined" in r2


def test_a_column_of_one_value_is_named() -> None:
    targets = torch.cat([X[:, :1], torch.ones(240, 1)], 1)
    task = _task(
        train=(X[:120], targets[:120]), valid=(X[120:180], targets[120:180]), test=None,
        loss=F.mse_loss, metric="mse",
    )  # fmt: skip
    (said,) = _warned(task)
    assert "1 of 2 columns of the train targets hold one value in all 120 rows (columns 1)" in said


def test_labels_that_the_model_has_no_output_for_are_counted() -> None:
    labels = Y[:120].clone()
    labels[[70, 90]] = torch.tensor([10, -1])
    said = _refused(_task(train=(X[:120], labels)))  # not in the first batch
    assert (
        "train labels -1, 10 lie outside the model's 2 classes, 0 to 1, in 2 of 120 rows" in said
    )
    assert "(first: row 70)" in said
    labels[[70, 90]] = -100
    assert _warned(_task(train=(X[:120], labels))) == []  # torch's own mark
    labels[[70, 90]] = 255
    ignoring = nn.CrossEntropyLoss(ignore_index=255)
    (warned,) = _warned(_task(train=(X[:120], labels), loss=ignoring))
    assert (
        "no prediction can be correct there" in warned
    )  # the loss takes them, accuracy counts them
    assert _warned(_task(train=(X[:120], labels), loss=ignoring, metric="loss")) == []


def test_what_a_loader_puts_together_in_its_own_way_is_not_taken_for_labels() -> None:
    """Items are (label, inputs), and the loader's own function turns them round."""
    turned = TensorDataset(Y, X)

    def collate(items: list[Any]) -> Any:
        return torch.stack([x for _, x in items]), torch.stack([y for y, _ in items])

    def loader(a: int, b: int) -> DataLoader[Any]:
        return DataLoader(Subset(turned, range(a, b)), batch_size=16, collate_fn=collate)

    task = _task(train=loader(0, 120), valid=loader(120, 180), test=loader(180, 240))
    assert _warned(task) == []
    (said,) = _warned(task.replace(test=loader(179, 240)))
    assert "test and valid share 1 of 61 rows" in said


def test_targets_that_only_a_users_evaluate_reads_are_left_alone() -> None:
    def evaluate(model: nn.Module, loader: Any) -> float:
        return float(torch.cat([model(x).norm(dim=1) for x, _ in loader]).mean())

    one_value = (X[120:180], torch.zeros(60).long())
    settings: dict[str, Any] = {"evaluate": evaluate, "metric": "accuracy", "test": None}
    assert _warned(_task(valid=one_value, **settings)) == []


def test_a_class_that_training_never_shows_is_a_warning() -> None:
    labels = Y[120:180].clone()
    labels[[8, 9]] = 2
    three = lambda: nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 3))  # noqa: E731
    (said,) = _warned(_task(model=three, valid=(X[120:180], labels)))
    assert "valid holds labels that train lacks, 2, in 2 of 60 rows (first: row 8)" in said


@pytest.mark.parametrize("dtype", [torch.float32, torch.int32])
def test_labels_of_another_type_are_told_how_to_change(dtype: torch.dtype) -> None:
    assert "give targets.long()" in _refused(_task(train=(X[:120], Y[:120].to(dtype))))


def test_inputs_that_are_all_one_row_are_a_warning_and_constant_columns_are_not() -> None:
    (said,) = _warned(_task(train=(X[:1].repeat(120, 1), Y[:120])))
    assert "all 120 train input rows are equal" in said
    inputs = X.clone()
    inputs[:, 3] = 0  # as at the border of images
    parts = {"train": (inputs[:120], Y[:120]), "valid": (inputs[120:180], Y[120:180])}
    assert _warned(_task(**parts, test=None)) == []


# what cannot be looked at


class Augmented(Items):
    def __getitem__(self, index: int) -> Any:
        x, y = super().__getitem__(index)
        return x + 0.1 * torch.randn(4), y


class Stream(IterableDataset[Any]):
    def __iter__(self) -> Iterator[Any]:
        return iter([(X[row], int(Y[row])) for row in range(64)])


class Broken(Items):
    def __len__(self) -> int:
        return 64

    def __getitem__(self, index: int) -> Any:
        if index > 40:
            raise OSError("no such file")
        return super().__getitem__(index)


class Ready(Dataset[Any]):
    def __len__(self) -> int:
        return 2

    def __getitem__(self, index: int) -> Any:
        return _rows(32 * index, 32 * index + 32)


def _first(dataset: Dataset[Any]) -> DataLoader[Any]:
    weights = [1.0] * 40 + [0.0] * 24
    return DataLoader(dataset, batch_size=8, sampler=WeightedRandomSampler(weights, 64))


OTHER: dict[str, Callable[[], Any]] = {
    "a stream": lambda: DataLoader(Stream(), batch_size=16),
    "random items": lambda: Augmented(0, 64),
    "a loader's own choice": lambda: _first(TensorDataset(X[:64], Y[:64])),
    "a dataset that raises": lambda: _first(Broken(0, 64)),
}


@pytest.mark.parametrize("kind", OTHER)
def test_what_cannot_be_compared_is_left_alone(kind: str) -> None:
    assert _warned(_task(train=OTHER[kind](), test=_rows(0, 60))) == []


def test_batches_made_elsewhere_are_compared_row_by_row() -> None:
    ready: DataLoader[Any] = DataLoader(Ready(), batch_size=None)
    assert "test and train share 60 of 60 rows" in _refused(_task(train=ready, test=_rows(0, 60)))


@dataclasses.dataclass
class Batch:
    x: Tensor
    y: Tensor


class Plain:
    """An object without a `to`."""

    def __init__(self, x: Tensor, y: Tensor) -> None:
        self.x, self.y = x, y


MADE: dict[str, tuple[Callable[[Tensor, Tensor], Any], Callable[[Any], tuple[Tensor, Tensor]]]] = {
    "dict": (lambda x, y: {"x": x, "y": y}, lambda b: (b["x"], b["y"])),
    "data class": (Batch, lambda b: (b.x, b.y)),
    "object": (Plain, lambda b: (b.x, b.y)),
    "ragged": (lambda x, y: (x, y, x[:2]), lambda b: (b[0], b[1])),
}


def _stepped(kind: str, *places: Pair) -> acs.Task:
    """A task of steps over batches of 10 in a list."""
    make, take = MADE[kind]

    def step(model: nn.Module, batch: Any) -> Tensor:
        x, y = take(batch)
        return F.cross_entropy(model(x), y)

    def evaluate(model: nn.Module, batches: Any) -> dict[str, float]:
        return {"loss": sum(step(model, batch).item() for batch in batches)}

    def loader(x: Tensor, y: Tensor) -> DataLoader[Any]:
        batches: Any = [make(x[i : i + 10], y[i : i + 10]) for i in range(0, len(x), 10)]
        return DataLoader(batches, batch_size=None)

    train, valid, *test = (loader(*place) for place in places)
    return acs.Task(
        model=_model, step=step, evaluate=evaluate, metric="loss", epochs=1, train=train, valid=valid,
        test=test[0] if test else None,
    )  # fmt: skip


@pytest.mark.parametrize("kind", MADE)
def test_test_batches_that_the_search_sees_are_refused(kind: str) -> None:
    said = _refused(_stepped(kind, _rows(0, 60), _rows(60, 90), _rows(60, 90)))
    assert f"test and valid share {3 if kind == 'ragged' else 30} of" in said


@pytest.mark.parametrize("kind", MADE)
def test_nan_in_batches_of_any_kind_is_named_before_the_first_trial(kind: str) -> None:
    task = _stepped(kind, _with(NAN, 3, 2, _rows(0, 60)), _rows(60, 90))
    said = _refused(task)
    assert "train" in said
    assert "1 NaN in" in said


@pytest.mark.parametrize("size", [1e30, -1e25])
def test_numbers_too_large_to_be_squared_are_named(size: float) -> None:
    def square(output: Tensor, target: Tensor) -> Tensor:
        return (output[:, 0] - target).square().mean()

    def model() -> nn.Module:
        return nn.Sequential(nn.Linear(4, 3), nn.LeakyReLU(), nn.Linear(3, 1))

    task = _task(train=_with(size, 3, 2, _rows(0, 120)), model=model, loss=square, metric="loss")
    said = _refused(task)
    assert (
        f"train inputs hold numbers of size {abs(size):.2g} in 1 of 120 rows (first: row 3)"
        in said
    )


def test_a_stream_of_nan_is_named_before_the_first_trial() -> None:
    class Stream(IterableDataset[Any]):
        def __iter__(self) -> Iterator[Any]:
            yield from zip(*_with(NAN, 3, 2, _rows(0, 60)), strict=True)

    task = _task(train=DataLoader(Stream(), batch_size=20), test=None)
    assert "the first train batch holds 1 NaN in [0], of shape (20, 4)" in _refused(task)


@pytest.mark.parametrize("make", [lambda: Augmented(0, 120), lambda: Items(0, 120)])
def test_looking_moves_no_random_stream(make: Callable[[], Dataset[Any]]) -> None:
    """Invariant: the trials are the same whether or not the data were looked at."""
    own = torch.Generator().manual_seed(5)
    loader = DataLoader(make(), batch_size=16, shuffle=True, generator=own)
    before = own.get_state(), torch.get_rng_state()
    check_data(_task(train=loader), _model, for_test=True)
    assert torch.equal(own.get_state(), before[0])
    assert torch.equal(torch.get_rng_state(), before[1])


def test_it_is_said_once_for_a_task() -> None:
    task = _task(valid=_rows(110, 180))
    study = acs.create_study(study_name="s", strategy="random")
    with pytest.warns(acs.ActsearchWarning, match="share 10 of 70 rows"):
        study.optimize(task, n_trials=1, show_progress_bar=False)
    study.optimize(task, n_trials=1, show_progress_bar=False)  # a second warning would be an error


def test_making_a_task_looks_at_nothing() -> None:
    rows = Items(0, 120)
    _task(train=rows, test=rows, valid=_with(NAN, 0, 0, _rows(120, 180)))
    assert rows.reads.count == 0


# data sets that are read for a look


class File(io.FileIO):
    """Closes itself at its end, without a warning."""

    def __del__(self) -> None:
        self.close()


class Lazy(Dataset[Any]):
    """Opens its file when the first item is read, as data sets for workers are to."""

    def __init__(self, path: str, start: int, stop: int) -> None:
        self.path, self.rows = path, range(start, stop)
        self.files: dict[str, Any] = {}

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: int) -> Any:
        if self.path not in self.files:
            self.files[self.path] = File(self.path)
        file, row = self.files[self.path], self.rows[index]
        file.seek(20 * row)
        time.sleep(2e-4)  # another reader of the same open file would move on here
        numbers = torch.frombuffer(bytearray(file.read(20)), dtype=torch.float32)
        assert torch.equal(numbers[:4], X[row]), "the row of another worker was read"
        return numbers[:4], numbers[4].long()


class Wraps(Dataset[Any]):
    """Hands on the items of another data set."""

    def __init__(self, inner: Dataset[Any]) -> None:
        self.inner = inner

    def __len__(self) -> int:
        return len(self.inner)  # type: ignore[arg-type]

    def __getitem__(self, index: int) -> Any:
        return self.inner[index]


@pytest.fixture
def lazy(tmp_path: Path) -> Callable[[int, int], Lazy]:
    path = tmp_path / "rows.bin"
    path.write_bytes(torch.cat([X, Y[:, None].float()], 1).numpy().tobytes())
    return lambda start, stop: Lazy(str(path), start, stop)


@pytest.mark.slow
@pytest.mark.parametrize(
    "wrap", [pytest.param(lambda rows: rows, id="itself"), pytest.param(Wraps, id="in another")]
)
def test_a_file_that_is_opened_lazily_is_not_shared_among_workers(
    lazy: Callable[[int, int], Lazy], wrap: Callable[[Any], Dataset[Any]]
) -> None:
    """Each worker reads the rows it asks for; items read before it was started left nothing open."""
    sets = {name: lazy(*place) for name, place in PLACES.items()}
    loaders = {
        name: DataLoader(wrap(rows), batch_size=16, num_workers=2) for name, rows in sets.items()
    }
    assert _warned(_task(**loaders)) == []
    assert [rows.files for rows in sets.values()] == [{}, {}, {}]


class Opened(Lazy):
    """Has its file open from the first."""

    def __init__(self, path: str, start: int, stop: int) -> None:
        super().__init__(path, start, stop)
        self.files[path] = File(path)

    def __del__(self) -> None:
        self.files[self.path].close()


def test_an_open_file_stays_open(lazy: Callable[[int, int], Lazy]) -> None:
    """A copy that is dropped must not close what it shares with the user's object."""
    path = lazy(0, 1).path
    train, valid = Opened(path, 0, 120), Opened(path, 120, 180)
    assert _warned(_task(train=train, valid=Wraps(valid), test=None)) == []
    assert not train.files[path].closed
    assert not valid.files[path].closed


@pytest.mark.slow  # a child process imports torch
def test_a_look_before_the_search_opens_no_file_of_the_users_object(
    lazy: Callable[[int, int], Lazy],
) -> None:
    """Else the task could not be sent to a child process."""
    train, valid = lazy(0, 120), DataLoader(lazy(120, 180), batch_size=16)
    task = _task(train=train, valid=valid, test=None)
    study = acs.create_study(study_name="s", strategy="random")
    study.optimize(task, n_trials=1, executor=acs.Processes(1), show_progress_bar=False)
    assert train.files == valid.dataset.files == {}  # type: ignore[attr-defined]
    assert "COMPLETE" in [trial.state.name for trial in study.trials]


class Endless(Dataset[Any]):
    """Declares more items than there is memory to number."""

    def __len__(self) -> int:
        return 1 << 40

    def __getitem__(self, index: int) -> Any:
        return X[index % 240], Y[index % 240]


def test_a_data_set_of_any_declared_length_is_looked_at_in_little_memory() -> None:
    """To number its rows would take 8 TB."""
    rows = Endless()
    half = 1 << 39

    def drawn(source: Dataset[Any]) -> DataLoader[Any]:
        sampler = RandomSampler(source, replacement=True, num_samples=64)  # type: ignore[arg-type]
        return DataLoader(source, batch_size=16, sampler=sampler)

    assert _warned(_task(train=drawn(rows), test=None)) == []
    parts = {"train": Subset(rows, range(half)), "valid": Subset(rows, range(half, 2 * half))}
    check_data(_task(**parts, test=_rows(0, 60)), _model)
    with pytest.raises(acs.TaskError, match=f"test and valid share {1 << 40} of {1 << 40} rows"):
        check_data(_task(train=_rows(0, 60), valid=rows, test=rows), _model)
