"""Metrics by name against closed forms and scikit-learn, and those that a user gives as functions."""

from __future__ import annotations

import functools
import math
from typing import Any

import pytest
import torch
from sklearn import metrics as reference
from torch import Tensor, nn
from torch.nn import functional as F

import actsearch as acs
from actsearch.task.metrics import METRICS, Convention, resolve_metric
from actsearch.training import fit

generator = torch.Generator().manual_seed(8)
SCORES = torch.randn(60, 4, generator=generator)
CLASSES = torch.randint(0, 4, (60,), generator=generator)
LOGITS = torch.randn(60, generator=generator)
LABELS = torch.randint(0, 2, (60,), generator=generator)
MANY = torch.randint(0, 2, (60, 4), generator=generator)
VALUES = torch.rand(60, 2, generator=generator)
TARGETS = (VALUES + 0.2 * torch.randn(60, 2, generator=generator)).clamp(0, 1)
SPLITS = [[60], [17, 40, 3]]


def measured(name: str, output: Tensor, answer: Tensor, split: list[int], **how: Any) -> float:
    make = resolve_metric(name, has_evaluate=False).bind(Convention(**how)).accumulator
    assert make is not None
    accumulator = make()
    for a, b in zip(torch.split(output, split), torch.split(answer, split), strict=True):
        accumulator.update(a, b)
    return accumulator.result()


def correlation(a: Tensor, b: Tensor) -> float:
    a, b = a.double() - a.double().mean(), b.double() - b.double().mean()
    return float((a * b).sum() / (a.square().sum() * b.square().sum()).sqrt())


# closed forms of two classes; the library's own are what is tested


def f1(answers: Tensor, truth: Tensor) -> float:
    answers, truth = answers.bool(), truth.bool()
    return float(2 * (answers & truth).sum() / (answers.sum() + truth.sum()))


def area(scores: Tensor, truth: Tensor) -> float:
    """Share of pairs in which the right one has the larger score."""
    pairs = scores[truth.bool()][:, None] > scores[~truth.bool()][None]
    return float(pairs.double().mean())


def found(answers: Tensor, labels: Tensor) -> float:
    shares = [
        (answers[labels == label] == label).double().mean() for label in set(labels.tolist())
    ]
    return float(torch.stack(shares).mean())


def mean_over(function: Any, scores: Tensor, truth: Tensor) -> float:
    columns = zip(scores.T, truth.T, strict=True)
    values = [function(column, own) for column, own in columns]
    return float(sum(values) / len(values))


ONE_HOT = F.one_hot(CLASSES, 4)
ANSWERS = F.one_hot(SCORES.argmax(1), 4)
NATS = F.cross_entropy(SCORES, CLASSES).item()
MSE = F.mse_loss(VALUES, TARGETS).item()
EACH: dict[str, Any] = {"target": "each"}
SHARES: dict[str, Any] = {"target": "scores"}
SOFT = torch.randn(60, 4, generator=generator).softmax(1)
SCALE = torch.tensor([1.0, 100.0])
SCALED = VALUES * SCALE + torch.tensor([0.0, 30.0])


