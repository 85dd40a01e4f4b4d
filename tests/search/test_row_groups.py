"""The metric on test data without each group of rows: by hand on those that are left, and only where it can be had."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
import torch
from sklearn import metrics as reference
from stack_tasks import task_of
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, IterableDataset, TensorDataset

import actsearch as acs
from actsearch.evaluation import Candidate, Request
from actsearch.evaluation.evaluate import evaluate
from actsearch.evaluation.subject.of_task import TaskSubject
from actsearch.records import ROW_GROUPS, Outcome
from actsearch.training import fit, loop
from actsearch.training.loop import seed_streams
from actsearch.training.row_groups import LeftOut, row_groups_of
from actsearch.training.stack import Member, fit_together

generator = torch.Generator().manual_seed(3)
ROWS = torch.randn(330, 5, generator=generator)
TRAIN, VALID, TEST = slice(0, 120), slice(120, 200), slice(200, 330)
NOISE = 0.5 * torch.randn(330, 3, generator=generator)
VALUES = ROWS[:, :3] * torch.tensor([1.0, 5.0, 0.2]) + NOISE + torch.tensor([0.0, 9.0, 0.0])
CLASSES = (ROWS[:, :3] + NOISE).argmax(1)
LABELS = (ROWS[:, 0] + NOISE[:, 0] > 0).long()
MISSING = torch.where(torch.arange(330) % 7 == 0, -100, CLASSES)
ONE_HOT = F.one_hot(CLASSES, 3).float()
TEXT = torch.stack([CLASSES, torch.where(NOISE[:, 0] > 0.4, -100, LABELS)], 1)


class Column(nn.Module):
    """One number for each row, without an axis of its own."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(5, 1)

    def forward(self, x: Tensor) -> Any:
        return self.linear(x).squeeze(-1)


class Places(nn.Module):
    """Scores of three classes at two places."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(5, 6)

    def forward(self, x: Tensor) -> Any:
        return self.linear(x).view(-1, 3, 2)


def table() -> nn.Module:
    return nn.Linear(5, 3)


def make_task(
    model: Callable[[], nn.Module], target: Tensor, loss: Any, metric: Any, **more: Any
) -> acs.Task:
    given: dict[str, Any] = {
        "train": (ROWS[TRAIN], target[TRAIN]), "valid": (ROWS[VALID], target[VALID]),
        "test": (ROWS[TEST], target[TEST]), "epochs": 2, "lr": 0.05, "device": "cpu",
    }  # fmt: skip
    return acs.Task(model=model, loss=loss, metric=metric, **(given | more))


def trained(task: acs.Task) -> tuple[tuple[float, ...], np.ndarray[Any, Any], float]:
    """The metric without each group, the trained model's outputs on the test rows, and the metric on all."""
    model = task.build()
    result = fit(task, model, 1, on_test=True)
    assert result.stopped == ""
    with torch.no_grad():
        output = model.eval()(ROWS[TEST]).double().numpy()
    return result.without, output, next(iter(result.metrics.values()))


def kept_rows(task: acs.Task) -> Iterator[np.ndarray[Any, Any]]:
    """Positions of the rows that are left without each group."""
    groups = row_groups_of(task)
    assert groups is not None
    for group in range(ROW_GROUPS):
        yield np.flatnonzero(groups.groups.numpy() != group)


def cross_entropy(scores: Any, labels: Any) -> Any:
    """Of each row, by hand."""
    exponents = np.exp(scores - scores.max(1, keepdims=True))
    shares = exponents / exponents.sum(1, keepdims=True)
    return -np.log(shares[np.arange(len(labels)), labels])


def largest_error(output: Any, target: Any) -> float:
    return float((output - target).abs().max())


def rank_agreement(output: Any, target: Any) -> float:
    """Depends on the order of the rows."""
    return float(((output[1:] - output[:-1]) * (target[1:] - target[:-1]) > 0).double().mean())


def of_answers(scores: Any, labels: Any) -> tuple[Any, Any]:
    """Scores and labels of the answers that count, of two places each."""
    scores, labels = scores.transpose(0, 2, 1).reshape(-1, 3), labels.reshape(-1)
    return scores[labels != -100], labels[labels != -100]


