"""What is found out about a task once and serves all of its trainings: its model analyzed, its data read."""

from __future__ import annotations

import contextlib
import copy
import inspect
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn
from torch._C._functorch import get_unwrapped, is_functorch_wrapped_tensor
from torch.nn.parameter import is_lazy
from torch.utils.data import DataLoader, default_collate

from actsearch.devices import widest_float
from actsearch.errors import PlacementError, TaskError
from actsearch.evaluation.candidate import Candidate
from actsearch.evaluation.first_batch import read_first_batch
from actsearch.placement import (
    ModelAnalysis,
    Placement,
    Sites,
    StepCall,
    expose_sites,
    initialise_for_gain,
    model_structure,
    place_analyzed,
)
from actsearch.placement.analysis import copy_model
from actsearch.placement.model_run import observe_output
from actsearch.placement.site_trace import trace_sites
from actsearch.seeds import derive
from actsearch.task import Task, forget_placed, inputs_and_targets, reading_copy, to_device
from actsearch.task.copies import copy_alike
from actsearch.training import (
    DataReport,
    Overlap,
    check_data,
    check_task,
    isolated_random,
)
from actsearch.training.convention import set_reading
from actsearch.training.diagnose import fixed_batch
from actsearch.training.inputs import check_arguments, explain_inputs
from actsearch.training.threads import is_small, one_thread

__all__ = ["TaskAnalysis"]

_LEARNS = "x*sigmoid(param(1.0)*x)"  # checked, as what a form learns is a group of parameters more
_SCREENED_SAMPLES = 128  # rows whose pre-activations candidates are screened on


@dataclass
class Findings:
    """What was found out about one task so far; None for what was not asked yet.

    Attributes:
        model: the analysis of its model under seed 0, with its structure and the sums of its weights.
        other_model: of the latest with another structure, under another seed, with that structure.
        parameters: numbers that its model learns; None also while a lazy layer does not know its shape.
        is_small: whether a batch is too little work to be shared out between threads.
        first_batch: of a loader or data set, to see shapes.
        diagnostics_batch: the one that is diagnosed in every training.
        data: what its data share, and whether they were read to the end.
        draws_by_itself: whether training data differ when they are read again under one seed.
        stack_refusal: why nothing of this task is stacked; empty while it is.
        may_stack_later: whether that was an error, as of memory, that another call may not meet.
        stack_differences: for each structure of models that was checked, why a stack of them may give other last bits
            than single training; empty if it does not.
        stack_gain: with so many threads, so many times faster a training is in a stack.
        most_members: of a stack, by the memory that was free on a GPU.
        hashes: of the data sets that all this was found with, by name.
    """

    model: tuple[Any, list[float], ModelAnalysis] | None = None
    other_model: tuple[Any, ModelAnalysis] | None = None
    parameters: int | None = None
    is_small: bool | None = None
    first_batch: Any = None
    diagnostics_batch: Any = None
    data: DataReport | None = None
    draws_by_itself: bool | None = None
    stack_refusal: str = ""
    may_stack_later: bool = False
    stack_differences: dict[Any, str] = field(default_factory=dict)
    stack_gain: tuple[int, float] = (0, 0.0)
    most_members: int | None = None
    hashes: dict[str, str] = field(default_factory=dict)


# One entry for each Task object that is alive: the search, the verdict and a second study of one task share what was
# found. Findings hold no reference to their task, which would keep it alive.
_findings: WeakKeyDictionary[Task, Findings] = WeakKeyDictionary()


