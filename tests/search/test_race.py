"""A verdict in rounds of seeds: who leaves, when it ends, and how often it errs."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from scipy import stats

import actsearch as acs
from actsearch.records import CandidateRecord, Score
from actsearch.report import (
    LOOKS,
    Measured,
    Paired,
    PairedTest,
    Verdict,
    compute_verdict,
    list_leaving,
)
from actsearch.report.verdict.looks import nominal_levels
from actsearch.study.race import Race, Runner
from actsearch.study.rate_grid import RateGrid
from actsearch.study.rate_race import RateRace
from actsearch.study.trainings import Trainings

Numbers = npt.NDArray[np.float64]

RECORD = CandidateRecord({})
NOISE = 0.01


# the looks


@pytest.mark.parametrize("alpha", [0.05, pytest.param(0.01, marks=pytest.mark.slow)])
def test_all_looks_together_err_as_often_as_is_said(alpha: float) -> None:
    rng = np.random.default_rng(0)
    drawn = rng.standard_normal((200_000, LOOKS[-1]))
    wrong = np.zeros(len(drawn), bool)
    for seeds, level in zip(LOOKS, nominal_levels(LOOKS, alpha), strict=True):
        own = drawn[:, :seeds]
        wrong |= stats.ttest_1samp(own, 0.0, axis=1).pvalue < level
    assert wrong.mean() == pytest.approx(alpha, rel=0.06)


def test_one_look_has_the_whole_level() -> None:
    assert nominal_levels((10,), 0.03) == (0.03,)
    test = PairedTest(3, "maximize", (10,))
    assert test.critical(10) == pytest.approx(stats.t.ppf(1 - 0.05 / 6, 9))


def test_equal_looks_have_the_levels_that_are_published(monkeypatch: pytest.MonkeyPatch) -> None:
    """Half and all of the seeds, .05 spent in proportion (Lan & DeMets 1983): bounds 2.24 and 2.125."""
    monkeypatch.setattr("actsearch.report.verdict.looks._OF_T", 1.0)
    monkeypatch.setattr("actsearch.report.verdict.looks._POWER", 1.0)
    nominal_levels.cache_clear()
    bounds = [float(stats.norm.isf(level / 2)) for level in nominal_levels((10, 20), 0.05)]
    nominal_levels.cache_clear()
    assert bounds == pytest.approx([2.2414, 2.1251], abs=2e-4)


# who leaves


def differences(rng: np.random.Generator, seeds: int, *means: float) -> dict[int, Paired]:
    return {
        place: Paired(mean + NOISE * rng.standard_normal(seeds))
        for place, mean in enumerate(means, 1)
    }


TEST = PairedTest(3, "maximize", LOOKS)


def test_who_trails_the_leader_leaves() -> None:
    swing = NOISE * np.array([1.0, -1.0] * 3)
    found = {1: Paired(0.05 + swing), 2: Paired(0.0 + swing), 3: Paired(0.049 - swing)}
    assert list_leaving(found, TEST) == {2}


def test_the_leader_stays_until_there_are_seeds_for_a_word() -> None:
    for seeds, leaving in ((6, {2, 3}), (8, {1, 2, 3})):
        found = differences(np.random.default_rng(0), seeds, -0.05, -0.1, -0.1)
        assert list_leaving(found, TEST) == leaving


def test_with_a_metric_that_is_minimised_lower_is_better() -> None:
    found = differences(np.random.default_rng(0), 6, 0.05, 0.0, 0.05)
    assert list_leaving(found, PairedTest(3, "minimize", LOOKS)) == {1, 3}


def test_of_many_that_are_alike_few_go_on() -> None:
    rng = np.random.default_rng(0)
    for seeds, going_on in ((2, 6), (4, 3), (8, 2)):
        found = {place: 0.02 + 1e-4 * rng.standard_normal(seeds) for place in range(6)}
        shared = NOISE * rng.standard_normal(seeds)
        leaving = list_leaving({key: Paired(own + shared) for key, own in found.items()}, TEST)
        assert len(found) - len(leaving) == going_on


# learning rates


def scores_at(means: Sequence[float], seeds: int, noise: float) -> list[list[float | None]]:
    rng = np.random.default_rng(1)
    return [list(mean + noise * rng.standard_normal(seeds)) for mean in means]


def test_a_rate_that_surely_loses_leaves_and_one_that_may_not_stays() -> None:
    rates = RateRace(RateGrid(0.1, 1), 2)
    rates.update(
        {0: scores_at((0.9, 0.5, 0.8999), 4, 0.01), 1: scores_at((0.9, 0.5, 0.6), 4, 0.01)}
    )
    assert 0 in rates.steps[0]
    assert 1 in rates.steps[0]
    assert -1 not in rates.steps[0]
    assert rates.steps[1] == [0]


def test_under_one_seed_no_rate_leaves() -> None:
    rates = RateRace(RateGrid(0.1, 1), 1)
    rates.update({0: scores_at((0.9, 0.1, 0.2), 1, 0.0)})
    assert rates.steps[0] == [0, -1, 1]


def test_where_an_edge_wins_a_neighbour_comes_and_what_left_does_not_come_back() -> None:
    rates = RateRace(RateGrid(0.1, -1), 1)  # of errors the smaller is better
    rates.update({0: scores_at((0.5, 0.9, 0.1), 4, 0.001)})
    assert rates.steps[0] == [1, 2]
    rates.update({0: scores_at((0.1, 0.5), 4, 0.001)})
    assert rates.steps[0] == [1]
    rates.update({0: scores_at((0.1,), 6, 0.001)})
    assert rates.steps[0] == [1]


@pytest.mark.parametrize("size", [1e-6, 1.0, 1e6])
def test_rates_leave_whatever_the_size_of_the_metric(size: float) -> None:
    found = {0: scores_at((1.0, 1.2, 1.21), 4, 0.01)}
    rates = RateRace(RateGrid(0.1, -1), 1)
    rates.update({0: [[size * score for score in own if score is not None] for own in found[0]]})
    assert rates.steps[0] == [0]


# the race


class Trained:
    """Trainings whose scores are numbers from seeds: a mean for each contender, a share of it lost at other rates."""

    last_reason = ""

    def __init__(
        self, means: Sequence[float], rng: np.random.Generator, lost: float = 0.05
    ) -> None:
        self.luck = NOISE * rng.standard_normal((len(means), LOOKS[-1], 7, 2))
        self.means = means
        self.lost = lost
        self.asked: list[tuple[int, int, int]] = []

    def scores(self, wanted: Sequence[tuple[int, Any, int, int]], split: str) -> list[Score]:
        assert split == "test"
        self.asked += [(row, seed, step) for row, _, seed, step in wanted]
        found = []
        for row, _, seed, step in wanted:
            valid, test = self.means[row] - self.lost * step**2 + self.luck[row, seed, step]
            found.append(Score(float(valid), float(test), False, (), ""))
        return found


def run_race(
    trained: Trained,
    looks: tuple[int, ...] = LOOKS,
    catalog: Sequence[int] = (),
    min_effect: float | None = None,
) -> tuple[list[Runner], Verdict]:
    count = len(trained.means)
    known: Any = trained
    test = PairedTest(count - 1, "maximize", looks, min_effect)
    grid = RateGrid(1.0, 1)
    is_catalog = [row in catalog for row in range(count)]
    runners = Race(known, grid, [RECORD] * count, range(LOOKS[-1]), test, is_catalog).run()
    measured = [
        Measured(
            str(row),
            str(row),
            [run[step].test for run, step in zip(runner.runs, runner.choose(grid), strict=True)],
            number=row or None,
            is_catalog=row in catalog,
            learning_rate=1.0,
            at_grid_end=len(runner.runs) if runner.is_at_end(grid) else 0,
        )
        for row, runner in enumerate(runners)
    ]
    verdict = compute_verdict(
        measured[0], measured[1:], study_name="race", metric="accuracy", direction="maximize", looks=looks,
        min_effect=min_effect,
    )  # fmt: skip
    return runners, verdict


def test_what_is_clearly_better_is_known_after_eight_seeds() -> None:
    trained = Trained([0.9, 0.95, 0.9, 0.8], np.random.default_rng(0))
    runners, verdict = run_race(trained)
    assert [len(runner.runs) for runner in runners[:2]] == [8, 8]
    assert len(runners[3].runs) == 2
    assert verdict.row(1) is verdict.winner
    assert len(trained.asked) < 70
    last = verdict.rows[-1]
    assert (last.verdict, last.low, last.high) == ("left early", -math.inf, math.inf)
    assert "8 of at most 16 paired seeds" in str(verdict)
    assert Verdict.from_json(verdict.to_json()) == verdict


def test_what_is_worse_than_the_baseline_ends_the_race_after_eight_seeds() -> None:
    runners, verdict = run_race(Trained([0.9, 0.85, 0.8], np.random.default_rng(0)))
    assert len(runners[0].runs) == 8
    assert verdict.winner is verdict.baseline


def test_with_a_number_of_seeds_all_stay() -> None:
    runners, verdict = run_race(Trained([0.9, 0.95, 0.8], np.random.default_rng(0)), (12,))
    assert [len(runner.runs) for runner in runners] == [12, 12, 12]
    assert verdict.seeds == verdict.most_seeds == 12
    assert [row.verdict for row in verdict.rows] == ["better", "worse"]


def test_the_best_catalog_row_gets_the_seeds_of_a_composed_winner() -> None:
    runners, verdict = run_race(
        Trained([0.9, 0.95, 0.8, 0.85], np.random.default_rng(0)), catalog=(2, 3)
    )
    assert len(runners[2].runs) == 2
    assert len(runners[3].runs) == len(runners[1].runs) == 8
    assert verdict.versus_catalog is not None
    assert verdict.versus_catalog.label == "3"
    assert verdict.versus_catalog.verdict == "better"


def test_rates_that_lose_are_not_trained_under_further_seeds() -> None:
    trained = Trained([0.9, 0.95], np.random.default_rng(0), lost=0.3)
    run_race(trained)
    assert {step for _, seed, step in trained.asked if seed >= 4} == {0}


def test_with_a_number_of_seeds_a_limit_ends_it_as_well() -> None:
    trained: Any = Trained([0.9, 0.95, 0.8], np.random.default_rng(0))
    test = PairedTest(2, "maximize", (12,))
    race = Race(
        trained, RateGrid(1.0, 1), [RECORD] * 3, range(16), test, [False] * 3,
        lambda count: len(trained.asked) + count <= 40,
    )  # fmt: skip
    runners = race.run()
    assert race.is_cut
    assert {len(runner.runs) for runner in runners} <= {4, 6, 8, 10}


class LateEdge(Trained):
    """In the seventh seed it shows that the baseline trains better at a larger rate, as well as the other one."""

    def scores(self, wanted: Sequence[tuple[int, Any, int, int]], split: str) -> list[Score]:
        found = []
        for (row, _, seed, step), score in zip(wanted, super().scores(wanted, split), strict=True):
            valid, test = score.valid, score.test
            if row == 0 and step == 1:
                valid = 1.1 if seed >= 6 else 0.8 + 0.18 * (seed % 2)
                test = self.means[0]
            elif row == 0 and step == 2:
                valid, test = 1.5, self.means[1]
            found.append(Score(valid, test, False, (), ""))
        return found


@pytest.mark.parametrize("is_cut", [True, False])
def test_within_a_round_a_limit_is_no_answer_while_rates_of_the_baseline_are_wanted(
    is_cut: bool,
) -> None:
    def run(most: int) -> tuple[Race, list[tuple[int, int, int]]]:
        trained: Any = LateEdge([0.9, 0.96], np.random.default_rng(0))
        race = Race(
            trained, RateGrid(1.0, 1), [RECORD] * 2, range(LOOKS[-1]), PairedTest(1, "maximize", LOOKS),
            [False] * 2, lambda count: len(trained.asked) + count <= most,
        )  # fmt: skip
        race.run()
        return race, trained.asked

    whole, asked = run(1000)
    assert not whole.is_cut
    begun = next(place for place, (row, _, step) in enumerate(asked) if (row, step) == (0, 2))
    assert max(seed for _, seed, _ in asked[:begun]) == 7  # of eight, which are enough for a word
    race, _ = run(begun if is_cut else len(asked))
    assert race.is_cut == is_cut
    assert race.runners[0].steps == whole.runners[0].steps or is_cut


def test_a_rate_at_an_edge_of_single_seeds_is_no_end_of_the_grid() -> None:
    """Rates that are nearly alike: each seed has its own best one, and on average the middle one is."""
    rng = np.random.default_rng(3)
    ended = sum(
        run_race(Trained([0.9, 0.92, 0.9], rng, lost=0.002))[1].baseline.is_at_grid_end
        for _ in range(40)
    )
    assert ended <= 2


def test_what_diverges_at_the_first_rates_stays_until_a_smaller_one_was_tried() -> None:
    class Diverging(Trained):
        def scores(self, wanted: Sequence[tuple[int, Any, int, int]], split: str) -> list[Score]:
            found = super().scores(wanted, split)
            return [
                Score(None, None, False, (), "diverged") if row == 1 and step > -2 else score
                for (row, _, _, step), score in zip(wanted, found, strict=True)
            ]

    runners, verdict = run_race(Diverging([0.9, 1.1, 0.9], np.random.default_rng(0), lost=0.01))
    assert runners[1].steps == [-2]
    assert verdict.winner.label == "1"


def test_the_smallest_difference_that_shows_is_about_the_same_in_each_race() -> None:
    rng = np.random.default_rng(0)
    found = [run_race(Trained([0.9] * 6, rng, lost=0.3))[1].visible_difference for _ in range(60)]
    low, high = np.quantile(found, [0.05, 0.95])
    assert high < 3 * low


def test_equivalence_is_found_by_a_race() -> None:
    rng = np.random.default_rng(0)
    words = []
    for _ in range(40):
        _, verdict = run_race(Trained([0.9, 0.9, 0.9], rng, lost=0.3), min_effect=0.02)
        words.append(verdict.rows[0].verdict)
    assert words.count("equivalent") > 34


@pytest.mark.measured
@pytest.mark.parametrize("rivals", [pytest.param(1, marks=pytest.mark.slow), 4])
def test_what_is_no_better_is_told_from_the_baseline_seldom(rivals: int) -> None:
    """Mirror images: equal means at every rate."""
    rng = np.random.default_rng(rivals)
    rounds = 300
    wrong = 0
    for _ in range(rounds):
        _, verdict = run_race(Trained([0.9] * (rivals + 1), rng, lost=0.005))
        wrong += any(row.verdict in ("better", "worse") for row in verdict.rows)
    assert stats.binomtest(wrong, rounds, 0.05, alternative="greater").pvalue > 0.05


@pytest.mark.slow
def test_the_difference_that_would_have_shown_shows_in_four_of_five_races() -> None:
    rng = np.random.default_rng(0)
    found = visible = 0.0
    rounds = 300
    for _ in range(rounds):
        _, verdict = run_race(Trained([0.9, 0.9, 0.9], rng, lost=0.3))
        visible += verdict.visible_difference / rounds
    for _ in range(rounds):
        _, verdict = run_race(Trained([0.9, 0.9 + visible, 0.9], rng, lost=0.3))
        found += (verdict.winner.label == "1") / rounds
    assert 0.75 < found < 0.95


def test_a_task_is_confirmed_in_rounds(tiny_task: acs.Task) -> None:
    study = acs.create_study(study_name="rounds", strategy="random")
    study.optimize(tiny_task, n_trials=6, show_progress_bar=False)
    verdict = study.confirm(tiny_task, top_k=2, show_progress_bar=False)
    assert verdict.most_seeds == LOOKS[-1]
    assert 8 <= verdict.seeds <= LOOKS[-1]
    assert all(len(row.values) in LOOKS for row in verdict.rows)
    assert verdict.trainings > 0
    assert study.confirm(tiny_task, top_k=2, show_progress_bar=False) == verdict


def confirm(task: acs.Task, url: str, **how: Any) -> Verdict:
    study = acs.create_study(
        study_name="limited", storage=url, strategy="random", load_if_exists=True
    )
    study.optimize(task, total_trials=6, show_progress_bar=False)
    return study.confirm(task, top_k=2, show_progress_bar=False, **how)


@pytest.mark.measured
def test_a_budget_ends_the_race_and_a_larger_one_goes_on_from_there(
    tiny_task: acs.Task, sqlite_url: str, tmp_path: Path
) -> None:
    whole = confirm(tiny_task, f"sqlite:///{tmp_path}/whole.db")
    verdict = confirm(tiny_task, sqlite_url, budget=40)
    assert 0 < verdict.trainings <= 40
    assert verdict.cut == "the budget of 40 trainings"
    assert "Undecided: the budget of 40 trainings ended the race after" in verdict.sentence
    assert acs.load_study(study_name="limited", storage=sqlite_url).verdicts == []
    assert confirm(tiny_task, sqlite_url, budget=1000) == whole
    assert acs.load_study(study_name="limited", storage=sqlite_url).verdicts == [whole]


def test_a_timeout_before_anything_is_compared_is_an_error(
    tiny_task: acs.Task, sqlite_url: str
) -> None:
    with pytest.raises(acs.StudyError, match=r"the timeout of 0\.001 s was used up before"):
        confirm(tiny_task, sqlite_url, timeout=1e-3)
    assert confirm(tiny_task, sqlite_url, timeout=3600).cut == ""


def test_a_budget_for_no_comparison_is_refused_with_what_it_takes(
    tiny_task: acs.Task, sqlite_url: str
) -> None:
    with pytest.raises(
        acs.StudyError, match=r"budget=10 trainings are too few: .* takes \d+, with top_k=1 \d+"
    ):
        confirm(tiny_task, sqlite_url, budget=10)
    for wrong in (0, -1, 2.5, "many"):
        with pytest.raises(acs.StudyError, match="budget"):
            confirm(tiny_task, sqlite_url, budget=wrong)


@pytest.mark.parametrize(("lrs", "rates"), [([], {0.01}), ([0.02, 0.001], {0.001, 0.01, 0.02})])
def test_listed_learning_rates_are_the_only_ones_beside_that_of_the_search(
    lrs: list[float], rates: set[float], tiny_task: acs.Task, monkeypatch: pytest.MonkeyPatch
) -> None:
    study = acs.create_study(study_name="s", strategy="random")
    study.optimize(tiny_task, n_trials=3, show_progress_bar=False)
    tried: set[float | None] = set()
    scores = Trainings.scores

    def noting(self: Trainings, wanted: Any, split: Any) -> list[Score]:
        tried.update(self._grid.rate(step) for _, _, _, step in wanted)
        return scores(self, wanted, split)

    monkeypatch.setattr(Trainings, "scores", noting)
    verdict = study.confirm(tiny_task, top_k=1, seeds=2, lrs=lrs, show_progress_bar=False)
    assert tried == rates
    assert {row.learning_rate for row in (verdict.baseline, *verdict.rows)} <= rates
    again = study.confirm(tiny_task, top_k=1, seeds=2, lrs=[*lrs, *lrs], show_progress_bar=False)
    assert again == verdict


@pytest.mark.parametrize(
    ("lrs", "match"), [(3e-3, "a list of learning rates"), ([-1.0], "lrs"), ("1e-3", "a list of")]
)
def test_what_are_no_learning_rates_is_refused(lrs: Any, match: str, tiny_task: acs.Task) -> None:
    study = acs.create_study(study_name="s", strategy="random")
    study.optimize(tiny_task, n_trials=2, show_progress_bar=False)
    with pytest.raises(acs.StudyError, match=match):
        study.confirm(tiny_task, lrs=lrs)


def test_what_a_verdict_covers_is_one_of_two(tiny_task: acs.Task) -> None:
    study = acs.create_study(study_name="s", strategy="random")
    study.optimize(tiny_task, n_trials=2, show_progress_bar=False)
    with pytest.raises(acs.StudyError, match=r"covers.*seeds\+rows"):
        study.confirm(tiny_task, covers="rows")  # type: ignore[arg-type]


class OtherRates:
    """Scores of contenders that are equally good at their own best rate, the first one at another than the others.

    Trainings have most of their noise in common under a seed and a rate, as they do.
    """

    def __init__(self, contenders: int, seed: int) -> None:
        rng = np.random.default_rng(seed)
        self.common = rng.standard_normal((16, 13))
        self.own = rng.standard_normal((contenders, 16, 13))
        self.measured = rng.standard_normal((contenders, 16, 13, 2))

    def scores(self, wanted: Sequence[tuple[int, Any, int, int]], split: str) -> list[Score]:
        return [self._score(row, seed, step) for row, _, seed, step in wanted]

    def _score(self, row: int, seed: int, step: int) -> Score:
        best, falls = (0, 0.7) if row == 0 else (-1, 2.0)
        mean = 0.0 if step == best else -falls if step in (0, -1) else -4.0
        mean += 0.8**0.5 * self.common[seed, step] + 0.2**0.5 * self.own[row, seed, step]
        valid, test = mean + 0.3 * self.measured[row, seed, step]
        return Score(float(valid), float(test), False)


@pytest.mark.parametrize("finalists", [1, 5])
def test_a_baseline_that_wants_another_learning_rate_is_compared_at_it(finalists: int) -> None:
    wrong = 0
    for seed in range(60):
        scores: Any = OtherRates(finalists + 1, seed)
        test = PairedTest(finalists, "maximize", LOOKS)
        records, catalog = [RECORD] * (finalists + 1), [False] * (finalists + 1)
        race = Race(scores, RateGrid(1.0, 1), records, range(16), test, catalog)
        runners = race.run()
        ended = [row for row in range(1, finalists + 1) if len(runners[row].runs) >= 8]
        wrong += any(race._is_better(found) for found in race._compare(ended).values())
    assert wrong <= 6  # 5 % are 3; where contenders had a say in each other's rates it was 9