@pytest.mark.parametrize("split", SPLITS, ids=["one batch", "unequal"])
@pytest.mark.parametrize(
    ("name", "output", "target", "how", "expected"),
    [
        ("f1", SCORES, CLASSES, {}, mean_over(f1, ANSWERS, ONE_HOT)),
        ("f1", LOGITS, LABELS, {}, f1(LOGITS > 0, LABELS)),
        ("f1", LOGITS.sigmoid(), LABELS, {**EACH, "threshold": 0.5}, f1(LOGITS > 0, LABELS)),
        ("f1", torch.stack([-LOGITS, LOGITS], 1), LABELS, {}, f1(LOGITS > 0, LABELS)),
        ("f1", SCORES, MANY, EACH, mean_over(f1, SCORES > 0, MANY)),
        ("balanced_accuracy", SCORES, CLASSES, {}, found(SCORES.argmax(1), CLASSES)),
        ("balanced_accuracy", LOGITS, LABELS, {}, found((LOGITS > 0).long(), LABELS)),
        ("auc", LOGITS, LABELS, {}, area(LOGITS, LABELS)),
        ("auc", LOGITS.sigmoid()[:, None], LABELS[:, None], EACH, area(LOGITS, LABELS)),
        ("auc", SCORES, CLASSES, {}, mean_over(area, SCORES.double().softmax(1), ONE_HOT)),
        ("auc", SCORES, MANY, EACH, mean_over(area, SCORES, MANY)),
        ("top2_accuracy", SCORES, CLASSES, {}, reference.top_k_accuracy_score(CLASSES, SCORES, k=2)),
        ("top1_accuracy", SCORES, CLASSES, {}, reference.accuracy_score(CLASSES, SCORES.argmax(1))),
        ("perplexity", SCORES, CLASSES, {}, math.exp(NATS)),
        ("perplexity", SCORES.softmax(1), CLASSES, {"scale": "probabilities"}, math.exp(NATS)),
        ("bits_per_character", SCORES, CLASSES, {}, NATS / math.log(2)),
        ("perplexity", SCORES, SOFT, SHARES, math.exp(F.cross_entropy(SCORES, SOFT).item())),
        ("perplexity", SCORES.softmax(1), SOFT, {**SHARES, "scale": "probabilities"},
         math.exp(F.cross_entropy(SCORES, SOFT).item())),
        ("perplexity", SCORES, ONE_HOT.float(), SHARES, math.exp(NATS)),
        ("r2", VALUES[:, 0], TARGETS[:, 0], {}, reference.r2_score(TARGETS[:, 0], VALUES[:, 0])),
        ("r2", SCALED, TARGETS * SCALE, {}, reference.r2_score(TARGETS * SCALE, SCALED)),
        ("r2", SCALED, torch.ones(60, 2), {}, reference.r2_score(torch.ones(60, 2), SCALED)),
        ("r2", VALUES[..., None], TARGETS[..., None], {},
         reference.r2_score(TARGETS.flatten(), VALUES.flatten())),
        ("rmse", VALUES, TARGETS, {}, math.sqrt(MSE)),
        ("psnr", VALUES, TARGETS, {"data_range": 1.0}, -10 * math.log10(MSE)),
        ("psnr", 255 * VALUES, 255 * TARGETS, {"data_range": 255.0}, -10 * math.log10(MSE)),
        ("pearson", VALUES, TARGETS, {}, sum(correlation(VALUES[:, i], TARGETS[:, i]) for i in (0, 1)) / 2),
        ("pearson", VALUES[:, :1], TARGETS[:, 0], {}, correlation(VALUES[:, 0], TARGETS[:, 0])),
    ],
)  # fmt: skip
def test_a_named_metric_is_what_its_name_says(
    name: str, output: Tensor, target: Tensor, how: dict[str, Any], expected: float,
    split: list[int],
) -> None:  # fmt: skip
    assert measured(name, output, target, split, **how) == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("name", ["accuracy", "f1", "perplexity", "top2_accuracy", "auc"])
def test_labels_that_the_loss_leaves_out_do_not_count(name: str) -> None:
    padded = torch.cat([CLASSES, torch.full((9,), -100)])
    scores = torch.cat([SCORES, torch.randn(9, 4)])
    value = measured(name, scores, padded, [50, 19], target="numbers", ignored=(-100,))
    assert value == pytest.approx(measured(name, SCORES, CLASSES, [60]))


@pytest.mark.parametrize("name", ["accuracy", "perplexity", "f1", "top2_accuracy"])
def test_classes_on_the_last_axis_are_those_on_the_second(name: str) -> None:
    scores, labels = SCORES.view(12, 5, 4), CLASSES.view(12, 5)
    value = measured(name, scores, labels, [7, 5], target="numbers", axis=2)
    assert value == pytest.approx(measured(name, SCORES, CLASSES, [60]))
    assert value == pytest.approx(measured(name, scores.transpose(1, 2), labels, [12]))


