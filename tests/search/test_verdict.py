"""The arithmetic of verdicts, against scipy, closed forms and simulated truth."""

from __future__ import annotations

import dataclasses
import json
import math
import statistics
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from scipy import stats

import actsearch as acs
from actsearch.report import Measured, Verdict, VerdictRow, compute_verdict

Array = npt.NDArray[np.float64]


def measured(label: str, values: Sequence[float | None] | Array, **settings: Any) -> Measured:
    listed = [None if value is None else float(value) for value in values]
    return Measured(f"{label}(x)", label, listed, **settings)


def verdict(
    baseline: Sequence[float | None] | Array, *finalists: Measured, **settings: Any
) -> Verdict:
    chosen: dict[str, Any] = {
        "study_name": "digits",
        "metric": "accuracy",
        "direction": "maximize",
    }
    return compute_verdict(measured("relu", baseline), finalists, **{**chosen, **settings})


def row(found: Verdict, label: str) -> VerdictRow:
    return next(item for item in found.rows if item.label == label)


def scores(mean: float, seeds: int = 10, spread: float = 0.01, stream: int = 0) -> Array:
    """Scores whose sample mean is exactly (up to rounding) what is asked for."""
    draws = np.random.default_rng(stream).normal(size=seeds)
    result: Array = mean + spread * (draws - draws.mean())
    return result


# against scipy


@pytest.mark.parametrize("seeds", [8, 10, 30])
@pytest.mark.parametrize("gain", [-0.02, 0.0, 0.004, 0.02])
@pytest.mark.parametrize("earlier", [0, 1, 9])
def test_p_value_and_interval_are_those_of_a_paired_t_test(
    seeds: int, gain: float, earlier: int
) -> None:
    base, other = scores(0.9, seeds), scores(0.9 + gain, seeds, 0.008, stream=1)
    found = verdict(base, measured("tanh", other), earlier_comparisons=earlier).rows[0]
    test = stats.ttest_rel(other, base)
    comparisons = 1 + earlier
    interval = test.confidence_interval(1 - 0.05 / comparisons)
    assert found.difference == pytest.approx(gain, abs=1e-12)
    assert found.mean == pytest.approx(0.9 + gain)
    assert found.p_value == pytest.approx(min(1.0, test.pvalue * comparisons), rel=1e-6, abs=1e-12)
    assert (found.low, found.high) == pytest.approx((interval.low, interval.high), rel=1e-6)


def test_intervals_hold_for_all_finalists_together() -> None:
    base = scores(0.9)
    others = {f"f{index}": scores(0.9 + 0.002 * index, stream=index + 1) for index in range(5)}
    found = verdict(base, *(measured(label, values) for label, values in others.items()))
    assert found.comparisons == 5
    for label, values in others.items():
        test = stats.ttest_rel(values, base)
        half = stats.t.ppf(1 - 0.025 / 5, 9) * (values - base).std(ddof=1) / math.sqrt(10)
        centre = (values - base).mean()
        one = row(found, label)
        assert (one.low, one.high) == pytest.approx((centre - half, centre + half))
        assert one.p_value == pytest.approx(min(1.0, 5 * test.pvalue))


def test_earlier_comparisons_widen_every_interval() -> None:
    base, other = scores(0.9), measured("tanh", scores(0.92, stream=1))
    widths = []
    for earlier in (0, 1, 5, 50, 500):
        found = verdict(base, other, earlier_comparisons=earlier)
        assert found.comparisons == earlier + 1
        widths.append(found.rows[0].high - found.rows[0].low)
    assert widths == sorted(set(widths))


def test_a_gain_that_one_look_shows_is_not_shown_by_the_hundredth() -> None:
    base, other = scores(0.9), measured("tanh", scores(0.911, stream=1))
    assert verdict(base, other).rows[0].verdict == "better"
    assert verdict(base, other, earlier_comparisons=99).rows[0].verdict == "not distinguishable"


