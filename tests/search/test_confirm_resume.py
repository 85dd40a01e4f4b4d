"""A confirmation that was interrupted goes on where it was, and ends as one that was not."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator
from typing import Any, Literal

import pytest
import sqlalchemy as sa
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from storage_cases import counts, outside, study_record
from torch import nn

import actsearch as acs
from actsearch.records import ROW_GROUPS, Score
from actsearch.report import Verdict
from actsearch.storage import Lease, Storage, environment
from actsearch.study.study import Study
from actsearch.study.trainings import Trainings

PROOF = 1  # training of those that are stored is made again, by a call that goes on
TRAININGS = (
    4 + 3 * 8
)  # a fresh seed for the pool and the baseline, then eight for two finalists and it
SMALL = acs.Space(activations=["leaky_relu", "tanh", "sin"])


class Interrupting:
    """An objective that is interrupted at some of its trainings, and remembers all that it ended."""

    unseen = 0  # calls besides trainings, in a confirmation

    def __init__(self) -> None:
        self.ended: list[tuple[str, str, int]] = []
        self.left: int | None = None  # trainings until the next KeyboardInterrupt

    def __call__(self, candidate: acs.Candidate, run: acs.Run) -> float:
        self.before()
        call = (run.phase, candidate.formula, run.seed)
        self.ended.append(call)
        return hash_of(call)

    def before(self) -> None:
        """Interrupt, if it is time."""
        if self.left is not None:
            self.left -= 1
            if self.left < 0:
                self.left = None
                raise KeyboardInterrupt


def hash_of(call: tuple[Any, ...]) -> float:
    """A number with all of its bits in use."""
    return sum(ord(c) * (i + 1) for i, c in enumerate(str(call))) / 7919


class InterruptingTask(Interrupting):
    """The same as a task, whose model's factory is interrupted."""

    unseen = 3  # the model is described, and looked through for weights that it keeps

    def __init__(self, task: acs.Task) -> None:
        super().__init__()
        self.task = task.replace(model=self._model)

    def _model(self) -> nn.Module:
        self.before()
        return nn.Sequential(nn.Linear(2, 8), nn.ReLU(), nn.Linear(8, 2))


@pytest.fixture(params=["callable", pytest.param("task", marks=pytest.mark.slow)])
def interrupting(request: pytest.FixtureRequest, tiny_task: acs.Task) -> Interrupting:
    return Interrupting() if request.param == "callable" else InterruptingTask(tiny_task)


def _objective(interrupting: Interrupting) -> Any:
    return interrupting.task if isinstance(interrupting, InterruptingTask) else interrupting


def _searched(interrupting: Interrupting, url: str, name: str = "s") -> Study:
    direction: Literal["minimize"] | None = (
        None if isinstance(interrupting, InterruptingTask) else "minimize"
    )
    study = acs.create_study(
        study_name=name, storage=url, strategy="random", direction=direction, space=SMALL, seed=1
    )
    study.optimize(_objective(interrupting), n_trials=5, show_progress_bar=False)
    interrupting.ended.clear()
    return study


def _confirm(study: Study, interrupting: Interrupting, **how: Any) -> Verdict:
    chosen: dict[str, Any] = {
        "top_k": 1,
        "seeds": 8,
        "show_progress_bar": False,
        "baseline": "relu",
    } | how
    return study.confirm(_objective(interrupting), **chosen)


def _interrupted(study: Study, interrupting: Interrupting, after: int, **how: Any) -> None:
    interrupting.left = after + interrupting.unseen
    with pytest.raises(KeyboardInterrupt):
        _confirm(study, interrupting, **how)


@pytest.fixture
def unbroken(
    interrupting: Interrupting, tmp_path_factory: pytest.TempPathFactory
) -> tuple[list[Verdict], list[tuple[str, str, int]]]:
    """Two verdicts, top_k 1 and 2, of a study that nothing happened to, and what it trained."""
    url = f"sqlite:///{tmp_path_factory.mktemp('unbroken')}/study.db"
    study = _searched(interrupting, url)
    verdicts = [_confirm(study, interrupting, top_k=top_k) for top_k in (1, 2)]
    ended = list(interrupting.ended)
    interrupting.ended.clear()
    return verdicts, ended


Unbroken = tuple[list[Verdict], list[tuple[str, str, int]]]


