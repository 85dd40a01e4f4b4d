"""What every executor promises. A new one is one more entry in ``EXECUTORS``, and these tests run on it."""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Literal

import pytest
import torch
import torch.nn.functional as F
from driven import Launcher, forked_children
from torch import nn

import actsearch as acs
from actsearch.activations import describe
from actsearch.evaluation import make_subject
from actsearch.execution import Executor, Job, Work
from actsearch.records import CandidateRecord, Outcome, TrialState
from actsearch.strategies import STRATEGIES

EXECUTORS: dict[str, Callable[[Path], Executor]] = {
    "Local()": lambda folder: acs.Local(),
    "Local(batch=3)": lambda folder: acs.Local(batch=3),
    "Processes(2)": lambda folder: acs.Processes(2, trial_timeout=60),
    "Processes(2, batch=3)": lambda folder: acs.Processes(2, batch=3),
    "Ray(2)": lambda folder: acs.Ray(2, num_cpus=0.5, trial_timeout=60),
    "Slurm(2)": lambda folder: acs.Slurm(2, folder=folder, cluster="local", trial_timeout=60),
}
"""Each is made with an empty folder."""

HELD = ("Ray(2)", "Slurm(2)")  # which take long to start: one for all studies
SLOW = ("Processes(2)", "Slurm(2)")
MOST_FAILURES = {
    "Local()": 10,
    "Local(batch=3)": 12,
}  # before an objective that only fails is given up
NAMES = ("relu", "tanh", "sin", "elu", "gelu", "silu", "mish")

Objective = Callable[[acs.Candidate, acs.Run], float]


def _jobs(count: int) -> list[Job]:
    """Jobs whose numbers have gaps, as those of an interrupted study have."""
    return [
        Job(3 * index + 1, CandidateRecord.shared(describe(name)))
        for index, name in enumerate(NAMES[:count])
    ]


def _fails_on_sin(candidate: acs.Candidate, run: acs.Run) -> float:
    if candidate.formula.startswith("sin"):
        raise ZeroDivisionError("no sin today")
    return run.number / 10


def _long_task() -> acs.Task:
    """With rungs; its data are the same each time."""
    return _small_task(9, torch.Generator().manual_seed(0))


def _small_task(epochs: int = 1, generator: torch.Generator | None = None) -> acs.Task:
    x, y = torch.randn(48, 2, generator=generator), torch.arange(48) % 2
    return acs.Task(
        model=lambda: nn.Sequential(nn.Linear(2, 3), nn.ReLU(), nn.Linear(3, 2)),
        train=(x[:32], y[:32]),
        valid=(x[32:], y[32:]),
        loss=F.cross_entropy,
        metric="loss",
        epochs=epochs,
        tune_lr=False,
        device="cpu",
    )


def _evaluate_with(objective: Any) -> Work:
    return Work(make_subject(objective), (1, 2))


def _answers(executor: Executor, jobs: list[Job], objective: Any) -> list[tuple[Job, Outcome]]:
    parts = executor.run(jobs, _evaluate_with(objective))
    return [answer for part in parts for answer in part.outcomes]


@pytest.fixture(
    scope="module",
    params=[
        pytest.param(kind, marks=pytest.mark.slow if kind in SLOW else ()) for kind in EXECUTORS
    ],
)
def executor(
    request: pytest.FixtureRequest, launcher: Launcher, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Executor]:
    """One for all tests of its kind, already running: children take seconds to start, in quick tests they are forks."""
    _require(request.param, request)
    is_fork = request.param == "Processes(2, batch=3)"
    with (
        forked_children(launcher) if is_fork else contextlib.nullcontext(),
        EXECUTORS[request.param](tmp_path_factory.mktemp("jobs")) as made,
    ):
        _answers(made, _jobs(7), _small_task())  # imports what training needs
        yield made


def _require(kind: str, request: pytest.FixtureRequest) -> None:
    """Have what an executor of this kind needs, or skip the test."""
    if "Ray" in kind:
        request.getfixturevalue("ray_cluster")
    if "Slurm" in kind:
        pytest.importorskip(
            "submitit", reason="submitit is not installed (pip install 'actsearch[slurm]')"
        )


@pytest.fixture(scope="module")
def executor_of(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Callable[[str], Executor]]:
    """Makes an executor; that on a cluster lives for all studies."""
    with contextlib.ExitStack() as held:
        known: dict[str, Executor] = {}

        def make(kind: str) -> Executor:
            if kind not in HELD:
                return EXECUTORS[kind](tmp_path_factory.mktemp("jobs"))
            if kind not in known:
                _require(kind, request)
                made = EXECUTORS[kind](tmp_path_factory.mktemp("jobs"))
                known[kind] = held.enter_context(made)
            return known[kind]

        yield make


