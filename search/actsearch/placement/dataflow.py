"""What a forward pass computes: its calls as steps, each with the values that it takes and makes.

A run on a sample and a symbolic trace fill the same graph, in which activations and their roles are then found.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from types import CodeType
from typing import Any, Literal

from torch import Tensor
from torch.nn.parameter import is_lazy

from actsearch.placement.execution import Key

__all__ = [
    "Dataflow",
    "Kind",
    "Step",
    "Value",
    "call_name",
    "draws",
    "fill",
    "goes_into_layer",
    "is_written_over",
    "place_name",
    "reach",
    "setitem_",
    "values_in",
]

Kind = Literal["data", "weight", "constant"]

# names of one operation: as a method, reflected, in place, and as torch.fx has it
_ALIASES = {
    "rmul": "mul", "imul": "mul", "multiply": "mul", "radd": "add", "iadd": "add", "isub": "sub", "subtract": "sub",
    "truediv": "div", "itruediv": "div", "true_divide": "div", "divide": "div", "ipow": "pow", "negative": "neg",
    "absolute": "abs", "arctan": "atan", "arcsinh": "asinh", "pos": "positive", "rtruediv": "rdiv",
}  # fmt: skip
_REFLECTED = {"rsub": "sub", "rdiv": "div", "rpow": "pow"}
_DRAWING = frozenset(
    "normal log_normal cauchy geometric bernoulli multinomial poisson exponential uniform".split()
)
_FRESH = (
    "zeros",
    "ones",
    "empty",
    "full",
    "new",
)  # of what they are given, they take the shape alone
_ELEMENTWISE = frozenset(
    "add sub rsub mul div rtruediv pow rpow addcmul addcdiv lerp where maximum minimum fmax fmin prelu clamp eq ne gt "
    "ge lt le rdiv layer_norm rms_norm group_norm batch_norm instance_norm cat concat stack masked_fill "
    "scaled_dot_product_attention copy setitem index_put index_copy fill masked_scatter".split()
)


def call_name(function: Any) -> str:
    """The name of what a function does: one for ``x * y``, ``x.mul_(y)`` and ``operator.imul``."""
    name = str(getattr(function, "__name__", ""))
    if name == "__get__":  # an attribute, as x.T
        name = str(getattr(function.__self__, "__name__", name))
    name = name.strip("_")
    return _ALIASES.get(name, name)


def place_name(function: Any) -> str:
    """The name of a function in a place of code; torch.fx has one for ``1 - x`` and ``x - 1``."""
    name = call_name(function)
    return _REFLECTED.get(name, name)


def setitem_(x: Tensor, index: Any, value: Any) -> Tensor:
    """``x[index] = value`` as a function that returns x."""
    x[index] = value
    return x


def is_written_over(function: Any, kwargs: Mapping[str, Any]) -> bool:
    """Whether a call writes its result over its first argument."""
    name = str(getattr(function, "__name__", ""))
    is_operator = name.strip("_") in ("iadd", "isub", "imul", "itruediv", "ipow")
    in_place = name.endswith("_") and not name.endswith("__")
    return in_place or is_operator or name == "__setitem__" or bool(kwargs.get("inplace"))


@dataclass(eq=False)
class Value:
    """A tensor of a pass.

    Attributes:
        kind: "data", which depends on the inputs; "weight", which depends on parameters alone; or "constant".
        uses: the steps that take it, in order.
        made_by: the step that makes it; None for an input, a parameter or a constant.
        shape: None where it is not known, as in a symbolic trace.
        is_float: whether it may hold floating-point numbers.
        tensor: of a weight or constant.
    """

    kind: Kind
    uses: list[Step] = field(default_factory=list)
    made_by: Step | None = None
    shape: tuple[int, ...] | None = None
    is_float: bool = True
    tensor: Tensor | None = None

    @property
    def is_number(self) -> bool:
        """Whether it is a weight or constant of one number."""
        return self.tensor is not None and self.tensor.numel() == 1

    @property
    def example(self) -> Tensor | None:
        """One number of a weight or constant, without axes; None where none is known."""
        tensor = self.tensor
        if tensor is None or tensor.numel() == 0 or tensor.is_meta or is_lazy(tensor):
            return None
        return tensor.detach().flatten()[0]


@dataclass(eq=False)
class Step:
    """One call of a function, or of an activation module.

    Attributes:
        index: 0-based position in the pass.
        function: what is called; for a method, the method of torch.Tensor; for a module, its forward.
        name: see :func:`call_name`.
        args: what it is given, with a :class:`Value` for each tensor.
        kwargs: likewise.
        key: the activation that it is, or would be where a call can be redirected; None where it cannot.
        codes: of the functions that run, from the call up to its module's forward.
        owner: path of the module whose forward makes it.
        is_layer: whether it mixes numbers by weights, as a linear map or a convolution does.
        results: the tensors that it gives.
    """

    index: int
    function: Callable[..., Any]
    name: str
    args: tuple[Any, ...]
    kwargs: Mapping[str, Any]
    key: Key | None = None
    codes: tuple[CodeType, ...] = ()
    owner: str = ""
    is_layer: bool = False
    results: list[Value] = field(default_factory=list)

    @property
    def operands(self) -> list[Value]:
        """The data that it takes, each once."""
        given = values_in((self.args, self.kwargs))
        return list(dict.fromkeys(value for value in given if value.kind == "data"))


Passes = Callable[[Step], bool]
"""Which steps pass on what they are given."""


class Dataflow:
    """The steps of a pass.

    Attributes:
        steps: in order.
        results: what the model returns.
        callers: code of functions that call modules which are no activations.
    """

    def __init__(self) -> None:
        self.steps: list[Step] = []
        self.results: set[Value] = set()
        self.callers: set[CodeType] = set()

    def add(
        self,
        function: Any,
        args: tuple[Any, ...],
        kwargs: Mapping[str, Any],
        results: Iterable[Value],
        *,
        name: str = "",
        key: Key | None = None,
        codes: tuple[CodeType, ...] = (),
        owner: str = "",
        is_layer: bool | None = None,
    ) -> Step:
        """Add a step, named after its function if no name is given; its results get their kind from its operands."""
        name = name or call_name(function)
        given = list(dict.fromkeys(values_in((args, kwargs))))
        kinds = {value.kind for value in given}
        if is_layer is None:
            is_layer = _mixes_by_weights(name, given)
        step = Step(len(self.steps), function, name, args, kwargs, key, codes, owner, is_layer)
        self.steps.append(step)
        for value in given:
            value.uses.append(step)
        for value in results:
            value.made_by = step
            value.kind = _kind(name, kinds)
            step.results.append(value)
        return step


def reach(values: Iterable[Value], passes: Passes = lambda step: not step.is_layer) -> set[Value]:
    """Everything that some values reach, themselves included, by steps that pass them on: all but layers."""
    todo = list(values)
    seen = set(todo)
    for value in todo:  # which grows
        for use in value.uses:
            if passes(use):
                todo += [result for result in use.results if result not in seen]
                seen.update(use.results)
    return seen


def goes_into_layer(values: Iterable[Value], *passes: Passes) -> bool:
    """Whether a layer takes something that some values reach, see :func:`reach`."""
    return any(use.is_layer for value in reach(values, *passes) for use in value.uses)


def draws(name: str) -> bool:
    """Whether a function draws random numbers, as far as its name goes."""
    return name in _DRAWING or name.startswith(("rand", "rrelu")) or "dropout" in name


def _kind(name: str, kinds: set[Kind]) -> Kind:
    if draws(name):
        return "data"
    if name.startswith(_FRESH):
        return "constant"
    return "data" if "data" in kinds else "weight" if "weight" in kinds else "constant"


def _mixes_by_weights(name: str, given: Iterable[Value]) -> bool:
    """Whether a function of data and weights is a layer: the weights have several axes, and no axis is left alone."""
    if name in _ELEMENTWISE:
        return False
    return any(
        value.kind == "weight" and (value.shape is None or len(value.shape) > 1) for value in given
    )


def values_in(template: Any) -> Iterator[Value]:
    """The values in nested tuples, lists, mappings and slices."""
    if isinstance(template, Value):
        yield template
    elif isinstance(template, (tuple, list)):
        for item in template:
            yield from values_in(item)
    elif isinstance(template, dict):
        for item in template.values():
            yield from values_in(item)
    elif isinstance(template, slice):
        yield from values_in((template.start, template.stop, template.step))


def fill(template: Any, leaf: type, replace: Callable[[Any], Any]) -> Any:
    """A nested template with each leaf of a class replaced."""
    if isinstance(template, leaf):
        return replace(template)
    if isinstance(template, tuple):
        items = [fill(item, leaf, replace) for item in template]
        # torch.Size and named tuples are made anew in their own ways
        return type(template)(*items) if hasattr(template, "_fields") else tuple(items)
    if isinstance(template, list):
        return [fill(item, leaf, replace) for item in template]
    if isinstance(template, Mapping):
        return {key: fill(item, leaf, replace) for key, item in template.items()}
    if isinstance(template, slice):
        return slice(*fill((template.start, template.stop, template.step), leaf, replace))
    return template
