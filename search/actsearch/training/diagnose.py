"""What goes on inside of a model, seen in one pass that leaves no trace in its training."""

from __future__ import annotations

import contextlib
import logging
import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _NormBase

from actsearch.devices import as_double, is_cpu, widest_float
from actsearch.placement.random_streams import isolated_random
from actsearch.records import HISTOGRAM_EDGES, Diagnostics, EpochRecord, SiteDiagnostics
from actsearch.seeds import derive
from actsearch.task import Batches, Task, on_device

__all__ = [
    "SiteObservation",
    "combine_diagnostics",
    "fixed_batch",
    "observe_sites",
    "preserve_state",
    "site_diagnostics",
    "try_to_diagnose",
]

_log = logging.getLogger("actsearch")

T = TypeVar("T")

_MAX_SAMPLES = 256  # most in the batch that is diagnosed, unless a loader makes larger ones
# numbers of a site that a histogram counts, evenly spread: shares to about .2 %
_MAX_COUNTED = 1 << 16
_MAX_LISTED = 256  # learned numbers of a parameter that are stored; of more, as many quantiles
_FLAT_SLOPE = 1e-3  # a derivative below it lets next to nothing through


def fixed_batch(task: Task, device: torch.device) -> Any:
    """Read the training batch that is the same for every candidate and seed.

    To be kept by the caller: a loader may start processes for it.
    """
    size = min(task.batch_size, _MAX_SAMPLES)
    batches = Batches(on_device(task, "train", device), size, device, derive(0, "diagnostics"))
    if isinstance(task.train, tuple):  # no code of the user's runs, and several threads may ask
        return next(iter(batches))
    with isolated_random(0):
        return next(iter(batches))


@contextlib.contextmanager
def preserve_state(
    model: nn.Module,
    more: Iterable[Tensor] = (),
    *,
    in_training: bool = False,
    beside: Iterable[nn.Module] = (),
) -> Iterator[None]:
    """Run a model as evaluation does, but for batch normalisation, which takes its numbers from the batch.

    Afterwards buffers, attributes, generators and gradients of its modules are what they were before.

    Args:
        model: whose modules.
        more: further tensors that a pass may write to.
        in_training: run it as training does instead.
        beside: modules that it uses and does not list.
    """
    modules = [*model.modules(), *beside]
    attributes = [dict(vars(module)) for module in modules]
    tensors = {id(item): item for module in modules for item in module.buffers(recurse=False)}
    tensors |= {id(item): item for item in more}
    kept = [(item, item.detach().clone()) for item in tensors.values()]
    states = [
        (value, value.get_state())
        for own in attributes
        for value in own.values()
        if isinstance(value, torch.Generator)
    ]
    try:
        model.train()  # a user's own train() may keep some of them frozen
        if not in_training:
            normalising = [m for m in modules if isinstance(m, _NormBase) and m.training]
            model.eval()
            for layer in normalising:
                layer.training = True
        yield
    finally:
        for module, before in zip(modules, attributes, strict=True):
            vars(module).clear()
            vars(module).update(before)
        with torch.no_grad():
            for item, value in kept:
                item.copy_(value)
        for generator, state in states:
            generator.set_state(state)


@dataclass
class SiteObservation:
    """What passed a site in one call; the first axis of every tensor is that of the members.

    Attributes:
        x: what arrived, still in the graph of the loss.
        statistics: one row for each member.
    """

    x: Tensor
    statistics: dict[str, Tensor]

    @classmethod
    def measure(
        cls, x: Tensor, y: Tensor, function: Callable[[Tensor], Tensor], members: int
    ) -> SiteObservation:
        """Measure at once: a model may write over both later.

        Args:
            x: what arrived.
            y: what left.
            function: the activation, to be asked for its derivative.
            members: how many, side by side on the first axis; 0 for one model without such an axis.
        """
        inputs = x.detach() if members else x.detach().unsqueeze(0)
        outputs = y.detach() if members else y.detach().unsqueeze(0)
        statistics = {**_moments(inputs), **_outputs(inputs, outputs)}
        statistics["saturation"] = _saturation(x, function, inputs.shape[0])
        statistics["histogram"] = _histogram(inputs)
        return cls(x, statistics)