# words


@pytest.mark.parametrize(
    ("gain", "direction", "word"),
    [
        (0.05, "maximize", "better"),
        (-0.05, "maximize", "worse"),
        (0.0005, "maximize", "not distinguishable"),
        (0.0, "maximize", "not distinguishable"),
        (0.05, "minimize", "worse"),
        (-0.05, "minimize", "better"),
        (-0.0005, "minimize", "not distinguishable"),
    ],
)
def test_the_word_is_read_from_the_interval(gain: float, direction: str, word: str) -> None:
    found = verdict(
        scores(0.5), measured("tanh", scores(0.5 + gain, stream=1)), direction=direction
    )
    one = found.rows[0]
    assert one.verdict == word
    outside = one.low > 0 or one.high < 0
    assert outside == (word in ("better", "worse"))
    assert (found.winner is one) == (word == "better")
    assert found.baseline.verdict == "baseline"


@pytest.mark.parametrize("seeds", [2, 3, 7])
def test_fewer_than_eight_seeds_give_no_verdict(seeds: int) -> None:
    found = verdict(scores(0.5, seeds), measured("tanh", scores(0.9, seeds, stream=1)))
    assert found.rows[0].verdict == "too few seeds"
    assert found.winner is found.baseline
    assert found.sentence.startswith(f"Undecided: {seeds} seeds are too few")


@pytest.mark.parametrize(
    ("gain", "min_effect", "word"),
    [
        (0.0005, 0.05, "equivalent"),
        (0.0, 0.05, "equivalent"),
        (0.02, 0.05, "equivalent"),  # certainly above 0, and certainly too small to matter
        (-0.02, 0.05, "equivalent"),
        (0.048, 0.05, "better"),
        (0.06, 0.05, "better"),
        (-0.06, 0.05, "worse"),
        (0.0005, 0.001, "not distinguishable"),
    ],
)
def test_with_a_smallest_effect_small_differences_are_equivalent(
    gain: float, min_effect: float, word: str
) -> None:
    base, other = scores(0.5), measured("tanh", scores(0.5 + gain, stream=1))
    found = verdict(base, other, min_effect=min_effect)
    one = found.rows[0]
    assert one.verdict == word
    assert (max(abs(one.low), abs(one.high)) < min_effect) == (word == "equivalent")


@pytest.mark.parametrize(
    ("shift", "word", "p_value"),
    [
        (0.0, "not distinguishable", 1.0),
        (0.25, "better", 2 * 0.5**8),
        (-0.25, "worse", 2 * 0.5**8),
    ],  # exact sign test,
)
def test_differences_without_any_variance(shift: float, word: str, p_value: float) -> None:
    base = np.arange(8) / 16  # exact in binary, so that every difference is the same
    one = verdict(base, measured("tanh", base + shift)).rows[0]
    assert (one.verdict, one.p_value) == (word, p_value)
    assert (one.low, one.difference, one.high) == (shift, shift, shift)


# the winner


def test_rows_are_sorted_best_first_and_the_best_better_one_wins() -> None:
    finalists = [measured(f"f{i}", scores(0.9 + 0.03 * i, stream=i + 1)) for i in (1, -1, 3, 0, 2)]
    found = verdict(scores(0.9), *finalists)
    assert [item.label for item in found.rows] == ["f3", "f2", "f1", "f0", "f-1"]
    assert found.winner is found.rows[0]
    lower = verdict(scores(0.9), *finalists, direction="minimize")
    assert [item.label for item in lower.rows] == ["f-1", "f0", "f1", "f2", "f3"]
    assert lower.winner.label == "f-1"


def test_a_noisy_best_mean_does_not_win_over_a_sure_gain() -> None:
    noisy = measured("noisy", scores(0.95, spread=0.3, stream=1))
    sure = measured("sure", scores(0.93, spread=0.005, stream=2))
    found = verdict(scores(0.9), noisy, sure)
    assert [item.label for item in found.rows] == ["noisy", "sure"]
    assert found.rows[0].verdict == "not distinguishable"
    assert found.winner.label == "sure"


