"""Models that need torch alone, each with another way of using activations, and batches of inputs for them."""

from __future__ import annotations

import functools
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

__all__ = [
    "Attention",
    "Autoencoder",
    "Auxiliary",
    "BareRecurrent",
    "CallingSequential",
    "CellLoop",
    "Checkpointed",
    "ChildrenLoop",
    "CnnInPlace",
    "CnnShared",
    "DeepLoop",
    "Experts",
    "GatedUnits",
    "Generator",
    "Gru",
    "HeldLoop",
    "Lstm",
    "MlpFunctions",
    "MlpHeld",
    "MlpMethods",
    "ModuleTables",
    "OwnLstm",
    "Siamese",
    "SlicingSequential",
    "SqueezeExcite",
    "Unrolled",
    "ValuesLoop",
    "compiled",
    "discriminator",
    "encoder",
    "graph",
    "graph_inside",
    "images",
    "mlp_modules",
    "own_classes",
    "parallel",
    "resnet",
    "rows",
    "sequences",
]


def rows() -> Tensor:
    return torch.randn(6, 8, generator=torch.Generator().manual_seed(1))


def images() -> Tensor:
    return torch.randn(4, 3, 8, 8, generator=torch.Generator().manual_seed(1))


def sequences() -> Tensor:
    return torch.randn(3, 5, 8, generator=torch.Generator().manual_seed(1))


class _Layers(nn.Module):
    """Three linear layers; what stands between them is the subclass's affair."""

    def __init__(self) -> None:
        super().__init__()
        self.one, self.two, self.three = nn.Linear(8, 16), nn.Linear(16, 8), nn.Linear(8, 4)


# perceptrons


def mlp_modules() -> nn.Module:
    return nn.Sequential(
        nn.Linear(8, 16), nn.ReLU(), nn.Dropout(0.2), nn.Linear(16, 8), nn.ReLU(), nn.Linear(8, 4)
    )


class MlpFunctions(_Layers):
    def forward(self, x: Tensor) -> Any:
        x = F.dropout(F.relu(self.one(x)), 0.2, self.training)
        return self.three(F.relu(self.two(x)))


class MlpMethods(_Layers):
    def forward(self, x: Tensor) -> Any:
        h = torch.tanh(self.two(self.one(x).relu()))
        return self.three(h).tanh() * 2 + 1


class MlpHeld(_Layers):
    def __init__(self) -> None:
        super().__init__()
        self.act = F.gelu
        self.other = functools.partial(F.leaky_relu, negative_slope=0.2)

    def forward(self, x: Tensor) -> Any:
        return self.three(self.other(self.two(self.act(self.one(x)))))


