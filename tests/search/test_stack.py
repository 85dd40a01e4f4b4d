"""Candidates trained in one pass get what each gets alone."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import pytest
import torch
from stack_tasks import KINDS, task_of
from torch import Tensor, nn
from torch.nn import functional as F

import actsearch as acs
from actsearch.activations import describe
from actsearch.evaluation import Candidate, Request
from actsearch.evaluation.stacked import Stacker, Training
from actsearch.evaluation.subject.of_task import TaskSubject
from actsearch.evaluation.task_analysis import TaskAnalysis
from actsearch.records import CandidateRecord, Outcome, TrialState
from actsearch.training.memory import is_out_of_memory, members_that_fit
from actsearch.training.stack import fit_together, stack_access

FIXED = ["relu", "sin", "x*tanh(x)", "leaky_relu", "relu", "gelu", "max(x, 0.5*x)", "elu", "silu"]
LEARNED = [
    "prelu",
    "swish",
    'param(1.0, per="channel") * tanh(x)',
    "x*sigmoid(param(1.0)*x)",
    "rrelu",
]


def record(what: str | None) -> CandidateRecord:
    return Candidate.baseline().record if what is None else Candidate.of(what).record


def requests(
    names: Sequence[str | None], seeds: Sequence[int] = (1,), **more: Any
) -> list[Request]:
    return [Request(record(name), tuple(seeds), **more) for name in names]


def alone(task: acs.Task, asked: Sequence[Request]) -> list[Outcome]:
    subject = TaskSubject(task)
    return [subject.train([request])[0] for request in asked]


def together(task: acs.Task, asked: Sequence[Request]) -> list[Outcome]:
    """In one stack: nothing was refused."""
    subject = TaskSubject(task)
    outcomes = subject.train(asked)
    assert subject.stack_refusal == ""
    return outcomes


def assert_same(one: Sequence[Outcome], other: Sequence[Outcome]) -> None:
    """To the last bit."""
    assert len(one) == len(other)
    for a, b in zip(one, other, strict=True):
        assert (a.state, a.validation_only, len(a.evaluations)) == (
            b.state, b.validation_only, len(b.evaluations),
        )  # fmt: skip
        for x, y in zip(a.evaluations, b.evaluations, strict=True):
            assert (x.seed, x.reason, list(x.metrics)) == (y.seed, y.reason, list(y.metrics))
            assert len(x.epochs) == len(y.epochs)
            for p, q in zip(x.epochs, y.epochs, strict=True):
                assert (p.train_loss, p.train_metric) == (q.train_loss, q.train_metric)
                assert (p.valid_loss, p.valid_metric) == (q.valid_loss, q.valid_metric)
        assert a.value == b.value
        assert a.spread == b.spread


@pytest.mark.parametrize(
    "kind",
    [pytest.param(kind, marks=pytest.mark.slow if kind == "encoder" else ()) for kind in KINDS],
)
@pytest.mark.parametrize(
    "names",
    [
        pytest.param(FIXED, marks=pytest.mark.slow),
        pytest.param(LEARNED, marks=pytest.mark.slow),
        pytest.param(FIXED + LEARNED, marks=pytest.mark.slow),
        ["sin", "max(x, 0.5*x)", "relu", *LEARNED],
    ],
    ids=["fixed", "learned", "both", "some"],
)
def test_a_stack_gives_what_single_training_gives(kind: str, names: list[str]) -> None:
    task = task_of(kind)
    asked = requests([None, *names])
    assert_same(together(task, asked), alone(task, asked))


@pytest.mark.parametrize(
    "size", [2, 5, *(pytest.param(n, marks=pytest.mark.slow) for n in (4, 16))]
)
def test_any_size_of_stack_gives_the_same(size: int) -> None:
    task = task_of("mlp", seeds=2)
    asked = requests((FIXED + LEARNED)[:size] + FIXED[: max(0, size - 14)], seeds=(3, 4))
    assert_same(together(task, asked), alone(task, asked))


@pytest.mark.parametrize("kind", ["mlp", "cnn", "attention"])
def test_candidates_with_another_activation_at_each_site(kind: str) -> None:
    task = task_of(kind)
    paths = [
        site.path for site in acs.sites(task.build(), task.train[0][:2]) if site.role == "hidden"
    ]
    mixes = [("relu", "sin"), ("prelu", "tanh"), ("x*tanh(x)", "swish"), ("sin", "relu")]
    asked = [
        Request(CandidateRecord({p: describe(n) for p, n in zip(paths, mix, strict=True)}), (1,))
        for mix in mixes
    ]
    assert_same(together(task, asked), alone(task, asked))


@pytest.mark.parametrize("kind", KINDS)
def test_one_that_diverges_leaves_the_others_alone(kind: str) -> None:
    """It gives inf at once, or after some steps; the others are as if it had not been there."""
    task = task_of(kind, epochs=1)
    names = [
        "sin",
        "exp(exp(exp(x + 3)))",
        "tanh",
        "prelu",
        "(x + 3) * 1e9 * 1e9 * 1e9 * 1e9 * 1e9",
        "relu",
    ]
    asked = requests(names)
    found = together(task, asked)
    assert [item.state is TrialState.FAILED for item in found] == [
        False,
        True,
        False,
        False,
        True,
        False,
    ]
    assert_same(found, alone(task, asked))
    without = together(task, [asked[i] for i in (0, 2, 3, 5)])
    assert_same(without, [found[i] for i in (0, 2, 3, 5)])


class FromStep(nn.Module):
    """An activation whose result is inf from its n-th training step on."""

    def __init__(self, step: int) -> None:
        super().__init__()
        self.steps_left = step

    def forward(self, x: Tensor) -> Tensor:
        if self.training:
            self.steps_left -= 1
        return torch.tanh(x) if self.steps_left > 0 else x * torch.inf


def test_one_that_diverges_at_its_third_step() -> None:
    task = task_of("mlp")
    stacker = Stacker(TaskAnalysis(task))

    def members(names: Sequence[str]) -> list[Any]:
        return [stacker.member(Training(record(name), 1, task.lr)) for name in names]

    stack = members(["relu", "tanh", "sin"])
    for path in stack[1].paths:
        parent, _, name = path.rpartition(".")
        setattr(stack[1].model.get_submodule(parent), name, FromStep(3))
    found = fit_together(task, stack, side_by_side=1)
    assert found[1].stopped == "training loss became nan at epoch 1, step 3"
    assert found[1].metrics == {}
    others = fit_together(task, members(["relu", "sin"]), side_by_side=1)
    for one, other in zip([found[0], found[2]], others, strict=True):
        assert one.metrics == other.metrics
        assert [e.valid_loss for e in one.epochs] == [e.valid_loss for e in other.epochs]


SETTINGS: dict[str, dict[str, Any]] = {
    "sgd": {"optimizer": lambda p, lr: torch.optim.SGD(p, lr=lr, momentum=0.9, nesterov=True)},
    "adamw": {"optimizer": torch.optim.AdamW, "weight_decay": 0.1},
    "rmsprop": {"optimizer": torch.optim.RMSprop},
    "adagrad": {"optimizer": torch.optim.Adagrad},
    "nadam": {"optimizer": torch.optim.NAdam},
    "radam": {"optimizer": torch.optim.RAdam},
    "adamax": {"optimizer": torch.optim.Adamax},
    "adadelta": {"optimizer": torch.optim.Adadelta},
    "rprop": {"optimizer": torch.optim.Rprop},
    "decay": {"weight_decay": 0.3},
    "cosine": {"schedule": "cosine"},
    "linear": {"schedule": "linear"},
    "clip": {"clip_grad_norm": 0.05},
    "gain": {"gain": "auto"},
    "doubled": {"optimizer": lambda p, lr: torch.optim.Adam(p, lr=2 * lr)},
    "mse": {"loss": lambda o, t: F.mse_loss(o[:, 0], t.float()), "metric": "loss"},
    "module": {"loss": nn.CrossEntropyLoss()},
    "smooth": {"loss": nn.CrossEntropyLoss(label_smoothing=0.1)},
    "own metric": {"metric": lambda o, t: (o.argmax(1) == t).float().mean()},
    "step": {"step": lambda model, batch: F.cross_entropy(model(batch[0]), batch[1]), "metric": "loss"},
}  # fmt: skip


@pytest.mark.parametrize("name", SETTINGS)
def test_every_setting_of_a_task_acts_on_each_member(name: str) -> None:
    task = task_of("mlp", **SETTINGS[name])
    asked = requests([None, "prelu", 'param(1.0, per="channel") * tanh(x)'], (1, 2))
    assert_same(together(task, asked), alone(task, asked))


def test_members_have_learning_rates_of_their_own() -> None:
    task = task_of("mlp", schedule="cosine", weight_decay=0.1, optimizer=torch.optim.AdamW)
    asked = [
        request
        for lr in (0.01, 0.003, 0.03)
        for request in requests(["prelu", None], lr=lr, split="test")
    ]
    found = together(task, asked)
    assert_same(found, alone(task, asked))
    losses = [outcome.evaluations[0].epochs[-1].valid_loss for outcome in found]
    assert len(set(losses)) == len(losses)  # the rates matter


def test_bfloat16_autocast_is_close() -> None:
    task = task_of("mlp", amp="bfloat16", metric="loss")
    asked = requests(["relu", "prelu", "sin"])
    for one, other in zip(together(task, asked), alone(task, asked), strict=True):
        assert one.value == pytest.approx(other.value, rel=0.02)


@pytest.mark.parametrize("short", [True, False], ids=["shortcut", "public way"])
def test_both_ways_out_of_vmap_give_the_same(short: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stack_access, "HAS_SHORTCUT", short)
    task = task_of("mlp")
    asked = requests(["relu", "prelu", "sin"])
    assert_same(together(task, asked), alone(task, asked))


def biased_cnn() -> nn.Module:
    return nn.Sequential(
        nn.Unflatten(1, (1, 2, 3)),
        nn.Conv2d(1, 8, 2, padding=1), nn.BatchNorm2d(8), nn.ReLU(), nn.MaxPool2d(2),
        nn.Conv2d(8, 8, 2, padding=1), nn.BatchNorm2d(8), nn.ReLU(), nn.MaxPool2d(2),
        nn.Flatten(), nn.Linear(8, 3),
    )  # fmt: skip


def test_a_bias_before_a_batch_normalisation_is_no_reason_against_a_stack() -> None:
    """Its gradient is 0 but for rounding, and Adam makes full steps of that, in a stack perhaps the other way: the
    function stays the same, its running mean moves along."""
    task = task_of("cnn with biases", model=biased_cnn, epochs=1)
    names = ["relu", "tanh", "silu", "prelu", "sin"]
    for first in range(2):
        subject = TaskSubject(task.replace())  # of which nothing is known yet
        stacker = Stacker(subject)
        asked = [
            Training(record(name), first + place, task.lr) for place, name in enumerate(names)
        ]
        assert all(stacker.train(asked)), subject.stack_refusal


def test_true_maxout_goes_apart() -> None:
    task = task_of("mlp")
    asked = requests(["relu", "maxout", "sin", "maxout", "tanh"])
    assert_same(together(task, asked), alone(task, asked))


def test_threads_change_nothing() -> None:
    task = task_of("mlp")
    asked = requests(["sin", "relu", *LEARNED])
    expected = together(task, asked)
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        found = together(task, asked)
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)
    assert_same(found, expected)


def test_the_global_generator_goes_on_as_if_nothing_had_happened() -> None:
    task = task_of("mlp")
    state = torch.get_rng_state()
    together(task, requests(["relu", "rrelu"]))
    assert torch.equal(torch.get_rng_state(), state)


# what cannot be stacked


class _Head(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.one, self.act, self.two = nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 3)

    def hidden(self, x: Tensor) -> Any:
        return self.act(self.one(x))

    def forward(self, x: Tensor) -> Any:
        return self.two(self.hidden(x))


class FunctionalDropout(_Head):
    def forward(self, x: Tensor) -> Any:
        return self.two(F.dropout(self.hidden(x), 0.3, self.training))


class Noisy(_Head):
    def forward(self, x: Tensor) -> Any:
        h = self.hidden(x)
        return self.two(h + 0.1 * torch.randn_like(h) if self.training else h)


class Branching(_Head):
    def forward(self, x: Tensor) -> Any:
        h = self.hidden(x)
        return self.two(h if h.sum() > 0 else -h)


class Reading(_Head):
    def forward(self, x: Tensor) -> Any:
        h = self.hidden(x)
        return self.two(h) * h.abs().mean().item()


class Filtering(_Head):
    """Its shape depends on the data."""

    def forward(self, x: Tensor) -> Any:
        h = self.hidden(x)
        return (
            self.two(h).mean()
            + self.two(h)[(h.sum(1) > 0).nonzero().flatten()].sum()
            + self.two(h)
        )


class Recurrent(_Head):
    def __init__(self) -> None:
        super().__init__()
        self.rnn = nn.LSTM(8, 8, batch_first=True)

    def forward(self, x: Tensor) -> Any:
        return self.two(self.rnn(self.hidden(x).unsqueeze(1))[0][:, -1])


class CumulativeNorm(_Head):
    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.BatchNorm1d(8, momentum=None)

    def forward(self, x: Tensor) -> Any:
        return self.two(self.norm(self.hidden(x)))


class Alpha(_Head):
    def __init__(self) -> None:
        super().__init__()
        self.drop = nn.AlphaDropout(0.3)

    def forward(self, x: Tensor) -> Any:
        return self.two(self.drop(self.hidden(x)))


class Coupling(torch.optim.Adam):
    """Steps by the largest gradient of all: members would push each other."""

    def step(self, closure: Any = None) -> Any:
        grads = [
            p.grad for group in self.param_groups for p in group["params"] if p.grad is not None
        ]
        largest = max(float(grad.abs().max()) for grad in grads)
        for grad in grads:
            grad.div_(largest)
        return super().step(closure)


def accuracy(model: nn.Module, batches: Any) -> float:
    hits = [(model(x).argmax(1) == y).float() for x, y in batches]
    return float(torch.cat(hits).mean())


REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    "functional dropout": ({"model": FunctionalDropout}, "random"),
    "noise": ({"model": Noisy}, "random"),
    "branch": ({"model": Branching}, "data-dependent control flow"),
    "item": ({"model": Reading}, r"\.item\(\)"),
    "shape": ({"model": Filtering}, "nonzero|dynamic shape|vmap"),
    "lstm": ({"model": Recurrent}, "."),
    "momentum": ({"model": CumulativeNorm}, "."),
    "alpha dropout": ({"model": Alpha}, "random"),
    "optimizer": ({"model": _Head, "optimizer": Coupling}, "Coupling may mix the members"),
    "lbfgs": ({"model": _Head, "optimizer": torch.optim.Adafactor}, "Adafactor may mix"),
    "evaluate": ({"model": _Head, "evaluate": accuracy}, "evaluate function"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_stacked_is_trained_alone_and_the_reason_logged_once(
    name: str, caplog: pytest.LogCaptureFixture
) -> None:
    changes, says = REFUSED[name]
    task = task_of("", epochs=1, **changes)
    subject = TaskSubject(task)
    asked = requests(["relu", "prelu"], (1, 2))
    with caplog.at_level("INFO", logger="actsearch"):
        found = subject.train(asked)
        again = subject.train(asked)
    expected = alone(task, asked)
    assert_same(found, expected)
    assert_same(again, expected)
    logged = [line for line in caplog.messages if "cannot be stacked" in line]
    assert len(logged) == 1
    assert re.search(says, logged[0]), logged[0]


def test_a_candidate_that_cannot_be_placed_fails_alone() -> None:
    task = task_of("mlp")
    bad = Request(CandidateRecord({"no.such": describe("relu")}), (1,))
    asked = [*requests(["relu", "sin"]), bad]
    found = together(task, asked)
    assert [item.state for item in found] == [
        TrialState.COMPLETE,
        TrialState.COMPLETE,
        TrialState.FAILED,
    ]
    assert "no.such" in found[2].reason
    assert_same(found, alone(task, asked))


def test_out_of_memory_halves_the_stack_and_goes_on(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """A stack of more than four runs out of memory, as on a small GPU."""
    real = fit_together

    def small(task: Any, members: Any, **more: Any) -> Any:
        if len(members) > 4:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return real(task, members, **more)

    monkeypatch.setattr("actsearch.evaluation.stacked.fit_together", small)
    task = task_of("mlp", epochs=1)
    asked = requests(FIXED)
    subject = TaskSubject(task)
    found = subject.train(asked)
    assert_same(found, alone(task, asked))
    assert found.largest_stack == 4
    assert subject.stack_refusal == ""
    assert "more memory" in caplog.text


def test_a_stack_that_does_not_fit_is_trained_in_two_halves(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """None of its members is trained alone; what cuBLAS says of its memory is taken for what it is."""
    sizes: list[int] = []

    def small(task: Any, members: Any, **more: Any) -> Any:
        sizes.append(len(members))
        if len(members) > 7:
            raise RuntimeError(
                "CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"
            )
        return fit_together(task, members, **more)

    monkeypatch.setattr("actsearch.evaluation.stacked.fit_together", small)
    monkeypatch.setattr(TaskSubject, "_train_alone", None)
    asked = requests([f"max(x, 0.{index}*x)" for index in range(1, 8)], seeds=(1, 2))
    found = TaskSubject(task_of("mlp", epochs=1)).train(asked)
    assert sizes == [14, 7, 7]
    assert [outcome.state for outcome in found] == [TrialState.COMPLETE] * 7


@pytest.mark.parametrize(
    "text",
    [
        "CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`",
        "cuDNN error: CUDNN_STATUS_ALLOC_FAILED",
        "cuDNN error: CUDNN_STATUS_INTERNAL_ERROR_DEVICE_ALLOCATION_FAILED",
        "CUDA error: out of memory\nCUDA kernel errors might be asynchronously reported",
        "MPS backend out of memory (MPS allocated: 5.05 GB, other allocations: 2.93 GB, max allowed: 9.07 GB)",
        "[enforce fail at alloc_cpu.cpp:117] DefaultCPUAllocator: can't allocate memory: you tried to allocate 8 bytes",
    ],
)  # fmt: skip
def test_every_way_of_saying_that_memory_ran_out_is_understood(text: str) -> None:
    assert is_out_of_memory(RuntimeError(text))
    assert not is_out_of_memory(ValueError(text))
    assert not is_out_of_memory(RuntimeError("CUDA error: device-side assert triggered"))


def test_a_stack_is_as_large_as_free_memory_allows(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where 32 members took 8 MB, 2 MB that are free are enough for 6 of them, with a fifth left over."""
    monkeypatch.setattr("actsearch.training.memory.free_memory", lambda device: 2_000_000)
    monkeypatch.setattr(
        "actsearch.evaluation.stacked.with_peak_memory",
        lambda device, action: (action(), 8_000_000 * 9 // 32),
    )
    subject = TaskSubject(task_of("mlp", epochs=1))
    subject._stack_choice._alone = 10_000  # training steps: it is time to measure
    monkeypatch.setattr("actsearch.evaluation.subject.stack_choice._GAIN", 0.0)
    assert subject.batch_for(requests(FIXED)) == 6
    assert Stacker(subject).largest == 6
    assert members_that_fit(torch.device("cpu"), 0, 9, 128) == 128


def _padded_loss(output: Tensor, target: Tensor) -> Tensor:
    return F.cross_entropy(output.transpose(1, 2), target, ignore_index=0)


class _WithHead(nn.Module):
    """Two results in training, one in evaluation."""

    def __init__(self) -> None:
        super().__init__()
        self.net = nn.Sequential(nn.Linear(4, 6), nn.ReLU(), nn.Linear(6, 4))

    def forward(self, x: Tensor) -> Any:
        y = self.net(x)
        return (y, -y) if self.training else y


@pytest.mark.parametrize("metric", ["accuracy", "perplexity", "f1", "top2_accuracy"])
def test_labels_that_are_left_out_are_left_out_of_stacks_alike(metric: str) -> None:
    generator = torch.Generator().manual_seed(2)
    x = torch.randn(40, 3, 4, generator=generator)
    y = torch.randint(0, 4, (40, 3), generator=generator)
    task = acs.Task(
        model=lambda: nn.Sequential(nn.Linear(4, 6), nn.ReLU(), nn.Linear(6, 4)), metric=metric, epochs=2,
        train=(x[:25], y[:25]), valid=(x[25:], y[25:]), loss=_padded_loss, batch_size=10, lr=0.05,
    )  # fmt: skip
    asked = requests(["relu", "sin", "prelu"], seeds=(1, 2))
    assert_same(together(task, asked), alone(task, asked))


def test_a_head_of_training_alone_is_stacked_alike() -> None:
    generator = torch.Generator().manual_seed(2)
    x = torch.randn(40, 4, generator=generator)
    y = torch.randint(0, 4, (40,), generator=generator)
    task = acs.Task(
        model=_WithHead, metric="accuracy", epochs=2, train=(x[:25], y[:25]), valid=(x[25:], y[25:]),
        loss=lambda o, t: F.cross_entropy(o[0] if isinstance(o, tuple) else o, t), batch_size=10,
    )  # fmt: skip
    asked = requests(["relu", "sin", "prelu"])
    assert_same(together(task, asked), alone(task, asked))