def test_the_baseline_wins_when_nothing_is_better() -> None:
    found = verdict(
        scores(0.9),
        measured("same", scores(0.9, stream=1)),
        measured("bad", scores(0.8, stream=2)),
    )
    assert found.winner is found.baseline
    assert found.versus_catalog is None
    assert found.baseline.difference == 0


def composed_and_catalog(**settings: Any) -> tuple[Verdict, Array, Array]:
    composed, catalog = scores(0.96, stream=1), scores(0.955, stream=2)
    found = verdict(
        scores(0.9),
        measured("weak", scores(0.91, stream=3), is_catalog=True, number=1),
        measured("gelu", catalog, is_catalog=True, number=2),
        measured("x*tanh(x)", composed, number=3),
        **settings,
    )
    return found, composed, catalog


def test_a_composed_winner_is_compared_with_the_best_catalog_row() -> None:
    found, composed, catalog = composed_and_catalog()
    assert found.winner.label == "x*tanh(x)"
    against = found.versus_catalog
    assert against is not None
    assert (against.label, against.number) == ("gelu", 2)
    assert found.comparisons == 4  # three with the baseline, one with the catalog
    test = stats.ttest_rel(composed, catalog)
    interval = test.confidence_interval(1 - 0.05 / 4)
    assert against.difference == pytest.approx(0.005)
    assert (against.low, against.high) == pytest.approx((interval.low, interval.high))
    assert against.p_value == pytest.approx(min(1.0, 4 * test.pvalue))
    assert against.verdict == "not distinguishable"
    assert "not distinguishable from the catalog's gelu, which is simpler" in found.sentence


@pytest.mark.parametrize("catalog_wins", [True, False])
def test_without_both_kinds_there_is_no_second_comparison(catalog_wins: bool) -> None:
    finalists = [measured("gelu", scores(0.96, stream=1), is_catalog=catalog_wins)]
    found = verdict(scores(0.9), *finalists)
    assert found.winner.label == "gelu"
    assert found.versus_catalog is None
    assert found.comparisons == 1


# diverged seeds


@pytest.mark.parametrize(("direction", "worst"), [("maximize", 0.1), ("minimize", 0.95)])
def test_a_diverged_seed_counts_as_the_worst_value_seen_and_is_shown(
    direction: str, worst: float
) -> None:
    base = [0.5, 0.6, 0.7, 0.8, 0.1, 0.5, 0.6, 0.7]
    other: list[float | None] = [0.9, None, 0.95, 0.9, None, 0.9, 0.9, 0.9]
    found = verdict(base, measured("sin", other), direction=direction)
    one = found.rows[0]
    filled = [worst if value is None else value for value in other]
    assert one.values == tuple(filled)
    assert one.diverged == 2
    assert one.mean == pytest.approx(statistics.fmean(filled))
    assert one.p_value == pytest.approx(stats.ttest_rel(filled, base).pvalue)
    assert "(2 diverged)" in str(found)


def test_the_worst_value_is_that_of_all_candidates_and_learning_rates() -> None:
    found = verdict(
        scores(0.9, 8),
        measured("sin", [None, *[0.9] * 7]),
        measured("tanh", scores(0.8, 8), as_given=[0.05, None, *[0.7] * 6]),
    )
    assert row(found, "sin").values[0] == 0.05
    assert row(found, "tanh").as_given == pytest.approx((0.05 * 2 + 0.7 * 6) / 8)


def test_a_diverging_baseline_is_counted_too() -> None:
    found = verdict([None, *[0.5] * 7], measured("tanh", [0.9] * 8))
    assert found.baseline.diverged == 1
    assert found.baseline.values == (0.5,) * 8