Trials = list[tuple[Any, ...]]


def _searched(
    strategy: str,
    task: acs.Task,
    executor: Executor | None,
    parallel: int | None = None,
    pruner: acs.SuccessiveHalving | Literal["auto"] = "auto",
) -> Trials:
    # where there are few names, finding them takes no time
    kind = STRATEGIES[strategy]
    few = kind().learns_shapes
    space = acs.Space(["relu", "tanh"], ["add", "mul"], max_size=5) if few else None
    study = acs.create_study(
        study_name="s", strategy=kind(parallel=parallel), seed=5, space=space, pruner=pruner
    )
    study.optimize(task, n_trials=20, executor=executor, show_progress_bar=False)
    return [
        (t.number, t.state, t.candidate.formula, t.value, t.duplicate_of, t.reason)
        for t in study.trials
    ]


@pytest.fixture(scope="module")
def one_after_the_other() -> dict[str, Trials]:
    """What the executor that is chosen by itself makes of each strategy, for all others to be compared with."""
    return {}


@pytest.fixture(scope="module")
def on_a_clock() -> dict[str, Trials]:
    """Likewise with ``parallel``."""
    return {}


class TestEveryExecutor:
    @pytest.mark.parametrize("count", [1, 2, 3, 7])
    def test_every_job_is_answered_once(self, executor: Executor, count: int) -> None:
        jobs = _jobs(count)
        answered = _answers(executor, jobs, _fails_on_sin)
        assert Counter(job.number for job, _ in answered) == Counter(job.number for job in jobs)

    def test_the_answer_belongs_to_the_job(self, executor: Executor) -> None:
        for job, outcome in _answers(executor, _jobs(7), _fails_on_sin):
            if job.candidate.formula.startswith("sin"):
                assert outcome.state is TrialState.FAILED
            else:
                assert outcome.value == job.number / 10

    def test_an_exception_in_the_objective_is_an_outcome(self, executor: Executor) -> None:
        answered = _answers(executor, _jobs(7), _fails_on_sin)
        assert len(answered) == 7
        failed = [outcome for _, outcome in answered if outcome.state is TrialState.FAILED]
        assert len(failed) == 1
        assert "ZeroDivisionError: no sin today" in failed[0].reason
        assert failed[0].value is None

    def test_no_jobs_no_answers(self, executor: Executor) -> None:
        assert _answers(executor, [], _fails_on_sin) == []

    def test_it_takes_some_of_the_jobs_that_wait(self, executor: Executor) -> None:
        assert 1 <= executor.batch_for(_jobs(7), _evaluate_with(_fails_on_sin)) <= 7

    def test_it_can_be_used_again_with_another_objective(self, executor: Executor) -> None:
        assert len(_answers(executor, _jobs(4), _fails_on_sin)) == 4
        answered = _answers(executor, _jobs(4), lambda candidate, run: 7.0)
        assert [outcome.value for _, outcome in answered] == [7.0] * 4

    def test_outcomes_are_those_of_one_after_the_other(
        self, executor: Executor, tiny_task: acs.Task
    ) -> None:
        outcomes = {}
        for one in (acs.Local(batch=1), executor):
            answered = [
                answer
                for job in (_jobs(7) if one is not executor else [None])
                for answer in _answers(one, _jobs(7) if job is None else [job], tiny_task)
            ]
            outcomes[one is executor] = {
                job.number: (outcome.state, outcome.value, outcome.reason)
                for job, outcome in answered
            }
        assert outcomes[True] == outcomes[False]


KINDS = [
    pytest.param(kind, marks=[] if "Local" in kind else [pytest.mark.slow]) for kind in EXECUTORS
]


