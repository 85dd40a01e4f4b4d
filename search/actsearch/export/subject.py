"""Which activation is meant by what a user hands to an export."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from actsearch.activations import describe
from actsearch.errors import ActivationError
from actsearch.records import ActivationRecord, CandidateRecord, TrialRecord
from actsearch.report import Verdict, VerdictRow
from actsearch.storage import tolerant
from actsearch.storage.tolerant import one_line

__all__ = ["make_class_name", "resolve_record", "resolve_records"]


def resolve_records(what: Any) -> dict[str, ActivationRecord]:
    """The activations of a candidate that has several, by group of sites; empty for what names one.

    Args:
        what: a candidate, a trial, or a verdict or one of its rows; anything else names one.
    """
    if isinstance(what, Verdict):
        return resolve_records(what.winner)
    if isinstance(what, VerdictRow):
        stored = CandidateRecord.groups_in(what.activation or {})
        record: Any = CandidateRecord(
            {str(key): _read_stored(item) for key, item in stored.items()}
        )
    elif isinstance(record := getattr(what, "record", what), TrialRecord):
        record = record.candidate
    if not isinstance(record, CandidateRecord) or record.single is not None:
        return {}
    return {group: describe(item) for group, item in record.activations.items()}


def resolve_record(what: Any) -> ActivationRecord:
    """The record of anything that names one activation.

    Args:
        what: catalog name, formula, Expression, activation module, candidate, trial, or a verdict or one of its rows.

    Raises:
        ActivationError: for what names none, the user's own model as the winner of a verdict among them.
        FormulaError: a formula that cannot be read.
    """
    if isinstance(what, Verdict):
        return resolve_record(what.winner)
    if several := resolve_records(what):
        one = next(iter(several.values())).label
        raise ActivationError(
            f"these are several activations, at {', '.join(several)}: choose one of them, as {one!r}, write all with "
            "to_python, or place all with candidate.place(model)"
        )
    if isinstance(what, VerdictRow):
        if what.is_damaged:
            raise ActivationError(
                f"what this line of a verdict stands for cannot be read ({one_line(what.formula)}): "
                "the database was changed by another program, or holds what a newer version wrote"
            )
        if what.activation is not None:
            return describe(_read_stored(what.activation))
        if what.verdict == "baseline":
            raise ActivationError(
                f"this is the model unchanged, not an activation: keep {one_line(what.label)}"
            )
        return describe(what.formula)
    return describe(getattr(what, "candidate", what))


def _read_stored(item: Any) -> ActivationRecord:
    """JSON data of an activation; :func:`describe` refuses what is not valid."""
    return tolerant.activation(dict(item) if isinstance(item, Mapping) else item)


def make_class_name(record: ActivationRecord) -> str:
    """A name for a class that computes it."""
    if record.name:
        return "".join(part.capitalize() for part in record.name.split("_"))
    return "FoundActivation"
