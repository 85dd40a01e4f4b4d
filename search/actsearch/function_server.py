"""What a function is, asked by a process that does not load torch, as the dashboard's server.

Started with pipes, :func:`main` reads one request a line from its standard input, JSON ``{"call": name, ...}`` with the
arguments of one of the functions below, and answers each with one line, ``{"result": ...}`` or ``{"error": message}``.
It ends with its input, or when nobody has asked for a while. Everything it reads may come from a stored or typed text:
formulas are parsed, never evaluated as code.
"""

from __future__ import annotations

import json
import os
import sys
import threading
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from actsearch.activations import curve, describe, moments, sample
from actsearch.errors import ActsearchError
from actsearch.evaluation import cost
from actsearch.export import average_learned, to_python
from actsearch.records import (
    CURVE_POINTS,
    ActivationRecord,
    CandidateRecord,
    Curve,
    Diagnostics,
    SiteDiagnostics,
)
from actsearch.screening import closest, identify, sample_curve

__all__ = ["answer", "main"]

_IDLE_SECONDS = 1800.0  # torch takes 200 MB of memory
_FAILURES = (
    ActsearchError, ArithmeticError, AttributeError, LookupError, RuntimeError, TypeError, ValueError,
)  # fmt: skip

_FINE = tuple(step / 50 for step in range(-300, 301))  # for what is drawn large

Json = dict[str, Any]


def inspect(what: str, settings: Mapping[str, Any]) -> Json:
    """An activation as it is written, a catalog name or a formula: its record, identity and function."""
    record = describe(what, **settings)
    description: Json = {"activation": record.to_json(), "identity": identify(record)}
    try:
        return description | {"curve": _lists(curve(record))}
    except (ActsearchError, RuntimeError) as error:
        return description | {"curve": None, "reason": str(error)}


def find_moments(item: Json) -> Sequence[float] | None:
    """E[f(z)] and E[f(z)^2] for z ~ N(0, 1); None where it is not a function of one number."""
    try:
        return moments(ActivationRecord.from_json(item))
    except (ActsearchError, RuntimeError):
        return None


def sample_all(items: Sequence[Json], fine: bool = False) -> list[Sequence[list[float]] | None]:
    """Each function at its start, at the points that are stored with trials or finer; None where there is none."""
    points = _FINE if fine else CURVE_POINTS
    curves = [sample_curve(ActivationRecord.from_json(item), points) for item in items]
    return [None if curve is None else _lists(curve) for curve in curves]


def sample_learned(item: Json, learned: Mapping[str, Sequence[float]]) -> Sequence[list[float]]:
    """A function with each learned parameter at the mean of some values."""
    record = describe(ActivationRecord.from_json(item))
    return _lists(sample(average_learned(record, learned).eval(), _FINE))


def find_closest(what: Json, others: Sequence[Json], count: int) -> list[tuple[int, float]]:
    """Places and distances of the nearest of many candidates, each given as activations by group."""
    near = closest(_candidate(what), [_candidate(items) for items in others], count)
    return [(item.position, item.distance) for item in near]


def write_python(items: Json, note: str) -> str:
    """Python source of a candidate, given as activations by group; every word of it made anew."""
    clean = {group: describe(ActivationRecord.from_json(item)) for group, item in items.items()}
    return to_python(CandidateRecord(clean), note=note)


def measure_cost(item: Json, shape: Sequence[int]) -> str:
    """What one forward and backward pass takes on this machine's processor, in words."""
    return str(cost(ActivationRecord.from_json(item), shape))


def compare_deployments(
    item: Json, sites: Sequence[Json], ended: bool = True, compiled: bool = False
) -> Json:
    """The forms in which an activation can be deployed, side by side.

    ``sites`` are what was recorded of its inputs and learned numbers, ``ended`` whether after training.
    """
    record = describe(ActivationRecord.from_json(item))
    seen = tuple(map(_read_site, sites))
    diagnostics = Diagnostics((), seen) if ended else Diagnostics(seen)
    # a third of the time in which this process starts, and seldom asked for
    from actsearch.deployment.forms import compare_forms

    return compare_forms(record, diagnostics if seen else None, compiled=compiled)


def _read_site(data: Json) -> SiteDiagnostics:
    """With what a deployment looks at."""
    nothing = dict.fromkeys(("dead", "zeros", "saturation", "gain", "gradient_norm"))
    return SiteDiagnostics(
        data["site"],
        (),
        data["mean"],
        data["sd"],
        tuple(data["histogram"]),
        **nothing,
        learned={name: tuple(values) for name, values in data["learned"].items()},
    )


_CALLS: Mapping[str, Callable[..., Any]] = {
    call.__name__: call
    for call in (
        inspect, find_moments, sample_all, sample_learned, find_closest, write_python, measure_cost,
        compare_deployments,
    )
}  # fmt: skip


def _candidate(items: Json) -> CandidateRecord:
    return CandidateRecord(
        {group: ActivationRecord.from_json(item) for group, item in items.items()}
    )


def _lists(curve: Curve) -> tuple[list[float], ...]:
    return tuple(numbers.tolist() for numbers in curve)


def answer(request: str | bytes) -> str:
    """One request answered; what cannot be computed is an error, not an exception."""
    try:
        arguments = json.loads(request)
        reply = {"result": _CALLS[arguments.pop("call")](**arguments)}
    except _FAILURES as error:
        reply = {"error": str(error)}
    return json.dumps(reply)


def main() -> int:
    """Answer requests until there are none."""
    replies = os.fdopen(os.dup(sys.stdout.fileno()), "w")
    sys.stdout = sys.stderr  # whatever is printed is not an answer
    for request in iter(_read_request, b""):
        replies.write(answer(request) + "\n")
        replies.flush()
    return 0


def _read_request() -> bytes:
    """The next request; the process ends where none comes for long."""
    idle = threading.Timer(_IDLE_SECONDS, os._exit, (0,))
    idle.daemon = True
    idle.start()
    try:
        return sys.stdin.buffer.readline()
    finally:
        idle.cancel()
