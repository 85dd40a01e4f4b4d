"""The functions that the trials of a study put into the model, sampled, so that they can be drawn without torch."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

import numpy as np
import sqlalchemy as sa
from sqlalchemy import bindparam
from sqlalchemy.engine import Connection

from actsearch.records import CURVE_POINTS, Curve
from actsearch.storage.tables import Base

__all__ = ["add", "read"]

_FUNCTIONS = Base.metadata.tables["functions"]
_THESE = sa.and_(
    _FUNCTIONS.c.study_id == bindparam("of_study"),
    _FUNCTIONS.c.digest.in_(bindparam("digests", expanding=True)),
)
_KNOWN = sa.select(_FUNCTIONS.c.digest).where(_THESE)
_READ = sa.select(
    _FUNCTIONS.c.digest,
    # as the database gives it: what another program wrote there may be anything
    sa.type_coerce(_FUNCTIONS.c.samples, sa.types.NullType).label("samples"),
).where(_THESE)
_POINTS = np.array(CURVE_POINTS)
_BYTES = 2 * 4 * len(CURVE_POINTS)  # of f and then f', in single precision: enough to draw them


def add(connection: Connection, study_id: int, curves: Mapping[bytes, Curve]) -> None:
    """Store functions by their digests; those that the study has already stay as they are."""
    bound = {"of_study": study_id, "digests": list(curves)}
    known = set(connection.scalars(_KNOWN, bound)) if curves else set()
    new = [
        {"study_id": study_id, "digest": digest, "samples": _pack(curve)}
        for digest, curve in curves.items()
        if digest not in known
    ]
    if new:
        connection.execute(_FUNCTIONS.insert(), new)


def read(connection: Connection, study_id: int, digests: Collection[bytes]) -> dict[bytes, Curve]:
    """The functions that are stored, of those with some digests."""
    if not digests:
        return {}
    bound = {"of_study": study_id, "digests": list(digests)}
    return {
        digest: curve
        for digest, samples in connection.execute(_READ, bound)
        if (curve := _unpack(samples)) is not None
    }


def _pack(curve: Curve) -> bytes:
    with np.errstate(over="ignore"):  # beyond 3e38 is beyond every picture
        return np.stack([curve.y, curve.dy]).astype("<f4").tobytes()


def _unpack(samples: Any) -> Curve | None:
    if not isinstance(samples, bytes) or len(samples) != _BYTES:
        return None
    y, dy = np.frombuffer(samples, "<f4").reshape(2, -1).astype(float)
    return Curve(_POINTS, y, dy)
