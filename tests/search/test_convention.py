"""How outputs and targets are read follows from the loss, the model's end, shapes and targets, or is asked for."""

from __future__ import annotations

import dataclasses
import functools
import pickle
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
from sklearn.metrics import r2_score
from torch import Tensor, nn
from torch.nn import functional as F

import actsearch as acs
from actsearch.evaluation import make_subject
from actsearch.training import fit
from actsearch.training.convention import known_reading, reading_of

pytestmark = pytest.mark.filterwarnings("ignore::actsearch.ActsearchWarning")

generator = torch.Generator().manual_seed(4)
X = torch.randn(90, 4, generator=generator)
YES = (X[:, :1] + 0.3 * torch.randn(90, 1, generator=generator) > 0.4).float()
CLASSES = (X[:, 0] > 0).long() + (X[:, 1] > 0).long()
ONE_HOT = F.one_hot(CLASSES, 3).float()
SEQUENCES = torch.randn(60, 3, 4, generator=generator)
TAGS = (SEQUENCES[..., 0] > 0).long() + (SEQUENCES[..., 1] > 0).long()


def mlp(outputs: int, *more: nn.Module) -> Callable[[], nn.Module]:
    return lambda: nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, outputs), *more)


def data(x: Tensor, y: Tensor) -> dict[str, Any]:
    half = len(x) // 2
    return {"train": (x[:half], y[:half]), "valid": (x[half:], y[half:])}


def task(model: Any, loss: Any, metric: Any, x: Tensor, y: Tensor, **more: Any) -> acs.Task:
    settings = {"epochs": 4, "lr": 0.03, "batch_size": 16, **data(x, y), **more}
    return acs.Task(model=model, loss=loss, metric=metric, **settings)


def scored(made: acs.Task, right: Callable[[Tensor, Tensor], Tensor]) -> tuple[float, float]:
    """What a training says of a model, and what is counted here on the same model."""
    torch.manual_seed(1)
    model = made.build()
    value = next(iter(fit(made, model, 1).metrics.values()))
    x, y = made.valid
    with torch.no_grad():
        return value, float(right(model(x), y).double().mean())


def above(threshold: float) -> Callable[[Tensor, Tensor], Tensor]:
    return lambda output, target: (output.reshape(target.shape) > threshold) == (target > 0.5)


def own_bce(p: Tensor, t: Tensor) -> Tensor:
    return -(t * torch.log(p + 1e-7) + (1 - t) * torch.log(1 - p + 1e-7)).mean()


def own_logistic(o: Tensor, t: Tensor) -> Tensor:
    return (o.exp().log1p() - t * o).mean()


def focal(o: Tensor, t: Tensor) -> Tensor:
    p = torch.sigmoid(o)
    return -(t * (1 - p) ** 2 * F.logsigmoid(o) + (1 - t) * p**2 * F.logsigmoid(-o)).mean()


@pytest.mark.parametrize(
    ("model", "loss", "threshold"),
    [
        (mlp(1), nn.BCEWithLogitsLoss(), 0.0),
        (mlp(1), functools.partial(F.binary_cross_entropy_with_logits, pos_weight=torch.tensor(9.0)), 0.0),
        (mlp(1), focal, 0.0),
        (mlp(1), own_logistic, 0.0),
        (mlp(1, nn.Sigmoid()), nn.BCELoss(), 0.5),
        (mlp(1, nn.Sigmoid(), nn.Flatten(0)), lambda o, t: F.binary_cross_entropy(o, t[:, 0]), 0.5),
        (mlp(1, nn.Sigmoid()), own_bce, 0.5),
        (mlp(1), lambda o, t: own_bce(o.clamp(0.01, 0.99), t), 0.5),
        (mlp(1), F.mse_loss, 0.5),
        (mlp(1), lambda o, t: (o - t).square().mean(), 0.5),
        (mlp(2), nn.BCEWithLogitsLoss(), 0.0),
        (mlp(2, nn.Sigmoid()), nn.BCELoss(), 0.5),
    ],
)  # fmt: skip
def test_the_threshold_is_that_of_the_loss(model: Any, loss: Any, threshold: float) -> None:
    labels = torch.cat([YES, (X[:, 1:2] > 0).float()], 1)
    y = labels if model()(X[:2]).dim() == 2 and model()(X[:2]).shape[1] == 2 else YES
    value, counted = scored(task(model, loss, "accuracy", X, y), above(threshold))
    assert value == counted


