"""Models whose results are squashed, joined, cut and scored before they are returned: these are outputs."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

__all__ = [
    "ActorCritic",
    "Dcgan",
    "GaussianVae",
    "MeanVariance",
    "MixtureDensity",
    "Nerf",
    "Retina",
    "Segmenter",
    "SquashedActor",
    "Yolo",
]


class MeanVariance(nn.Module):
    """Its loss is computed inside where there is a target; a smallest variance is added."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.Linear(16, 16), nn.ELU())
        self.mean, self.variance = nn.Linear(16, 2), nn.Linear(16, 2)

    def forward(self, x: Tensor, target: Tensor | None = None) -> Any:
        h = self.body(x)
        mean, variance = self.mean(h), F.softplus(self.variance(h)) + 1e-6
        if target is None:
            return mean, variance
        return F.gaussian_nll_loss(mean, target, variance)


class MixtureDensity(nn.Module):
    """Shares, means and spreads of Gaussians, beside each other."""

    def __init__(self) -> None:
        super().__init__()
        self.hidden, self.heads = nn.Linear(8, 16), nn.Linear(16, 9)

    def forward(self, x: Tensor) -> Any:
        shares, means, spreads = self.heads(torch.tanh(self.hidden(x))).split(3, -1)
        return torch.cat([F.softmax(shares, -1), means, F.elu(spreads) + 1], -1)


class Nerf(nn.Module):
    """Colour and density of points; sines and cosines encode the points and are no activations."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.ModuleList([nn.Linear(15, 8), nn.Linear(8, 8), nn.Linear(23, 8)])
        self.density, self.feature = nn.Linear(8, 1), nn.Linear(8, 8)
        self.view, self.colour = nn.Linear(11, 4), nn.Linear(4, 3)

    def encode(self, x: Tensor) -> Tensor:
        parts = [x]
        for power in range(2):
            parts += [torch.sin(2.0**power * x), torch.cos(2.0**power * x)]
        return torch.cat(parts, -1)

    def forward(self, points: Tensor, directions: Tensor) -> Any:
        encoded = self.encode(points)
        h = encoded
        for index, layer in enumerate(self.layers):
            h = F.relu(layer(h if index < 2 else torch.cat([encoded, h], -1)))
        density = F.relu(self.density(h))
        h = F.relu(self.view(torch.cat([self.feature(h), directions], -1)))
        return torch.cat([torch.sigmoid(self.colour(h)), density], -1)


class ConvBlock(nn.Module):
    def __init__(self, inside: int, outside: int, stride: int = 1) -> None:
        super().__init__()
        self.conv = nn.Conv2d(inside, outside, 3, stride, 1, bias=False)
        self.bn, self.act = nn.BatchNorm2d(outside), nn.SiLU(inplace=True)

    def forward(self, x: Tensor) -> Any:
        return self.act(self.bn(self.conv(x)))


class Detect(nn.Module):
    """Centres, sizes and classes on one scale, computed from one sigmoid; in training what comes before it."""

    def __init__(self, inside: int, stride: int) -> None:
        super().__init__()
        self.conv, self.stride = nn.Conv2d(inside, 7, 1), stride

    def forward(self, x: Tensor) -> Any:
        raw = self.conv(x)
        if self.training:
            return raw
        y = raw.sigmoid()
        rows, columns = y.shape[2:]
        grid = torch.stack(
            torch.meshgrid(torch.arange(columns), torch.arange(rows), indexing="xy")
        )
        centres = (y[:, :2] * 2 - 0.5 + grid) * self.stride
        sizes = (y[:, 2:4] * 2) ** 2 * 10.0
        return torch.cat([centres, sizes, y[:, 4:]], 1).flatten(2).transpose(1, 2)


class Yolo(nn.Module):
    """Two scales, whose boxes are put beside each other."""

    def __init__(self) -> None:
        super().__init__()
        self.backbone = nn.Sequential(ConvBlock(3, 4, 2), ConvBlock(4, 4))
        self.deeper = ConvBlock(4, 6, 2)
        self.heads = nn.ModuleList([Detect(4, 2), Detect(6, 4)])

    def forward(self, x: Tensor) -> Any:
        high = self.backbone(x)
        scales = [self.heads[0](high), self.heads[1](self.deeper(high))]
        return scales if self.training else torch.cat(scales, 1)


@dataclass
class Detections:
    scores: Tensor
    boxes: Tensor


class Retina(nn.Module):
    """A pyramid of features with heads that all levels share; the result is a data class."""

    def __init__(self) -> None:
        super().__init__()
        self.c2 = nn.Sequential(nn.Conv2d(3, 4, 3, 2, 1), nn.BatchNorm2d(4), nn.ReLU())
        self.c3 = nn.Sequential(nn.Conv2d(4, 6, 3, 2, 1), nn.BatchNorm2d(6), nn.ReLU())
        self.lateral = nn.ModuleList([nn.Conv2d(4, 5, 1), nn.Conv2d(6, 5, 1)])
        self.smooth = nn.Conv2d(5, 5, 3, padding=1)
        self.tower, self.score = nn.Conv2d(5, 5, 3, padding=1), nn.Conv2d(5, 2, 1)
        self.boxes = nn.Sequential(
            nn.Conv2d(5, 5, 3, padding=1), nn.LeakyReLU(0.1), nn.Conv2d(5, 4, 1)
        )

    def forward(self, x: Tensor) -> Any:
        c2 = self.c2(x)
        c3 = self.c3(c2)
        p3 = self.lateral[1](c3)
        up = F.interpolate(p3, size=c2.shape[-2:], mode="nearest")
        p2 = self.smooth(self.lateral[0](c2) + up)
        levels = [p2, p3]
        scores = [self.score(F.relu(self.tower(p))).flatten(2) for p in levels]
        boxes = [F.relu(self.boxes(p)).flatten(2) for p in levels]  # distances to the four sides
        return Detections(torch.sigmoid(torch.cat(scores, 2)), torch.cat(boxes, 2))


class Segmenter(nn.Module):
    """The mask is enlarged and clamped after its sigmoid; a second head is given in training only."""

    def __init__(self) -> None:
        super().__init__()
        self.encode, self.decode = nn.Conv2d(3, 4, 3, 2, 1), nn.Conv2d(4, 4, 3, padding=1)
        self.mask, self.auxiliary = nn.Conv2d(4, 1, 1), nn.Conv2d(4, 1, 1)

    def forward(self, x: Tensor) -> Any:
        low = F.gelu(self.encode(x))
        mask = torch.sigmoid(self.mask(F.gelu(self.decode(low))))
        mask = F.interpolate(mask, scale_factor=2.0, mode="bilinear").clamp(1e-4, 1 - 1e-4)
        if self.training:
            return {"out": mask, "aux": torch.sigmoid(self.auxiliary(low))}
        return {"out": mask}


class GaussianVae(nn.Module):
    """Returns its loss; the pixels' sigmoid is scored inside, their mean and spread are numbers of a distribution."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder = nn.Sequential(nn.Linear(8, 12), nn.SiLU())
        self.mu, self.log_var = nn.Linear(12, 3), nn.Linear(12, 3)
        self.decoder = nn.Sequential(nn.Linear(3, 12), nn.SiLU(), nn.Linear(12, 8), nn.Sigmoid())

    def forward(self, x: Tensor) -> Any:
        h = self.encoder(x)
        mu, log_var = self.mu(h), self.log_var(h)
        z = mu + torch.randn_like(mu) * torch.exp(0.5 * log_var) if self.training else mu
        image = self.decoder(z)
        divergence = -0.5 * (1 + log_var - mu.pow(2) - log_var.exp()).sum(1).mean()
        return F.binary_cross_entropy(image, (x > 0).float()) + divergence


