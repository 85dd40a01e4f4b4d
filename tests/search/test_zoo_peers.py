"""Models of timm and of transformers can be looked into and placed into, as the project's own can."""

from __future__ import annotations

import importlib
from pathlib import Path

import pytest
from timm_without_its_kernels import import_timm_activations
from zoo import Entry, built, output
from zoo_contract import ZooContract, differ, step
from zoo_peers import TIMM, TRANSFORMERS

import actsearch as acs

pytestmark = pytest.mark.filterwarnings("default")  # theirs are not ours to mend


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


class TestTimm(PeerContract):
    @pytest.fixture(params=TIMM)
    def entry(self, request: pytest.FixtureRequest) -> Entry:
        try:
            import_timm_activations()
        except ImportError as error:
            pytest.skip(
                f"timm cannot be imported ({error}): pip install --no-deps torchvision timm"
            )
        return TIMM[request.param]


class TestTransformers(PeerContract):
    @pytest.fixture(params=TRANSFORMERS)
    def entry(self, request: pytest.FixtureRequest) -> Entry:
        try:
            importlib.import_module("transformers")
        except ImportError as error:
            pytest.skip(f"transformers cannot be imported ({error}): pip install transformers")
        return TRANSFORMERS[request.param]
