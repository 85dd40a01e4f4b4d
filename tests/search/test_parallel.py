"""``parallel=V``: the same trials whatever workers there are, and what a strategy sees meanwhile."""

from __future__ import annotations

import collections
import dataclasses
import logging
import random
from collections.abc import Generator, Sequence
from pathlib import Path
from typing import Any

import pytest
from virtual_cluster import Cluster, Running, make_task

import actsearch as acs
from actsearch.execution import Finished, Job, Work
from actsearch.records import CandidateRecord, TrialRecord, TrialState
from actsearch.strategies import STRATEGIES, Context
from actsearch.study.virtual_flow import PROPOSED_AT

HALVING = acs.SuccessiveHalving(1, 3)
Row = tuple[Any, ...]


def _study(
    parallel: int = 5,
    pruner: acs.SuccessiveHalving | None = HALVING,
    url: str | None = None,
    strategy: type[Any] = acs.RandomSearch,
) -> acs.Study:
    return acs.create_study(
        study_name="s", storage=url, strategy=strategy(parallel=parallel), pruner=pruner, seed=4,
        load_if_exists=True,
    )  # fmt: skip


def _rows(study: acs.Study) -> list[Row]:
    return [
        (t.number, t.state.name, t.candidate.formula, t.value, t.reason, t.duplicate_of,
         t.user_attrs.get(PROPOSED_AT))
        for t in study.trials
    ]  # fmt: skip


def _searched(cluster: Cluster, *counts: int, **settings: Any) -> list[Row]:
    study = _study(**settings)
    for count in counts:
        study.optimize(make_task(27), n_trials=count, executor=cluster, show_progress_bar=False)
    return _rows(study)


class Killed(BaseException):
    """What ends a process at any moment, as far as a test in one process can have it."""


class Deadly(Cluster):
    """A cluster that ends the search after so many epochs."""

    left = 0

    def _begin(self, job: Job, running: list[tuple[float, int, Running]], work: Work) -> None:
        self._count()
        super()._begin(job, running, work)

    def _plan(self, one: Running, running: list[tuple[float, int, Running]]) -> None:
        self._count()
        super()._plan(one, running)

    def _count(self) -> None:
        self.left -= 1
        if self.left == 0:
            raise Killed


@pytest.mark.parametrize(
    "pruner",
    [
        pytest.param(None, marks=pytest.mark.slow),
        HALVING,
        pytest.param(acs.SuccessiveHalving(1, 3, min_correlation=0.3), marks=pytest.mark.slow),
    ],
)
def test_speeds_and_the_number_of_workers_change_no_trial(
    pruner: acs.SuccessiveHalving | None,
) -> None:
    first = _searched(Cluster(5, seed=0), 40, pruner=pruner)
    assert any(row[1] == "PRUNED" for row in first) == (pruner is not None)
    assert any(row[-1] for row in first)  # it went on while others trained
    for workers, seed in ((1, 1), (3, 2), (20, 3)):
        assert _searched(Cluster(workers, seed=seed), 40, pruner=pruner) == first


class Asking(acs.Local):
    """Trains one after the other, and asks for more so many times before each ends."""

    def __init__(self, times: int) -> None:
        super().__init__(batch=1)
        self._times = times
        self._stops = False

    def batch_for(self, jobs: Sequence[Job], work: Work) -> int:
        return len(jobs)

    def run(self, jobs: Sequence[Job], work: Work) -> Generator[Finished]:
        waiting = collections.deque(jobs)
        assert work.flow is not None
        while waiting and not self._stops:
            job = waiting.popleft()
            for _ in range(self._times):
                waiting += work.flow.take()
            yield Finished([(job, work.train([job])[0])])

    def stop(self) -> None:
        self._stops = True


def test_where_the_space_is_used_up_it_does_not_matter_how_often_is_asked() -> None:
    """Six activations: what is proposed again and again is refused, and stored."""
    found = []
    for times in (0, 1, 3):
        study = acs.create_study(
            study_name="s", strategy=acs.RandomSearch(parallel=4, formulas=0.0), seed=1, direction="maximize",
            pruner=None,
            space=acs.Space(activations=["relu", "tanh", "silu", "gelu", "mish", "softsign"]),
        )  # fmt: skip
        study.optimize(
            lambda candidate, run: float(run.number % 5),
            n_trials=12, executor=Asking(times), show_progress_bar=False,
        )  # fmt: skip
        found.append([(t.number, t.state.name, t.candidate.formula) for t in study.trials])
    assert found[0] == found[1] == found[2]


