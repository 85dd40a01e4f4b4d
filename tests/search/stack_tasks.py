"""Tasks with one model of each kind that a stack has to get right."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

import actsearch as acs

__all__ = ["KINDS", "task_of"]

generator = torch.Generator().manual_seed(0)
ROWS = torch.randn(80, 6, generator=generator)
IMAGES = torch.randn(80, 2, 6, 6, generator=generator)
TOKENS = torch.randint(0, 9, (80, 7), generator=generator)
LABELS = torch.randint(0, 3, (80,), generator=generator)


def mlp() -> nn.Module:
    return nn.Sequential(
        nn.Linear(6, 16), nn.ReLU(), nn.Dropout(0.3), nn.Linear(16, 16), nn.ReLU(),
        nn.Dropout(0.5), nn.Linear(16, 3),
    )  # fmt: skip


def cnn() -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(2, 8, 3, padding=1, bias=False), nn.BatchNorm2d(8), nn.ReLU(inplace=True), nn.Dropout2d(0.2),
        nn.Conv2d(8, 8, 3, stride=2, bias=False), nn.BatchNorm2d(8), nn.ReLU(inplace=True), nn.AdaptiveAvgPool2d(1),
        nn.Flatten(), nn.Linear(8, 3),
    )  # fmt: skip


class Encoder(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Linear(6, 8)
        layer = nn.TransformerEncoderLayer(8, 2, 16, dropout=0.0, batch_first=True)
        self.encoder = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)
        self.head = nn.Linear(8, 3)

    def forward(self, x: Tensor) -> Any:
        return self.head(self.encoder(self.embed(x).unsqueeze(1).expand(-1, 4, -1)).mean(1))


class Attention(nn.Module):
    """Embedding, attention by hand with a softmax, activations as functions."""

    def __init__(self) -> None:
        super().__init__()
        self.embed, self.qkv = nn.Embedding(9, 8), nn.Linear(8, 24)
        self.up, self.head = nn.Linear(8, 16), nn.Linear(16, 3)

    def forward(self, tokens: Tensor) -> Any:
        h = self.embed(tokens)
        q, k, v = self.qkv(h).chunk(3, -1)
        h = h + torch.softmax(q @ k.transpose(-1, -2) / 8**0.5, -1) @ v
        return self.head(F.gelu(self.up(F.relu(h))).mean(1))


class Tied(nn.Module):
    """One weight in two places: what reads the tokens also scores them."""

    def __init__(self) -> None:
        super().__init__()
        self.embed, self.hidden = nn.Embedding(9, 8), nn.Linear(8, 8)
        self.act, self.score = nn.Tanh(), nn.Linear(8, 9, bias=False)
        self.score.weight = self.embed.weight
        self.head = nn.Linear(9, 3)

    def forward(self, tokens: Tensor) -> Any:
        return self.head(self.score(self.act(self.hidden(self.embed(tokens).mean(1)))))


KINDS: dict[str, tuple[Callable[[], nn.Module], Tensor]] = {
    "mlp": (mlp, ROWS),
    "cnn": (cnn, IMAGES),
    "encoder": (Encoder, ROWS),
    "attention": (Attention, TOKENS),
    "tied": (Tied, TOKENS),
}


def task_of(kind: str, **changes: Any) -> acs.Task:
    """Two epochs of four batches of 16; the last 16 rows are for validation and test."""
    model, inputs = KINDS[kind] if kind in KINDS else (changes.pop("model"), ROWS)
    settings: dict[str, Any] = {
        "model": model, "train": (inputs[:56], LABELS[:56]), "valid": (inputs[56:72], LABELS[56:72]),
        "test": (inputs[72:], LABELS[72:]), "loss": F.cross_entropy, "metric": "accuracy", "epochs": 2,
        "batch_size": 16, "lr": 0.01, "device": "cpu",
    }  # fmt: skip
    return acs.Task(**{**settings, **changes})
