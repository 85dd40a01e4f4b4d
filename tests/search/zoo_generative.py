"""Models that make images, and need torch alone: generators with their judges, autoencoders, a U-Net."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

__all__ = ["Autoencoder", "Gan", "Generator", "UNet", "Vae", "discriminator"]


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


class Gan(nn.Module):
    """Both of them, as what trains them holds them."""

    def __init__(self) -> None:
        super().__init__()
        self.generator, self.discriminator = Generator(), discriminator()

    def forward(self, z: Tensor) -> Any:
        image = self.generator(z)
        return {"image": image, "score": self.discriminator(image)}


class Vae(nn.Module):
    """As in pytorch/examples, with three methods that its users call too."""

    def __init__(self) -> None:
        super().__init__()
        self.fc1, self.fc21, self.fc22 = nn.Linear(8, 12), nn.Linear(12, 3), nn.Linear(12, 3)
        self.fc3, self.fc4 = nn.Linear(3, 12), nn.Linear(12, 8)

    def encode(self, x: Tensor) -> tuple[Tensor, Tensor]:
        h = F.relu(self.fc1(x))
        return self.fc21(h), self.fc22(h)

    def reparameterise(self, mean: Tensor, logvar: Tensor) -> Tensor:
        if not self.training:
            return mean
        return mean + torch.randn_like(mean) * torch.exp(0.5 * logvar)

    def decode(self, z: Tensor) -> Tensor:
        return torch.sigmoid(self.fc4(F.relu(self.fc3(z))))

    def forward(self, x: Tensor) -> Any:
        mean, logvar = self.encode(x)
        return self.decode(self.reparameterise(mean, logvar)), mean, logvar


def _twice(inside: int, outside: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(inside, outside, 3, padding=1), nn.BatchNorm2d(outside), nn.ReLU(inplace=True),
        nn.Conv2d(outside, outside, 3, padding=1), nn.BatchNorm2d(outside), nn.ReLU(inplace=True),
    )  # fmt: skip


class UNet(nn.Module):
    """Two levels down and up again, each joined with what went down there."""

    def __init__(self) -> None:
        super().__init__()
        self.down1, self.down2, self.bottom = _twice(3, 4), _twice(4, 6), _twice(6, 8)
        self.up2, self.up1 = nn.ConvTranspose2d(8, 6, 2, 2), nn.ConvTranspose2d(6, 4, 2, 2)
        self.join2, self.join1, self.out = _twice(12, 6), _twice(8, 4), nn.Conv2d(4, 1, 1)

    def forward(self, x: Tensor) -> Any:
        high = self.down1(x)
        middle = self.down2(F.max_pool2d(high, 2))
        low = self.bottom(F.max_pool2d(middle, 2))
        middle = self.join2(torch.cat([middle, F.leaky_relu(self.up2(low), 0.2)], 1))
        high = self.join1(torch.cat([high, F.leaky_relu(self.up1(middle), 0.2)], 1))
        return torch.sigmoid(self.out(high))
