"""What would be slow, wrong or refused on a GPU, seen without one: on a device that counts what it is asked for.

``test_accelerator.py`` runs these in an interpreter of their own.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator, Sequence
from typing import Any

import pytest
import torch
from fake_gpu import DEVICE, FakeGpu
from stack_tasks import LABELS, ROWS, task_of
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.data import TensorDataset

import actsearch as acs
from actsearch.evaluation import Candidate, Request, make_subject
from actsearch.evaluation.stacked import Stacker, Training
from actsearch.evaluation.task_analysis import TaskAnalysis
from actsearch.placement.random_streams import isolated_random
from actsearch.records import CandidateRecord, Outcome, TrialState
from actsearch.strategies import Context, RandomSearch, Space
from actsearch.task import Batches
from actsearch.training.attention import mappable_attention
from actsearch.training.loop import TrainingRun
from actsearch.training.stack.linear import _cast_linear
from actsearch.training.stack.stacked_run import StackedRun

pytestmark = pytest.mark.measured  # all of them are few, and run together

FEW = ["relu", "relu", "sin", "swish", "swish"]


@pytest.fixture
def gpu() -> Iterator[FakeGpu]:
    with FakeGpu() as device:
        yield device


def mlp(width: int = 16) -> nn.Module:
    return nn.Sequential(
        nn.Linear(6, width), nn.ReLU(), nn.Linear(width, width), nn.ReLU(), nn.Linear(width, 3)
    )


def long_task(rows: int, **changes: Any) -> acs.Task:
    """So many rows of training data, in batches of 16."""
    repeated = -(-rows // len(ROWS))
    train = ROWS.repeat(repeated, 1)[:rows], LABELS.repeat(repeated)[:rows]
    return task_of(
        "mlp", **{"model": mlp, "train": train, "device": DEVICE, "epochs": 1, **changes}
    )


def records(names: Sequence[str]) -> list[CandidateRecord]:
    return [Candidate.of(name).record for name in names]


def stack_of(task: acs.Task, asked: Sequence[CandidateRecord], seeds: Sequence[int] = (1,)) -> Any:
    """In the order in which a search stacks them."""
    stacker = Stacker(TaskAnalysis(task))
    trainings = [Training(item, seed, task.lr) for item in asked for seed in seeds]
    members = [stacker.member(item) for item in sorted(trainings, key=lambda item: item.key)]
    return StackedRun(task, [item for item in members if item is not None])


def alone_of(task: acs.Task, name: str) -> TrainingRun:
    return TrainingRun(task, TaskAnalysis(task).place(Candidate.of(name), 1).model, 1)


def count_epoch(gpu: FakeGpu, run: Any) -> None:
    """Count what one epoch takes, the first one's own costs left out."""
    with isolated_random(0), mappable_attention(True):
        run.train_to(1)
        gpu.reset()
        run.train_to(2)


@pytest.mark.parametrize("is_stacked", [False, True], ids=["alone", "stacked"])
@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"clip_grad_norm": 1.0, "schedule": "cosine"},
        {"loss": functools.partial(F.cross_entropy, ignore_index=2)},
        {
            "train": (ROWS, ROWS[:, :3]),
            "valid": (ROWS, ROWS[:, :3]),
            "loss": F.mse_loss,
            "metric": "r2",
        },
        {"metric": "perplexity"},
        {"amp": "bfloat16"},
    ],
    ids=["plain", "clipped", "ignored labels", "r2", "perplexity", "bfloat16"],
)
def test_nothing_waits_for_the_device_in_a_training_step(
    gpu: FakeGpu, is_stacked: bool, changes: dict[str, Any]
) -> None:
    found = []
    for rows in (16, 48):
        task = long_task(rows, epochs=2, **{**changes})
        if "train" in changes:
            task = task.replace(train=tuple(item.repeat(2, 1)[:rows] for item in changes["train"]))
        # two seeds: each has batches of its own
        asked = records(["relu", "swish"])
        count_epoch(gpu, stack_of(task, asked, (1, 2)) if is_stacked else alone_of(task, "swish"))
        found.append(list(gpu.waits))
    assert found[0] == found[1]


def test_an_epoch_of_a_stack_waits_as_often_as_one_of_a_single_training(gpu: FakeGpu) -> None:
    """For the order of its data, its losses and its metric; on validation data for the loss and the metric."""
    count_epoch(gpu, stack_of(long_task(32, epochs=2), records(FEW)))
    assert len(gpu.waits) <= 7


def mixed_candidates(count: int) -> list[CandidateRecord]:
    """What random search proposes, every fourth a composed formula."""
    names = [name for name in Space().activation_names if name != "maxout"]
    found = list(RandomSearch().propose([], 2 * count, Context(Space(names), 0, "maximize")))
    composed = ["x*tanh(x)", "sin(2*x)", "max(x, 0) + 0.1*sin(x)", "x*sigmoid(param(1.0)*x)"]
    found[::4] = records([composed[index % 4] for index in range(len(found[::4]))])
    return found[:count]