CASES: dict[str, tuple[Callable[[], nn.Module], Tensor, Any, Any, Callable[[Any, Any], Any]]] = {
    "accuracy": (table, CLASSES, F.cross_entropy, "accuracy", lambda o, t: np.mean(o.argmax(1) == t)),
    "accuracy of one-hot targets": (
        table, ONE_HOT, F.cross_entropy, "accuracy", lambda o, t: np.mean(o.argmax(1) == t.argmax(1)),
    ),
    "accuracy of those that count": (
        table, MISSING, F.cross_entropy, "accuracy", lambda o, t: np.mean(o.argmax(1)[t >= 0] == t[t >= 0]),
    ),
    "top 2": (
        table, CLASSES, F.cross_entropy, "top2_accuracy",
        lambda o, t: reference.top_k_accuracy_score(t, o, k=2),
    ),
    "mse": (table, VALUES, F.mse_loss, "mse", lambda o, t: np.mean((o - t) ** 2)),
    "rmse": (Column, VALUES[:, 0], F.mse_loss, "rmse", lambda o, t: math.sqrt(np.mean((o - t) ** 2))),
    "mae": (Column, VALUES[:, 1], F.l1_loss, "mae", lambda o, t: np.mean(np.abs(o - t))),
    "r2": (Column, VALUES[:, 1], F.mse_loss, "r2", lambda o, t: reference.r2_score(t, o)),
    "r2 of a table": (table, VALUES, F.mse_loss, "r2", lambda o, t: reference.r2_score(t, o)),
    "pearson": (Column, VALUES[:, 0], F.mse_loss, "pearson", lambda o, t: np.corrcoef(o, t)[0, 1]),
    "f1": (table, CLASSES, F.cross_entropy, "f1", lambda o, t: reference.f1_score(t, o.argmax(1), average="macro")),
    "auc": (
        Column, LABELS.float(), F.binary_cross_entropy_with_logits, "auc",
        lambda o, t: reference.roc_auc_score(t, o),
    ),
    "perplexity": (
        Places, TEXT, F.cross_entropy, "perplexity",
        lambda o, t: np.exp(np.mean(cross_entropy(*of_answers(o, t)))),
    ),
    "a function": (
        table, VALUES, F.mse_loss, {"worst": largest_error}, lambda o, t: np.abs(o - t).max(),
    ),
    "a function of the order": (
        Column, VALUES[:, 0], F.mse_loss, {"ranks": rank_agreement},
        lambda o, t: np.mean(np.diff(o) * np.diff(t) > 0),
    ),
    "loss": (table, CLASSES, F.cross_entropy, "loss", lambda o, t: np.mean(cross_entropy(o, t))),
}  # fmt: skip


@pytest.mark.parametrize("batch", [None, 32], ids=["tensors", "loader"])
@pytest.mark.parametrize("case", CASES)
def test_it_is_the_metric_of_the_rows_that_are_left(case: str, batch: int | None) -> None:
    model, target, loss, metric, by_hand = CASES[case]
    task = make_task(model, target, loss, metric)
    if batch is not None:
        task = task.replace(test=DataLoader(TensorDataset(*task.test), batch_size=batch))
    without, output, value = trained(task)
    targets = target[TEST].numpy()
    expected = [by_hand(output[rows], targets[rows]) for rows in kept_rows(task)]
    assert value == pytest.approx(by_hand(output, targets), rel=1e-5)
    assert without == pytest.approx(expected, rel=1e-5)
    assert len(set(without)) > 1


@pytest.mark.parametrize("reduction", ["sum", "mean"])
def test_a_loss_is_that_of_each_batch_s_rest_weighted_by_its_rows(reduction: str) -> None:
    def loss(output: Tensor, target: Tensor) -> Tensor:
        return F.mse_loss(output, target, reduction=reduction)

    task = make_task(table, VALUES, loss, "loss", lr=1e-3)
    task = task.replace(test=DataLoader(TensorDataset(*task.test), batch_size=48))
    without, output, _ = trained(task)
    squares = (output - VALUES[TEST].numpy()) ** 2
    groups = row_groups_of(task)
    assert groups is not None
    of_row = groups.groups.numpy()
    for group, found in enumerate(without):
        parts = []
        for start in range(0, 130, 48):
            kept = of_row[start : start + 48] != group
            rows = squares[start : start + 48][kept]
            parts.append((rows.sum() if reduction == "sum" else rows.mean(), kept.sum()))
        assert found == pytest.approx(
            sum(value * count for value, count in parts) / sum(count for _, count in parts),
            rel=1e-5,
        )


