"""Finding the activations of a user's model, and swapping them on a copy of it."""

from __future__ import annotations

import copy
import io
import pickle
from collections.abc import Callable, Mapping
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

import actsearch as acs
from actsearch.placement import ModelAnalysis
from actsearch.placement.site_trace import SiteTrace
from actsearch.records import ActivationRecord, CandidateRecord

PER_CHANNEL = 'max(x, 0) + param(0.25, per="channel") * min(x, 0)'


class Block(nn.Module):
    def __init__(self, act: nn.Module) -> None:
        super().__init__()
        self.fc = nn.Linear(6, 8)
        self.act = act
        self.out = nn.Linear(8, 6)

    def forward(self, x: Tensor) -> Tensor:
        result: Tensor = x + self.out(self.act(self.fc(x)))
        return result


class Net(nn.Module):
    """Named activations, one of them nested."""

    def __init__(self) -> None:
        super().__init__()
        self.layer1 = Block(nn.ReLU())
        self.layer2 = Block(nn.Tanh())
        self.act = nn.GELU()
        self.head = nn.Linear(6, 3)

    def forward(self, x: Tensor) -> Tensor:
        result: Tensor = self.head(self.act(self.layer2(self.layer1(x))))
        return result


class Functional(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.fc = nn.Linear(6, 3)
        self.last = nn.Softmax(-1)

    def forward(self, x: Tensor) -> Tensor:
        result: Tensor = self.last(F.relu(self.fc(x)))
        return result


class Reshaping(nn.Module):
    """Features become two axes before the activation: nobody can tell which of them are channels."""

    def __init__(self) -> None:
        super().__init__()
        self.fc = nn.Linear(6, 8)
        self.act = nn.ReLU()

    def forward(self, x: Tensor) -> Tensor:
        result: Tensor = self.act(self.fc(x).reshape(len(x), 2, 4))
        return result


def mlp(act: Callable[[], nn.Module] = nn.ReLU) -> nn.Module:
    return nn.Sequential(nn.Linear(6, 8), act(), nn.Linear(8, 5), act(), nn.Linear(5, 3))


def cnn(act: Callable[[], nn.Module] = nn.ReLU) -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(2, 4, 3), nn.BatchNorm2d(4), act(), nn.MaxPool2d(2),
        nn.Conv2d(4, 6, 3), nn.BatchNorm2d(6), act(), nn.Dropout(0.2), nn.Flatten(), nn.Linear(6, 3),
    )  # fmt: skip


def transformer(act: Callable[[], nn.Module] = nn.GELU) -> nn.Module:
    return nn.TransformerEncoderLayer(8, 2, 16, batch_first=True, activation=act())


MODELS = {"mlp": mlp, "cnn": cnn, "transformer": transformer}
INPUTS = {"mlp": (7, 6), "cnn": (5, 2, 8, 8), "transformer": (4, 3, 8)}


def model_and_input(
    kind: str, act: Callable[[], nn.Module] | None = None
) -> tuple[nn.Module, Tensor]:
    torch.manual_seed(3)
    model = MODELS[kind](act) if act else MODELS[kind]()
    return model, torch.randn(INPUTS[kind])


def run(model: nn.Module, x: Tensor, seed: int = 11) -> Tensor:
    torch.manual_seed(seed)  # dropout
    result: Tensor = model(x)
    return result


def unequal_paths(a: nn.Module, b: nn.Module) -> list[str]:
    one, other = a.state_dict(), b.state_dict()
    return [name for name in one if not torch.equal(one[name], other[name])]


# sites


