"""What a study optimises is looked at once: its model, its data, for a search and the verdict after it."""

from __future__ import annotations

import copy
import gc
import re
import weakref
from collections import Counter
from pathlib import Path
from typing import Any

import cloudpickle
import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

import actsearch as acs
from actsearch.evaluation import Request, make_subject
from actsearch.evaluation.subject import stack_choice
from actsearch.evaluation.subject.of_callable import CallableSubject
from actsearch.evaluation.subject.of_task import TaskSubject
from actsearch.evaluation.task_analysis import _findings
from actsearch.placement import ModelAnalysis
from actsearch.training.loop import TrainingRun

Counts = Counter[str]


@pytest.fixture
def counts(monkeypatch: pytest.MonkeyPatch) -> Counts:
    """How often a model was looked at, was run and an epoch was trained."""
    counted: Counts = Counter()
    analyze, epoch = ModelAnalysis.__init__, TrainingRun.train_to

    def analyze_counted(self: ModelAnalysis, *args: Any, **more: Any) -> None:
        counted["looks"] += 1
        analyze(self, *args, **more)

    def epoch_counted(self: TrainingRun, number: int) -> Any:
        counted.setdefault("built before the first epoch", counted["built"])
        counted.setdefault("copied before the first epoch", counted["copied"])
        counted["epochs"] += 1
        return epoch(self, number)

    monkeypatch.setattr(ModelAnalysis, "__init__", analyze_counted)
    monkeypatch.setattr(TrainingRun, "train_to", epoch_counted)
    return counted


class CountedLoader(DataLoader[Any]):
    """A user's loader that counts how often it is started."""

    counts: Counts

    def __iter__(self) -> Any:
        self.counts["starts"] += 1
        return super().__iter__()


def counted_task(counts: Counts, *, is_loader: bool = False, **settings: Any) -> acs.Task:
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(48, 3, generator=generator)
    y = (x[:, 0] * x[:, 1] > 0).long()

    class Net(nn.Sequential):
        def __deepcopy__(self, memo: dict[int, Any]) -> Any:
            counts["copied"] += 1
            twin = self.__new__(type(self))
            memo[id(self)] = twin
            twin.__dict__.update(copy.deepcopy(self.__dict__, memo))
            return twin

    def build() -> nn.Module:
        counts["built"] += 1
        return Net(nn.Linear(3, 6), nn.ReLU(), nn.Linear(6, 2))

    train: Any = (x[:24], y[:24])
    if is_loader:
        train = CountedLoader(TensorDataset(*train), batch_size=8, shuffle=True)
        train.counts = counts
    return acs.Task(
        model=build, train=train, valid=(x[24:36], y[24:36]), test=(x[36:], y[36:]), loss=F.cross_entropy,
        metric="accuracy", epochs=2, batch_size=8, lr=1e-2, device="cpu", **settings,
    )  # fmt: skip


def search(task: acs.Task, trials: int = 3) -> acs.Study:
    study = acs.create_study(study_name="s", strategy="random", seed=1)
    study.optimize(task, n_trials=trials, show_progress_bar=False)
    return study


class TestOneLook:
    def test_a_search_and_its_verdict_look_at_the_model_once(self, counts: Counts) -> None:
        task = counted_task(counts)
        search(task).confirm(task, top_k=1, seeds=2, show_progress_bar=False)
        assert counts["looks"] == 1

    def test_a_search_by_site_looks_once_more_for_names_that_last(self, counts: Counts) -> None:
        space = acs.Space(activations=["relu", "tanh"], sites="per_site")
        study = acs.create_study(study_name="s", strategy="random", space=space)
        study.optimize(counted_task(counts), n_trials=1, show_progress_bar=False)
        assert counts["looks"] == 2

    def test_a_loader_is_started_for_epochs_and_four_times_besides(self, counts: Counts) -> None:
        """For a batch whose shapes place, check and screen; for that of diagnostics; two to see whether they differ."""
        task = counted_task(counts, is_loader=True)
        search(task).confirm(task, top_k=1, seeds=2, show_progress_bar=False)
        assert counts["epochs"] > 40
        assert counts["starts"] == counts["epochs"] + 4

    def test_models_built_and_copied_before_the_first_epoch(self, counts: Counts) -> None:
        """Built to describe, look and train; copied to look (2), check (2), put back (4), label, place and train."""
        search(counted_task(counts), 1)
        assert counts["built before the first epoch"] == 3
        assert counts["copied before the first epoch"] == 11

    def test_a_second_study_of_the_task_looks_at_nothing_again(self, counts: Counts) -> None:
        task = counted_task(counts)
        search(task, 1)
        acs.create_study(study_name="t").optimize(task, n_trials=1, show_progress_bar=False)
        assert counts["looks"] == 1


