"""Models of sequences that need torch alone: recurrent, and with attention, gates and experts."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

__all__ = [
    "Attention",
    "BareRecurrent",
    "CellLoop",
    "Experts",
    "GatedUnits",
    "Gru",
    "Lstm",
    "OwnLstm",
    "Unrolled",
    "WordModel",
    "encoder",
    "sentences",
    "sequences",
]


def sequences() -> Tensor:
    return torch.randn(3, 5, 8, generator=torch.Generator().manual_seed(1))


def sentences() -> Tensor:
    return torch.randint(20, (3, 5), generator=torch.Generator().manual_seed(1))


# recurrent


class Lstm(nn.Module):
    """Fused; only the head has an activation of its own."""

    def __init__(self) -> None:
        super().__init__()
        self.rnn, self.head = nn.LSTM(8, 6, batch_first=True), nn.Linear(6, 4)
        self.more = nn.Linear(4, 2)

    def forward(self, x: Tensor) -> Any:
        return self.more(F.elu(self.head(self.rnn(x)[0][:, -1])))


class Gru(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.rnn = nn.GRU(8, 6, batch_first=True)
        self.head = nn.Sequential(nn.Linear(6, 4), nn.Tanh(), nn.Linear(4, 2))

    def forward(self, x: Tensor) -> Any:
        return self.head(self.rnn(x)[1][-1])


class OwnLstm(nn.Module):
    """Written by hand, with a loop over time in its forward."""

    def __init__(self) -> None:
        super().__init__()
        self.into, self.back = nn.Linear(8, 24), nn.Linear(6, 24)

    def forward(self, x: Tensor) -> Any:
        h = c = x.new_zeros(len(x), 6)
        for step in x.unbind(1):
            i, f, g, o = (self.into(step) + self.back(h)).chunk(4, -1)
            c = torch.sigmoid(f) * c + torch.sigmoid(i) * torch.tanh(g)
            h = torch.sigmoid(o) * torch.tanh(c)
        return h


class Cell(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(14, 6)

    def forward(self, x: Tensor, h: Tensor) -> Any:
        return F.relu(self.layer(torch.cat([x, h], -1)))


class CellLoop(nn.Module):
    """The loop over time is outside of the module that calls."""

    def __init__(self) -> None:
        super().__init__()
        self.cell = Cell()

    def forward(self, x: Tensor) -> Any:
        h = x.new_zeros(len(x), 6)
        for step in range(5):
            h = self.cell(x[:, step], h)
        return h


class Unrolled(nn.Module):
    """A loop over a fixed number of steps, after a first one outside of it."""

    def __init__(self) -> None:
        super().__init__()
        self.into, self.back = nn.Linear(8, 6), nn.Linear(6, 6)

    def forward(self, x: Tensor) -> Any:
        h = torch.tanh(self.into(x[:, 0]))
        for step in range(1, 5):
            h = torch.tanh(self.into(x[:, step]) + self.back(h))
        return h.square()


class BareRecurrent(nn.Module):
    """A loop over time without any submodule."""

    def __init__(self) -> None:
        super().__init__()
        self.into = nn.Parameter(torch.randn(8, 6) / 3)
        self.back = nn.Parameter(torch.randn(6, 6) / 3)

    def forward(self, x: Tensor) -> Any:
        h = x.new_zeros(len(x), 6)
        for step in x.unbind(1):
            h = torch.tanh(step @ self.into + h @ self.back)
        return h.square()


class WordModel(nn.Module):
    """Predicts the next word; the words that go in and come out have one table."""

    def __init__(self) -> None:
        super().__init__()
        self.words, self.drop = nn.Embedding(20, 8), nn.Dropout(0.2)
        self.rnn = nn.LSTM(8, 12, 2, dropout=0.2, batch_first=True)
        self.project, self.out = nn.Linear(12, 8), nn.Linear(8, 20)
        self.out.weight = self.words.weight

    def forward(self, ids: Tensor) -> Any:
        h, state = self.rnn(self.drop(self.words(ids)))
        return F.log_softmax(self.out(F.gelu(self.project(self.drop(h)))), -1), state


# attention


def encoder() -> nn.Module:
    layer = nn.TransformerEncoderLayer(8, 2, 16, activation="gelu", batch_first=True)
    return nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)


class Attention(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.qkv, self.out = nn.Linear(8, 24), nn.Linear(8, 8)
        self.up, self.down = nn.Linear(8, 16), nn.Linear(16, 8)
        self.norm = nn.LayerNorm(8)

    def forward(self, x: Tensor) -> Any:
        q, k, v = self.qkv(self.norm(x)).chunk(3, -1)
        weights = F.dropout(F.softmax(q @ k.transpose(1, 2) / 8**0.5, -1), 0.1, self.training)
        x = x + self.out(weights @ v)
        return x + self.down(F.gelu(self.up(x)))


class GatedUnits(nn.Module):
    """SwiGLU by hand, GLU by torch."""

    def __init__(self) -> None:
        super().__init__()
        self.gate, self.up = nn.Linear(8, 16), nn.Linear(8, 16)
        self.glu = nn.GLU()

    def forward(self, x: Tensor) -> Any:
        h = self.glu(F.silu(self.gate(x)) * self.up(x))
        return F.glu(h, dim=-1)


class Experts(nn.Module):
    """Which way it takes depends on the data."""

    def __init__(self) -> None:
        super().__init__()
        self.router = nn.Linear(8, 2)
        self.experts = nn.ModuleList(nn.Sequential(nn.Linear(8, 8), nn.ELU()) for _ in range(2))

    def forward(self, x: Tensor) -> Any:
        weights = self.router(x).softmax(-1)
        if x.sum() > 1e9:
            return x
        mixed = sum(weights[:, [i]] * expert(x) for i, expert in enumerate(self.experts))
        return F.hardswish(mixed)
