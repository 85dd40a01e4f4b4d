"""A study that learns from earlier ones: which are read, what is kept of them, and what it makes of that."""

from __future__ import annotations

import dataclasses
import json
import math
import sqlite3
from collections.abc import Callable
from contextlib import closing
from typing import Any

import pytest

import actsearch as acs
from actsearch.records import StudyRecord
from actsearch.storage import Storage
from actsearch.study.earlier import EARLIER, OldStudy, read_earlier, write_earlier

Objective = Callable[[acs.Candidate, acs.Run], float]
SPACE = acs.Space(activations=["relu", "tanh", "sin", "silu"], operators=["mul", "tanh", "sin"])
FORMULAS = ("x*tanh(x)", "sin(x)", "tanh(x)*0.5", "sin(2*x)", "x*x", "tanh(2*x)")


def create(name: str, url: str, **settings: Any) -> acs.Study:
    given: dict[str, Any] = {"strategy": "auto", "space": SPACE, "direction": "minimize"}
    return acs.create_study(study_name=name, storage=url, **given | settings)


def run(study: acs.Study, objective: Any, n_trials: int) -> None:
    study.optimize(objective, n_trials, show_progress_bar=False)


def fill(url: str, name: str, objective: Any, formulas: tuple[str, ...] = FORMULAS) -> acs.Study:
    study = create(name, url, strategy="random")
    for formula in formulas:
        study.enqueue_trial(formula)
    run(study, objective, len(formulas))
    return study


@pytest.fixture
def olds(sqlite_url: str, distance: Objective) -> str:
    """Two studies in one storage, of which the best are x*tanh(x) and cos(x)."""

    def other(candidate: acs.Candidate, run: acs.Run) -> float:
        return abs(len(candidate.formula) - 6)

    fill(sqlite_url, "first", distance)
    fill(sqlite_url, "second", other, ("sin(x)", "x*tanh(x)", "x*sin(2*x)"))
    return sqlite_url


def formulas(study: acs.Study) -> list[str]:
    return [trial.candidate.formula for trial in study.trials]


def found(study: acs.Study) -> dict[str, list[Any]]:
    return {item["study"]: item["found"] for item in study.user_attrs[EARLIER]}


class TestSeveralStudies:
    def test_the_best_of_each_are_taken_in_turn_and_once(self, olds: str) -> None:
        study = create("new", olds, warm_start_from=["first", "second"])
        first, second = (
            acs.load_study(study_name=name, storage=olds) for name in ("first", "second")
        )
        one, other = (
            [t.candidate.formula for t in sorted(old.trials, key=lambda t: t.value or 0)]
            for old in (first, second)
        )
        assert one[0] == other[1]  # the second best of the second was taken from the first
        assert formulas(study) == [one[0], other[0], one[1], one[2], other[2]]
        assert [trial.user_attrs["warm_start"]["study"] for trial in study.trials] == [
            "first", "second", "first", "first", "second",
        ]  # fmt: skip
        warm = study.user_attrs["warm_start"]
        assert warm["studies"] == ["first", "second"]
        assert warm["trials"][0] == {"study": "first", "number": 0}

    def test_all_are_the_others_of_the_storage_the_newest_first(self, olds: str) -> None:
        create("without trials", olds)
        study = create("new", olds, warm_start_from="all")
        assert study.user_attrs["warm_start"]["studies"] == "all"
        assert list(found(study)) == ["second", "first"]
        assert study.trials[0].user_attrs["warm_start"]["study"] == "second"

    def test_a_study_that_is_named_all_is_the_one(self, olds: str, distance: Objective) -> None:
        fill(olds, "all", distance, ("sin(x)",))
        study = create("new", olds, warm_start_from="all")
        assert study.user_attrs["warm_start"]["study"] == "all"
        assert formulas(study) == ["sin(x)"]
        create("new", olds, warm_start_from="all", load_if_exists=True)

    def test_all_of_an_empty_storage_is_no_error(
        self, sqlite_url: str, caplog: pytest.LogCaptureFixture
    ) -> None:
        study = create("new", sqlite_url, warm_start_from="all")
        assert study.trials == []
        assert "no other study of this storage has something to begin with" in caplog.text
        create("new", sqlite_url, warm_start_from="all", load_if_exists=True)

    def test_a_list_of_one_is_the_one(self, olds: str) -> None:
        given = create("one", olds, warm_start_from="first")
        listed = create("listed", olds, warm_start_from=["first"])
        assert listed.user_attrs == given.user_attrs

    def test_studies_of_other_storages(self, olds: str) -> None:
        both = [acs.load_study(study_name=name, storage=olds) for name in ("first", "second")]
        study = acs.create_study(study_name="new", space=SPACE, warm_start_from=both)
        assert list(found(study)) == ["first", "second"]

    @pytest.mark.parametrize("asked", ["all", "first", ["first", "second"]])
    def test_a_script_that_is_run_again_goes_on(
        self, olds: str, distance: Objective, asked: Any
    ) -> None:
        for total in (2, 3):
            study = create("new", olds, warm_start_from=asked, load_if_exists=True)
            study.optimize(distance, total_trials=total, show_progress_bar=False)
            fill(olds, f"grown {total}", distance, ("sin(x)",))
        assert len(study.trials) == 5

    @pytest.mark.parametrize(
        ("asked", "said"),
        [
            ("all", r"warm_start_from: 'all', stored \['first', 'second'\]"),
            (["second", "first"], r"warm_start_from: \['second', 'first'\], stored"),
        ],
    )
    def test_another_start_is_refused(self, olds: str, asked: Any, said: str) -> None:
        create("new", olds, warm_start_from=["first", "second"])
        with pytest.raises(acs.StudyError, match=said):
            create("new", olds, warm_start_from=asked, load_if_exists=True)

    @pytest.mark.parametrize(
        ("asked", "said"),
        [
            ([], "an empty list"),
            (["first", 3], "not 3"),
            ([["first"]], "a study or the name of one"),
            (["first", "missing"], "there is no study 'missing'"),
            (["empty", "empty too"], "studies 'empty', 'empty too' have no complete trial"),
        ],
    )
    def test_what_is_no_start_is_refused(self, olds: str, asked: Any, said: str) -> None:
        create("empty", olds)
        create("empty too", olds)
        with pytest.raises(acs.StudyError, match=said):
            create("new", olds, warm_start_from=asked)