def test_when_everything_diverged_there_is_no_verdict() -> None:
    with pytest.raises(acs.StudyError, match="every run of the confirmation diverged"):
        verdict([None] * 8, measured("tanh", [None] * 8))


# bad input


@pytest.mark.parametrize(
    ("baseline", "finalists", "says"),
    [
        ([0.5] * 8, [], "no finalist"),
        ([0.5] * 8, [[0.5] * 7], "the same for all"),
        ([0.5], [[0.5]], "at least 2 seeds"),
    ],
)
def test_what_cannot_be_compared_is_refused(
    baseline: list[float], finalists: list[list[float]], says: str
) -> None:
    with pytest.raises(acs.StudyError, match=says):
        verdict(baseline, *(measured("tanh", values) for values in finalists))


# as given


def test_the_mean_at_the_given_learning_rate_stands_beside_the_tuned_one() -> None:
    found = verdict(
        scores(0.9),
        measured("tanh", scores(0.95), as_given=[0.7] * 10, learning_rate=0.003),
        measured("sin", scores(0.94), learning_rate=0.001),
    )
    tanh, sin = row(found, "tanh"), row(found, "sin")
    assert tanh.as_given == pytest.approx(0.7)
    assert tanh.learning_rate == 0.003
    assert sin.as_given == pytest.approx(0.94)
    assert "0.003" in str(found)


# what is said


def test_the_sentence_says_what_to_use_by_how_much_and_how_sure() -> None:
    found = verdict(scores(0.9), measured("tanh", scores(0.95, stream=1)))
    one = found.rows[0]
    assert found.sentence == (
        f"Use tanh: its accuracy is 0.0500 higher than with relu "
        f"(95 % interval {one.low:.4f} to {one.high:.4f}), on new training runs and this test set."
    )
    lower = verdict(scores(0.9), measured("tanh", scores(0.85, stream=1)), direction="minimize")
    assert "0.0500 lower than with relu" in lower.sentence


def test_the_sentence_keeps_the_baseline_and_says_what_would_have_shown() -> None:
    found = verdict(scores(0.9), measured("tanh", scores(0.9001, stream=1)))
    assert found.sentence.startswith("Keep relu: nothing beat it")
    assert f"{found.visible_difference:.4f}" in found.sentence


@pytest.mark.parametrize(
    ("labels", "says"),
    [(["tanh"], "tanh is equivalent"), (["tanh", "sin"], "tanh, sin are equivalent")],
)
def test_the_sentence_names_what_is_equivalent(labels: list[str], says: str) -> None:
    finalists = [
        measured(label, scores(0.9 - 1e-5 * index, stream=index + 1))
        for index, label in enumerate(labels)
    ]
    found = verdict(scores(0.9), *finalists, min_effect=0.1)
    assert found.sentence == f"Keep relu: {says} to within 0.1000, nothing is better."


@pytest.mark.parametrize("blind", [True, False])
def test_a_verdict_on_validation_data_says_so(blind: bool) -> None:
    found = verdict(scores(0.9), measured("tanh", scores(0.95, stream=1)), validation_only=blind)
    assert ("Validation only" in found.sentence) is blind
    assert ("on validation data" in str(found)) is blind
    assert ("on test data" in str(found)) is not blind


def test_the_table_has_a_line_for_everything_compared() -> None:
    found, *_ = composed_and_catalog(earlier_comparisons=6)
    lines = str(found).splitlines()
    assert "10 paired seeds" in lines[0]
    assert "all 10 comparisons" in lines[0]
    assert lines[1].split()[:3] == ["activation", "mean", "difference"]
    starts = [line.split()[0] for line in lines[3:8]]
    assert starts == ["relu", "x*tanh(x)", "gelu", "weak", "x*tanh(x)"]
    assert "against gelu" in lines[7]
    assert lines[-1] == found.sentence
    assert lines[-2].endswith(f"{found.visible_difference:.4f}")


# storing