@pytest.mark.parametrize(
    ("model", "expected"),
    [
        (mlp(), [("1", "ReLU", "hidden"), ("3", "ReLU", "hidden")]),
        (
            Net(),
            [
                ("layer1.act", "ReLU", "hidden"),
                ("layer2.act", "Tanh", "hidden"),
                ("act", "GELU", "hidden"),
            ],
        ),
        (
            nn.ModuleDict({"a": nn.ModuleList([nn.ELU(), nn.Linear(2, 2)]), "b": nn.PReLU()}),
            [("a.0", "ELU", "hidden"), ("b", "PReLU", "hidden")],
        ),
        (
            nn.Sequential(nn.Linear(2, 2), nn.Sequential(nn.Sequential(nn.Mish())), nn.RReLU()),
            [("1.0.0", "Mish", "hidden"), ("2", "RReLU", "hidden")],
        ),
        (
            nn.TransformerEncoder(transformer(), 2),  # type: ignore[arg-type]
            [("layers.0.activation", "GELU", "hidden"), ("layers.1.activation", "GELU", "hidden")],
        ),
        (nn.Linear(2, 2), []),
        (nn.MultiheadAttention(4, 2), []),
        (Functional(), [("relu", "relu", "hidden"), ("last", "Softmax", "output")]),
    ],
    ids=lambda value: type(value).__name__,
)
def test_sites_are_the_activations_in_order_of_depth(
    model: nn.Module, expected: list[tuple[str, str, str]]
) -> None:
    found = acs.sites(model)
    assert [(site.path, site.type, site.role) for site in found] == expected
    assert [site.order for site in found] == list(range(len(expected)))
    assert {site.kind for site in found} <= {"module", "function"}


@pytest.mark.parametrize(
    ("last", "role"),
    [
        (nn.Softmax(-1), "output"),
        (nn.LogSoftmax(-1), "output"),
        (nn.Softmin(-1), "output"),
        (nn.Sigmoid(), "output"),
        (nn.Tanh(), "output"),
        (nn.Hardsigmoid(), "output"),
        (nn.LogSigmoid(), "output"),
        (nn.ReLU(), "output"),
        (nn.Softplus(), "output"),
        (nn.GLU(), "gate"),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, nn.Module) else str(value),
)
def test_role_of_the_last_activation(last: nn.Module, role: str) -> None:
    model = nn.Sequential(nn.Linear(2, 2), nn.ReLU(), nn.Linear(2, 2), last)
    assert [site.role for site in acs.sites(model)] == ["hidden", role]


@pytest.mark.parametrize("kind", [nn.Sigmoid, nn.Tanh])
def test_a_squashing_function_inside_the_model_is_hidden(kind: type[nn.Module]) -> None:
    model = nn.Sequential(nn.Linear(2, 2), kind(), nn.Linear(2, 1))
    assert [site.role for site in acs.sites(model)] == ["hidden"]


@pytest.mark.parametrize("after", [nn.Flatten(0), nn.Identity(), nn.Dropout(0.1)])
def test_what_only_reshapes_may_follow_an_output_activation(after: nn.Module) -> None:
    model = nn.Sequential(nn.Linear(2, 4), nn.ReLU(), nn.Linear(4, 1), nn.Sigmoid(), after)
    assert [site.role for site in acs.sites(model)] == ["hidden", "output"]


@pytest.mark.parametrize("layer", [nn.TransformerEncoderLayer, nn.TransformerDecoderLayer])
@pytest.mark.parametrize("act", [nn.Tanh, nn.Sigmoid])
def test_a_transformer_layers_activation_is_hidden_although_defined_last(
    layer: type[nn.Module], act: type[nn.Module]
) -> None:
    model = nn.Sequential(nn.Linear(3, 8), layer(8, 2, 16, activation=act()))
    assert [site.role for site in acs.sites(model)] == ["hidden"]


def test_softmax_in_the_middle_is_an_output_too() -> None:
    model = nn.Sequential(
        nn.Linear(2, 2), nn.Softmax(-1), nn.Linear(2, 2), nn.ReLU(), nn.Linear(2, 1)
    )
    assert [site.role for site in acs.sites(model)] == ["output", "hidden"]


def test_one_instance_under_several_names_is_a_site_for_each_name() -> None:
    act = nn.ReLU()
    model = nn.Sequential(nn.Linear(6, 8), act, nn.Linear(8, 5), act)
    assert [(site.path, site.aliases) for site in acs.sites(model)] == [("1", ()), ("3", ())]


def test_a_block_used_twice_is_one_site_with_an_alias() -> None:
    block = Block(nn.ReLU())
    (site,) = acs.sites(nn.Sequential(block, block))
    assert (site.path, site.aliases) == ("0.act", ("1.act",))


# placing: what stays, what changes


