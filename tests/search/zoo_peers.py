"""Models of torchvision, timm and transformers, built small from their configuration, with nothing downloaded, and
models as Lightning and skorch hold them.
"""

from __future__ import annotations

import functools
import importlib
from collections.abc import Callable
from typing import Any

import torch
from timm_without_its_kernels import import_timm_activations, mend_torchvision
from torch import Tensor, nn
from zoo import ONE_KERNEL, Entry
from zoo_models import rows

__all__ = ["TIMM", "TORCHVISION", "TRAINED", "TRANSFORMERS"]


def _torchvision(name: str, **settings: Any) -> Callable[[], nn.Module]:
    def build() -> nn.Module:
        mend_torchvision()
        models = importlib.import_module("torchvision.models")
        model = getattr(models, name)(weights=None, num_classes=5, **settings)
        assert isinstance(model, nn.Module)
        return model

    return build


def _timm(name: str, **settings: Any) -> Callable[[], nn.Module]:
    def build() -> nn.Module:
        import_timm_activations()
        model = importlib.import_module("timm").create_model(name, num_classes=5, **settings)
        assert isinstance(model, nn.Module)
        return model

    return build


def _timm_mobilenet() -> nn.Module:
    """MobileNetV3 of three blocks, one of each kind that mobilenetv3_small has."""
    import_timm_activations()
    blocks = importlib.import_module("timm.models._efficientnet_builder")
    layers = importlib.import_module("timm.layers")
    model = importlib.import_module("timm.models.mobilenetv3").MobileNetV3(
        blocks.decode_arch_def(
            [
                ["ds_r1_k3_s2_e1_c8_se0.25_nre"],
                ["ir_r1_k3_s2_e4_c12_nre"],
                ["ir_r1_k5_s2_e4_c16_se0.25"],
            ]
        ),
        num_classes=5,
        stem_size=8,
        num_features=24,
        round_chs_fn=functools.partial(blocks.round_channels, multiplier=1.0),
        act_layer=nn.Hardswish,
        se_layer=functools.partial(
            importlib.import_module("timm.models._efficientnet_blocks").SqueezeExcite,
            gate_layer="hard_sigmoid",
            force_act_layer=nn.ReLU,
            rd_round_fn=layers.make_divisible,
        ),
    )
    assert isinstance(model, nn.Module)
    return model


def _basic_blocks() -> nn.Module:
    """torchvision's resnet18 with one block for two."""
    mend_torchvision()
    library = importlib.import_module("torchvision.models.resnet")
    model = library.ResNet(library.BasicBlock, [1, 1, 1, 1], num_classes=5)
    assert isinstance(model, nn.Module)
    return model


def _timm_classes() -> nn.Module:
    """A perceptron in which every activation is a class of timm's own."""
    import_timm_activations()
    classes = importlib.import_module("timm.layers.activations")
    names = (
        "Swish",
        "Mish",
        "HardSwish",
        "HardSigmoid",
        "HardMish",
        "GELU",
        "GELUTanh",
        "QuickGELU",
        "Tanh",
    )
    acts = [getattr(classes, name)() for name in names] + [classes.PReLU(8)]
    layers = [layer for act in acts for layer in (nn.Linear(8, 8), nn.LayerNorm(8), act)]
    return nn.Sequential(*layers, nn.Linear(8, 4))


def _trained(name: str) -> Callable[[], nn.Module]:
    def build() -> nn.Module:
        mend_torchvision()
        model = getattr(importlib.import_module("zoo_trained"), name)()
        assert isinstance(model, nn.Module)
        return model

    return build


def _transformers(model: str, config: str, **settings: Any) -> Callable[[], nn.Module]:
    def build() -> nn.Module:
        library = importlib.import_module("transformers")
        library.logging.set_verbosity_error()
        made = getattr(library, model)(getattr(library, config)(vocab_size=99, **settings))
        assert isinstance(made, nn.Module)
        return made

    return build


def _images() -> Tensor:
    return torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(1))


def _small_images() -> Tensor:
    return _images()[:, :, :32, :32]


def _tokens(*names: str) -> Callable[[], dict[str, Tensor]]:
    """The same two sentences under each name."""

    def sample() -> dict[str, Tensor]:
        ids = torch.randint(3, 90, (2, 7), generator=torch.Generator().manual_seed(1))
        return dict.fromkeys(names, ids)

    return sample


def _speech() -> dict[str, Tensor]:
    features = torch.randn(2, 8, 40, generator=torch.Generator().manual_seed(1))
    return {"input_features": features, **_tokens("decoder_input_ids")()}


def _pictures_and_captions() -> dict[str, Tensor]:
    pixels = torch.randn(2, 3, 16, 16, generator=torch.Generator().manual_seed(1))
    return {"pixel_values": pixels, **_tokens("input_ids")()}


