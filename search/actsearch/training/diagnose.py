"""What goes on inside of a model, seen in one pass that leaves no trace in its training."""

from __future__ import annotations

import contextlib
import logging
import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _NormBase

from actsearch.placement.random_streams import isolated_random
from actsearch.records import HISTOGRAM_EDGES, Diagnostics, EpochRecord, SiteDiagnostics
from actsearch.seeds import derive
from actsearch.task import Batches, Task

__all__ = [
    "Seen",
    "diagnosed",
    "finished",
    "fixed_batch",
    "look_at",
    "site_diagnostics",
    "undisturbed",
]

_log = logging.getLogger("actsearch")

_SAMPLES = 256  # most in the batch that is looked at, unless a loader makes larger ones
_COUNTED = 1 << 16  # numbers of a site that a histogram counts, evenly spread
_LISTED = 256  # learned numbers of a parameter that are kept
_FLAT = 1e-3  # a derivative below it lets next to nothing through


def fixed_batch(task: Task, device: torch.device) -> Any:
    """Read the training batch that is the same for every candidate and seed.

    To be kept by the caller: a loader may start processes for it.
    """
    size = min(task.batch_size, _SAMPLES)
    batches = Batches(task.train, size, device, derive(0, "diagnostics"))
    if isinstance(task.train, tuple):  # no code of the user's runs, and several threads may ask
        return next(iter(batches))
    with isolated_random(0):
        return next(iter(batches))


@contextlib.contextmanager
def undisturbed(model: nn.Module, more: Iterable[Tensor] = ()) -> Iterator[None]:
    """Run a model as evaluation does, but for batch normalisation, which takes its numbers from the batch.

    Afterwards buffers, attributes, generators and gradients of its modules are what they were before.

    Args:
        model: whose modules.
        more: further tensors that a pass may write to.
    """
    modules = list(model.modules())
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
class Seen:
    """What passed a site in one call; the first axis of every tensor is that of the members.

    Attributes:
        x: what arrived, still in the graph of the loss.
        statistics: one row for each member.
    """

    x: Tensor
    statistics: dict[str, Tensor]

    @classmethod
    def of(cls, x: Tensor, y: Tensor, function: Callable[[Tensor], Tensor], lead: int) -> Seen:
        """Measure at once: a model may write over both later.

        Args:
            x: what arrived.
            y: what left.
            function: the activation, to be asked for its derivative.
            lead: how many members, side by side on the first axis; 0 for one model without such an axis.
        """
        given = x.detach() if lead else x.detach().unsqueeze(0)
        left = y.detach() if lead else y.detach().unsqueeze(0)
        found = {**_moments(given), **_outputs(given, left)}
        found["saturation"] = _saturation(x, function, given.shape[0])
        found["histogram"] = _histogram(given)
        return cls(x, found)


def _rows(x: Tensor) -> Tensor:
    return x.reshape(x.shape[0], -1)


def _mean(rows: Tensor) -> Tensor:
    """Of each row by itself: with several threads, torch sums one row in another order than one of many."""
    return torch.cat([row.mean(1) for row in torch.split(rows, 1)])


def _moments(x: Tensor) -> dict[str, Tensor]:
    numbers = _rows(x).double()
    mean = _mean(numbers)
    return {"mean": mean, "sd": _mean((numbers - mean.unsqueeze(1)).square()).sqrt()}


def _outputs(x: Tensor, y: Tensor) -> dict[str, Tensor]:
    is_zero = y == 0
    samples = is_zero.reshape(y.shape[0], y.shape[1] if y.dim() > 1 else 1, -1)
    power = _mean(_rows(x).double().square())
    return {
        "zeros": _rows(is_zero).double().mean(1),
        "dead": samples.all(1).double().mean(1),
        "gain": (_mean(_rows(y).double().square()) / power).sqrt(),
    }


def _saturation(x: Tensor, function: Callable[[Tensor], Tensor], members: int) -> Tensor:
    """Share of numbers where the derivative is as good as 0; NaN for what is no function of each number alone."""
    unknown = torch.full((members,), math.nan, dtype=torch.float64)
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
    return (slope.abs() < _FLAT).reshape(members, -1).double().mean(1)