def _rows(x: Tensor) -> Tensor:
    return x.reshape(x.shape[0], -1)


def _row_means(rows: Tensor) -> Tensor:
    """Of each row by itself: with several threads, a CPU sums one row in another order than one of many."""
    if not is_cpu(rows.device):
        return rows.mean(1)
    return torch.cat([row.mean(1) for row in torch.split(rows, 1)])


def _moments(x: Tensor) -> dict[str, Tensor]:
    numbers = as_double(_rows(x))
    mean = _row_means(numbers)
    return {"mean": mean, "sd": _row_means((numbers - mean.unsqueeze(1)).square()).sqrt()}


def _outputs(x: Tensor, y: Tensor) -> dict[str, Tensor]:
    is_zero = y == 0
    samples = is_zero.reshape(y.shape[0], y.shape[1] if y.dim() > 1 else 1, -1)
    power = _row_means(as_double(_rows(x)).square())
    return {
        "zeros": as_double(_rows(is_zero)).mean(1),
        "dead": as_double(samples.all(1)).mean(1),
        "gain": (_row_means(as_double(_rows(y)).square()) / power).sqrt(),
    }


def _saturation(x: Tensor, function: Callable[[Tensor], Tensor], members: int) -> Tensor:
    """Share of numbers where the derivative is as good as 0; NaN for what is not a function of each number alone."""
    unknown = torch.full((members,), math.nan, dtype=widest_float(x.device), device=x.device)
    with torch.enable_grad():
        own = x.detach().clone().requires_grad_()
        y = function(own.clone())  # it may write over what it is given
        if y.shape != own.shape:
            return unknown
        if not y.requires_grad:  # a constant
            return torch.ones_like(unknown)
        (slope,) = torch.autograd.grad(y.sum(), own, allow_unused=True)
    if slope is None:
        return torch.ones_like(unknown)
    return as_double((slope.abs() < _FLAT_SLOPE).reshape(members, -1)).mean(1)


