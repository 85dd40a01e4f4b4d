"""What becomes of each activation of a pass: whether it opens a gate, is returned, or goes into another layer."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

from actsearch.placement.chain_search import find_chains
from actsearch.placement.chains import Replay
from actsearch.placement.dataflow import Dataflow, Step, Value, draws, goes_into_layer, reach
from actsearch.placement.execution import OUTSIDE, ExecutionTrace, FunctionCall, Key
from actsearch.placement.known_activations import CALLS, MULTIPLYING, PASSING, SHIFTING
from actsearch.placement.radial_bases import find_radial_bases
from actsearch.placement.returned_scales import is_returned_scale
from actsearch.placement.site_formula import formula_of_steps

__all__ = ["note_flow"]

# what stands between two layers without being one
_NORMS = frozenset(
    "batch_norm instance_norm layer_norm group_norm rms_norm local_response_norm".split()
)
_BETWEEN = (
    PASSING
    | _NORMS
    | frozenset(
        "cat concat stack add sub mean pad interpolate alpha_dropout chunk split setitem copy index_put".split()
    )
)


def note_flow(
    flow: Dataflow, trace: ExecutionTrace, merge_passes: Callable[[Key], Key] = lambda key: key
) -> None:
    """Write down the chains of a pass, and the roles and formulas of all activations.

    Args:
        flow: what ran.
        trace: of the same pass, to be completed.
        merge_passes: gives the key under which the trace knows a call that a loop makes again and again.
    """
    for step in flow.steps:
        if step.key is not None:
            step.key = merge_passes(step.key)
            trace.ran.add(step.key)
    known = set(trace.order)
    chains = find_chains(flow, lambda step: step.key in known, _is_between)
    trace.chains, trace.torn = dict(chains.found), dict(chains.torn)
    absorbed = {key for chain in trace.chains.values() for key in chain.members - {chain.carrier}}
    kept = (known - absorbed - set(trace.torn)) | set(trace.chains)
    ran = [step.key for step in flow.steps if step.key in kept]
    rest = [key for key in trace.order if key in kept]
    trace.order = list(dict.fromkeys([*ran, *rest]))
    for key, ends in _ends(flow, trace).items():
        _note_role(flow, trace, key, ends)
        if isinstance(key, str) and len({_is_end(flow, [end]) for end in ends}) > 1:
            trace.mixed.add(key)
    _note_formulas(flow, trace)
    for step in find_radial_bases(flow):
        trace.unreplaceable[step.owner, step.name, "of a distance to learned centres"] = None
    for step in flow.steps:
        if step.owner == OUTSIDE and step.name in CALLS.values():
            if goes_into_layer(step.results):
                where = "in step=, outside of its forward and methods (move it there, or hold a module as nn.ReLU())"
                trace.unreplaceable["", step.name, where] = None


def _ends(flow: Dataflow, trace: ExecutionTrace) -> Mapping[Key, list[Value]]:
    """What each activation gives, every time that it runs."""
    ends: dict[Key, list[Value]] = {key: [] for key in trace.order}
    for key, chain in trace.chains.items():
        ends[key].append(chain.end)
    for step in flow.steps:
        if step.key in ends and step.key not in trace.chains:
            ends[step.key] += step.results
    return ends


def _note_role(flow: Dataflow, trace: ExecutionTrace, key: Key, ends: Iterable[Value]) -> None:
    reached = reach(ends)
    uses = [use for value in reached for use in value.uses]
    if _is_end(flow, ends) or is_returned_scale(flow, ends, reached):
        trace.ends.add(key)
    if any(_mixes(use, reached) for use in uses):
        trace.gates.add(key)
    if not reach(ends, _hands_on).isdisjoint(flow.results):
        trace.outputs.add(key)


def _hands_on(step: Step) -> bool:
    """Whether what a step gives is an activation's result still: shaped, shifted or scaled, or one of several."""
    is_result = hasattr(step.function, "__dataclass_fields__")  # as transformers has
    shifts = len(step.operands) == 1 and step.name in (MULTIPLYING | SHIFTING)
    return step.name in PASSING or is_result or shifts


def _is_end(flow: Dataflow, ends: Iterable[Value]) -> bool:
    """Whether no layer takes what an activation reaches, but the model returns some of it."""
    return not goes_into_layer(ends) and not reach(ends).isdisjoint(flow.results)


def _mixes(step: Step, reached: set[Value]) -> bool:
    """Whether a step multiplies what an activation reaches with something else."""
    return step.name in MULTIPLYING and not reached.issuperset(step.operands)


def _is_between(start: Value, end: Value, vanishes: bool) -> bool:
    """Whether one value comes from a layer with weights and the other goes into one.

    What gives 0 for 0 may first multiply what another layer gives, as in a gated unit; what does not is a scale there,
    as ``exp(0.5 * log_variance)``.
    """
    if not _comes_from_layer(start):
        return False
    return goes_into_layer([end], _stands_between) or (vanishes and _multiplies_layer(end))


def _multiplies_layer(value: Value) -> bool:
    """Whether a value multiplies what comes from a layer and the product goes into one."""
    views = reach([value], lambda step: step.name in PASSING)
    products = [use for view in views for use in view.uses if use.name == "mul"]
    return any(
        len(use.operands) == 2
        and all(map(_depends_on_layer, use.operands))
        and goes_into_layer(use.results, _stands_between)
        for use in products
    )


def _depends_on_layer(value: Value) -> bool:
    todo, seen = [value], {value}
    for item in todo:  # which grows
        step = item.made_by
        if step is None or draws(step.name):
            continue
        if step.is_layer:
            return True
        todo += [operand for operand in step.operands if operand not in seen]
        seen.update(step.operands)
    return False


def _comes_from_layer(value: Value) -> bool:
    step = value.made_by
    while step is not None and not step.is_layer:
        operands = step.operands
        # a view may also be given sizes, which torch.fx knows as values; weights may scale what a layer gives
        if step.name not in (*_BETWEEN, "mul", "div") or (
            len(operands) != 1 and step.name not in PASSING
        ):
            return False
        step = operands[0].made_by
    return step is not None


def _stands_between(step: Step) -> bool:
    return step.name in _BETWEEN


def _note_formulas(flow: Dataflow, trace: ExecutionTrace) -> None:
    for step in flow.steps:
        key = step.key
        if isinstance(key, FunctionCall) and key in trace.order and key not in trace.chains:
            if len(step.operands) == 1 and len(step.results) == 1:
                _note_formula(trace, key, [step], step.operands[0], step.results[0])
    for key, chain in trace.chains.items():
        _note_formula(trace, key, chain.steps, chain.start, chain.end)


def _note_formula(
    trace: ExecutionTrace, key: Key, steps: Iterable[Step], start: Value, end: Value
) -> None:
    if key not in trace.formulas:
        steps = list(steps)
        function = Replay(steps, start, end, by_example=True)
        trace.formulas[key] = formula_of_steps(steps, start, end, function)