def _histogram(x: Tensor) -> Tensor:
    """Shares by bin, shape (members, bins); NaN counts as beyond the last edge."""
    numbers = _rows(x).float()
    numbers = numbers[:, :: -(-numbers.shape[1] // _COUNTED)].contiguous()
    edges = torch.tensor(HISTOGRAM_EDGES, device=x.device)
    bins, members = len(HISTOGRAM_EDGES) + 1, numbers.shape[0]
    place = torch.bucketize(numbers, edges, right=True)
    place += bins * torch.arange(members, device=x.device).unsqueeze(1)
    counts = torch.bincount(place.flatten(), minlength=bins * members)
    return counts.view(members, bins).double() / max(1, numbers.shape[1])


def _norm(rows: Tensor) -> Tensor:
    return torch.cat([torch.linalg.vector_norm(row, dim=1) for row in torch.split(rows, 1)])


def gradient_norms(loss: Tensor, calls: Sequence[Seen], lead: int) -> list[Tensor | None]:
    """For each call, the norm of the loss's gradient with respect to what arrived, by member."""
    wanted = [seen.x for seen in calls if seen.x.requires_grad]
    found = iter(torch.autograd.grad(loss, wanted, allow_unused=True)) if wanted else iter(())
    norms: list[Tensor | None] = []
    for seen in calls:
        grad = next(found) if seen.x.requires_grad else None
        rows = None if grad is None else _rows(grad if lead else grad.unsqueeze(0))
        norms.append(None if rows is None else _norm(rows.double()))
    return norms


def site_diagnostics(
    calls: Mapping[str, Sequence[Seen]],
    loss: Tensor,
    lead: int,
    learned: Callable[[str, int], Mapping[str, Tensor]],
) -> list[tuple[SiteDiagnostics, ...]]:
    """Of each member, its sites in the order in which they first ran.

    A site that ran several times has the means over its calls, and the norm over all of their gradients.

    Args:
        calls: by path.
        loss: of all members together.
        lead: how many members; 0 for a model without an axis for them.
        learned: the numbers that a site's activation learns, by path and member.
    """
    every = [seen for own in calls.values() for seen in own]
    norms = iter(gradient_norms(loss, every, lead))
    members = max(lead, 1)
    found: list[list[SiteDiagnostics]] = [[] for _ in range(members)]
    for path, own in calls.items():
        table = {
            name: torch.stack([seen.statistics[name] for seen in own]).mean(0).tolist()
            for name in own[0].statistics
        }
        squares = [norm.square() for _ in own if (norm := next(norms)) is not None]
        gradient = torch.stack(squares).sum(0).sqrt().tolist() if squares else None
        shape = tuple(own[0].x.shape[1:] if lead else own[0].x.shape)
        for member in range(members):
            numbers = {name: values[member] for name, values in table.items()}
            if math.isnan(numbers["saturation"]):
                numbers["saturation"] = None
            numbers["histogram"] = tuple(numbers["histogram"])
            norm = None if gradient is None else gradient[member]
            values = {name: _listed(item) for name, item in learned(path, member).items()}
            found[member].append(
                SiteDiagnostics(path, shape, **numbers, gradient_norm=norm, learned=values)
            )
    return [tuple(sites) for sites in found]


def _listed(tensor: Tensor) -> tuple[float, ...]:
    numbers = tensor.detach().double().flatten().cpu()
    if len(numbers) > _LISTED:
        numbers = numbers.quantile(torch.linspace(0, 1, _LISTED, dtype=torch.float64))
    return tuple(numbers.tolist())


def look_at(
    model: nn.Module, paths: Sequence[str], loss: Callable[[], Tensor]
) -> tuple[SiteDiagnostics, ...]:
    """One pass of one model.

    Args:
        model: with its activations at some paths.
        paths: of these.
        loss: runs the model on a batch.
    """
    calls: dict[str, list[Seen]] = {}

    def watch(path: str) -> Callable[..., None]:
        def seen(module: nn.Module, inputs: Any, y: Any) -> None:
            if inputs and isinstance(inputs[0], Tensor) and isinstance(y, Tensor):
                again = lambda x: module.forward(x, *inputs[1:])  # noqa: E731 - without the hooks
                calls.setdefault(path, []).append(Seen.of(inputs[0], y, again, 0))

        return seen

    with isolated_random(0), undisturbed(model), contextlib.ExitStack() as hooks:
        for path in paths:
            hooks.callback(model.get_submodule(path).register_forward_hook(watch(path)).remove)
        return site_diagnostics(
            calls, loss(), 0, lambda path, _: dict(model.get_submodule(path).named_parameters())
        )[0]


def diagnosed(what: Callable[[], Any]) -> Any:
    """What a look gives; None where the model does not allow it, which is no reason to fail a training."""
    try:
        return what()
    except Exception as error:  # the user's model, loss or step in evaluation mode: anything
        text = str(error).strip().splitlines()
        _log.info(
            "no diagnostics: %s: %s", type(error).__name__, text[0] if text else "no message"
        )
        return None


def finished(
    start: tuple[SiteDiagnostics, ...] | None,
    end: tuple[SiteDiagnostics, ...] | None,
    epochs: Sequence[EpochRecord],
    added: int | None,
) -> Diagnostics | None:
    """Both looks put together; None where there was none."""
    if not start:
        return None
    last = epochs[-1] if epochs else EpochRecord(0)
    gap = (
        None
        if last.valid_loss is None or last.train_loss is None
        else last.valid_loss - last.train_loss
    )
    return Diagnostics(start, end or (), added, gap)
