"""What cannot be placed is refused by an error that says what, where and what to do, and the model stays as it was."""

from __future__ import annotations

import copy
import warnings
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

import actsearch as acs

PER_CHANNEL = 'max(x, 0) + param(0.25, per="channel") * min(x, 0)'
COMPILES = pytest.mark.filterwarnings("ignore:`?torch.jit:DeprecationWarning")


class Net(nn.Module):
    """A site of every kind and role."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b, self.c = nn.Linear(4, 4), nn.Linear(4, 4), nn.Linear(4, 4)
        self.act, self.open = nn.ReLU(), nn.Sigmoid()

    def forward(self, x: Tensor) -> Tensor:
        h = F.gelu(self.b(self.act(self.a(x))))
        return torch.softmax(self.c(h * self.open(self.b(h))), -1)


class Deciding(nn.Module):
    """Control flow that depends on data."""

    def __init__(self) -> None:
        super().__init__()
        self.layer, self.act = nn.Linear(4, 4), nn.ReLU()

    def forward(self, x: Tensor) -> Tensor:
        h = self.act(self.layer(x))
        return F.gelu(h) - 1 if h.sum() > 0 else h - 1


X = torch.randn(3, 4, generator=torch.Generator().manual_seed(1))
THERE = r"act: ReLU, role hidden; gelu: gelu, role hidden; open: Sigmoid, role gate; softmax: softmax, role output"
RUNS_NOT = "the model does not run on the sample input.*give a sample as the model's forward takes"
ELSEWHERE = "anything else as where="


def inside(model: nn.Module) -> Any:
    """What a model is made of."""
    state = {name: value.clone() for name, value in model.state_dict().items()}
    parts = [
        (id(m), type(m), m.training, list(m._modules.values()), len(m._forward_hooks))
        for m in model.modules()
    ]
    return parts, state


def refused(
    model: nn.Module, says: str, act: Any = "sin", kind: Any = None, **kwargs: Any
) -> None:
    parts, state = inside(model)
    with pytest.raises(kind or acs.PlacementError, match=f"(?s){says}"):
        acs.place(model, act, **kwargs)
    parts_now, state_now = inside(model)
    assert parts_now == parts
    assert list(state_now) == list(state)
    for name, value in state_now.items():
        assert value.is_meta or torch.equal(value, state[name])


BAD: dict[str, tuple[dict[str, Any], str]] = {
    "no such class": ({"where": nn.ELU}, rf"no activation for where=ELU \({THERE}\)"),
    "no such name": ({"where": "gellu"}, "no activation at 'gellu'; did you mean 'gelu'"),
    "no such key": ({"act": {"act": "sin", "gellu": "sin"}}, "no activation at 'gellu'; did you"),
    "only gates": ({"where": "o*n", "sample": X}, r"'o\*n'.*hidden.*open \(gate\).*full path"),
    "a role as a key": ({"act": {"hidden": "sin"}}, "no activation at 'hidden'.*where='hidden'"),
    "a class as a key": ({"act": {nn.ReLU: "sin"}}, f"ReLU.* selects no sites.*{ELSEWHERE}"),
    "a number as a key": ({"act": {1: "sin"}}, f"1 selects no sites.*{ELSEWHERE}"),
    "no activations": ({"act": []}, r"nothing to replace in Net: .*\[\] is empty"),
    "an empty mapping": ({"act": {}}, "nothing to replace in Net: .*{} is empty"),
    "where twice": ({"act": {"act": "sin"}, "where": "act"}, "a mapping names its sites itself"),
    "where that raises": (
        {"where": lambda site: site.name == "act"},
        "where= raised AttributeError for the site 'act'.*path, kind, type",
    ),
    "where of two": ({"where": lambda site, more: True}, "where= raised TypeError for .*'act'"),
    "softmax": ({"act": "softmax"}, "softmax is not a hidden activation"),
    "glu": ({"act": "glu"}, "glu is not a hidden activation"),
    "a gate as a module": ({"act": nn.GLU()}, "GLU is not a hidden activation"),
    "double": ({"sample": X.double()}, RUNS_NOT),
    "integers": ({"sample": X.long()}, RUNS_NOT),
    "a wrong shape": ({"sample": torch.randn(3, 5)}, RUNS_NOT),
    "a wrong device": ({"sample": X.to("meta")}, "device.*give a sample"),
    "no tensor": ({"sample": "abc"}, RUNS_NOT),
    "no arguments": ({"sample": {}}, RUNS_NOT),
    "channels without a sample": ({"act": PER_CHANNEL}, "channels at 'act'.*give sample="),
}  # fmt: skip


@pytest.mark.parametrize("case", BAD)
def test_bad_arguments_are_refused_and_the_model_stays_as_it_was(case: str) -> None:
    kwargs, says = BAD[case]
    refused(Net(), says, **kwargs)


@pytest.mark.parametrize(
    ("act", "says"),
    [
        (nn.Tanh, r"Tanh is a class: give a module, as Tanh\(\)"),
        (F.relu, "relu is a function: give its name, 'relu'"),
        (None, "an activation is a catalog name.* not NoneType"),
        ([["sin"]], "not list"),
        ({"act": ["sin", "tanh"]}, "not list"),
    ],
)
def test_what_is_no_activation_is_refused(act: Any, says: str) -> None:
    refused(Net(), says, act, acs.ActivationError)


@pytest.mark.parametrize("model", [F.relu, lambda x: x, Net, None, "resnet"])
def test_what_is_no_model_is_refused(model: Any) -> None:
    for call in (lambda: acs.sites(model), lambda: acs.place(model, "sin")):
        with pytest.raises(acs.PlacementError, match=r"a model is a torch\.nn\.Module, not "):
            call()


def test_a_called_function_of_a_model_that_cannot_be_traced_needs_a_sample() -> None:
    for kwargs in ({"act": {"gelu": "sin"}}, {"where": "gelu"}, {"where": nn.GELU}):
        refused(Deciding(), r"(no activation|nothing).*TraceError.*give sample=", **kwargs)
    placed = acs.place(Deciding(), "sin", where="gelu", sample=X)
    assert [item.path for item in placed.replaced] == ["gelu"]


# unusual models


def test_a_model_on_the_meta_device_is_placed_there() -> None:
    model = Net().to("meta")
    placed = acs.place(model, PER_CHANNEL, sample=X.to("meta")).model
    assert {item.device.type for item in placed.parameters()} == {"meta"}
    assert placed.get_parameter("act.theta_0").shape == (4,)
    refused(model, "device.*give a sample", PER_CHANNEL, sample=X)


def test_what_is_learned_is_trained_in_a_frozen_model() -> None:
    model = Net().requires_grad_(False)
    placed = acs.place(model, "prelu", sample=X).model
    wanted = {name for name, item in placed.named_parameters() if item.requires_grad}
    assert wanted == {"act.theta_0", "gelu.theta_0"}
    assert not any(item.requires_grad for item in model.parameters())


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float64])
def test_a_model_of_another_precision_stays_in_it(dtype: torch.dtype) -> None:
    model = Net().to(dtype)
    placed = acs.place(model, PER_CHANNEL, sample=X.to(dtype)).model
    assert {item.dtype for item in placed.parameters()} == {dtype}
    assert placed(X.to(dtype)).dtype == dtype
    refused(model, RUNS_NOT, PER_CHANNEL, sample=X.to(torch.complex64))


class Tied(nn.Module):
    """Two layers with one weight, and two activations with one slope."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = nn.Linear(4, 4), nn.Linear(4, 4)
        self.b.weight = self.a.weight
        self.p, self.q = nn.PReLU(), nn.PReLU()
        self.q.weight = self.p.weight

    def forward(self, x: Tensor) -> Tensor:
        result: Tensor = self.q(self.b(self.p(self.a(x))))
        return result


