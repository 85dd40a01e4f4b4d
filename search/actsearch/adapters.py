"""Activations in the forms in which timm and transformers take them.

Neither library is needed to import this module, and nothing is registered before it is asked for.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from actsearch.activation_catalog import CATALOG
from actsearch.activations import (
    Activation,
    FormulaActivation,
    activation,
    build_expression,
    count_pieces,
    describe,
)
from actsearch.errors import ActivationError, ActsearchError
from actsearch.export import make_class_name
from actsearch.records import ActivationRecord

__all__ = ["register_hf", "timm_act_layer"]

_Source = ActivationRecord | Activation


def timm_act_layer(what: Any) -> type[Any]:
    """Make the class that timm calls for an activation: ``timm.create_model(..., act_layer=acs.timm_act_layer(what))``.

    Each call of it, with ``inplace`` or without, gives a new activation with learned parameters of its own; nothing is
    ever computed in place. The architecture decides where it goes: some keep ReLU inside of squeeze-and-excitation,
    where :func:`actsearch.place` sees a hidden site. With ``pretrained=True`` timm refuses a model with parameters that
    the checkpoint lacks: place learned activations on the loaded model instead.

    Args:
        what: catalog name, formula, Expression, candidate, trial, or a verdict or one of its rows; of a module, what
            it has learned is where the new ones start.

    Raises:
        ActivationError: for activations that must know the layer before them: with parameters for each channel, with
            an output of another shape, or not for hidden layers.
        FormulaError: a formula that cannot be read.

    Example:
        >>> layer = acs.timm_act_layer("x * tanh(x)")
        >>> layer(inplace=True)(torch.zeros(2))
        tensor([0., 0.])
    """
    source = _check_independent(what)
    return _make_layer_class(source, lambda: activation(source))


def register_hf(name: str, what: Any) -> str:
    """Enter an activation into the table of Hugging Face transformers: ``BertConfig(hidden_act=name)``.

    Lasts as long as this process: a model saved with the name needs it registered again before it is loaded.

    Args:
        name: name for configurations; one that was registered before is given the new meaning.
        what: as for :func:`timm_act_layer`.

    Returns:
        The name.

    Raises:
        ActivationError: a name that transformers uses itself, or an activation as in :func:`timm_act_layer`.
        FormulaError: a formula that cannot be read.
        ActsearchError: transformers cannot be imported.

    Example:
        >>> BertConfig(hidden_act=acs.register_hf("found", "x * tanh(x)"))  # doctest: +SKIP
    """
    if not isinstance(name, str) or not name.strip():
        raise ActivationError(f"a name for transformers is a text, not {name!r}")
    source = _check_independent(what)
    try:
        from transformers import activations
    except ImportError as error:
        raise ActsearchError(
            f"register_hf needs transformers, which cannot be imported ({error}): pip install transformers"
        ) from error
    taken = dict.get(activations.ACT2FN, name)  # its own [] would build the activation
    if taken is not None and not (isinstance(taken, type) and issubclass(taken, _Layer)):
        raise ActivationError(f"{name!r} is an activation of transformers: take another name")
    layer = _make_layer_class(source, _make_loadable(source))
    for table in (activations.ACT2FN, activations.ACT2CLS):  # models look into either
        table[name] = layer
    return name


class TransformersActivation(FormulaActivation):
    """A formula whose numbers are right after ``from_pretrained``.

    transformers builds a model without memory, reads the checkpoint, and fills in what the checkpoint lacks, for kinds
    of modules that it knows. Of ours, a checkpoint never has the constants, and has no learned parameters when the
    model was saved with another activation: both would be whatever the memory holds.
    """

    start: dict[str, Tensor]  # parameters and constants by name
    _filled = False

    @property
    def _is_hf_initialized(self) -> bool:
        """What transformers asks of a module before it would fill it; a tensor from the checkpoint carries this too."""
        self._fill()
        return True

    @_is_hf_initialized.setter
    def _is_hf_initialized(self, value: bool) -> None:
        self._filled = self._filled and value
        if value:
            self._fill()

    @torch.no_grad()
    def _fill(self) -> None:
        tensors = {**dict(self.named_parameters()), **dict(self.named_buffers())}
        if self._filled or any(tensor.is_meta for tensor in tensors.values()):
            return
        for name, tensor in tensors.items():
            if not getattr(tensor, "_is_hf_initialized", False):
                tensor.copy_(self.start[name])
        self._filled = True


class _Layer(Activation):
    """Base of classes whose calls make an activation of another class: libraries ask for a class, not a function."""


def _make_layer_class(source: _Source, make: Callable[[], Activation]) -> type[Any]:
    def new(cls: type[_Layer], inplace: bool = False) -> Activation:
        return make()

    record = describe(source)
    doc = f"Makes {record.label}: each call a new module."
    return type(make_class_name(record), (_Layer,), {"__new__": new, "__doc__": doc})


def _make_loadable(source: _Source) -> Callable[[], Activation]:
    """Makes activations of which transformers finds the start values again."""
    with torch.device("cpu"):
        first = activation(source)
    start = {
        name: tensor.detach().clone()
        for name, tensor in [*first.named_parameters(), *first.named_buffers()]
    }

    def make() -> Activation:
        module = activation(source)
        if isinstance(module, FormulaActivation):
            module.__class__ = TransformersActivation
            assert isinstance(module, TransformersActivation)
            module.start = start
        return module

    return make


def _check_independent(what: Any) -> _Source:
    """What to build anew each time; refused if it must know the layer before it."""
    record = describe(what)
    advice = f"put {record.label} into the model itself, by acs.place(model, ..., sample=one batch of inputs)"
    if record.name and CATALOG[record.name].role != "hidden":
        raise ActivationError(
            f"{record.label} is not for hidden layers: {CATALOG[record.name].role}"
        )
    if count_pieces(record) > 1:
        raise ActivationError(f"{record.label} needs a wider layer before it: {advice}")
    if any(parameter.per == "channel" for parameter in build_expression(record).parameters):
        raise ActivationError(f"{record.label} learns for each channel: {advice}")
    return copy.deepcopy(what) if isinstance(what, Activation) else record
