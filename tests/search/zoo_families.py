"""Families of models that users bring, with the sites that they should have, counted by hand."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
import zoo_heads as heads
import zoo_layers as layers
import zoo_written_out as written
from torch import Tensor
from torch.nn.utils.rnn import pack_sequence
from zoo_family import Family
from zoo_models import images, rows

__all__ = ["FAMILIES"]


def _generator() -> torch.Generator:
    return torch.Generator().manual_seed(2)


def _normal(*shape: int) -> Tensor:
    return torch.randn(*shape, generator=_generator())


def _words() -> Mapping[str, Tensor]:
    ids = torch.randint(0, 11, (3, 8), generator=_generator())
    return {"idx": ids[:, :-1], "targets": ids[:, 1:]}


def _molecules() -> Mapping[str, Tensor]:
    source = torch.arange(12)
    return {
        "z": source % 5,
        "edges": torch.stack([source, (source + 1) % 4 + source // 4 * 4]),
        "distances": _normal(12).abs(),
        "molecule": source // 4,
    }


def _graphs() -> layers.GraphBatch:
    nodes = torch.arange(12)
    edges = torch.stack([nodes, (nodes + 1) % 4 + nodes // 4 * 4])
    return layers.GraphBatch(_normal(12, 4), edges, nodes // 4)


def _packed() -> tuple[Any]:
    """In a tuple: it is one argument, and a tuple itself."""
    return (pack_sequence([_normal(n, 6) for n in (3, 5, 2)], enforce_sorted=False),)


_NEW_GELU = "0.5 * x * (1 + tanh(0.7978845608028654 * (x + 0.044715 * x**3)))"
_SHIFTED = "softplus(x) - 0.6931471805599453"
_HARD_SWISH = "x * min(max(x + 3, 0), 6) / 6"
_HARD_SIGMOID = "min(max(x + 3, 0), 6) / 6"

FAMILIES: dict[str, Family] = {
    # activations that are written out
    "nano_gpt": Family(
        written.NanoGpt,
        _words,
        f"""
        h.0.attn.softmax  gate    -
        h.0.mlp.new_gelu  hidden  {_NEW_GELU}
        h.1.attn.softmax  gate    -
        h.1.mlp.new_gelu  hidden  {_NEW_GELU}
        """,
    ),
    "diffusion_unet": Family(
        written.DiffusionUNet,
        lambda: (images(), torch.tensor([1, 5, 20, 90])),
        "swish_0  hidden  x * sigmoid(x)\n"
        + "".join(
            f"{block}.swish_{index}  hidden  x * sigmoid(x)\n"
            for block in ("down", "mid", "up")
            for index in range(3)
        )
        + "swish_1  hidden  x * sigmoid(x)",
    ),
    "mobilenet": Family(
        written.MobileNet,
        images,
        "".join(
            f"""
            blocks.{index}.hard_swish_call  hidden  {_HARD_SWISH}
            blocks.{index}.act         hidden  {_HARD_SWISH}
            blocks.{index}.relu        hidden  relu(x)
            blocks.{index}.gate        gate    {_HARD_SIGMOID}
            """
            for index in range(2)
        ),
    ),
    "mish_helpers": Family(
        written.MishNet,
        images,
        """
        mish_0  hidden  x * tanh(softplus(x))
        mish_1  hidden  x * tanh(softplus(x))
        *     hidden  x * tanh(log(exp(x) + 1))
        """,
    ),
    "siren": Family(
        written.Siren,
        lambda: _normal(6, 2),
        """
        net.0.*  hidden  sin(30 * x)
        net.1.*  hidden  sin(3 * x)
        net.2.*  hidden  sin(3 * x)
        """,
    ),
    "gaussian_net": Family(
        written.GaussianNet,
        lambda: _normal(6, 2),
        """
        one.*    hidden  exp(-x**2 / 0.5)
        two.*    hidden  exp(-x**2 / 4.5)
        sigmoid  output  sigmoid(x)
        """,
    ),
    "primer": Family(
        written.Primer,
        rows,
        """
        squared_relu_call  hidden  relu(x)**2
        *             hidden  relu(x)**2
        *             hidden  relu(x)**2
        """,
    ),
    "schnet": Family(
        written.SchNet,
        _molecules,
        f"""
        shifted_softplus_0  hidden  {_SHIFTED}
        shifted_softplus_1  hidden  {_SHIFTED}
        shifted_softplus_2  hidden  {_SHIFTED}
        """,
    ),
    "wavenet": Family(
        written.WaveNet,
        lambda: _normal(2, 1, 9),
        """
        tanh_0     hidden  tanh(x)
        sigmoid_0  gate    sigmoid(x)
        tanh_1     hidden  tanh(x)
        sigmoid_1  gate    sigmoid(x)
        relu_0     hidden  relu(x)
        relu_1     hidden  relu(x)
        """,
    ),
    "snake": Family(
        written.SnakeNet,
        lambda: _normal(2, 1, 9),
        """
        snake  hidden  -
        tanh   output  tanh(x)
        """,
    ),
    # heads
    "mean_variance": Family(
        heads.MeanVariance,
        lambda: {"x": rows()},
        """
        body.1    hidden  relu(x)
        body.3    hidden  elu(x)
        softplus  output  -
        """,
    ),
    "mean_variance_scored": Family(
        heads.MeanVariance,
        lambda: {"x": rows(), "target": rows()[:, :2]},
        """
        body.1    hidden  relu(x)
        body.3    hidden  elu(x)
        softplus  output  -
        """,
    ),
    "mixture_density": Family(
        heads.MixtureDensity,
        rows,
        """
        tanh     hidden  tanh(x)
        softmax       output  -
        elu           output  -
        """,
    ),
    "nerf": Family(
        heads.Nerf,
        lambda: (_normal(6, 3), _normal(6, 3)),
        """
        relu_0   hidden  relu(x)
        relu_1   hidden  relu(x)
        relu_2   hidden  relu(x)
        relu_3   output  relu(x)
        relu_4   hidden  relu(x)
        sigmoid  output  sigmoid(x)
        """,
    ),
    "yolo": Family(
        heads.Yolo,
        images,
        """
        backbone.0.act   hidden  silu(x)
        backbone.1.act   hidden  silu(x)
        heads.0.sigmoid  output  sigmoid(x)
        deeper.act       hidden  silu(x)
        heads.1.sigmoid  output  sigmoid(x)
        """,
    ),
    "retina": Family(
        heads.Retina,
        images,
        """
        c2.2     hidden  relu(x)
        c3.2     hidden  relu(x)
        relu_0   hidden  relu(x)
        boxes.1  hidden  max(x, 0.1 * x)
        relu_1   output  relu(x)
        sigmoid  output  sigmoid(x)
        """,
    ),
    "segmenter": Family(
        heads.Segmenter,
        images,
        """
        gelu_0     hidden  gelu(x)
        gelu_1     hidden  gelu(x)
        sigmoid_0  output  sigmoid(x)
        """,
        training="sigmoid_1  output  sigmoid(x)",
    ),
    "gaussian_vae": Family(
        heads.GaussianVae,
        rows,
        """
        encoder.1  hidden  silu(x)
        decoder.1  hidden  silu(x)
        decoder.3  output  sigmoid(x)
        """,
    ),
    "dcgan": Family(
        heads.Dcgan,
        rows,
        """
        generator.2      hidden  relu(x)
        generator.5      hidden  relu(x)
        generator.7      output  tanh(x)
        discriminator.1  hidden  max(x, 0.2 * x)
        discriminator.4  hidden  max(x, 0.2 * x)
        discriminator.6  output  sigmoid(x)
        """,
    ),
    "actor_critic": Family(
        heads.ActorCritic,
        rows,
        """
        shared.1  hidden  tanh(x)
        shared.3  hidden  tanh(x)
        softmax   output  -
        """,
    ),
    "squashed_actor": Family(
        heads.SquashedActor,
        rows,
        """
        relu_0  hidden  relu(x)
        relu_1  hidden  relu(x)
        tanh_0  output  -
        tanh_1  output  -
        """,
    ),
    # layers of their own
    "efficient_kan": Family(
        layers.EfficientKan,
        rows,
        """
        layers.0.base_activation  hidden  silu(x)
        layers.1.base_activation  hidden  silu(x)
        """,
    ),
    "fast_kan": Family(
        layers.FastKan,
        rows,
        """
        layers.0.silu  hidden  silu(x)
        layers.1.silu  hidden  silu(x)
        """,
    ),
    "hifi_gan": Family(
        layers.HifiGan,
        lambda: _normal(2, 5, 4),
        "leaky_relu_0  hidden  max(x, 0.1 * x)\n"
        + "".join(
            f"resblocks.0.leaky_relu_{index}  hidden  max(x, 0.1 * x)\n" for index in range(4)
        )
        + "leaky_relu_1  hidden  max(x, 0.1 * x)\n"
        + "".join(
            f"resblocks.1.leaky_relu_{index}  hidden  max(x, 0.1 * x)\n" for index in range(4)
        )
        + "leaky_relu_2  hidden  max(x, 0.01 * x)\ntanh  output  tanh(x)",
    ),
    "graph_batches": Family(
        layers.GraphNet,
        _graphs,
        """
        relu         hidden  relu(x)
        elu          hidden  elu(x)
        log_softmax  output  -
        """,
    ),
    "packed_gru": Family(
        layers.PackedNet,
        _packed,
        """
        tanh     hidden  tanh(x)
        softmax  gate    -
        act      hidden  relu(x)
        """,
    ),
    "forces": Family(
        layers.ForceField,
        lambda: _normal(6, 3),
        """
        silu  hidden  silu(x)
        tanh  hidden  tanh(x)
        """,
    ),
    "mixture_of_experts": Family(
        layers.MixtureOfExperts,
        rows,
        """
        relu             hidden  relu(x)
        softmax          gate    -
        experts.0.net.1  hidden  gelu(x)
        experts.1.net.1  hidden  gelu(x)
        experts.2.net.1  hidden  gelu(x)
        """,
    ),
    "lora": Family(
        layers.LoraNet,
        rows,
        f"""
        gelu_0  hidden  {_NEW_GELU}
        gelu_1  hidden  gelu(x)
        """,
    ),
    "weight_norm": Family(
        layers.NormedConvolutions,
        lambda: _normal(3, 5, 6),
        """
        relu    hidden  relu(x)
        relu_*  hidden  relu(x)
        """,
    ),
    "spectral_norm": Family(
        layers.SpectralCritic,
        images,
        """
        leaky_relu_0  hidden  max(x, 0.2 * x)
        leaky_relu_1  hidden  max(x, 0.2 * x)
        """,
    ),
    "llama_block": Family(layers.LlamaBlock, rows, "silu  hidden  silu(x)"),
}
"""By name; every count was made by reading the class."""