@pytest.mark.parametrize("sample", [X, None], ids=["sample", "no sample"])
def test_weights_that_are_tied_stay_so_in_the_copy(sample: Tensor | None) -> None:
    model: Any = Tied()
    placed: Any = acs.place(model, {"p": "tanh"}, sample=sample).model
    assert placed.a.weight is placed.b.weight
    assert placed.a.weight is not model.a.weight
    assert placed.q.weight is not model.q.weight
    assert model.q.weight is model.p.weight
    expected = model.q(model.b(torch.tanh(model.a(X))))
    torch.testing.assert_close(placed(X), expected)
    kept: Any = acs.place(nn.ModuleList([model, nn.ReLU()]), {"1": "tanh"}).model[0]  # type: ignore[index]
    assert kept.q.weight is kept.p.weight
    both: Any = acs.place(model, "prelu", sample=sample, where="all").model
    assert both.p.theta_0 is not both.q.theta_0  # each site learns its own
    refused(model, "Linear 'a' shares weights with 'b'", "maxout", where="p", sample=X)


def test_a_slope_that_the_model_uses_elsewhere_stays_where_it_is() -> None:
    class Scaled(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.act = nn.PReLU()
            self.scale = self.act.weight

        def forward(self, x: Tensor) -> Tensor:
            result: Tensor = self.act(x) * self.scale
            return result

    placed = acs.place(Scaled(), "tanh", sample=X).model
    assert [name for name, _ in placed.named_parameters()] == ["scale"]
    torch.testing.assert_close(placed(X), 0.25 * torch.tanh(X))


def test_data_parallel_models_are_placed_into() -> None:
    placed = acs.place(nn.DataParallel(Net()), PER_CHANNEL, sample=X).model
    assert placed.get_parameter("module.gelu.theta_0").shape == (4,)
    refused(nn.DataParallel(Net()), "no activation at 'act'; known: module.act", {"act": "sin"})


# quantised models


class Quantisable(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        tools = torch.ao.quantization
        self.begin, self.end = tools.QuantStub(), tools.DeQuantStub()
        self.layer, self.act, self.last = nn.Linear(4, 4), nn.ReLU(), nn.Tanh()

    def forward(self, x: Tensor) -> Tensor:
        result: Tensor = self.last(self.end(self.act(self.layer(self.begin(x))))) + x
        return result


def quantised(stage: str) -> Any:
    tools: Any = torch.ao.quantization
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        if stage == "dynamic":
            return tools.quantize_dynamic(Quantisable(), {nn.Linear})
        model: Any = Quantisable().train(stage == "trained")
        model.qconfig = (
            tools.get_default_qat_qconfig("x86")
            if stage == "trained"
            else tools.get_default_qconfig("x86")
        )
        model = tools.prepare_qat(model) if stage == "trained" else tools.prepare(model.eval())
        model(X)
        return tools.convert(model) if stage == "converted" else model  # fmt: skip


@pytest.mark.filterwarnings("ignore")
def test_quantised_numbers_are_refused_and_others_are_not() -> None:
    model = quantised("converted")
    for kwargs in ({"act": "sin"}, {"act": {"act": PER_CHANNEL}}):
        with pytest.raises(
            acs.PlacementError, match=r"at 'act' \(from 'begin' on\).*quantise that"
        ):
            acs.place(model, sample=X, **kwargs)
    with pytest.raises(acs.PlacementError, match="quantised.*sample= is needed"):
        acs.place(model, "sin")
    assert type(model.act) is nn.ReLU
    placed = acs.place(model, {"last": "x*x"}, sample=X).model  # behind the end
    expected = model.end(model.act(model.layer(model.begin(X))))
    torch.testing.assert_close(placed(X), expected * expected + X)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("stage", ["prepared", "trained", "dynamic"])
def test_models_that_are_to_be_quantised_are_placed_into(stage: str) -> None:
    model = quantised(stage)
    placement = acs.place(model, PER_CHANNEL, sample=X, where="all")
    assert [item.path for item in placement.replaced] == ["act", "last"]
    assert placement.model(X).shape == X.shape
    assert acs.place(model, "x*x").model(X).shape == X.shape


# what torch.jit compiled


class Block(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layer, self.act = nn.Linear(4, 4), nn.ReLU()

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(self.act(self.layer(x)))


def frozen() -> Any:
    return torch.jit.freeze(torch.jit.script(Block().eval()))


MADE: dict[str, Callable[[], Any]] = {
    "scripted": lambda: torch.jit.script(Block()),
    "traced": lambda: torch.jit.trace(Block(), X),  # type: ignore[no-untyped-call]
    "frozen": frozen,
    "activation": lambda: torch.jit.script(nn.ReLU()),
}


@COMPILES
@pytest.mark.parametrize("made", MADE)
@pytest.mark.parametrize("sample", [X, None], ids=["sample", "no sample"])
def test_a_compiled_model_is_refused(made: str, sample: Tensor | None) -> None:
    model = MADE[made]()
    for call in (
        lambda: acs.sites(model, sample),
        lambda: acs.place(model, "sin", sample=sample),
        lambda: acs.place(model, {"act": PER_CHANNEL}, sample=sample),
    ):
        with pytest.raises(
            acs.PlacementError, match=r"is a ScriptModule, compiled .* pass the nn\.Module that it"
        ):
            call()


class Holding(nn.Module):
    def __init__(self, inner: Any) -> None:
        super().__init__()
        self.inner, self.again = inner, inner
        self.block = Block()

    def forward(self, x: Tensor) -> Tensor:
        result: Tensor = self.again(self.block(torch.tanh(self.inner(x))))
        return result


@COMPILES
@pytest.mark.parametrize("made", MADE)
@pytest.mark.parametrize("sample", [X, None], ids=["sample", "no sample"])
def test_a_compiled_module_in_a_model_is_named_and_left_alone(
    made: str, sample: Tensor | None
) -> None:
    model = Holding(MADE[made]())
    found = acs.sites(model, sample)
    assert [site.path for site in found] == ["tanh", "block.act", "block.relu"]
    assert "inner: " in found.notes[0]
    assert "is a ScriptModule, compiled by torch.jit, and stays as it is" in found.notes[0]
    placement = acs.place(model, "sin", sample=sample)
    assert placement.notes == found.notes
    assert isinstance(placement.model.inner, torch.jit.ScriptModule)
    assert model.inner is model.again
    expected = torch.sin(torch.sin(model.block.layer(torch.sin(model.inner(X)))))
    torch.testing.assert_close(placement.model(X), model.again(expected))
    other = copy.deepcopy(placement.model)
    torch.testing.assert_close(other(X), placement.model(X))


@COMPILES
def test_numbers_per_channel_and_wider_layers_beside_a_compiled_module() -> None:
    model = Holding(torch.jit.script(Block()))
    placed = acs.place(model, PER_CHANNEL, where="block.*", sample=X).model
    assert placed.get_parameter("block.act.theta_0").shape == (4,)
    wide = acs.place(model, "maxout", where="block.act", sample=X)
    assert wide.replaced[0].widened == "block.layer"
    images = nn.Sequential(torch.jit.script(nn.Conv2d(3, 4, 3)), nn.ReLU())
    with pytest.raises(acs.PlacementError, match="channels are lost after a ScriptModule"):
        acs.place(images, PER_CHANNEL, sample=torch.randn(2, 3, 8, 8))


class Asking(nn.Module):
    """Asks for the class of a layer, in training alone."""

    def __init__(self, act: nn.Module) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(4, 4), act, nn.Linear(4, 4))

    def forward(self, x: Tensor) -> Tensor:
        for layer in self.layers:
            x = layer(x)
            if self.training and isinstance(layer, nn.ReLU):
                x = F.dropout(x, 0.5) * 0.5
        return x


def test_a_model_that_asks_for_a_class_in_training_alone_is_refused() -> None:
    with pytest.raises(acs.PlacementError, match="in training mode .* at 'layers.1'"):
        acs.place(Asking(nn.ReLU()), "tanh", sample=X)


@pytest.mark.parametrize("act", [nn.Sequential(nn.Tanh(), nn.Dropout(0.5)), nn.RReLU()])
def test_what_draws_in_training_is_no_difference(act: nn.Module) -> None:
    assert len(acs.place(Asking(act), "tanh", sample=X).replaced) == 1


def test_a_model_that_differs_by_itself_in_training_is_placed_in() -> None:
    class Counting(nn.Module):
        calls = 0

        def __init__(self) -> None:
            super().__init__()
            self.a, self.b = nn.Linear(4, 4), nn.Linear(4, 4)

        def forward(self, x: Tensor) -> Tensor:
            Counting.calls += self.training
            result: Tensor = self.b(torch.relu(self.a(x))) * (1 + Counting.calls * self.training)
            return result

    assert len(acs.place(Counting(), "tanh", sample=X).replaced) == 1


@COMPILES
def test_a_compiled_function_that_a_model_holds_is_named() -> None:
    class Holding(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = nn.Linear(4, 4)
            self.act = torch.jit.script(swish)

        def forward(self, x: Tensor) -> Tensor:
            result: Tensor = self.act(self.layer(x))
            return result

    with pytest.raises(
        acs.PlacementError, match="torch.jit.script compiled, 'act', .* hold the Python function"
    ):
        acs.sites(Holding(), X)


def swish(x: Tensor) -> Tensor:
    return x * torch.sigmoid(x)
