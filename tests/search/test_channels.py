"""On which axis the channels of a site lie, against what is written here by hand."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import Any

import pytest
import torch
from timm_without_its_kernels import import_timm_activations
from torch import Tensor, nn
from torch.nn import functional as F

import actsearch as acs
from actsearch.placement import ModelAnalysis

PER_CHANNEL = 'max(x, 0) + param(0.25, per="channel") * min(x, 0)'

Before = Callable[[Any, Tensor], Tensor]


class Net(nn.Module):
    """Layers to be used by what stands before one activation."""

    def __init__(self, before: Before) -> None:
        super().__init__()
        self.before = before
        self.act = nn.ReLU()
        self.conv, self.point = nn.Conv2d(3, 4, 3, padding=1), nn.Conv2d(4, 1, 1)
        self.line, self.wide = nn.Conv1d(6, 4, 1), nn.Linear(4, 6)
        self.tokens, self.norm = nn.Linear(30, 7), nn.LayerNorm(4)
        self.embedding, self.attention = nn.Embedding(9, 4), nn.MultiheadAttention(4, 2)
        self.weight, self.shift = nn.Parameter(torch.randn(4, 6)), nn.Parameter(torch.randn(4))
        self.rnn = nn.LSTM(4, 5, batch_first=True)

    def forward(self, x: Tensor) -> Tensor:
        result: Tensor = self.act(self.before(self, x))
        return result


IMAGES, SEQUENCES = (2, 3, 5, 6), (2, 5, 4)


def last(m: Any, x: Tensor) -> Tensor:
    """Images of a convolution with their channels last."""
    return m.conv(x).permute(0, 2, 3, 1)  # type: ignore[no-any-return]


def tokens(m: Any, x: Tensor) -> Tensor:
    """The pixels of a convolution as a sequence."""
    return m.conv(x).flatten(2).transpose(1, 2)  # type: ignore[no-any-return]


def windows(x: Tensor, size: int) -> Tensor:
    """As in Swin: (batch, height, width, channels) to (batch windows, pixels, channels)."""
    batch, height, width, channels = x.shape
    x = x.view(batch, height // size, size, width // size, size, channels)
    return x.permute(0, 1, 3, 2, 4, 5).reshape(-1, size * size, channels)


def squeeze(m: Any, x: Tensor) -> Tensor:
    h = m.conv(x)
    gate = h.mean((2, 3)) @ m.weight[:, :4]
    return h * gate.view(len(h), -1, 1, 1).sigmoid()  # type: ignore[no-any-return]


def mixed_tokens(m: Any, x: Tensor) -> Tensor:
    return m.tokens(tokens(m, x).transpose(1, 2))  # type: ignore[no-any-return]


def convnext(m: Any, x: Tensor) -> Tensor:
    return m.wide(m.norm(m.conv(x).permute(0, 2, 3, 1)))  # type: ignore[no-any-return]


def split(m: Any, x: Tensor) -> Tensor:
    one, other = m.conv(x).chunk(2, dim=1)
    return one * other.sigmoid()  # type: ignore[no-any-return]


FOLLOWED: dict[str, tuple[Before, tuple[int, ...], int, int]] = {
    # what stands before, the sample, the axis, and how many channels
    "input": (lambda m, x: x, IMAGES, 1, 3),
    "rows": (lambda m, x: x, (5, 8), 1, 8),
    "pooled": (lambda m, x: F.max_pool2d(x, 2), IMAGES, 1, 3),
    "pooled to one": (lambda m, x: F.adaptive_avg_pool2d(m.conv(x), 1), IMAGES, 1, 4),
    "pooled sequences": (lambda m, x: F.avg_pool1d(x, 2), SEQUENCES, 1, 5),
    "resized": (lambda m, x: F.interpolate(m.conv(x), scale_factor=2.0), IMAGES, 1, 4),
    "padded": (lambda m, x: F.pad(m.conv(x), (1, 1)), IMAGES, 1, 4),
    "kernel": (lambda m, x: F.conv2d(x, m.conv.weight), IMAGES, 1, 4),
    "no batch": (lambda m, x: m.conv(x), IMAGES[1:], 0, 4),
    "permuted input": (lambda m, x: x.permute(0, 2, 3, 1), IMAGES, 3, 3),
    "permuted": (last, IMAGES, 3, 4),
    "and back": (lambda m, x: last(m, x).movedim(-1, 1), IMAGES, 1, 4),
    "swapped": (lambda m, x: torch.swapaxes(m.conv(x), 1, 2), IMAGES, 2, 4),
    "transposed square": (lambda m, x: m.conv(x)[:, :, :4, :4].transpose(1, 3), IMAGES, 3, 4),
    "transposed in place": (lambda m, x: m.conv(x).transpose_(1, 2), IMAGES, 2, 4),
    "attribute": (lambda m, x: m.conv(x).mT.mT, IMAGES, 1, 4),
    "tokens": (tokens, IMAGES, 2, 4),
    "tokens by view": (lambda m, x: last(m, x).reshape(2, -1, 4), IMAGES, 2, 4),
    "all tokens": (lambda m, x: last(m, x).reshape(-1, 4), IMAGES, 1, 4),
    "unsqueezed": (lambda m, x: m.wide(x).unsqueeze(1), SEQUENCES, 3, 6),
    "squeezed": (lambda m, x: m.conv(x)[:, :, :1].squeeze(2), IMAGES, 1, 4),
    "one token": (lambda m, x: m.wide(x)[:, 0], SEQUENCES, 1, 6),
    "windows": (lambda m, x: windows(last(m, x)[:, :4], 2), IMAGES, 2, 4),
    "one channel": (lambda m, x: m.point(m.conv(x)).permute(0, 2, 3, 1), IMAGES, 3, 1),
    "one channel, tokens": (lambda m, x: m.point(m.conv(x)).flatten(2).mT, IMAGES, 2, 1),
    "flattened": (lambda m, x: m.conv(x).flatten(1), IMAGES, 1, 120),
    "flattened, one of a batch": (lambda m, x: m.conv(x[:1]).view(1, -1), IMAGES, 1, 120),
    "convnext": (convnext, IMAGES, 3, 6),
    "mixer": (mixed_tokens, IMAGES, 2, 7),
    "mixer, back": (lambda m, x: mixed_tokens(m, x).transpose(1, 2), IMAGES, 1, 7),
    "squeezed and excited": (squeeze, IMAGES, 1, 4),
    "norm": (lambda m, x: m.norm(x), (2, 5, 6, 4), 3, 4),
    "functional norm": (lambda m, x: F.layer_norm(x, (4,)), (2, 5, 6, 4), 3, 4),
    "group norm": (lambda m, x: F.group_norm(x, 1), SEQUENCES, 1, 5),
    "weights": (lambda m, x: x @ m.weight, (2, 5, 6, 4), 3, 6),
    "transposed weights": (lambda m, x: x.matmul(m.weight.t()), (2, 5, 4, 6), 3, 4),
    "weights on the left": (lambda m, x: m.weight @ x, (2, 6, 5), 1, 4),
    "line": (lambda m, x: m.line(x), (2, 6, 5), 1, 4),
    "embedding": (lambda m, x: F.embedding(x.long(), m.embedding.weight), (2, 3, 5), 3, 4),
    "recurrent": (lambda m, x: m.rnn(x)[0], SEQUENCES, 2, 5),
    "attention": (lambda m, x: m.attention(x, x, x)[0], SEQUENCES, 2, 4),
    "glu": (lambda m, x: F.glu(m.conv(x), 1), IMAGES, 1, 2),
    "split": (split, IMAGES, 1, 2),
    "joined": (lambda m, x: torch.cat([x, m.conv(x)], dim=1), IMAGES, 1, 7),
    "token put before": (
        lambda m, x: torch.cat([m.shift.expand(2, 1, 4), tokens(m, x)], dim=1),
        IMAGES,
        2,
        4,
    ),
    "sum of lost and known": (lambda m, x: torch.einsum("nchw->nhwc", x) + last(m, x)[..., :3], IMAGES, 3, 3),
    "shifted and scaled": (lambda m, x: last(m, x) * m.shift + x.new_ones(2, 5, 6, 4), IMAGES, 3, 4),
    "chosen": (lambda m, x: torch.where(x[:, :1] > 0, m.conv(x), 0.0).permute(0, 2, 3, 1), IMAGES, 3, 4),
    "keyword": (lambda m, x: torch.permute(input=m.conv(x), dims=(0, 2, 3, 1)), IMAGES, 3, 4),
}  # fmt: skip


@pytest.mark.parametrize("case", FOLLOWED)
def test_the_axis_is_the_one_written_here(case: str) -> None:
    before, shape, axis, channels = FOLLOWED[case]
    torch.manual_seed(0)
    model, x = Net(before), torch.randn(shape)
    if case == "embedding":
        x = torch.arange(30).view(shape) % 9
    seen = ModelAnalysis(model, x).traces(["act"])["act"]
    assert (seen.channel_axis, seen.channels, seen.unknown_because) == (axis, channels, "")
    placed = acs.place(model, PER_CHANNEL, sample=x).model
    slope = torch.linspace(0.1, 0.9, channels)
    with torch.no_grad():
        placed.get_parameter("act.theta_0").copy_(slope)
    wanted = [1] * seen.inputs.dim()
    wanted[axis] = channels
    expected = torch.where(seen.inputs > 0, seen.inputs, seen.inputs * slope.view(wanted))
    torch.testing.assert_close(placed.eval()(x), expected)


LOST: dict[str, tuple[Before, tuple[int, ...], str]] = {
    "einsum": (lambda m, x: torch.einsum("nchw->nhwc", m.conv(x)), IMAGES, "einsum"),
    "product of two": (lambda m, x: m.conv(x) @ x[:, :1].mT, IMAGES, "matmul"),
    "batches": (lambda m, x: torch.bmm(x, x.mT), SEQUENCES, "bmm"),
    "similarity": (lambda m, x: m.wide(x) @ m.wide(x).t(), (5, 4), "matmul"),
    "heads": (lambda m, x: m.conv(x).view(2, 2, 2, 30), IMAGES, "view"),
    "moved by reshape": (lambda m, x: m.conv(x).reshape(2, 5, 6, 4), IMAGES, "reshape"),
    "summed": (lambda m, x: m.conv(x).sum(1), IMAGES, "sum"),
    "after what keeps the shape": (
        lambda m, x: F.dropout(2 * m.conv(x).view(2, 2, 2, 30) + 1, 0.1, False).contiguous(),
        IMAGES,
        "view",
    ),
    "after a pool": (lambda m, x: F.avg_pool2d(m.conv(x).view(2, 2, 10, 6), 2), IMAGES, "view"),
    "after a view of it": (
        lambda m, x: torch.einsum("nchw->nhwc", x).permute(0, 3, 1, 2).flip(1),
        IMAGES,
        "einsum",
    ),
    "unfolded": (lambda m, x: F.unfold(m.conv(x), 3), IMAGES, "unfold"),
    "two axes": (
        lambda m, x: m.conv(x)[:, :, :4, :4] + m.conv(x)[:, :, :4, :4].mT.transpose(1, 2),
        IMAGES,
        "add brings together tensors whose channels lie on axes 1 and 2",
    ),
    "sequences": (lambda m, x: 2 * x, SEQUENCES, "which of its axes holds the channels"),
}


@pytest.mark.parametrize("case", LOST)
def test_channels_that_cannot_be_followed_are_refused_by_name(case: str) -> None:
    before, shape, name = LOST[case]
    model, x = Net(before), torch.randn(shape)
    says = name if " " in name else f"the channels are lost after {name}"
    with pytest.raises(acs.PlacementError, match=rf"'act'.*{says}.*per=\"tensor\"") as caught:
        acs.place(model, PER_CHANNEL, sample=x)
    assert "an axis of their own" in str(caught.value)
    assert acs.place(model, "prelu", sample=x).model.get_parameter("act.theta_0").shape == ()


class Own(nn.Linear):
    """Computed by a kernel that no function of torch calls, as in libraries that multiply numbers of few bits."""

    def forward(self, input: Tensor) -> Tensor:
        with torch._C.DisableTorchFunction():
            return super().forward(input)


def test_a_layer_with_a_kernel_of_its_own_has_the_channels_of_its_class() -> None:
    model, x = nn.Sequential(Own(4, 6), nn.ReLU()), torch.randn(SEQUENCES)
    seen = ModelAnalysis(model, x).traces(["1"])["1"]
    assert (seen.channel_axis, seen.channels, seen.layer is None) == (2, 6, False)


class Twice(nn.Module):
    """One activation in two places."""

    def __init__(self, first: Before, second: Before) -> None:
        super().__init__()
        self.first, self.second = Net(first), Net(second)
        self.first.act = self.second.act

    def forward(self, x: Tensor) -> Tensor:
        result: Tensor = self.first(x).sum() + self.second(x)
        return result


def shared(first: Before, second: Before) -> nn.Module:
    """A model whose one function is called for both."""

    class Shared(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.one, self.act = Net(first), nn.ReLU()

        def forward(self, x: Tensor) -> Tensor:
            result: Tensor = self.act(first(self.one, x)).sum() + self.act(second(self.one, x))
            return result

    return Shared()


def test_a_site_used_with_channels_last_in_rows_and_in_sequences_counts_from_the_end() -> None:
    model, x = shared(tokens, lambda m, x: tokens(m, x)[:, 0]), torch.randn(IMAGES)
    placed = acs.place(model, {"act": PER_CHANNEL}, sample=x).model
    assert placed.get_submodule("act").channel_axis == -1
    assert placed(x).shape == (2, 4)


@pytest.mark.parametrize(
    ("second", "says"),
    [
        (last, "channels on axis 1 and on axis 3"),
        (lambda m, x: m.conv(x).view(2, 2, 2, 30), "lost after view"),
        (lambda m, x: x, "with 4 channels and with 3"),
    ],
)
def test_a_site_used_in_two_ways_is_refused(second: Before, says: str) -> None:
    model, x = shared(lambda m, x: m.conv(x), second), torch.randn(IMAGES)
    with pytest.raises(acs.PlacementError, match=f"'act'.*{says}"):
        acs.place(model, {"act": PER_CHANNEL}, sample=x)
    assert acs.place(model, {"act": "prelu"}, sample=x).replaced


# models of timm


def timm(name: str, **settings: Any) -> nn.Module:
    try:
        import_timm_activations()
    except ImportError as error:
        pytest.skip(f"timm cannot be imported ({error}): pip install --no-deps torchvision timm")
    model = importlib.import_module("timm").create_model(name, num_classes=5, **settings)
    assert isinstance(model, nn.Module)
    return model


SMALL: dict[str, tuple[dict[str, Any], int, str]] = {
    # settings, axis of the channels, and the layer before an activation, from the module that holds it
    "convnext_tiny": ({"depths": (1, 1, 1, 1), "dims": (8, 16, 24, 32)}, 3, "fc1"),
    "convnext_atto": ({"depths": (1, 1, 1, 1), "dims": (8, 16, 24, 32)}, 1, "fc1"),
    "mixer_s32_224": ({"img_size": 64}, 2, "fc1"),
    "vit_tiny_patch16_224": ({"img_size": 64, "depth": 2}, 2, "fc1"),
    "swin_tiny_patch4_window7_224": (
        {"img_size": 56, "depths": (2, 1), "embed_dim": 12, "num_heads": (2, 4)},
        2,
        "fc1",
    ),
}


@pytest.mark.filterwarnings("default")  # theirs are not ours to mend
@pytest.mark.parametrize("name", SMALL)
def test_models_of_timm_learn_a_number_for_each_channel_of_the_layer_before(name: str) -> None:
    settings, axis, layer = SMALL[name]
    model, x = timm(name, **settings).eval(), torch.randn(2, 3, settings.get("img_size", 64), 1)
    x = x.expand(-1, -1, -1, x.shape[2]).clone()
    placement = acs.place(model, PER_CHANNEL, sample=x)
    assert len(placement.replaced) > 1
    for item in placement.replaced:
        act: Any = placement.model.get_submodule(item.path)
        before: Any = model.get_submodule(f"{item.path.rpartition('.')[0]}.{layer}")
        channels = getattr(before, "out_features", None) or before.out_channels
        assert act.channel_axis == axis
        assert act.theta_0.shape == (channels,), item.path
    assert placement.model.eval()(x).shape == (2, 5)