@pytest.mark.parametrize("loss", [F.mse_loss, lambda o, t: (1 - o * t).clamp(min=0).mean()])
def test_classes_called_minus_one_and_one_are_divided_at_zero(loss: Any) -> None:
    value, counted = scored(task(mlp(1), loss, "accuracy", X, 2 * YES - 1), above(0.0))
    assert value == counted


@pytest.mark.parametrize(
    ("outputs", "model", "loss", "y"),
    [
        (3, mlp(3), F.cross_entropy, ONE_HOT),
        (3, mlp(3), F.cross_entropy, 0.9 * ONE_HOT + 0.1 / 3),
        (3, mlp(3), lambda o, t: F.cross_entropy(o, t.argmax(1)), ONE_HOT),
        (3, mlp(3, nn.Softmax(1)), lambda o, t: -(t * (o + 1e-9).log()).sum(1).mean(), ONE_HOT),
        (3, mlp(3), F.mse_loss, ONE_HOT),
        (3, mlp(3, nn.LogSoftmax(-1)), nn.NLLLoss(), CLASSES),
        (2, mlp(2), lambda o, t: F.cross_entropy(o, t[:, 0].long()), YES),
    ],
)
def test_the_class_with_the_largest_score_is_the_answer(
    outputs: int, model: Any, loss: Any, y: Tensor
) -> None:
    def right(output: Tensor, target: Tensor) -> Tensor:
        labels = target.argmax(1) if target.shape == output.shape else target.flatten()
        return output.argmax(1) == labels

    value, counted = scored(task(model, loss, "accuracy", X, y), right)
    assert value == counted


