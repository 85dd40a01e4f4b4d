"""What is trained together has, to the last bit, the values of what is trained alone: for layers of any size."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

import actsearch as acs
from actsearch.evaluation import Candidate, Request
from actsearch.evaluation.subject.of_task import TaskSubject
from actsearch.records import Outcome

NAMES = [
    "relu", "sin", "elu", "elu", "mish", "x*tanh(x)", "prelu", "gelu", "silu", "silu", "softplus", "swish",
    'param(1.0, per="channel") * tanh(x)', "tanh", "selu", "x*sigmoid(param(1.0)*x)",
]  # fmt: skip

Build = Callable[[random.Random], tuple[Callable[[], nn.Module], tuple[int, ...]]]


def _mlp(rng: random.Random) -> tuple[Callable[[], nn.Module], tuple[int, ...]]:
    sizes = [rng.choice([1, 3, 6, 7, 10, 16, 17, 30]) for _ in range(3)]
    has_bias = rng.random() < 0.8

    def build() -> nn.Module:
        a, b, c = sizes
        return nn.Sequential(
            nn.Linear(a, b, bias=has_bias), nn.ReLU(), nn.LayerNorm(b), nn.Linear(b, c), nn.ReLU(), nn.Linear(c, 3),
        )  # fmt: skip

    return build, (sizes[0],)


def _cnn(rng: random.Random) -> tuple[Callable[[], nn.Module], tuple[int, ...]]:
    one, two, side = rng.choice([2, 3, 5, 8]), rng.choice([3, 4, 7]), rng.choice([5, 6, 7])
    pool: Callable[[int], nn.Module] = rng.choice(
        [nn.MaxPool2d, nn.AvgPool2d, nn.AdaptiveAvgPool2d]
    )

    def build() -> nn.Module:
        return nn.Sequential(
            nn.Conv2d(2, one, 3, padding=1), nn.BatchNorm2d(one), nn.ReLU(), pool(2),
            nn.Conv2d(one, two, 2), nn.GroupNorm(1, two), nn.ReLU(), nn.Flatten(), nn.LazyLinear(3),
        )  # fmt: skip

    def with_shapes() -> nn.Module:
        model = build()
        model.eval()
        model(torch.zeros(2, 2, side, side))
        return model.train()

    return with_shapes, (2, side, side)


class Block(nn.Module):
    """Attention by torch's function, a gate that is no site, a residual sum, a bias added by hand."""

    def __init__(self, inside: int, width: int) -> None:
        super().__init__()
        self.inside = nn.Linear(inside, 3 * width)
        self.shift, self.norm = nn.Parameter(torch.zeros(1, 1, width)), nn.LayerNorm(width)
        self.up, self.gate, self.head = (
            nn.Linear(width, width),
            nn.Linear(width, width),
            nn.Linear(width, 3),
        )

    def forward(self, x: Tensor) -> Any:
        q, k, v = self.inside(x).chunk(3, -1)
        h = F.scaled_dot_product_attention(q, k, v) + self.shift
        h = h + F.relu(self.up(self.norm(h))) * torch.sigmoid(self.gate(h))
        return self.head(F.softmax(h, -1).mean(1) + h.amax(1))


def _attention(rng: random.Random) -> tuple[Callable[[], nn.Module], tuple[int, ...]]:
    inside, width, length = rng.choice([3, 8]), rng.choice([5, 6, 8, 12]), rng.choice([3, 4, 7])
    return lambda: Block(inside, width), (length, inside)


FAMILIES: dict[str, Build] = {"mlp": _mlp, "cnn": _cnn, "attention": _attention}


def _task(family: str, seed: int) -> acs.Task:
    rng = random.Random(f"{family} {seed}")
    build, shape = FAMILIES[family](rng)
    rows, batch = rng.choice([41, 50, 64]), rng.choice([7, 16, 24, 31])
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(rows + 40, *shape, generator=generator)
    y = torch.randint(0, 3, (rows + 40,), generator=generator)
    more: dict[str, Any] = rng.choice(
        [{}, {"clip_grad_norm": 0.5}, {"weight_decay": 0.1}, {"schedule": "cosine"}]
    )
    return acs.Task(
        model=build, train=(x[:rows], y[:rows]), valid=(x[rows:], y[rows:]), loss=F.cross_entropy, metric="loss",
        epochs=2, batch_size=batch, lr=0.01, device="cpu", **more,
    )  # fmt: skip


def _stored(outcome: Outcome) -> tuple[Any, ...]:
    """All that is stored of a training, its seconds apart."""
    epochs = [
        (e.epoch, e.train_loss, e.train_metric, e.valid_loss, e.valid_metric)
        for item in outcome.evaluations
        for e in item.epochs
    ]
    inside = [item.diagnostics for item in outcome.evaluations]
    return outcome.state, outcome.value, outcome.reason, epochs, inside


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize(
    ("seed", "sizes"),
    [
        (1, (2, 4)),
        *(pytest.param(seed, (2, 5, 32), marks=pytest.mark.slow) for seed in range(12)),
    ],
)
def test_stacks_of_any_size_store_what_single_training_stores(
    family: str, seed: int, sizes: Sequence[int]
) -> None:
    task = _task(family, seed)
    rng = random.Random(seed)
    requests = [Request(Candidate.of(rng.choice(NAMES)).record, (1,)) for _ in range(max(sizes))]
    single = TaskSubject(task)
    expected = [_stored(single.train([request])[0]) for request in requests]
    for size in sizes:
        subject = TaskSubject(task.replace())  # of which nothing is known yet
        found: list[Outcome] = []
        for start in range(0, len(requests), size):
            found += subject.train(requests[start : start + size])
        assert [_stored(outcome) for outcome in found] == expected
        assert subject.stack_refusal == ""
        assert not any(subject.stack_differences.values())


class Unusual(nn.Module):
    """Uses a function of which nobody has said how a stack rounds it."""

    def __init__(self) -> None:
        super().__init__()
        self.one, self.act, self.two = nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 3)
        self.register_buffer("mix", torch.eye(8))

    def forward(self, x: Tensor) -> Any:
        return self.two(torch.special.i0e(self.act(self.one(x)) @ self.mix))


def test_what_is_not_known_to_be_equal_is_stacked_only_on_demand(
    caplog: pytest.LogCaptureFixture,
) -> None:
    generator = torch.Generator().manual_seed(0)
    x, y = torch.randn(80, 6, generator=generator), torch.randint(0, 3, (80,), generator=generator)
    task = acs.Task(
        model=Unusual, train=(x[:50], y[:50]), valid=(x[50:], y[50:]), loss=F.cross_entropy, metric="loss", epochs=1,
        batch_size=16, lr=0.01, device="cpu",
    )  # fmt: skip
    requests = [Request(Candidate.of(name).record, (1,)) for name in NAMES[:6]]
    subject = TaskSubject(task)
    expected = [subject.train([request])[0].value for request in requests]
    with caplog.at_level("INFO", logger="actsearch"):
        assert [item.value for item in subject.train(requests)] == expected
        assert [item.value for item in subject.train(requests)] == expected
    assert [line for line in caplog.messages if "it calls special_i0e" in line] == caplog.messages
    assert subject.batch_for(requests * 100) == 1
    on_demand = subject.train(requests, inexact=True)
    assert [item.value for item in on_demand] == pytest.approx(expected, rel=1e-4)