@pytest.mark.parametrize("kind", MODELS)
@pytest.mark.parametrize("act", ["silu", "prelu", "rrelu", PER_CHANNEL])
def test_the_users_model_is_untouched(kind: str, act: str) -> None:
    model, x = model_and_input(kind)
    modules = list(model.modules())
    state = copy.deepcopy(model.state_dict())
    text = repr(model)
    placed = acs.place(model, act, sample=x).model
    optimizer = torch.optim.SGD(placed.parameters(), lr=0.5)
    torch.autograd.backward(placed(x).square().sum())
    optimizer.step()
    assert [id(module) for module in model.modules()] == [id(module) for module in modules]
    assert repr(model) == text
    assert all(parameter.grad is None for parameter in model.parameters())
    for name, tensor in model.state_dict().items():
        assert torch.equal(tensor, state[name]), name
    assert all(module.training for module in model.modules())
    assert not any(
        module._forward_hooks or module._forward_pre_hooks for module in model.modules()
    )


SAME: dict[str, Callable[[], nn.Module]] = {
    "relu": nn.ReLU,
    "gelu": nn.GELU,
    "silu": nn.SiLU,
    "elu": nn.ELU,
    "selu": nn.SELU,
    "celu": nn.CELU,
    "mish": nn.Mish,
    "tanh": nn.Tanh,
    "softplus": nn.Softplus,
    "softsign": nn.Softsign,
    "hardswish": nn.Hardswish,
    "leaky_relu": nn.LeakyReLU,
}


@pytest.mark.parametrize("training", [True, False], ids=["train", "eval"])
@pytest.mark.parametrize("kind", MODELS)
@pytest.mark.parametrize("name", SAME)
def test_the_same_activation_put_back_is_bit_equal(name: str, kind: str, training: bool) -> None:
    model, x = model_and_input(kind, SAME[name])
    model.train(training)
    placed = acs.place(model, name).model
    expected, found = run(model, x), run(placed, x)
    assert torch.equal(found, expected)
    torch.autograd.backward([expected.sum(), found.sum()])
    for (path, a), b in zip(model.named_parameters(), placed.parameters(), strict=True):
        assert a.grad is not None, path
        assert b.grad is not None, path
        assert torch.equal(a.grad, b.grad), path
    assert unequal_paths(model, placed) == []  # running statistics of BatchNorm


@pytest.mark.parametrize("training", [True, False], ids=["train", "eval"])
@pytest.mark.parametrize("kind", MODELS)
@pytest.mark.parametrize("act", ["silu", "x * tanh(softplus(x)) + 0.1 * sin(x)"])
def test_another_activation_changes_the_output(act: str, kind: str, training: bool) -> None:
    model, x = model_and_input(kind)
    model.train(training)
    placed = acs.place(model, act).model
    with torch.no_grad():
        assert (run(placed, x) - run(model, x)).abs().max() > 1e-3


def reference_layer(model: nn.Module, function: Callable[[Tensor], Tensor]) -> nn.Module:
    """The same layer with a plain function, which torch never fuses."""
    reference = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True, activation=function)
    reference.load_state_dict(model.state_dict())
    return reference.eval()


@pytest.mark.parametrize(
    ("act", "function"),
    [("silu", F.silu), ("tanh", torch.tanh), ("relu(x)**2", lambda x: F.relu(x) ** 2)],
)
def test_fused_inference_of_a_transformer_layer_computes_the_new_activation(
    act: str, function: Callable[[Tensor], Tensor]
) -> None:
    model, x = model_and_input("transformer")
    model.eval()
    placed = acs.place(model, act).model
    with torch.no_grad():
        torch.testing.assert_close(placed(x), reference_layer(model, function)(x))
    assert model.activation_relu_or_gelu != 0  # the user's own stays fused


def test_a_transformer_with_padding_computes_the_new_activation_in_eval_mode() -> None:
    layer, x = model_and_input("transformer")
    model = nn.TransformerEncoder(layer, 2).eval()  # type: ignore[arg-type]
    placed = acs.place(model, "silu").model
    padding = torch.tensor([[0, 0, 0], [0, 0, 1], [0, 1, 1], [0, 0, 0]], dtype=torch.bool)
    reference = nn.TransformerEncoder(
        nn.TransformerEncoderLayer(8, 2, 16, batch_first=True, activation=F.silu),
        2,
        enable_nested_tensor=False,
    ).eval()
    reference.load_state_dict(model.state_dict())
    with torch.no_grad():
        found = placed(x, src_key_padding_mask=padding)
        expected = reference(x, src_key_padding_mask=padding)
    torch.testing.assert_close(found[~padding], expected[~padding])
    assert model.use_nested_tensor


