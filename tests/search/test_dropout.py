"""Dropout while training: masks depend on the seed, the layer and the step, and on nothing else."""

from __future__ import annotations

import copy
import pickle
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from actsearch.training.dropout import key_dropout

KINDS: dict[str, Any] = {
    "Dropout": (nn.Dropout, (6, 8)),
    "Dropout1d": (nn.Dropout1d, (6, 8, 5)),
    "Dropout2d": (nn.Dropout2d, (6, 8, 3, 3)),
    "Dropout3d": (nn.Dropout3d, (6, 8, 3, 2, 2)),
}


def keyed(model: nn.Module, seed: int) -> nn.Module:
    key_dropout(model, seed)
    return model.train()


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("p", [0.0, 0.3, 1.0])
def test_masks_are_those_of_dropout(kind: str, p: float) -> None:
    make, shape = KINDS[kind]
    layer, x = keyed(make(p), 1), torch.ones(200, *shape[1:])
    y = layer(x)
    kept = y != 0
    assert torch.allclose(y[kept], torch.tensor(1 / (1 - p) if p < 1 else 0.0))
    assert abs(kept.float().mean().item() - (1 - p)) < 0.05
    whole = kept.flatten(2).float().mean(2) if y.dim() > 2 else kept.float()
    assert ((whole == 0) | (whole == 1)).all()  # whole channels
    assert torch.equal(layer.eval()(x), x)


def test_a_mask_depends_on_seed_layer_and_step() -> None:
    x = torch.ones(4, 50)

    def masks(seed: int) -> list[Tensor]:
        model = keyed(nn.Sequential(nn.Dropout(0.5), nn.Linear(50, 50), nn.Dropout(0.5)), seed)
        return [model[index](x) for index in (0, 0, 2)]  # type: ignore[index]

    one, again, other = masks(1), masks(1), masks(2)
    assert all(torch.equal(a, b) for a, b in zip(one, again, strict=True))
    assert not any(torch.equal(a, b) for a, b in zip(one, other, strict=True))
    assert not torch.equal(one[0], one[1])
    assert not torch.equal(one[0], one[2])


def test_torch_s_own_stream_stays_where_it_is() -> None:
    model = keyed(nn.Dropout(0.5), 1)
    state = torch.get_rng_state()
    model(torch.ones(3, 3))
    assert torch.equal(torch.get_rng_state(), state)


def test_in_place_writes_over() -> None:
    x = torch.ones(5, 5)
    y = keyed(nn.Dropout(0.5, inplace=True), 1)(x)
    assert y is x


def test_it_is_still_dropout_and_can_be_copied_and_pickled() -> None:
    model = keyed(nn.Sequential(nn.Dropout(0.5)), 3)
    assert isinstance(model.get_submodule("0"), nn.Dropout)
    assert repr(model.get_submodule("0")) == "Dropout(p=0.5, inplace=False)"
    model(torch.ones(2, 2))
    for other in (copy.deepcopy(model), pickle.loads(pickle.dumps(model))):
        assert other(torch.ones(2, 2)).shape == (2, 2)


class Checkpointed(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.inner = nn.Sequential(nn.Linear(8, 8), nn.Dropout(0.5), nn.Linear(8, 8))
        self.plain = False

    def forward(self, x: Tensor) -> Any:
        return self.inner(x) if self.plain else checkpoint(self.inner, x, use_reentrant=False)


def test_what_a_checkpoint_computes_again_has_the_same_mask() -> None:
    """Its gradients are those of one pass with the masks of torch's own stream, which the checkpoint winds back."""
    torch.manual_seed(0)
    model, x = Checkpointed(), torch.randn(4, 8)
    plain = copy.deepcopy(model)
    plain.plain = True
    for one in (keyed(model, 1), plain.train()):
        torch.manual_seed(5)
        one(x).square().sum().backward()
    for a, b in zip(model.parameters(), plain.parameters(), strict=True):
        assert torch.equal(a.grad, b.grad)  # type: ignore[arg-type]
