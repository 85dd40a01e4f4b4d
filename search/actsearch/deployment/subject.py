"""What is to be deployed: one activation, its function in double precision, and the inputs that are known of it."""

from __future__ import annotations

import functools
import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from actsearch.activation_catalog import CATALOG
from actsearch.activations import Activation, activation, build_expression, describe
from actsearch.activations.function import sample, scalar_module
from actsearch.activations.met_inputs import MetInputs, met_inputs
from actsearch.activations.recorded_numbers import put_recorded
from actsearch.errors import ActivationError
from actsearch.expression import Call, Expression, Number, Parameter
from actsearch.records import ActivationRecord, Diagnostics, SiteDiagnostics

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
        recorded: a module with what a trial learned; None where that is not known, or the source is a module.
    """

    source: Any
    record: ActivationRecord
    inputs: MetInputs | None
    notes: tuple[str, ...] = ()
    recorded: Activation | None = None

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
        return scalar_module(self._learned)

    def values(self, points: Array) -> Array:
        """f(x) in float64, ``(n,)`` each."""
        return sample(self.scalar, torch.from_numpy(np.asarray(points, np.float64))).y

    def module(self) -> Activation:
        """A new module, with what was learned."""
        return activation(self._learned)

    @property
    def _learned(self) -> Activation | ActivationRecord:
        """What holds the learned numbers; they are at their start where no module does."""
        if isinstance(self.source, Activation):
            return self.source
        return self.record if self.recorded is None else self.recorded


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


def resolve(what: Any, inputs: Any = None, diagnostics: Diagnostics | None = None) -> Subject:
    """What a user means.

    Args:
        what: as for :func:`actsearch.activation`, or a study, which stands for its best trial.
        inputs: what arrives at it, as for :func:`met_inputs`; a trial's own recorded inputs by default. One site of
            its diagnostics stands for what was learned there, too.
        diagnostics: what was recorded of it; of a trial, its own.
    """
    what = resolve_candidate(what)
    record = describe(what)
    found = getattr(what, "diagnostics", None) if diagnostics is None else diagnostics
    diagnostics = found if isinstance(found, Diagnostics) else None
    subject = Subject(what, record, None)
    row = CATALOG[record.name] if record.name else None
    has_tree = row is None or row.elementwise
    recorded: Activation | None = None
    notes: list[str] = []
    if has_tree and subject.formula_tree.parameters and not isinstance(what, Activation):
        site = _choose_site(inputs, diagnostics)
        recorded, words = _recall(subject, site, diagnostics)
        notes.append(words)
        if inputs is None and recorded is not None:
            inputs = site  # what arrived where these numbers were learned
    given = diagnostics if inputs is None else inputs
    known = None if given is None else met_inputs(given)
    if known is not None and known.note:
        notes.insert(0, known.note)
    return Subject(what, record, known, tuple(notes), recorded)


def _choose_site(inputs: Any, diagnostics: Diagnostics | None) -> SiteDiagnostics | None:
    """The site whose learned numbers count: that which is given as inputs, or the first."""
    if diagnostics is None:
        return None
    if isinstance(inputs, SiteDiagnostics):
        return inputs
    return next(iter(diagnostics.newest), None)


def _recall(
    subject: Subject, site: SiteDiagnostics | None, diagnostics: Diagnostics | None
) -> tuple[Activation | None, str]:
    """The activation with what a trial recorded at a site, and which numbers these are, in words.

    Raises:
        ActivationError: a number that is not finite.
    """
    names = [f"theta_{index}" for index in range(len(subject.formula_tree.parameters))]
    advice = "hand in the module that was trained, as placement.model.get_submodule(path), for what it has learned"
    per_channel = any(item.per == "channel" for item in subject.formula_tree.parameters)
    if site is None or diagnostics is None or per_channel:
        return None, f"Learned numbers are at their start: {advice}."
    module = activation(subject.record)
    filled = put_recorded(module, site)
    if unusable := [name for name, value in filled.items() if not math.isfinite(value)]:
        raise ActivationError(
            f"{subject.label} learned {unusable[0]} = {filled[unusable[0]]} at {site.site}: nothing can be made of it"
        )
    if not filled:
        return None, f"Learned numbers are at their start, as the trial recorded none: {advice}."
    if not diagnostics.end:
        return module, (
            f"Learned numbers are at their start, as training did not come to its end: {advice}."
        )
    return module, " ".join(_name_numbers(site, diagnostics, names, filled))


def _name_numbers(
    site: SiteDiagnostics, diagnostics: Diagnostics, names: list[str], filled: dict[str, float]
) -> Iterator[str]:
    values = ", ".join(f"{name} = {value:.6g}" for name, value in filled.items())
    yield f"Learned numbers are those that the trial recorded at {site.site}: {values}."
    if left := [name for name in names if name not in filled]:
        yield f"It recorded no {', '.join(left)}, which is at its start."
    if len(sites := diagnostics.newest) > 1:
        other = next((one.site for one in sites if one.site != site.site), site.site)
        yield (
            f"It is one of {len(sites)} sites, which may have learned others: inputs= takes what "
            f"trial.diagnostics.end has of another one, as of {other}; model= each site's own."
        )
