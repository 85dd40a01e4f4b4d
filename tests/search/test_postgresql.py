"""A study on a PostgreSQL server: connections that break, drivers that are killed, readers, and what errors say."""

from __future__ import annotations

import itertools
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from broken_wire import Wire, wire
from driven import Launcher
from postgresql_server import Server
from storage_cases import counts, fill, outside, study_record, waiting

import actsearch as acs
from actsearch.records import Outcome, Score, TrialState
from actsearch.report import Reader
from actsearch.storage import Storage
from actsearch.storage.database import VERSION_TABLE
from actsearch_dashboard.data import open_store

Objective = Callable[[acs.Candidate, acs.Run], float]
Row = tuple[int, str, str, float | None]


def _study(url: str) -> acs.Study:
    return acs.create_study(
        study_name="s", storage=url, strategy="random", seed=5, direction="minimize"
    )


def _rows(study: acs.Study) -> list[Row]:
    return [
        (trial.number, trial.candidate.formula, trial.state.name, trial.value)
        for trial in study.trials
    ]


@pytest.fixture
def unbroken(distance: Objective) -> list[Row]:
    """What a study of 20 trials finds where nothing happens to it."""
    study = _study("sqlite://")
    study.optimize(distance, n_trials=20, show_progress_bar=False)
    return _rows(study)


def _check_rows(url: str, unbroken: list[Row]) -> None:
    """No trial, value or evaluation is missing or there twice."""
    assert _rows(acs.load_study(study_name="s", storage=url)) == unbroken
    stored = counts(url)
    valued = sum(row[2] in ("COMPLETE", "PRUNED") for row in unbroken)
    trained = sum(row[2] in ("COMPLETE", "PRUNED", "FAILED") for row in unbroken)
    assert (stored["trials"], stored["trial_values"]) == (len(unbroken), valued)
    assert stored["evaluations"] == trained == 20
    assert stored["leases"] == 0


class TestBrokenConnections:
    def test_a_search_goes_on_when_its_connection_is_ended(
        self, server: Server, postgresql_url: str, distance: Objective, unbroken: list[Row]
    ) -> None:
        ended = []

        def objective(candidate: acs.Candidate, run: acs.Run) -> float:
            if run.number % 3 == 0:
                ended.append(server.end_connections())
            return distance(candidate, run)

        _study(postgresql_url).optimize(objective, n_trials=20, show_progress_bar=False)
        assert sum(ended) >= 3
        _check_rows(postgresql_url, unbroken)

    def test_and_at_any_moment(
        self, server: Server, postgresql_url: str, distance: Objective, unbroken: list[Row]
    ) -> None:
        study = _study(postgresql_url)
        over = threading.Event()
        ended = []

        def end_them() -> None:
            while not over.wait(0.05):
                ended.append(server.end_connections())

        thread = threading.Thread(target=end_them)
        thread.start()
        try:
            study.optimize(distance, n_trials=20, show_progress_bar=False)
        finally:
            over.set()
            thread.join()
        assert sum(ended) >= 2
        _check_rows(postgresql_url, unbroken)

    @pytest.mark.parametrize("mode", ["fast", "kill"])
    def test_and_when_the_server_starts_again(
        self,
        server: Server,
        postgresql_url: str,
        distance: Objective,
        unbroken: list[Row],
        mode: str,
    ) -> None:
        def objective(candidate: acs.Candidate, run: acs.Run) -> float:
            if not restarted:
                restarted.append(run.number)
                start_again[mode]()
            return distance(candidate, run)

        start_again = {"fast": server.restart, "kill": server.kill_and_start}
        restarted: list[int] = []
        _study(postgresql_url).optimize(objective, n_trials=20, show_progress_bar=False)
        _check_rows(postgresql_url, unbroken)

    def test_one_that_is_gone_for_good_is_said(self, tmp_path: Path) -> None:
        pytest.importorskip("psycopg", reason="psycopg is not installed")
        url = f"postgresql+psycopg://u:hunter2@/x?host={tmp_path}"
        with pytest.raises(acs.StorageError, match="check that the server runs") as caught:
            acs.create_study(study_name="s", storage=url)
        assert "hunter2" not in str(caught.value)


