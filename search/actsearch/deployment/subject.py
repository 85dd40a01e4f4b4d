"""What is to be deployed: one activation, its function in double precision, and the inputs that are known of it."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from actsearch.activation_catalog import CATALOG
from actsearch.activations import Activation, activation, build_expression, describe
from actsearch.activations.function import sample, scalar_module
from actsearch.activations.met_inputs import MetInputs, met_inputs
from actsearch.errors import ActivationError
from actsearch.expression import Call, Expression, Number, Parameter
from actsearch.records import ActivationRecord, Diagnostics

__all__ = ["Subject", "resolve", "resolve_candidate"]

Array = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Subject:
    """One activation.

    Attributes:
        source: what the user gave, or the module that was trained.
        record: formula, name and settings.
        inputs: what it meets; None where nothing is known of that.
        notes: what a user should know.
    """

    source: Any
    record: ActivationRecord
    inputs: MetInputs | None
    notes: tuple[str, ...] = ()

    @property
    def label(self) -> str:
        """Short text."""
        return self.record.label

    def check_one_function(self, what: str) -> None:
        """Refuse what is not one function of one number.

        Raises:
            ActivationError: it draws numbers, learns per channel, or depends on several numbers.
        """
        row = CATALOG[self.record.name] if self.record.name else None
        if row is not None and row.random:
            raise ActivationError(
                f"{self.label} draws random numbers in training: {what} holds one fixed function"
            )
        if row is not None and not row.elementwise:
            raise ActivationError(
                f"{self.label} is not a function of one number: {what} holds such a function alone"
            )
        if any(parameter.per == "channel" for parameter in self.formula_tree.parameters):
            raise ActivationError(
                f"{self.label} learns for each channel: {what} holds one function for all of them; take a form that "
                "is learned per tensor"
            )

    @functools.cached_property
    def formula_tree(self) -> Expression:
        """The formula as it is written, learned numbers at their start."""
        return build_expression(self.record)

    @functools.cached_property
    def tree(self) -> Expression:
        """The formula, with what a module has learned as numbers."""
        if not self.formula_tree.parameters:
            return self.formula_tree
        module = self.scalar
        values = [float(parameter.detach()) for parameter in module.parameters()]
        return _put_in(self.formula_tree, iter(values))

    @functools.cached_property
    def scalar(self) -> Activation:
        """In float64 and eval mode, for one channel."""
        return scalar_module(self.source if isinstance(self.source, Activation) else self.record)

    def values(self, points: Array) -> Array:
        """f(x) in float64, ``(n,)`` each."""
        return sample(self.scalar, torch.from_numpy(np.asarray(points, np.float64))).y

    def module(self) -> Activation:
        """A new module, with what was learned."""
        return activation(self.source if isinstance(self.source, Activation) else self.record)


def _put_in(tree: Expression, values: Any) -> Expression:
    """Numbers in the places of learned ones, in order of appearance."""
    if isinstance(tree, Parameter):
        return Number(next(values))
    if not isinstance(tree, Call):
        return tree
    return Call(tree.operator, tuple(_put_in(argument, values) for argument in tree.arguments))


def resolve_candidate(what: Any) -> Any:
    """A study's best trial, in the place of the study; anything else as it is."""
    return what.best_trial if hasattr(what, "best_trial") and hasattr(what, "trials") else what


def resolve(what: Any, inputs: Any = None) -> Subject:
    """What a user means.

    Args:
        what: as for :func:`actsearch.activation`, or a study, which stands for its best trial.
        inputs: what arrives at it, as for :func:`met_inputs`; a trial's own recorded inputs by default.
    """
    what = resolve_candidate(what)
    record = describe(what)
    diagnostics = getattr(what, "diagnostics", None)
    known: MetInputs | None = None
    if inputs is not None:
        known = met_inputs(inputs)
    elif isinstance(diagnostics, Diagnostics):
        known = met_inputs(diagnostics)
    subject = Subject(what, record, known)
    row = CATALOG[record.name] if record.name else None
    has_tree = row is None or row.elementwise
    notes = [known.note] if known is not None and known.note else []
    if has_tree and subject.formula_tree.parameters and not isinstance(what, Activation):
        notes.append(
            "Learned numbers are at their start: hand in the module that was trained, as "
            "placement.model.get_submodule(path), for what it has learned."
        )
    return Subject(what, record, known, tuple(notes))
