"""Models that write their activations out, in helpers, methods or within forward, as public repositories do."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

__all__ = [
    "DiffusionUNet",
    "GaussianNet",
    "MishNet",
    "MobileNet",
    "NanoGpt",
    "Primer",
    "SchNet",
    "Siren",
    "SnakeNet",
    "WaveNet",
]


# a language model whose forward returns the loss


def new_gelu(x: Tensor) -> Tensor:
    """As BERT and GPT-2 of Google and OpenAI have it."""
    return (
        0.5 * x * (1.0 + torch.tanh(math.sqrt(2.0 / math.pi) * (x + 0.044715 * torch.pow(x, 3.0))))
    )


class CausalAttention(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.c_attn, self.c_proj = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.register_buffer("bias", torch.tril(torch.ones(16, 16)))

    def forward(self, x: Tensor) -> Any:
        batch, time, width = x.shape
        q, k, v = (
            y.view(batch, time, 2, -1).transpose(1, 2) for y in self.c_attn(x).split(width, 2)
        )
        att = (q @ k.transpose(-2, -1)) * (1.0 / math.sqrt(k.size(-1)))
        mask: Any = self.bias
        att = F.softmax(att.masked_fill(mask[:time, :time] == 0, float("-inf")), dim=-1)
        return self.c_proj((att @ v).transpose(1, 2).reshape(batch, time, width))


class GptMlp(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.c_fc, self.c_proj = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)

    def forward(self, x: Tensor) -> Any:
        return self.c_proj(new_gelu(self.c_fc(x)))


class GptBlock(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.ln_1, self.ln_2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.attn, self.mlp = CausalAttention(width), GptMlp(width)

    def forward(self, x: Tensor) -> Any:
        x = x + self.attn(self.ln_1(x))
        return x + self.mlp(self.ln_2(x))


class NanoGpt(nn.Module):
    """Returns logits and loss; the table of words is that of the head."""

    def __init__(self, words: int = 11, width: int = 8) -> None:
        super().__init__()
        self.wte, self.wpe = nn.Embedding(words, width), nn.Embedding(16, width)
        self.h = nn.ModuleList(GptBlock(width) for _ in range(2))
        self.ln_f, self.lm_head = nn.LayerNorm(width), nn.Linear(width, words, bias=False)
        self.wte.weight = self.lm_head.weight

    def forward(self, idx: Tensor, targets: Tensor | None = None) -> tuple[Tensor, Any]:
        x = self.wte(idx) + self.wpe(torch.arange(idx.shape[1], device=idx.device))
        for block in self.h:
            x = block(x)
        x = self.ln_f(x)
        if targets is None:
            return self.lm_head(x[:, [-1]]), None
        logits: Tensor = self.lm_head(x)
        loss = F.cross_entropy(
            logits.view(-1, logits.shape[-1]), targets.reshape(-1), ignore_index=-1
        )
        return logits, loss


# images


def swish(x: Tensor) -> Tensor:
    return x * torch.sigmoid(x)


class ResnetBlock(nn.Module):
    def __init__(self, inside: int, outside: int, temb: int) -> None:
        super().__init__()
        self.norm1, self.norm2 = nn.GroupNorm(2, inside), nn.GroupNorm(2, outside)
        self.conv1 = nn.Conv2d(inside, outside, 3, padding=1)
        self.conv2 = nn.Conv2d(outside, outside, 3, padding=1)
        self.temb_proj = nn.Linear(temb, outside)
        self.nin_shortcut = nn.Conv2d(inside, outside, 1)

    def forward(self, x: Tensor, temb: Tensor) -> Any:
        h = self.conv1(swish(self.norm1(x)))
        h = h + self.temb_proj(swish(temb))[:, :, None, None]
        return self.nin_shortcut(x) + self.conv2(swish(self.norm2(h)))


class DiffusionUNet(nn.Module):
    """Predicts noise; the sines and cosines encode the step and are no activations."""

    def __init__(self) -> None:
        super().__init__()
        self.dense = nn.ModuleList([nn.Linear(8, 12), nn.Linear(12, 12)])
        self.conv_in, self.conv_out = nn.Conv2d(3, 4, 3, padding=1), nn.Conv2d(4, 3, 3, padding=1)
        self.down, self.mid, self.up = (
            ResnetBlock(4, 6, 12),
            ResnetBlock(6, 6, 12),
            ResnetBlock(12, 4, 12),
        )
        self.norm_out = nn.GroupNorm(2, 4)

    def forward(self, x: Tensor, t: Tensor) -> Any:
        frequencies = torch.exp(torch.arange(4) * -(math.log(10000) / 3))
        angles = t.float()[:, None] * frequencies[None]
        temb = self.dense[0](torch.cat([angles.sin(), angles.cos()], 1))
        temb = self.dense[1](swish(temb))
        high = self.down(self.conv_in(x), temb)
        low = self.mid(F.avg_pool2d(high, 2), temb)
        h = self.up(torch.cat([F.interpolate(low, scale_factor=2.0), high], 1), temb)
        return self.conv_out(swish(self.norm_out(h)))


class HardSigmoid(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return F.relu6(x + 3) / 6


class HardSwish(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.sigmoid = HardSigmoid()

    def forward(self, x: Tensor) -> Any:
        return x * self.sigmoid(x)


class MobileBlock(nn.Module):
    """Inverted residual with squeeze and excitation."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.expand, self.project = nn.Conv2d(width, 8, 1), nn.Conv2d(8, width, 1)
        self.depthwise, self.act = nn.Conv2d(8, 8, 3, padding=1, groups=8), HardSwish()
        self.squeeze, self.excite, self.gate = nn.Linear(8, 2), nn.Linear(2, 8), HardSigmoid()

    def hard_swish(self, x: Tensor) -> Tensor:
        return x * F.relu6(x + 3.0) / 6.0

    def forward(self, x: Tensor) -> Any:
        h = self.act(self.depthwise(self.hard_swish(self.expand(x))))
        shares = self.gate(self.excite(F.relu(self.squeeze(h.mean((2, 3))))))
        return x + self.project(h * shares[:, :, None, None])