class Swish(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x * torch.sigmoid(x)


class Snake(nn.Module):
    """With a learned number of its own."""

    def __init__(self) -> None:
        super().__init__()
        self.frequency = nn.Parameter(torch.tensor(1.5))

    def forward(self, x: Tensor) -> Tensor:
        return x + torch.sin(self.frequency * x) ** 2 / self.frequency


def own_classes() -> nn.Module:
    return nn.Sequential(nn.Linear(8, 16), Swish(), nn.Linear(16, 8), Snake(), nn.Linear(8, 4))


class ModuleTables(_Layers):
    def __init__(self) -> None:
        super().__init__()
        self.acts = nn.ModuleDict({"silu": nn.SiLU(), "prelu": nn.PReLU()})
        self.more = nn.ModuleList([nn.Mish(), nn.Softsign()])

    def forward(self, x: Tensor) -> Any:
        h = self.two(self.acts["prelu"](self.acts["silu"](self.one(x))))
        for act in self.more:
            h = act(h)
        return self.three(h)


# forwards that go through their own children


class CallingSequential(nn.Sequential):
    def forward(self, input: Tensor) -> Any:
        for layer in self:
            input = F.relu(layer(input))
        return input


class SlicingSequential(nn.Sequential):
    def forward(self, input: Tensor) -> Any:
        for layer in self[:-1].children():
            input = F.selu(layer(input))
        return self[-1](input)


class ChildrenLoop(_Layers):
    def forward(self, x: Tensor) -> Any:
        children = list(self.children())
        for child in children[:-1]:
            x = torch.celu(child(x))
        return children[-1](x)


class HeldLoop(_Layers):
    def __init__(self) -> None:
        super().__init__()
        self.act = F.silu

    def forward(self, x: Tensor) -> Any:
        for child in self.children():
            x = self.act(child(x))
        return x


class ValuesLoop(_Layers):
    def forward(self, x: Tensor) -> Any:
        for name, layer in self._modules.items():
            x = layer(x) if name == "three" else F.elu(layer(x))  # type: ignore[misc]
        return x


class DeepLoop(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.ModuleList(nn.Linear(8, 8) for _ in range(4))

    def forward(self, x: Tensor) -> Any:
        for layer in self.layers:
            x = x + F.relu(layer(x))
        return x


# convolutions


class CnnShared(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        act = nn.ReLU(inplace=True)
        self.features = nn.Sequential(
            nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), act, nn.Conv2d(4, 6, 3), nn.BatchNorm2d(6), act
        )
        self.head = nn.Linear(6, 4)

    def forward(self, x: Tensor) -> Any:
        return self.head(self.features(x).mean((2, 3)))


class CnnInPlace(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.one, self.norm, self.two = nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Conv2d(4, 4, 3)

    def forward(self, x: Tensor) -> Any:
        x = self.norm(self.one(x))
        F.relu(x, inplace=True)
        x = self.two(x)
        x.relu_()
        return x.mean((2, 3))


class Residual(nn.Module):
    """One attribute that is used twice."""

    def __init__(self) -> None:
        super().__init__()
        self.one, self.two = nn.Conv2d(6, 6, 3, padding=1), nn.Conv2d(6, 6, 3, padding=1)
        self.norm, self.relu = nn.BatchNorm2d(6), nn.ReLU(inplace=True)

    def forward(self, x: Tensor) -> Any:
        h = self.two(self.relu(self.norm(self.one(x))))
        h += x
        return self.relu(h)


def resnet() -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(3, 6, 3), nn.BatchNorm2d(6), nn.ReLU(), nn.MaxPool2d(2), Residual(), Residual(),
        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(6, 4),
    )  # fmt: skip


class SqueezeExcite(nn.Module):
    """The first gate a module, the second a call."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 6, 3)
        self.down, self.up, self.other = (nn.Conv2d(6, 6, 1) for _ in range(3))
        self.act, self.gate = nn.SiLU(), nn.Sigmoid()

    def forward(self, x: Tensor) -> Any:
        x = self.act(self.stem(x))
        x = x * self.gate(self.up(F.relu(self.down(x.mean((2, 3), keepdim=True)))))
        return (x * torch.sigmoid(self.other(x))).mean((2, 3))


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
        return h + 1


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
        return h + 1


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


# generators, discriminators, autoencoders


class Generator(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.one, self.two = nn.ConvTranspose2d(8, 6, 4), nn.ConvTranspose2d(6, 3, 4, 2, 1)
        self.norm = nn.BatchNorm2d(6)

    def forward(self, z: Tensor) -> Any:
        return torch.tanh(self.two(F.relu(self.norm(self.one(z[:, :, None, None])))))


def discriminator() -> nn.Module:
    normed = nn.utils.parametrizations.spectral_norm
    return nn.Sequential(
        normed(nn.Conv2d(3, 4, 4, 2, 1)), nn.LeakyReLU(0.2, inplace=True),
        normed(nn.Conv2d(4, 6, 4, 2, 1)), nn.LeakyReLU(0.2), nn.Flatten(), nn.Linear(24, 1), nn.Sigmoid(),
    )  # fmt: skip


class Autoencoder(nn.Module):
    """Calls in methods of its own, and a mapping as its output."""

    def __init__(self) -> None:
        super().__init__()
        self.hidden, self.mean, self.spread = nn.Linear(8, 12), nn.Linear(12, 3), nn.Linear(12, 3)
        self.back, self.out = nn.Linear(3, 12), nn.Linear(12, 8)

    def encoded(self, x: Tensor) -> tuple[Tensor, Tensor]:
        h = F.mish(self.hidden(x))
        return self.mean(h), F.softplus(self.spread(h))

    def decoded(self, z: Tensor) -> Any:
        return self.out(F.mish(self.back(z))).sigmoid()

    def forward(self, x: Tensor) -> Any:
        mean, spread = self.encoded(x)
        z = mean + spread * torch.randn_like(mean) if self.training else mean
        return {"image": self.decoded(z), "mean": mean, "spread": spread}


class Auxiliary(_Layers):
    """A second head that only training runs."""

    def __init__(self) -> None:
        super().__init__()
        self.aside, self.last = nn.Linear(16, 6), nn.Linear(6, 4)

    def forward(self, x: Tensor) -> Any:
        x = F.relu(self.one(x))
        result = self.three(F.relu(self.two(x)))
        if self.training:
            return result, self.last(F.relu(self.aside(x)))
        return result


class Siamese(nn.Module):
    """One block that is used twice, on two arguments."""

    def __init__(self) -> None:
        super().__init__()
        self.tower = MlpFunctions()

    def forward(self, a: Tensor, b: Tensor) -> Any:
        return (self.tower(a) - self.tower(b)).abs()


class Checkpointed(_Layers):
    """Computes a part of its forward again for the backward pass: what it calls there stays as it is."""

    def part(self, x: Tensor) -> Tensor:
        return F.relu(self.one(x))

    def forward(self, x: Tensor) -> Any:
        hidden: Tensor = checkpoint(self.part, x, use_reentrant=False)
        return self.three(F.gelu(self.two(hidden)))


# wrappers


def parallel() -> nn.Module:
    return nn.DataParallel(MlpFunctions())


def compiled() -> nn.Module:
    model: Any = torch.compile(MlpMethods(), backend="eager")
    assert isinstance(model, nn.Module)
    return model


def graph() -> nn.Module:
    return fx.symbolic_trace(MlpMethods())


def graph_inside() -> nn.Module:
    return nn.Sequential(fx.symbolic_trace(MlpHeld()), nn.ReLU())
