"""Models that need torch alone, each with another way of using activations, and batches of inputs for them."""

from __future__ import annotations

import functools
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

__all__ = [
    "Auxiliary",
    "CallingSequential",
    "Checkpointed",
    "ChildrenLoop",
    "CnnInPlace",
    "CnnShared",
    "DeepLoop",
    "HeldLoop",
    "MlpFunctions",
    "MlpHeld",
    "MlpMethods",
    "ModuleTables",
    "Numbered",
    "Siamese",
    "SlicingSequential",
    "SqueezeExcite",
    "ValuesLoop",
    "cnn_prelu",
    "compiled",
    "graph",
    "graph_inside",
    "images",
    "mlp_modules",
    "own_classes",
    "parallel",
    "resnet",
    "rows",
]


def rows() -> Tensor:
    return torch.randn(6, 8, generator=torch.Generator().manual_seed(1))


def images() -> Tensor:
    return torch.randn(4, 3, 8, 8, generator=torch.Generator().manual_seed(1))


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
        return (self.three(h).tanh() * 2).square()


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


class Numbered(nn.Module):
    """Activations that torch has as classes, side by side, many with numbers that are not the usual ones."""

    def __init__(self) -> None:
        super().__init__()
        self.one, self.two = nn.Linear(8, 6), nn.Linear(114, 4)
        self.acts = nn.ModuleList([
            nn.GELU(), nn.GELU(approximate="tanh"), nn.LeakyReLU(0.2), nn.PReLU(), nn.PReLU(6), nn.ELU(0.7),
            nn.CELU(1.3), nn.SELU(), nn.Softplus(2.0), nn.Hardtanh(-0.5, 1.5), nn.ReLU6(), nn.Hardswish(),
            nn.Hardsigmoid(), nn.LogSigmoid(), nn.Tanhshrink(), nn.Hardshrink(0.3), nn.Softshrink(0.2),
            nn.Threshold(0.1, 0.05), nn.Sigmoid(),
        ])  # fmt: skip

    def forward(self, x: Tensor) -> Any:
        h = self.one(x)
        return self.two(torch.cat([act(h) for act in self.acts], -1))


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


def cnn_prelu() -> nn.Module:
    """With slopes for each channel, which stands on axis 1."""
    return nn.Sequential(
        nn.Conv2d(3, 4, 3), nn.PReLU(4), nn.Conv2d(4, 6, 3), nn.BatchNorm2d(6), nn.PReLU(6), nn.Flatten(),
        nn.Linear(96, 4),
    )  # fmt: skip


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


# forwards that run twice, or in part


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
