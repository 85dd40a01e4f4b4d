"""Radial basis functions, ``exp(-|x - centre|^2)``: named in a note, since they are no function of one number."""

from __future__ import annotations

from collections.abc import Iterator

from actsearch.placement.dataflow import Dataflow, Step, Value, goes_into_layer, values_in

__all__ = ["find_radial_bases"]

_BETWEEN = frozenset("neg mul div pow square sqrt".split())
_DISTANCES = frozenset("sum norm vector_norm linalg_norm linalg_vector_norm".split())


def find_radial_bases(flow: Dataflow) -> Iterator[Step]:
    """The exponentials of a distance to learned centres that go into a layer."""
    for step in flow.steps:
        if step.name != "exp" or step.key is None or not goes_into_layer(step.results):
            continue
        distance = _go_back(step.operands[0]) if step.operands else None
        if distance is not None and distance.name in _DISTANCES and distance.operands:
            difference = _go_back(distance.operands[0])
            if difference is not None and difference.name in ("sub", "rsub"):
                given = values_in((difference.args, difference.kwargs))
                if any(v.kind == "weight" and len(v.shape or ()) > 1 for v in given):
                    yield step


def _go_back(value: Value) -> Step | None:
    """The step before, but for those that take one number each."""
    step = value.made_by
    while step is not None and step.name in _BETWEEN and len(step.operands) == 1:
        step = step.operands[0].made_by
    return step