def _histogram(x: Tensor) -> Tensor:
    """Shares by bin, shape (members, bins); NaN counts as beyond the last edge."""
    numbers = _rows(x).float()
    numbers = numbers[:, :: -(-numbers.shape[1] // _MAX_COUNTED)].contiguous()
    edges = torch.tensor(HISTOGRAM_EDGES, device=x.device)
    bins, members = len(HISTOGRAM_EDGES) + 1, numbers.shape[0]
    index = torch.bucketize(numbers, edges, right=True)
    index += bins * torch.arange(members, device=x.device).unsqueeze(1)  # bins of its own for each
    counts = torch.bincount(index.flatten(), minlength=bins * members)
    return as_double(counts.view(members, bins)) / max(1, numbers.shape[1])


def _row_norms(rows: Tensor) -> Tensor:
    if not is_cpu(rows.device):
        norms: Tensor = torch.linalg.vector_norm(rows, dim=1)
        return norms
    return torch.cat([torch.linalg.vector_norm(row, dim=1) for row in torch.split(rows, 1)])


def gradient_norms(
    loss: Tensor, observations: Sequence[SiteObservation], members: int
) -> list[Tensor | None]:
    """For each observation, the norm of the loss's gradient with respect to what arrived, shape (members,)."""
    wanted = [item.x for item in observations if item.x.requires_grad]
    grads = iter(torch.autograd.grad(loss, wanted, allow_unused=True)) if wanted else iter(())
    norms: list[Tensor | None] = []
    for item in observations:
        grad = next(grads) if item.x.requires_grad else None
        rows = None if grad is None else _rows(grad if members else grad.unsqueeze(0))
        norms.append(None if rows is None else _row_norms(as_double(rows)))
    return norms


def site_diagnostics(
    observations: Mapping[str, Sequence[SiteObservation]],
    loss: Tensor,
    members: int,
    learned: Callable[[str, int], Mapping[str, Tensor]],
) -> list[tuple[SiteDiagnostics, ...]]:
    """Of each member, its sites in the order in which they first ran.

    A site that ran several times has the means over its calls, and the norm over all of their gradients.

    Args:
        observations: of each call, by path.
        loss: of all members together.
        members: how many; 0 for a model without an axis for them.
        learned: the numbers that a site's activation learns, by path and member.
    """
    every = [item for calls in observations.values() for item in calls]
    norms = iter(gradient_norms(loss, every, members))
    by_member: list[list[SiteDiagnostics]] = [[] for _ in range(max(members, 1))]
    for path, calls in observations.items():
        table = {
            name: torch.stack([item.statistics[name] for item in calls]).mean(0).tolist()
            for name in calls[0].statistics
        }
        squares = [norm.square() for _ in calls if (norm := next(norms)) is not None]
        gradient = torch.stack(squares).sum(0).sqrt().tolist() if squares else None
        shape = tuple(calls[0].x.shape[1:] if members else calls[0].x.shape)
        for index, sites in enumerate(by_member):
            numbers = {name: values[index] for name, values in table.items()}
            if math.isnan(numbers["saturation"]):
                numbers["saturation"] = None
            numbers["histogram"] = tuple(numbers["histogram"])
            norm = None if gradient is None else gradient[index]
            values = {name: _list_numbers(item) for name, item in learned(path, index).items()}
            sites.append(
                SiteDiagnostics(path, shape, **numbers, gradient_norm=norm, learned=values)
            )
    return [tuple(sites) for sites in by_member]


def _list_numbers(tensor: Tensor) -> tuple[float, ...]:
    numbers = tensor.detach().cpu().double().flatten()
    if len(numbers) > _MAX_LISTED:
        numbers = numbers.quantile(torch.linspace(0, 1, _MAX_LISTED, dtype=torch.float64))
    return tuple(numbers.tolist())


def observe_sites(
    model: nn.Module,
    paths: Sequence[str],
    loss: Callable[[], Tensor],
    more: Iterable[Tensor] = (),
) -> tuple[SiteDiagnostics, ...]:
    """One pass of one model.

    Args:
        model: with its activations at some paths.
        paths: of these.
        loss: runs the model on a batch.
        more: tensors besides its buffers that this may write to.
    """
    observations: dict[str, list[SiteObservation]] = {}

    def watch(path: str) -> Callable[..., None]:
        def hook(module: nn.Module, inputs: Any, y: Any) -> None:
            if inputs and isinstance(inputs[0], Tensor) and isinstance(y, Tensor):
                again = lambda x: module.forward(x, *inputs[1:])  # noqa: E731 - without the hooks
                observation = SiteObservation.measure(inputs[0], y, again, 0)
                observations.setdefault(path, []).append(observation)

        return hook

    with isolated_random(0), preserve_state(model, more), contextlib.ExitStack() as hooks:
        for path in paths:
            hooks.callback(model.get_submodule(path).register_forward_hook(watch(path)).remove)
        return site_diagnostics(
            observations,
            loss(),
            0,
            lambda path, _: dict(model.get_submodule(path).named_parameters()),
        )[0]


def try_to_diagnose(action: Callable[[], T]) -> T | None:
    """What an action gives; None where the model does not allow it, which is not a reason to fail a training."""
    try:
        return action()
    except Exception as error:  # the user's model, loss or step in evaluation mode: anything
        text = str(error).strip().splitlines()
        _log.info(
            "no diagnostics: %s: %s", type(error).__name__, text[0] if text else "no message"
        )
        return None


def combine_diagnostics(
    start: tuple[SiteDiagnostics, ...] | None,
    end: tuple[SiteDiagnostics, ...] | None,
    epochs: Sequence[EpochRecord],
    added: int | None,
) -> Diagnostics | None:
    """What was seen before and after training; None where nothing was."""
    if not start:
        return None
    last = epochs[-1] if epochs else EpochRecord(0)
    gap = (
        None
        if last.valid_loss is None or last.train_loss is None
        else last.valid_loss - last.train_loss
    )
    return Diagnostics(start, end or (), added, gap)