class TestCutCommits:
    """The wire is cut while a commit is under way: only the server knows whether it took place."""

    @pytest.fixture
    def cut(self, server: Server) -> Iterator[tuple[Wire, str]]:
        inside = server.new_schema()
        with wire(server.folder) as (forwarding, folder):
            yield forwarding, inside.replace(str(server.folder), str(folder))

    @pytest.mark.parametrize("moment", ["before", "after"])
    def test_every_write_is_there_once(self, cut: tuple[Wire, str], moment: str) -> None:
        forwarding, url = cut
        storage = Storage(url, create=True)
        cuts = itertools.count(1)

        def cut_next() -> None:
            assert forwarding.cuts == next(cuts) - 1
            forwarding.cut = moment

        cut_next()
        study = storage.create_study(study_record())
        lease = storage.lease(study)
        cut_next()
        lease.acquire()
        cut_next()
        assert [t.number for t in storage.add_trials(study.id, [waiting()] * 2, lease)] == [0, 1]
        cut_next()
        storage.start_trials(study.id, [0, 1], lease)
        cut_next()
        storage.finish_trials(study.id, {0: Outcome(TrialState.COMPLETE, 0.5)}, lease)
        cut_next()
        begun = storage.begin_confirmation(study.id, "key", "cpu", lease)
        score = Score(0.5, 0.25, False)
        cut_next()
        storage.add_scores(begun, {"a": score, "b": score}, lease)
        cut_next()
        assert storage.begin_confirmation(study.id, "key", "cpu", lease).scores == dict.fromkeys(
            "ab", score
        )
        cut_next()
        storage.add_confirmation(study.id, "key", {}, lease)
        cut_next()
        assert storage.count_looks(study, "data", ["a", "b"], lease) == 0
        cut_next()
        lease.release()
        cut_next()
        assert storage.add_trials(study.id, [waiting()], None)[0].number == 2
        cut_next()
        storage.delete_study("s")
        assert forwarding.cuts == next(cuts) - 1
        rows = counts(url)
        assert rows == dict.fromkeys(rows, 0) | {"looks": 2, "environments": 1}
        storage.database.close()

    @pytest.mark.parametrize("moment", ["before", "after"])
    def test_a_search_finds_the_same(
        self, cut: tuple[Wire, str], moment: str, distance: Objective, unbroken: list[Row]
    ) -> None:
        forwarding, url = cut
        study = _study(url)

        def objective(candidate: acs.Candidate, run: acs.Run) -> float:
            forwarding.cut = moment
            return distance(candidate, run)

        study.optimize(objective, n_trials=20, show_progress_bar=False)
        assert forwarding.cuts >= 3
        _check_rows(url, unbroken)


DRIVER = """
import sys, time
import torch
import actsearch as acs

x = torch.linspace(-3, 3, 61).unsqueeze(1)

def objective(candidate, run):
    torch.manual_seed(run.seed)
    with torch.no_grad():
        value = float((candidate.module(channels=1).eval()(x) - x * torch.tanh(x)).square().mean())
    print("DONE", run.number, flush=True)
    return value

study = acs.create_study(study_name="s", storage=sys.argv[1], strategy="random", seed=5,
                         direction="minimize", load_if_exists=True)
study.optimize(objective, total_trials=20, show_progress_bar=False)
"""


@pytest.mark.parametrize("kills", [[4], pytest.param([1, 3, 6], marks=pytest.mark.slow)])
def test_a_driver_that_is_killed_is_gone_on_from(
    launcher: Launcher, postgresql_url: str, unbroken: list[Row], kills: list[int]
) -> None:
    for trials in kills:
        child = launcher.start(DRIVER, postgresql_url)
        assert len(child.read(trials)) == trials
        child.kill()
        assert child.wait() == -signal.SIGKILL
    child = launcher.start(DRIVER, postgresql_url)
    assert child.wait() == 0, child.errors
    _check_rows(postgresql_url, unbroken)


class TestReading:
    def test_a_reader_sees_what_is_written_later_and_writes_nothing(
        self, postgresql_url: str
    ) -> None:
        storage, study, lease = fill(Storage(postgresql_url, create=True))
        reader = Reader(postgresql_url)
        assert reader.is_live
        assert reader.is_running(study)
        assert len(reader.trials(study)) == 1
        storage.add_trials(study.id, [waiting()], lease)
        assert len(reader.trials(study)) == 2
        assert reader.summaries()[0].verdicts == 1
        readonly = Storage(postgresql_url, read_only=True)
        with pytest.raises(acs.StorageError, match="for reading only"):
            readonly.create_study(study_record("other"))
        for opened in (storage, readonly):
            opened.database.close()
        reader.close()

    def test_the_dashboard_shows_what_is_new(self, postgresql_url: str) -> None:
        storage, study, lease = fill(Storage(postgresql_url, create=True))
        assert len(open_store(postgresql_url).view("s").frame()) == 1
        storage.add_trials(study.id, [waiting()], lease)
        assert len(open_store(postgresql_url).view("s").frame()) == 2
        storage.start_trials(study.id, [1], lease)
        assert open_store(postgresql_url).view("s").frame()["state"][1] == "RUNNING"
        storage.finish_trials(study.id, {1: Outcome(TrialState.COMPLETE, 0.1)}, lease)
        assert open_store(postgresql_url).view("s").frame()["value"][1] == 0.1
        storage.database.close()


