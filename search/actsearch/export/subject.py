"""Which activation is meant by what a user hands to a way out."""

from __future__ import annotations

from typing import Any

from actsearch.activation import describe
from actsearch.errors import ActivationError
from actsearch.records import ActivationRecord
from actsearch.report import Verdict, VerdictRow

__all__ = ["class_name_of", "record_of"]


def record_of(what: Any) -> ActivationRecord:
    """The record of anything that names one activation.

    Args:
        what: catalog name, formula, Expression, activation module, candidate, trial, or a verdict or one of its rows.

    Raises:
        ActivationError: for what names none, the user's own model as the winner of a verdict among them.
        FormulaError: a formula that cannot be read.
    """
    if isinstance(what, Verdict):
        return record_of(what.winner)
    if isinstance(what, VerdictRow):
        if what.activation is not None:
            return ActivationRecord.from_json(what.activation)
        if what.verdict == "baseline":
            raise ActivationError(
                f"this is the model unchanged, not an activation: keep {' '.join(what.label.split())}"
            )
        return describe(what.formula)
    return describe(getattr(what, "candidate", what))


def class_name_of(record: ActivationRecord) -> str:
    """A name for a class that computes it."""
    if record.name:
        return "".join(part.capitalize() for part in record.name.split("_"))
    return "FoundActivation"