class TestWhatIsKept:
    def test_formulas_and_values_of_a_strategy_that_learns(self, olds: str) -> None:
        study = create("new", olds, warm_start_from="first")
        old = acs.load_study(study_name="first", storage=olds)
        assert found(study) == {"first": [[t.candidate.formula, t.value] for t in old.trials]}
        (earlier,) = read_earlier(study.record)
        assert earlier.values == tuple(-(t.value or 0) for t in old.trials)  # larger is better

    @pytest.mark.parametrize(
        "settings",
        [
            {"strategy": "genetic"},
            {"direction": None, "directions": ("minimize", "maximize")},
            {"space": acs.Space(sites="per_depth")},
        ],
    )
    def test_nothing_where_nothing_is_learned(self, olds: str, settings: dict[str, Any]) -> None:
        study = create("new", olds, warm_start_from=["first", "second"], **settings)
        assert study.trials
        assert EARLIER not in study.user_attrs

    def test_a_long_study_is_kept_by_its_best_and_its_latest(self, olds: str) -> None:
        old = Storage(olds)
        record = old.study("first")
        (trial, *_) = old.trials(record.id)
        values = [float(1000 - abs(number - 100)) for number in range(300)]
        trials = [
            dataclasses.replace(trial, number=number, value=value, fingerprint=str(number))
            for number, value in enumerate(values)
        ]
        record = dataclasses.replace(record, direction="maximize")
        (kept,) = write_earlier([OldStudy(record, trials)])
        best = sorted(range(300), key=lambda number: (-values[number], number))[:50]
        latest = [number for number in range(299, -1, -1) if number not in best][:150]
        numbers = sorted([*best, *latest])
        assert [value for _, value in kept["found"]] == [values[number] for number in numbers]

    @pytest.mark.parametrize(
        ("change", "reason"),
        [
            ("DELETE FROM trials WHERE study_id = 1", "no complete trial of one activation"),
            ("UPDATE trials SET state = 'FAILED'", "no complete trial of one activation"),
            ("UPDATE trials SET fingerprint = ''", "without the identities of its trials"),
            ('UPDATE studies SET directions = \'["minimize", "minimize"]\'', "several objectives"),
        ],
    )
    def test_a_study_without_use_is_left_out_and_said(
        self, olds: str, change: str, reason: str, caplog: pytest.LogCaptureFixture
    ) -> None:
        _alter(olds, change)
        storage = Storage(olds)
        record = storage.study("first")
        assert write_earlier([OldStudy(record, storage.trials(record.id))]) == []
        assert "nothing is learned from study 'first': it " in caplog.text
        assert reason in caplog.text

    def test_what_cannot_be_read_is_left_out_and_said(
        self, olds: str, caplog: pytest.LogCaptureFixture
    ) -> None:
        _alter(
            olds, "UPDATE trials SET activations = replace(activations, 'sin(x)', 'os.abort()')"
        )
        study = create("new", olds, warm_start_from="first")
        assert "1 of 6 functions of study 'first' cannot be read and are left out" in caplog.text
        assert len(found(study)["first"]) == 5

    def test_values_that_are_not_finite_are_left_out(
        self, sqlite_url: str, distance: Objective
    ) -> None:
        def often_infinite(candidate: acs.Candidate, run: acs.Run) -> float:
            return math.inf if "sin" in candidate.formula else distance(candidate, run)

        fill(sqlite_url, "old", often_infinite)
        study = create("new", sqlite_url, warm_start_from="old")
        assert all(math.isfinite(value) for _, value in found(study)["old"])
        assert len(found(study)["old"]) == 4


