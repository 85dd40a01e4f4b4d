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
from zoo_contract import LEARNED, ZooContract, differ, step
from zoo_peers import TIMM, TORCHVISION, TRAINED, TRANSFORMERS

import actsearch as acs
from actsearch.placement import Placement

pytestmark = pytest.mark.filterwarnings("ignore")  # theirs are not ours to mend


_SLOW = {
    *("torchvision_resnet18", "densenet121", "googlenet"),
    *(
        "resnet18",
        "convnext_atto",
        "efficientnet_b0",
        "mobilenetv3_small_050",
        "vit_tiny",
        "mixer_s32",
    ),
    *("regnetx_002", "regnety_002"),
    *("distilbert", "t5_gated", "gpt_neox"),
    *("resnet10", "swin", "timm_classes", "bert_eager", "clip", "whisper", "t5"),
}  # models that take seconds, and those like another: one of each family is in the gate, the large with fewer layers


def _entries(table: Mapping[str, Entry]) -> list[Any]:
    return [pytest.param(name, marks=pytest.mark.slow if name in _SLOW else ()) for name in table]


class PeerContract(ZooContract):
    """What must hold besides for models whose weights are kept in files of safetensors."""

    def test_safetensors_are_loaded_into_another_copy(
        self, entry: Entry, learned: Placement, tmp_path: Path
    ) -> None:
        try:
            files = importlib.import_module("safetensors.torch")
        except ImportError as error:
            pytest.skip(f"safetensors cannot be imported ({error}): pip install safetensors")
        placed, inputs = learned.model, entry.sample()
        step(placed, inputs)
        other = acs.place(built(entry), LEARNED, sample=inputs).model.eval()
        expected = output(placed.eval(), inputs)
        assert differ(output(other, inputs), expected)
        files.save_model(placed, str(tmp_path / "model.safetensors"))
        assert files.load_model(other, str(tmp_path / "model.safetensors")) == (set(), [])
        assert not differ(output(other, inputs), expected)


class TestTorchvision(PeerContract):
    @pytest.fixture(scope="class", params=_entries(TORCHVISION))
    @classmethod
    def entry(cls, request: pytest.FixtureRequest) -> Entry:
        try:
            mend_torchvision()
            importlib.import_module("torchvision")
        except ImportError as error:
            pytest.skip(
                f"torchvision cannot be imported ({error}): pip install --no-deps torchvision"
            )
        return TORCHVISION[request.param]


class TestTimm(PeerContract):
    @pytest.fixture(scope="class", params=_entries(TIMM))
    @classmethod
    def entry(cls, request: pytest.FixtureRequest) -> Entry:
        try:
            import_timm_activations()
        except ImportError as error:
            pytest.skip(
                f"timm cannot be imported ({error}): pip install --no-deps torchvision timm"
            )
        return TIMM[request.param]


class TestTransformers(PeerContract):
    @pytest.fixture(scope="class", params=_entries(TRANSFORMERS))
    @classmethod
    def entry(cls, request: pytest.FixtureRequest) -> Entry:
        try:
            importlib.import_module("transformers")
        except ImportError as error:
            pytest.skip(f"transformers cannot be imported ({error}): pip install transformers")
        return TRANSFORMERS[request.param]


class TestTrained(PeerContract):
    @pytest.fixture(scope="class", params=TRAINED)
    @classmethod
    def entry(cls, request: pytest.FixtureRequest) -> Entry:
        try:
            mend_torchvision()
            for library in ("lightning", "skorch"):
                importlib.import_module(library)
        except ImportError as error:
            pytest.skip(f"{error}: pip install lightning skorch")
        return TRAINED[request.param]

    def test_what_was_placed_is_trained_by_the_library(
        self, entry: Entry, learned: Placement, request: pytest.FixtureRequest
    ) -> None:
        name = request.node.callspec.params["entry"]
        fit = getattr(importlib.import_module("zoo_trained"), f"fit_by_{name}")
        x, y = entry.sample(), torch.ones(6, 4)
        placed = learned.model
        before = {key: p.clone() for key, p in placed.named_parameters() if "theta" in key}
        after = fit(placed, x, y)
        assert len(before) == entry.expected(True).total() - ("skorch" == name)
        assert not any(torch.equal(after.get_parameter(key), p) for key, p in before.items())
