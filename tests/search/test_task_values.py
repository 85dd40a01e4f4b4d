"""A task is what it computes: values that its functions hold are part of it, names of places and counters are not."""

from __future__ import annotations

import argparse
import functools
import os
import pickle
import subprocess
import sys
import threading
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset, WeightedRandomSampler

import actsearch as acs

X = torch.randn(12, 2, generator=torch.Generator().manual_seed(0))
Y = (X[:, 0] > 0).long()
SCALE = 1.0
WEIGHT = torch.ones(2)
SETTINGS = argparse.Namespace(scale=1.0)


def make() -> nn.Module:
    return nn.Sequential(nn.Linear(2, 4), nn.ReLU(), nn.Linear(4, 2))


def task(**settings: Any) -> acs.Task:
    return acs.Task(
        **{
            "model": make,
            "train": (X, Y),
            "valid": (X + 0.01, Y),
            "loss": F.cross_entropy,
            "epochs": 1,
            **settings,
        }
    )


def over(weight: Any) -> Callable[..., Tensor]:
    return lambda output, target: F.cross_entropy(output, target, weight=torch.as_tensor(weight))


def defaulting(scale: Any) -> Callable[..., Tensor]:
    return lambda output, target, scale=scale: scale * F.cross_entropy(output, target)


def defaulting_by_keyword(scale: float) -> Callable[..., Tensor]:
    return lambda output, target, *, scale=scale: scale * F.cross_entropy(output, target)


def calling(inner: Callable[..., Tensor]) -> Callable[..., Tensor]:
    return lambda output, target: inner(output, target)


class Own:
    def __init__(self, scale: float) -> None:
        self.scale = scale

    def __call__(self, output: Tensor, target: Tensor) -> Tensor:
        return self.scale * F.cross_entropy(output, target)

    def method(self, output: Tensor, target: Tensor) -> Tensor:
        return self(output, target)


class Scaled(nn.Module):
    """A model and a loss whose scale no repr shows."""

    def __init__(self, scale: float) -> None:
        super().__init__()
        self.scale = scale
        self.act = nn.ReLU()
        self.out = nn.Linear(2, 2)

    def forward(self, x: Tensor, target: Tensor | None = None) -> Tensor:
        return (
            self.out(self.act(x * self.scale))
            if target is None
            else self.scale * F.cross_entropy(x, target)
        )


def shifting(shift: float) -> nn.Module:
    model = make()
    model.register_buffer("shift", torch.tensor([shift]))
    return model


def sampled(weights: list[float]) -> DataLoader[Any]:
    sampler = WeightedRandomSampler(weights, 12)
    return DataLoader(TensorDataset(X, Y), batch_size=4, sampler=sampler)


def shuffled(shuffle: bool) -> DataLoader[Any]:
    return DataLoader(TensorDataset(X, Y), batch_size=4, shuffle=shuffle)