class TestWhatIsReadBack:
    GOOD = {"study": "old", "direction": "maximize", "found": [["sin(x)", 1.0], ["x*x", 2]]}

    def read(self, stored: Any) -> list[str]:
        record = StudyRecord(
            0, "new", 0, "maximize", {}, {}, user_attrs={EARLIER: json.loads(json.dumps(stored))}
        )
        return [earlier.name for earlier in read_earlier(record)]

    def test_what_was_written(self) -> None:
        assert self.read([self.GOOD, {**self.GOOD, "study": "other"}]) == ["old", "other"]

    @pytest.mark.parametrize(
        "item",
        [
            None, 3, "text", [], {}, {**GOOD, "study": 3}, {**GOOD, "direction": "up"},
            {**GOOD, "direction": ["maximize"]}, {**GOOD, "found": "sin(x)"}, {**GOOD, "found": {"sin(x)": 1}},
        ],
    )  # fmt: skip
    def test_an_item_of_another_form_is_left_out_and_said(
        self, item: Any, caplog: pytest.LogCaptureFixture
    ) -> None:
        assert self.read([self.GOOD, item]) == ["old"]
        assert "study 'new': what it keeps of an earlier study cannot be read" in caplog.text

    @pytest.mark.parametrize("stored", [3, "text", {"study": "old"}])
    def test_no_list_is_nothing(self, stored: Any, caplog: pytest.LogCaptureFixture) -> None:
        assert self.read(stored) == []
        assert "cannot be read" in caplog.text

    @pytest.mark.parametrize(
        "pair",
        [
            ["__import__('os').abort()", 1.0], ["sin(", 1.0], [3, 1.0], ["sin(x)"], ["sin(x)", "1"], "ab", None,
            ["sin(x)", True], ["sin(x)", None], ["sin(x)", math.nan], ["sin(x)", -math.inf], ["sin(x)", 10**400],
            ["(" * 5000 + "x" + ")" * 5000, 1.0], [["sin(x)"], 1.0],
        ],
    )  # fmt: skip
    def test_a_function_that_cannot_be_read_is_left_out_and_said(
        self, pair: Any, caplog: pytest.LogCaptureFixture
    ) -> None:
        assert self.read([{**self.GOOD, "found": [*self.GOOD["found"], pair]}]) == ["old"]
        assert "1 of 3 functions of study 'old' cannot be read and are left out" in caplog.text

    def test_a_search_goes_on_with_what_is_sound(
        self, olds: str, distance: Objective, caplog: pytest.LogCaptureFixture
    ) -> None:
        create("new", olds, warm_start_from=["first", "second"])
        _alter(
            olds, "UPDATE studies SET user_attrs = replace(user_attrs, 'sin(2 * x)', 'exit(1)')"
        )
        study = acs.load_study(study_name="new", storage=olds)
        run(study, distance, 6)
        assert "1 of 6 functions of study 'first' cannot be read" in caplog.text
        assert len(study.trials) > 6


class TestTheSearch:
    def test_first_the_best_of_others_then_the_portfolio_then_what_promises(
        self, olds: str, distance: Objective
    ) -> None:
        study = create("new", olds, warm_start_from=["first", "second"])
        plain = create("plain", olds)
        run(study, distance, 12)
        run(plain, distance, 1)
        made = [trial.record.candidate for trial in study.trials]
        assert [one.operation for one in made[:5]] == ["warm start"] * 5
        start = [trial.record.candidate for trial in plain.trials]
        taken = {acs.fingerprint(one) for one in made[:5]}
        wanted = [one.label for one in start if one.operation == "benchmark"]
        assert wanted
        assert {one.label for one in made[5:21]} >= {
            one.label
            for one in start
            if one.operation == "benchmark" and acs.fingerprint(one) not in taken
        }

    def test_an_old_study_that_goes_on_changes_nothing(
        self, sqlite_url: str, distance: Objective
    ) -> None:
        made = []
        for name, goes_on in (("new", False), ("other", True)):
            url = sqlite_url.replace("study.db", f"{name}.db")
            old = fill(url, "old", distance)
            study = create("new", url, warm_start_from="all")
            for count in (6, 18, 4):
                if goes_on:
                    run(old, distance, 2)
                    study = create("new", url, warm_start_from="all", load_if_exists=True)
                run(study, distance, count)
            made.append(formulas(study))
        assert made[0] == made[1]


def _alter(url: str, statement: str) -> None:
    """As another program might."""
    with closing(sqlite3.connect(url.removeprefix("sqlite:///"))) as base, base:
        base.execute(statement)