class Dcgan(nn.Module):
    """Both networks, from noise to the score of an image."""

    def __init__(self) -> None:
        super().__init__()
        self.generator = nn.Sequential(
            nn.ConvTranspose2d(8, 6, 2, 1, 0, bias=False), nn.BatchNorm2d(6), nn.ReLU(True),
            nn.ConvTranspose2d(6, 4, 4, 2, 1, bias=False), nn.BatchNorm2d(4), nn.ReLU(True),
            nn.ConvTranspose2d(4, 3, 4, 2, 1, bias=False), nn.Tanh(),
        )  # fmt: skip
        self.discriminator = nn.Sequential(
            nn.Conv2d(3, 4, 4, 2, 1, bias=False), nn.LeakyReLU(0.2, inplace=True),
            nn.Conv2d(4, 6, 4, 2, 1, bias=False), nn.BatchNorm2d(6), nn.LeakyReLU(0.2, inplace=True),
            nn.Conv2d(6, 1, 2, 1, 0, bias=False), nn.Sigmoid(),
        )  # fmt: skip

    def forward(self, z: Tensor) -> Any:
        image = self.generator(z[:, :, None, None])
        return image, self.discriminator(image).view(-1)


class Policy(NamedTuple):
    log_probabilities: Tensor
    value: Tensor


class ActorCritic(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.shared = nn.Sequential(nn.Linear(8, 16), nn.Tanh(), nn.Linear(16, 16), nn.Tanh())
        self.actor, self.critic = nn.Linear(16, 4), nn.Linear(16, 1)

    def forward(self, state: Tensor) -> Any:
        h = self.shared(state)
        probabilities = F.softmax(self.actor(h), -1)
        return Policy(torch.log(probabilities + 1e-8), self.critic(h).squeeze(-1))


class SquashedActor(nn.Module):
    """Actions in (-2, 2); the logarithm of the spread is squashed into its range."""

    def __init__(self) -> None:
        super().__init__()
        self.one, self.two = nn.Linear(8, 16), nn.Linear(16, 16)
        self.mean, self.log_std = nn.Linear(16, 2), nn.Linear(16, 2)

    def forward(self, state: Tensor) -> Any:
        h = F.relu(self.two(F.relu(self.one(state))))
        log_std = -5 + 3.5 * (torch.tanh(self.log_std(h)) + 1)
        return {
            "action": 2 * torch.tanh(self.mean(h)),
            "log_std": log_std,
            "entropy": log_std.sum(-1) + math.pi,
        }