# what is placed where


def test_a_mapping_changes_the_named_sites_alone() -> None:
    model = Net()
    placement = acs.place(model, {"layer1.act": "gelu", "act": "x*sigmoid(x)"})
    assert [(item.path, item.old, item.new) for item in placement.replaced] == [
        ("layer1.act", "ReLU", "gelu"),
        ("act", "GELU", "x * sigmoid(x)"),
    ]
    assert placement.skipped == (("layer2.act", "not asked for"),)
    assert isinstance(placement.model.get_submodule("layer2.act"), nn.Tanh)
    assert "layer1.act: ReLU -> gelu" in str(placement)


def test_a_placement_tells_what_it_left_alone_and_why() -> None:
    model = nn.Sequential(nn.Linear(4, 8), nn.GLU(), nn.ReLU(), nn.Linear(4, 1), nn.Sigmoid())
    placement = acs.place(model, "silu")
    assert [item.path for item in placement.replaced] == ["2"]
    assert placement.skipped == (("1", "role gate"), ("4", "role output"))


def test_every_site_gets_a_module_of_its_own() -> None:
    act = nn.ReLU()
    model = nn.Sequential(nn.Linear(6, 8), act, nn.Linear(8, 5), act, nn.Linear(5, 2))
    placed = acs.place(model, "swish").model
    assert placed.get_submodule("1") is not placed.get_submodule("3")
    assert len(list(placed.parameters())) == len(list(model.parameters())) + 2


@pytest.mark.parametrize("path", ["0.act", "1.act"])
def test_a_site_can_be_named_by_any_of_its_paths(path: str) -> None:
    block = Block(nn.ReLU())
    placed = acs.place(nn.Sequential(block, block), {path: "tanh"}).model
    assert placed.get_submodule("0") is placed.get_submodule("1")
    x = torch.randn(3, 6)
    once = x + block.out(torch.tanh(block.fc(x)))
    torch.testing.assert_close(placed(x), once + block.out(torch.tanh(block.fc(once))))


def test_a_placed_activation_is_a_site_again() -> None:
    x = torch.randn(4, 6)
    model = mlp()
    twice = acs.place(acs.place(model, PER_CHANNEL).model, "relu").model
    assert torch.equal(twice(x), model(x))


@pytest.mark.parametrize(
    "what",
    [
        "tanh",
        "tanh(x)",
        acs.parse("tanh(x)"),
        nn.Tanh(),
        acs.activation("tanh"),
        acs.Candidate.of("tanh"),
    ],
    ids=["name", "formula", "expression", "module", "activation", "candidate"],
)
def test_an_activation_can_be_given_in_any_form(what: Any) -> None:
    model, x = model_and_input("mlp")
    expected, _ = model_and_input("mlp", nn.Tanh)
    torch.testing.assert_close(acs.place(model, what).model(x), expected(x))


def test_a_users_own_module_is_copied_to_each_site() -> None:
    own = nn.PReLU()
    placed = acs.place(mlp(), own).model
    first, second = placed.get_submodule("1"), placed.get_submodule("3")
    assert type(first) is type(second) is nn.PReLU
    assert first is not own
    assert first is not second


def test_a_candidate_by_site_goes_to_its_sites() -> None:
    record = CandidateRecord({"1": ActivationRecord("tanh(x)"), "3": ActivationRecord("sin(x)")})
    placement = acs.Candidate(record).place(mlp())
    assert [(item.path, item.new) for item in placement.replaced] == [
        ("1", "tanh(x)"),
        ("3", "sin(x)"),
    ]


# refusals


def test_an_unknown_path_names_the_nearest() -> None:
    with pytest.raises(acs.PlacementError, match=r"'layer1.actt'; did you mean 'layer1.act'"):
        acs.place(Net(), {"layer1.actt": "gelu"})


