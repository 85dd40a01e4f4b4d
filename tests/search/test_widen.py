"""Placing maxout: the layer before each site becomes wider on the copy, and training starts from leaky_relu."""

from __future__ import annotations

import copy
import io
import itertools
import pickle
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
from scipy import signal
from torch import Tensor, nn
from torch.nn import functional as F

import actsearch as acs
from actsearch.evaluation import Candidate
from actsearch.training import parameter_groups

Array = npt.NDArray[np.float64]
PIECES = (2, 3, 4)


# the start


class Perceptron(nn.Module):
    """The activation stands apart from its layer: only a sample tells which one it is."""

    def __init__(self, act: nn.Module) -> None:
        super().__init__()
        self.act = act
        self.out = nn.Linear(8, 3)
        self.fc = nn.Linear(6, 8)

    def forward(self, x: Tensor) -> Tensor:
        result: Tensor = self.out(self.act(self.fc(x)))
        return result


Activations = Callable[[], nn.Module]
_IMAGE = (3, 4, 6, 6)


def _image(*layers: nn.Module) -> nn.Module:
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(24, 3))


MODELS: dict[str, tuple[Callable[[Activations], nn.Module], tuple[int, ...]]] = {
    "mlp": (
        lambda act: nn.Sequential(
            nn.Linear(6, 8), act(), nn.Linear(8, 5, bias=False), act(), nn.Linear(5, 3)
        ),
        (7, 6),
    ),
    "apart": (lambda act: Perceptron(act()), (7, 6)),
    "norm and dropout": (
        lambda act: nn.Sequential(
            nn.Linear(6, 8),
            nn.Identity(),
            nn.BatchNorm1d(8),
            nn.Dropout(0),
            act(),
            nn.Linear(8, 3),
        ),
        (7, 6),
    ),
    "two norms": (
        lambda act: nn.Sequential(
            nn.Linear(6, 8), nn.BatchNorm1d(8), nn.BatchNorm1d(8), act(), nn.Linear(8, 3)
        ),
        (7, 6),
    ),
    "channels last": (
        lambda act: nn.Sequential(nn.Linear(6, 8), act(), nn.Linear(8, 3)),
        (2, 3, 4, 6),
    ),
    "conv": (lambda act: _image(nn.Conv2d(4, 6, 3), act()), _IMAGE),
    "conv, norm": (
        lambda act: _image(nn.Conv2d(4, 6, 3, bias=False), nn.BatchNorm2d(6), act()),
        _IMAGE,
    ),
    "momentless norm": (
        lambda act: _image(
            nn.Conv2d(4, 6, 3), nn.BatchNorm2d(6, track_running_stats=False), act()
        ),
        _IMAGE,
    ),
    "grouped": (lambda act: _image(nn.Conv2d(4, 6, 3, groups=2), act()), _IMAGE),
    "depthwise": (
        lambda act: _image(nn.Conv2d(4, 6, 1), nn.Conv2d(6, 6, 3, groups=6), act()),
        _IMAGE,
    ),
    "transposed": (
        lambda act: _image(
            nn.ConvTranspose2d(4, 6, 3, stride=2, groups=2), act(), nn.Conv2d(6, 6, 3)
        ),
        _IMAGE,
    ),
    "transposed, norm": (
        lambda act: _image(nn.ConvTranspose2d(4, 6, 3, bias=False), nn.BatchNorm2d(6), act()),
        _IMAGE,
    ),
    "series": (
        lambda act: nn.Sequential(nn.Conv1d(4, 6, 3), act(), nn.Flatten(), nn.Linear(30, 3)),
        (3, 4, 7),
    ),
    "volume": (
        lambda act: nn.Sequential(nn.Conv3d(2, 4, 2), act(), nn.Flatten(), nn.Linear(108, 3)),
        (2, 2, 4, 4, 4),
    ),
    "transformer": (
        lambda act: nn.TransformerEncoderLayer(8, 2, 16, batch_first=True, activation=act()),
        (4, 3, 8),
    ),
}
NEED_A_SAMPLE = {"apart", "transformer"}


def leaky() -> nn.Module:
    return nn.LeakyReLU(0.25)