class TaskAnalysis:
    """A task together with what was found out about it.

    Its model is built and analyzed once, since its candidates differ in their activations alone; one with another
    structure is analyzed again.

    Attributes:
        task: the user's.
        findings: of this Task object in this process.
    """

    def __init__(self, task: Task) -> None:
        self.task = task
        self.findings = _findings.setdefault(task, Findings())

    def compare_data(self, name: str, data_hash: str) -> None:
        """Forget what was found with other data: a user may write into the tensors of a task that is used again."""
        hashes = self.findings.hashes
        if hashes.get(name, data_hash) != data_hash:
            # the hashes stay: what is found from here on is of the other data sets as they were
            self.findings = _findings[self.task] = Findings(hashes=hashes)
            set_reading(self.task, None)
            forget_placed(self.task)
        hashes[name] = data_hash

    @property
    def device(self) -> torch.device:
        """Where it is trained."""
        return self.task.torch_device()

    # its model

    def build(self, seed: int = 0) -> nn.Module:
        """The model unchanged, as it is built under a seed."""
        with isolated_random(derive(seed, "init")):
            return self.task.build()

    def analyze_model(self, model: nn.Module | None = None) -> ModelAnalysis:
        """The analysis of the model under seed 0, or of another one with another structure.

        Args:
            model: the task's, newly built; None for the one under seed 0.
        """
        if self.findings.model is None:
            self._refresh(self.build())
        assert self.findings.model is not None
        structure, _, analysis = self.findings.model
        if model is None or (own := model_structure(model)) == structure:
            return analysis
        if self.findings.other_model is None or self.findings.other_model[0] != own:
            self.findings.other_model = own, self._analyze(model)
        return self.findings.other_model[1]

    def _refresh(self, model: nn.Module) -> None:
        """Analyze the model under seed 0, unless one with the same structure and weights was."""
        key = model_structure(model), _sum_tensors(model)
        if self.findings.model is None or self.findings.model[:2] != key:
            self.findings.model = *key, self._analyze(model)

    def _analyze(self, model: nn.Module) -> ModelAnalysis:
        with isolated_random(0):  # a user's model may draw from any generator where it is run
            model = self._movable(model)
            sample = _move_sample(self.sample(model), _device_of(model))
            is_of_train = self.task.sample is None and self.task.step is None
            if is_of_train:
                check_arguments(self.task, model, self._first_batch(), "train")
            try:
                return ModelAnalysis(model, sample)
            except PlacementError as error:
                if is_of_train and (text := explain_inputs(copy_model(model), sample, "train")):
                    raise TaskError(text) from error
                raise

    def _movable(self, model: nn.Module) -> nn.Module:
        """The model, or where a step of the user's own may put its batches on a GPU, a copy that is there, too."""
        if self.task.step is None or self.task.sample is not None or self.device.type == "cpu":
            return model
        return copy_model(model).to(self.device)

    def place(self, candidate: Candidate, seed: int, *, opened: bool = False) -> Placement:
        """The model built under a seed, with a candidate's activations in it.

        Args:
            candidate: what is placed.
            seed: of the weights.
            opened: whether every hidden activation of the model unchanged becomes a submodule, too.
        """
        model = self.build(seed)
        if self.findings.parameters is None:
            self.findings.parameters = _count_parameters(model)
        record = candidate.record
        if record.is_baseline and not opened:
            return candidate.place(model)
        analysis = self.analyze_model(model)
        with isolated_random(0):
            placement = (
                expose_sites(analysis, model)
                if record.is_baseline
                else place_analyzed(analysis, model, record)
            )
        if self.task.gain == "auto" and not record.is_baseline:
            placement.model.to(_device_of(analysis.shell))  # where the sample is
            with isolated_random(derive(seed, "gain")):
                initialise_for_gain(placement, analysis.sample)
        return placement

    def parameters_added(self, model: nn.Module) -> int | None:
        """Numbers that a changed model learns beyond those of the task's own; None where their count is not known."""
        before, now = self.findings.parameters, _count_parameters(model)
        return None if before is None or now is None else now - before

    def sites(self, *, again: bool = False) -> Sites:
        """The activations of the model.

        Args:
            again: of a model that is built and analyzed anew, to be compared.
        """
        return (self._analyze(self.build(1)) if again else self.analyze_model()).sites

    def pre_activations(self) -> dict[str, Tensor]:
        """What arrives at each hidden site under seed 0, by path; empty where the model's inputs are not known."""
        analysis, task = self.analyze_model(), self.task
        inputs = analysis.sample
        if isinstance(inputs, StepCall):
            with contextlib.suppress(PlacementError):  # it may take whole batches alone
                return self._watch_sites(analysis, StepCall(inputs.step, self._screened_batch()))
        elif isinstance(task.train, tuple) and task.step is None:
            inputs = inputs_and_targets(self._screened_batch())[0]
        return {} if inputs is None else self._watch_sites(analysis, inputs)

    def _watch_sites(self, analysis: ModelAnalysis, inputs: Any) -> dict[str, Tensor]:
        hidden = [site.path for site in analysis.sites if site.role == "hidden"]
        inputs = _move_sample(inputs, _device_of(analysis.shell))
        traces = trace_sites(analysis.shell, hidden, inputs)
        return {path: _unwrap(item.inputs).float().cpu() for path, item in traces.items()}

    def _screened_batch(self) -> Any:
        """Samples whose pre-activations are screened; with a step the same ones as without."""
        source = self.task.train
        if isinstance(source, tuple):
            return tuple(copy_alike(tensor[:_SCREENED_SAMPLES].contiguous()) for tensor in source)
        if hasattr(source, "batch_size"):
            return self._first_batch()
        with isolated_random(0):
            return default_collate([reading_copy(source)[0]])

    @property
    def dtype(self) -> torch.dtype:
        """The precision in which its activations compute."""
        if self.task.amp_dtype is not None:
            return self.task.amp_dtype
        dtypes = [
            p.dtype for p in self.analyze_model().shell.parameters() if p.is_floating_point()
        ]
        return dtypes[0] if dtypes else torch.float32

    # its data

    def sample(self, model: nn.Module) -> Any:
        """What the model is looked at with: the task's sample, inputs of the training data, or its step on a batch.

        A batch that is a mapping of what the model's forward names is such inputs also with a step.
        """
        if self.task.sample is not None:
            return self.task.sample
        batch = self._first_batch()
        if self.task.step is None:
            return inputs_and_targets(batch)[0]
        if isinstance(batch, Mapping):
            rows = 2 if hasattr(self.task.train, "batch_size") else 1
            if (inputs := _try_as_inputs(batch, model, rows)) is not None:
                return inputs
        return StepCall(self.task.step, batch)

    def _first_batch(self) -> Any:
        """The first batch where a step takes it; else of tensors two rows, of a data set one item. Read once."""
        source, step = self.task.train, self.task.step
        if isinstance(source, tuple):
            rows = 2 if step is None else self.task.batch_size
            return tuple(copy_alike(tensor[:rows].contiguous()) for tensor in source)
        if self.findings.first_batch is None:
            self.findings.first_batch = read_first_batch(self.task, reading_copy(source))
        return self.findings.first_batch

    def diagnostics_batch(self) -> Any:
        """The batch that is diagnosed in every training, on the task's device; read once."""
        if self.findings.diagnostics_batch is None:
            self.findings.diagnostics_batch = fixed_batch(self.task, self.device)
        return self.findings.diagnostics_batch

    # whether it can be trained, and with how many threads

    def check(self) -> None:
        """Fail now rather than in every trial.

        Raises:
            TaskError: model, data, loss and metric do not fit together, or nothing sound can come from the data.
            PlacementError: the model has nothing to replace.
        """
        model = self.build()
        self._check_data(model, for_test=False)
        self._refresh(model)
        placed = place_analyzed(self.analyze_model(), model, _LEARNS).model
        is_loader = isinstance(self.task.train, DataLoader)
        batch = _copy_batch(self._first_batch()) if is_loader else None
        check_task(self.task, placed, batch, self.analyze_model().shell)

    def rows_in_test(self) -> tuple[Overlap, ...]:
        """What the test data share with the data of the search.

        Raises:
            TaskError: nothing sound can come from the data.
        """
        return self._check_data(None, for_test=True).of_test

    def _check_data(self, model: nn.Module | None, *, for_test: bool) -> DataReport:
        build = self.build if model is None else lambda: model
        self.findings.data = check_data(
            self.task, build, for_test=for_test, earlier=self.findings.data
        )
        return self.findings.data

    @property
    def is_small(self) -> bool:
        """Whether a batch is too little work to be shared out between threads; the same in a child process."""
        if self.findings.is_small is None:
            is_loader = isinstance(self.task.train, DataLoader)
            batch = (lambda: _copy_batch(self.diagnostics_batch())) if is_loader else None
            self.findings.is_small = is_small(self.task, self._spare_model, batch)
        return self.findings.is_small

    def _spare_model(self) -> nn.Module:
        """A model that may be run in training mode: never the user's own."""
        model = self.task.build()
        return copy_model(model) if model is self.task.model else model

    @contextlib.contextmanager
    def threads(self) -> Iterator[None]:
        """One thread for what is trained meanwhile, if the task is small; else those that torch may use."""
        with contextlib.ExitStack() as stack:
            if torch.get_num_threads() > 1 and self.is_small:
                stack.enter_context(one_thread())
            yield