def test_fifty_and_fifty_are_a_hundred() -> None:
    """Not only by the trials: nothing is proposed that the whole search would not have proposed then."""
    whole = _searched(Cluster(5, seed=0), 40)
    assert _searched(Cluster(5, seed=1), 13, 1, 20, 6) == whole


def test_an_executor_that_asks_for_nothing_makes_the_same_trials() -> None:
    """As one that a user has written before there was parallel=: it is handed a list, and gives outcomes back."""

    class Plain(Cluster):
        def run(self, jobs: Any, work: Any) -> Any:
            return super().run(jobs, dataclasses.replace(work, flow=None, competition=None))

    assert _searched(Plain(3, seed=5), 40) == _searched(Cluster(5, seed=0), 40)


@pytest.mark.parametrize(
    "seed", [0, *(pytest.param(seed, marks=pytest.mark.slow) for seed in (1, 2))]
)
def test_a_search_that_is_ended_at_any_moment_goes_on_as_it_was(seed: int, tmp_path: Path) -> None:
    expected, rng = _searched(Cluster(5), 40), random.Random(seed)
    cluster, ends = Deadly(rng.randint(1, 9), seed=seed), 0
    study = _study(url=f"sqlite:///{tmp_path}/s.db")
    for left in (*(rng.randint(1, 150) for _ in range(4)), 0):
        cluster.left = left
        try:
            study.optimize(
                make_task(27), total_trials=40, executor=cluster, show_progress_bar=False
            )
        except Killed:
            ends += 1
    assert ends >= 2
    assert _rows(study) == expected