TORCHVISION: dict[str, Entry] = {
    # one after the stem, one module that each of 1 + 1 + 1 + 1 basic blocks runs twice
    "torchvision_resnet10": Entry(_basic_blocks, _small_images, "5 module hidden ReLU"),
    # likewise with 2 + 2 + 2 + 2
    "torchvision_resnet18": Entry(_torchvision("resnet18"), _images, "9 module hidden ReLU"),
    # one after the stem, two in each of 6 + 12 + 24 + 16 layers, one in each of 3 transitions; one call before the head
    "densenet121": Entry(
        _torchvision("densenet121"), _images, "120 module hidden ReLU, 1 function hidden relu"
    ),
    # a call in each convolution: three in the stem, six in each of 2 + 5 + 2 inceptions, one in each of two heads that
    # only training runs, which have one call more
    "googlenet": Entry(
        _torchvision("googlenet", init_weights=False), _images, "61 function hidden relu"
    ),
}
"""By name; counted in the source of the classes."""

TIMM: dict[str, Entry] = {
    # one after the stem, two in each of 1 + 1 + 1 + 1 basic blocks
    "resnet10": Entry(
        _timm("resnet18", layers=(1, 1, 1, 1), channels=(8, 12, 16, 24)),
        _small_images,
        "9 module hidden ReLU",
    ),
    # likewise in 2 + 2 + 2 + 2
    "resnet18": Entry(_timm("resnet18"), _images, "17 module hidden ReLU"),
    # one in each of 1 + 1 + 1 + 1 blocks
    "convnext": Entry(
        _timm("convnext_atto", depths=(1, 1, 1, 1), dims=(8, 12, 16, 24)),
        _images,
        "4 module hidden GELU",
    ),
    # likewise in 2 + 2 + 6 + 2
    "convnext_atto": Entry(_timm("convnext_atto"), _images, "12 module hidden GELU"),
    # stem and head; the first block has one and one in its SE, the 15 others two and one; a gate in each of 16
    "efficientnet_b0": Entry(
        _timm("efficientnet_b0"), _images, "49 module hidden SiLU, 16 module gate Sigmoid"
    ),
    # hardswish: stem, two in the last block, head; ReLU: one in the first block, two in the second, one in the SE of
    # the first and the last; a gate in each SE
    "mobilenetv3": Entry(
        _timm_mobilenet,
        _small_images,
        "4 module hidden Hardswish, 5 module hidden ReLU, 2 module gate Hardsigmoid",
    ),
    # hardswish: stem, two in each of 8 blocks, last convolution, head; ReLU: one in the first block, two in each of the
    # next 2, one in the SE of the first and of the 8; a gate in each SE
    "mobilenetv3_small_050": Entry(
        _timm("mobilenetv3_small_050"),
        _images,
        "19 module hidden Hardswish, 14 module hidden ReLU, 9 module gate Hardsigmoid",
    ),
    # one in each of 2 blocks
    "vit": Entry(
        _timm("vit_tiny_patch16_224", img_size=32, depth=2, embed_dim=24),
        _small_images,
        "2 module hidden GELU",
    ),
    # likewise in 12
    "vit_tiny": Entry(
        _timm("vit_tiny_patch16_224", img_size=64), _images, "12 module hidden GELU"
    ),
    # one over the tokens and one over the channels in each of 8 blocks
    "mixer_s32": Entry(_timm("mixer_s32_224", img_size=64), _images, "16 module hidden GELU"),
    # one after the stem, three in each of 1 + 1 + 4 + 7 blocks
    "regnetx_002": Entry(_timm("regnetx_002"), _images, "40 module hidden ReLU"),
    # likewise, and SE with one more and a gate in each block
    "regnety_002": Entry(
        _timm("regnety_002"), _images, "53 module hidden ReLU, 13 module gate Sigmoid"
    ),
    # one in the perceptron of each of 2 + 1 blocks; their attention holds a softmax, of windows that the second shifts
    "swin": Entry(
        _timm(
            "swin_tiny_patch4_window7_224",
            img_size=32,
            window_size=4,
            embed_dim=24,
            depths=(2, 1),
            num_heads=(2, 4),
        ),
        _small_images,
        "3 module gate Softmax, 3 module hidden GELU",
    ),
    "timm_classes": Entry(
        _timm_classes,
        rows,
        "1 module hidden Swish, 1 module hidden Mish, 1 module hidden HardSwish, 1 module hidden HardSigmoid, "
        "1 module hidden HardMish, 1 module hidden GELU, 1 module hidden GELUTanh, 1 module hidden QuickGELU, "
        "1 module hidden Tanh, 1 module hidden PReLU",
        close={
            "Swish": ("silu", ONE_KERNEL),
            "Mish": ("mish", ONE_KERNEL),
            "HardSwish": ("hardswish", ONE_KERNEL),
            "HardSigmoid": ("hardsigmoid", ONE_KERNEL),
        },
    ),
}
"""By name; the counts are those of the papers' architectures, as the comments derive them."""

