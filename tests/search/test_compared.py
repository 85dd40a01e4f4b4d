"""A metric by name is taken where the loss compares the same outputs with the same targets, and else refused."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from sklearn import metrics as reference
from torch import Tensor, nn
from torch.nn import functional as F

import actsearch as acs
from actsearch.training import fit
from actsearch.training.convention import reading_of

pytestmark = pytest.mark.filterwarnings("ignore::actsearch.ActsearchWarning")

generator = torch.Generator().manual_seed(6)
X = torch.randn(80, 4, generator=generator)
CLASSES = torch.randint(0, 3, (80,), generator=generator)
YES = torch.randint(0, 2, (80, 1), generator=generator).float()
MANY = torch.randint(0, 2, (80, 4), generator=generator).float()
NUMBERS = 2 * torch.randn(80, 3, generator=generator) + 1
STEPS = torch.randn(40, 5, 4, generator=generator)
TOKENS = torch.randint(0, 7, (40, 5), generator=generator)
SQUARE = torch.randint(0, 5, (40, 5), generator=generator)
STEP = torch.arange(5)

ce, bce = F.cross_entropy, F.binary_cross_entropy_with_logits
Loss = Callable[[Tensor, Tensor], Tensor]


def net(outputs: int, *more: nn.Module) -> nn.Module:
    torch.manual_seed(3)
    return nn.Sequential(nn.Linear(4, 6), nn.Tanh(), nn.Linear(6, outputs), *more)


def task(model: nn.Module, loss: Loss, metric: Any, x: Tensor, y: Tensor) -> acs.Task:
    return acs.Task(
        model=model, loss=loss, metric=metric, train=(x, y), valid=(x, y), epochs=1, lr=1e-9, batch_size=8
    )  # fmt: skip


def through(link: Callable[[Tensor], Tensor]) -> Loss:
    """Binary cross entropy of probabilities that the loss makes of outputs."""
    return lambda o, t: F.binary_cross_entropy(link(o).clamp(1e-6, 1 - 1e-6), t)


def flat(o: Tensor, t: Tensor, **how: Any) -> Tensor:
    return ce(o.reshape(-1, o.shape[-1]), t.reshape(-1), **how)


def hardest(o: Tensor, t: Tensor) -> Tensor:
    losses = ce(o.transpose(1, 2), t, reduction="none").flatten()
    return losses.topk(len(losses) // 4).values.mean()


def focal(o: Tensor, t: Tensor) -> Tensor:
    logs = o.log_softmax(-1).gather(-1, t[..., None])
    return -((1 - logs.exp()) ** 2 * logs).mean()


def dice(o: Tensor, t: Tensor) -> Tensor:
    return 1 - 2 * (o.sigmoid() * t).sum() / (o.sigmoid().sum() + t.sum())


def sampled(o: Tensor, t: Tensor) -> Tensor:
    return (bce(o, t, reduction="none") * (torch.rand(o.shape) < 0.3)).mean()


def variation(o: Tensor, t: Tensor) -> Tensor:
    return (o - t).square().mean() + 0.1 * (o[1:] - o[:-1]).abs().mean()


def accuracy(o: Tensor, t: Tensor) -> float:
    return float(reference.accuracy_score(t.flatten(), o.argmax(-1).flatten()))


def perplexity(o: Tensor, t: Tensor) -> float:
    return math.exp(
        reference.log_loss(t.flatten(), o.flatten(0, -2).double().softmax(-1), labels=np.arange(7))
    )


def f1(o: Tensor, t: Tensor) -> float:
    return float(reference.f1_score(t, o > 0, average="macro"))


def mse(o: Tensor, t: Tensor) -> float:
    return float(reference.mean_squared_error(t, o))


@pytest.mark.parametrize(
    "loss",
    [
        lambda o, t: flat(o, t) + 0.1 * o.square().mean(),
        lambda o, t: flat(o, t) + 0.5 * flat(o[:, :-1], t[:, 1:]),
        lambda o, t: flat(o, t, label_smoothing=0.3),
        lambda o, t: flat(o, t, weight=torch.arange(1.0, 8)),
        lambda o, t: ce(o.permute(1, 2, 0), t.T),
        lambda o, t: sum((ce(o[:, i], t[:, i]) for i in range(5)), torch.tensor(0.0)),
        lambda o, t: ce(o.transpose(1, 2), t, reduction="none").mean(1).mean(),
        hardest,
        focal,
    ],
)
@pytest.mark.parametrize(
    ("metric", "expected"), [("accuracy", accuracy), ("perplexity", perplexity)]
)
def test_a_loss_of_all_tokens_is_taken(loss: Loss, metric: str, expected: Any) -> None:
    made = task(net(7), loss, metric, STEPS, TOKENS)
    value = fit(made, made.build(), 0).metrics[metric]
    with torch.no_grad():
        assert value == pytest.approx(expected(net(7)(STEPS), TOKENS), rel=1e-4)


@pytest.mark.parametrize(
    ("outputs", "loss", "metric", "y", "expected"),
    [
        (4, lambda o, t: bce(o, t, pos_weight=torch.tensor([9.0, 1, 2, 0.1])), "f1", MANY, f1),
        (4, lambda o, t: bce(o, 0.9 * t + 0.05), "f1", MANY, f1),
        (4, dice, "f1", MANY, f1),
        (4, sampled, "f1", MANY, f1),
        (1, lambda o, t: bce(o, (t + 1) / 2), "accuracy", 2 * YES - 1,
         lambda o, t: ((o > 0) == (t > 0)).float().mean()),
        (3, variation, "mse", NUMBERS, mse),
        (3, lambda o, t: torch.maximum(0.9 * (t - o), 0.1 * (o - t)).mean(), "mse", NUMBERS, mse),
        (3, lambda o, t: ((o - t).abs() - 0.1).clamp(min=0).mean(), "mse", NUMBERS, mse),
        (3, lambda o, t: 1 - F.cosine_similarity(o, t).mean(), "mse", NUMBERS, mse),
        (3, lambda o, t: o.square().mean(), "mse", NUMBERS, mse),
        (3, lambda o, t: F.mse_loss(o, (t - 1) / 2), "pearson", NUMBERS,
         lambda o, t: np.mean([np.corrcoef(o[:, i], t[:, i])[0, 1] for i in range(3)])),
    ],
)  # fmt: skip
def test_a_loss_of_all_numbers_is_taken(
    outputs: int, loss: Loss, metric: str, y: Tensor, expected: Any
) -> None:
    made = task(net(outputs), loss, metric, X, y)
    value = fit(made, made.build(), 0).metrics[metric]
    with torch.no_grad():
        assert value == pytest.approx(float(expected(net(outputs)(X), y)), rel=1e-4)


@pytest.mark.parametrize(
    ("outputs", "loss", "metric", "says"),
    [
        (7, lambda o, t: flat(o[:, :-1], t[:, 1:]), "accuracy", "leaves out 8 of 40 answers.*argmax"),
        (7, lambda o, t: flat(o[:, :-1], t[:, 1:]), "perplexity", r"leaves out 8 of 40.*cross_entropy\(o, t\).exp\(\)"),
        (7, lambda o, t: -o[:, :-1].log_softmax(-1).gather(-1, t[:, 1:, None]).mean(), "accuracy", "leaves out 8 of"),
        (7, lambda o, t: ce(o[:, -1], t[:, -1]), "bits_per_character", r"leaves out 32 of 40.*math.log\(2\)"),
        (7, lambda o, t: flat(o[:, 2:], t[:, 2:]), "f1", "leaves out 16 of 40 answers.*f1_score"),
        (7, lambda o, t: (ce(o.transpose(1, 2), t, reduction="none") * (STEP > 1)).mean(), "accuracy", "leaves out 16"),
        (7, lambda o, t: flat(o, t.roll(-1, 1)), "accuracy", "wants another class"),
        (7, lambda o, t: flat(o.flip(1), t), "top2_accuracy", r"wants another class.*topk\(2"),
        (7, lambda o, t: flat(o / 0.1, t), "perplexity", "is of other scores"),
    ],
)  # fmt: skip
def test_tokens_that_the_loss_moves_or_leaves_out_are_said(
    outputs: int, loss: Loss, metric: str, says: str
) -> None:
    with pytest.raises(
        acs.TaskError, match=rf"{metric} would compare outputs \(8, 5, 7\).*{says}"
    ):
        reading_of(task(net(outputs), loss, metric, STEPS, TOKENS))


@pytest.mark.parametrize(
    ("outputs", "loss", "metric", "y", "says"),
    [
        (3, lambda o, t: ce(o, t - 1), "accuracy", CLASSES + 1, "another class than the target's in 8 of 8"),
        (3, lambda o, t: ce(-o, t), "accuracy", CLASSES, "another class than the target's in 8 of 8"),
        (3, lambda o, t: ce(o, torch.tensor([2, 0, 1])[t]), "f1", CLASSES, "another class than the target's in 8 of 8"),
        (5, lambda o, t: ce(o[:, :3], t), "accuracy", CLASSES, "does not use the scores of 2 of 5 classes"),
        (1, lambda o, t: bce(o, 1 - t), "accuracy", YES, "the other of the two classes"),
        (1, lambda o, t: bce(-o, t), "auc", YES, "the other of the two classes.*roc_auc_score"),
        (1, lambda o, t: F.softplus(o * (2 * t - 1)).mean(), "accuracy", YES, "the other of the two classes"),
        (4, lambda o, t: bce(o[:, 0], t[:, 0]), "accuracy", MANY, "leaves out 24 of 32 answers"),
        (3, lambda o, t: F.mse_loss(o, (t - 1) / 2), "mse", NUMBERS, "less at other outputs"),
        (3, lambda o, t: (o.exp() - t).square().mean(), "r2", NUMBERS, "less at other outputs.*r2_score"),
        (3, lambda o, t: (o + t).abs().mean(), "mae", NUMBERS, "less at other outputs.*l1_loss"),
        (3, nn.PoissonNLLLoss(), "mse", NUMBERS.abs(), "less at other outputs"),
        (3, lambda o, t: F.mse_loss(o[:, :2], t[:, :2]), "mse", NUMBERS, "leaves out 8 of 24 answers"),
        (3, lambda o, t: F.mse_loss(-o, t), "pearson", NUMBERS, "less at other outputs"),
    ],
)  # fmt: skip
def test_numbers_that_the_loss_changes_or_leaves_out_are_said(
    outputs: int, loss: Loss, metric: str, y: Tensor, says: str
) -> None:
    with pytest.raises(acs.TaskError, match=f"{metric} would compare .*{says}"):
        reading_of(task(net(outputs), loss, metric, X, y))


@pytest.mark.parametrize(
    ("metric", "says"),
    [
        ("accuracy", r"\(outputs.argmax\(1\) == targets\).float\(\).mean\(\)"),
        ("perplexity", r"F.cross_entropy\(outputs, targets\).exp\(\)"),
        ("top2_accuracy", r"outputs.topk\(2, 1\)"),
        ("f1", "f1_score"),
    ],
)
def test_what_to_write_for_an_axis_fits_the_metric(metric: str, says: str) -> None:
    made = task(net(5), lambda o, t: flat(o[:, :-1], t[:, 1:]), metric, STEPS, SQUARE)
    with pytest.raises(acs.TaskError, match=f"axis 1 or along the last.*{says}"):
        reading_of(made)


@pytest.mark.parametrize(
    ("threshold", "loss"),
    [
        (0.0, through(torch.special.ndtr)),
        (0.0, through(lambda o: o.atan() / math.pi + 0.5)),
        (0.0, through(lambda o: (o.tanh() + 1) / 2)),
        (0.0, through(lambda o: (3 * o).sigmoid())),
        (0.0, lambda o, t: F.mse_loss((o.tanh() + 1) / 2, t)),
        (0.0, lambda o, t: (1 - o * (2 * t - 1)).relu().mean()),
        (0.0, lambda o, t: (1 - o * (2 * t - 1)).relu().square().mean()),
        (0.0, lambda o, t: (-o * (2 * t - 1)).exp().mean()),
        (0.0, lambda o, t: -(2 + 5 * t).mul(-(o * (1 - 2 * t)).exp().log1p()).mean()),
        (0.5, lambda o, t: F.binary_cross_entropy(o.clamp(0.001, 0.999), t)),
        (0.5, lambda o, t: (o - t).square().mean()),
        (0.5, lambda o, t: (o - t).abs().mul(1 + 3 * t).mean()),
    ],
)
@pytest.mark.parametrize("name", ["accuracy", "f1"])
def test_class_one_begins_where_the_loss_has_it(threshold: float, loss: Loss, name: str) -> None:
    made = task(net(1), loss, name, X, YES)
    value = fit(made, made.build(), 0).metrics[name]
    with torch.no_grad():
        answers = net(1)(X) > threshold
    assert 0 < float(answers.float().mean()) < 1
    score = reference.accuracy_score if name == "accuracy" else reference.f1_score
    assert value == pytest.approx(float(score(YES, answers)), rel=1e-6)


@pytest.mark.parametrize(
    "loss",
    [
        through(lambda o: 1 - (-o.exp()).exp()),  # complementary log-log
        through(lambda o: (o - 1).sigmoid()),
        lambda o, t: bce(o - 1, t),
        lambda o, t: F.mse_loss(o - 0.3, t),
        lambda o, t: -(o * (2 * t - 1)).mean(),  # of ranks: no number is special
    ],
)
@pytest.mark.parametrize("name", ["accuracy", "balanced_accuracy"])
def test_a_loss_for_which_class_one_begins_elsewhere_is_refused(loss: Loss, name: str) -> None:
    made = task(net(1), loss, name, X, YES)
    with pytest.raises(acs.TaskError, match="has class 1 begin|may count outputs above 0"):
        reading_of(made)


@pytest.mark.parametrize("metric", ["accuracy", "loss", "auc"])
def test_binary_cross_entropy_takes_zero_to_one(metric: str) -> None:
    with pytest.raises(
        acs.TaskError, match="takes targets of 0 to 1, and is given train targets of 1 to 2"
    ):
        reading_of(task(net(1), nn.BCEWithLogitsLoss(), metric, X, YES + 1))


@pytest.mark.parametrize("metric", ["accuracy", "f1"])
def test_targets_without_the_axis_of_one_channel(metric: str) -> None:
    images = torch.randn(20, 1, 4, 4, generator=generator)
    mask = (images[:, 0] > 0.3).float()
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(1, 3, 3, padding=1), nn.Tanh(), nn.Conv2d(3, 1, 1))
    made = task(model, lambda o, t: bce(o.squeeze(1), t), metric, images, mask)
    value = fit(made, made.build(), 0).metrics[metric]
    with torch.no_grad():
        answers = model(images)[:, 0].flatten() > 0
    score = reference.accuracy_score if metric == "accuracy" else reference.f1_score
    assert value == pytest.approx(score(mask.flatten() > 0.5, answers))