CHANGES: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "class weights": (
        {"loss": nn.CrossEntropyLoss(weight=torch.ones(2))},
        {"loss": nn.CrossEntropyLoss(weight=torch.tensor([1.0, 50.0]))},
    ),
    "label smoothing": (
        {"loss": nn.CrossEntropyLoss()},
        {"loss": nn.CrossEntropyLoss(label_smoothing=0.1)},
    ),
    "a tensor in a closure": ({"loss": over(torch.ones(2))}, {"loss": over(torch.arange(2.0))}),
    "a list in a closure": ({"loss": over([1.0, 1.0])}, {"loss": over([1.0, 2.0])}),
    "an array in a closure": ({"loss": over(np.ones(2))}, {"loss": over(np.zeros(2))}),
    "a default": ({"loss": defaulting(1.0)}, {"loss": defaulting(2.0)}),
    "a default of a keyword": (
        {"loss": defaulting_by_keyword(1.0)},
        {"loss": defaulting_by_keyword(2.0)},
    ),
    "a function in a closure": ({"loss": calling(over([1.0, 1.0]))}, {"loss": calling(over([1.0, 3.0]))}),
    "another function in a closure": (
        {"loss": calling(F.cross_entropy)},
        {"loss": calling(F.multi_margin_loss)},
    ),
    "a tensor in a partial": (
        {"loss": functools.partial(F.cross_entropy, weight=torch.ones(1000))},
        {"loss": functools.partial(F.cross_entropy, weight=torch.ones(1000).index_fill(0, torch.tensor([500]), 2))},
    ),
    "an object's attribute": ({"loss": Own(1.0)}, {"loss": Own(2.0)}),
    "a bound method's object": ({"loss": Own(1.0).method}, {"loss": Own(2.0).method}),
    "an attribute of a loss module": ({"loss": Scaled(1.0)}, {"loss": Scaled(2.0)}),
    "an attribute of the model": ({"model": lambda: Scaled(1.0)}, {"model": lambda: Scaled(2.0)}),
    "an attribute of a model that is given": ({"model": Scaled(1.0)}, {"model": Scaled(2.0)}),
    "an optimizer's closure": (
        {"optimizer": (lambda m: lambda p, lr: torch.optim.SGD(p, lr, momentum=m))(0.5)},
        {"optimizer": (lambda m: lambda p, lr: torch.optim.SGD(p, lr, momentum=m))(0.9)},
    ),
    "weights of a sampler": ({"train": sampled([1.0] * 12)}, {"train": sampled([1.0] * 11 + [5.0])}),
    "shuffling": ({"train": shuffled(True)}, {"train": shuffled(False)}),
}  # fmt: skip


@pytest.mark.parametrize("kind", CHANGES)
def test_another_value_makes_another_task_and_is_named(kind: str) -> None:
    one, other = (task(**settings).describe()["values"] for settings in CHANGES[kind])
    assert one != other
    field = next(iter(CHANGES[kind][0]))
    assert {name.partition(".")[0] for name in one if one[name] != other.get(name)} == {field}


def test_buffers_of_the_model_are_part_of_it() -> None:
    one, other, same = (
        task(model=lambda shift=shift: shifting(shift)).describe() for shift in (1.0, 3.0, 1.0)
    )
    assert one["buffers"] == same["buffers"] != other["buffers"]


