"""The models of the zoo that need torch alone: what each is given and what is found in it."""

from __future__ import annotations

import zoo_generative as generative
import zoo_models as models
import zoo_sequences as sequential
from torch import nn
from zoo import ONE_KERNEL, Entry
from zoo_models import images, rows
from zoo_sequences import sentences, sequences

__all__ = ["OWN"]

_HELD = {"leaky_relu": {"negative_slope": 0.2}}

OWN: dict[str, Entry] = {
    "mlp_modules": Entry(models.mlp_modules, rows, "2 module hidden ReLU"),
    "mlp_functions": Entry(models.MlpFunctions, rows, "2 function hidden relu"),
    "mlp_methods": Entry(
        models.MlpMethods,
        rows,
        "1 function hidden relu, 1 function hidden tanh, 1 function output square(tanh(x) * 2)",
    ),
    "mlp_held": Entry(
        models.MlpHeld,
        rows,
        "1 function hidden gelu, 1 function hidden leaky_relu",
        settings=_HELD,
    ),
    "own_classes": Entry(
        models.own_classes,
        rows,
        "1 module hidden Swish, 1 module hidden Snake",
        close={"Swish": ("silu", ONE_KERNEL)},
    ),
    "numbered": Entry(
        models.Numbered,
        rows,
        "1 module hidden LeakyReLU, 2 module hidden GELU, 2 module hidden PReLU, 1 module hidden ELU, "
        "1 module hidden CELU, 1 module hidden SELU, 1 module hidden Softplus, 1 module hidden Hardtanh, "
        "1 module hidden ReLU6, 1 module hidden Hardswish, 1 module hidden Hardsigmoid, 1 module hidden LogSigmoid, "
        "1 module hidden Tanhshrink, 1 module hidden Hardshrink, 1 module hidden Softshrink, "
        "1 module hidden Threshold, 1 module hidden Sigmoid",
    ),
    "module_tables": Entry(
        models.ModuleTables,
        rows,
        "1 module hidden SiLU, 1 module hidden PReLU, 1 module hidden Mish, 1 module hidden Softsign",
    ),
    "calling_sequential": Entry(
        lambda: models.CallingSequential(nn.Linear(8, 6), nn.Linear(6, 4)),
        rows,
        "1 function hidden relu, 1 function output relu",
    ),
    "slicing_sequential": Entry(
        lambda: models.SlicingSequential(nn.Linear(8, 6), nn.Linear(6, 6), nn.Linear(6, 4)),
        rows,
        "2 function hidden selu",
    ),
    "children_loop": Entry(models.ChildrenLoop, rows, "2 function hidden celu"),
    "held_loop": Entry(models.HeldLoop, rows, "1 function hidden silu"),
    "values_loop": Entry(models.ValuesLoop, rows, "2 function hidden elu"),
    "deep_loop": Entry(models.DeepLoop, rows, "3 function hidden relu, 1 function output relu"),
    "cnn_shared": Entry(models.CnnShared, images, "2 module hidden ReLU"),
    "cnn_in_place": Entry(
        models.CnnInPlace, images, "1 function hidden relu, 1 function output relu"
    ),
    "cnn_prelu": Entry(models.cnn_prelu, images, "2 module hidden PReLU"),
    "resnet": Entry(models.resnet, images, "3 module hidden ReLU"),
    "squeeze_excite": Entry(
        models.SqueezeExcite,
        images,
        "1 module hidden SiLU, 1 module gate Sigmoid, 1 function hidden relu, 1 function gate sigmoid",
    ),
    "lstm": Entry(sequential.Lstm, sequences, "1 function hidden elu"),
    "gru": Entry(sequential.Gru, sequences, "1 module hidden Tanh"),
    "own_lstm": Entry(
        sequential.OwnLstm,
        sequences,
        "3 function gate sigmoid, 2 function hidden tanh",
        traced=False,
        without="",
    ),
    "cell_loop": Entry(
        sequential.CellLoop, sequences, "1 function hidden relu", traced=False, without=""
    ),
    "bare_recurrent": Entry(
        sequential.BareRecurrent, sequences, "1 function hidden tanh", traced=False, without=""
    ),
    "unrolled": Entry(sequential.Unrolled, sequences, "2 function hidden tanh"),
    # its LSTM is fused; the log_softmax is returned
    "word_model": Entry(
        sequential.WordModel, sentences, "1 function hidden gelu, 1 function output log_softmax"
    ),
    "encoder": Entry(sequential.encoder, sequences, "2 function hidden gelu", traced=False),
    "attention": Entry(
        sequential.Attention, sequences, "1 function gate softmax, 1 function hidden gelu"
    ),
    "gated_units": Entry(
        sequential.GatedUnits,
        rows,
        "1 function hidden silu, 1 module gate GLU, 1 function gate glu",
    ),
    "experts": Entry(
        sequential.Experts,
        rows,
        "1 function gate softmax, 2 module hidden ELU, 1 function hidden hardswish",
        traced=False,
        without="2 module hidden ELU",
    ),
    "generator": Entry(
        generative.Generator, rows, "1 function hidden relu, 1 function output tanh"
    ),
    "discriminator": Entry(
        generative.discriminator,
        images,
        "2 module hidden LeakyReLU, 1 module output Sigmoid",
        pickles=False,  # torch pickles no parametrization
    ),
    "autoencoder": Entry(
        generative.Autoencoder,
        rows,
        "2 function hidden mish, 1 function output softplus, 1 function output sigmoid",
    ),
    # one in the generator and its tanh, which is returned besides; two in the discriminator and its sigmoid
    "gan": Entry(
        generative.Gan,
        rows,
        "1 function hidden relu, 1 function output tanh, 2 module hidden LeakyReLU, 1 module output Sigmoid",
        pickles=False,  # as its discriminator
    ),
    # one to encode, one to decode, and the pixels
    "vae": Entry(generative.Vae, rows, "2 function hidden relu, 1 function output sigmoid"),
    # two in each of five double convolutions, one after each step up, and the mask
    "unet": Entry(
        generative.UNet,
        images,
        "10 module hidden ReLU, 2 function hidden leaky_relu, 1 function output sigmoid",
        settings=_HELD,
    ),
    "auxiliary": Entry(models.Auxiliary, rows, "3 function hidden relu"),
    "siamese": Entry(models.Siamese, lambda: (rows(), rows().flip(0)), "2 function hidden relu"),
    "checkpointed": Entry(models.Checkpointed, rows, "1 function hidden gelu"),
    "data_parallel": Entry(models.parallel, rows, "2 function hidden relu"),
    "compiled": Entry(
        models.compiled,
        rows,
        "1 function hidden relu, 1 function hidden tanh, 1 function output square(tanh(x) * 2)",
    ),
    "graph": Entry(
        models.graph,
        rows,
        "1 function hidden relu, 1 function hidden tanh, 1 function output tanh",
        pickles=False,  # nor a models.graph of a forward whose annotations are texts
    ),
    "graph_inside": Entry(
        models.graph_inside,
        rows,
        "1 function hidden gelu, 1 function hidden leaky_relu, 1 module output ReLU",
        settings=_HELD,
        pickles=False,
    ),
}
"""By name; every count was made by reading the class."""