def kernels_per_step(gpu: FakeGpu, asked: Sequence[CandidateRecord]) -> float:
    found = []
    for rows in (32, 64):
        count_epoch(gpu, stack_of(long_task(rows, epochs=2), asked))
        found.append(sum(gpu.kernels.values()))
    return (found[1] - found[0]) / 2


def test_a_step_of_many_mixed_candidates_takes_few_kernels(gpu: FakeGpu) -> None:
    run = stack_of(long_task(16), mixed_candidates(32))
    with isolated_random(0), mappable_attention(True):
        run._train_pass(1)
        gpu.reset()
        run._train_pass(1)
    assert sum(gpu.kernels.values()) <= 600


def test_candidates_that_have_learned_different_numbers_are_computed_in_one_call(
    gpu: FakeGpu,
) -> None:
    swish = 'x*sigmoid(param(1.0, per="channel")*x)'
    few = kernels_per_step(gpu, records([swish, swish]))
    assert kernels_per_step(gpu, records([swish] * 6)) == few


def test_validation_takes_as_many_kernels_for_many_members_as_for_few(gpu: FakeGpu) -> None:
    found = []
    for count in (4, 32):
        run = stack_of(long_task(16), records(["relu"] * count))
        with mappable_attention(True):
            run.train_to(1)
            gpu.reset()
            run._measure(run.valid, "validation")
        found.append((sum(gpu.kernels.values()), len(gpu.waits)))
    assert found[0] == found[1]


def test_data_are_copied_to_the_device_once_a_task(gpu: FakeGpu) -> None:
    valid = ROWS[:21], LABELS[:21]
    task = task_of("mlp", model=mlp, valid=valid, epochs=1, device=DEVICE)
    subject = make_subject(task)
    asked = [Request(item, (1, 2)) for item in records(FEW[:2])]
    for _ in range(2):
        subject.train(asked)
        subject.train(asked[:1])
    assert gpu.uploads.count(task.train[0].numel()) == 1
    assert gpu.uploads.count(task.valid[0].numel()) == 1


def test_what_is_written_into_the_data_is_trained_on(gpu: FakeGpu) -> None:
    x = ROWS.clone()
    task = task_of("mlp", model=mlp, train=(x, LABELS), device=DEVICE)

    def loss() -> Any:
        outcome = make_subject(task).train([Request(records(["relu"])[0], (1,))])[0]
        return outcome.evaluations[0].epochs[0].train_loss

    before = loss()
    assert loss() == before
    x.mul_(3)
    assert loss() != before


def outcomes(task: acs.Task, names: Sequence[str], **more: Any) -> list[Outcome]:
    subject = make_subject(task)
    found = list(subject.train([Request(item, (1, 2), **more) for item in records(names)]))
    assert getattr(subject, "stack_refusal", "") == ""
    return found


def assert_close(found: Sequence[Outcome], expected: Sequence[Outcome]) -> None:
    for one, other in zip(found, expected, strict=True):
        assert (one.state, one.reason) == (other.state, other.reason)
        assert one.value == pytest.approx(other.value, abs=1e-6)
        for a, b in zip(one.evaluations, other.evaluations, strict=True):
            for p, q in zip(a.epochs, b.epochs, strict=True):
                assert p.train_loss == pytest.approx(q.train_loss, rel=1e-4)
                assert p.valid_loss == pytest.approx(q.valid_loss, rel=1e-4)
                assert p.train_metric == pytest.approx(q.train_metric)
            assert dict(a.metrics) == pytest.approx(dict(b.metrics), rel=1e-4)


def undropped() -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(2, 8, 3, bias=False), nn.BatchNorm2d(8), nn.ReLU(inplace=True), nn.AdaptiveAvgPool2d(1),
        nn.Flatten(), nn.Linear(8, 3),
    )  # fmt: skip


@pytest.mark.parametrize("count", [1, 3], ids=["alone", "stacked"])
@pytest.mark.parametrize("kind", ["mlp", "cnn", "attention", "tied"])
def test_the_device_gives_what_the_cpu_gives(gpu: FakeGpu, kind: str, count: int) -> None:
    changes: dict[str, Any] = {}
    if kind in ("mlp", "cnn"):  # without dropout, as the device has no generator
        changes["model"] = mlp if kind == "mlp" else undropped
    found = outcomes(task_of(kind, **changes, device=DEVICE), FEW[-count:])
    assert_close(found, outcomes(task_of(kind, **changes), FEW[-count:]))


