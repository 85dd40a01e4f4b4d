"""Whether two verdicts were tested on the same rows: the digest that is stored with them."""

from __future__ import annotations

import copy
import json
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.data import (
    DataLoader,
    Dataset,
    IterableDataset,
    RandomSampler,
    Subset,
    SubsetRandomSampler,
    TensorDataset,
)

import actsearch as acs
from actsearch.task.rows_digest import rows_digest

X = torch.linspace(-2, 2, 120).reshape(40, 3)
Y = torch.arange(40) % 3


class Items(Dataset[Any]):
    """Rows read one by one; ``noise`` draws from a generator of its own, or from the global one."""

    def __init__(self, length: int = 40, noise: str = "") -> None:
        self.length, self.noise = length, noise
        self.own = torch.Generator().manual_seed(0)

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, index: int) -> Any:
        x = torch.full((3,), float(index))
        if self.noise:
            x += torch.rand(3, generator=self.own if self.noise == "own" else None)
        return {"x": x, "words": f"row {index}"}, np.int64(index % 3)


class Hidden(Items):
    def __getitem__(self, index: int) -> Any:
        return object(), index


class Stream(IterableDataset[Any]):
    def __iter__(self) -> Iterator[Any]:
        return iter(zip(X, Y, strict=True))


@pytest.mark.parametrize(
    "source",
    [
        TensorDataset(X, Y),
        DataLoader(TensorDataset(X, Y), batch_size=7),
        DataLoader(TensorDataset(X, Y), batch_size=8, shuffle=True, drop_last=True),
        Subset(TensorDataset(torch.cat([X, X]), torch.cat([Y, Y])), range(40, 80)),
    ],
)
def test_tensors_are_known_by_their_rows_whatever_holds_them(source: Any) -> None:
    assert rows_digest(source) == rows_digest((X, Y)) is not None


def test_one_other_number_is_another_digest() -> None:
    other = X.clone()
    other[39, 2] += 1e-3
    found = {rows_digest((X, Y)), rows_digest((other, Y)), rows_digest((X[:39], Y[:39])),
             rows_digest((X, Y + 1)), rows_digest((X.double(), Y)), rows_digest(Items()),
             rows_digest(Items(39))}  # fmt: skip
    assert len(found) == 7
    assert None not in found


@pytest.mark.parametrize(
    "source",
    [
        DataLoader(Stream(), batch_size=8),
        DataLoader(TensorDataset(X, Y), batch_size=7, drop_last=True),
        DataLoader(TensorDataset(X, Y), sampler=SubsetRandomSampler([1, 2])),
        DataLoader(TensorDataset(X, Y), sampler=RandomSampler(Y, replacement=True)),
        Items(noise="own"),
        Items(noise="global"),
        Hidden(),
        None,
    ],
)
def test_what_cannot_be_known_has_no_digest(source: Any) -> None:
    assert rows_digest(source) is None


@pytest.mark.slow
def test_rows_of_a_dataset_are_read_without_a_trace_and_alike_in_every_process() -> None:
    source = Items()
    state, own = torch.get_rng_state(), source.own.get_state()
    found = rows_digest(source)
    assert torch.equal(torch.get_rng_state(), state)
    assert torch.equal(source.own.get_state(), own)
    code = "from test_rows_digest import *; print(rows_digest(Items()), rows_digest((X, Y)))"
    run = [sys.executable, "-c", code]
    said = subprocess.run(run, cwd=__file__.rpartition("/")[0], capture_output=True, text=True)
    assert said.stdout.split() == [found, rows_digest((X, Y))], said.stderr


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.bool, torch.complex64, torch.float64])
def test_every_kind_of_number_has_a_digest(dtype: torch.dtype) -> None:
    assert rows_digest((X.to(dtype), Y)) is not None
    assert rows_digest((X.t().to(dtype).t(), Y)) == rows_digest((X.to(dtype), Y))


# in a verdict


def _confirm(name: str, **changes: Any) -> acs.Verdict:
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(160, 3, generator=generator)
    y: Tensor = torch.sin(2 * x[:, :1])

    def model() -> nn.Module:
        return nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 1))

    settings: dict[str, Any] = {
        "model": model, "train": (x[:60], y[:60]), "valid": (x[60:100], y[60:100]),
        "test": (x[100:], y[100:]), "loss": F.mse_loss, "metric": "mse", "epochs": 1, "batch_size": 20,
        "tune_lr": False, "device": "cpu",
    }  # fmt: skip
    splits = changes.pop("splits", None)
    task = acs.Task(**(settings | changes))
    study = acs.create_study(study_name=name, strategy="random")
    study.optimize(task, n_trials=2, show_progress_bar=False)
    return study.confirm(task, top_k=1, seeds=4, lrs=[], splits=splits, show_progress_bar=False)


def test_verdicts_of_two_studies_tell_the_data_that_they_were_tested_on() -> None:
    first = _confirm("first")
    assert first.test_data is not None
    assert _confirm("other", epochs=2).test_data == first.test_data
    others = torch.randn(2, 40, 3, generator=torch.Generator().manual_seed(9))
    other = _confirm("of other rows", test=(others[0], others[1, :, :1]))
    assert other.test_data not in (None, first.test_data)
    divided = _confirm("divided", splits=2)
    assert divided.test_data not in (None, first.test_data)
    assert _confirm("divided again", splits=2, epochs=2).test_data == divided.test_data


def test_verdict_of_rows_that_are_not_known_says_so() -> None:
    def objective(candidate: acs.Candidate, run: acs.Run) -> float:
        return float(run.seed % 7)

    study = acs.create_study(study_name="own", strategy="random", direction="maximize")
    study.optimize(objective, n_trials=1, show_progress_bar=False)
    verdict = study.confirm(objective, top_k=1, seeds=4, baseline="relu", show_progress_bar=False)
    assert verdict.test_data is None


def test_stored_verdicts_are_read_with_and_without_it() -> None:
    verdict = _confirm("stored")
    stored = json.loads(json.dumps(verdict.to_json()))
    assert acs.Verdict.from_json(stored) == verdict
    before = copy.deepcopy(stored)
    del before["test_data"]
    assert acs.Verdict.from_json(before).test_data is None
    for damaged in (3, "<b>x</b>", "ab", ["a"], "f" * 999):
        assert acs.Verdict.from_json({**stored, "test_data": damaged}).test_data is None
