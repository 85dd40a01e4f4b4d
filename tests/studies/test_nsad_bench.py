"""The study of NSAD-Bench: how data are divided, areas, intervals, rates, and what the tables say."""

from __future__ import annotations

import math
import pickle
from collections.abc import Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import nsad_bench
import numpy as np
import pytest
import torch
from nsad_bench import (
    COLUMNS,
    FURTHER_LRS,
    LRS,
    Protocol,
    Scores,
    difference_text,
    read_scores,
    table,
)
from scipy import stats
from setups.nsad_bench import PUBLISHED, area_under_curve, divide, interval
from sklearn.metrics import roc_auc_score

import actsearch as acs


class TestDivide:
    @pytest.fixture
    def rows(self) -> tuple[np.ndarray, np.ndarray]:
        draw = np.random.default_rng(0)
        inputs = np.column_stack([np.arange(200.0), draw.normal(size=200), np.ones(200)])
        return inputs, (draw.random(200) < 0.3).astype(float)

    def test_each_row_is_in_one_part(self, rows: tuple[np.ndarray, np.ndarray]) -> None:
        split = divide(*rows, seed=42)
        assert [len(y) for _, y in split] == [144, 16, 40]
        first = torch.cat([x[:, 0] for x, _ in split]).double()
        known = torch.cat([split.train[0], split.valid[0]]).double()
        assert known[:, :2].mean(0).abs().max() < 1e-6
        assert known[:, :2].std(0, correction=0) == pytest.approx([1, 1], abs=1e-6)
        step = first.sort().values.diff()
        assert step == pytest.approx(torch.full_like(step, float(step.mean())), abs=1e-5)
        assert all(torch.equal(x[:, 2], torch.zeros(len(x))) for x, _ in split)

    def test_classes_keep_their_shares(self, rows: tuple[np.ndarray, np.ndarray]) -> None:
        share = rows[1].mean()
        assert [float(y.mean()) for _, y in divide(*rows, seed=42)] == pytest.approx(
            [share] * 3, abs=0.04
        )

    def test_the_seed_decides(self, rows: tuple[np.ndarray, np.ndarray]) -> None:
        one, same, other = (divide(*rows, seed=seed) for seed in (42, 42, 43))
        assert torch.equal(one.test[0], same.test[0])
        assert not torch.equal(one.test[0], other.test[0])


@pytest.mark.parametrize("decimals", [8, 1], ids=["all differ", "many are equal"])
def test_the_area_is_that_of_scikit_learn(decimals: int) -> None:
    draw = np.random.default_rng(1)
    targets = (draw.random(300) < 0.3).astype(float)
    scores = np.round(draw.normal(size=300) + targets, decimals)
    ours = area_under_curve(torch.tensor(scores), torch.tensor(targets))
    assert ours == pytest.approx(roc_auc_score(targets, scores), abs=1e-12)


def test_an_interval_is_that_of_student_but_for_the_rows_that_splits_share() -> None:
    differences = np.random.default_rng(2).normal(0.01, 0.02, 10)
    low, high = interval(differences, 1)
    plain = stats.ttest_1samp(differences, 0.0).confidence_interval(0.95)
    middle = differences.mean()
    assert (low + high) / 2 == pytest.approx(middle)
    wider = math.sqrt((1 / 10 + 0.25) * 10)  # test rows to training rows: 0.2 to 0.8
    assert high - middle == pytest.approx(wider * (plain.high - middle))
    of_eight = interval(differences, 8)
    further = stats.ttest_1samp(differences, 0.0).confidence_interval(1 - 0.05 / 8)
    assert of_eight[1] - middle == pytest.approx(wider * (further.high - middle))


class FakeRun:
    """Scores by learning rate in the place of trainings; at a rate without one it diverges."""

    seed = 42

    def __init__(self, scores: Mapping[float, float]) -> None:
        self.scores = scores
        self.tried: list[float] = []

    def train(self, task: Any, candidate: object) -> Mapping[str, float]:
        del candidate
        self.tried.append(task.lr)
        score = self.scores.get(task.lr)
        return {} if score is None else {"auc": score, "test_auc": score - 0.01}