def model_and_input(
    kind: str, act: Activations = nn.ReLU, dtype: torch.dtype = torch.float64
) -> tuple[nn.Module, Tensor]:
    """As after some training: no weight or statistic has the value that it is made with."""
    make, shape = MODELS[kind]
    torch.manual_seed(5)
    model = make(act).to(dtype)
    with torch.no_grad():
        for tensor in [*model.parameters(), *model.buffers()]:
            if tensor.is_floating_point():
                tensor.copy_(tensor + 0.3 * torch.rand(tensor.shape))
    return model, torch.randn(shape, dtype=dtype)


def run(model: nn.Module, x: Tensor) -> Tensor:
    torch.manual_seed(11)  # dropout of the transformer layer
    result: Tensor = model(x)
    return result


@pytest.mark.parametrize(
    ("pieces", "training", "with_sample"),
    [
        # in the gate every two of the three meet
        pytest.param(*case, marks=() if sum(case) % 2 else pytest.mark.slow)
        for case in itertools.product(PIECES, (True, False), (True, False))
    ],
)
@pytest.mark.parametrize("kind", MODELS)
def test_a_placed_model_starts_as_with_leaky_relu_and_the_same_weights(
    kind: str, pieces: int, training: bool, with_sample: bool
) -> None:
    if kind in NEED_A_SAMPLE and not with_sample:
        return
    model, x = model_and_input(kind)
    expected, _ = model_and_input(kind, leaky)
    act = Candidate.of("maxout", pieces=pieces)
    placed = act.place(model, sample=x if with_sample else None).model
    for _ in range(2):  # in training, batch normalisation has moved its statistics after the first
        torch.testing.assert_close(
            run(placed.train(training), x),
            run(expected.train(training), x),
            rtol=1e-12,
            atol=1e-12,
        )
    torch.testing.assert_close(
        run(placed.eval(), x), run(expected.eval(), x), rtol=1e-12, atol=1e-12
    )


@pytest.mark.parametrize("kind", MODELS)
def test_the_users_model_is_untouched_and_gradients_reach_every_weight(kind: str) -> None:
    model, x = model_and_input(kind)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    placed = acs.place(model, "maxout", sample=x).model
    torch.autograd.backward(run(placed.train(), x).square().sum())
    assert all(p.grad is not None and p.grad.isfinite().all() for p in placed.parameters())
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())
    assert all(parameter.grad is None for parameter in model.parameters())


def test_an_input_without_a_batch_is_taken_too() -> None:
    for kind in ("mlp", "conv"):
        model, x = model_and_input(kind)
        layers = nn.Sequential(*list(model.children())[:2])
        placed = acs.place(layers, "maxout").model
        torch.testing.assert_close(
            placed(x[0]), F.leaky_relu(model.get_submodule("0")(x[0]), 0.25)
        )


@pytest.mark.parametrize("pieces", PIECES)
@pytest.mark.parametrize("kind", ["mlp", "conv, norm", "grouped", "transposed"])
def test_the_layer_is_as_many_times_wider_and_its_repetitions_lie_side_by_side(
    kind: str, pieces: int
) -> None:
    model, x = model_and_input(kind)
    placed = acs.place(model, acs.activation("maxout", pieces=pieces), sample=x)
    layer, wide = model.get_submodule("0"), placed.model.get_submodule("0")
    width = "out_features" if isinstance(layer, nn.Linear) else "out_channels"
    assert getattr(wide, width) == pieces * getattr(layer, width)
    one, other = layer(x).detach().numpy(), wide(x).detach().numpy()
    slopes = np.ones(pieces) if kind == "conv, norm" else np.linspace(1, 0.25, pieces)
    for channel, piece in itertools.product(range(one.shape[1]), range(pieces)):
        np.testing.assert_allclose(
            other[:, channel * pieces + piece],
            slopes[piece] * one[:, channel],
            rtol=1e-10,
            atol=1e-13,
        )
    assert placed.replaced[0].widened == "0"
    label = "maxout" if pieces == 2 else f"maxout(pieces={pieces})"
    assert f"ReLU -> {label} (0 widened)" in str(placed)


