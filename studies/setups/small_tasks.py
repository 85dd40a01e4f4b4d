"""Seventeen small tasks of different kinds, on which many activations can be trained in an evening.

Each is a question that activations answer differently: what a network of some kind learns in a second. Real data come
with scikit-learn, the others from seeds. Its ``breast_cancer`` and ``diabetes`` do not tell activations apart: nearly
all reach the same few errors, or the noise of 442 rows is larger than what they differ by.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from sklearn.datasets import load_digits, load_sample_image, make_friedman1
from torch import Tensor, nn
from torch.nn import functional as F

import actsearch as acs

__all__ = ["SMALL_TASKS", "SmallTask"]

Pair = tuple[Tensor, Tensor]


@dataclass(frozen=True)
class SmallTask:
    """A task by name.

    Attributes:
        reason: what it stands for.
        model: builds the network, with ReLU.
        data: the training and the validation data.
        loss: of the training.
        metric: of the validation.
        settings: of :class:`acs.Task` besides.
    """

    reason: str
    model: Callable[[], nn.Module]
    data: Callable[[], tuple[Pair, Pair]]
    loss: Callable[[Any, Any], Tensor]
    metric: str
    settings: Mapping[str, Any]

    def build(self, name: str, rate: float, seeds: int) -> acs.Task:
        """The task at a multiple of its learning rate."""
        train, valid = self.data()
        settings = {**self.settings, "lr": self.settings["lr"] * rate}
        return acs.Task(
            model=self.model, train=train, valid=valid, loss=self.loss, metric=self.metric,
            seeds=seeds, diagnostics=False, tune_lr=False, name=name, **settings,
        )  # fmt: skip


def mlp(*widths: int) -> nn.Module:
    """Linear layers with ReLU between them."""
    layers: list[nn.Module] = []
    for before, after in zip(widths, widths[1:], strict=False):
        layers += [nn.Linear(before, after), nn.ReLU()]
    return nn.Sequential(*layers[:-1])


class Convolutions(nn.Module):
    """Two convolutions with batch normalisation, over images of 8 x 8."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv2d(1, 8, 3, stride=2, padding=1), nn.BatchNorm2d(8), nn.ReLU(),
            nn.Conv2d(8, 16, 3, stride=2, padding=1), nn.BatchNorm2d(16), nn.ReLU(),
            nn.Flatten(), nn.Linear(64, 10),
        )  # fmt: skip

    def forward(self, x: Tensor) -> Tensor:
        """Logits; (B, 10)."""
        result: Tensor = self.layers(x.reshape(-1, 1, 8, 8))
        return result


class Block(nn.Module):
    """Self-attention over tokens and a feed-forward network, each behind layer normalisation."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.width = width
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.qkv, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.up, self.act, self.down = (
            nn.Linear(width, 2 * width),
            nn.ReLU(),
            nn.Linear(2 * width, width),
        )

    def forward(self, x: Tensor) -> Tensor:
        """Tokens; (B, T, width)."""
        q, k, v = self.qkv(self.norm1(x)).chunk(3, -1)
        weights = (q @ k.transpose(1, 2) / math.sqrt(self.width)).softmax(-1)
        x = x + self.out(weights @ v)
        result: Tensor = x + self.down(self.act(self.up(self.norm2(x))))
        return result


class Attention(nn.Module):
    """An encoder over the 8 rows of an image."""

    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Linear(8, 24)
        self.place = nn.Parameter(torch.randn(8, 24) * 0.1)
        self.block = Block(24)
        self.head = nn.Linear(24, 10)

    def forward(self, x: Tensor) -> Tensor:
        """Logits; (B, 10)."""
        tokens = self.embed(x.reshape(-1, 8, 8)) + self.place
        result: Tensor = self.head(self.block(tokens).mean(1))
        return result


class Residual(nn.Module):
    """Four residual blocks behind layer normalisation."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Linear(64, 24)
        self.norms = nn.ModuleList(nn.LayerNorm(24) for _ in range(4))
        self.ups = nn.ModuleList(nn.Linear(24, 48) for _ in range(4))
        self.downs = nn.ModuleList(nn.Linear(48, 24) for _ in range(4))
        self.act = nn.ReLU()
        self.head = nn.Linear(24, 10)

    def forward(self, x: Tensor) -> Tensor:
        """Logits; (B, 10)."""
        x = self.first(x)
        for norm, up, down in zip(self.norms, self.ups, self.downs, strict=True):
            x = x + down(self.act(up(norm(x))))
        result: Tensor = self.head(x)
        return result


