"""Models with layers of their own: splines, adapters, experts, normed weights, graphs, packed sequences, forces."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils import parametrizations
from torch.nn.utils.rnn import PackedSequence, pad_packed_sequence

__all__ = [
    "EfficientKan",
    "FastKan",
    "ForceField",
    "GraphBatch",
    "GraphNet",
    "HifiGan",
    "LlamaBlock",
    "LoraNet",
    "MixtureOfExperts",
    "NormedConvolutions",
    "PackedNet",
    "SpectralCritic",
]


# Kolmogorov-Arnold networks: their splines make several numbers of one, and are no activations


class KanLinear(nn.Module):
    """The activation beside the splines is applied to what comes in."""

    def __init__(self, inside: int, outside: int, order: int = 2, intervals: int = 3) -> None:
        super().__init__()
        self.order = order
        self.base_activation = nn.SiLU()
        self.base_weight = nn.Parameter(torch.randn(outside, inside) / inside)
        self.spline_weight = nn.Parameter(torch.randn(outside, inside * (intervals + order)) / 9)
        knots = torch.arange(-order, intervals + order + 1) * (2 / intervals) - 1
        self.register_buffer("grid", knots)

    def b_splines(self, x: Tensor) -> Any:
        grid: Any = self.grid
        x = x.unsqueeze(-1)
        bases = ((x >= grid[:-1]) & (x < grid[1:])).to(x.dtype)
        for k in range(1, self.order + 1):
            left = (x - grid[: -(k + 1)]) / (grid[k:-1] - grid[: -(k + 1)])
            right = (grid[k + 1 :] - x) / (grid[k + 1 :] - grid[1:-k])
            bases = left * bases[..., :-1] + right * bases[..., 1:]
        return bases

    def forward(self, x: Tensor) -> Any:
        base = F.linear(self.base_activation(x), self.base_weight)
        return base + F.linear(self.b_splines(x).flatten(-2), self.spline_weight)


class EfficientKan(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.ModuleList([KanLinear(8, 6), KanLinear(6, 3)])

    def forward(self, x: Tensor) -> Tensor:
        for layer in self.layers:
            x = layer(x)
        return x


class RadialLayer(nn.Module):
    """Gaussians about fixed centres instead of splines."""

    def __init__(self, inside: int, outside: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(inside)
        self.base, self.spline = nn.Linear(inside, outside), nn.Linear(inside * 4, outside, False)
        self.register_buffer("centres", torch.linspace(-2, 2, 4))

    def forward(self, x: Tensor) -> Any:
        centres: Any = self.centres
        radial = torch.exp(-(((self.norm(x)[..., None] - centres) / 1.3) ** 2))
        return self.spline(radial.flatten(-2)) + self.base(F.silu(x))


class FastKan(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(RadialLayer(8, 6), RadialLayer(6, 3))

    def forward(self, x: Tensor) -> Any:
        return self.layers(x)


# sound


class VocoderBlock(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        normed = parametrizations.weight_norm
        self.convs1 = nn.ModuleList(normed(nn.Conv1d(width, width, 3, 1, d, d)) for d in (1, 3))
        self.convs2 = nn.ModuleList(normed(nn.Conv1d(width, width, 3, 1, 1)) for _ in range(2))

    def forward(self, x: Tensor) -> Tensor:
        for one, two in zip(self.convs1, self.convs2, strict=True):
            x = x + two(F.leaky_relu(one(F.leaky_relu(x, 0.1)), 0.1))
        return x


class HifiGan(nn.Module):
    """A wave from a spectrogram; the last slope is torch's own, unlike the others."""

    def __init__(self) -> None:
        super().__init__()
        normed = parametrizations.weight_norm
        self.conv_pre = normed(nn.Conv1d(5, 8, 7, 1, 3))
        self.ups = nn.ModuleList(
            normed(nn.ConvTranspose1d(8 // 2**i, 4 // 2**i, 4, 2, 1)) for i in range(2)
        )
        self.resblocks = nn.ModuleList(VocoderBlock(4 // 2**i) for i in range(2))
        self.conv_post = normed(nn.Conv1d(2, 1, 7, 1, 3))

    def forward(self, spectrogram: Tensor) -> Any:
        x = self.conv_pre(spectrogram)
        for up, block in zip(self.ups, self.resblocks, strict=True):
            x = block(up(F.leaky_relu(x, 0.1)))
        return torch.tanh(self.conv_post(F.leaky_relu(x)))


# batches of other kinds


@dataclass
class GraphBatch:
    """What a loader of graphs yields: an object that knows how to move."""

    x: Tensor
    edge_index: Tensor
    batch: Tensor

    def to(self, *args: Any, **keywords: Any) -> GraphBatch:
        return GraphBatch(
            self.x.to(*args, **keywords),
            self.edge_index.to(*args, **keywords),
            self.batch.to(*args, **keywords),
        )


class GraphConv(nn.Module):
    def __init__(self, inside: int, outside: int) -> None:
        super().__init__()
        self.lin = nn.Linear(inside, outside)

    def forward(self, x: Tensor, edge_index: Tensor) -> Any:
        source, target = edge_index
        degree = torch.ones(len(x)).index_add(0, target, torch.ones(len(target)))
        scale = degree.rsqrt()
        h = self.lin(x)
        messages = h[source] * (scale[source] * scale[target])[:, None]
        return h + torch.zeros_like(h).index_add(0, target, messages)


class GraphNet(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv1, self.conv2, self.out = GraphConv(4, 8), GraphConv(8, 8), nn.Linear(8, 3)

    def forward(self, data: GraphBatch) -> Any:
        h = F.relu(self.conv1(data.x, data.edge_index))
        h = F.dropout(h, 0.2, self.training)
        h = F.elu(self.conv2(h, data.edge_index))
        graphs = int(data.batch.max()) + 1
        pooled = h.new_zeros(graphs, h.shape[1]).index_add(0, data.batch, h)
        return F.log_softmax(self.out(pooled), dim=1)


class PackedNet(nn.Module):
    """Attention over what a GRU made of sentences of different lengths."""

    def __init__(self) -> None:
        super().__init__()
        self.rnn = nn.GRU(6, 8, bidirectional=True, batch_first=True)
        self.query, self.score = nn.Linear(16, 8), nn.Linear(8, 1)
        self.hidden, self.act, self.out = nn.Linear(16, 8), nn.ReLU(), nn.Linear(8, 2)

    def forward(self, packed: PackedSequence) -> Any:
        h, lengths = pad_packed_sequence(self.rnn(packed)[0], batch_first=True)
        scores = self.score(torch.tanh(self.query(h))).squeeze(-1)
        absent = torch.arange(h.shape[1])[None] >= lengths[:, None]
        shares = torch.softmax(scores.masked_fill(absent, float("-inf")), 1)
        return self.out(self.act(self.hidden((shares[..., None] * h).sum(1))))


class ForceField(nn.Module):
    """Energy and, as its derivative, forces."""

    def __init__(self) -> None:
        super().__init__()
        self.one, self.two, self.out = nn.Linear(3, 8), nn.Linear(8, 8), nn.Linear(8, 1)

    def forward(self, positions: Tensor) -> Any:
        with torch.enable_grad():
            positions = positions.detach().requires_grad_()
            energy = self.out(torch.tanh(self.two(F.silu(self.one(positions)))))
            (slope,) = torch.autograd.grad(energy.sum(), positions, create_graph=True)
        return energy, -slope


# other weights


class Expert(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.net = nn.Sequential(
            nn.Linear(width, 2 * width), nn.GELU(), nn.Linear(2 * width, width)
        )

    def forward(self, x: Tensor) -> Any:
        return self.net(x)


class MixtureOfExperts(nn.Module):
    """Each row goes to the best two of three experts, of which some may get none."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.router = nn.Linear(8, 8), nn.Linear(8, 3, bias=False)
        self.experts, self.head = nn.ModuleList(Expert(8) for _ in range(3)), nn.Linear(8, 4)

    def forward(self, x: Tensor) -> Any:
        x = F.relu(self.stem(x))
        weights, chosen = F.softmax(self.router(x), dim=-1).topk(2, -1)
        weights = weights / weights.sum(-1, keepdim=True)
        mixed = torch.zeros_like(x)
        for index, expert in enumerate(self.experts):
            row, slot = torch.where(chosen == index)
            if len(row):
                mixed = mixed.index_add(0, row, weights[row, slot, None] * expert(x[row]))
        return self.head(x + mixed)


class LoraLinear(nn.Module):
    """A frozen layer and a product of two narrow ones beside it."""

    def __init__(self, inside: int, outside: int, rank: int = 2) -> None:
        super().__init__()
        self.base = nn.Linear(inside, outside).requires_grad_(False)
        self.lora_A = nn.Parameter(torch.randn(rank, inside) / inside)
        self.lora_B = nn.Parameter(torch.zeros(outside, rank))

    def forward(self, x: Tensor) -> Any:
        return self.base(x) + (x @ self.lora_A.T @ self.lora_B.T) * 2.0


class LoraNet(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.fc1, self.fc2, self.head = LoraLinear(8, 16), LoraLinear(16, 16), nn.Linear(16, 3)

    def forward(self, x: Tensor) -> Any:
        return self.head(F.gelu(self.fc2(F.gelu(self.fc1(x), approximate="tanh"))))


class NormedConvolutions(nn.Module):
    """Causal convolutions over time with normed weights, and a shortcut around two of them."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = parametrizations.weight_norm(nn.Conv1d(5, 6, 2))
        self.conv2 = parametrizations.weight_norm(nn.Conv1d(6, 6, 2))
        self.relu, self.downsample, self.out = nn.ReLU(), nn.Conv1d(5, 6, 1), nn.Linear(6, 2)

    def forward(self, x: Tensor) -> Any:
        h = self.relu(self.conv1(F.pad(x, (1, 0))))
        h = F.relu(self.conv2(F.pad(h, (1, 0))))
        return self.out(self.relu(h + self.downsample(x))[..., -1])


class SpectralCritic(nn.Module):
    """Scores images; its squares are those of a distance from the mean, and no activations."""

    def __init__(self) -> None:
        super().__init__()
        normed = parametrizations.spectral_norm
        self.one, self.two = normed(nn.Conv2d(3, 4, 3, 2, 1)), normed(nn.Conv2d(4, 6, 3, 2, 1))
        self.out = normed(nn.Linear(7, 1))

    def forward(self, image: Tensor) -> Any:
        h = F.leaky_relu(self.one(image), 0.2)
        h = F.leaky_relu(self.two(h), 0.2)
        spread = (h - h.mean(0)).square().mean().sqrt().expand(len(h), 1)
        return self.out(torch.cat([h.mean((2, 3)), spread], 1))


class LlamaBlock(nn.Module):
    """RMS norm and a gated unit of two matrices."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(8))
        self.gate_proj, self.up_proj, self.down_proj = (
            nn.Linear(8, 12, bias=False),
            nn.Linear(8, 12, bias=False),
            nn.Linear(12, 8, bias=False),
        )

    def forward(self, x: Tensor) -> Any:
        h = x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + 1e-6) * self.weight
        return x + self.down_proj(F.silu(self.gate_proj(h)) * self.up_proj(h))