class MobileNet(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 4, 3, 2, 1)
        self.blocks = nn.Sequential(MobileBlock(4), MobileBlock(4))
        self.classifier = nn.Linear(4, 5)

    def forward(self, x: Tensor) -> Any:
        return self.classifier(self.blocks(self.stem(x)).mean((2, 3)))


def mish(x: Tensor) -> Tensor:
    return x * torch.tanh(F.softplus(x))


class MishNet(nn.Module):
    """The helper is an attribute, and called by its name; the last is written within forward."""

    def __init__(self) -> None:
        super().__init__()
        self.act = mish
        self.one, self.two = nn.Conv2d(3, 4, 3), nn.Conv2d(4, 4, 3)
        self.three, self.out = nn.Linear(4, 8), nn.Linear(8, 3)

    def forward(self, x: Tensor) -> Any:
        h = mish(self.two(self.act(self.one(x)))).mean((2, 3))
        h = self.three(h)
        return self.out(h * h.exp().add(1).log().tanh())


# coordinates


class Sine(nn.Module):
    def __init__(self, inside: int, outside: int, w0: float) -> None:
        super().__init__()
        self.w0, self.linear = w0, nn.Linear(inside, outside)
        bound = 1 / inside if w0 > 10 else math.sqrt(6 / inside) / w0
        nn.init.uniform_(self.linear.weight, -bound, bound)

    def forward(self, x: Tensor) -> Tensor:
        return torch.sin(self.w0 * self.linear(x))


class Siren(nn.Module):
    """With three layers of sines and a linear one at the end."""

    def __init__(self) -> None:
        super().__init__()
        self.net = nn.Sequential(Sine(2, 8, 30.0), Sine(8, 8, 3.0), Sine(8, 8, 3.0))
        self.last = nn.Linear(8, 3)

    def forward(self, coordinates: Tensor) -> Any:
        return self.last(self.net(coordinates))


class GaussianLayer(nn.Module):
    def __init__(self, inside: int, outside: int, sigma: float) -> None:
        super().__init__()
        self.linear, self.sigma = nn.Linear(inside, outside), sigma

    def forward(self, x: Tensor) -> Tensor:
        return torch.exp(-(self.linear(x) ** 2) / (2 * self.sigma**2))


