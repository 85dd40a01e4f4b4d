"""The functions that are stored with trials, to be drawn without torch."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest
import torch

import actsearch as acs
from actsearch.activations import curve
from actsearch.records import CURVE_POINTS, SHARED, ActivationRecord, CandidateRecord
from actsearch.report import Reader
from actsearch.screening import sample_curve, sample_curves


def score(candidate: acs.Candidate, run: acs.Run) -> float:
    return 0.5


def test_points_are_those_that_are_stored() -> None:
    assert len(CURVE_POINTS) == 81
    assert CURVE_POINTS[::40] == (-6.0, 0.0, 6.0)
    assert {-3.0, -1.0, -0.5, 0.5, 1.0, 3.0} < set(CURVE_POINTS)  # where activations bend


@pytest.mark.parametrize("formula", ["relu", "x*tanh(x)", "x*sigmoid(param(2.0)*x)", "rrelu"])
def test_a_function_is_sampled_with_its_derivative_at_the_start(formula: str) -> None:
    found = sample_curve(
        ActivationRecord("?", formula) if formula.isidentifier() else ActivationRecord(formula)
    )
    assert found is not None
    fine = curve(formula, -6, 6, 121)
    kept = np.isin(np.round(fine.x, 6), CURVE_POINTS)
    assert np.allclose(found.y, fine.y[kept])
    assert np.allclose(found.dy, fine.dy[kept])


def test_what_is_not_a_function_of_one_number_has_no_samples() -> None:
    records = [
        ActivationRecord("softmax(x)", "softmax"),
        ActivationRecord("?"),
        ActivationRecord("x", "no row"),
    ]
    assert [sample_curve(record) for record in records] == [None] * 3
    assert (
        sample_curves(
            [CandidateRecord({}), *(CandidateRecord({SHARED: item}) for item in records)]
        )
        == {}
    )


def test_digest_tells_functions_apart_and_not_labels() -> None:
    one = ActivationRecord("x*tanh(x)", label="a")
    assert one.digest == ActivationRecord("x*tanh(x)", label="b").digest
    others = [
        ActivationRecord("x"), ActivationRecord("x*tanh(x)", "row"), ActivationRecord("x*tanh(x)", "row", {"a": 1.0}),
        ActivationRecord("\ud800"),
    ]  # fmt: skip
    assert len({one.digest, *(item.digest for item in others)}) == 5


class TestStored:
    def stored(self, url: str, **options: object) -> tuple[acs.Study, dict[str, float]]:
        """A study, and f(1) by label of the activations that are stored."""
        study = acs.load_study(study_name="s", storage=url)
        reader = Reader(url)
        items = {
            item.digest: item.label
            for trial in study.trials
            for item in trial.record.candidate.activations.values()
        }
        found = reader.functions(study._record, items)
        reader.close()
        return study, {items[digest]: float(curve.y[50]) for digest, curve in found.items()}

    def test_what_is_proposed_and_what_is_enqueued_is_stored(self, tmp_path: Path) -> None:
        url = f"sqlite:///{tmp_path / 's.db'}"
        study = acs.create_study(
            study_name="s", storage=url, strategy="random", direction="maximize"
        )
        for formula in (
            "x*tanh(x)",
            "tanh(x)*x",
            "0*x",
        ):  # the second repeats the first, the third is refused
            study.enqueue_trial(formula)
        study.optimize(score, n_trials=3, show_progress_bar=False)
        study, found = self.stored(url)
        trained = {
            t.record.candidate.label for t in study.trials if t.state.is_trained or t.state.is_open
        }
        assert trained == set(found)
        assert found["x * tanh(x)"] == pytest.approx(torch.tanh(torch.tensor(1.0)).item())

    def test_groups_share_what_they_have_in_common(self, tmp_path: Path) -> None:
        url = f"sqlite:///{tmp_path / 's.db'}"
        study = acs.create_study(
            study_name="s",
            storage=url,
            strategy="random",
            direction="maximize",
            space=acs.Space(sites="per_depth"),
        )
        study.enqueue_trial({"depth:1/3": "sin", "depth:2/3": "relu", "depth:3/3": "sin"})
        study.optimize(score, n_trials=1, show_progress_bar=False)
        _, found = self.stored(url)
        assert set(found) == {"sin", "relu"}

    def test_what_another_program_wrote_is_not_read_and_a_deleted_study_leaves_nothing(
        self, tmp_path: Path
    ) -> None:
        url = f"sqlite:///{tmp_path / 's.db'}"
        study = acs.create_study(
            study_name="s", storage=url, strategy="random", direction="maximize"
        )
        for formula in ("x*tanh(x)", "sin(x)", "cos(x)*x", "x*x*x"):
            study.enqueue_trial(formula)
        study.optimize(score, n_trials=4, show_progress_bar=False)
        assert len(self.stored(url)[1]) == 4
        with closing(sqlite3.connect(tmp_path / "s.db")) as base, base:
            for row, value in enumerate((b"short", "text", 10**15), 1):
                base.execute("UPDATE functions SET samples = ? WHERE rowid = ?", (value, row))
        assert len(self.stored(url)[1]) == 1
        acs.delete_study(study_name="s", storage=url)
        with closing(sqlite3.connect(tmp_path / "s.db")) as base:
            assert base.execute("SELECT count(*) FROM functions").fetchone() == (0,)