class TestLookedAtAgain:
    def test_a_model_that_is_built_in_another_way(self, counts: Counts) -> None:
        width = [6]
        task = counted_task(counts)
        model = lambda: nn.Sequential(nn.Linear(3, width[0]), nn.ReLU(), nn.Linear(width[0], 2))  # noqa: E731
        task = task.replace(model=model)
        search(task, 1)
        width[0] = 8
        make_subject(task).check()
        (arriving,) = make_subject(task).pre_activations().values()
        assert arriving.shape == (24, 8)
        assert counts["looks"] == 2

    def test_an_instance_whose_weights_were_changed(self, counts: Counts) -> None:
        model = nn.Sequential(nn.Linear(3, 6), nn.ReLU(), nn.Linear(6, 2))
        subject = make_subject(counted_task(counts).replace(model=model))
        subject.check()
        before = subject.pre_activations()["1"]
        with torch.no_grad():
            model.get_parameter("0.bias").add_(1)
        subject.check()
        after = subject.pre_activations()["1"]
        assert torch.allclose(after, before + 1, atol=1e-5)

    def test_one_that_differs_with_the_seed(self, counts: Counts) -> None:
        """Each trial is placed by a look at a model like its own, and screening keeps that of seed 0."""

        def build() -> nn.Module:
            width = 4 + int(torch.randint(0, 8, ()))
            return nn.Sequential(nn.Linear(3, width), nn.ReLU(), nn.Linear(width, 2))

        task = counted_task(counts).replace(model=build)
        subject = make_subject(task)
        first = subject.pre_activations()["1"]
        outcomes = subject.train(
            [Request(acs.Candidate.of("prelu").record, (seed,)) for seed in range(5)]
        )
        assert {item.state for item in outcomes} == {acs.TrialState.COMPLETE}
        assert torch.equal(subject.pre_activations()["1"], first)

    def test_the_order_of_search_and_other_trainings_changes_no_sample(
        self, counts: Counts
    ) -> None:
        task, other = counted_task(counts), counted_task(counts)
        make_subject(task).train([Request(acs.Candidate.of("tanh").record, (7,))])
        for one, two in zip(
            make_subject(task).pre_activations().values(),
            make_subject(other).pre_activations().values(),
            strict=True,
        ):
            assert torch.equal(one, two)


class TestRequest:
    def test_a_learning_rate_is_that_of_a_task_with_it(self, counts: Counts) -> None:
        record = acs.Candidate.of("tanh").record
        task = counted_task(counts)
        (one,) = make_subject(task).train([Request(record, (1,), lr=0.1)])
        (other,) = make_subject(task.replace(lr=0.1)).train([Request(record, (1,))])
        (own,) = make_subject(task).train([Request(record, (1,))])
        losses = [[e.train_loss for e in o.evaluations[0].epochs] for o in (one, other, own)]
        assert losses[0] == losses[1] != losses[2]

    @pytest.mark.parametrize("count", [1, 3], ids=["alone", "stacked"])
    def test_epochs_are_those_of_a_task_with_as_many(self, counts: Counts, count: int) -> None:
        names = ["tanh", "sin", "gelu"][:count]
        task = counted_task(counts, schedule="cosine")
        records = [acs.Candidate.of(name).record for name in names]
        asked = make_subject(task).train([Request(r, (1,), epochs=3) for r in records])
        other = make_subject(task.replace(epochs=3)).train([Request(r, (1,)) for r in records])
        for one, two in zip(asked, other, strict=True):
            assert one.value == two.value
            losses = [[e.train_loss for e in o.evaluations[0].epochs] for o in (one, two)]
            assert len(losses[0]) == 3
            assert losses[0] == losses[1]