@pytest.mark.parametrize("after", [4, 14, 17])
def test_it_ends_as_one_that_was_not_and_trains_nothing_twice(
    interrupting: Interrupting, unbroken: Unbroken, sqlite_url: str, after: int
) -> None:
    study = _searched(interrupting, sqlite_url)
    _interrupted(study, interrupting, after)
    stored = counts(sqlite_url)["confirmation_trainings"]
    assert stored > 0
    study = acs.load_study(study_name="s", storage=sqlite_url)
    assert _confirm(study, interrupting) == unbroken[0][0]
    assert _confirm(study, interrupting, top_k=2) == unbroken[0][1]
    if not isinstance(interrupting, InterruptingTask):
        once = unbroken[
            1
        ]  # and the first of them once more, which proves that nothing was changed
        assert interrupting.ended == once[:after] + once[:1] + once[after:]
    rows = counts(sqlite_url)
    assert rows["open_confirmations"] == rows["confirmation_trainings"] == 0


@pytest.mark.slow
def test_a_task_s_verdict_goes_on_in_either_stage(tiny_task: acs.Task, sqlite_url: str) -> None:
    interrupting = InterruptingTask(tiny_task)
    study = _searched(interrupting, sqlite_url)
    stored = []
    for after in (4, 14, 3):
        _interrupted(study, interrupting, after)
        stored.append(counts(sqlite_url)["confirmation_trainings"])
    assert 0 < stored[0] < 15 < stored[1] < stored[2]
    verdict = _confirm(study, interrupting)
    other = _searched(interrupting, sqlite_url.replace("study.db", "unbroken.db"))
    assert verdict == _confirm(other, interrupting)


def test_four_interruptions_make_no_interval_wider(
    interrupting: Interrupting, unbroken: Unbroken, sqlite_url: str
) -> None:
    study = _searched(interrupting, sqlite_url)
    looks = []
    for after in (15, 2, 2, 2):
        _interrupted(study, interrupting, after)
        looks.append(counts(sqlite_url)["looks"])
    verdict = _confirm(study, interrupting)
    assert verdict == unbroken[0][0]
    assert {*looks, counts(sqlite_url)["looks"]} == {verdict.comparisons}


def test_it_keeps_its_seeds_when_another_is_made_in_between(
    interrupting: Interrupting, unbroken: Unbroken, sqlite_url: str
) -> None:
    study = _searched(interrupting, sqlite_url)
    _interrupted(study, interrupting, 15)
    second = _confirm(study, interrupting, top_k=2)
    first = _confirm(study, interrupting)
    assert [first, second] == unbroken[0]
    assert study.verdicts == [second, first]


@pytest.mark.slow
def test_what_another_study_looked_at_meanwhile_counts_for_that_one(
    tiny_task: acs.Task, sqlite_url: str
) -> None:
    interrupting = InterruptingTask(tiny_task)
    alone = _searched(interrupting, sqlite_url.replace("study.db", "unbroken.db"))
    first = _confirm(alone, interrupting)
    study = _searched(interrupting, sqlite_url)
    _interrupted(study, interrupting, 15)
    other = _searched(interrupting, sqlite_url, "other")
    assert _confirm(other, interrupting).comparisons == 2 * first.comparisons
    assert _confirm(study, interrupting) == first


def test_a_study_that_is_made_again_is_looked_at_again(
    interrupting: Interrupting, sqlite_url: str
) -> None:
    comparisons = []
    for _ in range(2):
        study = _searched(interrupting, sqlite_url)
        comparisons.append(_confirm(study, interrupting).comparisons)
        acs.delete_study(study_name="s", storage=sqlite_url)
    assert comparisons[1] == 2 * comparisons[0]


@pytest.mark.parametrize("after", [4, 17])
def test_a_changed_objective_begins_anew_and_is_looked_at_again(
    sqlite_url: str, caplog: pytest.LogCaptureFixture, after: int
) -> None:
    """Its description is the same: what was stored must not become half of a verdict on something else."""

    class Changed(Interrupting):
        __qualname__ = Interrupting.__qualname__

        def __call__(self, candidate: acs.Candidate, run: acs.Run) -> float:
            return -super().__call__(candidate, run)

    interrupting, changed = Interrupting(), Changed()
    study = _searched(interrupting, sqlite_url)
    _interrupted(study, interrupting, after)
    looks = counts(sqlite_url)["looks"]
    verdict = _confirm(study, changed)
    assert "starts over" in caplog.text
    assert len(changed.ended) == TRAININGS - 8 + PROOF  # of the other way round one is a finalist
    assert (
        max(row.mean for row in (verdict.baseline, *verdict.rows)) < 0
    )  # none of the first's scores is in it
    assert verdict.comparisons == 1 + looks


