"""What a placed model does besides its forward: methods, hooks, ways that the sample did not take, tracing."""

from __future__ import annotations

import copy
import pickle
from typing import Any

import pytest
import torch
from torch import Tensor, fx, nn
from torch.func import functional_call, vmap
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

import actsearch as acs


@pytest.fixture
def x() -> Tensor:
    return torch.randn(5, 8, generator=torch.Generator().manual_seed(1))


class Coder(nn.Module):
    """Its forward uses two methods that users also call by themselves; a third one it does not use."""

    def __init__(self) -> None:
        super().__init__()
        self.one, self.two = nn.Linear(8, 4), nn.Linear(4, 8)

    def activated(self, h: Tensor) -> Tensor:
        return F.relu(h)

    def encode(self, x: Tensor) -> Tensor:
        return self.activated(self.one(x))

    @torch.no_grad()
    def decode(self, z: Tensor) -> Tensor:
        return self.activated(self.two(z)).tanh()

    def forward(self, x: Tensor) -> Tensor:
        result: Tensor = self.decode(self.encode(x)) + 1
        return result

    def score(self, x: Tensor) -> Tensor:
        return torch.sigmoid(self.encode(x)).mean()


ACTS = {"relu_0": "sin", "relu_1": "silu", "tanh": "softsign"}


def placed_coder(x: Tensor) -> tuple[Any, Any]:
    model = Coder()
    return model, acs.place(model, ACTS, sample=x).model


def test_methods_that_forward_uses_are_led_when_they_are_called_by_themselves(x: Tensor) -> None:
    model, placed = placed_coder(x)
    code = torch.sin(model.one(x))
    image = F.softsign(F.silu(model.two(code)))
    for one in (placed, copy.deepcopy(placed), pickle.loads(pickle.dumps(placed))):
        torch.testing.assert_close(one.encode(x), code)
        torch.testing.assert_close(one.decode(code), image)  # its helper was passed before
        torch.testing.assert_close(one(x), image + 1)
    torch.testing.assert_close(vmap(placed.encode)(x), code)
    weights = {name: value * 1 for name, value in placed.named_parameters()}
    torch.testing.assert_close(functional_call(placed, weights, (x,)), image + 1)


def test_what_a_method_calls_besides_stays_as_it_is(x: Tensor) -> None:
    model, placed = placed_coder(x)
    expected = torch.sigmoid(torch.sin(model.one(x))).mean()
    torch.testing.assert_close(placed.score(x), expected)
    (note,) = acs.sites(model, x).notes
    assert note == "Coder.score calls sigmoid and did not run; it stays as it is."


def test_a_method_takes_the_first_site_of_a_place_that_forward_passes_twice(x: Tensor) -> None:
    _, placed = placed_coder(x)
    torch.testing.assert_close(placed.activated(x), torch.sin(x))


@pytest.mark.filterwarnings("ignore")
def test_methods_compile_and_are_computed_again(x: Tensor) -> None:
    model, placed = placed_coder(x)
    torch.compiler.reset()
    compiled: Any = torch.compile(placed, fullgraph=True, backend="aot_eager")
    torch.testing.assert_close(compiled(x), placed(x))
    alone: Any = torch.compile(placed.encode, backend="aot_eager")
    torch.testing.assert_close(alone(x), placed.encode(x))
    inputs = x.clone().requires_grad_()
    again: Any = checkpoint(placed.encode, inputs, use_reentrant=False)
    torch.autograd.backward(again.sum())
    assert inputs.grad is not None
    torch.testing.assert_close(again, torch.sin(model.one(x)))
    torch.testing.assert_close(inputs.grad, torch.cos(model.one(x)) @ model.one.weight)


class Branching(nn.Module):
    """The way that no sample took calls a function, where no other is called."""

    def __init__(self) -> None:
        super().__init__()
        self.layer, self.late = nn.Linear(8, 8), False

    def forward(self, x: Tensor) -> Tensor:
        x = self.layer(x)
        return self.branch(x) if self.late else x

    def branch(self, x: Tensor) -> Tensor:
        return F.gelu(x)


@pytest.mark.parametrize("with_sample", [pytest.param(True, marks=pytest.mark.slow), False])
@pytest.mark.filterwarnings("ignore")
def test_a_way_that_was_not_taken_is_an_error_where_nothing_else_is_called(
    x: Tensor, with_sample: bool
) -> None:
    model = nn.Sequential(Branching(), nn.ReLU())
    placed: Any = acs.place(model, "sin", sample=x if with_sample else None).model
    torch.testing.assert_close(placed(x), torch.sin(model[0](x)))
    compiled: Any = torch.compile(placed, fullgraph=True, backend="aot_eager")
    torch.testing.assert_close(compiled(x), placed(x))
    placed[0].late = True
    with pytest.raises(acs.PlacementError, match="Branching calls gelu in .*give a sample"):
        placed(x)
    torch.compiler.reset()
    compiled = torch.compile(placed, backend="aot_eager")
    with pytest.raises(acs.PlacementError, match="Branching calls gelu .*give a sample"):
        compiled(x)