def test_the_trials_that_have_not_ended_on_the_clock_are_waiting_for_the_strategy(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    seen: list[Sequence[TrialRecord]] = []
    propose = acs.RandomSearch.propose

    def noted(
        self: acs.RandomSearch, history: Sequence[TrialRecord], n: int, context: Context
    ) -> list[CandidateRecord]:
        seen.append(history)
        return propose(self, history, n, context)

    monkeypatch.setattr(acs.RandomSearch, "propose", noted)
    _searched(Cluster(3, seed=1), 30, parallel=4)
    later = [history for history in seen if any(trial.state.is_trained for trial in history)]
    assert later
    for history in later:
        waiting = [trial for trial in history if trial.state.is_open]
        assert len(waiting) <= 3
        for trial in waiting:
            assert trial.state is TrialState.WAITING
            assert (trial.value, trial.spread, trial.evaluations, trial.started) == (
                None,
                None,
                (),
                None,
            )
        assert not any(trial.candidate.is_baseline for trial in history)
    assert any(len([trial for trial in history if trial.state.is_open]) == 3 for history in later)


def test_with_one_worker_each_proposal_knows_all_trials_before(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    counts = []
    propose = acs.Bayesian.propose

    def noted(self: acs.Bayesian, history: Any, n: int, context: Context) -> Any:
        counts.append((n, sum(trial.state.is_open for trial in history)))
        return propose(self, history, n, context)

    monkeypatch.setattr(acs.Bayesian, "propose", noted)
    _searched(Cluster(4, seed=1), 22, parallel=1, strategy=acs.Bayesian, pruner=None)
    assert counts[0] == (16, 0)  # the first ones whole: they learn from nothing
    assert set(counts[1:]) == {(1, 0)}


def test_what_is_enqueued_meanwhile_is_tried_next_and_again_after_a_resume(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/s.db"
    study = _study(url=url)

    def enqueue(study: acs.Study, trial: acs.Trial) -> None:
        if trial.number == 9:
            study.enqueue_trial("x*tanh(x)")
            study.enqueue_trial("relu")
            study.enqueue_trial("relu")  # the same: it takes no time

    study.optimize(
        make_task(27),
        n_trials=25,
        executor=Cluster(3),
        callbacks=[enqueue],
        show_progress_bar=False,
    )
    mine = [trial for trial in study.trials if trial.candidate.formula == "x * tanh(x)"]
    assert mine[0].state.is_trained
    before = _rows(study)
    _study(url=url).optimize(
        make_task(27), n_trials=10, executor=Cluster(2, seed=8), show_progress_bar=False
    )
    assert _rows(study)[: len(before)] == before
    whole = _rows(study)
    assert sum(row[1] in ("COMPLETE", "PRUNED") for row in whole) == 35


def test_a_space_that_is_used_up_ends_the_search(caplog: pytest.LogCaptureFixture) -> None:
    study = acs.create_study(
        study_name="s", strategy=acs.RandomSearch(formulas=0, parallel=3), pruner=None,
        space=acs.Space(["relu", "tanh"]),
    )  # fmt: skip
    with caplog.at_level(logging.WARNING):
        study.optimize(make_task(27), n_trials=50, executor=Cluster(3), show_progress_bar=False)
    assert sum(trial.state.is_trained for trial in study.trials) < 10
    assert caplog.text.count("proposals in a row were refused or known already") == 1


def test_it_is_stored_and_another_one_is_refused(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/s.db"
    _study(parallel=8, url=url)
    with pytest.raises(acs.StudyError, match="strategy settings.*'parallel': 4.*'parallel': 8"):
        _study(parallel=4, url=url)
    with pytest.raises(acs.StudyError, match="strategy settings"):
        acs.create_study(
            study_name="s", storage=url, strategy=acs.RandomSearch(), load_if_exists=True
        )


def test_studies_without_it_are_stored_as_before() -> None:
    for kind in STRATEGIES.values():
        assert "parallel" not in kind().describe()["settings"]
        assert kind(parallel=3).describe()["settings"]["parallel"] == 3


@pytest.mark.parametrize("parallel", [0, -1, 2.5, "3", True, 5000])
def test_settings_without_a_meaning_are_refused(parallel: Any) -> None:
    for kind in STRATEGIES.values():
        with pytest.raises(acs.SpaceError, match="parallel must be an integer from 1 to 4096"):
            kind(parallel=parallel)


def test_a_pruner_on_a_function_of_ones_own_is_refused() -> None:
    study = acs.create_study(
        study_name="s", strategy=acs.RandomSearch(parallel=2), pruner=HALVING, direction="minimize"
    )
    with pytest.raises(acs.StudyError, match=r"parallel= .*pruner=None, or give a Task"):
        study.optimize(lambda candidate, run: 1.0, n_trials=3, show_progress_bar=False)


def test_a_function_of_ones_own_counts_as_one_for_each_trial() -> None:
    study = acs.create_study(
        study_name="s", strategy=acs.RandomSearch(parallel=2), direction="minimize"
    )
    study.optimize(lambda candidate, run: run.number, n_trials=20, show_progress_bar=False)
    assert {t.user_attrs[PROPOSED_AT] for t in study.trials} <= set(range(11))
    assert sum(t.state.is_trained for t in study.trials) == 20


class Counted(Cluster):
    """Says how many workers it has, as :class:`acs.Processes` does."""

    @property
    def count(self) -> int:
        return self.workers


@pytest.mark.parametrize(
    ("parallel", "workers", "level", "said"),
    [
        (8, 4, logging.INFO, "parallel=8 keep about 4 workers busy"),
        (
            4,
            8,
            logging.WARNING,
            "parallel=4 keep about 2 workers busy, and never more than 4 of the 8",
        ),
        (None, 4, logging.INFO, "logical batches of 16 keep about 4 workers busy"),
        (
            None,
            32,
            logging.INFO,
            "a new study whose strategy has parallel=64 keeps all of them busy",
        ),
    ],
)
def test_the_log_says_how_many_workers_are_kept_busy(
    parallel: int | None, workers: int, level: int, said: str, caplog: pytest.LogCaptureFixture
) -> None:
    study = acs.create_study(
        study_name="s", strategy=acs.RandomSearch(parallel=parallel), pruner=None
    )
    with caplog.at_level(logging.INFO, logger="actsearch"):
        study.optimize(
            make_task(3), n_trials=2, executor=Counted(workers), show_progress_bar=False
        )
    assert [record.levelno for record in caplog.records if said in record.message] == [level]


@pytest.mark.slow
def test_many_workers_are_kept_busy() -> None:
    busy = {}
    for parallel in (None, 16):
        cluster = Cluster(16)
        strategy = acs.RandomSearch(parallel=parallel)
        study = acs.create_study(study_name="s", strategy=strategy, pruner=HALVING)
        study.optimize(make_task(27), n_trials=80, executor=cluster, show_progress_bar=False)
        used = sum(min(end, cluster.last) - start for start, end in cluster.spans)
        busy[parallel] = used / (cluster.last * cluster.workers)
    print(f"busy: {busy}")
    assert busy[16] > 0.6 > 0.3 > busy[None]
