"""Intervals of paired differences: what they cover, over training runs and over test rows."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest
from scipy import stats

from actsearch.report import LOOKS, Measured, Paired, PairedTest, compute_verdict, list_leaving

Numbers = npt.NDArray[np.float64]

GROUPS = 20
ONE = PairedTest(1, "maximize", (10,))


def crossed(
    rng: np.random.Generator,
    seeds: int,
    rows: int,
    of_seeds: float,
    of_rows: float,
    of_both: float,
) -> Numbers:
    """Differences by seed and row with a true mean of 0; (seeds, rows)."""
    return np.array(
        of_seeds * rng.standard_normal((seeds, 1))
        + of_rows * rng.standard_normal(rows)
        + of_both * rng.standard_normal((seeds, rows))
    )


def paired(scores: Numbers) -> Paired:
    """Means over rows, and over all rows but those of a group; by numpy alone."""
    groups = np.arange(scores.shape[1]) % GROUPS
    without = [scores[:, groups != group].mean(1) for group in range(GROUPS)]
    return Paired(scores.mean(1), np.stack(without, axis=1))


def test_over_seeds_alone_it_is_the_paired_t_interval() -> None:
    values = np.random.default_rng(0).standard_normal(10) + 0.3
    low, high, p_value = ONE.interval(Paired(values))
    known = stats.ttest_1samp(values, 0.0)
    interval = known.confidence_interval(0.95)
    assert (low, high) == pytest.approx((interval.low, interval.high))
    assert p_value == pytest.approx(known.pvalue)


def test_without_noise_of_seeds_it_is_the_t_interval_over_rows() -> None:
    """Every seed gives the same differences: what is left is a mean over rows, and its textbook standard error."""
    rng = np.random.default_rng(0)
    errors, expected = [], []
    for _ in range(300):
        rows = rng.standard_normal(200)
        errors.append(paired(np.tile(rows, (10, 1))).variance)
        expected.append(rows.var(ddof=1) / 200)
    assert np.mean(errors) == pytest.approx(np.mean(expected), rel=0.05)
    assert paired(np.tile(rows, (10, 1))).freedom == GROUPS - 1


@pytest.mark.parametrize("seeds", [8, 16])
@pytest.mark.parametrize(
    ("of_seeds", "of_rows", "of_both"),
    [
        (0.005, 0.1, 0.1),
        (0.005, 0.0, 0.2),
        (0.0, 0.1, 0.2),
        (0.02, 0.05, 0.1),
        (0.005, 0.14, 0.05),
    ],
)
@pytest.mark.parametrize("rows", [60, 300])
def test_it_covers_new_training_runs_and_new_rows(
    seeds: int, rows: int, of_seeds: float, of_rows: float, of_both: float
) -> None:
    """In 500 simulated truths at least 93 %; that of seeds alone covers far less where rows differ."""
    rng = np.random.default_rng(seeds * rows)
    test = PairedTest(1, "maximize", (seeds,))
    covered = of_seeds_alone = 0
    for _ in range(500):
        own = paired(crossed(rng, seeds, rows, of_seeds, of_rows, of_both))
        low, high, _ = test.interval(own)
        covered += low <= 0 <= high
        low, high, _ = test.interval(Paired(own.values))
        of_seeds_alone += low <= 0 <= high
    assert covered >= 0.93 * 500
    assert covered >= of_seeds_alone
    if of_rows == 0.14:
        assert of_seeds_alone < 0.7 * 500


def test_more_seeds_do_not_make_rows_more() -> None:
    rng = np.random.default_rng(3)
    rows = 0.1 * rng.standard_normal(100)
    errors = [
        paired(rows + 0.05 * rng.standard_normal((seeds, 100))).variance ** 0.5
        for seeds in (4, 16, 256)
    ]
    assert errors[-1] == pytest.approx(rows.std() / 10, rel=0.35)
    assert errors[-1] > 0.5 * errors[0]


def test_a_race_ends_where_no_number_of_seeds_could_tell() -> None:
    """Differences that a few rows make: seed after seed they come out the same, and other rows would differ."""
    rng = np.random.default_rng(0)
    rows = np.zeros(300)
    rows[:4] = [1.0, 1.0, 1.0, -1.0]
    scores = rows + 0.01 * rng.standard_normal((8, 300))
    test = PairedTest(1, "maximize", LOOKS)
    assert list_leaving({1: paired(scores)}, test) == {1}
    assert list_leaving({1: Paired(paired(scores).values)}, test) == set()


def measured(label: str, scores: Numbers, **more: object) -> Measured:
    own = paired(scores)
    values = [float(value) for value in own.values]
    return Measured(label, label, values, without=own.without.tolist(), **more)  # type: ignore[arg-type]


def test_a_verdict_says_what_it_covers() -> None:
    rng = np.random.default_rng(0)
    base = 0.1 * rng.standard_normal((10, 300))
    other = base + 0.2 + 0.1 * rng.standard_normal((10, 300))
    known = {"study_name": "s", "metric": "accuracy", "direction": "maximize"}
    both = compute_verdict(measured("a", base), [measured("b", other, number=1)], **known)  # type: ignore[arg-type]
    assert (both.covers, both.rows[0].verdict) == ("seeds+rows", "better")
    assert "on new training runs and new rows like these" in both.sentence
    assert "over new training runs and new rows like these" in str(both)
    plain = [Measured(name, name, list(one.mean(1)), number=number) for name, one, number in
             (("a", base, None), ("b", other, 1))]  # fmt: skip
    seeds = compute_verdict(plain[0], plain[1:], **known)  # type: ignore[arg-type]
    assert seeds.covers == "seeds"
    assert "on new training runs and this test set" in seeds.sentence
    assert both.rows[0].high - both.rows[0].low > seeds.rows[0].high - seeds.rows[0].low
    assert type(both).from_json(both.to_json()) == both


def test_where_rows_make_the_uncertainty_more_rows_are_the_advice() -> None:
    rng = np.random.default_rng(0)
    base = 0.1 * rng.standard_normal((10, 300))
    rows = 0.3 * rng.standard_normal(300)
    known = {"study_name": "s", "metric": "accuracy", "direction": "maximize"}
    by_rows = compute_verdict(measured("a", base), [measured("b", base + rows, number=1)], **known)  # type: ignore[arg-type]
    assert by_rows.rows_share > 0.9
    assert "more rows would show smaller differences" in by_rows.sentence
    by_seeds = compute_verdict(
        measured("a", base),
        [measured("b", base + 0.3 * rng.standard_normal((10, 1)), number=1)],
        **known,  # type: ignore[arg-type]
    )
    assert by_seeds.rows_share < 0.1
    assert "more rows" not in by_seeds.sentence


def test_a_seed_that_diverged_and_a_score_without_groups() -> None:
    rng = np.random.default_rng(0)
    base, other = (measured(name, 0.1 * rng.standard_normal((9, 300))) for name in "ab")
    known = {"study_name": "s", "metric": "accuracy", "direction": "maximize"}
    broken = Measured(
        "b", "b", [None, *other.values[1:]], without=[(), *other.without[1:]], number=1
    )
    verdict = compute_verdict(base, [broken], **known)  # type: ignore[arg-type]
    assert (verdict.covers, verdict.rows[0].diverged) == ("seeds+rows", 1)
    partly = Measured("b", "b", other.values, without=[(), *other.without[1:]], number=1)
    assert compute_verdict(base, [partly], **known).covers == "seeds"  # type: ignore[arg-type]


def test_of_a_candidate_without_groups_nothing_is_said_and_others_are_covered() -> None:
    rng = np.random.default_rng(0)
    base = 0.1 * rng.standard_normal((9, 300))
    good = measured("b", base + 0.3 + 0.1 * rng.standard_normal((9, 300)), number=1)
    unknown = Measured("c", "c", good.values, without=[(), *good.without[1:]], number=2)
    known = {"study_name": "s", "metric": "accuracy", "direction": "maximize"}
    verdict = compute_verdict(measured("a", base), [good, unknown], **known)  # type: ignore[arg-type]
    assert verdict.covers == "seeds+rows"
    words = {row.number: row.verdict for row in verdict.rows}
    assert words == {1: "better", 2: "not distinguishable"}


def test_what_rows_and_seeds_have_in_common_is_not_rows() -> None:
    """Differences that are other rows under each seed: further seeds make them smaller."""
    rng = np.random.default_rng(0)
    shares = [paired(crossed(rng, 8, 100, 0.0, 0.0, 0.2)) for _ in range(100)]
    assert np.median([own.of_rows_alone / own.variance for own in shares]) < 0.2


@pytest.mark.parametrize("scale", [1e-81, 1.0, 1e78, 1e150])
def test_the_scale_of_a_metric_changes_no_word(scale: float) -> None:
    own = paired(crossed(np.random.default_rng(0), 10, 100, 0.1, 0.1, 0.1) + 0.1)
    low, high, p_value = ONE.interval(own)
    scaled = ONE.interval(Paired(own.values * scale, own.without * scale))
    assert scaled == pytest.approx((low * scale, high * scale, p_value), rel=1e-6)


def test_equal_differences_are_judged_by_the_sign_test_whatever_is_known_of_rows() -> None:
    test = PairedTest(10, "maximize", (8,))
    values = np.full(8, 0.1)
    assert test.interval(Paired(values, np.full((8, GROUPS), 0.1))) == test.interval(
        Paired(values)
    )
