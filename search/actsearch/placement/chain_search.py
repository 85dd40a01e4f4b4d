"""Finding the activations of a pass that are several calls together."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from torch import Tensor

from actsearch.placement.chain_parts import make_chain, parts_of, split_steps
from actsearch.placement.chains import Chain, Chains
from actsearch.placement.dataflow import Dataflow, Step, Value
from actsearch.placement.elementwise import curve_of, may_be_elementwise
from actsearch.placement.execution import Key
from actsearch.placement.known_activations import make_grid

__all__ = ["find_chains"]


@dataclass(frozen=True)
class _Derived:
    """A value that is computed number by number from another: which, and as what curve over the grid."""

    start: Value
    curve: Tensor


def find_chains(
    flow: Dataflow,
    is_known: Callable[[Step], bool],
    is_between: Callable[[Value, Value, bool], bool],
) -> Chains:
    """Every activation of a pass that is not a single known one.

    Args:
        flow: what ran.
        is_known: whether a step is an activation by itself.
        is_between: whether one value comes from a layer with weights and the other goes into one: what is no known
            function counts there alone. It is also told whether what stands between gives 0 for 0.
    """
    grid = make_grid()
    derived = _derive_all(flow, grid)
    found: dict[Key, list[Chain]] = {}
    torn: dict[Key, str] = {}
    for end in derived:
        if any(_stays_inside(use, end, derived) for use in end.uses):
            continue
        steps = _closure(end, derived)
        for group in split_steps(steps, derived[end].start, is_known, flow, grid):
            chain = make_chain(group, grid, is_known, is_between)
            if isinstance(chain, Chain):
                found.setdefault(chain.carrier, []).append(chain)
            elif chain:
                torn |= dict.fromkeys(parts_of(group.steps, is_known), chain)
    runs = Counter(step.key for step in flow.steps)
    whole = {}
    for carrier, chains in found.items():
        same = len({chain.signature for chain in chains}) == 1
        if same and all(runs[member] == len(chains) for member in chains[0].members):
            whole[carrier] = chains[-1]
            continue
        for chain in chains:  # what else it is part of would change with it
            if known := parts_of(chain.steps, is_known):
                torn |= dict.fromkeys(known, "several calls that also run by themselves")
    return Chains(whole, torn)


def _derive_all(flow: Dataflow, grid: Tensor) -> dict[Value, _Derived]:
    """What each value is computed from. One that is used inside of a chain and outside of it starts a chain anew."""
    cuts: set[Value] = set()
    while True:
        derived = _derive(flow, cuts, grid)
        if not (more := _uses_on_both_sides(flow, derived) - cuts):
            return derived
        cuts |= more


def _derive(flow: Dataflow, cuts: set[Value], grid: Tensor) -> dict[Value, _Derived]:
    derived: dict[Value, _Derived] = {}
    for step in flow.steps:
        if not may_be_elementwise(step):
            continue
        curves: dict[Value, Tensor] = {}
        starts = set()
        for value in step.operands:
            known = derived.get(value) if value not in cuts else None
            starts.add(value if known is None else known.start)
            curves[value] = grid if known is None else known.curve
        if len(starts) == 1:
            (start,) = starts
            if start.is_float and (curve := curve_of(step, curves)) is not None:
                derived[step.results[0]] = _Derived(start, curve)
                step.results[0].is_float = curve.is_floating_point()
    return derived


def _stays_inside(step: Step, value: Value, derived: Mapping[Value, _Derived]) -> bool:
    """Whether a use of a derived value is part of the same chain."""
    result = derived.get(step.results[0]) if len(step.results) == 1 else None
    return result is not None and result.start is derived[value].start


def _uses_on_both_sides(flow: Dataflow, derived: Mapping[Value, _Derived]) -> set[Value]:
    """The first value of each start that is used in two ways: inside and outside, or for two ends."""
    ends: dict[Value, set[Value]] = {}
    found: dict[Value, Value] = {}
    for value in reversed(list(derived)):
        inside = [use for use in value.uses if _stays_inside(use, value, derived)]
        ends[value] = {value} if not inside else set()
        for use in inside:
            ends[value] |= ends[use.results[0]]
        outside = len(inside) < len(value.uses) or value in flow.results
        if inside and (outside or len(ends[value]) > 1):
            found[derived[value].start] = value
    return set(found.values())


def _closure(end: Value, derived: Mapping[Value, _Derived]) -> list[Step]:
    """The steps that a value is computed by from its start, in order."""
    start, steps, todo = derived[end].start, set[Step](), [end]
    while todo:
        value = todo.pop()
        if value is start or value.made_by is None or value.made_by in steps:
            continue
        steps.add(value.made_by)
        todo += [
            item
            for item in value.made_by.operands
            if item in derived and derived[item].start is start
        ]
    return sorted(steps, key=lambda step: step.index)