_SMALL = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4}
_NEW_GELU = {"NewGELUActivation": ("gelu_new", ONE_KERNEL)}
_T5 = {"d_model": 32, "d_kv": 8, "d_ff": 37, "num_layers": 2, "num_heads": 4}

TRANSFORMERS: dict[str, Entry] = {  # attention is one fused call, unless it says "eager"
    # one in each of two layers, and one in the pooler, which feeds a classifier
    "bert": Entry(
        _transformers(
            "BertForSequenceClassification", "BertConfig", intermediate_size=37, **_SMALL
        ),
        _tokens("input_ids"),
        "2 module hidden GELUActivation, 1 module hidden Tanh",
        traced=False,
    ),
    # here the pooler's is returned; attention written in Python calls softmax
    "bert_eager": Entry(
        _transformers(
            "BertModel",
            "BertConfig",
            intermediate_size=37,
            attn_implementation="eager",
            **_SMALL,
        ),
        _tokens("input_ids"),
        "2 function gate softmax, 2 module hidden GELUActivation, 1 module output Tanh",
        traced=False,
        without="2 module hidden GELUActivation, 1 module output Tanh",
    ),
    "gpt2": Entry(
        _transformers(
            "GPT2LMHeadModel",
            "GPT2Config",
            n_embd=32,
            n_layer=2,
            n_head=4,
            bos_token_id=1,
            eos_token_id=2,
        ),
        _tokens("input_ids"),
        "2 module hidden NewGELUActivation",
        traced=False,
        close=_NEW_GELU,
    ),
    "distilbert": Entry(
        _transformers(
            "DistilBertModel", "DistilBertConfig", dim=32, n_layers=2, n_heads=4, hidden_dim=37
        ),
        _tokens("input_ids"),
        "2 module hidden GELUActivation",
        traced=False,
    ),
    # one in each of two layers of the encoder and of the decoder
    "t5": Entry(
        _transformers("T5ForConditionalGeneration", "T5Config", **_T5),
        _tokens("input_ids", "decoder_input_ids"),
        "4 module hidden ReLU",
        traced=False,
    ),
    "t5_gated": Entry(
        _transformers("T5EncoderModel", "T5Config", feed_forward_proj="gated-gelu", **_T5),
        _tokens("input_ids"),
        "2 module hidden NewGELUActivation",
        traced=False,
        close=_NEW_GELU,
    ),
    # as T5, and one call after each of the encoder's two convolutions
    "whisper": Entry(
        _transformers(
            "WhisperModel",
            "WhisperConfig",
            d_model=32,
            encoder_layers=2,
            decoder_layers=2,
            encoder_attention_heads=4,
            decoder_attention_heads=4,
            encoder_ffn_dim=37,
            decoder_ffn_dim=37,
            max_source_positions=20,
            num_mel_bins=8,
            pad_token_id=0,
            bos_token_id=1,
            eos_token_id=2,
            decoder_start_token_id=1,
        ),
        _speech,
        "2 function hidden gelu, 4 module hidden GELUActivation",
        traced=False,
        without="4 module hidden GELUActivation",
    ),
    # one in each of two layers, whose result multiplies another projection of the same input
    "llama": Entry(
        _transformers("LlamaForCausalLM", "LlamaConfig", intermediate_size=37, **_SMALL),
        _tokens("input_ids"),
        "2 module hidden SiLUActivation",
        traced=False,
    ),
    # one in each of two layers
    "gpt_neox": Entry(
        _transformers("GPTNeoXForCausalLM", "GPTNeoXConfig", intermediate_size=37, **_SMALL),
        _tokens("input_ids"),
        "2 module hidden GELUActivation",
        traced=False,
    ),
    # one in each of two layers over the words and of two over the picture
    "clip": Entry(
        _transformers(
            "CLIPModel",
            "CLIPConfig",
            text_config={"vocab_size": 99, "intermediate_size": 37, "eos_token_id": 2, **_SMALL},
            vision_config={"image_size": 16, "patch_size": 4, "intermediate_size": 37, **_SMALL},
            projection_dim=12,
        ),
        _pictures_and_captions,
        "4 module hidden QuickGELUActivation",
        traced=False,
    ),
}
"""By name."""

TRAINED: dict[str, Entry] = {
    # one in the body, one call in forward; what training_step calls itself is part of the loss
    "lightning": Entry(
        _trained("Regression"), rows, "1 module hidden GELU, 1 function hidden elu"
    ),
    "skorch": Entry(
        _trained("held_by_skorch"), rows, "1 module hidden SiLU, 1 function output tanh"
    ),
}
"""By name."""
