"""Forms that act on a whole axis: output activations, and gates that change the shape."""

from __future__ import annotations

from actsearch.activation_catalog.rows import Hyperparameter, Row

__all__ = ["OUTPUTS"]

_TORCH = "torch.nn.functional."
_OWN = "actsearch.activations.primitives."
_DIM = Hyperparameter("dim", -1, -8, 8)
_CHANNELS = Hyperparameter("dim", 1, -8, 8)

# one row an activation: the formatter would give every argument a line of its own
# fmt: off
OUTPUTS: tuple[Row, ...] = (
    Row("softmax", "softmax(x)", "Bridle 1990; over one dimension of the tensor", 1990, (_DIM,), role="output",
        function=_TORCH + "softmax", elementwise=False),
    Row("softmin", "softmin(x)", "torch.nn.Softmin: softmax of -x", 2016, (_DIM,), role="output",
        function=_TORCH + "softmin", elementwise=False),
    Row("log_softmax", "log_softmax(x)", "torch.nn.LogSoftmax", 2016, (_DIM,), role="output",
        function=_TORCH + "log_softmax", elementwise=False),
    Row("softmax2d", "softmax2d(x)",
        "torch.nn.Softmax2d: over the channels of (batch, channels, height, width)", 2016, role="output",
        function=_OWN + "softmax2d", elementwise=False),
    Row("glu", "glu(x)", "Dauphin et al. 2016, arXiv:1612.08083; halves its dimension", 2016, (_DIM,),
        role="gate", function=_TORCH + "glu", elementwise=False),
    Row("crelu", "crelu(x)",
        "Shang et al. 2016, arXiv:1603.05201: relu(x) beside relu(-x); doubles its dimension", 2016,
        (_CHANNELS,), role="gate", function=_OWN + "crelu", elementwise=False),
)
# fmt: on