def _copy_batch(batch: Any) -> Any:
    """A batch that the user's model or step may write over; itself where it does not take a copy."""
    try:
        return copy.deepcopy(batch)
    except Exception:  # the user's own class: anything
        return batch


def _device_of(model: nn.Module) -> torch.device:
    return next((item.device for item in model.parameters()), torch.device("cpu"))


def _unwrap(tensor: Tensor) -> Tensor:
    """The numbers of a tensor that was seen inside of ``torch.func.vmap`` or ``grad``, which have ended since."""
    while is_functorch_wrapped_tensor(tensor):
        tensor = get_unwrapped(tensor)
    return tensor.detach()


def _move_sample(sample: Any, device: torch.device) -> Any:
    if isinstance(sample, StepCall):
        return StepCall(sample.step, to_device(sample.batch, device))
    return to_device(sample, device)


def _count_parameters(model: nn.Module) -> int | None:
    parameters = list(model.parameters())
    if any(isinstance(item, nn.parameter.UninitializedParameter) for item in parameters):
        return None
    return sum(item.numel() for item in parameters)


def _sum_tensors(model: nn.Module) -> list[float]:
    """Of each tensor of a model its sum, to tell whether the numbers were changed since."""
    tensors = [*model.parameters(), *model.buffers()]
    return [
        float(item.detach().sum(dtype=widest_float(item.device)))
        for item in tensors
        if not is_lazy(item) and item.is_floating_point()
    ]


def _try_as_inputs(batch: Mapping[str, Any], model: nn.Module, rows: int) -> Any:
    """The first rows of a batch, if the model takes it as it is."""
    sample = {
        key: item[:rows] if isinstance(item, Tensor) else item for key, item in batch.items()
    }
    try:
        if set(sample) <= set(inspect.signature(model.forward).parameters):
            observe_output(model, sample)
            return sample
    except Exception:  # a step may well prepare a batch first: anything
        pass
    return None
