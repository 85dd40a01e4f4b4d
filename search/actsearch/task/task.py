"""The task: everything that stays the same while activations change."""

from __future__ import annotations

import dataclasses
import reprlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol

import numpy as np
import torch
from torch import Tensor, nn
from torch.optim.lr_scheduler import CosineAnnealingLR, LinearLR, LRScheduler

from actsearch.checks import (
    check_field,
    check_integer,
    check_known,
    check_number,
    check_one_of,
    is_integer,
)
from actsearch.devices import usual_device
from actsearch.errors import TaskError
from actsearch.task.budget import check_budget, default_eval_every
from actsearch.task.data import as_source
from actsearch.task.identity import data_hash, describe_task, summarize_values
from actsearch.task.metrics import (
    PLAIN,
    Accumulator,
    Convention,
    Direction,
    Metric,
    is_known_metric,
    named_metric,
    resolve_metric,
)
from actsearch.task.objectives import MEASURED, check_objectives, default_direction
from actsearch.task.summary import summarize, summarize_html

__all__ = ["SCHEDULES", "Task"]

Objective = float | Mapping[str, float]

_LARGEST_BATCH = 2**63 - 1  # DataLoaders and slices take no more
_MOST_SEEDS = 1000  # trainings of each candidate; a larger number is probably meant as a seed
_HALF_PRECISIONS = {"bfloat16": torch.bfloat16, "float16": torch.float16}
_SEEDS = range(-(2**63), 2**63)  # what torch and databases take

SCHEDULES: Mapping[str, Callable[[torch.optim.Optimizer, int], LRScheduler]] = {
    "cosine": lambda optimizer, steps: CosineAnnealingLR(optimizer, T_max=steps),
    "linear": lambda optimizer, steps: LinearLR(optimizer, 1.0, 0.0, total_iters=steps),
}
"""Learning-rate schedules by name; stepped after every batch."""