class TestRefusals:
    def test_a_database_that_does_not_exist(self, server: Server) -> None:
        for opener in (acs.load_study, acs.create_study):
            with pytest.raises(acs.StorageError, match="createdb"):
                opener(study_name="s", storage=server.url("nowhere"))

    def test_an_empty_one_is_filled_by_create_study_alone(self, postgresql_url: str) -> None:
        with pytest.raises(acs.StorageError, match="create_study"):
            acs.load_study(study_name="s", storage=postgresql_url)
        with pytest.raises(acs.StorageError, match="create_study"):
            Reader(postgresql_url)
        acs.create_study(study_name="s", storage=postgresql_url)
        assert acs.load_study(study_name="s", storage=postgresql_url).trials == []

    def test_one_of_something_else(self, postgresql_url: str) -> None:
        with outside(postgresql_url) as connection:
            connection.exec_driver_sql("CREATE TABLE recipes (id INTEGER)")
        for opener in (acs.load_study, acs.create_study):
            with pytest.raises(acs.StorageError, match="database of its own"):
                opener(study_name="s", storage=postgresql_url)

    def test_a_newer_one(self, postgresql_url: str) -> None:
        acs.create_study(study_name="s", storage=postgresql_url)
        with outside(postgresql_url) as connection:
            connection.exec_driver_sql(f"UPDATE {VERSION_TABLE} SET version_num = '9999'")
        with pytest.raises(acs.StorageError, match="install the actsearch version"):
            acs.load_study(study_name="s", storage=postgresql_url)

    def test_a_user_without_rights(self, server: Server, postgresql_url: str) -> None:
        acs.create_study(study_name="s", storage=postgresql_url)
        server.execute(server.url("postgres"), "DROP ROLE IF EXISTS guest")
        server.execute(server.url("postgres"), "CREATE ROLE guest LOGIN")
        url = server.url("postgres").replace("actsearch@", "guest@")
        with pytest.raises(acs.StorageError, match="give this user the right"):
            acs.create_study(study_name="s", storage=url)

    @pytest.mark.parametrize("drivername", ["postgresql", "postgres"])
    def test_a_url_without_a_driver_takes_psycopg(
        self, postgresql_url: str, drivername: str
    ) -> None:
        url = postgresql_url.replace("postgresql+psycopg", drivername)
        acs.create_study(study_name="s", storage=url)
        assert acs.load_study(study_name="s", storage=postgresql_url).trials == []


@pytest.mark.parametrize("driver", ["psycopg2", "asyncpg"])
def test_another_driver_is_refused(driver: str) -> None:
    with pytest.raises(acs.StorageError, match=r"write postgresql\+psycopg://"):
        acs.create_study(study_name="s", storage=f"postgresql+{driver}://host/x")


def test_a_driver_that_is_not_installed_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "psycopg", None)  # as if it were not there
    with pytest.raises(acs.StorageError) as caught:
        Storage("postgresql://u:hunter2@host/x")
    assert "actsearch[postgresql]" in str(caught.value)
    assert "hunter2" not in str(caught.value)


def test_a_writer_that_sleeps_in_its_transaction_keeps_nobody_out(
    postgresql_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The server ends it after a while; what it had written is then not stored."""
    from actsearch.storage import postgresql

    monkeypatch.setattr(
        postgresql, "_BEGIN_WRITE", postgresql._BEGIN_WRITE.replace("'60s'", "'300ms'")
    )
    storage, study, lease = fill(Storage(postgresql_url, create=True))
    other = Storage(postgresql_url)

    def sleep_while_another_writes() -> None:
        with storage.database.writing() as session:
            lease.check(session)
            time.sleep(0.6)
            assert other.add_trials(study.id, [waiting()], None)[0].number == 1
            lease.check(session)

    with pytest.raises(acs.StorageError):
        sleep_while_another_writes()
    assert len(storage.trials(study.id)) == 2
    for opened in (storage, other):
        opened.database.close()
