"""Whether a stack computes what single training computes: the first steps of both, side by side."""

from __future__ import annotations

import itertools
import warnings
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from actsearch.devices import as_double
from actsearch.placement import forward
from actsearch.placement.model_run import tensors
from actsearch.placement.random_streams import isolated_random
from actsearch.task import Batches, Task, inputs_and_targets, on_device
from actsearch.training.attention import mappable_attention
from actsearch.training.loop import TrainingRun
from actsearch.training.numerics import numerics_of
from actsearch.training.stack.model import Member, computes_memberwise
from actsearch.training.stack.stacked_run import StackedRun
from actsearch.training.stack.stacked_site import Unstackable

__all__ = ["check_stack"]

_COMPARED_STEPS = 2  # the second shows what the first step made of the weights
_TOLERANCE = 1e-3  # relative: more than another order of summation costs in two steps
# of the way that the weights went; Adam makes full steps of gradients that are 0 but for rounding, as of a bias before
# a batch normalisation, and sends them either way
_STEP_TOLERANCE = 0.3


def check_stack(task: Task, members: Sequence[Member], alone: Sequence[nn.Module]) -> str:
    """Compare losses, weights and outputs over the first steps.

    Args:
        task: what is trained, at the members' learning rate.
        members: to be stacked; they are used up.
        alone: their models once more, built in the same way; used up as well.

    Returns:
        Why a stack may give other last bits than single training: losses, weights or outputs that do, or functions of
        which that is not known. Empty if it does not.

    Raises:
        Unstackable: they differ by more than rounding.
    """
    with (
        isolated_random(0),
        numerics_of(task),
        mappable_attention(not computes_memberwise(task.torch_device())),
        warnings.catch_warnings(),
    ):
        warnings.filterwarnings("error", message="There is a performance drop")  # member by member
        stack = StackedRun(task, members)
        runs = [TrainingRun(task, model, m.seed) for model, m in zip(alone, members, strict=True)]
        starts = [_copy_state(run.model) for run in runs]
        equal = _compare_losses(stack, runs)
        steps = [_compare_steps(stack, runs[i], i, starts[i]) for i in range(len(runs))]
        equal = _compare_outputs(stack, runs) and all(steps) and equal
        if stack.model.unproven:
            return "it calls " + ", ".join(sorted(stack.model.unproven))
        return "" if equal else "its sums are taken in another order there"


def _compare_losses(stack: StackedRun, runs: Sequence[TrainingRun]) -> bool:
    """The first steps of both, and one with as few samples as the last batch has; whether all losses are equal."""
    equal = True
    own = [_first_batches(run.task, run.train) for run in runs]
    stack.model.train()
    for run in runs:
        run.model.train()
    shared = zip(*(_first_batches(stack.task, batches) for batches in stack.train), strict=True)
    for batches, *singles in zip(shared, *own, strict=False):
        losses = stack.loss(batches)[0]
        for index, (run, batch) in enumerate(zip(runs, singles, strict=True)):
            loss = run.loss(batch)[0]
            equal &= _compare("the loss", losses[index], loss)
            run.take_step(loss, batch)
        stack.update(losses)
    return equal


def _first_batches(task: Task, batches: Batches) -> Iterator[Any]:
    """The first ones, then the beginning of one that is as short as the last, where that is known."""
    batch: Any = None
    for batch in itertools.islice(iter(batches), _COMPARED_STEPS):
        yield batch
    left = len(task.train[0]) % task.batch_size if isinstance(task.train, tuple) else 0
    if left and isinstance(batch, tuple) and left < len(batch[0]):
        yield tuple(item[:left].clone() for item in batch)


def _copy_state(model: nn.Module) -> dict[str, Tensor]:
    """Copies of all weights and of the buffers that are not counters, by name."""
    named = itertools.chain(model.named_parameters(), model.named_buffers())
    return {name: item.detach().clone() for name, item in named if item.is_floating_point()}


@torch.no_grad()
def _compare_steps(
    stack: StackedRun, run: TrainingRun, index: int, start: Mapping[str, Tensor]
) -> bool:
    """Where weights and buffers went; single training's are then set to the stack's."""
    own = dict(itertools.chain(run.model.named_parameters(), run.model.named_buffers()))
    equal = True
    for what, tensors_of in (
        ("weights", stack.model.parameters),
        ("buffers", stack.model.buffers),
    ):
        off, way = 0.0, 0.0
        for name, stacked in tensors_of.items():
            single, mine = own[name].detach(), stacked[index].detach()
            equal &= torch.equal(mine, single)
            if name in start:
                off += float(as_double(mine - single).square().sum())
                way += float(as_double(single - start[name]).square().sum())
            single.copy_(mine)
        # false for nan, too: what diverges at once diverges in both
        if off > _STEP_TOLERANCE**2 * way:
            raise Unstackable(
                f"in a stack its {what} move elsewhere, by {(off / way) ** 0.5 if way else off:.2g} of the first steps"
            )
    return equal


@torch.no_grad()
def _compare_outputs(stack: StackedRun, runs: Sequence[TrainingRun]) -> bool:
    """In evaluation mode, on the first validation batch, with the same weights."""
    task = stack.task
    valid = on_device(task, "valid", stack.device)
    batch = next(iter(Batches(valid, task.batch_size, stack.device, None)))
    stack.model.train(False)
    equal = True
    if task.step is not None:
        losses = stack.loss([batch] * len(stack.model.seeds))[0]
        for index, run in enumerate(runs):
            run.model.eval()
            equal &= _compare("the loss in evaluation", losses[index], run.loss(batch)[0])
        return equal
    inputs = inputs_and_targets(batch)[0]
    for row, run in zip(stack.outputs(inputs), runs, strict=True):
        run.model.eval()
        expected = list(tensors(forward(run.model, inputs)))
        for got, wanted in zip(tensors(row), expected, strict=True):
            equal &= _compare("the output in evaluation", got, wanted)
    return equal


def _compare(name: str, got: Tensor, wanted: Tensor) -> bool:
    """Whether two tensors are equal; Unstackable if they are not even close. What diverged has diverged in both."""
    got, wanted = got.detach(), wanted.detach()
    if torch.equal(got, wanted) or not torch.isfinite(wanted).all():
        return True
    scale = float(wanted.abs().max()) or 1.0
    worst = float((got - wanted).abs().max())
    if not worst <= _TOLERANCE * scale:
        raise Unstackable(f"in a stack {name} differs from single training by {worst:.2g}")
    return False
