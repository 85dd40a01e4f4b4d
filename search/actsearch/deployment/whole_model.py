"""A trained model with every activation converted, each calibrated on what arrives at its own site."""

from __future__ import annotations

import copy
import itertools
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from actsearch.activations import Activation, candidate_record, describe
from actsearch.activations.met_inputs import MetInputs, met_inputs
from actsearch.checks import check_one_of
from actsearch.deployment.made import Deployment
from actsearch.deployment.subject import Subject, resolve_candidate
from actsearch.deployment.targets import TARGETS, Options
from actsearch.errors import ActivationError, PlacementError, TaskError
from actsearch.placement import forward
from actsearch.placement.derived_class import pause
from actsearch.placement.model_run import try_without_gradients
from actsearch.placement.modular import redirects_calls
from actsearch.placement.random_streams import isolated_random
from actsearch.seeds import derive
from actsearch.task import Batches, Task, on_device
from actsearch.text_table import align_columns
from actsearch.training.derivatives import measures_derivatives
from actsearch.training.loop import TrainingRun

__all__ = ["DeployedModel", "DeployedSite", "deploy_model"]

_TARGETS = ("hinges", "int8", "int16")
_BATCHES = 8  # of the training data, that calibrate
_SAMPLES = 256  # in such a batch, where the task's are smaller
_KEPT = 1 << 16  # inputs of a batch that are kept for the checks, evenly spread


@dataclass(frozen=True)
class DeployedSite:
    """One activation of the model.

    Attributes:
        path: of the site.
        inputs: smallest and largest input that arrived.
        made: what stands there now.
    """

    path: str
    inputs: tuple[float, float]
    made: Deployment


@dataclass(frozen=True, repr=False)
class DeployedModel:
    """A model with its activations converted. ``print`` shows the sites, and the metric before and after.

    Attributes:
        model: the converted copy, in evaluation mode; the user's model is untouched.
        target: "hinges", "int8" or "int16".
        sites: every activation.
        metric: name of the task's metric; empty without a task.
        before: the metric of the trained model on the task's validation data; None without a task.
        after: that of the converted one; None where measuring takes derivatives, and the target is a table.

    Example:
        >>> model = acs.place(nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 1)), "silu").model
        >>> made = acs.deploy("silu", "int8", model=model, inputs=torch.randn(100, 4))
        >>> [site.path for site in made.sites], made.model(torch.zeros(2, 4)).shape
        (['1'], torch.Size([2, 1]))
    """

    model: nn.Module
    target: str
    sites: tuple[DeployedSite, ...]
    metric: str = ""
    before: float | None = None
    after: float | None = None

    @property
    def difference(self) -> float | None:
        """``after`` less ``before``."""
        return None if self.before is None or self.after is None else self.after - self.before

    def __str__(self) -> str:
        unit = " codes" if self.target.startswith("int") else ""
        rows = [
            [
                site.path,
                site.made.label,
                f"{site.inputs[0]:.3g} to {site.inputs[1]:.3g}",
                f"{site.made.max_error:.3g}{unit}",
            ]
            for site in self.sites
        ]
        lines = align_columns([["site", "activation", "inputs", "error at most"], *rows])
        if self.before is not None and self.after is not None:
            lines.append(
                f"{self.metric} on validation data: {self.before:.6g} before, {self.after:.6g} as {self.target} "
                f"({self.after - self.before:+.2g})"
            )
        elif self.before is not None:
            lines.append(
                f"{self.metric} on validation data: {self.before:.6g} before; not measured as {self.target}: it asks "
                "for derivatives, and a table is flat between two codes"
            )
        return "\n".join(lines)

    def __repr__(self) -> str:
        return f"DeployedModel({self.target!r}, {len(self.sites)} sites)"


def deploy_model(
    what: Any, target: str, model: nn.Module, task: Task | None, inputs: Any, hinges: int
) -> DeployedModel:
    """See :func:`actsearch.deploy`.

    Raises:
        PlacementError: the model has no activation of what is meant.
        TaskError: neither a task nor inputs.
        ActivationError: a site that cannot be converted; says which and why.
    """
    check_one_of("target with model=", target, _TARGETS, PlacementError)
    if not isinstance(model, nn.Module):
        raise PlacementError(
            f"model must be the trained torch.nn.Module, not {type(model).__name__}"
        )
    if task is None and inputs is None:
        raise TaskError(
            "a whole model is calibrated on what arrives at its sites: give task=, or inputs= as one batch for it"
        )
    if task is not None and inputs is not None:
        raise TaskError("task= and inputs= both say what calibrates the model: give one of them")
    paths = _find_sites(what, model)
    run = None if task is None else TrainingRun(task, copy.deepcopy(model), 0)
    met = (
        _calibrate(copy.deepcopy(model), paths, lambda copied: _run_once(copied, inputs))
        if run is None
        else _calibrate(run.model, paths, lambda _: _run_over(run))
    )
    sites = tuple(_convert(model, path, target, met[path], hinges) for path in paths)
    changed = copy.deepcopy(model)
    for site in sites:
        _set(changed, site.path, site.made.module())
    changed.eval()
    if task is None or run is None:
        return DeployedModel(changed, target, sites)
    metric = run.metric.name
    before = _measure(task, model)
    # a table is flat between two codes: a derivative through it says nothing of the product
    is_blind = target != "hinges" and measures_derivatives(task)
    after = None if is_blind else _measure(task, changed)
    return DeployedModel(changed, target, sites, metric, before, after)