def test_other_activations_widen_nothing() -> None:
    model, x = model_and_input("mlp")
    placed = acs.place(model, "max_affine", sample=x)
    assert [item.widened for item in placed.replaced] == ["", ""]
    assert "wide" not in str(placed)


def test_single_sites_are_named_by_path_and_keep_the_others() -> None:
    model, x = model_and_input("mlp")
    three = acs.activation("maxout", pieces=3)
    placed = acs.place(model, {"3": three, "1": "gelu"}, sample=x).model
    first, second = model.get_submodule("0"), model.get_submodule("2")
    hidden = F.leaky_relu(second(F.gelu(first(x))), 0.25)
    torch.testing.assert_close(placed(x), model.get_submodule("4")(hidden))
    assert placed.get_submodule("0").weight.shape == first.weight.shape
    assert placed.get_submodule("2").weight.shape == (15, 8)


def test_sites_with_different_pieces_are_widened_each_by_its_own() -> None:
    model, x = model_and_input("mlp")
    acts = {"1": acs.activation("maxout", pieces=4), "3": "maxout"}
    placed = acs.place(model, acts, sample=x)
    assert [item.widened for item in placed.replaced] == ["0", "2"]
    assert placed.model.get_submodule("0").weight.shape == (32, 6)
    assert placed.model.get_submodule("2").weight.shape == (10, 8)


def test_one_instance_at_two_sites_and_a_layer_called_twice_are_no_obstacle() -> None:
    shared = nn.ReLU()
    model = nn.Sequential(nn.Linear(6, 8), shared, nn.Linear(8, 5), shared, nn.Linear(5, 3))
    x = torch.randn(4, 6)
    assert acs.place(model, "maxout", sample=x).model(x).shape == (4, 3)

    class Twice(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.fc, self.act = nn.Linear(6, 6), nn.ReLU()

        def forward(self, x: Tensor) -> Tensor:
            result: Tensor = self.act(self.fc(self.act(self.fc(x))))
            return result

    twice = Twice()
    expected = F.leaky_relu(twice.fc(F.leaky_relu(twice.fc(x), 0.25)), 0.25)
    torch.testing.assert_close(acs.place(twice, "maxout", sample=x).model(x), expected)


def test_a_placed_maxout_is_a_gate_that_later_placements_leave_alone() -> None:
    model, x = model_and_input("mlp")
    once = acs.place(model, {"1": "maxout"}, sample=x).model
    assert [site.role for site in acs.sites(once)] == ["gate", "hidden"]
    twice = acs.place(once, "gelu", sample=x)
    assert twice.skipped == (("1", "role gate"),)
    assert twice.model(x).shape == (7, 3)
    with pytest.raises(acs.PlacementError, match="maxout at '1' changes the shape already"):
        acs.place(once, {"1": "maxout"}, sample=x)


# what stays an ordinary model


@pytest.mark.parametrize("kind", ["mlp", "conv, norm"])
def test_frozen_weights_stay_frozen_and_the_others_trained(kind: str) -> None:
    model, x = model_and_input(kind)
    model.get_submodule("0").requires_grad_(False)
    placed = acs.place(model, "maxout", sample=x).model
    wanted = {name: parameter.requires_grad for name, parameter in model.named_parameters()}
    assert {name: p.requires_grad for name, p in placed.named_parameters()} == wanted


def test_widened_weights_are_weights_and_decay_like_them() -> None:
    model, x = model_and_input("mlp")
    placed = acs.place(model, "maxout", sample=x).model
    (group,) = parameter_groups(placed)
    assert len(group["params"]) == len(list(model.parameters()))
    assert "weight_decay" not in group


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16, torch.float16])
def test_dtype_follows_the_model_before_and_after(dtype: torch.dtype) -> None:
    model, x = model_and_input("conv, norm", dtype=dtype)
    placed = acs.place(model, "maxout", sample=x).model
    assert {p.dtype for p in [*placed.parameters()]} == {dtype}
    assert placed(x).dtype == dtype
    assert placed.to(torch.float64)(x.double()).dtype == torch.float64