@pytest.mark.parametrize("name", ["SCALE", "WEIGHT", "SETTINGS"])
def test_a_global_that_the_loss_reads_is_part_of_it(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def loss(output: Tensor, target: Tensor) -> Tensor:
        scale: float = SETTINGS.scale
        return SCALE * scale * F.cross_entropy(output, target, weight=WEIGHT)

    before = task(loss=loss).describe()
    values = {"SCALE": 2.0, "WEIGHT": torch.tensor([1.0, 2.0]), "SETTINGS": argparse.Namespace(scale=3.0)}  # fmt: skip
    monkeypatch.setitem(globals(), name, values[name])
    assert task(loss=loss).describe() != before


def test_what_another_function_reads_is_no_part_of_it(monkeypatch: pytest.MonkeyPatch) -> None:
    before = task(loss=over(1.0)).describe()
    monkeypatch.setitem(globals(), "SCALE", 2.0)
    assert task(loss=over(1.0)).describe() == before


@pytest.mark.parametrize(
    "held",
    [
        threading.Lock(), object(), iter([]), open(os.devnull),  # noqa: SIM115
        np.random.default_rng(), torch.Generator(), types.SimpleNamespace(lock=threading.Lock()), Path("/one"),
    ],
    ids=lambda held: type(held).__name__,
)  # fmt: skip
def test_what_has_no_value_of_its_own_holds_no_address(held: Any) -> None:
    described = repr(
        task(
            loss=calling(held), optimizer=functools.partial(torch.optim.SGD, foreach=held)
        ).describe()
    )
    assert "0x" not in described


def test_where_data_lie_is_no_part_of_it(tmp_path: Path) -> None:
    one, other = (task(loss=defaulting(path)).describe() for path in (str(tmp_path), "/other"))
    assert one == other


def test_a_pickled_task_is_the_same_task() -> None:
    made = task(loss=functools.partial(F.cross_entropy, weight=torch.ones(2)), metric=Own(1.0))
    assert pickle.loads(pickle.dumps(made)).describe() == made.describe()


SCRIPT = """
import functools, torch, actsearch as acs
from torch import nn
from torch.utils.data import DataLoader, Dataset
import numpy as np

class Own:
    names = {"one", "two", "three"}
    def __init__(self): self.held = {"a": {1.5, 2.5, "x", "y"}, "b": object()}
    def __call__(self, output, target): return ((output - target) ** 2).mean()

class Noisy(Dataset):
    def __init__(self): self.rng = np.random.default_rng()
    def __len__(self): return 8
    def __getitem__(self, i):
        drawn = np.random.randn(2) + self.rng.random(2)
        return torch.full((2,), float(i)) + torch.tensor(drawn, dtype=torch.float32), torch.zeros(2)

def make(): return nn.Sequential(nn.Linear(2, 2), nn.ReLU(), nn.Linear(2, 2))

data = DataLoader(Noisy(), 4, shuffle=True, collate_fn=None)
task = acs.Task(model=make, train=data, valid=data, loss=Own(), epochs=1,
                optimizer=functools.partial(torch.optim.Adam, betas=(0.9, 0.99)))
print(task.describe())
"""


@pytest.mark.slow  # imports torch anew
def test_every_process_describes_a_task_alike(tmp_path: Path) -> None:
    def run(hash_seed: str, command: list[str], text: str | None) -> str:
        environment = os.environ | {"PYTHONHASHSEED": hash_seed}
        done = subprocess.run(
            [sys.executable, *command], input=text, capture_output=True, text=True, env=environment, cwd=tmp_path
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        return done.stdout

    (tmp_path / "script.py").write_text(SCRIPT)
    assert run("1", ["script.py"], None) == run("2", ["-"], SCRIPT)


class TestOfAStudy:
    def study(self, url: str | None = None) -> acs.Study:
        space = acs.Space(activations=["tanh", "gelu", "silu", "elu"])
        return acs.create_study(study_name="s", storage=url, strategy="random", space=space)

    def run(self, study: acs.Study, task: acs.Task) -> None:
        study.optimize(task, n_trials=1, show_progress_bar=False)

    def test_other_class_weights_are_refused_and_named(self) -> None:
        study = self.study()
        self.run(study, task(loss=nn.CrossEntropyLoss(weight=torch.ones(2))))
        with pytest.raises(acs.StudyError, match=r"loss\.weight: 'tensor \(2,\)"):
            self.run(study, task(loss=nn.CrossEntropyLoss(weight=torch.tensor([1.0, 50.0]))))

    def test_counters_and_caches_of_the_users_functions_are_no_part_of_the_task(self) -> None:
        built: list[str] = []
        calls = {"loss": 0}
        cache: dict[str, Tensor] = {}

        def model() -> nn.Module:
            built.append("built")
            return make()

        def loss(output: Tensor, target: Tensor) -> Tensor:
            calls["loss"] += 1
            cache.setdefault("weight", torch.ones(2))
            return F.cross_entropy(output, target, weight=cache["weight"])

        study = self.study()
        self.run(study, task(model=model, loss=loss))
        self.run(study, task(model=model, loss=loss))
        assert calls["loss"] > 2
        study.confirm(
            task(model=model, loss=loss, test=(X - 0.01, Y)),
            top_k=1,
            seeds=2,
            show_progress_bar=False,
        )

    def test_a_study_that_stored_no_values_goes_on(self, sqlite_url: str) -> None:
        study = self.study(sqlite_url)
        first = task(loss=nn.CrossEntropyLoss(weight=torch.ones(2)))
        self.run(study, first)
        lease = study._storage.lease(study.record)
        lease.acquire()
        stored = {
            key: value for key, value in (study.record.task or {}).items() if key != "values"
        }
        study._storage.update_study(study.record.id, lease, task=stored)
        lease.release()
        study = acs.load_study(study_name="s", storage=sqlite_url)
        self.run(study, task(loss=nn.CrossEntropyLoss(weight=torch.tensor([1.0, 50.0]))))
        assert "values" not in (study.record.task or {})
        with pytest.raises(acs.StudyError, match="lr"):
            self.run(study, first.replace(lr=0.5))