# groups


@pytest.mark.parametrize("rows", [40, 41, 59, 130, 1000])
def test_groups_are_of_equal_size_up_to_one(rows: int) -> None:
    task = make_task(table, CLASSES, F.cross_entropy, "accuracy")
    groups = row_groups_of(task.replace(test=(torch.zeros(rows, 5), torch.zeros(rows).long())))
    assert groups is not None
    sizes = np.bincount(groups.groups.numpy(), minlength=ROW_GROUPS)
    assert len(sizes) == ROW_GROUPS
    assert sizes.sum() == rows
    assert sizes.max() - sizes.min() <= 1


def test_they_are_the_same_everywhere() -> None:
    task = make_task(table, CLASSES, F.cross_entropy, "accuracy")
    groups = row_groups_of(task)
    assert groups is not None
    assert groups.groups[:12].tolist() == FIRST_GROUPS  # written down once: of any version


FIRST_GROUPS = [5, 7, 6, 19, 10, 3, 13, 1, 12, 19, 2, 7]


@pytest.mark.parametrize("order", ["as drawn", "sorted"])
def test_the_jackknife_s_error_of_a_mean_is_the_textbook_s(order: str) -> None:
    """Each estimate has 19 degrees of freedom, a standard deviation of a third: 0.017 over 400; four times that."""
    rng = np.random.default_rng(5)
    task = make_task(Column, VALUES[:, 0], F.l1_loss, "mae")
    ratios = []
    for rows in range(200, 600):  # each number has groups of its own
        errors = rng.exponential(size=rows)
        task = task.replace(test=(torch.zeros(rows, 5), torch.zeros(rows)))
        groups = row_groups_of(task)
        assert groups is not None
        left_out = LeftOut(task, task.resolved_metric, groups)
        output = torch.tensor(np.sort(errors) if order == "sorted" else errors)
        left_out.add(output, torch.zeros(rows, dtype=torch.float64), rows)
        without = np.array(left_out.result())
        variance = (ROW_GROUPS - 1) / ROW_GROUPS * ((without - without.mean()) ** 2).sum()
        ratios.append(variance / (errors.var(ddof=1) / rows))
    assert np.mean(ratios) == pytest.approx(1, abs=0.07)


# ways to measure


@pytest.mark.parametrize(
    "metric", ["accuracy", "loss", "f1", "perplexity", {"worst": lambda o, t: float(o.max())}]
)
def test_a_stack_gives_what_single_training_gives(metric: Any) -> None:
    task = task_of("mlp", metric=metric) if isinstance(metric, str) else None
    task = task or task_of("mlp").replace(metric=metric)
    inputs = torch.randn(90, 6, generator=torch.Generator().manual_seed(1))
    task = task.replace(test=(inputs, (inputs[:, 0] > 0).long() + (inputs[:, 1] > 0.5)))
    asked = [
        Request(Candidate.of(name).record, (seed,), split="test")
        for seed, name in enumerate(["relu", "sin", "swish", "gelu"])
    ]
    together = TaskSubject(task)
    stacked = _without(together.train(asked))
    assert together.stack_refusal == ""
    assert stacked == _without([TaskSubject(task).train([one])[0] for one in asked])
    assert {len(item) for item in stacked} == {ROW_GROUPS}
    assert len(set(stacked)) == len(asked)