class ClassesSecond(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.net = mlp(3)()

    def forward(self, x: Tensor) -> Tensor:
        return self.net(x).transpose(1, 2)  # type: ignore[no-any-return]


def focal_last(o: Tensor, t: Tensor) -> Tensor:
    logs = o.log_softmax(-1).gather(-1, t.unsqueeze(-1))
    return -((1 - logs.exp()) ** 2 * logs).mean()


@pytest.mark.parametrize(
    ("model", "loss", "axis"),
    [
        (mlp(3), lambda o, t: F.cross_entropy(o.transpose(1, 2), t), -1),
        (mlp(3), lambda o, t: F.cross_entropy(o.reshape(-1, 3), t.reshape(-1)), -1),
        (mlp(3), focal_last, -1),
        (ClassesSecond, F.cross_entropy, 1),
        (mlp(3, nn.LogSoftmax(-1)), lambda o, t: F.nll_loss(o.flatten(0, 1), t.flatten()), -1),
    ],
)
def test_as_many_steps_as_classes_are_told_apart_by_the_loss(
    model: Any, loss: Any, axis: int
) -> None:
    made = task(model, loss, "accuracy", SEQUENCES, TAGS)
    value, counted = scored(made, lambda o, t: o.argmax(axis) == t)
    assert value == counted


PADDED = torch.where(torch.rand(TAGS.shape, generator=generator) < 0.3, 0, TAGS + 1)


@pytest.mark.parametrize(
    "loss",
    [
        nn.CrossEntropyLoss(ignore_index=0),
        functools.partial(F.cross_entropy, ignore_index=0),
        lambda o, t: F.cross_entropy(o[t > 0], t[t > 0]),
        lambda o, t: (F.cross_entropy(o, t, reduction="none") * (t > 0)).sum() / (t > 0).sum(),
        nn.CrossEntropyLoss(weight=torch.tensor([0.0, 1.0, 1.0, 1.0])),
    ],
)
def test_labels_that_the_loss_leaves_out_are_left_out(loss: Any) -> None:
    def flat(o: Tensor, t: Tensor) -> Tensor:
        return loss(o.reshape(-1, 4), t.reshape(-1))  # type: ignore[no-any-return]

    made = task(mlp(4), flat, "accuracy", SEQUENCES, PADDED)
    value, counted = scored(made, lambda o, t: (o.argmax(-1) == t)[t > 0])
    assert value == counted


def test_perplexity_weighs_tokens_and_not_batches() -> None:
    def loss(o: Tensor, t: Tensor) -> Tensor:
        return F.cross_entropy(o.transpose(1, 2), t, ignore_index=0)

    made = task(mlp(4), loss, "perplexity", SEQUENCES, PADDED)
    torch.manual_seed(0)
    model = made.build()
    value = fit(made, model, 0).metrics["perplexity"]
    x, y = made.valid
    with torch.no_grad():
        expected = F.cross_entropy(model(x)[y > 0].double(), y[y > 0]).exp()
    assert value == pytest.approx(expected.item())


def test_the_peak_of_a_signal_is_that_of_its_targets() -> None:
    y = X[:, :2].sigmoid()
    for scaled, expected in ((y, 1.0), (2 * y - 1, 2.0), (255 * y, 255.0)):
        made = task(mlp(2), F.mse_loss, "psnr", X, scaled)
        assert reading_of(made).convention.data_range == expected


@pytest.mark.parametrize(("low", "high"), [(0.3, 0.8), (-0.04, 0.87), (0.0, 0.3), (-3.0, 3.0)])
def test_targets_that_fill_no_usual_range_have_no_known_peak(low: float, high: float) -> None:
    """A crop of an image in -1..1 would otherwise be scored 6 dB too low, a noisy one in 0..1 too high."""
    y = torch.linspace(low, high, 2 * len(X)).reshape(-1, 2)
    with pytest.raises(acs.TaskError, match="which fills none of"):
        reading_of(task(mlp(2), F.mse_loss, "psnr", X, y))


# what is asked for


def ignored(o: Tensor, t: Tensor) -> Tensor:
    return o.square().mean()


@pytest.mark.parametrize(
    ("made", "says"),
    [
        (lambda: task(mlp(3), nn.BCEWithLogitsLoss(), "accuracy", X, ONE_HOT), "read in two ways.*top1_accuracy.*each"),
        (lambda: task(mlp(1), lambda o, t: -(o * (2 * t - 1)).mean(), "accuracy", X, YES),
         r"above 0 \(logits\) or above 0.5 \(probabilities\)"),
        (lambda: task(mlp(1, nn.Sigmoid()), nn.BCEWithLogitsLoss(), "accuracy", X, YES), "sigmoid .* again"),
        (lambda: task(mlp(1), F.mse_loss, "accuracy", X, X[:, :1]), "needs targets of two classes"),
        (lambda: task(mlp(3), ignored, "accuracy", SEQUENCES, TAGS), "axis 1 or along the last"),
        (lambda: task(mlp(3), ignored, "accuracy", SEQUENCES, TAGS[:, :2]), r"takes scores \(batch, classes"),
        (lambda: task(mlp(1), F.mse_loss, "psnr", X, 1000 * X[:, :1]), "which values targets may have"),
        (lambda: task(mlp(2), nn.BCEWithLogitsLoss(), "top1_accuracy", X, YES.repeat(1, 2)), "scores of classes"),
    ],
)  # fmt: skip
def test_what_can_be_read_in_two_ways_is_asked_for(
    made: Callable[[], acs.Task], says: str
) -> None:
    with pytest.raises(acs.TaskError, match=says):
        make_subject(made()).check()


def test_a_named_way_to_read_is_taken() -> None:
    made = task(mlp(3), nn.BCEWithLogitsLoss(), "top1_accuracy", X, ONE_HOT)
    value, counted = scored(made, lambda o, t: o.argmax(1) == t.argmax(1))
    assert value == counted


# broadcasting


def own_mse(o: Tensor, t: Tensor) -> Tensor:
    return ((o - t) ** 2).mean()


FLAT = mlp(1, nn.Flatten(0))


@pytest.mark.parametrize(
    ("model", "loss", "metric", "y"),
    [
        (mlp(1), own_mse, "mse", X[:, 0]),
        (mlp(1), own_mse, "loss", X[:, 0]),
        (mlp(1), lambda o, t: (o - t).abs().sum(1).mean(), "loss", X[:, 0]),
        (mlp(1), lambda o, t: F.mse_loss(o, t), "loss", X[:, 0]),
        (mlp(1), lambda o, t: torch.maximum(0.9 * (t - o), 0.1 * (o - t)).mean(), "loss", X[:, 0]),
        (FLAT, own_mse, "loss", X[:, :1]),
        (mlp(1), lambda o, t: own_mse(o[:, 0], t), own_mse, X[:, 0]),
        (mlp(1), lambda o, t: own_mse(o[:, 0], t), lambda o, t: ((o > 0) == (t > 0)).float().mean(), X[:, 0]),
        (mlp(1), lambda o, t: own_mse(o[:, 0], t), lambda o, t: own_mse(o.numpy(), t.numpy()), X[:, 0]),
        (mlp(1), lambda o, t: own_mse(o[:, 0], t), lambda o, t: np.std(np.array(o.tolist()) - t.tolist()), X[:, 0]),
        (mlp(1), lambda o, t: own_mse(o[:, 0], t), torch.dist, X[:, 0]),
        (FLAT, lambda o, t: own_mse(o, t[:, 0]), lambda o, t: own_mse(o.numpy(), t.numpy()), X[:, :1]),
        (mlp(1), lambda o, t: own_mse(o[..., 0], t), lambda o, t: own_mse(o.numpy(), t.numpy()),
         SEQUENCES[:6, :, 0]),
        (mlp(1), own_mse, "loss", SEQUENCES[:6, :, 0]),
    ],
)  # fmt: skip
@pytest.mark.filterwarnings("ignore:Using a target size")
def test_each_output_against_every_target_is_refused(
    model: Any, loss: Any, metric: Any, y: Tensor
) -> None:
    x = X if len(y) == len(X) else SEQUENCES[: len(y)]
    made = task(model, loss, metric, x, y)
    with pytest.raises(acs.TaskError, match=r"compares each output with every target: .*\("):
        fit(made, made.build(), 0)


def test_axes_that_a_loss_cannot_match_are_said() -> None:
    made = task(mlp(1), own_mse, "loss", SEQUENCES, SEQUENCES[..., 0])
    with pytest.raises(acs.TaskError, match=r"\(16, 3, 1\) and targets \(16, 3\).*reshape"):
        fit(made, made.build(), 0)


def far(o: Tensor, t: Tensor) -> float:
    """The largest distance between two distributions."""
    points = np.sort(np.concatenate([o.flatten(), t.flatten()]))
    shares = [np.searchsorted(np.sort(item.flatten()), points) / item.numel() for item in (o, t)]
    return float(np.abs(shares[0] - shares[1]).max())


@pytest.mark.parametrize(
    "metric",
    [
        lambda o, t: own_mse(o.numpy()[:, 0], t.numpy()),
        lambda o, t: own_mse(o.numpy(), t.numpy()[:, None]),
        lambda o, t: own_mse(o.squeeze(-1).numpy(), t.numpy()),
        lambda o, t: abs(o.numpy().mean() - t.numpy().mean()),
        lambda o, t: r2_score(t, o),
        far,
    ],
)
def test_a_metric_that_handles_its_shapes_is_taken(metric: Any) -> None:
    made = task(mlp(1), lambda o, t: own_mse(o[:, 0], t), {"own": metric}, X, X[:, 0])
    model = made.build()
    value = fit(made, model, 0).metrics["own"]
    with torch.no_grad():
        assert value == pytest.approx(float(metric(model(made.valid[0]), made.valid[1])))


@pytest.mark.parametrize(
    ("model", "loss", "y"),
    [
        (mlp(1), lambda o, t: own_mse(o.squeeze(1), t), X[:, 0]),
        (mlp(1), lambda o, t: own_mse(o, t.unsqueeze(1)), X[:, 0]),
        (mlp(1), lambda o, t: (o - t).square().diagonal().mean(), X[:, 0]),
        (mlp(3), lambda o, t: torch.maximum(0.5 * (t - o), -0.5 * (t - o)).mean(), X[:, :1]),
        (mlp(2), lambda o, t: (torch.cdist(o, o) * (t[:, None] == t[None])).mean(), CLASSES),
        (mlp(1), lambda o, t: (o.mean() - t.mean()) ** 2, X[:, 0]),
    ],
)
def test_a_loss_that_handles_its_shapes_is_taken(model: Any, loss: Any, y: Tensor) -> None:
    made = task(model, loss, "loss", X, y, epochs=1)
    assert fit(made, made.build(), 0).stopped == ""


# several outputs


class Heads(NamedTuple):
    scores: Tensor
    extra: Tensor


@dataclasses.dataclass
class Result:
    scores: Tensor
    loss: Tensor | None = None


class Net(nn.Module):
    """Returns what it is told to, of its scores."""

    def __init__(self, result: Callable[[Tensor, bool], Any]) -> None:
        super().__init__()
        self.net, self.result = mlp(3)(), result

    def forward(self, x: Tensor) -> Any:
        return self.result(self.net(x), self.training)


@pytest.mark.parametrize(
    ("result", "take", "says"),
    [
        (lambda s, _: (s, -s), lambda o: o[0], r"tuple of \[0\] \(16, 3\) float32, \[1\]"),
        (lambda s, _: Heads(s, -s), lambda o: o.scores, r"Heads of \.scores \(16, 3\)"),
        (lambda s, _: {"scores": s}, lambda o: o["scores"], r"dict of \['scores'\] \(16, 3\)"),
        (lambda s, _: Result(s), lambda o: o.scores, r"Result of \.scores"),
    ],
)
def test_several_outputs_go_to_the_loss_and_to_a_function(
    result: Any, take: Callable[[Any], Tensor], says: str
) -> None:
    def loss(o: Any, t: Tensor) -> Tensor:
        return F.cross_entropy(take(o), t)

    def hits(o: Any, t: Tensor) -> Tensor:
        return (take(o).argmax(1) == t).double().mean()

    with pytest.raises(acs.TaskError, match=f"is of one tensor.*{says}.*lambda outputs"):
        make_subject(task(lambda: Net(result), loss, "accuracy", X, CLASSES)).check()
    made = task(lambda: Net(result), loss, hits, X, CLASSES)
    make_subject(made).check()
    value, counted = scored(made, hits)
    assert value == counted


def test_a_head_of_training_alone_is_for_the_loss_alone() -> None:
    def loss(o: Any, t: Tensor) -> Tensor:
        return F.cross_entropy(o[0] if isinstance(o, tuple) else o, t)

    made = task(
        lambda: Net(lambda s, training: (s, s) if training else s), loss, "accuracy", X, CLASSES
    )
    make_subject(made).check()
    value, counted = scored(made, lambda o, t: o.argmax(1) == t)
    assert value == counted
    assert all(epoch.train_metric is None for epoch in fit(made, made.build(), 1).epochs)


# one decision


def test_another_process_reads_as_this_one_does() -> None:
    made = task(mlp(1, nn.Sigmoid()), nn.BCELoss(), "accuracy", X, YES)
    subject = make_subject(made)
    subject.check()
    reduced: Any = subject.__reduce__()
    other = reduced[0](made.replace(), *reduced[1][1:])
    assert known_reading(other.task) == reading_of(made)
    assert pickle.loads(pickle.dumps(reading_of(made))) == reading_of(made)


def test_training_targets_of_another_form_are_not_scored() -> None:
    settings = data(X, CLASSES)
    settings["train"] = (settings["train"][0], 0.8 * ONE_HOT[:45] + 0.2 / 3)
    made = acs.Task(
        model=mlp(3), loss=F.cross_entropy, metric="accuracy", epochs=1, batch_size=16, **settings
    )
    make_subject(made).check()
    result = fit(made, made.build(), 0)
    assert result.epochs[0].train_metric is None
    assert 0 <= result.metrics["accuracy"] <= 1


def test_perplexity_of_a_step_is_that_of_its_loss() -> None:
    def step(model: nn.Module, batch: Any) -> Tensor:
        return F.cross_entropy(model(batch[0]), batch[1])

    made = task(mlp(3), F.cross_entropy, "perplexity", X, CLASSES, step=step)
    metrics = fit(made, made.build(), 0).metrics
    assert metrics["perplexity"] == pytest.approx(torch.tensor(metrics["loss"]).exp().item())
    with pytest.raises(acs.TaskError, match="from which accuracy could be measured"):
        made.replace(metric="accuracy")