class TestRates:
    def measure(self, scores: Mapping[float, float]) -> tuple[dict[str, float], list[float]]:
        protocol: Any = Protocol.__new__(Protocol)
        protocol.task = lambda seed, lr: SimpleNamespace(seed=seed, lr=lr)
        run: Any = FakeRun(scores)
        return protocol(acs.Candidate.of("relu"), run), run.tried

    def test_the_best_on_validation_data_counts(self) -> None:
        found, tried = self.measure({0.001: 0.8, 0.01: 0.9, 0.1: 0.7})
        assert tried == list(LRS)
        assert found == pytest.approx(
            {"auc": 0.9, "test_auc": 0.89, "lr": 0.01, "test_auc_as_published": 0.79}
        )

    @pytest.mark.parametrize(
        ("further", "tried", "best"),
        [({1.0: 0.9}, [1.0], 0.1), ({1.0: 0.96, 10.0: 0.5}, [1.0, 10.0], 1.0),
         ({}, [1.0], 0.1), ({1.0: 0.96, 10.0: 0.97}, [1.0, 10.0], 10.0)],
    )  # fmt: skip
    def test_larger_ones_are_tried_while_the_largest_is_the_best(
        self, further: Mapping[float, float], tried: list[float], best: float
    ) -> None:
        assert set(tried) <= set(FURTHER_LRS)
        found, all_tried = self.measure({0.001: 0.8, 0.01: 0.9, 0.1: 0.95, **further})
        assert all_tried == [*LRS, *tried]
        assert found["lr"] == best

    def test_one_that_diverges_has_no_score(self) -> None:
        found, _ = self.measure({0.01: 0.9})
        assert found["lr"] == 0.01
        assert math.isnan(found["test_auc_as_published"])
        nothing, tried = self.measure({})
        assert nothing.pop("auc") == 0.0
        assert np.isnan([nothing[name] for name in COLUMNS]).all()
        assert tried == list(LRS)


class TestTable:
    def scores(self, as_published: list[float], tuned: list[float]) -> Scores:
        return Scores(np.array(as_published), np.array(tuned), np.full(len(tuned), 0.1))

    def test_a_split_that_diverged_loses_no_other(self) -> None:
        nan = math.nan
        found = {
            "ReLU": self.scores([0.89, 0.90, 0.88], [0.91, 0.92, 0.90]),
            "GELU": self.scores([nan, 0.90, 0.88], [0.91, 0.92, 0.90]),
            "SiLU": self.scores([nan] * 3, [nan] * 3)._replace(lrs=np.full(3, nan)),
            "KAN": self.scores([0.97, 0.98, 0.96], [0.91, 0.92, 0.90]),
        }
        text = table("phoneme", found)
        assert "nan" not in text
        rows = {line.split()[0]: line for line in text.splitlines()}
        assert rows["ReLU"].split()[2:] == ["0.8900", "0.9100", "0.1"]
        assert rows["GELU"].split()[2:6] == ["0.8900", "(2)", "0.9100", "0.1"]
        assert rows["SiLU"].split()[2:5] == ["-", "-", "-"]
        assert "0.9700*" in rows["spline†"]
        assert "no failed reproduction" in rows["†"]

    @pytest.mark.parametrize(
        ("differences", "claimed", "word"),
        [([0.01, 0.011, 0.009], 0.02, "holds"), ([0.01, 0.011, 0.009], -0.02, "reversed"),
         ([0.01, 0.011, 0.009], 0.0, "not zero here"), ([0.01, -0.01, 0.0], 0.02, "not shown"),
         ([0.01, -0.01, 0.0], 0.0, "not shown"), ([0.01, math.nan, math.nan], 0.02, "-")],
    )  # fmt: skip
    def test_what_is_left_of_a_claim(
        self, differences: list[float], claimed: float, word: str
    ) -> None:
        assert difference_text(np.array(differences), 1, claimed)[1] == word


def test_scores_are_read_where_trials_have_failed(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'actsearch.db'}"
    study = acs.create_study(
        study_name="nsad-phoneme", storage=url, strategy="random", direction="maximize"
    )

    def objective(candidate: acs.Candidate, run: acs.Run) -> Mapping[str, float]:
        scores = {"auc": 0.9, "test_auc": 0.8, "lr": 0.1, "test_auc_as_published": math.nan}
        return scores if candidate.formula == acs.Candidate.of("gelu").formula else {}

    for name in ("relu", "gelu"):
        study.enqueue_trial(name)
    study.optimize(objective, total_trials=2, show_progress_bar=False)
    scores = read_scores("phoneme", url)
    assert list(scores) == ["ReLU", "GELU"]
    assert scores["GELU"].tuned == pytest.approx([0.8])
    assert np.isnan([*scores["ReLU"].tuned, *scores["GELU"].as_published]).all()
    assert set(scores) <= set(PUBLISHED["phoneme"])


def test_the_objective_travels_to_child_processes(monkeypatch: pytest.MonkeyPatch) -> None:
    """As the default run sends it; what it has trained with stays where that was."""
    rows = np.zeros((40, 3), dtype=np.float32), np.zeros(40, dtype=np.float32)
    monkeypatch.setattr(nsad_bench, "read_set", lambda name: rows)
    sent = pickle.loads(pickle.dumps(Protocol("phoneme", small=True)))
    assert sent.tasks == {}
    assert sent.data[0].shape == (40, 3)