class TwoHeads(nn.Module):
    """Its result is a mapping, in evaluation too."""

    def __init__(self) -> None:
        super().__init__()
        self.net = mlp()

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        y = self.net(x)
        return {"scores": y, "size": y.square().mean(1)}


def head_loss(output: dict[str, Tensor], target: Tensor) -> Tensor:
    return F.cross_entropy(output["scores"], target) + 0.1 * output["size"].mean()


def head_metric(output: dict[str, Tensor], target: Tensor) -> float:
    return float((output["scores"].argmax(1) == target).float().mean())


def test_results_that_are_no_tensor_are_measured_on_the_device_too(gpu: FakeGpu) -> None:
    changes: dict[str, Any] = {
        "model": TwoHeads,
        "loss": head_loss,
        "metric": {"accuracy": head_metric},
    }
    expected = outcomes(task_of("mlp", **changes, epochs=1), FEW[-2:])
    assert_close(outcomes(task_of("mlp", **changes, epochs=1, device=DEVICE), FEW[-2:]), expected)


@pytest.mark.parametrize("metric", ["f1", "pearson"])
def test_metrics_of_all_outputs_are_read_once(gpu: FakeGpu, metric: str) -> None:
    changes: dict[str, Any] = {"model": mlp, "epochs": 1, "metric": metric}
    if metric == "pearson":
        changes |= {"loss": F.mse_loss}
        changes |= {name: (ROWS[:40], ROWS[:40, :3]) for name in ("train", "valid")}
    expected = outcomes(task_of("mlp", **changes), FEW[-2:])
    assert_close(outcomes(task_of("mlp", **changes, device=DEVICE), FEW[-2:]), expected)


def test_labels_that_do_not_count_are_left_out_on_the_device_too(gpu: FakeGpu) -> None:
    changes: dict[str, Any] = {
        "model": mlp,
        "loss": functools.partial(F.cross_entropy, ignore_index=2),
    }
    expected = outcomes(task_of("mlp", **changes), FEW[-2:])
    assert_close(outcomes(task_of("mlp", **changes, device=DEVICE), FEW[-2:]), expected)


@pytest.mark.parametrize("names", [["cube(cube(x))"], ["cube(cube(x))", "relu", "cube(cube(x))"]])
def test_a_loss_that_is_not_finite_is_found_where_it_was(gpu: FakeGpu, names: list[str]) -> None:
    changes: dict[str, Any] = {
        "model": mlp,
        "optimizer": torch.optim.SGD,
        "lr": 0.02,
        "batch_size": 8,
    }
    expected = outcomes(task_of("mlp", **changes), names)
    found = outcomes(task_of("mlp", **changes, device=DEVICE), names)
    assert [item.state for item in found].count(TrialState.FAILED) == names.count(names[0])
    assert [item.reason for item in found] == [item.reason for item in expected]
    assert "at epoch 1, step" in found[0].reason


@pytest.mark.parametrize(
    "names", [["swish"], ["relu", "swish", "max(x, 0.3*x)"]], ids=["alone", "stacked"]
)
@pytest.mark.parametrize("metric", ["accuracy", "perplexity"])
def test_a_device_without_double_precision_is_enough(names: list[str], metric: str) -> None:
    with FakeGpu(float64=False):
        found = outcomes(task_of("mlp", model=mlp, metric=metric, device=DEVICE), names)
    assert_close(found, outcomes(task_of("mlp", model=mlp, metric=metric), names))


def built_there() -> nn.Module:
    return mlp().to(DEVICE)


def test_a_model_may_be_built_on_the_device(gpu: FakeGpu) -> None:
    tasks = [task_of("mlp", model=model, device=DEVICE) for model in (built_there, mlp)]
    subject = make_subject(tasks[0])
    subject.check()
    assert [site.path for site in subject.sites() or ()] == ["1", "3"]
    assert subject.pre_activations()["1"].shape == (56, 16)
    found, expected = (outcomes(task, ["relu", "swish"]) for task in tasks)
    assert_close(found, expected)


def test_a_study_on_the_device_is_that_of_the_cpu(gpu: FakeGpu) -> None:
    values = []
    for model, device in ((built_there, DEVICE), (mlp, DEVICE), (mlp, "cpu")):
        task = task_of("mlp", model=model, device=device)
        space = acs.Space(activations=["relu", "silu", "swish", "tanh", "sin"])
        study = acs.create_study(study_name="built", strategy="random", space=space, seed=3)
        study.optimize(task, n_trials=6, show_progress_bar=False)
        verdict = study.confirm(task, top_k=1, seeds=2)
        values.append(
            [*(trial.value for trial in study.trials), *(row.mean for row in verdict.rows)]
        )
    assert values[0] == pytest.approx(values[2])
    assert values[1] == pytest.approx(values[2])