class Waves(nn.Module):
    """Two convolutions over a sequence, and its mean."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Conv1d(1, 12, 7, stride=2), nn.Conv1d(12, 16, 5, stride=2)
        self.act1, self.act2 = nn.ReLU(), nn.ReLU()
        self.head = nn.Linear(16, 4)

    def forward(self, x: Tensor) -> Tensor:
        """Logits; (B, 4)."""
        hidden = self.act2(self.second(self.act1(self.first(x[:, None]))))
        result: Tensor = self.head(hidden.mean(-1))
        return result


class Grammar(nn.Module):
    """The next of 12 tokens from the four before it (Bengio et al. 2003)."""

    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Embedding(12, 8)
        self.layers = mlp(32, 48, 48, 12)

    def forward(self, tokens: Tensor) -> Tensor:
        """Logits; (B, 12)."""
        result: Tensor = self.layers(self.embed(tokens).flatten(1))
        return result


class Helmholtz(nn.Module):
    """u(x) = x (1 - x) N(x): in training the residual of u'' + 100 u = f, else u.

    The second derivative is a central difference, as in CAN-PINN (Chiu et al. 2022, arXiv:2110.15832).
    """

    STEP = 0.02

    def __init__(self) -> None:
        super().__init__()
        self.layers = mlp(1, 24, 24, 24, 1)

    def solution(self, x: Tensor) -> Tensor:
        """U; zero at both ends; (B, 1)."""
        result: Tensor = x * (1 - x) * self.layers(4 * x - 2)
        return result

    def forward(self, x: Tensor) -> Tensor:
        """U, or its residual less f; (B, 1)."""
        if not self.training:
            return self.solution(x)
        before, here, after = self.solution(
            torch.cat([x - self.STEP, x, x + self.STEP])
        ).chunk(3)  # fmt: skip
        return ((after - 2 * here + before) / self.STEP**2 + 100 * here) / 100


def _generator(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def _split(inputs: Tensor, targets: Tensor, train: int) -> tuple[Pair, Pair]:
    order = torch.randperm(len(inputs), generator=_generator(0))
    inputs, targets = inputs[order].contiguous(), targets[order].contiguous()
    return (inputs[:train], targets[:train]), (inputs[train:], targets[train:])


@functools.cache
def digits() -> tuple[Pair, Pair]:
    """1,797 images of 8 x 8 (Alpaydin & Kaynak 1998); 900 to train."""
    images, labels = load_digits(return_X_y=True)
    return _split(torch.tensor(images, dtype=torch.float32) / 16, torch.tensor(labels), 900)


def digits_themselves() -> tuple[Pair, Pair]:
    """Images as their own targets."""
    (train, _), (valid, _) = digits()
    return (train, train.clone()), (valid, valid.clone())


def boxes() -> tuple[Pair, Pair]:
    """Rows of ten numbers, of which four decide by thresholds, as in tables of records: 3 classes."""
    x = torch.randn(4000, 10, generator=_generator(1))
    inside = (x[:, 0] > 0) ^ (x[:, 1].abs() > 0.7)
    label = inside.long() + (x[:, 2] * (x[:, 3] > 0) > 0.3).long()
    flipped = torch.rand(len(x), generator=_generator(2)) < 0.05
    return _split(x, torch.where(flipped, (label + 1) % 3, label), 1500)


def friedman() -> tuple[Pair, Pair]:
    """Friedman's first function of ten variables with noise (1991)."""
    x, y = make_friedman1(3000, n_features=10, noise=0.5, random_state=0)
    y = (y - y.mean()) / y.std()
    inputs, targets = (torch.tensor(a, dtype=torch.float32) for a in (2 * x - 1, y[:, None]))
    return _split(inputs, targets, 1000)


