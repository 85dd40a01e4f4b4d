"""What a storage promises on every kind of database: what it refuses, what comes back, transactions, the lease."""

from __future__ import annotations

import dataclasses
import math
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest
import sqlalchemy as sa
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from storage_cases import counts, evaluation, fill, outside, study_record, waiting

import actsearch as acs
from actsearch.records import (
    EpochRecord,
    EvaluationRecord,
    Outcome,
    Score,
    StudyRecord,
    TrialRecord,
    TrialState,
)
from actsearch.report import Reader
from actsearch.storage import Lease, Storage, environment, versions
from actsearch.storage.confirmations import OpenConfirmation
from actsearch.storage.database import SCHEMA, VERSION_TABLE
from actsearch.storage.process import process_mark
from actsearch.storage.tables import Base, LeaseRow, TrialRow


@pytest.fixture
def storage(database_url: str) -> Iterator[Storage]:
    opened = Storage(database_url, create=True)
    yield opened
    opened.database.close()


@pytest.fixture
def filled(storage: Storage) -> tuple[Storage, StudyRecord, Lease]:
    return fill(storage)


def _differences(url: str) -> list[Any]:
    """What a migration would still have to change."""
    options = {"compare_type": True, "compare_server_default": True}
    with outside(url) as connection:
        context = MigrationContext.configure(
            connection,
            opts=options
            | {"include_name": lambda name, kind, _: (kind, name) != ("table", VERSION_TABLE)},
        )
        return list(compare_metadata(context, Base.metadata))


class TestSchema:
    def test_a_new_database_is_exactly_what_the_models_say(
        self, storage: Storage, database_url: str
    ) -> None:
        assert _differences(database_url) == []

    def test_the_comparison_would_notice_a_missing_column(
        self, storage: Storage, database_url: str
    ) -> None:
        with outside(database_url) as connection:
            connection.exec_driver_sql("ALTER TABLE trials DROP COLUMN alias")
        assert any("alias" in str(difference) for difference in _differences(database_url))

    def test_constraints_have_the_names_that_the_models_give_them(
        self, storage: Storage, database_url: str
    ) -> None:
        with outside(database_url) as connection:
            looked_at = sa.inspect(connection)
            for name, table in Base.metadata.tables.items():
                found: set[Any] = {looked_at.get_pk_constraint(name)["name"]}
                found |= {item["name"] for item in looked_at.get_check_constraints(name)}
                keys = table.foreign_key_constraints
                if connection.dialect.name == "sqlite":  # SQLAlchemy does not read these names
                    query = f"SELECT sql FROM sqlite_master WHERE name = '{name}'"
                    text = str(connection.exec_driver_sql(query).scalar())
                    found |= {str(key.name) for key in keys if f"CONSTRAINT {key.name} " in text}
                else:
                    found |= {item["name"] for item in looked_at.get_foreign_keys(name)}
                found |= {item["name"] for item in looked_at.get_unique_constraints(name)}
                assert found == {constraint.name for constraint in table.constraints}

    def test_the_schema_version_is_written_down(self, storage: Storage, database_url: str) -> None:
        with outside(database_url) as connection:
            rows = connection.exec_driver_sql(f"SELECT version_num FROM {VERSION_TABLE}").all()
        assert [tuple(row) for row in rows] == [(SCHEMA,)]