DEVICES = [
    "meta",
    pytest.param("cuda", marks=pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")),
]


@pytest.mark.parametrize("with_sample", [True, False])
@pytest.mark.parametrize("device", DEVICES)
def test_device_follows_the_model(device: str, with_sample: bool) -> None:
    model, x = model_and_input("conv, norm", dtype=torch.float32)
    model, x = model.to(device), x.to(device)
    placed = acs.place(model, "maxout", sample=x if with_sample else None).model
    assert {t.device.type for t in [*placed.parameters(), *placed.buffers()]} == {device}
    assert placed(x).shape == (3, 3)


def trained(kind: str, pieces: int = 2) -> tuple[nn.Module, nn.Module, Tensor]:
    """A model, and its placed copy after some steps."""
    model, x = model_and_input(kind)
    placed = Candidate.of("maxout", pieces=pieces).place(model, sample=x).model
    optimizer = torch.optim.SGD(placed.parameters(), lr=0.02)
    for _ in range(5):
        optimizer.zero_grad()
        torch.autograd.backward((run(placed.train(), x) - 1).square().mean())
        optimizer.step()
    return model, placed.eval(), x


@pytest.mark.parametrize("kind", ["mlp", "conv, norm", "transposed"])
def test_a_state_dict_is_saved_and_loaded(kind: str) -> None:
    model, placed, x = trained(kind)
    file = io.BytesIO()
    torch.save(placed.state_dict(), file)
    file.seek(0)
    again = acs.place(model, "maxout", sample=x).model.eval()
    assert not torch.equal(again(x), placed(x))
    again.load_state_dict(torch.load(file, weights_only=True))
    assert torch.equal(again(x), placed(x))


@pytest.mark.parametrize("duplicate", [copy.deepcopy, lambda m: pickle.loads(pickle.dumps(m))])
def test_a_placed_model_can_be_copied(duplicate: Callable[[nn.Module], nn.Module]) -> None:
    _, placed, x = trained("conv, norm")
    other = duplicate(placed)
    expected = placed(x).detach().clone()
    assert torch.equal(other(x), expected)
    with torch.no_grad():
        for parameter in other.parameters():
            parameter.add_(1)
    assert torch.equal(placed(x), expected)


def test_placing_draws_no_random_numbers_and_keeps_each_mode() -> None:
    model, x = model_and_input("norm and dropout")
    model.train().get_submodule("2").eval()
    state = torch.get_rng_state()
    placed = acs.place(model, "maxout", sample=x).model
    assert torch.equal(torch.get_rng_state(), state)
    assert [m.training for m in placed.modules()] == [m.training for m in model.modules()]


# what is learned


def site_input_and_output(
    model: nn.Module, x: Tensor, layer: str, site: str
) -> tuple[Array, Array]:
    """What the widened layer was given, and what the site gave."""
    seen: list[Tensor] = []
    hooks = [
        model.get_submodule(layer).register_forward_pre_hook(lambda _, args: seen.append(args[0])),
        model.get_submodule(site).register_forward_hook(lambda _, args, y: seen.append(y)),
    ]
    with torch.no_grad():
        model(x)
    for hook in hooks:
        hook.remove()
    before, after = seen
    return before.numpy(), after.numpy()


@pytest.mark.parametrize("pieces", PIECES)
def test_after_training_a_site_is_the_largest_of_different_affine_maps(pieces: int) -> None:
    model, placed, x = trained("mlp", pieces)
    layer = placed.get_submodule("0")
    weight = layer.get_parameter("weight").detach().numpy().reshape(8, pieces, 6)
    bias = layer.get_parameter("bias").detach().numpy().reshape(8, pieces)
    inputs, outputs = site_input_and_output(placed, x, "0", "1")
    maps = [inputs @ weight[:, piece].T + bias[:, piece] for piece in range(pieces)]
    np.testing.assert_allclose(outputs, np.max(maps, axis=0), rtol=1e-12, atol=1e-12)
    start = model.get_parameter("0.weight").detach().numpy()
    moved = [weight[:, j] - slope * start for j, slope in enumerate(np.linspace(1, 0.25, pieces))]
    for one, other in itertools.combinations([0, pieces - 1], 2):
        assert np.abs(moved[one] - moved[other]).max() > 1e-3 * np.abs(start).max()


@pytest.mark.parametrize("groups", [1, 2])
def test_after_training_a_convolution_site_is_the_largest_of_different_maps(groups: int) -> None:
    _, placed, x = trained("grouped" if groups == 2 else "conv", 3)
    layer = placed.get_submodule("0")
    weight = layer.get_parameter("weight").detach().numpy().reshape(6, 3, 4 // groups, 3, 3)
    bias = layer.get_parameter("bias").detach().numpy().reshape(6, 3)
    inputs, outputs = site_input_and_output(placed, x, "0", "1")

    def mapped(image: Array, channel: int, piece: int) -> Array:
        group = channel * groups // 6
        planes = image[group * 4 // groups : (group + 1) * 4 // groups]
        kernels = weight[channel, piece]
        parts = [
            signal.correlate2d(plane, kernel, "valid")
            for plane, kernel in zip(planes, kernels, strict=True)
        ]
        return np.asarray(np.sum(parts, axis=0) + bias[channel, piece])

    for image, output in zip(inputs, outputs, strict=True):
        for channel in range(6):
            expected = np.max([mapped(image, channel, piece) for piece in range(3)], axis=0)
            np.testing.assert_allclose(output[channel], expected, rtol=1e-11, atol=1e-11)


@pytest.mark.parametrize("kind", ["conv, norm", "norm and dropout"])
def test_pieces_behind_a_batch_normalisation_come_apart_too(kind: str) -> None:
    _, placed, x = trained(kind)
    weight = placed.get_submodule("0").get_parameter("weight").detach()
    one, other = weight[0::2], weight[1::2]  # equal at the start
    assert (one - other).abs().max() > 1e-4


# refused


class Residual(nn.Module):
    """Several ways of using a layer's output besides, or in the place of, the activation."""

    def __init__(self, how: str) -> None:
        super().__init__()
        self.how = how
        self.fc, self.act, self.out = nn.Linear(6, 6), nn.ReLU(), nn.Linear(6, 3)
        self.second = nn.ReLU()

    def forward(self, x: Tensor) -> Any:
        h = self.fc(x)
        if self.how == "sum before":
            h = h + x
        if self.how == "sum in place":
            h += x
        if self.how == "function":
            h = F.layer_norm(h, (6,))
        if self.how == "two sites":
            return self.out(self.act(h) + self.second(h))
        y = self.out(self.second(h) if self.how == "not reached" else self.act(h))
        if self.how == "behind a sum too":
            return self.out(self.act(self.act(h) + x))
        if self.how == "behind two layers":
            return self.act(self.out(self.act(h)))
        if self.how == "sum after":
            return y + self.out(h)
        if self.how == "mean":
            return y + h.mean(1, keepdim=True)
        return (y, {"hidden": h}) if self.how == "returned" else y


@pytest.mark.parametrize(
    ("how", "says"),
    [
        ("sum before", "'act' needs a wider layer.*not the output of a Linear or convolution"),
        ("sum in place", "'act' needs a wider layer.*not the output of a Linear or convolution"),
        ("function", "'act' needs a wider layer.*computed by a function"),
        ("two sites", "'second' needs a wider layer.*'fc' already becomes wider for 'act'"),
        ("not reached", "'act' needs a wider layer.*the sample does not reach it"),
        ("behind two layers", "with 'fc' 2 times as wide.*module stands behind several layers"),
        ("behind a sum too", "with 'fc' 2 times as wide.*module stands behind several layers"),
        ("sum after", "with 'fc' 2 times as wide, the model does not run.*also goes elsewhere"),
        (
            "mean",
            r"does not start as it would with leaky_relu\(0.25\) at 'act'.*also goes elsewhere",
        ),
        ("returned", r"output has shape \(4, 12\), not \(4, 6\).*also goes elsewhere"),
    ],
)
def test_a_layer_that_does_not_feed_its_site_alone_is_refused(how: str, says: str) -> None:
    model, x = Residual(how), torch.randn(4, 6)
    act: Any = "maxout" if how == "two sites" else {"act": "maxout"}
    with pytest.raises(acs.PlacementError, match=f"{says}.*leave this site out"):
        acs.place(model, act, sample=x)
    assert model(x) is not None


def _tied() -> nn.Module:
    model = nn.Sequential(nn.Linear(6, 6), nn.ReLU(), nn.Linear(6, 6))
    model.get_submodule("2").weight = model.get_submodule("0").weight
    return model


def _norm(norm: nn.Module) -> nn.Module:
    return nn.Sequential(nn.Conv2d(4, 6, 3), norm, nn.ReLU())


def _plain(layer: nn.Module) -> nn.Module:
    return nn.Sequential(layer, nn.ReLU())


def _old_weight_norm() -> nn.Module:
    with pytest.warns(FutureWarning):
        return nn.utils.weight_norm(nn.Linear(6, 6))


def _pruned() -> nn.Module:
    from torch.nn.utils import prune

    return prune.l1_unstructured(nn.Linear(6, 6), "weight", 3)  # type: ignore[no-any-return, no-untyped-call]


def _lazy_norm() -> nn.Module:
    return nn.LazyBatchNorm2d()


# torch itself cannot copy some of these models, which tracing a sample needs
_COMPUTED = "computes its weights from others|cannot be copied"

ALWAYS_REFUSED: dict[str, tuple[Callable[[], nn.Module], tuple[int, ...], str]] = {
    "layer norm": (
        lambda: nn.Sequential(nn.Linear(6, 6), nn.LayerNorm(6), nn.ReLU()), (4, 6),
        "LayerNorm '1' stands in between, and of normalisations only batch",
    ),
    "RMS norm": (
        lambda: nn.Sequential(nn.Linear(6, 6), nn.RMSNorm(6), nn.ReLU()), (4, 6),
        "RMSNorm '1' stands in between",
    ),
    "group norm": (lambda: _norm(nn.GroupNorm(2, 6)), _IMAGE, "GroupNorm '1' stands in between"),
    "instance norm": (
        lambda: _norm(nn.InstanceNorm2d(6, affine=True)), _IMAGE,
        "InstanceNorm2d '1' stands in between",
    ),
    "norm without weights": (
        lambda: _norm(nn.BatchNorm2d(6, affine=False)), _IMAGE,
        "BatchNorm2d '1' stands in between, which has no weights",
    ),
    "norm over another axis": (
        lambda: nn.Sequential(nn.Linear(6, 6), nn.BatchNorm1d(3), nn.ReLU()), (4, 3, 6),
        "which normalises 3 channels, not the 6",
    ),
    "parametrized": (
        lambda: _plain(nn.utils.parametrizations.weight_norm(nn.Linear(6, 6))), (4, 6),
        "Linear '0' computes its weights from others",
    ),
    "weight norm": (lambda: _plain(_old_weight_norm()), (4, 6), _COMPUTED),
    "pruned": (lambda: _plain(_pruned()), (4, 6), _COMPUTED),
    "lazy": (lambda: _plain(nn.LazyLinear(6)), (4, 6), "Linear '0' is lazy: run the model once"),
    "lazy norm": (lambda: _norm(_lazy_norm()), _IMAGE, "Norm2d '1' is lazy: run the model once|cannot be copied"),
    "tied": (_tied, (4, 6), "Linear '0' shares weights with '2'"),
}  # fmt: skip


@pytest.mark.parametrize("with_sample", [True, False])
@pytest.mark.parametrize("kind", ALWAYS_REFUSED)
@pytest.mark.filterwarnings("ignore:Lazy modules:UserWarning")
def test_a_layer_that_cannot_be_widened_is_refused_with_what_is_there(
    kind: str, with_sample: bool
) -> None:
    make, shape, says = ALWAYS_REFUSED[kind]
    sample = torch.randn(shape) if with_sample else None
    with pytest.raises(acs.PlacementError, match=f"'[12]' needs a wider layer.*{says}"):
        acs.place(make(), "maxout", sample=sample)


@pytest.mark.parametrize(
    "model",
    [
        Perceptron(nn.ReLU()),
        nn.Sequential(nn.Linear(6, 8), nn.Flatten(), nn.ReLU(), nn.Linear(8, 3)),
    ],
)
def test_without_a_sample_the_layer_must_stand_right_before_in_a_sequential(
    model: nn.Module,
) -> None:
    with pytest.raises(acs.PlacementError, match="which one is unknown: give sample="):
        acs.place(model, "maxout")