def waveforms() -> tuple[Pair, Pair]:
    """48 samples of a sine, square, triangle or chirp of random phase and pitch, in noise."""
    draw = _generator(3)
    label = torch.randint(4, (3000,), generator=draw)
    phase, pitch = torch.rand(2, 3000, 1, generator=draw)
    time = torch.arange(48) / 48
    turns = phase + (1 + 2 * pitch) * time
    sine = torch.sin(2 * math.pi * turns)
    forms = torch.stack(
        [sine, sine.sign(), 2 * (2 * (turns % 1) - 1).abs() - 1, torch.sin(2 * math.pi * (turns + 2 * time**2))]
    )  # fmt: skip
    chosen = forms[label, torch.arange(3000)]
    return _split(chosen + 0.4 * torch.randn(3000, 48, generator=draw), label, 1000)


def picture() -> tuple[Pair, Pair]:
    """A photograph in grey, 40 x 40: half of its pixels to train, the others to guess."""
    image = load_sample_image("flower.jpg").mean(-1)[:400, 120:520]
    small = image.reshape(40, 10, 40, 10).mean((1, 3))
    values = torch.tensor((small - small.mean()) / small.std(), dtype=torch.float32)
    axis = torch.linspace(-1, 1, 40)
    places = torch.stack(torch.meshgrid(axis, axis, indexing="ij"), -1).reshape(-1, 2)
    return _split(2 * places, values.reshape(-1, 1), 800)


def helmholtz() -> tuple[Pair, Pair]:
    """Points to train, where f = u'' + 100 u of u = sin(3 pi x) + sin(5 pi x) / 2; u itself to look at."""
    train, valid = torch.rand(256, 1, generator=_generator(4)), torch.linspace(0, 1, 200)[:, None]
    u, force = torch.zeros_like(valid), torch.zeros_like(train)
    for turns, size in ((3, 1.0), (5, 0.5)):
        u += size * torch.sin(turns * math.pi * valid)
        force += size * (100 - (turns * math.pi) ** 2) * torch.sin(turns * math.pi * train)
    return (train, force / 100), (valid, u)


def teacher(activation: Callable[[Tensor], Tensor], seed: int) -> tuple[Pair, Pair]:
    """What a network of 4-8-8-1 with another activation makes of normal inputs."""
    draw = _generator(seed)
    first, second = (
        torch.randn(4, 8, generator=draw) / 2,
        torch.randn(8, 8, generator=draw) / 8**0.5,
    )
    last = torch.randn(8, 1, generator=draw)
    x = torch.randn(4000, 4, generator=draw)
    y = activation(activation(1.5 * x @ first) @ second * 1.5) @ last
    return _split(x, (y - y.mean()) / y.std(), 1500)


def parity() -> tuple[Pair, Pair]:
    """The sign of the product of three numbers, among eight."""
    x = torch.rand(4000, 8, generator=_generator(5)) * 2 - 1
    return _split(2 * x, (x[:, :3].prod(1) > 0).long(), 1500)


def spirals() -> tuple[Pair, Pair]:
    """Two spirals of two turns, in noise."""
    draw = _generator(6)
    label = torch.randint(2, (3000,), generator=draw)
    radius = torch.rand(3000, generator=draw).sqrt()
    angle = 4 * math.pi * radius + math.pi * label
    x = 2 * radius[:, None] * torch.stack([angle.cos(), angle.sin()], 1)
    return _split(x + 0.06 * torch.randn(3000, 2, generator=draw), label, 1000)


def grammar() -> tuple[Pair, Pair]:
    """Four of 12 tokens, each four once, and the next, by a rule that is broken now and then."""
    draw = np.random.default_rng(7)
    table = draw.integers(12, size=(12, 12))
    four = np.unique(draw.integers(12, size=(5000, 4)), axis=0)
    follows = (table[four[:, 3], four[:, 1]] + (four[:, 2] > four[:, 0])) % 12
    broken = draw.random(len(four)) < 0.1
    follows = np.where(broken, draw.integers(12, size=len(four)), follows)
    return _split(torch.tensor(four), torch.tensor(follows), 3000)


