"""Hooks that a user put on an activation act on what takes its place, in the placed copy."""

from __future__ import annotations

import copy
import pickle
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils import prune

import actsearch as acs

LOG: list[str] = []


def note(text: str) -> Any:
    def hook(*args: Any) -> None:
        LOG.append(f"{text} {type(args[0]).__name__}")

    return hook


def double(module: nn.Module, args: Any, output: Tensor) -> Tensor:
    return 2 * output


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layer, self.act = nn.Linear(4, 4), nn.PReLU()

    def forward(self, x: Tensor) -> Tensor:
        result: Tensor = self.act(self.layer(x))
        return result


@pytest.fixture
def model() -> Net:
    LOG.clear()
    torch.manual_seed(0)
    return Net()


X = torch.randn(3, 4, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("act", ["tanh", "x*sigmoid(param(1.0)*x)", nn.Tanh()])
def test_a_hook_that_changes_the_result_does_so_in_the_copy(model: Net, act: Any) -> None:
    handle = model.act.register_forward_hook(double)
    placed = acs.place(model, act, sample=X).model
    new = placed.get_submodule("act")
    torch.testing.assert_close(placed(X), 2 * type(new).forward(new, model.layer(X)))
    handle.remove()  # from the user's model, and from that alone
    assert not model.act._forward_hooks
    for other in (placed, copy.deepcopy(placed), pickle.loads(pickle.dumps(placed))):
        assert list(other.get_submodule("act")._forward_hooks.values()) == [double]


def test_every_kind_of_hook_is_called_with_the_new_module(model: Net) -> None:
    act: Any = model.act
    act.register_forward_pre_hook(note("before"))
    act.register_forward_pre_hook(note("before, keywords"), with_kwargs=True)
    act.register_forward_hook(note("after"))
    act.register_forward_hook(note("after, keywords"), with_kwargs=True)
    act.register_forward_hook(note("always"), always_call=True)
    act.register_full_backward_pre_hook(note("before backward"))
    act.register_full_backward_hook(note("backward"))
    act.register_state_dict_pre_hook(note("before saving"))
    act.register_state_dict_post_hook(note("saving"))
    act.register_load_state_dict_pre_hook(note("before loading"))
    act.register_load_state_dict_post_hook(note("loading"))
    before = [len(value) for key, value in vars(act).items() if key.endswith("_hooks")]
    placed: Any = acs.place(model, "tanh").model
    assert [len(v) for k, v in vars(act).items() if k.endswith("_hooks")] == before
    kind = type(placed.act).__name__
    placed(X).sum().backward()
    placed.load_state_dict(placed.state_dict())
    names = [
        "before",
        "before, keywords",
        "after",
        "after, keywords",
        "always",
        "before backward",
        "backward",
    ]
    names += ["before saving", "saving", "before loading", "loading"]  # fmt: skip
    assert LOG == [f"{name} {kind}" for name in names]
    LOG.clear()
    placed.act.forward = None
    with pytest.raises(TypeError):
        placed(X)
    assert LOG[-1] == f"always {kind}"


def test_hooks_stay_when_a_site_is_widened_or_placed_again(model: Net) -> None:
    model.act.register_forward_hook(double)
    wide = acs.place(model, "maxout", sample=X).model
    assert wide.get_submodule("act")._forward_hooks
    h = model.layer(X)
    torch.testing.assert_close(wide(X), 2 * nn.functional.leaky_relu(h, 0.25))
    again = acs.place(acs.place(model, "silu").model, "tanh").model
    torch.testing.assert_close(again(X), 2 * torch.tanh(h))


def test_hooks_of_the_new_module_come_first(model: Net) -> None:
    own = nn.Tanh()
    own.register_forward_hook(lambda module, args, y: y + 1)
    model.act.register_forward_hook(double)
    torch.testing.assert_close(
        acs.place(model, own).model(X), 2 * (torch.tanh(model.layer(X)) + 1)
    )


def test_an_activation_whose_weight_is_pruned_is_replaced_with_its_pruning(model: Net) -> None:
    with torch.no_grad():  # torch copies no others
        prune.random_unstructured(model.act, "weight", amount=0)  # type: ignore[no-untyped-call]
    placed = acs.place(model, "tanh", sample=X).model
    torch.testing.assert_close(placed(X), torch.tanh(model.layer(X)))