class TestRefusals:
    """What the database itself refuses, whatever the program would do."""

    @pytest.mark.parametrize(
        "statement",
        [
            "INSERT INTO studies (id, name, seed, direction, space, strategy, versions, "
            "user_attrs, created, directions, objectives) SELECT id + 1, name, seed, direction, "
            "space, strategy, versions, user_attrs, created, directions, objectives FROM studies",
            "INSERT INTO trials (id, study_id, number, state, activations, formula, label, operation, "
            "parents, fingerprint, alias, reason, warnings, user_attrs, seconds, created) "
            "SELECT id + 1, study_id, number, state, activations, formula, label, operation, "
            "parents, fingerprint, alias, reason, warnings, user_attrs, seconds, created FROM trials",
            "INSERT INTO trial_values SELECT trial_id, objective, 1.0, NULL FROM trial_values",
            "INSERT INTO evaluations (id, trial_id, seed, value, metrics, seconds, reason, nonfinite) "
            "SELECT id + 1, trial_id, seed, value, metrics, seconds, reason, nonfinite "
            "FROM evaluations",
            "INSERT INTO epochs SELECT * FROM epochs",
            "INSERT INTO confirmations SELECT id + 1, study_id, number, 'other', verdict, created "
            "FROM confirmations",
            "INSERT INTO confirmations SELECT id + 1, study_id, number + 1, key, verdict, created "
            "FROM confirmations",
            "INSERT INTO open_confirmations SELECT id + 1, study_id, number, 'other', environment_id, device, created "
            "FROM open_confirmations",
            "INSERT INTO open_confirmations SELECT id + 1, study_id, number + 1, key, environment_id, device, created "
            "FROM open_confirmations",
            "INSERT INTO confirmation_trainings SELECT * FROM confirmation_trainings",
            "INSERT INTO looks SELECT id + 9, test_data, comparisons, study_name, created, key FROM looks",
            "INSERT INTO leases SELECT * FROM leases",
            "INSERT INTO environments SELECT id + 1, digest, versions FROM environments",
        ],
    )
    def test_doubled_rows(
        self, filled: tuple[Storage, StudyRecord, Lease], database_url: str, statement: str
    ) -> None:
        with outside(database_url) as connection:
            with pytest.raises(sa.exc.IntegrityError, match="(?i)unique"):
                connection.exec_driver_sql(statement)

    @pytest.mark.parametrize(
        "statement",
        [
            "UPDATE trials SET state = 'DONE'",
            "UPDATE trials SET state = 'complete'",
            "UPDATE trials SET state = 'DUPLICATE'",
            "UPDATE trials SET duplicate_of = 0",
            "UPDATE studies SET direction = 'up'",
            "UPDATE trial_values SET value = NULL",
            "UPDATE trial_values SET nonfinite = 'nan'",
            "UPDATE trial_values SET value = NULL, nonfinite = 'much'",
            "UPDATE trials SET spread_nonfinite = 'inf'",
            "UPDATE evaluations SET nonfinite = 'inf'",
            "UPDATE trial_values SET value = {inf}",
            "UPDATE trials SET spread = {inf}",
            "UPDATE evaluations SET value = -{inf}",
            "UPDATE epochs SET valid_loss = {inf}",
        ],
    )
    def test_words_that_are_none(
        self, filled: tuple[Storage, StudyRecord, Lease], database_url: str, statement: str
    ) -> None:
        with outside(database_url) as connection:
            infinity = "9e999" if connection.dialect.name == "sqlite" else "'inf'::float8"
            with pytest.raises(sa.exc.IntegrityError, match="(?i)check"):
                connection.exec_driver_sql(statement.replace("{inf}", infinity))

    @pytest.mark.parametrize("state", list(TrialState))
    def test_every_state_is_allowed(
        self, filled: tuple[Storage, StudyRecord, Lease], database_url: str, state: TrialState
    ) -> None:
        original = 0 if state is TrialState.DUPLICATE else None
        with outside(database_url) as connection:
            connection.execute(
                sa.update(TrialRow).values(state=state.value, duplicate_of=original)
            )
        storage, study, _ = filled
        assert storage.trials(study.id)[0].state is state

    @pytest.mark.parametrize(
        "statement",
        [
            "UPDATE trials SET study_id = 99",
            "UPDATE evaluations SET trial_id = 99",
            "UPDATE epochs SET evaluation_id = 99",
            "UPDATE trial_values SET trial_id = 99",
            "UPDATE confirmations SET study_id = 99",
            "UPDATE open_confirmations SET study_id = 99",
            "UPDATE open_confirmations SET environment_id = 99",
            "UPDATE confirmation_trainings SET confirmation_id = 99",
            "UPDATE leases SET study_id = 99",
            "UPDATE trials SET proposed_in = 99",
            "UPDATE trials SET trained_in = 99",
        ],
    )
    def test_rows_of_nothing(
        self, filled: tuple[Storage, StudyRecord, Lease], database_url: str, statement: str
    ) -> None:
        with outside(database_url) as connection:
            with pytest.raises(sa.exc.IntegrityError, match="(?i)foreign key"):
                connection.exec_driver_sql(statement)

    def test_a_refused_write_is_a_storage_error(
        self, filled: tuple[Storage, StudyRecord, Lease]
    ) -> None:
        storage, study, _ = filled
        with pytest.raises(acs.StorageError, match="refused a write"):
            with storage.database.writing() as session:
                session.add(TrialRow(study_id=study.id))