@pytest.mark.parametrize("kind", ["composed", "baseline", "diverged", "few", "validation"])
def test_a_stored_verdict_reads_as_before(kind: str) -> None:
    tanh = measured("tanh", scores(0.9001, stream=1), learning_rate=0.01, as_given=[0.8] * 10)
    found = {
        "composed": composed_and_catalog()[0],
        "baseline": verdict(scores(0.9), tanh, min_effect=0.5),
        "diverged": verdict(scores(0.9), measured("sin", [None, *[0.9] * 9])),
        "few": verdict([0.1, 0.2], measured("sin", [0.3, 0.4])),
        "validation": verdict(scores(0.9), tanh, validation_only=True),
    }[kind]
    stored = json.dumps(found.to_json(), allow_nan=False)
    again = Verdict.from_json(json.loads(stored))
    assert str(again) == str(found)
    assert again == found
    assert any(again.winner is item for item in (again.baseline, *again.rows))


def test_numbers_that_json_has_not_are_kept() -> None:
    found = verdict(scores(0.9), measured("tanh", scores(0.95)))
    odd = dataclasses.replace(found, visible_difference=math.inf)
    again = Verdict.from_json(json.loads(json.dumps(odd.to_json(), allow_nan=False)))
    assert again.visible_difference == math.inf


# truth by simulation


@pytest.mark.parametrize(("seeds", "earlier"), [(10, 0), (10, 9), (8, 0), (20, 4)])
def test_the_visible_difference_is_seen_in_four_of_five_cases(seeds: int, earlier: int) -> None:
    base = scores(0.9, seeds, 0.01)
    found = verdict(
        base, measured("tanh", scores(0.9, seeds, 0.02, stream=1)), earlier_comparisons=earlier
    )
    differences = scores(0.9, seeds, 0.02, stream=1) - base
    shift = found.visible_difference / differences.std(ddof=1) * math.sqrt(seeds)
    critical = stats.t.ppf(1 - 0.025 / (1 + earlier), seeds - 1)
    power = stats.nct.sf(critical, seeds - 1, shift)
    assert 0.75 < power < 0.87


def test_simulated_candidates_of_the_visible_difference_are_found_in_four_of_five_cases() -> None:
    generator = np.random.default_rng(11)
    known = verdict(np.zeros(10), measured("tanh", scores(0.0, 10, 1.0)))
    visible = known.visible_difference / scores(0.0, 10, 1.0).std(ddof=1)
    words = []
    for _ in range(1000):
        shared = generator.normal(size=10)
        other = shared + generator.normal(visible, 1.0, size=10)
        words.append(verdict(shared, measured("tanh", other)).rows[0].verdict)
    assert 0.76 < words.count("better") / 1000 < 0.86
    assert words.count("worse") == 0


def test_true_nulls_are_called_better_or_worse_in_at_most_one_study_of_twenty() -> None:
    generator = np.random.default_rng(5)
    studies, false, beaten = 1000, 0, 0
    for _ in range(studies):
        luck = generator.normal(0.97, 0.01, size=10)  # of a seed, shared by all
        base, *others = luck + generator.normal(0, 0.004, size=(6, 10))
        found = verdict(base, *(measured(f"f{i}", other) for i, other in enumerate(others)))
        false += any(item.verdict in ("better", "worse") for item in found.rows)
        beaten += found.winner is not found.baseline
    error = 3 * math.sqrt(0.05 * 0.95 / studies)
    assert false / studies <= 0.05 + error
    assert false / studies >= 0.02  # and the intervals are no wider than they need be
    assert beaten / studies <= 0.025 + error


def test_equivalence_is_claimed_wrongly_in_at_most_one_study_of_twenty() -> None:
    """The true difference is just what matters: an interval within it is a mistake."""
    generator = np.random.default_rng(6)
    wrong = 0
    for _ in range(1000):
        base = generator.normal(size=10)
        other = base + generator.normal(1.0, 0.5, size=10)
        wrong += (
            verdict(base, measured("tanh", other), min_effect=1.0).rows[0].verdict == "equivalent"
        )
    assert wrong / 1000 <= 0.05