def test_under_autocast_a_layer_of_all_members_is_one_product(gpu: FakeGpu) -> None:
    found = []
    for count in (2, 12):
        run = stack_of(long_task(16, amp="bfloat16", epochs=2), records(["relu"] * count))
        count_epoch(gpu, run)
        found.append(sum(gpu.kernels.values()))
    assert found[0] == found[1]


def test_one_product_under_autocast_is_that_of_each_layer_to_bfloat16() -> None:
    generator = torch.Generator().manual_seed(0)
    weight, bias, x = (
        torch.randn(shape, generator=generator).requires_grad_()
        for shape in ((3, 5, 4), (3, 5), (3, 7, 4))
    )
    with torch.autocast("cpu", torch.bfloat16):
        together = _cast_linear(weight, bias, x)
        each = torch.stack([F.linear(*own) for own in zip(x, weight, bias, strict=True)])
    assert together.dtype == torch.bfloat16
    found, expected = (
        [y.detach(), *torch.autograd.grad(y.float().square().sum(), [weight, bias, x])]
        for y in (together, each)
    )
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one.float(), other.float(), rtol=2e-2, atol=5e-2)


def test_an_objective_of_the_user_s_own_is_told_of_the_gpu(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def told() -> list[str]:
        seen = []

        def objective(candidate: acs.Candidate, run: acs.Run) -> float:
            seen.append(run.device.type)
            return 0.0

        make_subject(objective).train([Request(records(["relu"])[0], (1,))])
        return seen

    assert told() == ["cuda" if torch.cuda.is_available() else "cpu"]
    monkeypatch.setattr("torch.cuda.is_available", lambda: True)
    monkeypatch.setattr("torch.cuda.is_initialized", lambda: False)
    assert told() == ["cuda"]


def seen_switches(task: acs.Task, stacked: bool) -> tuple[list[Any], Outcome]:
    seen = []

    def loss(output: Tensor, target: Tensor) -> Tensor:
        backends: Any = torch.backends
        matmul, convolution = backends.cuda.matmul, backends.cudnn.conv
        seen.append(
            (
                torch.are_deterministic_algorithms_enabled(),
                matmul.fp32_precision,
                convolution.fp32_precision,
            )
        )
        return F.cross_entropy(output, target)

    asked = [Request(item, (1,)) for item in records(["relu", "sin"] if stacked else ["relu"])]
    outcome = make_subject(task.replace(loss=loss)).train(asked)[0]
    return sorted(set(seen)), outcome


@pytest.mark.parametrize("stacked", [False, True], ids=["alone", "stacked"])
def test_the_task_says_whether_torch_repeats_itself_and_how_it_rounds(stacked: bool) -> None:
    backends: Any = torch.backends
    places = backends.cuda.matmul, backends.cudnn.conv, backends.cudnn.rnn
    before = [
        torch.are_deterministic_algorithms_enabled(),
        *(item.fp32_precision for item in places),
    ]
    task = task_of("mlp", model=mlp, epochs=1, deterministic=True, tf32=False)
    seen, outcome = seen_switches(task, stacked)
    assert (True, "ieee", "ieee") in seen[-1:]
    assert outcome.user_attrs["computed_on"] == {"device": "cpu", "deterministic": True}
    seen, outcome = seen_switches(task.replace(deterministic=None, tf32=True), stacked)
    assert (False, "tf32", "tf32") in seen[-1:]
    assert "computed_on" not in outcome.user_attrs
    after = [
        torch.are_deterministic_algorithms_enabled(),
        *(item.fp32_precision for item in places),
    ]
    assert after == before


def test_a_trial_of_a_gpu_says_where_it_was_computed(gpu: FakeGpu) -> None:
    outcome = outcomes(task_of("mlp", model=mlp, epochs=1, device=DEVICE), ["relu"])[0]
    assert outcome.user_attrs["computed_on"] == {"device": "fake_gpu", "deterministic": False}


def test_a_task_whose_numbers_are_rounded_otherwise_is_another_task() -> None:
    task = task_of("mlp", model=mlp)
    assert "deterministic" not in task.describe()
    described = task.replace(deterministic=True, tf32=False).describe()
    assert (described["deterministic"], described["tf32"]) == (True, False)


@pytest.mark.parametrize("wrong", [{"deterministic": "yes"}, {"tf32": 1}])
def test_settings_of_another_kind_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(acs.TaskError, match=next(iter(wrong))):
        task_of("mlp", **wrong)


def test_items_are_put_where_a_gpu_copies_from_without_being_waited_for() -> None:
    items = TensorDataset(ROWS, LABELS)
    assert Batches(items, 16, torch.device("cuda"), 0)._loader.pin_memory
    assert not Batches(items, 16, torch.device("cpu"), 0)._loader.pin_memory
