"""Models of other libraries, and those that Lightning and skorch train, can be looked into and placed into."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from timm_without_its_kernels import import_timm_activations, mend_torchvision
from zoo import Entry, built, output
from zoo_contract import ZooContract, differ, step
from zoo_peers import TIMM, TORCHVISION, TRAINED, TRANSFORMERS

import actsearch as acs

pytestmark = pytest.mark.filterwarnings("default")  # theirs are not ours to mend


_LARGE = (
    "densenet121",
    "regnet",
    "mixer_s32",
    "googlenet",
    "efficientnet",
)  # parts of names: models that take seconds; of most, one that is alike is in the gate


def _entries(table: Mapping[str, Entry]) -> list[Any]:
    return [
        pytest.param(name, marks=pytest.mark.slow if any(part in name for part in _LARGE) else ())
        for name in table
    ]


class PeerContract(ZooContract):
    """What must hold besides for models whose weights are kept in files of safetensors."""

    def test_safetensors_are_loaded_into_another_copy(self, entry: Entry, tmp_path: Path) -> None:
        try:
            files = importlib.import_module("safetensors.torch")
        except ImportError as error:
            pytest.skip(f"safetensors cannot be imported ({error}): pip install safetensors")
        model, inputs = built(entry), entry.sample()
        placed = acs.place(model, "swish", sample=inputs).model
        step(placed, inputs)
        other = acs.place(model, "swish", sample=inputs).model.eval()
        expected = output(placed.eval(), inputs)
        assert differ(output(other, inputs), expected)
        files.save_model(placed, str(tmp_path / "model.safetensors"))
        assert files.load_model(other, str(tmp_path / "model.safetensors")) == (set(), [])
        assert not differ(output(other, inputs), expected)


class TestTorchvision(PeerContract):
    @pytest.fixture(params=_entries(TORCHVISION))
    def entry(self, request: pytest.FixtureRequest) -> Entry:
        try:
            mend_torchvision()
            importlib.import_module("torchvision")
        except ImportError as error:
            pytest.skip(
                f"torchvision cannot be imported ({error}): pip install --no-deps torchvision"
            )
        return TORCHVISION[request.param]


class TestTimm(PeerContract):
    @pytest.fixture(params=_entries(TIMM))
    def entry(self, request: pytest.FixtureRequest) -> Entry:
        try:
            import_timm_activations()
        except ImportError as error:
            pytest.skip(
                f"timm cannot be imported ({error}): pip install --no-deps torchvision timm"
            )
        return TIMM[request.param]


class TestTransformers(PeerContract):
    @pytest.fixture(params=_entries(TRANSFORMERS))
    def entry(self, request: pytest.FixtureRequest) -> Entry:
        try:
            importlib.import_module("transformers")
        except ImportError as error:
            pytest.skip(f"transformers cannot be imported ({error}): pip install transformers")
        return TRANSFORMERS[request.param]


class TestTrained(PeerContract):
    @pytest.fixture(params=TRAINED)
    def entry(self, request: pytest.FixtureRequest) -> Entry:
        try:
            mend_torchvision()
            for library in ("lightning", "skorch"):
                importlib.import_module(library)
        except ImportError as error:
            pytest.skip(f"{error}: pip install lightning skorch")
        return TRAINED[request.param]

    def test_what_was_placed_is_trained_by_the_library(
        self, entry: Entry, request: pytest.FixtureRequest
    ) -> None:
        name = request.node.callspec.params["entry"]
        fit = getattr(importlib.import_module("zoo_trained"), f"fit_by_{name}")
        x, y = entry.sample(), torch.ones(6, 4)
        placed = acs.place(built(entry), "swish", sample=x).model
        before = {key: p.clone() for key, p in placed.named_parameters() if "theta" in key}
        after = fit(placed, x, y)
        assert len(before) == entry.expected(True).total() - ("skorch" == name)
        assert not any(torch.equal(after.get_parameter(key), p) for key, p in before.items())