@pytest.mark.parametrize(
    ("model", "says"),
    [
        (nn.Linear(2, 2), r"nothing to replace in Linear: it has no hidden activation\."),
        (nn.Sequential(nn.Linear(2, 4), nn.GLU()), "1: GLU, role gate"),
        (nn.Sequential(nn.Linear(2, 1), nn.Sigmoid()), "1: Sigmoid, role output"),
        (nn.LSTM(2, 3), "LSTM computes its own activations in one fused kernel"),
    ],
    ids=["none", "gate", "output", "fused"],
)
def test_nothing_to_replace_is_an_error_that_says_why(model: nn.Module, says: str) -> None:
    with pytest.raises(acs.PlacementError, match=says):
        acs.place(model, "gelu")


@pytest.mark.parametrize(
    "act",
    ["softmax", acs.activation("softmax"), nn.Softmax(-1), nn.LogSoftmax(-1), {"1": "softmax"}],
    ids=["name", "activation", "Softmax", "LogSoftmax", "mapping"],
)
def test_softmax_is_never_placed(act: Any) -> None:
    with pytest.raises(acs.PlacementError, match=r"(?i)softmax is not a hidden activation"):
        acs.place(mlp(), act)


@pytest.mark.parametrize(
    ("model", "act", "error"),
    [
        ("resnet", "gelu", acs.PlacementError),
        (mlp(), "gelux", acs.ActivationError),
        (mlp(), "x +* 2", acs.FormulaError),
        (mlp(), 3, acs.ActivationError),
        (mlp(), {}, acs.PlacementError),
    ],
)
def test_bad_input_is_refused(model: Any, act: Any, error: type[Exception]) -> None:
    with pytest.raises(error):
        acs.place(model, act)


def test_a_model_that_cannot_be_copied_is_refused() -> None:
    model = mlp()
    model.held = (number for number in range(3))  # type: ignore[assignment]
    with pytest.raises(
        acs.PlacementError, match="cannot be copied.*give a function that builds it"
    ):
        acs.place(model, "gelu")


# learned parameters


@pytest.mark.parametrize(
    ("kind", "channels", "axis"),
    [("mlp", [8, 5], 1), ("cnn", [4, 6], 1), ("transformer", [16], 2)],
)
def test_channels_are_inferred_from_a_sample(kind: str, channels: list[int], axis: int) -> None:
    model, x = model_and_input(kind)
    placed = acs.place(model, PER_CHANNEL, sample=x).model
    acts = [placed.get_submodule(site.path) for site in acs.sites(placed)]
    assert [len(act.theta_0) for act in acts] == channels  # type: ignore[arg-type]
    seen: list[tuple[nn.Module, Tensor, Tensor]] = []
    for act in acts:
        nn.init.uniform_(act.theta_0)  # type: ignore[arg-type]
        act.register_forward_hook(lambda module, args, y: seen.append((module, args[0], y)))
    run(placed, x)
    for act, into, out in seen:
        shape = [1] * into.dim()
        shape[axis] = -1
        slope = act.theta_0.view(shape)  # type: ignore[operator]
        torch.testing.assert_close(out, torch.where(into >= 0, into, slope * into))
    assert len(seen) == len(channels)


@pytest.mark.parametrize(("kind", "channels"), [("mlp", [8, 5]), ("cnn", [4, 6])])
def test_channels_in_a_sequential_need_no_sample(kind: str, channels: list[int]) -> None:
    model, x = model_and_input(kind)
    placed = acs.place(model, PER_CHANNEL).model
    found = [placed.get_submodule(site.path).channels for site in acs.sites(placed)]
    assert found == channels
    assert run(placed, x).isfinite().all()


@pytest.mark.parametrize("with_sample", [True, False])
def test_channels_differ_by_site_where_the_model_shared_one_instance(with_sample: bool) -> None:
    act = nn.ReLU()
    model = nn.Sequential(nn.Linear(6, 8), act, nn.Linear(8, 5), act, nn.Linear(5, 3))
    x = torch.randn(2, 6)
    placed = acs.place(model, PER_CHANNEL, sample=x if with_sample else None).model
    assert [placed.get_submodule(path).channels for path in ("1", "3")] == [8, 5]
    assert placed(x).shape == (2, 3)


