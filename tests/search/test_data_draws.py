"""Data that draw random numbers: under one seed they are the same, whatever library draws, or it is said."""

from __future__ import annotations

import logging
import random
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset, Sampler

import actsearch as acs
from actsearch.activations import describe
from actsearch.evaluation import make_subject
from actsearch.evaluation.request import Request
from actsearch.records import CandidateRecord
from actsearch.task import Batches

CPU = torch.device("cpu")
X = torch.randn(32, 3, generator=torch.Generator().manual_seed(0))
OUTSIDE = np.random.default_rng(0)


class Noisy(Dataset[tuple[Tensor, Tensor]]):
    def __init__(self, source: str) -> None:
        self.source = source
        self.numpy = np.random.default_rng()
        self.old = np.random.RandomState()
        self.python = random.Random()
        self.torch = torch.Generator()
        self.torch.seed()

    def draw(self) -> float:
        draws: dict[str, Callable[[], float]] = {
            "numpy": lambda: np.random.randn(),  # noqa: NPY002
            "random": random.random,
            "torch": lambda: torch.rand(()).item(),
            "numpy's generator": self.numpy.random,
            "RandomState": self.old.rand,
            "Random": self.python.random,
            "torch's generator": lambda: torch.rand((), generator=self.torch).item(),
            "a generator of a module": OUTSIDE.random,
            "nothing": lambda: 0.0,
        }
        return draws[self.source]()

    def __len__(self) -> int:
        return len(X)

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        return X[index] + self.draw(), X[index, :1]


class Counting(Sampler[int]):
    """The order of an epoch follows from its number, as in a sampler for several processes."""

    def __init__(self) -> None:
        self.epoch = 0

    def __len__(self) -> int:
        return len(X)

    def __iter__(self) -> Iterator[int]:
        self.epoch += 1
        return iter(
            torch.randperm(len(X), generator=torch.Generator().manual_seed(self.epoch)).tolist()
        )


HELD = ["numpy's generator", "RandomState", "Random", "torch's generator"]
GLOBAL = ["numpy", "random", "torch"]


def epochs(loader: DataLoader[Any], seed: int, count: int = 2) -> Tensor:
    batches = Batches(loader, 8, CPU, seed)
    return torch.cat([batch[0] for _ in range(count) for batch in batches])


@pytest.mark.parametrize("source", GLOBAL + HELD)
def test_one_seed_draws_the_same_data_and_another_seed_others(source: str) -> None:
    loader = DataLoader(Noisy(source), 8)
    first = epochs(loader, 1)
    assert torch.equal(epochs(loader, 1), first)
    assert torch.equal(epochs(DataLoader(Noisy(source), 8), 1), first)
    assert not torch.equal(epochs(loader, 2), first)
    assert not torch.equal(first[:32], first[32:])  # each epoch draws anew


def test_the_users_generators_are_left_where_they_were() -> None:
    data = Noisy("Random")
    states = data.python.getstate(), random.getstate(), data.numpy.bit_generator.state
    epochs(DataLoader(data, 8), 1)
    assert (data.python.getstate(), random.getstate(), data.numpy.bit_generator.state) == states


def test_each_training_starts_at_a_samplers_first_epoch() -> None:
    sampler = Counting()
    loader = DataLoader(Noisy("nothing"), 8, sampler=sampler)
    assert torch.equal(epochs(loader, 1), epochs(loader, 1))
    assert sampler.epoch == 0


@pytest.mark.slow  # starts processes
@pytest.mark.parametrize("persistent", [False, True])
def test_workers_draw_the_same_in_each_training(persistent: bool) -> None:
    loader = DataLoader(Noisy("numpy"), 8, num_workers=2, persistent_workers=persistent)
    assert torch.equal(epochs(loader, 1), epochs(loader, 1))


def make() -> nn.Module:
    return nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 1))


def task(source: str) -> acs.Task:
    loader = DataLoader(Noisy(source), 8, shuffle=True)
    return acs.Task(
        model=make, train=loader, valid=(X + 0.01, X[:, :1]), loss=F.mse_loss, epochs=1, lr=1e-2
    )


def values(source: str, *, together: bool) -> list[float | None]:
    subject = make_subject(task(source))
    requests = [
        Request(CandidateRecord.shared(describe(name)), (seed,))
        for name in ("relu", "leaky_relu")
        for seed in (0, 1)
    ]
    parts = [requests] if together else [[request] for request in requests]
    return [outcome.value for part in parts for outcome in subject.train(part)]


@pytest.mark.slow
@pytest.mark.parametrize("source", ["numpy", "random", "numpy's generator"])
def test_a_stack_trains_on_the_draws_of_single_training(source: str) -> None:
    assert values(source, together=True) == values(source, together=False)


def test_draws_from_elsewhere_are_said_and_no_stack_is_blamed(
    caplog: pytest.LogCaptureFixture,
) -> None:
    subject = make_subject(task("a generator of a module"))
    with caplog.at_level(logging.WARNING, "actsearch"):
        subject.check()
    assert "differ when they are read again under one seed" in caplog.text
    assert "training data differ" in subject.stack_refusal  # type: ignore[attr-defined]


@pytest.mark.parametrize("source", ["nothing", *GLOBAL, *HELD])
def test_nothing_is_said_of_draws_that_are_seeded(
    source: str, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING, "actsearch"):
        make_subject(task(source)).check()
    assert "read again" not in caplog.text


@pytest.mark.parametrize("source", GLOBAL + HELD)
def test_data_that_draw_are_one_task_in_every_process(source: str) -> None:
    hashes = set()
    for seed in (1, 2):
        np.random.seed(seed)  # noqa: NPY002 - as another process would have it
        random.seed(seed)
        torch.manual_seed(seed)
        hashes.add(task(source).data_hash("train"))
    assert len(hashes) == 1