@pytest.mark.parametrize("kind", KINDS)
class TestAStudyWithAnyExecutor:
    @pytest.mark.parametrize(
        "strategy",
        [
            pytest.param(
                name, marks=pytest.mark.slow if kind().learns_shapes or name == "auto" else ()
            )
            for name, kind in STRATEGIES.items()
        ],
    )
    def test_the_trials_are_those_of_one_after_the_other(
        self,
        kind: str,
        strategy: str,
        tiny_task: acs.Task,
        one_after_the_other: dict[str, Trials],
        executor_of: Callable[[str], Executor],
    ) -> None:
        if strategy not in one_after_the_other:
            one_after_the_other[strategy] = _searched(strategy, tiny_task, None)
        assert _searched(strategy, tiny_task, executor_of(kind)) == one_after_the_other[strategy]

    @pytest.mark.slow
    @pytest.mark.parametrize("strategy", STRATEGIES)
    def test_so_they_are_on_a_virtual_clock(
        self,
        kind: str,
        strategy: str,
        tiny_task: acs.Task,
        on_a_clock: dict[str, Trials],
        executor_of: Callable[[str], Executor],
    ) -> None:
        if strategy not in on_a_clock:
            on_a_clock[strategy] = _searched(strategy, tiny_task, acs.Local(batch=1), 4)
        found = _searched(strategy, tiny_task, executor_of(kind), 4)
        assert found == on_a_clock[strategy]
        assert sum(state.is_trained for _, state, *_ in found) == 20

    def test_pruning_on_a_virtual_clock_is_the_same(
        self, kind: str, on_a_clock: dict[str, Trials], executor_of: Callable[[str], Executor]
    ) -> None:
        settings = (4, acs.SuccessiveHalving(1, 3))
        if not on_a_clock.get("pruned"):
            on_a_clock["pruned"] = _searched("random", _long_task(), acs.Local(batch=1), *settings)
        found = _searched("random", _long_task(), executor_of(kind), *settings)
        assert found == on_a_clock["pruned"]
        assert sum(state is TrialState.PRUNED for _, state, *_ in found) > 5

    def test_never_more_are_trained_than_asked_for(
        self, kind: str, distance: Objective, executor_of: Callable[[str], Executor]
    ) -> None:
        study = acs.create_study(
            study_name="s", strategy=next(iter(STRATEGIES)), direction="minimize"
        )
        for wanted in (4, 5, 1):
            before = sum(trial.state.is_trained for trial in study.trials)
            study.optimize(
                distance, n_trials=wanted, executor=executor_of(kind), show_progress_bar=False
            )
            assert sum(trial.state.is_trained for trial in study.trials) == before + wanted

    def test_callbacks_come_once_for_each_trial(
        self, kind: str, distance: Objective, executor_of: Callable[[str], Executor]
    ) -> None:
        study = acs.create_study(
            study_name="s", strategy=next(iter(STRATEGIES)), direction="minimize"
        )
        seen: list[int] = []
        study.optimize(
            distance,
            n_trials=8,
            executor=executor_of(kind),
            callbacks=[lambda study, trial: seen.append(trial.number)],
            show_progress_bar=False,
        )
        assert sorted(seen) == sorted(t.number for t in study.trials if t.state.is_trained)
        assert seen == sorted(seen) or "Local" not in kind  # there, as they end

    def test_an_objective_that_only_fails_stops_the_study(
        self, kind: str, executor_of: Callable[[str], Executor]
    ) -> None:
        def broken(candidate: acs.Candidate, run: acs.Run) -> float:
            raise OSError("no such file")

        study = acs.create_study(study_name="s", direction="minimize")
        with pytest.raises(acs.StudyError, match="no such file"):
            study.optimize(
                broken, n_trials=30, executor=executor_of(kind), show_progress_bar=False
            )
        failed = [trial for trial in study.trials if trial.state is TrialState.FAILED]
        assert 10 <= len(failed) <= MOST_FAILURES.get(kind, 30)


@pytest.mark.parametrize("batch", [0, -1, 2.5, "3", True])
def test_a_batch_that_is_no_positive_integer_is_refused(batch: Any) -> None:
    with pytest.raises(acs.StudyError, match="batch"):
        acs.Local(batch=batch)
    with pytest.raises(acs.StudyError, match="batch"):
        acs.Processes(2, batch=batch)


@pytest.mark.parametrize(
    ("settings", "named"),
    [
        ({"count": 0}, "number of processes"),
        ({"count": True}, "number of processes"),
        ({"count": 2, "trial_timeout": 0}, "trial_timeout"),
        ({"count": 2, "trial_timeout": "1"}, "trial_timeout"),
        ({"count": 2, "memory_limit": "much"}, "memory_limit"),
        ({"count": 2, "memory_limit": "4 apples"}, "memory_limit"),
        ({"count": 2, "memory_limit": 0}, "memory_limit"),
    ],
)
def test_settings_of_processes_without_a_meaning_are_refused(
    settings: dict[str, Any], named: str
) -> None:
    with pytest.raises(acs.StudyError, match=named):
        acs.Processes(**settings)


@pytest.mark.parametrize(
    ("text", "number"),
    [("4GB", 4 * 10**9), ("1.5 GiB", 3 * 2**29), ("512 mb", 512 * 10**6), (10**9, 10**9)],
)
def test_a_memory_limit_is_bytes_or_text(text: Any, number: int) -> None:
    assert acs.Processes(1, memory_limit=text).memory_limit == number