def test_a_linear_layer_on_images_keeps_its_channels_last() -> None:
    model = nn.Sequential(nn.Linear(6, 8), nn.Dropout(0.1), nn.ReLU())
    x = torch.randn(2, 3, 4, 6)
    placed = acs.place(model, PER_CHANNEL, sample=x).model
    assert placed.get_submodule("2").channels == 8
    assert placed(x).shape == (2, 3, 4, 8)


@pytest.mark.parametrize(
    ("model", "sample", "says"),
    [
        (Net(), None, "give sample="),
        (nn.Sequential(nn.Linear(6, 8), nn.Unflatten(1, (2, 4)), nn.ReLU()), None, "give sample="),
        (Reshaping(), torch.randn(3, 6), "'act'.*channels are lost after reshape"),
        (mlp(), torch.randn(3, 4), "does not run on the sample"),
        (nn.ModuleDict({"act": nn.ReLU()}), torch.randn(3, 4), "does not run on the sample"),
    ],
    ids=["no sample", "unknown layer", "ambiguous", "wrong shape", "no forward"],
)
def test_channels_that_cannot_be_told_are_refused(
    model: nn.Module, sample: Tensor | None, says: str
) -> None:
    with pytest.raises(acs.PlacementError, match=says):
        acs.place(model, PER_CHANNEL, sample=sample)


def test_a_site_that_the_sample_does_not_reach_is_refused() -> None:
    model = Block(nn.ReLU())
    model.unused = nn.ReLU()
    with pytest.raises(acs.PlacementError, match="'unused'.*does not reach it"):
        acs.place(model, PER_CHANNEL, sample=torch.randn(2, 6))


def test_an_ambiguous_axis_does_not_matter_to_parameters_shared_by_all() -> None:
    model = Reshaping()
    placed = acs.place(model, "prelu", sample=torch.randn(3, 6)).model
    assert placed(torch.randn(3, 6)).shape == (3, 2, 4)


@pytest.mark.parametrize("kind", MODELS)
@pytest.mark.parametrize("act", ["prelu", "swish", "max_affine", PER_CHANNEL])
def test_one_optimiser_step_moves_the_learned_parameters(act: str, kind: str) -> None:
    model, x = model_and_input(kind)
    placed = acs.place(model, act, sample=x).model
    learned = {name: p for name, p in placed.named_parameters() if "theta" in name}
    before = {name: p.detach().clone() for name, p in learned.items()}
    optimizer = torch.optim.SGD(placed.parameters(), lr=0.1)
    y = run(placed, x)
    torch.autograd.backward((y * torch.linspace(-1, 1, y.shape[-1])).sum())
    optimizer.step()
    assert learned
    for name, parameter in learned.items():
        assert not torch.equal(parameter, before[name]), name


# dtype, mode, device, copies


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16])
@pytest.mark.parametrize("act", ["gelu", "prelu", "max(x, 0.1) * sigmoid(x)", PER_CHANNEL])
def test_dtype_follows_the_model(act: str, dtype: torch.dtype) -> None:
    model, x = model_and_input("mlp")
    placed = acs.place(model.to(dtype), act).model
    assert {parameter.dtype for parameter in placed.parameters()} == {dtype}
    assert placed(x.to(dtype)).dtype == dtype


@pytest.mark.parametrize("training", [True, False])
def test_training_mode_follows_each_site(training: bool) -> None:
    model = Net().train(training)
    model.layer1.act.train(not training)
    placed = acs.place(model, "rrelu").model
    modes = {path: placed.get_submodule(path).training for path in ("layer1.act", "layer2.act")}
    assert modes == {"layer1.act": not training, "layer2.act": training}
    assert placed.training is training