@pytest.mark.parametrize("labels", [torch.ones(60).long(), CLASSES.clamp(max=2)])
def test_the_area_under_a_curve_needs_every_class(labels: Tensor) -> None:
    scores = LOGITS if int(labels.min()) == 1 else SCORES
    assert math.isnan(measured("auc", scores, labels, [60]))


def test_each_name_has_a_direction() -> None:
    lower = {"loss", "mse", "rmse", "mae", "perplexity", "bits_per_character"}
    for name, metric in METRICS.items():
        assert metric.direction == ("minimize" if name in lower else "maximize")


@pytest.mark.parametrize(
    ("name", "output", "target", "says"),
    [
        ("top4_accuracy", SCORES, CLASSES, "always 1"),
        ("top2_accuracy", LOGITS, LABELS, "is of scores of classes"),
        ("perplexity", LOGITS, LABELS, "of scores of classes"),
        ("rmse", SCORES, CLASSES, "do not fit the metric; give .* metric= as a function"),
    ],
)
def test_a_metric_of_something_else_is_refused(
    name: str, output: Tensor, target: Tensor, says: str
) -> None:
    with pytest.raises(acs.TaskError, match=says):
        measured(name, output, target, [60])


def test_a_missing_library_is_said_with_the_command(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(acs.TaskError, match=r'pip install "actsearch\[metrics\]"'):
        resolve_metric("f1", has_evaluate=False)
    assert resolve_metric("rmse", has_evaluate=False).direction == "minimize"
    # what evaluate returns by that name is the user's own number
    assert resolve_metric("top3_accuracy", has_evaluate=True).direction == "maximize"


# a user's own


def error_of_mine(outputs: Tensor, targets: Tensor) -> Tensor:
    return (outputs - targets).abs().amax()


def rmse(outputs: Tensor, targets: Tensor) -> Tensor:
    return (outputs - targets).square().mean().sqrt()


@pytest.mark.parametrize(
    ("metric", "name", "direction"),
    [
        (error_of_mine, "error_of_mine", None),
        (rmse, "rmse", "minimize"),
        (lambda outputs, targets: 0.0, "metric", None),
        (functools.partial(error_of_mine), "error_of_mine", None),
        ({"worst": lambda outputs, targets: 0.0}, "worst", None),
        (("worst", error_of_mine), "worst", None),
        ({"accuracy": error_of_mine}, "accuracy", "maximize"),
    ],
)
def test_a_function_has_a_name(metric: Any, name: str, direction: str | None) -> None:
    made = resolve_metric(metric, has_evaluate=False)
    assert (made.name, made.direction) == (name, direction)


@pytest.mark.parametrize(
    ("metric", "says"),
    [
        ({"a": error_of_mine, "b": error_of_mine}, "a function .* or {name: function}"),
        (("a", "b"), "a function .* or {name: function}"),
        ({"loss": error_of_mine}, "cannot be called 'loss'"),
    ],
)
def test_a_function_that_is_none_is_refused(metric: Any, says: str) -> None:
    with pytest.raises(acs.TaskError, match=says):
        resolve_metric(metric, has_evaluate=False)


def test_a_named_function_is_the_value_of_a_trial() -> None:
    x, y = torch.randn(40, 3), torch.randn(40, 1)
    task = acs.Task(
        model=lambda: nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 1)), train=(x[:20], y[:20]),
        valid=(x[20:], y[20:]), loss=F.mse_loss, metric={"worst": error_of_mine}, epochs=1,
    )  # fmt: skip
    model = task.build()
    value = fit(task, model, 0).metrics["worst"]
    with torch.no_grad():
        assert value == pytest.approx((model(x[20:]) - y[20:]).abs().max().item())