def test_functions_are_recognised_however_they_are_named(x: Tensor) -> None:
    class Imported(Branching):
        def branch(self, x: Tensor) -> Tensor:
            import torch.nn.functional as own

            return own.elu(x)

    class Method(Branching):
        def branch(self, x: Tensor) -> Tensor:
            self.detached.sigmoid()
            return [(row * 1).tanh() for row in (x,)][0]

        @property
        def detached(self) -> Tensor:
            if not self.late:
                raise RuntimeError("only later")
            return self.layer.weight

    class Inherited(Branching):
        def forward(self, x: Tensor) -> Tensor:
            return super().forward(x) + 1

    helper = torch.celu

    class Renamed(Branching):
        def branch(self, x: Tensor) -> Tensor:
            return helper(x)

    for kind in (Imported, Method, Inherited, Renamed):
        placed: Any = acs.place(nn.Sequential(kind(), nn.ReLU()), "sin", sample=x).model
        placed[0].late = True
        with pytest.raises(acs.PlacementError, match=f"{kind.__name__} calls"):
            placed(x)


def test_what_did_not_run_is_an_error_when_it_runs(x: Tensor) -> None:
    class Pair(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.second = Coder(), Coder()

        def forward(self, x: Tensor) -> Tensor:
            result: Tensor = self.first(x)
            return result

    placed: Any = acs.place(Pair(), "sin", sample=x).model
    with pytest.raises(acs.PlacementError, match="Coder calls relu in .*give a sample"):
        placed.second(x)


def test_submodules_under_the_names_of_functions_are_no_calls(x: Tensor) -> None:
    class Holding(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.relu, self.parts = nn.ReLU(), nn.ModuleDict({"gelu": nn.GELU()})
            self.inner = nn.Sequential()
            self.inner.add_module("elu", nn.ELU())

        def forward(self, x: Tensor) -> Any:
            inner: Any = self.inner
            return inner.elu(self.parts["gelu"](self.relu(x)))

    assert type(acs.place(Holding(), "sin", sample=x).model) is Holding


def test_a_forward_may_write_to_its_weights(x: Tensor) -> None:
    class MaxNorm(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = nn.Linear(8, 8)

        def forward(self, x: Tensor) -> Tensor:
            self.layer.weight.data.clamp_(-0.01, 0.01)
            self.layer.bias.data = self.layer.bias.data * 0.5
            return F.relu(self.layer(x))

    model = MaxNorm()
    before = copy.deepcopy(model.state_dict())
    for sample in (x, None):
        acs.sites(model, sample)
        acs.place(model, "prelu", sample=sample)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


def test_calls_in_hooks_stay_as_they_are_and_are_named(x: Tensor) -> None:
    class Outer(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = nn.Linear(8, 8)

        def forward(self, x: Tensor) -> Tensor:
            return F.relu(self.inner(x))

    model = Outer()
    model.inner.register_forward_hook(lambda module, args, result: torch.tanh(result))
    model.inner.register_forward_pre_hook(lambda module, args: (F.elu(args[0]),))
    model.register_forward_pre_hook(lambda module, args: (args[0].sigmoid(),))
    expected = torch.sin(torch.tanh(model.inner.forward(F.elu(x.sigmoid()))))
    for sample in (x, None):
        found = acs.sites(model, sample)
        assert [site.path for site in found] == ["relu"]
        if sample is not None:  # torch.fx does not run hooks of torch's own layers
            assert set(found.notes) == {
                "inner calls tanh in a forward hook; it stays as it is.",
                "inner calls elu in a forward hook; it stays as it is.",
                "The model calls sigmoid in a forward hook; it stays as it is.",
            }
        placed = acs.place(model, "sin", sample=sample).model
        torch.testing.assert_close(placed(x), expected)
    placed.get_submodule("inner").register_forward_hook(lambda module, args, y: F.silu(y))
    assert placed(x).shape == x.shape  # also of hooks that came later


class Block(nn.Sequential):
    def forward(self, input: Tensor) -> Any:
        for layer in self:
            input = F.relu(layer(input))
        return input


class Around(nn.Module):
    """Goes through the submodules of a part that calls functions."""

    def __init__(self, way: str) -> None:
        super().__init__()
        self.block, self.way = Block(nn.Linear(8, 8), nn.Linear(8, 8)), way

    def forward(self, x: Tensor) -> Any:
        h = self.block(x)
        if self.way == "iter":
            for layer in self.block:
                h = layer(h)
        elif self.way == "children":
            for layer in self.block.children():
                h = layer(h)
        else:
            for index in range(len(self.block)):
                h = self.block[index](h)
        return h + sum(parameter.sum() for parameter in self.block.parameters())


@pytest.mark.parametrize("way", ["iter", "children", "len"])
@pytest.mark.filterwarnings("ignore")
def test_a_forward_around_it_does_not_meet_the_sites_either(x: Tensor, way: str) -> None:
    model = Around(way)
    placed: Any = acs.place(model, "swish", sample=x).model
    one, two = model.block
    h = two(one(F.silu(two(F.silu(one(x))))))
    total = sum(parameter.sum() for parameter in model.parameters()) + 2  # beta of each site
    torch.testing.assert_close(placed(x), h + total)
    torch.testing.assert_close(placed.forward(x), h + total)
    assert len(list(placed.block.children())) == len(placed.block) == 4
    assert len(placed.state_dict()) == 6
    torch.compiler.reset()
    compiled: Any = torch.compile(placed, backend="eager")
    torch.testing.assert_close(compiled(x), h + total)
    weights = {name: value * 1 for name, value in placed.named_parameters()}
    torch.testing.assert_close(functional_call(placed, weights, (x,)), h + total)
    placed.double()
    assert {value.dtype for value in placed.state_dict().values()} == {torch.float64}


def test_torch_sees_all_submodules_while_a_forward_runs(x: Tensor) -> None:
    class Copying(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.block = Block(nn.Linear(8, 8))
            self.names: list[str] | None = None

        def forward(self, x: Tensor) -> Any:
            replica = self.block._replicate_for_data_parallel()  # type: ignore[no-untyped-call]
            other = copy.deepcopy(self.block)
            if self.names is not None:
                assert [name for name, _ in self.block.named_modules()] == self.names
                assert [name for name, _ in other.named_modules()] == self.names
                assert list(dict.keys(replica._modules)) == self.names[1:]
            return F.elu(self.block(x)) + other(x)

    placed: Any = acs.place(Copying(), {"block.relu": "sin"}, sample=x).model
    placed.names = ["", "0", "relu"]
    assert placed(x).shape == x.shape


class Traced(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.one, self.two, self.act = nn.Linear(8, 8), nn.Linear(8, 8), nn.ReLU()

    def forward(self, x: Tensor) -> Any:
        h = self.one(x).relu()
        h = self.act(self.two(h).tanh_()) + F.elu(h)
        return torch.nn.functional.gelu(h).sigmoid() * 2


@pytest.mark.parametrize("act", ["swish", "x*tanh(x)", "prelu", "relu"])
def test_a_placed_model_is_traced_by_torch_fx(x: Tensor, act: str) -> None:
    for where in ("all", ["relu"]):
        placed = acs.place(Traced(), act, where=where, sample=x).model
        graph = fx.symbolic_trace(placed)
        torch.testing.assert_close(graph(x), placed(x), rtol=0, atol=0)
        torch.testing.assert_close(placed(x), graph(x), rtol=0, atol=0)
    per_channel = 'x*tanh(param(1.0, per="channel")*x)'
    placed = acs.place(Traced(), {"relu": per_channel}, sample=x).model
    torch.testing.assert_close(fx.symbolic_trace(placed)(x), placed(x), rtol=0, atol=0)


class Registered(nn.Module):
    names: list[str] = []

    def __init_subclass__(cls, *, name: str) -> None:
        if name in Registered.names:
            raise ValueError(f"{name} twice")
        Registered.names.append(name)


class Meta(type):
    made: list[str] = []

    def __new__(cls, name: str, bases: Any, body: Any, *, size: int) -> Any:
        made = super().__new__(cls, name, bases, body)
        made.size = size  # type: ignore[attr-defined]
        Meta.made.append(name)
        return made

    def __init__(cls, name: str, bases: Any, body: Any, *, size: int) -> None:
        super().__init__(name, bases, body)


class Net(Registered, name="net"):
    def forward(self, x: Tensor) -> Tensor:
        return F.relu(x) - 1


class Made(nn.Module, metaclass=Meta, size=3):
    size: int

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(x) - self.size


def test_classes_may_ask_for_arguments_when_they_are_made(x: Tensor) -> None:
    before = list(Registered.names), list(Meta.made)
    for model, less in ((Net(), 1), (Made(), 3)):
        placed = acs.place(model, "sin", sample=x).model
        for one in (placed, copy.deepcopy(placed), pickle.loads(pickle.dumps(placed))):
            torch.testing.assert_close(one(x), torch.sin(x) - less)
            assert isinstance(one, type(model))
    assert (Registered.names, Meta.made) == before
