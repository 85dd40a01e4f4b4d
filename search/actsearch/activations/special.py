"""Catalog rows that neither a formula nor a call of torch says completely."""

from __future__ import annotations

import functools
from collections.abc import Callable

import torch
from torch import Tensor, fx

from actsearch.activation_catalog import parse_points, spline_pieces
from actsearch.activations.module import Activation, RandomActivation, to_any_device
from actsearch.activations.primitives import hardsigmoid, is_tracing, keep_in_graph
from actsearch.errors import ActivationError
from actsearch.records import ActivationRecord

__all__ = ["SPECIAL", "Maxout", "Step"]


class Relu(Activation):
    """max(0, x) with a chosen derivative at 0.

    The value is the same for each choice. torch's own ReLU takes 0; arXiv:2106.12915 measures the others.
    """

    def __init__(self, record: ActivationRecord) -> None:
        super().__init__(record)
        self.grad_at_zero = record.hyperparameters["grad_at_zero"]

    def forward(self, x: Tensor) -> Tensor:
        """Shape kept."""
        if self.grad_at_zero == 0.0:
            return torch.relu(x)
        if self.grad_at_zero == 1.0:
            return keep_in_graph(torch.clamp_min(x, 0))
        return keep_in_graph(torch.maximum(x, x.new_zeros(())))  # a tie shares the gradient


class Step(Activation):
    """0 for x < 0, 1 for x >= 0, with the straight-through gradient 1 on [-1, 1] and 0 outside.

    Bengio et al. 2013, arXiv:1308.3432; the window is that of Courbariaux et al. 2016, arXiv:1602.02830.
    """

    def forward(self, x: Tensor) -> Tensor:
        """Shape kept."""
        value = torch.where(torch.isnan(x), x, (x >= 0).to(x.dtype)).detach()
        surrogate = torch.clamp(x, -1, 1)
        return keep_in_graph(
            value + (surrogate - surrogate.detach())
        )  # adds exactly 0 to the value


class HardSigmoid(Activation):
    """torch's hardsigmoid, which can be differentiated twice."""

    def forward(self, x: Tensor) -> Tensor:
        """Shape kept."""
        return hardsigmoid(x)


class RRelu(RandomActivation):
    """x for x >= 0, slope * x below; in training the slope is uniform in [lower, upper] for each element,
    afterwards its mean (arXiv:1505.00853). Random numbers come from the module's own generator, but under
    ``torch.compile`` from torch's.
    """

    def __init__(self, record: ActivationRecord) -> None:
        super().__init__(record)
        self.lower = float(record.hyperparameters["lower"])
        self.upper = float(record.hyperparameters["upper"])

    def forward(self, x: Tensor) -> Tensor:
        """Shape kept."""
        if not self.training:
            return torch.nn.functional.leaky_relu(x, (self.lower + self.upper) / 2)
        slope = torch.empty_like(x, requires_grad=False)
        # a compiled graph cannot hold a generator: there the slopes come from torch's own stream
        generator = None if torch.compiler.is_compiling() else self.generator(x.device)
        slope.uniform_(self.lower, self.upper, generator=generator)
        return keep_in_graph(torch.where(x >= 0, x, slope * x))


class Maxout(Activation):
    """The largest of each k neighbouring channels (arXiv:1302.4389, eq. 1): y[.., c, ..] = max_j x[.., k c + j, ..].

    The one hidden activation that changes the shape: (.., k c, ..) to (.., c, ..) on ``channel_axis``, which may be
    negative. The layer before it must be k times as wide; ``actsearch.place`` makes it so. The k pieces of a channel
    lie side by side, not c channels apart, so that those of a grouped convolution stay within their group.
    """

    def __init__(self, record: ActivationRecord) -> None:
        super().__init__(record)
        self.pieces = int(record.hyperparameters["pieces"])

    def forward(self, x: Tensor) -> Tensor:
        """Channels divided by ``pieces``; of a tie, the pieces share the gradient.

        Raises:
            ActivationError: when the channels are not a multiple of the pieces.
        """
        return _largest_of_pieces(x, self.pieces, self.channel_axis, self.record.label)


@fx.wrap  # torch.fx has no shape to look at
def _largest_of_pieces(x: Tensor, count: int, axis: int, label: str) -> Tensor:
    shape = tuple(x.shape)
    fits = -x.dim() <= axis < x.dim() and (is_tracing() or shape[axis] % count == 0)
    if not fits:
        raise ActivationError(
            f"{label} takes the largest of each {count} channels on axis {axis}, but the input "
            f"has shape {shape}: the layer before must be {count} times as wide, as actsearch.place makes it"
        )
    axis %= x.dim()
    # both sizes written out: for an empty batch, -1 could not be inferred
    pieces = torch.unflatten(x, axis, (shape[axis] // count, count))
    return keep_in_graph(pieces.amax(axis + 1))


class LinearSpline(Activation):
    """Linear between given points, and beyond the last ones as between the last two.

    At a point the derivative is that of the piece on its left, as the derivative of a hinge at 0 is 0.
    """

    def __init__(self, record: ActivationRecord) -> None:
        super().__init__(record)
        points = parse_points(str(record.hyperparameters["points"]))
        self._knots = [x for x, _ in points[1:-1]]
        self._lines = spline_pieces(points)
        offsets, slopes = zip(*self._lines, strict=True)
        for name, numbers in (("knots", self._knots), ("offsets", offsets), ("slopes", slopes)):
            tensor = torch.tensor(numbers, dtype=torch.float64)
            self.register_buffer(name, tensor, persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """Shape kept."""
        return _interpolate(x, self.knots, self.offsets, self.slopes)

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> LinearSpline:
        """The numbers move to other devices, and keep their digits in half precision."""
        kept = self.knots, self.offsets, self.slopes
        super()._apply(to_any_device(fn), recurse)  # type: ignore[no-untyped-call]
        for name, before in zip(("knots", "offsets", "slopes"), kept, strict=True):
            if self.get_buffer(name).dtype.itemsize == 2:
                move = functools.partial(Tensor.to, device=self.get_buffer(name).device)
                self._buffers[name] = to_any_device(move)(before)
        return self

    knots: Tensor
    offsets: Tensor
    slopes: Tensor


@fx.wrap  # torch.fx has no dtype to look at
def _interpolate(x: Tensor, knots: Tensor, offsets: Tensor, slopes: Tensor) -> Tensor:
    wide = x if x.dtype.itemsize > 2 else x.float()
    knots, offsets, slopes = (item.to(wide.dtype) for item in (knots, offsets, slopes))
    if is_tracing():  # exporters know no search in a table
        hinges = torch.relu(wide.unsqueeze(-1) - knots) * (slopes[1:] - slopes[:-1])
        return (offsets[0] + slopes[0] * wide + hinges.sum(-1)).to(x.dtype)
    index = torch.bucketize(wide.detach(), knots)
    return keep_in_graph(offsets[index] + slopes[index] * wide).to(x.dtype)


SPECIAL: dict[str, type[Activation]] = {
    "relu": Relu,
    "step": Step,
    "hardsigmoid": HardSigmoid,
    "rrelu": RRelu,
    "maxout": Maxout,
    "linear_spline": LinearSpline,
}
"""Modules by catalog name."""
