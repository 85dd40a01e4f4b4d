"""Readers are told what the process that drives a study is about: how many trials were asked for, or a verdict."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from storage_cases import study_record

import actsearch as acs
from actsearch.records import RunGoal
from actsearch.report import Reader
from actsearch.storage import Storage


def test_a_search_says_how_many_trials_it_will_have_and_until_when(database_url: str) -> None:
    seen: list[RunGoal | None] = []
    study = acs.create_study(
        study_name="s", storage=database_url, strategy="random", direction="maximize"
    )
    reader = Reader(database_url)
    (record,) = reader.studies()

    def objective(candidate: acs.Candidate, run: acs.Run) -> float:
        seen.append(reader.run_goal(record))
        return float(len(candidate.formula))

    study.optimize(objective, n_trials=2)
    study.optimize(objective, n_trials=3, timeout=3600)
    study.optimize(objective, n_trials=10, total_trials=6)
    assert [goal and (goal.purpose, goal.target) for goal in seen] == (
        [("search", 2)] * 2 + [("search", 5)] * 3 + [("search", 6)]
    )
    first, second = seen[0], seen[2]
    assert first is not None
    assert first.until is None
    assert second is not None
    assert second.until is not None
    assert second.since is not None
    assert timedelta(minutes=59) < second.until - second.since < timedelta(minutes=61)
    assert reader.run_goal(record) is None
    reader.close()


def test_a_confirmation_says_so(database_url: str) -> None:
    seen: list[str] = []
    study = acs.create_study(
        study_name="s", storage=database_url, strategy="random", direction="maximize"
    )
    reader = Reader(database_url)
    (record,) = reader.studies()

    def objective(candidate: acs.Candidate, run: acs.Run) -> float:
        goal = reader.run_goal(record)
        assert goal is not None
        seen.append(goal.purpose)
        return float(run.seed % 97)

    study.optimize(objective, n_trials=2)
    assert seen == ["search"] * 2
    study.confirm(objective, top_k=1, seeds=2)
    assert set(seen[2:]) == {"confirm"}
    reader.close()


@pytest.mark.parametrize(
    ("trials", "timeout"), [(10**30, None), (None, float("inf")), (None, 1e300)], ids=str
)
def test_limits_beyond_every_number_and_date_are_none(
    database_url: str, trials: int | None, timeout: float | None
) -> None:
    study = acs.create_study(
        study_name="s", storage=database_url, strategy="random", direction="maximize"
    )
    reader = Reader(database_url)
    (record,) = reader.studies()
    seen: list[RunGoal | None] = []

    def objective(candidate: acs.Candidate, run: acs.Run) -> float:
        seen.append(reader.run_goal(record))
        study.stop()
        return 1.0

    study.optimize(objective, n_trials=trials, timeout=timeout)
    assert seen[0] is not None
    assert (seen[0].target, seen[0].until) == (None, None)
    reader.close()


def test_a_driver_that_is_gone_is_about_nothing(database_url: str) -> None:
    storage = Storage(database_url, create=True)
    study = storage.create_study(study_record())
    lease = storage.lease(study)
    lease.acquire()
    assert storage.run_goal(study.id) is None  # not said yet
    lease.publish_goal(RunGoal("search", 7, datetime(2030, 1, 1, tzinfo=UTC)))
    found = storage.run_goal(study.id)
    assert found is not None
    assert (found.target, found.until) == (7, datetime(2030, 1, 1, tzinfo=UTC))
    lease.release()
    assert storage.run_goal(study.id) is None
    with pytest.raises(acs.StudyError, match="no longer ours"):
        lease.publish_goal(RunGoal("confirm"))
    storage.database.close()
