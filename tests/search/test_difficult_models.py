"""Models whose forwards are reached, run or written in unusual ways: found, led, or named."""

from __future__ import annotations

import subprocess
import sys
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

import actsearch as acs


class Block(nn.Module):
    """A module and a call."""

    def __init__(self) -> None:
        super().__init__()
        self.layer, self.act = nn.Linear(8, 8), nn.ReLU()

    def forward(self, x: Tensor) -> Tensor:
        return F.gelu(self.act(self.layer(x)))


def sines(block: Any, x: Tensor) -> Tensor:
    """A block with sine at both sites."""
    result: Tensor = torch.sin(torch.sin(block.layer(x)))
    return result


@pytest.fixture
def x() -> Tensor:
    return torch.randn(5, 8, generator=torch.Generator().manual_seed(1))


def roles(model: nn.Module, x: Any) -> dict[str, str]:
    """With a sample and without, where both find the same."""
    seen, traced = acs.sites(model, x), acs.sites(model)
    assert list(seen) == list(traced)
    assert traced.how == "traced"
    return {site.path: site.role for site in seen}


# how forwards are reached


@pytest.mark.parametrize("with_sample", [True, False])
def test_a_forward_called_without_its_module_is_that_module_s(
    x: Tensor, with_sample: bool
) -> None:
    class Direct(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.one, self.two, self.act = Block(), Block(), nn.Tanh()

        def forward(self, x: Tensor) -> Any:
            return self.two(self.act.forward(self.one.forward(x))) - 1

    model, sample = Direct(), x if with_sample else None
    found = acs.sites(model, sample)
    assert [site.path for site in found] == ["one.act", "one.gelu", "act", "two.act", "two.gelu"]
    assert found.notes == ()
    placed = acs.place(model, "sin", sample=sample, where="all").model
    expected = sines(model.two, torch.sin(sines(model.one, x))) - 1
    torch.testing.assert_close(placed(x), expected)
    assert "forward" not in vars(placed.get_submodule("one"))


def test_a_forward_that_calls_itself_has_each_site_once(x: Tensor) -> None:
    class Again(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = nn.Linear(8, 8)

        def forward(self, x: Tensor, depth: int = 2) -> Tensor:
            h = F.relu(self.layer(x))
            return self.forward(h, depth - 1) if depth else h

    model = Again()
    for sample in (x, None):
        assert [site.path for site in acs.sites(model, sample)] == ["relu"]
        placed: Any = acs.place(model, "sin", sample=sample).model
        h = x
        for _ in range(4):
            h = torch.sin(model.layer(h))
        torch.testing.assert_close(placed(x, depth=3), h)


@pytest.mark.parametrize("wrapper", ["parallel", "compiled"])
@pytest.mark.parametrize("with_sample", [True, False])
def test_wrappers_inside_of_a_model_are_looked_into(
    x: Tensor, wrapper: str, with_sample: bool
) -> None:
    class Outer(nn.Module):
        def __init__(self, inner: Any) -> None:
            super().__init__()
            self.inner, self.head = inner, nn.Linear(8, 2)

        def forward(self, x: Tensor) -> Any:
            return self.head(F.elu(self.inner(x)))

    block = Block()
    parallel = wrapper == "parallel"
    model = Outer(nn.DataParallel(block) if parallel else torch.compile(block, backend="eager"))
    sample = x if with_sample else None
    path = "inner.module" if parallel else "inner._orig_mod"
    found = acs.sites(model, sample)
    assert [site.path for site in found] == [f"{path}.act", f"{path}.gelu", "elu"]
    placed = acs.place(model, "sin", sample=sample).model
    torch.testing.assert_close(placed(x), model.head(torch.sin(sines(block, x))))


def test_a_compiled_function_is_looked_into_and_not_compiled_for_it(x: Tensor) -> None:
    compilations: list[Any] = []

    def backend(graph: Any, inputs: Any) -> Any:
        compilations.append(graph)
        return graph

    act = torch.compile(lambda h: F.gelu(h) * 2, backend=backend)

    class Calling(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = nn.Linear(8, 8)

        def forward(self, x: Tensor) -> Any:
            return act(self.layer(x))

    model = Calling()
    assert [site.path for site in acs.sites(model, x)] == ["gelu"]
    assert compilations == []
    placed = acs.place(model, "sin", sample=x).model
    with torch.no_grad():
        torch.testing.assert_close(placed(x), 2 * torch.sin(model.layer(x)))


_COLD = """
import torch
from torch import nn
import torch.nn.functional as F
import actsearch as acs

class Rows(nn.Module):
    def forward(self, x):
        return torch.stack(list(map(F.relu, x)))

x = torch.randn(4, 3)
placed = acs.place(Rows(), "sin", sample=x).model
for _ in range(30):
    torch.testing.assert_close(placed(x), torch.sin(x))
"""


@pytest.mark.slow
def test_a_call_by_a_builtin_has_one_place_before_and_after_python_has_specialised_it(
    tmp_path: Path,
) -> None:
    script = tmp_path / "cold.py"  # an interpreter that has never run it
    script.write_text(_COLD)
    done = subprocess.run(
        [sys.executable, str(script)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


# what models ask of torch


class Derivative(nn.Module):
    """An equation's residual, for which the gradient at the input is asked."""

    def __init__(self, own: bool) -> None:
        super().__init__()
        self.layer, self.head, self.own = nn.Linear(8, 8), nn.Linear(8, 1), own

    def forward(self, x: Tensor) -> Tensor:
        if self.own:
            x = x.detach().requires_grad_()
        u = self.head(torch.tanh(self.layer(x)))
        (slope,) = torch.autograd.grad(u.sum(), x, create_graph=True)
        return slope


@pytest.mark.parametrize("own", [True, False])
def test_a_forward_may_ask_for_derivatives(x: Tensor, own: bool) -> None:
    model, inputs = Derivative(own), x.clone().requires_grad_()
    assert [site.path for site in acs.sites(model, inputs)] == ["tanh"]
    placed = acs.place(model, "sin", sample=inputs).model
    expected = (torch.cos(model.layer(x)) * model.head.weight) @ model.layer.weight
    torch.testing.assert_close(placed(inputs), expected)
    form = 'param(1.0, per="channel") * sin(x)'
    placed = acs.place(model, form, sample=inputs).model
    assert placed.get_parameter("tanh.theta_0").shape == (8,)
    assert inputs.grad is None


def test_what_a_derivative_computes_is_no_activation_of_the_model() -> None:
    class Forces(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.one, self.two = nn.Linear(3, 8), nn.Linear(8, 1)

        def forward(self, x: Tensor) -> Any:
            with torch.enable_grad():
                x = x.detach().requires_grad_()
                energy = self.two(F.silu(self.one(x))).sum()
                return energy, *torch.autograd.grad(energy, x, create_graph=True)

    found = acs.sites(Forces(), torch.randn(5, 3))
    assert [site.type for site in found] == ["silu"]
    assert found.notes == ()


def test_results_that_a_model_keeps_do_not_stand_in_the_way_of_a_copy(x: Tensor) -> None:
    class Keeping(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer, self.last, self.all = nn.Linear(8, 8), torch.empty(0), [torch.empty(0)]

        def forward(self, x: Tensor) -> Tensor:
            self.last = F.relu(self.layer(x))
            self.all.append(self.last)
            return self.last - 1

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        normed: Any = torch.nn.utils.weight_norm(nn.Linear(8, 8))
    for model in (Keeping(), nn.Sequential(normed, nn.ReLU())):
        expected = model(x)
        placed = acs.place(model, nn.ReLU(), sample=x).model
        assert torch.equal(placed(x), expected)
    assert isinstance(model, nn.Sequential)


def test_what_a_class_does_when_attributes_are_set_is_passed_by(x: Tensor) -> None:
    class Closed(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer, self.act, self.held = nn.Linear(8, 8), nn.ReLU(), F.elu
            self.closed = True

        def __setattr__(self, name: str, value: Any) -> None:
            if vars(self).get("closed") and name != "training":
                raise AttributeError(f"{name} cannot be set")
            super().__setattr__(name, value)

        def forward(self, x: Tensor) -> Tensor:
            return F.gelu(self.held(self.act(self.layer(x))))

    model = Closed()
    for sample in (None, x):
        placed = acs.place(model, "sin", sample=sample).model
        torch.testing.assert_close(placed(x), torch.sin(sines(model, x)))


# roles


def test_numbers_and_buffers_change_no_role(x: Tensor) -> None:
    class Actor(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer, self.head = nn.Linear(8, 8), nn.Linear(8, 2)
            self.scale: Tensor
            self.register_buffer("scale", torch.tensor([2.0, 3.0]))

        def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
            forget = 1 - torch.sigmoid(self.layer(x))
            action = torch.tanh(self.head(forget * x)) * self.scale - 0.5
            return action, 2 * self.head(torch.tanh(x) * 2)

    assert roles(Actor(), x) == {"sigmoid": "gate", "tanh_0": "output", "tanh_1": "hidden"}


@dataclass
class Answer:
    """What a model returns."""

    logits: Tensor
    shares: Tensor


def test_results_with_names_are_results(x: Tensor) -> None:
    class Naming(nn.Module):
        def forward(self, x: Tensor) -> Answer:
            return Answer(F.relu(x), torch.sigmoid(x))

    assert roles(Naming(), x) == {"relu": "hidden", "sigmoid": "output"}


# what cannot be led is named


@pytest.mark.filterwarnings("ignore:`?torch.jit:DeprecationWarning")
def test_what_is_computed_beneath_python_is_named(x: Tensor) -> None:
    @torch.jit.script
    def compiled(x: Tensor) -> Tensor:
        return torch.tanh(x)

    class Beneath(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.rnn, self.attention = nn.LSTM(8, 8), nn.MultiheadAttention(8, 2)

        def forward(self, x: Tensor) -> Tensor:
            h = self.attention(x, x, x)[0] + self.rnn(x)[0]
            return F.elu(compiled(torch.ops.aten.relu(F.silu(h))))

    placement = acs.place(Beneath(), "sin", sample=x)
    assert [item.path for item in placement.replaced] == ["silu", "elu"]
    where = "beneath Python, by torch.ops or in code that torch.jit compiled; it stays as it is."
    assert placement.notes[:2] == (
        f"The model calls relu {where}",
        f"The model calls tanh {where}",
    )

    class Traced(nn.Module):
        def forward(self, x: Tensor) -> Any:
            return F.elu(torch.ops.aten.relu(x))

    assert acs.sites(Traced()).notes == (f"The model calls relu {where}",)


def test_what_is_called_around_a_forward_is_named(x: Tensor) -> None:
    class Around(Block):
        def __call__(self, x: Tensor) -> Tensor:
            return torch.tanh(super().__call__(x))

    assert acs.sites(Around(), x).notes == (
        "The model calls tanh outside of forward; it stays as it is.",
    )
    assert acs.sites(Around()).notes == (
        "Functions called by hooks on the model or by its own __call__ were not searched for; give sample=.",
    )
    assert acs.sites(torch.fx.symbolic_trace(Block())).notes == ()


@pytest.mark.parametrize("model", [nn.Tanhshrink(), nn.GLU(), acs.activation("swish")])
def test_a_model_that_is_itself_an_activation_says_so(model: nn.Module, x: Tensor) -> None:
    for sample in (None, x):
        (note,) = acs.sites(model, sample).notes
        assert f"is an activation itself ({type(model).__name__})" in note
        with pytest.raises(acs.PlacementError, match=r"itself.*as nn\.Sequential\(model\)"):
            acs.place(model, "sin", sample=sample)
    assert len(acs.sites(nn.Sequential(model), x)) == 1


def test_why_a_model_cannot_be_traced_is_said_where_a_user_can_understand_it() -> None:
    class Wrapped(Block):
        def forward(self, x: Tensor) -> Any:
            return torch.func.vmap(super().forward)(x)

    class Failing(Block):
        def forward(self, x: Tensor) -> Any:
            return float(super().forward(x))

    cannot = "since torch.fx cannot trace this model"
    assert f"{cannot}; give sample=, one batch" in acs.sites(Wrapped()).notes[0]
    assert f"{cannot} (TypeError: float() argument" in acs.sites(Failing()).notes[0]
