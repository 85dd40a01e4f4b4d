"""Which activation is meant by what a user hands to an export."""

from __future__ import annotations

from typing import Any

from actsearch.activations import candidate_record, describe
from actsearch.records import ActivationRecord

__all__ = ["make_class_name", "resolve_records"]


def resolve_records(what: Any) -> dict[str, ActivationRecord]:
    """The activations of a candidate that has several, by group of sites; empty for what names one.

    Args:
        what: a candidate, a trial, or a verdict or one of its rows; anything else names one.
    """
    record = candidate_record(what)
    if record is None or record.single is not None:
        return {}
    return {group: describe(item) for group, item in record.activations.items()}


def make_class_name(record: ActivationRecord) -> str:
    """A name for a class that computes it."""
    if record.name:
        return "".join(part.capitalize() for part in record.name.split("_"))
    return "FoundActivation"