class GaussianNet(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.one, self.two = GaussianLayer(2, 8, 0.5), GaussianLayer(8, 8, 1.5)
        self.out = nn.Linear(8, 1)

    def forward(self, coordinates: Tensor) -> Any:
        return self.out(self.two(self.one(coordinates))).sigmoid()


# text, atoms, sound


class Primer(nn.Module):
    """Feed-forward blocks with squared ReLU: as a method, as a helper with a power, within forward."""

    def __init__(self) -> None:
        super().__init__()
        self.up = nn.ModuleList(nn.Linear(8, 16) for _ in range(3))
        self.down = nn.ModuleList(nn.Linear(16, 8) for _ in range(3))
        self.norm = nn.LayerNorm(8)

    @staticmethod
    def squared_relu(x: Tensor) -> Tensor:
        return torch.square(F.relu(x))

    def forward(self, x: Tensor) -> Any:
        x = x + self.down[0](self.squared_relu(self.up[0](self.norm(x))))
        x = x + self.down[1](self.up[1](self.norm(x)).relu() ** 2)
        h = F.relu(self.up[2](self.norm(x)))
        return x + self.down[2](h * h)


def shifted_softplus(x: Tensor) -> Tensor:
    return F.softplus(x) - math.log(2.0)


class SchNet(nn.Module):
    """Energies of molecules from numbers and distances of atoms; the Gaussians spread distances out into features."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(5, 8)
        self.filter = nn.ModuleList([nn.Linear(6, 8), nn.Linear(8, 8)])
        self.inside, self.outside = nn.Linear(8, 8, bias=False), nn.Linear(8, 8)
        self.readout = nn.ModuleList([nn.Linear(8, 4), nn.Linear(4, 1)])
        self.register_buffer("centres", torch.linspace(0, 3, 6))

    def forward(self, z: Tensor, edges: Tensor, distances: Tensor, molecule: Tensor) -> Any:
        h = self.embedding(z)
        centres: Any = self.centres
        spread = torch.exp(-2 * (distances[:, None] - centres) ** 2)
        weights = self.filter[1](shifted_softplus(self.filter[0](spread)))
        messages = self.inside(h)[edges[0]] * weights
        h = h + shifted_softplus(
            self.outside(torch.zeros_like(h).index_add(0, edges[1], messages))
        )
        energies = self.readout[1](shifted_softplus(self.readout[0](h)))
        return energies.new_zeros(int(molecule.max()) + 1, 1).index_add(0, molecule, energies)


class WaveNet(nn.Module):
    """Residual blocks with a gated unit, of two convolutions or of the halves of one, and sums of what they skip."""

    def __init__(self) -> None:
        super().__init__()
        self.start = nn.Conv1d(1, 4, 1)
        self.filter, self.gate = nn.Conv1d(4, 4, 2, dilation=1), nn.Conv1d(4, 4, 2, dilation=1)
        self.both = nn.Conv1d(4, 8, 2, dilation=2)
        self.residual = nn.ModuleList(nn.Conv1d(4, 4, 1) for _ in range(2))
        self.skip = nn.ModuleList(nn.Conv1d(4, 6, 1) for _ in range(2))
        self.end = nn.ModuleList([nn.Conv1d(6, 6, 1), nn.Conv1d(6, 9, 1)])

    def forward(self, wave: Tensor) -> Any:
        x = self.start(wave)
        padded = F.pad(x, (1, 0))
        h = torch.tanh(self.filter(padded)) * torch.sigmoid(self.gate(padded))
        total, x = self.skip[0](h), x + self.residual[0](h)
        a, b = self.both(F.pad(x, (2, 0))).chunk(2, 1)
        h = torch.tanh(a) * torch.sigmoid(b)
        total = total + self.skip[1](h)
        return self.end[1](F.relu(self.end[0](F.relu(total))))


def snake(x: Tensor, alpha: Tensor) -> Tensor:
    """With a learned frequency for each channel."""
    return x + (1.0 / (alpha + 1e-9)) * torch.sin(alpha * x).pow(2)


class SnakeNet(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.one, self.two = nn.Conv1d(1, 4, 3, padding=1), nn.Conv1d(4, 1, 3, padding=1)
        self.alpha = nn.Parameter(torch.ones(1, 4, 1))

    def forward(self, wave: Tensor) -> Any:
        return torch.tanh(self.two(snake(self.one(wave), self.alpha)))