def test_an_equivalent_row_does_not_hide_an_undecided_one() -> None:
    rng = np.random.default_rng(5)
    noisy = 0.9 + rng.normal(0.01, 0.05, 10)
    found = verdict(
        scores(0.9),
        measured("tanh", scores(0.9, stream=1)),
        measured("sin", noisy),
        min_effect=0.02,
    )
    assert {row.label: row.verdict for row in found.rows} == {
        "tanh": "equivalent",
        "sin": "not distinguishable",
    }
    assert found.sentence == "Keep relu: tanh is equivalent to within 0.0200; undecided: sin."


def test_the_smallest_visible_difference_is_always_printed() -> None:
    found = verdict(scores(0.9), measured("tanh", scores(0.95, stream=1)))
    assert found.winner is not found.baseline
    assert f"{found.visible_difference:.4f}" in str(found)


def test_one_finalist_that_varies_widely_does_not_hide_what_shows_of_the_others() -> None:
    base = scores(0.9)
    others = [
        measured(name, scores(0.9, stream=place))
        for place, name in enumerate(("sin", "tanh", "elu"), 1)
    ]
    calm = verdict(base, *others)
    wild = verdict(base, *others[:2], measured("elu", scores(0.9, 10, 0.5, stream=3)))
    assert wild.visible_difference < 2 * calm.visible_difference


def test_identical_differences_on_few_seeds_convince_nobody_after_many_looks() -> None:
    base = np.full(8, 0.5)
    found = verdict(base, measured("tanh", base + 0.25), earlier_comparisons=9)
    assert found.rows[0].verdict == "not distinguishable"
    assert found.rows[0].p_value == pytest.approx(10 * 2 * 0.5**8)


# rates at the end of the grid


@pytest.mark.parametrize("settings", [{}, {"min_effect": 0.1}])
def test_scores_that_are_all_equal_are_no_verdict(settings: dict[str, Any]) -> None:
    same = np.full(10, 0.5)
    found = verdict(same, measured("elu", same, number=3), **settings)
    assert found.winner is found.baseline
    assert found.sentence.startswith(
        "Undecided: with relu and every candidate the accuracy is 0.5"
    )
    other = np.where(np.arange(10) == 3, 0.6, 0.5)
    found = verdict(same, measured("elu", other, number=3), **settings)
    assert "every candidate" not in found.sentence


class TestGridEnds:
    better = scores(0.95, 8, stream=1)

    def test_nothing_is_better_than_a_baseline_that_was_not_compared_at_its_best(self) -> None:
        base = measured("relu", scores(0.9, 8), learning_rate=0.27, at_grid_end=5)
        found = compute_verdict(
            base, [measured("elu", self.better, learning_rate=0.1, number=3)],
            study_name="d", metric="r2", direction="maximize",
        )  # fmt: skip
        assert found.winner is found.baseline
        assert found.sentence.startswith("Undecided: relu was not compared at its best")
        assert "relu (median 0.27) is the last one that was tried" in found.sentence
        assert "0.27 (end)" in str(found)
        assert Verdict.from_json(json.loads(json.dumps(found.to_json()))) == found

    def test_a_row_at_the_end_is_marked_and_may_win_all_the_same(self) -> None:
        ended = measured("elu", self.better, learning_rate=7.3, at_grid_end=4)
        found = verdict(scores(0.9, 8), ended)
        assert found.winner.label == "elu"
        assert found.sentence.startswith("Use elu")
        assert "elu (median 7.3) is the last one" in found.sentence

    def test_a_few_seeds_at_the_end_are_luck(self) -> None:
        found = verdict(
            scores(0.9, 8), measured("elu", self.better, learning_rate=7.3, at_grid_end=3)
        )
        assert "last one" not in found.sentence
        assert "(end)" not in str(found)