def forecast() -> tuple[Pair, Pair]:
    """Mackey and Glass's series (1977) twelve steps ahead, from the sixteen values before."""
    series = [1.2] * 18
    while len(series) < 4000:
        series.append(series[-1] * 0.9 + 0.2 * series[-18] / (1 + series[-18] ** 10))
    values = torch.tensor(series[200:], dtype=torch.float32)
    values = (values - values.mean()) / values.std()
    windows = values.unfold(0, 28, 1)
    return _split(windows[:, :16], windows[:, 27:], 1200)


def _task(
    reason: str,
    model: Callable[[], nn.Module],
    data: Callable[[], tuple[Pair, Pair]],
    metric: str,
    lr: float,
    steps: int,
    batch: int = 64,
) -> SmallTask:
    loss = F.mse_loss if metric in ("r2", "mse") else F.cross_entropy
    settings = {"lr": lr, "steps": steps, "batch_size": batch, "eval_every": steps}
    return SmallTask(reason, model, data, loss, metric, settings)


SMALL_TASKS: Mapping[str, SmallTask] = {
    "digits_mlp": _task(
        "images through two wide layers", lambda: mlp(64, 48, 48, 10), digits, "accuracy", 3e-3, 140),
    "digits_deep": _task(
        "eight plain layers, through which gradients must come",
        lambda: mlp(64, *[24] * 8, 10), digits, "accuracy", 3e-3, 200),
    "digits_cnn": _task(
        "convolutions with batch normalisation", Convolutions, digits, "accuracy", 3e-3, 120, 32),
    "digits_attention": _task(
        "a transformer's encoder over rows", Attention, digits, "accuracy", 3e-3, 130, 24),
    "digits_residual": _task(
        "residual blocks with layer normalisation", Residual, digits, "accuracy", 3e-3, 140, 32),
    "digits_autoencoder": _task(
        "images through a bottleneck of six numbers",
        lambda: mlp(64, 32, 6, 32, 64), digits_themselves, "mse", 5e-3, 250),
    "boxes": _task(
        "a table of records, classes by thresholds", lambda: mlp(10, 32, 32, 3), boxes, "accuracy", 1e-2, 250),
    "friedman": _task(
        "a table of numbers, regression", lambda: mlp(10, 32, 32, 1), friedman, "r2", 5e-3, 250),
    "waveforms": _task(
        "sequences through 1-d convolutions", Waves, waveforms, "accuracy", 5e-3, 160, 32),
    "picture": _task(
        "an implicit image: from coordinates to pixels",
        lambda: mlp(2, 40, 40, 40, 1), picture, "mse", 3e-3, 300, 200),
    "helmholtz": _task(
        "physics: the residual of a differential equation", Helmholtz, helmholtz, "mse", 5e-3, 300, 64),
    "teacher_tanh": _task(
        "what a network with tanh computes", lambda: mlp(4, 32, 32, 1),
        functools.partial(teacher, torch.tanh, 8), "r2", 5e-3, 250),
    "teacher_wave": _task(
        "what a network with x cos(x) computes", lambda: mlp(4, 32, 32, 1),
        functools.partial(teacher, lambda z: z * torch.cos(z), 9), "r2", 5e-3, 300),
    "parity": _task(
        "a product of signs among others", lambda: mlp(8, 48, 48, 2), parity, "accuracy", 5e-3, 300),
    "spirals": _task(
        "a boundary that winds", lambda: mlp(2, 20, 20, 20, 2), spirals, "accuracy", 1e-2, 250),
    "grammar": _task(
        "the next token of a language", Grammar, grammar, "loss", 3e-3, 300),
    "forecast": _task(
        "a chaotic series ahead", lambda: mlp(16, 32, 32, 1), forecast, "mse", 5e-3, 250),
}  # fmt: skip
"""The tasks by name; rates at which ReLU learns well, steps that take about a tenth of a second."""
