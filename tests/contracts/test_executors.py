"""What every executor promises. A new one is one more entry in ``EXECUTORS``, and these tests run on it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest

import actsearch as acs
from actsearch.activation import describe
from actsearch.evaluation import Evaluator
from actsearch.execution import Executor, Job, Work
from actsearch.records import SHARED, CandidateRecord, TrialState

EXECUTORS: dict[str, Callable[[], Executor]] = {
    "Local()": acs.Local,
    "Local(batch=3)": lambda: acs.Local(batch=3),
}
BATCHES = {"Local()": 1, "Local(batch=3)": 3}  # with an objective that trains one at a time
NAMES = ("relu", "tanh", "sin", "elu", "gelu", "silu", "mish")

Objective = Callable[[acs.Candidate, acs.Run], float]


def _jobs(count: int) -> list[Job]:
    """Jobs whose numbers have gaps, as those of an interrupted study have."""
    return [
        Job(3 * index + 1, CandidateRecord({SHARED: describe(name)}))
        for index, name in enumerate(NAMES[:count])
    ]


def _fails_on_sin(candidate: acs.Candidate, run: acs.Run) -> float:
    if candidate.formula.startswith("sin"):
        raise ZeroDivisionError("no sin today")
    return run.number / 10


def _evaluate_with(objective: Any) -> Work:
    return Work(Evaluator(objective), (1, 2))


def _trials(study: acs.Study) -> list[tuple[Any, ...]]:
    return [
        (t.number, t.state, t.candidate.formula, t.value, t.duplicate_of, t.reason)
        for t in study.trials
    ]


@pytest.mark.parametrize("kind", list(EXECUTORS))
class TestEveryExecutor:
    @pytest.mark.parametrize("count", [1, 2, 3, 7])
    def test_every_job_is_answered_once(self, kind: str, count: int) -> None:
        jobs = _jobs(count)
        answered = EXECUTORS[kind]().run(jobs, _evaluate_with(_fails_on_sin))
        assert Counter(job.number for job, _ in answered) == Counter(job.number for job in jobs)

    def test_the_answer_belongs_to_the_job(self, kind: str) -> None:
        for job, outcome in EXECUTORS[kind]().run(_jobs(7), _evaluate_with(_fails_on_sin)):
            if job.candidate.formula.startswith("sin"):
                assert outcome.state is TrialState.FAILED
            else:
                assert outcome.value == job.number / 10

    def test_an_exception_in_the_objective_is_an_outcome(self, kind: str) -> None:
        answered = list(EXECUTORS[kind]().run(_jobs(7), _evaluate_with(_fails_on_sin)))
        assert len(answered) == 7
        failed = [outcome for _, outcome in answered if outcome.state is TrialState.FAILED]
        assert len(failed) == 1
        assert "ZeroDivisionError: no sin today" in failed[0].reason
        assert failed[0].value is None

    def test_no_jobs_no_answers(self, kind: str) -> None:
        assert list(EXECUTORS[kind]().run([], _evaluate_with(_fails_on_sin))) == []

    def test_it_says_how_many_jobs_it_takes_together(self, kind: str) -> None:
        executor = EXECUTORS[kind]()
        jobs = _jobs(7)
        assert executor.batch_for(jobs, _evaluate_with(_fails_on_sin)) == BATCHES[kind]

    def test_it_can_be_used_again(self, kind: str) -> None:
        executor = EXECUTORS[kind]()
        for _ in range(2):
            assert len(list(executor.run(_jobs(4), _evaluate_with(_fails_on_sin)))) == 4

    @pytest.mark.parametrize("strategy", ["random", "bayesian", "genetic"])
    def test_the_trials_are_those_of_one_after_the_other(
        self, kind: str, strategy: str, tiny_task: acs.Task
    ) -> None:
        studies = []
        for executor in (None, EXECUTORS[kind]()):
            study = acs.create_study(study_name="s", strategy=strategy, seed=5)
            study.optimize(tiny_task, n_trials=20, executor=executor, show_progress_bar=False)
            studies.append(study)
        assert _trials(studies[1]) == _trials(studies[0])

    def test_never_more_are_trained_than_asked_for(self, kind: str, distance: Objective) -> None:
        study = acs.create_study(study_name="s", strategy="bayesian", direction="minimize")
        for wanted in (4, 5, 1):
            before = sum(trial.state.is_trained for trial in study.trials)
            study.optimize(
                distance, n_trials=wanted, executor=EXECUTORS[kind](), show_progress_bar=False
            )
            assert sum(trial.state.is_trained for trial in study.trials) == before + wanted

    def test_callbacks_come_in_order_of_number(self, kind: str, distance: Objective) -> None:
        study = acs.create_study(study_name="s", strategy="random", direction="minimize")
        seen: list[int] = []
        study.optimize(
            distance,
            n_trials=8,
            executor=EXECUTORS[kind](),
            callbacks=[lambda study, trial: seen.append(trial.number)],
            show_progress_bar=False,
        )
        assert seen == sorted(t.number for t in study.trials if t.state.is_trained)

    def test_an_objective_that_only_fails_stops_the_study(self, kind: str) -> None:
        def broken(candidate: acs.Candidate, run: acs.Run) -> float:
            raise OSError("no such file")

        study = acs.create_study(study_name="s", direction="minimize")
        with pytest.raises(acs.StudyError, match="no such file"):
            study.optimize(
                broken, n_trials=30, executor=EXECUTORS[kind](), show_progress_bar=False
            )
        failed = [trial for trial in study.trials if trial.state is TrialState.FAILED]
        assert 10 <= len(failed) < 10 + BATCHES[kind]


@pytest.mark.parametrize("batch", [0, -1, 2.5, "3", True])
def test_a_batch_that_is_no_positive_integer_is_refused(batch: Any) -> None:
    with pytest.raises(acs.StudyError, match="batch"):
        acs.Local(batch=batch)