def test_other_versions_begin_anew(
    sqlite_url: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    interrupting = Interrupting()
    study = _searched(interrupting, sqlite_url)
    _interrupted(study, interrupting, 15)
    stored, looks = len(interrupting.ended), counts(sqlite_url)["looks"]
    here = environment.versions()
    monkeypatch.setattr(environment, "_versions", lambda: here | {"torch": "1.0"})
    interrupting.ended.clear()
    verdict = _confirm(study, interrupting)
    assert len(interrupting.ended) > stored
    assert "begun with other versions" in caplog.text
    assert verdict.comparisons == 2 * looks


def test_a_deleted_study_takes_them_with_it(interrupting: Interrupting, sqlite_url: str) -> None:
    study = _searched(interrupting, sqlite_url)
    _interrupted(study, interrupting, 15)
    acs.delete_study(study_name="s", storage=sqlite_url)
    rows = counts(sqlite_url)
    assert rows["open_confirmations"] == rows["confirmation_trainings"] == 0
    assert rows["looks"] > 0


def test_the_log_and_the_bar_say_where_it_goes_on(
    sqlite_url: str, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    interrupting = Interrupting()
    study = _searched(interrupting, sqlite_url)
    _interrupted(study, interrupting, 6)
    with caplog.at_level("INFO", logger="actsearch"):
        _confirm(study, interrupting, show_progress_bar=True)
    assert "goes on where it was: 6 of about 28 trainings are stored" in caplog.text
    shown = capfd.readouterr().err
    assert "6/28" in shown
    assert " 0/28" not in shown


def test_a_verdict_that_another_process_makes_meanwhile_is_read(
    interrupting: Interrupting, sqlite_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    study = _searched(interrupting, sqlite_url)
    acquire, made = Lease.acquire, list[Verdict]()

    def late(lease: Lease) -> None:
        if not made:
            made.append(_other(interrupting, sqlite_url))
        acquire(lease)

    def _other(interrupting: Interrupting, url: str) -> Verdict:
        monkeypatch.setattr(Lease, "acquire", acquire)
        return _confirm(acs.load_study(study_name="s", storage=url), interrupting)

    monkeypatch.setattr(Lease, "acquire", late)
    assert _confirm(study, interrupting) == made[0]
    assert study.verdicts == made


def test_a_baseline_that_could_not_be_trained_is_said_with_its_reason_again(
    sqlite_url: str,
) -> None:
    class Failing(Interrupting):
        def __call__(self, candidate: acs.Candidate, run: acs.Run) -> float:
            value = super().__call__(candidate, run)
            if run.phase == "confirm" and candidate.formula == "relu(x)":
                raise ValueError("nul \0 inside, lone \ud800 surrogate")
            return value

    failing = Failing()
    study = _searched(failing, sqlite_url)
    said = []
    for _ in range(2):
        with pytest.raises(acs.StudyError, match="could not be trained") as caught:
            _confirm(study, failing)
        said.append(str(caught.value))
    trained = len(failing.ended)
    assert "ValueError: nul" in said[0]
    assert said[1].replace("\\x00", "\0") == said[0]
    with pytest.raises(acs.StudyError, match="could not be trained"):
        _confirm(study, failing)
    assert len(failing.ended) == trained + PROOF  # nothing was left to train


def test_baselines_that_only_look_alike_are_two(sqlite_url: str) -> None:
    interrupting = Interrupting()
    study = _searched(interrupting, sqlite_url)
    for omega in (0.22111, 0.22119):
        study.enqueue_trial("sin", omega=omega)
    study.optimize(interrupting, n_trials=2, show_progress_bar=False)
    alike = [trial.candidate for trial in study.trials[-2:]]
    assert alike[0].label == alike[1].label
    verdicts = [_confirm(study, interrupting, baseline=baseline) for baseline in alike]
    assert verdicts[0].baseline.activation != verdicts[1].baseline.activation
    assert study.verdicts == verdicts


# what is in the database

NOT_SCORES: list[Any] = [
    None,
    1,
    [],
    "x",
    {},
    {"valid": "0.5"},
    {"valid": "much"},
    {"test": 1},
    {"test": True},
    {"test": "nan"},
    {"test": [0.5]},
    {"blind": None},
    {"blind": 0},
    {"losses": None},
    {"losses": ["x"]},
    {"losses": [1]},
    {"losses": {"a": 0.5}},
    {"more": 1},
    {"without": None},
    {"without": 0.5},
    {"without": {"a": 0.5}},
    {"without": [0.5] * (ROW_GROUPS + 1)},
    {"without": [0.5] * (ROW_GROUPS - 1) + [1]},
    {"without": [0.5] * (ROW_GROUPS - 1) + [None]},
    {"without": [0.5] * (ROW_GROUPS - 1) + ["nan"]},
    {"without": [[0.5]] * ROW_GROUPS},
]
GOOD = {"valid": 0.5, "test": -1e9, "blind": False, "losses": [0.5]}
DAMAGED = [
    "",
    "{",
    "NaN",
    "[" * 100_000,
    json.dumps(GOOD).replace("-1000000000.0", "-1e999"),
    json.dumps(GOOD).replace("-1000000000.0", "NaN"),
    json.dumps(GOOD | {"without": [0.5] * (ROW_GROUPS - 1) + [math.inf]}),
    json.dumps(GOOD | {"without": [0.5] * (ROW_GROUPS - 1) + [math.nan]}),
    *(json.dumps(GOOD | item if isinstance(item, dict) and item else item) for item in NOT_SCORES),
]


def test_a_stored_training_that_no_version_wrote_is_not_believed(sqlite_url: str) -> None:
    storage = Storage(sqlite_url, create=True)
    study = storage.create_study(study_record())
    lease = storage.lease(study)
    lease.acquire()
    begun = storage.begin_confirmation(study.id, "key", "cpu", lease)
    good = Score(0.5, -1e9, False, (0.5,))
    change = sa.text("UPDATE confirmation_trainings SET score = :text WHERE key = 'damaged'")
    for text in DAMAGED:
        storage.add_scores(begun, {"good": good, "damaged": good}, lease)
        with outside(sqlite_url) as connection:
            connection.execute(change, {"text": text})
        assert storage.begin_confirmation(study.id, "key", "cpu", lease).scores == {
            "good": good
        }, text
    lease.release()
    storage.database.close()


def test_one_that_was_stored_before_rows_were_left_out_has_none(sqlite_url: str) -> None:
    storage = Storage(sqlite_url, create=True)
    study = storage.create_study(study_record())
    lease = storage.lease(study)
    lease.acquire()
    begun = storage.begin_confirmation(study.id, "key", "cpu", lease)
    good = Score(0.5, -1e9, False, (0.5,))
    storage.add_scores(begun, {"old": good}, lease)
    with outside(sqlite_url) as connection:
        text = json.dumps(GOOD)
        connection.execute(sa.text("UPDATE confirmation_trainings SET score = :it"), {"it": text})
    found = storage.begin_confirmation(study.id, "key", "cpu", lease).scores["old"]
    assert found == good
    assert found.without == ()
    lease.release()
    storage.database.close()


def test_a_call_that_goes_on_has_the_same_scores_without_groups_of_rows(
    tiny_task: acs.Task, sqlite_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    inputs = torch.randn(70, 2, generator=torch.Generator().manual_seed(2))
    interrupting = InterruptingTask(tiny_task.replace(test=(inputs, (inputs[:, 0] > 0).long())))
    scores, seen = Trainings.scores, dict[Any, Score]()

    def watched(self: Trainings, wanted: Any, split: Any) -> list[Score]:
        found = scores(self, wanted, split)
        asked = [(split, position, seed, step) for position, _, seed, step in wanted]
        seen.update(zip(asked, found, strict=True))
        return found

    monkeypatch.setattr(Trainings, "scores", watched)
    study = _searched(interrupting, sqlite_url)
    _interrupted(study, interrupting, 20)
    with outside(sqlite_url) as connection:
        stored = connection.exec_driver_sql("SELECT score FROM confirmation_trainings")
        lengths = [len(json.loads(row.score).get("without", [])) for row in stored]
    assert set(lengths) == {0, ROW_GROUPS}
    seen.clear()
    _confirm(study, interrupting)
    resumed = dict(seen)
    seen.clear()
    _confirm(_searched(interrupting, sqlite_url.replace("study.db", "whole.db")), interrupting)
    assert resumed == seen
    for (split, *_), score in seen.items():
        assert len(score.without) == (ROW_GROUPS if split == "test" else 0)


def test_it_is_made_again(sqlite_url: str, tmp_path_factory: pytest.TempPathFactory) -> None:
    interrupting = Interrupting()
    expected = _unbroken_verdict(tmp_path_factory)
    study = _searched(interrupting, sqlite_url)
    _interrupted(study, interrupting, 15)
    with outside(sqlite_url) as connection:
        changed = connection.exec_driver_sql(
            "UPDATE confirmation_trainings SET score = '{\"test\": 0.5}' WHERE key IN "
            "(SELECT key FROM confirmation_trainings ORDER BY key LIMIT 2)"
        )
        assert changed.rowcount == 2
    assert _confirm(study, interrupting) == expected
    assert len(interrupting.ended) == TRAININGS + 2 + PROOF


@pytest.mark.parametrize(
    "change",
    [
        "device = 'tpu'",
        "number = 'evil'",
        "number = -1",
        "number = 1e300",
        "created = 'evil'",
        "key = 'other'",
        "number = 5",
    ],
)
def test_a_tampered_row_of_an_open_confirmation_keeps_nobody_from_confirming(
    change: str, sqlite_url: str
) -> None:
    interrupting = Interrupting()
    study = _searched(interrupting, sqlite_url)
    _interrupted(study, interrupting, 15)
    with outside(sqlite_url) as connection:
        connection.exec_driver_sql(f"UPDATE open_confirmations SET {change}")
    assert _confirm(study, interrupting).rows
    assert _confirm(study, interrupting, top_k=2).rows


def _unbroken_verdict(folders: pytest.TempPathFactory) -> Verdict:
    interrupting = Interrupting()
    study = _searched(interrupting, f"sqlite:///{folders.mktemp('whole')}/study.db")
    return _confirm(study, interrupting)


@pytest.fixture(scope="module", params=["sqlite", "postgresql"])
def begun(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Callable[[Score], Score]]:
    """Stores a training and reads it back."""
    url = f"sqlite:///{tmp_path_factory.mktemp('scores')}/study.db"
    if request.param == "postgresql":
        url = request.getfixturevalue("server").new_schema()
    storage = Storage(url, create=True)
    study = storage.create_study(study_record())
    lease = storage.lease(study)
    lease.acquire()

    def there_and_back(score: Score) -> Score:
        row = storage.begin_confirmation(study.id, "key", "cpu", lease)
        storage.add_scores(row, {"training": score}, lease)
        return storage.begin_confirmation(study.id, "key", "cpu", lease).scores["training"]

    yield there_and_back
    lease.release()
    storage.database.close()


NUMBERS = st.none() | st.floats(allow_nan=True, allow_infinity=True)
FINITE = st.floats(allow_nan=False, allow_infinity=False)
WITHOUT = st.just(()) | st.tuples(*[FINITE] * ROW_GROUPS)


@settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    NUMBERS, st.none() | st.floats(allow_nan=False, allow_infinity=False), st.booleans(),
    st.lists(NUMBERS, max_size=5).map(tuple), st.text(max_size=20), WITHOUT,
)  # fmt: skip
def test_every_number_comes_back_to_the_last_bit(
    begun: Callable[[Score], Score],
    valid: float | None,
    test: float | None,
    blind: bool,
    losses: tuple[float | None, ...],
    reason: str,
    without: tuple[float, ...],
) -> None:
    found = begun(Score(valid, test, blind, losses, reason, without))
    assert list(map(_bits, (found.valid, found.test, *found.losses))) == list(
        map(_bits, (valid, test, *losses))
    )
    assert list(map(_bits, found.without)) == list(map(_bits, without))
    assert found.blind is blind


def _bits(value: float | None) -> str:
    return "None" if value is None else "nan" if math.isnan(value) else value.hex()