DEVICES = [
    "meta",
    pytest.param("cuda", marks=pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")),
]


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("act", ["prelu", PER_CHANNEL, "min(max(x, -1), 1)"])
def test_device_follows_the_model(act: str, device: str) -> None:
    model = mlp().to(device)
    placed = acs.place(model, act).model
    tensors = [*placed.parameters(), *placed.buffers()]
    assert {tensor.device.type for tensor in tensors} == {device}
    assert placed(torch.randn(2, 6, device=device)).device.type == device


def trained(act: str) -> tuple[nn.Module, nn.Module, Tensor]:
    """A model, and a copy with an activation that was trained for three steps."""
    model, x = model_and_input("cnn")
    placed = acs.place(model, act, sample=x).model
    optimizer = torch.optim.SGD(placed.parameters(), lr=0.1)
    for _ in range(3):
        optimizer.zero_grad()
        torch.autograd.backward(run(placed, x).square().sum())
        optimizer.step()
    return model, placed.eval(), x


LEARNED = ["swish", PER_CHANNEL, "max(0.3, x) * tanh(param(0.7) * x)"]


@pytest.mark.parametrize("act", LEARNED)
def test_state_dict_is_saved_and_loaded(act: str) -> None:
    model, placed, x = trained(act)
    file = io.BytesIO()
    torch.save(placed.state_dict(), file)
    file.seek(0)
    again = acs.place(model, act, sample=x).model.eval()
    assert not torch.equal(again(x), placed(x))
    again.load_state_dict(torch.load(file, weights_only=True))
    assert torch.equal(again(x), placed(x))


@pytest.mark.parametrize("duplicate", [copy.deepcopy, lambda m: pickle.loads(pickle.dumps(m))])
@pytest.mark.parametrize("act", [*LEARNED, "gelu", "rrelu"])
def test_a_placed_model_can_be_copied_and_pickled(
    act: str, duplicate: Callable[[nn.Module], nn.Module]
) -> None:
    _, placed, x = trained(act)
    other = duplicate(placed)
    expected = placed(x).detach().clone()
    assert torch.equal(other(x), expected)
    with torch.no_grad():
        for parameter in other.parameters():
            parameter.add_(1)
    assert torch.equal(placed(x), expected)


# what arrives at a site


def pre_activations(model: nn.Module, sample: Any) -> dict[str, SiteTrace]:
    """What arrives at each hidden site, by path."""
    analysis = ModelAnalysis(model, sample)
    return analysis.traces(site.path for site in analysis.sites if site.role == "hidden")


def test_pre_activations_are_what_the_layers_before_compute() -> None:
    model, x = model_and_input("mlp")
    seen = pre_activations(model, x)
    first = model.get_submodule("0")(x)
    assert torch.equal(seen["1"].inputs, first)
    assert torch.equal(seen["3"].inputs, model.get_submodule("2")(first.relu()))
    assert {path: item.channels for path, item in seen.items()} == {"1": 8, "3": 5}


class Keywords(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.act = nn.ReLU()

    def forward(self, a: Tensor, b: Tensor) -> Tensor:
        result: Tensor = self.act(a - b)
        return result


@pytest.mark.parametrize("form", ["tuple", "list", "mapping"])
def test_a_sample_may_be_several_arguments(form: str) -> None:
    a, b = torch.randn(2, 4), torch.randn(2, 4)
    samples: Mapping[str, Any] = {"tuple": (a, b), "list": [a, b], "mapping": {"b": b, "a": a}}
    assert torch.equal(pre_activations(Keywords(), samples[form])["act"].inputs, a - b)


def test_watching_leaves_mode_and_random_numbers_alone() -> None:
    model, x = model_and_input("cnn")
    before, state = copy.deepcopy(model.state_dict()), torch.get_rng_state()
    pre_activations(model, x)
    assert model.training
    assert torch.equal(torch.get_rng_state(), state)
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())


def test_channels_are_followed_through_a_sum() -> None:
    class Last(nn.Module):
        """Images with the channels last, as after a permutation."""

        def __init__(self) -> None:
            super().__init__()
            self.layer, self.act = nn.Linear(6, 6), nn.ReLU()

        def forward(self, x: Tensor) -> Tensor:
            result: Tensor = self.act(0.5 * (self.layer(x) + x))
            return result

    x = torch.randn(2, 5, 4, 6)
    placed = acs.place(Last(), PER_CHANNEL, sample=x).model
    assert {tuple(item.shape) for name, item in placed.named_parameters() if "theta" in name} == {
        (6,)
    }
    assert placed(x).shape == x.shape