class TestDeleting:
    def test_a_study_takes_everything_of_its_own_with_it(
        self, filled: tuple[Storage, StudyRecord, Lease], database_url: str
    ) -> None:
        storage, _, lease = filled
        other = storage.create_study(study_record("other"))
        storage.add_trials(other.id, [waiting()], None)
        lease.release()
        storage.delete_study("s")
        rows = counts(database_url)
        assert rows == dict.fromkeys(rows, 0) | {
            "studies": 1,
            "trials": 1,
            "looks": 3,
            "environments": 1,
        }  # looks are never forgotten
        assert [study.name for study in storage.studies()] == ["other"]

    def test_a_study_that_is_run_stays(
        self, filled: tuple[Storage, StudyRecord, Lease], database_url: str
    ) -> None:
        before = counts(database_url)
        with pytest.raises(acs.StudyError, match="is being run by"):
            filled[0].delete_study("s")
        assert counts(database_url) == before

    def test_a_deleted_name_is_free_again(self, storage: Storage) -> None:
        storage.create_study(study_record())
        storage.delete_study("s")
        assert storage.trials(storage.create_study(study_record()).id) == []


class TestValues:
    @pytest.mark.parametrize("value", [0.1 + 0.2, -1e-320, 1e308, 0.0, -7.0])
    def test_finite_numbers_come_back_exactly(self, storage: Storage, value: float) -> None:
        assert self._stored(storage, value).value == value

    @pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
    def test_other_numbers_are_null_with_a_text_and_come_back(
        self, storage: Storage, database_url: str, value: float
    ) -> None:
        trial = self._stored(storage, value)
        assert trial.value is not None
        assert str(trial.value) == str(value)
        with outside(database_url) as connection:
            for query, expected in (
                ("SELECT value, nonfinite FROM trial_values", (None, str(value))),
                ("SELECT value, nonfinite FROM evaluations", (None, str(value))),
                ("SELECT spread, spread_nonfinite FROM trials", (None, str(value))),
                ("SELECT train_loss, valid_loss, train_metric FROM epochs", (None, 0.25, None)),
            ):
                assert tuple(connection.exec_driver_sql(query).one()) == expected
        (stored,) = trial.evaluations
        assert str(stored.epochs[0].train_loss) == str(value)
        assert stored.epochs[0].valid_loss == 0.25
        assert stored.epochs[0].train_metric is None
        assert str(stored.metrics["loss"]) == str(value)
        assert str(stored.value) == str(trial.spread) == str(value)

    @staticmethod
    def _stored(storage: Storage, value: float) -> TrialRecord:
        study = storage.create_study(study_record())
        lease = storage.lease(study)
        lease.acquire()
        storage.add_trials(study.id, [waiting()], lease)
        epoch = EpochRecord(1, train_loss=value, valid_loss=0.25)
        training = EvaluationRecord(1, value, {"loss": value}, (epoch,), 0.1)
        outcome = Outcome(TrialState.PRUNED, value, value, (training,), "pruned")
        storage.finish_trials(study.id, {0: outcome}, lease)
        lease.release()
        return storage.trials(study.id, epochs=True)[0]

    def test_a_trial_comes_back_as_it_was(self, storage: Storage) -> None:
        study = storage.create_study(study_record())
        record = waiting(
            warnings=("careful",),
            user_attrs={"note": "ä\n'\"", "list": [1, None]},
            alias="a",
            created=datetime(2026, 1, 2, 3, 4, 5, 678, UTC),
        )
        (stored,) = storage.add_trials(study.id, [record], None)
        assert storage.trials(study.id) == [stored]
        assert stored.candidate == record.candidate
        assert stored.user_attrs == record.user_attrs
        assert stored.created == record.created

    def test_what_json_can_hold_comes_back(self, storage: Storage) -> None:
        attributes = {"nul": "a\0b", "half": "\ud800", "large": 2**70, "deep": [{"x": [None]}]}
        study = storage.create_study(study_record())
        storage.add_trials(study.id, [waiting(user_attrs=attributes)], None)
        assert storage.trials(study.id)[0].user_attrs == attributes

    def test_what_it_can_not_is_refused_and_nothing_stored(self, storage: Storage) -> None:
        study = storage.create_study(study_record())
        for attributes in ({"x": math.nan}, {"x": math.inf}):
            with pytest.raises(acs.StorageError):
                storage.add_trials(study.id, [waiting(), waiting(user_attrs=attributes)], None)
        assert storage.trials(study.id) == []

    def test_large_seeds_come_back(self, storage: Storage) -> None:
        study = storage.create_study(study_record(seed=2**62 + 1))
        assert storage.study("s").seed == 2**62 + 1
        lease = storage.lease(study)
        lease.acquire()
        storage.add_trials(study.id, [waiting()], lease)
        outcome = Outcome(TrialState.COMPLETE, 0.5, None, (evaluation(2**63 - 1),))
        storage.finish_trials(study.id, {0: outcome}, lease)
        assert storage.trials(study.id, epochs=True)[0].evaluations[0].seed == 2**63 - 1

    def test_each_trial_says_with_what_it_was_made_and_trained(
        self, storage: Storage, database_url: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        study = storage.create_study(study_record())
        lease = storage.lease(study)
        lease.acquire()
        storage.add_trials(study.id, [waiting()] * 2, lease)
        storage.start_trials(study.id, [0], lease)
        older = versions()
        newer = older | {"torch": "99.0"}
        monkeypatch.setattr(environment, "_versions", lambda: newer)  # as after an update
        storage.start_trials(study.id, [1], lease)
        first, second = storage.trials(study.id)
        assert first.proposed_with == first.trained_with == second.proposed_with == older
        assert {"python", "torch", "actsearch", "optuna", "deap"} <= older.keys()
        assert second.trained_with == newer

    def test_trials_are_numbered_on_whatever_they_bring(self, storage: Storage) -> None:
        study = storage.create_study(study_record())
        storage.add_trials(study.id, [waiting(), waiting()], None)
        stored = storage.add_trials(study.id, [waiting()] * 3, None)
        assert [trial.number for trial in stored] == [2, 3, 4]

    def test_a_repetition_within_a_batch_gets_the_final_number(self, storage: Storage) -> None:
        study = storage.create_study(study_record())
        storage.add_trials(study.id, [waiting()] * 4, None)
        repeated = TrialRecord(
            -1, TrialState.DUPLICATE, waiting().candidate, fingerprint="f", duplicate_of=-2
        )
        storage.add_trials(study.id, [waiting(), waiting(), repeated], None)
        assert storage.trials(study.id)[6].duplicate_of == 5

    def test_times_are_aware_and_in_utc(
        self, filled: tuple[Storage, StudyRecord, Lease], database_url: str
    ) -> None:
        storage, study, lease = filled
        storage.add_trials(study.id, [waiting()], lease)
        storage.start_trials(study.id, [1], lease)
        times = [
            storage.study("s").created,
            storage.trials(study.id)[0].created,
            storage.trials(study.id)[0].completed,
            storage.trials(study.id)[1].started,
            storage.confirmations(study.id)[0].created,
        ]
        for moment in times:
            assert moment is not None
            assert moment.utcoffset() == timedelta(0)
            assert abs(datetime.now(UTC) - moment) < timedelta(minutes=5)

    def test_another_time_zone_is_the_same_moment(self, storage: Storage) -> None:
        moment = datetime(2026, 7, 1, 1, 30, tzinfo=timezone(timedelta(hours=5, minutes=30)))
        study = storage.create_study(study_record())
        storage.add_trials(study.id, [waiting(created=moment)], None)
        stored = storage.trials(study.id)[0].created
        assert stored == moment
        assert stored is not None
        assert stored.utcoffset() == timedelta(0)

    @pytest.mark.parametrize(
        "name",
        [
            "'; DROP TABLE trials; --",
            'a "quoted" study',
            "100 %s %(x)s ? :x",
            "ünïcödé 研究 🧪",
            "../../etc/passwd",
            "a\nb",
        ],
    )
    def test_any_text_may_be_a_name(self, storage: Storage, database_url: str, name: str) -> None:
        study = storage.create_study(study_record(name))
        storage.create_study(study_record("bystander"))
        storage.add_trials(study.id, [waiting(reason=name)], None)
        assert storage.study(name).name == name
        assert storage.trials(study.id)[0].reason == name
        storage.delete_study(name)
        assert [item.name for item in storage.studies()] == ["bystander"]
        assert counts(database_url)["trials"] == 0

    def test_wildcards_in_a_name_match_nothing_else(self, storage: Storage) -> None:
        storage.create_study(study_record("study_1"))
        for pattern in ("study%", "study__", "STUDY_1"):
            with pytest.raises(acs.StudyError, match="there is no study"):
                storage.study(pattern)

    def test_trials_can_be_read_in_part(self, storage: Storage) -> None:
        study = storage.create_study(study_record())
        storage.add_trials(study.id, [waiting()] * 6, None)

        def numbers(**how: Any) -> list[int]:
            return [trial.number for trial in storage.trials(study.id, **how)]

        assert numbers(since=4) == [4, 5]
        assert numbers(numbers=[5, 1, 1]) == [1, 5]
        assert numbers(numbers=[]) == []
        assert numbers(numbers=range(3, 50)) == [3, 4, 5]


class TestTransactions:
    def test_one_that_fails_half_way_writes_nothing(
        self, filled: tuple[Storage, StudyRecord, Lease], database_url: str
    ) -> None:
        storage, study, lease = filled
        storage.add_trials(study.id, [waiting(), waiting()], lease)
        before = counts(database_url)
        good = Outcome(TrialState.COMPLETE, 0.5, None, (evaluation(),))
        doubled = Outcome(TrialState.COMPLETE, 0.5, None, (evaluation(7), evaluation(7)))
        with pytest.raises(acs.StorageError, match="refused a write"):
            storage.finish_trials(study.id, {1: good, 2: doubled}, lease)
        assert counts(database_url) == before
        assert [t.state.name for t in storage.trials(study.id)[1:]] == ["WAITING", "WAITING"]
        storage.finish_trials(study.id, {1: good}, lease)  # and the storage is still good for it

    def test_a_batch_with_a_bad_trial_is_not_stored_at_all(
        self, filled: tuple[Storage, StudyRecord, Lease]
    ) -> None:
        storage, study, lease = filled
        bad = TrialRecord(-1, TrialState.DUPLICATE, waiting().candidate)  # of nothing
        with pytest.raises(acs.StorageError, match="refused a write"):
            storage.add_trials(study.id, [waiting(), bad], lease)
        assert len(storage.trials(study.id)) == 1

    def test_an_exception_of_ours_rolls_back_too(
        self, filled: tuple[Storage, StudyRecord, Lease], database_url: str
    ) -> None:
        storage, _, _ = filled

        def fail() -> None:
            with storage.database.writing() as session:
                session.execute(sa.text("DELETE FROM trials"))
                raise ZeroDivisionError

        with pytest.raises(ZeroDivisionError):
            fail()
        assert counts(database_url)["trials"] == 1

    def test_reading_works_while_a_writer_holds_its_transaction(
        self, filled: tuple[Storage, StudyRecord, Lease], database_url: str
    ) -> None:
        storage, study, _ = filled
        reader = Reader(database_url)
        with storage.database.writing() as session:
            session.execute(sa.text("UPDATE trials SET reason = 'new'"))
            started = time.monotonic()
            assert reader.trials(study)[0].reason == ""
            assert time.monotonic() - started < 5  # it did not wait for the writer
        assert reader.trials(study)[0].reason == "new"
        reader.close()

    def test_a_second_writer_waits_for_the_first(
        self, filled: tuple[Storage, StudyRecord, Lease], database_url: str
    ) -> None:
        storage, study, _ = filled
        second = Storage(database_url)
        order: list[str] = []

        def write() -> None:
            second.add_trials(study.id, [waiting()], None)
            order.append("second")

        thread = threading.Thread(target=write)
        with storage.database.writing() as session:
            session.execute(sa.text("UPDATE trials SET reason = 'first'"))
            thread.start()
            thread.join(0.4)
            order.append("first")
        thread.join(20)
        assert order == ["first", "second"]
        assert [trial.number for trial in storage.trials(study.id)] == [0, 1]
        second.database.close()

    def test_numbers_stay_unique_when_many_enqueue_at_once(
        self, storage: Storage, database_url: str
    ) -> None:
        study = storage.create_study(study_record())

        def enqueue() -> None:
            opened = Storage(database_url)
            for _ in range(5):
                opened.add_trials(study.id, [waiting()], None)
            opened.database.close()

        threads = [threading.Thread(target=enqueue) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(60)
        assert [trial.number for trial in storage.trials(study.id)] == list(range(20))

    def test_several_may_make_the_file_at_once(self, database_url: str) -> None:
        failures: list[Exception] = []

        def make(name: str) -> None:
            try:
                acs.create_study(study_name=name, storage=database_url)
            except acs.ActsearchError as error:
                failures.append(error)

        threads = [threading.Thread(target=make, args=(f"s{number}",)) for number in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(60)
        assert failures == []
        assert len(Storage(database_url).studies()) == 4


class TestLease:
    def test_it_is_taken_once(self, storage: Storage) -> None:
        study = storage.create_study(study_record())
        first, second = storage.lease(study), storage.lease(study)
        first.acquire()
        with pytest.raises(acs.StudyError, match=f"process {os.getpid()}"):
            second.acquire()
        first.release()
        second.acquire()

    def test_releasing_twice_or_anothers_does_nothing(self, storage: Storage) -> None:
        study = storage.create_study(study_record())
        first, second = storage.lease(study), storage.lease(study)
        first.acquire()
        second.release()
        assert storage.is_running(study.id)
        first.release()
        first.release()
        assert not storage.is_running(study.id)

    @pytest.mark.parametrize("held_by", ["nobody", "another"])
    def test_without_it_nothing_is_written(
        self, filled: tuple[Storage, StudyRecord, Lease], database_url: str, held_by: str
    ) -> None:
        storage, study, lease = filled
        lease.release()
        if held_by == "another":
            storage.lease(study).acquire()
        before = counts(database_url)
        outcome = Outcome(TrialState.COMPLETE, 0.5)
        begun = OpenConfirmation(1, 0, datetime.now(UTC))
        writes: list[Callable[[], Any]] = [
            lambda: storage.add_trials(study.id, [waiting()], lease),
            lambda: storage.start_trials(study.id, [0], lease),
            lambda: storage.finish_trials(study.id, {0: outcome}, lease),
            lambda: storage.screen_trial(study.id, storage.trials(study.id)[0], lease),
            lambda: storage.update_study(study.id, lease, direction="minimize"),
            lambda: storage.add_confirmation(study.id, "k", {}, lease),
            lambda: storage.count_looks(study, "d", ["a"], lease),
            lambda: storage.begin_confirmation(study.id, "k", "cpu", lease),
            lambda: storage.restart_confirmation(begun, lease),
            lambda: storage.add_scores(begun, {"k": Score(0.5, 0.5, False)}, lease),
        ]
        for write in writes:
            with pytest.raises(acs.StudyError, match="no longer ours"):
                write()
        assert counts(database_url) == before
        assert storage.study("s").direction == "maximize"
        assert storage.trials(study.id)[0].state is TrialState.COMPLETE

    @staticmethod
    def _set(url: str, **columns: Any) -> None:
        with outside(url) as connection:
            connection.execute(sa.update(LeaseRow).values(**columns))

    def test_that_of_a_dead_process_is_taken_over(
        self, storage: Storage, database_url: str
    ) -> None:
        study = storage.create_study(study_record())
        storage.lease(study).acquire()
        dead = subprocess.Popen([sys.executable, "-c", ""])
        dead.wait()
        self._set(database_url, pid=dead.pid)
        assert not storage.is_running(study.id)
        assert not Reader(database_url).summaries()[0].is_running
        storage.lease(study).acquire()

    def test_a_write_renews_it(self, storage: Storage, database_url: str) -> None:
        study = storage.create_study(study_record())
        lease = storage.lease(study)
        lease.acquire()
        self._set(database_url, renewed=datetime(2020, 1, 1, tzinfo=UTC))
        storage.add_trials(study.id, [waiting()], lease)
        with outside(database_url) as connection:
            renewed = connection.execute(sa.select(LeaseRow.renewed)).scalar_one()
        assert renewed.year >= 2026


@pytest.mark.parametrize(
    "text",
    ["nul \0 inside", "lone \ud800 surrogate", "line\nbreak", "'\"%"],
    ids=["NUL", "surrogate", "line break", "quotes"],
)
def test_any_message_of_an_objective_is_stored(database_url: str, text: str) -> None:
    def objective(candidate: acs.Candidate, run: acs.Run) -> float:
        raise ValueError(text)

    study = acs.create_study(study_name="s", storage=database_url, direction="minimize")
    study.optimize(objective, n_trials=2, show_progress_bar=False)
    reason = acs.load_study(study_name="s", storage=database_url).trials[0].reason
    assert "ValueError" in reason
    assert text[:3] in reason


def test_a_long_study_comes_back_whole(storage: Storage) -> None:
    study = storage.create_study(study_record())
    lease = storage.lease(study)
    lease.acquire()
    storage.add_trials(study.id, [waiting()] * 1000, lease)
    outcome = Outcome(
        TrialState.COMPLETE, 0.5, None, (evaluation(1, (EpochRecord(1), EpochRecord(2))),)
    )
    storage.finish_trials(study.id, dict.fromkeys(range(1000), outcome), lease)
    trials = storage.trials(study.id, epochs=True)
    assert [trial.number for trial in trials] == list(range(1000))
    assert all(len(trial.evaluations[0].epochs) == 2 for trial in trials)


class TestLooks:
    def test_each_sees_every_earlier_one_on_its_test_data(self, storage: Storage) -> None:
        studies = [
            storage.create_study(dataclasses.replace(study_record(), name=name)) for name in "ab"
        ]
        leases = [storage.lease(study) for study in studies]
        for lease in leases:
            lease.acquire()
        assert storage.count_looks(studies[0], "digits", list("abc"), leases[0]) == 0
        assert storage.count_looks(studies[1], "digits", list("defg"), leases[1]) == 3
        assert storage.count_looks(studies[0], "other", list("a"), leases[0]) == 0
        assert storage.count_looks(studies[0], "digits", list("h"), leases[0]) == 7

    def test_the_same_ones_begun_again_are_counted_once(
        self, storage: Storage, database_url: str
    ) -> None:
        study = storage.create_study(study_record())
        lease = storage.lease(study)
        lease.acquire()
        with outside(database_url) as connection:  # as versions before schema 0007 wrote them
            connection.exec_driver_sql(
                "INSERT INTO looks (test_data, comparisons, study_name, created) "
                "VALUES ('digits', 5, 'before', '2026-11-21 10:00:00')"
            )
        for _ in range(4):
            assert storage.count_looks(study, "digits", list("abc"), lease) == 5
        assert storage.count_looks(study, "digits", list("de"), lease) == 8
        assert storage.count_looks(study, "digits", list("abc"), lease) == 5  # as when it began
        assert storage.count_looks(study, "digits", list("cf"), lease) == 9  # one of both is new
        assert storage.count_looks(study, "digits", list("g"), lease) == 11
        assert counts(database_url)["looks"] == 1 + 7

    def test_they_outlive_the_study(self, storage: Storage) -> None:
        for earlier, keys in ((0, "abc"), (3, "def")):
            study = storage.create_study(study_record())
            lease = storage.lease(study)
            lease.acquire()
            assert storage.count_looks(study, "digits", list(keys), lease) == earlier
            lease.release()
            storage.delete_study(study.name)


def test_a_process_number_that_is_used_again_does_not_hold_the_lease(
    storage: Storage, database_url: str
) -> None:
    study = storage.create_study(study_record())
    earlier = storage.lease(study)
    earlier.acquire()
    with pytest.raises(acs.StudyError, match="is being run"):  # our own process: alive
        storage.lease(study).acquire()
    boot, _, namespaces = process_mark().split(" ", 2)
    with outside(database_url) as connection:
        connection.exec_driver_sql(f"UPDATE leases SET process = '{boot} 17 {namespaces}'")
    assert not storage.is_running(study.id)
    storage.lease(study).acquire()
    with pytest.raises(acs.StudyError, match="no longer ours"):
        storage.add_trials(study.id, [waiting()], earlier)
