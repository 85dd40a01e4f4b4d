"""Functions of candidates at fixed points, to be stored with a trial: drawing them then needs no torch."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from actsearch.activation_catalog import CATALOG
from actsearch.activations import describe, sample
from actsearch.errors import ActsearchError
from actsearch.records import CURVE_POINTS, ActivationRecord, CandidateRecord, Curve
from actsearch.screening.identity import perturbed_modules

__all__ = ["sample_curve", "sample_curves"]


def sample_curve(record: ActivationRecord, points: Sequence[float] = CURVE_POINTS) -> Curve | None:
    """The function at some points, learned parameters at their start.

    None where there is no function of one number: softmax and its like, and what cannot be read.
    """
    try:
        described = describe(record)
        if described.name is not None and not CATALOG[described.name].elementwise:
            return None
        return sample(perturbed_modules(described)[0], points)
    except (ActsearchError, RuntimeError, ValueError, TypeError, ArithmeticError):
        return None


def sample_curves(candidates: Iterable[CandidateRecord]) -> dict[bytes, Curve]:
    """Each different function of some candidates, by :attr:`actsearch.records.ActivationRecord.digest`."""
    records = {
        record.digest: record
        for candidate in candidates
        for record in candidate.activations.values()
    }
    curves = {digest: sample_curve(record) for digest, record in records.items()}
    return {digest: curve for digest, curve in curves.items() if curve is not None}