def test_so_do_stacks_that_are_trained_side_by_side() -> None:
    task = task_of("mlp", metric="loss")
    task = task.replace(test=(torch.randn(90, 6), torch.arange(90) % 3))

    def members() -> list[Member]:
        torch.manual_seed(0)
        models = [task.build() for _ in range(8)]
        for seed, model in enumerate(models):
            seed_streams(model, seed)
        return [Member(model, ("1", "4"), seed, task.lr) for seed, model in enumerate(models)]

    one = fit_together(task, members(), on_test=True, side_by_side=1)
    two = fit_together(task, members(), on_test=True, side_by_side=2)
    assert [item.without for item in one] == [item.without for item in two]
    assert {len(item.without) for item in two} == {ROW_GROUPS}


def _without(outcomes: list[Outcome]) -> list[tuple[float, ...]]:
    return [outcome.evaluations[0].without for outcome in outcomes]


def test_nothing_else_is_measured_on_validation_data() -> None:
    task = make_task(table, CLASSES, F.cross_entropy, "accuracy")
    request = Request(Candidate.baseline().record, (1, 2))
    assert all(item.without == () for item in TaskSubject(task).train([request])[0].evaluations)
    assert fit(task, task.build(), 1).without == ()


@pytest.mark.parametrize("metric", ["loss", "function"])
def test_what_draws_numbers_gives_the_same_as_without_groups(
    metric: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def loss(output: Tensor, target: Tensor) -> Tensor:
        return F.cross_entropy(output + 0.1 * torch.rand_like(output), target)

    def noisy(output: Tensor, target: Tensor) -> float:
        return float((output.argmax(1) == target).double().mean()) + float(np.random.rand())  # noqa: NPY002

    task = make_task(table, CLASSES, loss, "loss" if metric == "loss" else {"noisy": noisy})
    task = task.replace(test=DataLoader(TensorDataset(*task.test), batch_size=32))
    if metric != "loss":
        task = task.replace(loss=F.cross_entropy)
    first = fit(task, task.build(), 1, on_test=True)
    torch.manual_seed(0)
    models = [task.build() for _ in range(2)]
    models[1].load_state_dict(models[0].state_dict())
    with_groups = fit(task, models[0], 1, on_test=True)
    monkeypatch.setattr(loop, "row_groups_of", lambda task: None)
    plain = fit(task, models[1], 1, on_test=True)
    assert len(first.without) == len(with_groups.without) == ROW_GROUPS
    assert plain.without == ()
    assert with_groups.metrics == plain.metrics


def test_half_precision_gives_the_loss_what_it_is_given_in_training() -> None:
    seen = set[torch.dtype]()

    def loss(output: Tensor, target: Tensor) -> Tensor:
        seen.add(output.dtype)
        return F.cross_entropy(output, target)

    task = make_task(table, CLASSES, loss, "loss", amp="bfloat16")
    assert len(fit(task, task.build(), 1, on_test=True).without) == ROW_GROUPS
    assert seen == {torch.bfloat16}


def test_an_objective_around_a_task_has_it_where_it_gives_back_that_metric() -> None:
    task = make_task(table, CLASSES, F.cross_entropy, "accuracy")

    def same(candidate: acs.Candidate, run: acs.Run) -> Any:
        return run.train(task, candidate)

    def other(candidate: acs.Candidate, run: acs.Run) -> float:
        metrics = run.train(task, candidate)
        return metrics["accuracy"] - 0.01

    request = Request(Candidate.baseline().record, (1,), split="test")
    found = [evaluate(made, request).evaluations[0].without for made in (same, other, task)]
    assert found[0] == found[2]
    assert len(found[0]) == ROW_GROUPS
    assert found[1] == ()


# where it cannot be had


class Stream(IterableDataset[Any]):
    """Rows one after the other, of unknown number."""

    def __iter__(self) -> Iterator[Any]:
        return zip(ROWS[TEST], CLASSES[TEST], strict=True)


class OneForTwo(nn.Module):
    """An output for every two rows."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(5, 3)

    def forward(self, x: Tensor) -> Any:
        return self.linear(x)[::2]


def _needs_all(output: Tensor, target: Tensor) -> float:
    assert len(output) in (80, 130)
    return float(output.sum())


def _accuracy(output: Tensor, target: Tensor) -> float:
    return float((output.argmax(1) == target).double().mean())


def _own_measure(model: nn.Module, batches: Any) -> dict[str, float]:
    (x, y), *_ = batches
    return {"accuracy": _accuracy(model(x), y)}


TEST_ROWS = TensorDataset(ROWS[TEST], CLASSES[TEST])
MADE_BEFORE: Any = [(ROWS[200:260], CLASSES[200:260]), (ROWS[260:330], CLASSES[260:330])]

EMPTY: dict[str, dict[str, Any]] = {
    "39 rows": {"test": (ROWS[:39], CLASSES[:39])},
    "evaluate": {"evaluate": _own_measure},
    "step": {"step": lambda model, batch: F.cross_entropy(model(batch[0]), batch[1]), "metric": "loss"},
    "shuffled": {"test": DataLoader(TEST_ROWS, batch_size=32, shuffle=True)},
    "a sampler": {"test": DataLoader(TEST_ROWS, batch_size=32, sampler=list(range(129, -1, -1)))},
    "unknown number": {"test": DataLoader(Stream(), batch_size=32)},
    "batches made before": {
        "test": DataLoader(MADE_BEFORE, batch_size=None),
    },
    "another number of outputs": {
        "model": OneForTwo, "loss": lambda o, t: F.cross_entropy(o, t[::2]),
        "metric": {"own": lambda o, t: _accuracy(o, t[::2])},
    },
    "a function that raises": {"metric": {"own": _needs_all}},
    "not finite": {"metric": {"own": lambda o, t: 1.0 if len(o) in (80, 130) else math.nan}},
    "a column that only one group varies": {
        "target": torch.stack([VALUES[:, 0], 0.1 * (torch.arange(330) % 130 == 70)], 1),
        "model": lambda: nn.Linear(5, 2), "loss": F.mse_loss, "metric": "r2",
    },
    "a class that only one group has": {
        "model": Column, "loss": F.binary_cross_entropy_with_logits, "metric": "auc",
        **{name: (ROWS[rows], (torch.arange(330)[rows] % 130 == 7).float())
           for name, rows in (("train", slice(0, 120)), ("valid", slice(0, 120)), ("test", TEST))},
    },
}  # fmt: skip


@pytest.mark.parametrize("case", EMPTY)
def test_it_is_empty(case: str) -> None:
    given: dict[str, Any] = {
        "model": table, "target": CLASSES, "loss": F.cross_entropy, "metric": "accuracy",
    }  # fmt: skip
    task = make_task(**(given | EMPTY[case]))
    result = fit(task, task.build(), 1, on_test=True)
    assert result.stopped == ""
    assert math.isfinite(next(iter(result.metrics.values())))
    assert result.without == ()


def test_a_loader_that_drops_its_last_rows_is_taken_by_those_that_it_gives() -> None:
    task = make_task(table, CLASSES, F.cross_entropy, "accuracy")
    loader = DataLoader(TEST_ROWS, batch_size=32, drop_last=True)  # 128 of 130 rows
    cut = (ROWS[200:328], CLASSES[200:328])
    results = []
    for test in (loader, cut):
        torch.manual_seed(0)
        own = task.replace(test=test)
        results.append(fit(own, own.build(), 1, on_test=True).without)
    assert results[0] == results[1] != ()


@pytest.mark.parametrize("kind", ["tensors", "loader"])
def test_copies_of_a_row_are_left_out_together(kind: str) -> None:
    """Five copies of each row say no more of other rows than one does."""
    x = torch.randn(60, 3, generator=torch.Generator().manual_seed(0)).repeat(5, 1)
    y = (x[:, 0] > 0).long()
    test = (x, y) if kind == "tensors" else DataLoader(TensorDataset(x, y), batch_size=32)
    task = acs.Task(
        model=lambda: nn.Linear(3, 2), train=(x[:8], y[:8]), valid=(x[8:16], y[8:16]), test=test,
        loss=nn.functional.cross_entropy, metric="accuracy",
    )  # fmt: skip
    groups = row_groups_of(task)
    assert groups is not None
    assert torch.equal(groups.groups[:60].repeat(5), groups.groups)
    assert set(torch.bincount(groups.groups).tolist()) == {15}
    few = task.replace(test=(x[:39].repeat(9, 1), y[:39].repeat(9)))
    assert row_groups_of(few) is None
