"""Cutting what is computed from one tensor into activations, and finding where in each something can be put."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from types import CodeType
from typing import Any

import torch
from torch import Tensor

from actsearch.placement.call_site import is_torch_code
from actsearch.placement.chains import Chain, Operand, Pass, Replay
from actsearch.placement.dataflow import Dataflow, Step, Value, is_written_over, values_in
from actsearch.placement.elementwise import (
    curve_of,
    is_affine,
    is_in_a_row,
    lies_between_0_and_1,
)
from actsearch.placement.execution import FunctionCall, Key
from actsearch.placement.known_activations import is_line

__all__ = ["Group", "make_chain", "parts_of", "split_steps"]


@dataclass(frozen=True)
class Group:
    """Some steps of a chain: from which value to which, and the helper that makes them all, if one does."""

    steps: list[Step]
    start: Value
    end: Value
    helper: CodeType | None = None


def split_steps(
    steps: list[Step],
    start: Value,
    is_known: Callable[[Step], bool],
    flow: Dataflow,
    grid: Tensor,
) -> list[Group]:
    """A chain where it narrows to one value between two known activations, unless one helper makes both."""
    segments: list[list[Step]] = [[]]
    for index, step in enumerate(steps):
        segments[-1].append(step)
        later = {item.results[0] for item in steps[index:]}
        if all(v in later for item in steps[index + 1 :] for v in item.operands):
            segments.append([])
    groups: list[list[Step]] = []
    for segment in filter(None, segments):
        both = groups and any(map(is_known, groups[-1])) and any(map(is_known, segment))
        if not groups or (both and _helper([*groups[-1], *segment], flow) is None):
            groups.append(segment)
        else:
            groups[-1] = [*groups[-1], *segment]
    made = []
    for index, group in enumerate(groups):
        end = group[-1].results[0]
        # scales and shifts between two activations belong to neither
        if index < len(groups) - 1 and _helper(group, flow) is None:
            while len(group) > 1 and is_affine(group[-1], grid) and not is_known(group[-1]):
                group = group[:-1]
        made.append(Group(group, start, group[-1].results[0], _helper(group, flow)))
        start = end
    return made


def _helper(steps: Sequence[Step], flow: Dataflow) -> CodeType | None:
    """The outermost function, within a forward, that makes exactly these calls of functions."""
    codes = [step.codes[:-1] for step in steps]
    places = [getattr(step.key, "place", None) for step in steps]
    if not all(codes) or len(set(places)) < len(places):
        return None
    shared = [
        c for c in codes[0] if c not in flow.callers and all(c in others for others in codes)
    ]
    owner, first, last = steps[0].owner, steps[0].index, steps[-1].index
    inner = set(steps)
    for code in reversed(shared):
        if is_torch_code(code.co_filename):
            continue
        between = [s for s in flow.steps[first : last + 1] if s.owner == owner and code in s.codes]
        neighbours = [*flow.steps[max(first - 1, 0) : first], *flow.steps[last + 1 : last + 2]]
        more = [s for s in neighbours if code in s.codes[:-1] and _same_run(s, steps)]
        if set(between) <= inner and not more:
            return code
    return None


def _same_run(step: Step, steps: Sequence[Step]) -> bool:
    """Whether a step is of the run of a helper that others are of: each place is passed once in it."""
    place = getattr(step.key, "place", None)
    return place is None or place not in {getattr(item.key, "place", None) for item in steps}


def make_chain(
    group: Group,
    grid: Tensor,
    is_known: Callable[[Step], bool],
    is_between: Callable[[Value, Value, bool], bool],
) -> Chain | str | None:
    """A group as a chain, or why it cannot be replaced; None of a line, a single known activation, and what does not
    stand between layers.
    """
    group = _trim(group, grid, is_function=not any(map(is_known, group.steps)))
    known = [step for step in group.steps if is_known(step)]
    if not group.steps or (len(group.steps) == 1 and known):
        return None
    curve = _curve_of_group(group, grid)
    if curve is None or not curve.is_floating_point() or is_line(grid, curve):
        return None
    if not known and not is_between(group.start, group.end, _at_zero(group) == 0):
        return None
    if len(known) == 1 and _is_known_with_constants(group, known[0], grid):
        return None
    for carrier in _carriers(group, known, grid):
        if carrier.key is None or (path := _path(group, carrier)) is None:
            continue
        others = [(step, operand) for step, operand in path if step is not carrier]
        if any(step.key is None for step, _ in others):
            continue
        if path[0][0] is not carrier and any(_writes(step) for step in group.steps):
            continue  # what is passed on would be written over
        return Chain(
            carrier.key,
            next(operand for step, operand in path if step is carrier),
            tuple(
                Pass(s.key, operand) for s, operand in others if isinstance(s.key, FunctionCall)
            ),
            tuple(step.key for step, _ in others if isinstance(step.key, str)),
            tuple(group.steps),
            group.start,
            group.end,
            group.helper,
            any(_writes(step) for step in group.steps),
        )
    return "several calls that cannot be redirected" if known else None


def _is_known_with_constants(group: Group, known: Step, grid: Tensor) -> bool:
    """Whether a group is one known activation with scales and shifts around it, which stay where they are.

    Unless they shift it to 0 at 0, as ``softplus(x) - log(2)``, or make it open from 0 to 1 around 0, as
    ``relu6(x + 3) / 6``: these are functions of their own.
    """
    others = [step for step in group.steps if step is not known]
    if any(len(step.operands) != 1 or not is_affine(step, grid) for step in others):
        return False
    if parts_of(group.steps, lambda step: step is known):
        return False
    if any(_is_own_scale(step, group.steps, is_function=False) for step in others):
        return False
    alone = Group([known], known.operands[0], known.results[0])
    before, now = _at_zero(alone), _at_zero(group)
    opens = before != now == 0.5 and lies_between_0_and_1(_replay(group))
    return not opens and (before == 0 or now != 0)


def _replay(group: Group) -> Replay:
    return Replay(group.steps, group.start, group.end, by_example=True)


def _at_zero(group: Group) -> float:
    with torch.no_grad():
        value = _replay(group)(torch.zeros(1, dtype=torch.float64))
    return round(value.item(), 4)


def _writes(step: Step) -> bool:
    return is_written_over(step.function, step.kwargs)


def _curve_of_group(group: Group, grid: Tensor) -> Tensor | None:
    try:
        with torch.no_grad():
            return _replay(group)(grid)
    except Exception:  # a constant that is not known
        return None


def _trim(group: Group, grid: Tensor, *, is_function: bool) -> Group:
    """Without what changes nothing at the ends, and without scales and shifts by weights, which belong to a layer.

    A scale stays whose weight stands at another place, too, as in ``softplus(b * x) / b``, and so does one right before
    what is no activation by itself, as in ``sin(w * x)``.

    Args:
        group: some steps.
        grid: of points.
        is_function: whether there is no known activation among them.
    """
    steps, start, end = list(group.steps), group.start, group.end
    before: list[Step] = []
    for step in group.steps:
        operand = before[-1].results[0] if before else start
        users = [item for item in steps if operand in item.operands]
        if users != [step] or not _belongs_to_layer(step, operand, grid):
            break
        before.append(step)
    while before and _is_own_scale(before[-1], steps, is_function=is_function):
        before.pop()
    if before:
        steps, start = steps[len(before) :], before[-1].results[0]
    while steps:
        operands = steps[-1].operands
        if len(operands) != 1 or not _belongs_to_layer(steps[-1], operands[0], grid):
            break
        if _is_own_scale(steps[-1], steps, is_function=False):
            break
        steps.pop()
        end = operands[0]
    return Group(steps, start, end, group.helper)


def _is_own_scale(step: Step, steps: Sequence[Step], *, is_function: bool) -> bool:
    """Whether a step scales by a weight, one for all numbers or for each channel, that belongs to an activation."""
    weights = _weights((step.args, step.kwargs))
    if step.name not in ("mul", "div") or not weights:
        return False
    others = [_weights((item.args, item.kwargs)) for item in steps if item is not step]
    has_axes = any(sum(size > 1 for size in weight.shape or ()) > 1 for weight in weights)
    return not has_axes and (is_function or any(weights & more for more in others))


def _weights(template: Any) -> set[Value]:
    """The parameters that some arguments are computed from."""
    found: set[Value] = set()
    todo = [value for value in values_in(template) if value.kind == "weight"]
    for value in todo:  # which grows
        if value.made_by is None:
            found.add(value)
        else:
            todo += [
                v
                for v in values_in((value.made_by.args, value.made_by.kwargs))
                if v.kind == "weight"
            ]
    return found


def _belongs_to_layer(step: Step, operand: Value, grid: Tensor) -> bool:
    curve = curve_of(step, {operand: grid})
    if curve is None or not curve.is_floating_point():
        return False
    if torch.equal(curve, grid):
        return True
    tensors = [v for v in values_in((step.args, step.kwargs)) if v is not operand]
    return is_line(grid, curve) and any(
        not value.is_number or value.kind == "weight" for value in tensors
    )


def _carriers(group: Group, known: Sequence[Step], grid: Tensor) -> list[Step]:
    """The calls in whose place something may be put, the best first: a module, a known function, what is no line."""
    modules = [step for step in known if isinstance(step.key, str)]
    others = [
        step
        for step in group.steps
        if step not in known and step.results[0].is_float and not is_affine(step, grid)
    ]
    rest = [step for step in group.steps if step not in known and step not in others]
    return [*modules, *reversed([s for s in known if s not in modules]), *others, *rest]


def _path(group: Group, carrier: Step) -> list[tuple[Step, Operand]] | None:
    """The calls from the start through the carrier to the end, with where each is given what the one before gives."""
    before = _shortest(group, group.start, carrier)
    after = _shortest(group, carrier.results[0], None)
    return None if before is None or after is None else [*before, *after]


def _shortest(group: Group, start: Value, last: Step | None) -> list[tuple[Step, Operand]] | None:
    """The fewest calls from a value to a step, or to the end of the group; masks are not on the way."""
    if last is None and start is group.end:
        return []
    ways: list[tuple[Value, list[tuple[Step, Operand]]]] = [(start, [])]
    seen = {start}
    for value, way in ways:  # which grows
        for step in group.steps:
            operand = _find_operand(step, value)
            if operand is None:
                continue
            longer = [*way, (step, operand)]
            result = step.results[0]
            if step is last or (last is None and result is group.end):
                return longer
            if result not in seen and result.is_float:
                seen.add(result)
                ways.append((result, longer))
    return None


def _find_operand(step: Step, value: Value) -> Operand | None:
    for position, item in enumerate(step.args):
        if item is value:
            return position
    return next((name for name, item in step.kwargs.items() if item is value), None)


def parts_of(steps: Sequence[Step], is_known: Callable[[Step], bool]) -> set[Key]:
    """The known activations of a chain that cannot stand for themselves; one in a row of other calls can."""
    known = {step.key for step in steps if step.key is not None and is_known(step)}
    return set() if len(known) == 1 and is_in_a_row(steps) else known