def _find_sites(what: Any, model: nn.Module) -> list[str]:
    """Paths of the activations of ours in a model, which must be those that are meant."""
    paths = [path for path, module in model.named_modules() if isinstance(module, Activation)]
    record = candidate_record(resolve_candidate(what))
    if record is not None and record.is_baseline:
        raise PlacementError(
            "this is the model unchanged, not an activation: its own activations have forms already"
        )
    wanted = (
        {item.formula for item in record.activations.values()}
        if record is not None
        else {describe(what).formula}
    )
    kept = []
    for path in paths:
        module = model.get_submodule(path)
        assert isinstance(module, Activation)
        if module.record.formula in wanted:
            kept.append(path)
    if not kept:
        found = sorted({str(m.record.label) for m in model.modules() if isinstance(m, Activation)})
        raise PlacementError(
            f"the model has no site with it, but {', '.join(found) or 'no activation of actsearch'}: give the model "
            "that was trained with it, as acs.place(model, ...).model"
        )
    return kept


def _run_over(run: TrainingRun) -> None:
    """Over some of the task's training data: data often lie sorted, so that the first batches are of one kind."""
    task, seed = run.task, derive(0, "calibration")
    size = max(task.batch_size, _SAMPLES)
    batches = Batches(on_device(task, "train", run.device), size, run.device, seed)

    def attempt(with_gradients: bool) -> None:
        with torch.set_grad_enabled(with_gradients):
            for batch in itertools.islice(batches, _BATCHES):
                run.loss(batch)

    try_without_gradients(attempt)


def _run_once(model: nn.Module, inputs: Any) -> None:
    def attempt(with_gradients: bool) -> None:
        with torch.set_grad_enabled(with_gradients):
            forward(model, inputs)

    try_without_gradients(attempt)


def _calibrate(
    model: nn.Module, paths: list[str], passes: Callable[[nn.Module], None]
) -> Mapping[str, MetInputs]:
    """What arrives at each site."""
    seen: dict[str, list[Tensor]] = {path: [] for path in paths}
    model.eval()
    with isolated_random(0), _watching(model, seen):
        passes(model)
    for path, parts in seen.items():
        if not parts:
            raise PlacementError(f"{path} did not run on the data: it cannot be calibrated")
    return {path: met_inputs(torch.cat(parts)) for path, parts in seen.items()}


@contextmanager
def _watching(model: nn.Module, seen: dict[str, list[Tensor]]) -> Iterator[None]:
    """Note smallest, largest, and some of the others of what arrives."""

    def hook_for(path: str) -> Callable[[nn.Module, tuple[Tensor, ...]], None]:
        def note(module: nn.Module, args: tuple[Tensor, ...]) -> None:
            flat = args[0].detach().double().flatten()
            some = flat[:: max(1, flat.numel() // _KEPT)]
            seen[path].append(torch.cat([flat.amin()[None], flat.amax()[None], some]))

        return note

    hooks = [model.get_submodule(path).register_forward_pre_hook(hook_for(path)) for path in seen]
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()


def _convert(
    model: nn.Module, path: str, target: str, met: MetInputs, hinges: int
) -> DeployedSite:
    module = model.get_submodule(path)
    assert isinstance(module, Activation)
    try:
        made = TARGETS[target](Subject(module, module.record, met), Options(hinges=hinges))
    except ActivationError as error:
        raise ActivationError(f"the site {path} cannot be converted: {error}") from None
    return DeployedSite(path, met.interval, made)


def _measure(task: Task, model: nn.Module) -> float:
    """The task's metric on its validation data."""
    run = TrainingRun(task, copy.deepcopy(model), 0)
    with isolated_random(0), torch.no_grad():
        metrics = run.validate("validation of the deployed model").as_metrics()
    return float(metrics[run.metric.name])


def _set(model: nn.Module, path: str, module: nn.Module) -> None:
    """Put a module at a path, on the model's device."""
    parent, _, name = path.rpartition(".")
    tensor = next(itertools.chain(model.parameters(), model.buffers()), None)
    new = module if tensor is None else module.to(tensor.device)
    if redirects_calls(model):  # hinges call relu, which is the model's no more
        pause(new)
    model.get_submodule(parent)._modules[name] = new