class TestSubject:
    def test_an_error_that_may_pass_keeps_no_later_call_from_stacking(
        self, counts: Counts, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def busy(*_: Any, **__: Any) -> Any:
            raise RuntimeError("the device is busy")

        task = counted_task(counts)
        asked = [Request(acs.Candidate.of(name).record, (1,)) for name in ("tanh", "sin")]
        subject = TaskSubject(task)
        with monkeypatch.context() as patch:
            patch.setattr("actsearch.evaluation.stacked.fit_together", busy)
            outcomes = subject.train(asked)
        assert {item.state for item in outcomes} == {acs.TrialState.COMPLETE}
        assert subject.stack_refusal == "RuntimeError: the device is busy"
        assert TaskSubject(task).stack_refusal == ""

    def test_what_is_trained_alone_is_stored_as_it_ends(
        self, counts: Counts, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Once stacks have failed, a batch would be trained one by one, and be lost whole with the process."""
        subject = TaskSubject(counted_task(counts))
        asked = [Request(acs.Candidate.of(name).record, (1,)) for name in ("tanh", "sin")]
        monkeypatch.setattr("actsearch.evaluation.subject.stack_choice._WORTH", 0)
        monkeypatch.setattr("actsearch.evaluation.subject.stack_choice._GAIN", 0.0)
        assert subject.batch_for(asked) > 1
        subject.findings.stack_refusal = "the device is busy"
        assert subject.batch_for(asked) == 1

    def test_short_trainings_are_stacked_when_as_much_was_trained_alone_as_it_takes_to_find_out(
        self, counts: Counts, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("actsearch.evaluation.subject.stack_choice._GAIN", 0.0)
        names = ("tanh", "sin", "gelu", "silu")
        asked = [Request(acs.Candidate.of(name).record, (1,)) for name in names]
        steps = stack_choice._count_steps(counted_task(counts))
        monkeypatch.setattr("actsearch.evaluation.subject.stack_choice._WORTH", 10 * steps)
        subject = TaskSubject(counted_task(counts))
        # alone: 1 + ... until what was trained alone and the four that are asked for are ten
        assert [subject.batch_for(asked) for _ in range(6)] == [1] * 6
        assert subject.batch_for(asked) > 1
        assert TaskSubject(counted_task(counts)).batch_for(asked) == 1

    def test_there_is_one_for_a_task_and_one_for_a_function(self, counts: Counts) -> None:
        assert isinstance(make_subject(counted_task(counts)), TaskSubject)
        assert isinstance(make_subject(lambda candidate, run: 1.0), CallableSubject)
        with pytest.raises(acs.StudyError, match="must be a Task or a function"):
            make_subject(3)

    def test_what_was_found_goes_with_the_task(self, counts: Counts) -> None:
        gc.freeze()  # to look through all that other tests have imported takes seconds
        try:
            task = counted_task(counts)
            search(task, 1)
            alive, before = weakref.ref(task), len(_findings)
            del task
            gc.collect()
            assert alive() is None
            assert len(_findings) == before - 1
        finally:
            gc.unfreeze()

    def test_another_process_takes_the_same_threads(self, counts: Counts) -> None:
        """How many threads a training takes decides last bits: a child is told, and need not look."""
        subject = TaskSubject(counted_task(counts))
        assert subject.is_small
        sent = cloudpickle.loads(cloudpickle.dumps(subject))
        assert sent.findings.is_small is True
        assert sent.findings.model is None

    def test_only_its_own_room_tells_a_task_from_a_function(self) -> None:
        """Whoever else asks would have to be changed with every new kind of subject; ``acs.find`` takes Tasks."""
        package = Path(acs.__file__).parent
        asking = [
            str(path.relative_to(package))
            for path in package.rglob("*.py")
            if re.search(r"isinstance\([^)]*\bTask\b", path.read_text())
            and path.parent.name != "answer"
        ]
        assert asking == ["evaluation/subject/choose.py"]


def test_data_that_were_written_over_are_another_task(tmp_path: Path) -> None:
    """One Task object, whose tensors the user changes between two calls: their values would not compare."""
    x, y = torch.randn(60, 3, generator=torch.Generator().manual_seed(0)), torch.zeros(60, 1)
    y[::2] = 1
    task = acs.Task(
        model=lambda: nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 1)),
        train=(x[:40], y[:40]), valid=(x[40:], y[40:]), loss=nn.MSELoss(), epochs=1, device="cpu",
    )  # fmt: skip
    url = f"sqlite:///{tmp_path}/study.db"
    study = acs.create_study(study_name="s", storage=url, strategy="random")
    study.optimize(task, n_trials=1, show_progress_bar=False)
    x.mul_(100)
    with pytest.raises(acs.StudyError, match="the task differs") as refused:
        study.optimize(task, n_trials=1, show_progress_bar=False)
    assert {"train", "valid"} <= {
        line.split(":")[0].strip() for line in str(refused.value).splitlines()
    }
    x[0, 0] = float("nan")  # what is said of the data is said of those that are there now
    other = acs.create_study(study_name="other", storage=url, strategy="random")
    with pytest.raises(acs.TaskError, match="1 NaN in 1 of 40 rows"):
        other.optimize(task, n_trials=1, show_progress_bar=False)


def test_of_several_data_sets_each_may_be_written_over_in_turn() -> None:
    x, y = torch.randn(40, 3, generator=torch.Generator().manual_seed(0)), torch.zeros(40, 1)
    y[::2] = 1
    other = x + 1
    task = acs.Task(
        model=lambda: nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 1)),
        train=(x, y), valid=(other, y.clone()), loss=nn.MSELoss(), epochs=1, device="cpu",
    )  # fmt: skip

    def search() -> None:
        study = acs.create_study(study_name="s", strategy="random")
        study.optimize(task, n_trials=1, show_progress_bar=False)

    search()
    other.add_(1)
    search()
    x.copy_(other)
    with pytest.warns(acs.ActsearchWarning, match="share 40 of 40 rows"):
        search()