class _Trainer(Protocol):
    """What a task needs of a run: training in the candidate's model."""

    def train(self, task: Any, candidate: Any) -> Mapping[str, float]:
        """Train and return metrics, the optimised one first."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Task:
    """A model, its data and how it is trained and measured.

    Attributes:
        model: a function without arguments that builds the model, called under each seed; or a module, which
            keeps its weights (fine-tuning: seeds then vary data order and dropout alone).
        train: ``(inputs, targets)`` as tensors or arrays, a Dataset, or a DataLoader.
        valid: likewise; what the search looks at.
        test: likewise; touched by ``study.confirm`` alone.
        loss: ``(output, target) -> scalar``; not needed with ``step`` and ``evaluate``.
        metric: name (accuracy, loss, mse, mae, r2), ``(outputs, targets) -> float``, or a key of what
            ``evaluate`` returns. A trial's value is the metric on ``valid`` after the last epoch; see ``patience``.
        epochs: passes over ``train``, each followed by one evaluation on ``valid``.
        batch_size: samples in a batch.
        optimizer: ``(parameters, lr=...) -> Optimizer``, given ``weight_decay`` where it takes one; for groups of its
            own ``(model, lr=...)``, where the first argument is called ``model``.
        lr: learning rate.
        weight_decay: for the weights; learned activation parameters have none.
        schedule: "cosine", "linear", or ``(optimizer, total_steps) -> LRScheduler``.
        clip_grad_norm: largest norm of the gradient, or None.
        seeds: how many seeds each trial trains under, or the seeds themselves.
        gain: "auto" draws the weights before each placed activation anew, N(0, g^2 / fan_in) with the activation's own
            gain g = 1 / sqrt(E[f(z)^2]); None keeps the model's initialisation.
        device: "auto" (CUDA if there is one), or a torch device.
        amp: None, or "bfloat16" or "float16" for autocast; with "float16" the loss is scaled.
        step: ``(model, batch) -> loss`` for batches that are not (inputs, targets), whatever they are. To find the
            activations, it is run on the first batch with a copy of the model.
        evaluate: ``(model, batches) -> float or {name: float}``, likewise.
        name: for tables.
        diagnostics: look at every replaced site before and after each training of a search, on one fixed batch, and
            keep what was seen (``trial.diagnostics``). It changes no result.
        objectives: names of what is optimised, the metric first, where that is more than the metric: "latency", "size",
            "parameters", "sparsity", "gradient_ratio", "loss", another metric, or a key of what ``evaluate`` returns.
            The study's ``directions`` are in the same order.
        sample: what the model's forward takes: a tensor, a tuple of arguments or a mapping of keywords. With it the
            model is looked at to find its activations; by default with the first training batch, or ``step`` on that.
        steps: training batches in total, in the place of ``epochs``; the data are begun anew as often as needed.
        eval_every: steps from one evaluation on ``valid`` to the next, with ``steps``; a tenth of these by default.
        schedule_every: "step" steps the schedule after every step of the optimizer, "epoch" after every epoch;
            ``total_steps`` counts the same. None: every step, where the schedule cannot count epochs.
            ``ReduceLROnPlateau`` is stepped after every evaluation in any case.
        patience: training ends after so many evaluations in a row without a better metric. The weights and the value of
            the best evaluation then count, also where the training reaches its end; None: those of the last one.
        tune_lr: "auto" tries other learning rates on the model unchanged before a search, and takes the best one where
            it is clearly better; True takes it in any case; False tries none.
        accumulate_grad_batches: batches whose mean gradient makes one step of the optimizer.
        deterministic: whether torch has to repeat itself to the last bit on one machine; what it cannot repeat then
            fails. Without it, a GPU may add in another order each time. None leaves it as the program has it.
        tf32: whether a GPU may round what it multiplies to 10 bits, which is faster. None likewise.

    Example:
        >>> x = torch.randn(64, 4)  # (samples, features)
        >>> y = (x[:, 0] > 0).long()  # (samples,)
        >>> task = acs.Task(
        ...     model=lambda: nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 2)),
        ...     train=(x[:32], y[:32]), valid=(x[32:48], y[32:48]), test=(x[48:], y[48:]),
        ...     loss=nn.functional.cross_entropy, metric="accuracy", epochs=2, lr=1e-2,
        ... )
        >>> study = acs.create_study(study_name="task", strategy="random")
        >>> study.optimize(task, n_trials=1, show_progress_bar=False)
        >>> 0 <= study.best_value <= 1
        True
    """

    model: nn.Module | Callable[[], nn.Module]
    train: Any
    valid: Any
    test: Any = None
    loss: Callable[[Any, Any], Tensor] | None = None
    metric: str | Callable[[Any, Any], Any] | Mapping[str, Callable[[Any, Any], Any]] = "loss"
    epochs: int = 10
    batch_size: int = 64
    optimizer: Callable[..., torch.optim.Optimizer] = torch.optim.Adam
    lr: float = 1e-3
    weight_decay: float = 0.0
    schedule: str | Callable[[torch.optim.Optimizer, int], LRScheduler] | None = None
    clip_grad_norm: float | None = None
    seeds: int | Sequence[int] = 1
    gain: str | None = None
    device: str | torch.device = "auto"
    amp: str | torch.dtype | None = None
    step: Callable[[Any, Any], Tensor] | None = None
    evaluate: Callable[[Any, Iterable[Any]], Objective] | None = None
    name: str | None = None
    diagnostics: bool = True
    objectives: Sequence[str] | None = None
    sample: Any = None
    steps: int | None = None
    eval_every: int | None = None
    schedule_every: Literal["step", "epoch"] | None = None
    patience: int | None = None
    tune_lr: Literal["auto"] | bool = "auto"
    accumulate_grad_batches: int = 1
    deterministic: bool | None = None
    tf32: bool | None = None

    def __repr__(self) -> str:
        return summarize(self)

    def _repr_html_(self) -> str:
        return summarize_html(self)

    def __post_init__(self) -> None:
        """Refuse at the door what would fail in the loop."""
        if not isinstance(self.model, nn.Module) and not callable(self.model):
            raise TaskError(
                "model must be a torch.nn.Module or a function that builds one, "
                f"not {type(self.model).__name__}"
            )
        for name in ("train", "valid"):
            object.__setattr__(self, name, as_source(getattr(self, name), name))
        if self.test is not None:
            object.__setattr__(self, "test", as_source(self.test, "test"))
        if self.loss is None and (self.step is None or self.evaluate is None):
            raise TaskError("give loss=, or both step= and evaluate=")
        metric = resolve_metric(self.metric, self.evaluate is not None)
        has_outputs = self.step is None or self.evaluate is not None
        if not has_outputs and metric.name != "loss" and metric.of_loss is None:
            raise TaskError(
                f"step= returns a loss and no outputs, from which {metric.name} could be measured: give evaluate=, or "
                "metric='loss'"
            )
        check_budget(self)
        if self.patience is not None and metric.direction is None:
            raise TaskError(
                f"patience= follows the metric, and it is not known whether {metric.name} is better when it is larger: "
                "call it by a name that says so, as loss, accuracy or f1, or leave patience out"
            )
        self._check_numbers()
        self._check_choices()
        if self.objectives is not None:
            names = check_objectives(
                self.objectives, metric,
                has_evaluate=self.evaluate is not None, diagnostics=self.diagnostics,
            )  # fmt: skip
            object.__setattr__(self, "objectives", names)

    def _check_numbers(self) -> None:
        check_field(self, "batch_size", check_integer, TaskError, low=1, high=_LARGEST_BATCH)
        check_field(self, "lr", check_number, TaskError, above=0)
        check_field(self, "weight_decay", check_number, TaskError, low=0)
        if self.clip_grad_norm is not None:
            check_field(self, "clip_grad_norm", check_number, TaskError, above=0)
        self._check_seeds()

    def _check_seeds(self) -> None:
        seeds: Any = self.seeds
        if is_integer(seeds):
            seeds = check_integer("seeds", seeds, TaskError, low=1)
            if seeds > _MOST_SEEDS:
                raise TaskError(
                    f"seeds={seeds!r} would train each candidate so many times, at most {_MOST_SEEDS}: "
                    f"for the seed itself give seeds=[...]"
                )
            object.__setattr__(self, "seeds", seeds)
            return
        is_list = isinstance(seeds, (list, tuple, range)) or (
            isinstance(seeds, np.ndarray) and seeds.ndim == 1
        )
        fits = is_list and 1 <= len(seeds) <= _MOST_SEEDS
        wrong = [i for i, seed in enumerate(seeds) if not is_integer(seed)] if fits else []
        if not fits or wrong:
            shown = f"{type(seeds).__name__} of {len(seeds)}" if is_list else repr(seeds)
            if wrong:
                shown += f": seeds[{wrong[0]}] is {reprlib.repr(seeds[wrong[0]])}"
            raise TaskError(
                f"seeds must be how many, or a list of at most {_MOST_SEEDS} different integers, not {shown}"
            )
        listed = [int(seed) for seed in seeds]
        if (repeated := next((s for s in listed if listed.count(s) > 1), None)) is not None:
            raise TaskError(f"seeds must differ, and {repeated} is there more than once")
        if (outside := next((s for s in listed if s not in _SEEDS), None)) is not None:
            raise TaskError(
                f"seeds must be integers of 64 bits, from -2**63 to 2**63 - 1, not {outside}"
            )
        object.__setattr__(self, "seeds", listed)

    def _check_choices(self) -> None:
        for name in ("optimizer", "loss", "step", "evaluate"):
            value = getattr(self, name)
            if isinstance(value, torch.optim.Optimizer):
                raise TaskError(
                    f"{name} must be a function that makes one for each training, as "
                    f"torch.optim.{type(value).__name__}, not an optimizer of one model"
                )
            if not callable(value) and (value is not None or name == "optimizer"):
                raise TaskError(f"{name} must be a function, not {value!r}")
        schedule = self.schedule
        if hasattr(schedule, "step"):
            raise TaskError(
                "schedule must be a function that makes one for each training, (optimizer, total_steps) -> "
                f"LRScheduler, not a {type(schedule).__name__} of one optimizer"
            )
        if schedule is not None and not callable(schedule):
            check_known("schedule", schedule, SCHEDULES, TaskError)
        check_one_of("diagnostics", self.diagnostics, (True, False), TaskError)
        check_one_of("deterministic", self.deterministic, (True, False, None), TaskError)
        check_one_of("tf32", self.tf32, (True, False, None), TaskError)
        check_one_of("gain", self.gain, (None, "auto"), TaskError)
        if self.gain == "auto" and isinstance(self.model, nn.Module):
            raise TaskError(
                "gain='auto' draws weights anew: give a function that builds the model"
            )
        check_one_of(
            "amp", self.amp, (None, *_HALF_PRECISIONS, *_HALF_PRECISIONS.values()), TaskError
        )
        self.torch_device()

    def __call__(self, candidate: Any, run: _Trainer) -> Mapping[str, float]:
        """Train the candidate under the run's seed and return its metrics, the optimised one first."""
        return run.train(self, candidate)

    @property
    def resolved_metric(self) -> Metric:
        """The metric with its direction and accumulator."""
        return resolve_metric(self.metric, self.evaluate is not None)

    @property
    def amp_dtype(self) -> torch.dtype | None:
        """The precision of autocast; None without."""
        if isinstance(self.amp, str):
            return _HALF_PRECISIONS[self.amp]
        return self.amp

    @property
    def unit(self) -> Literal["epoch", "step"]:
        """What the budget counts, and the numbers of a curve's records."""
        return "epoch" if self.steps is None else "step"

    @property
    def evaluation_interval(self) -> int:
        """Epochs or steps from one evaluation to the next; the last may come earlier."""
        if self.steps is None:
            return 1
        return self.eval_every or default_eval_every(self.steps, self.accumulate_grad_batches)

    @property
    def evaluations(self) -> int:
        """How often a training is evaluated on ``valid``."""
        return self.epochs if self.steps is None else -(-self.steps // self.evaluation_interval)

    def position(self, evaluation: int) -> int:
        """The epoch, or the step, after which an evaluation takes place; all are counted from 1."""
        position = evaluation * self.evaluation_interval
        return position if self.steps is None else min(position, self.steps)

    @property
    def objective_directions(self) -> Mapping[str, Direction | None]:
        """Each objective's name with its own direction, None where the user has to set it; the metric alone if there
        are no others."""
        metric = self.resolved_metric
        names = self.objectives or (metric.name,)
        return {
            name: metric.direction if name == metric.name else default_direction(name)
            for name in names
        }

    def more_metrics(self, convention: Convention = PLAIN) -> dict[str, Accumulator]:
        """Accumulators of those objectives that are further metrics, reading outputs and targets in one way."""
        accumulators = {}
        for metric in self.further_metrics():
            make = metric.bind(convention).accumulator
            if make is not None:
                accumulators[metric.name] = make()
        return accumulators

    def further_metrics(self) -> list[Metric]:
        """Those objectives that are metrics of validation data, without the first."""
        if self.evaluate is not None:
            return []
        names = [name for name in (self.objectives or ())[1:] if name not in MEASURED]
        return [named_metric(name) for name in names if is_known_metric(name)]

    def torch_device(self) -> torch.device:
        """The device that training uses."""
        if self.device == "auto":
            return usual_device()
        try:
            device = torch.device(self.device)
        except (RuntimeError, TypeError) as error:
            raise TaskError(f"device {self.device!r}: {str(error).splitlines()[0]}") from None
        if device.type == "cuda" and not torch.cuda.is_available():
            raise TaskError(
                f"device {self.device!r}: this torch sees no CUDA device; device='auto' takes one where it is trained"
            )
        return device

    def build(self) -> nn.Module:
        """The model: built anew by a factory, or the user's own instance (to be copied, never trained).

        Raises:
            TaskError: if the factory fails or returns something else.
        """
        if isinstance(self.model, nn.Module):
            return self.model
        try:
            model = self.model()
        except Exception as error:
            raise TaskError(
                f"the model function failed: {type(error).__name__}: {error}"
            ) from error
        if not isinstance(model, nn.Module):
            raise TaskError(
                f"the model function returned {type(model).__name__}, not a torch.nn.Module"
            )
        return model

    def replace(self, **changes: Any) -> Task:
        """A copy with some settings changed."""
        return dataclasses.replace(self, **changes)

    def data_hash(self, name: Literal["train", "valid", "test"]) -> str:
        """A hash of one data set as it is now; "" for a missing test set. Nothing but that set is read."""
        source = getattr(self, name)
        return "" if source is None else data_hash(source)

    def describe(self) -> dict[str, Any]:
        """What the search's results depend on, as JSON data: model, settings and data, never source text."""
        described = describe_task(self)
        return described | {"values": summarize_values(described["values"])}
