"""Verdicts over splits of the test rows, and one data set divided for an answer."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
from sklearn.model_selection import (
    GroupKFold,
    KFold,
    LeaveOneGroupOut,
    RepeatedKFold,
    ShuffleSplit,
    StratifiedKFold,
    TimeSeriesSplit,
)
from torch import Tensor, nn
from torch.nn import functional as F
from torch.optim.lr_scheduler import LRScheduler, OneCycleLR
from torch.utils.data import DataLoader, Dataset, Subset, TensorDataset

import actsearch as acs
from actsearch.report.verdict.paired import Paired, PairedTest
from actsearch.study.answer.parts import make_parts
from actsearch.study.splits import divide

ROWS = 100


def data(rows: int = 200) -> tuple[Tensor, Tensor]:
    x = torch.randn(rows, 4, generator=torch.Generator().manual_seed(0))
    return x, torch.sin(2 * x[:, :1]) + x[:, 1:2]


def make_task(**changes: Any) -> acs.Task:
    x, y = data()

    def model() -> nn.Module:
        return nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 1))

    settings: dict[str, Any] = {
        "model": model, "train": (x[:60], y[:60]), "valid": (x[60:100], y[60:100]), "test": (x[100:], y[100:]),
        "loss": F.mse_loss, "metric": "mse", "epochs": 2, "batch_size": 20, "lr": 1e-2, "tune_lr": False,
        "device": "cpu",
    }  # fmt: skip
    return acs.Task(**(settings | changes))


def searched(task: acs.Task, storage: str | None = None) -> acs.Study:
    study = acs.create_study(study_name="s", storage=storage, strategy="random", seed=0)
    study.optimize(task, n_trials=3, show_progress_bar=False)
    return study


def confirm(study: acs.Study, task: acs.Task, **settings: Any) -> acs.Verdict:
    given = {"top_k": 1, "seeds": 8, "lrs": [], "show_progress_bar": False, **settings}
    return study.confirm(task, **given)


class TestWhatIsTrainedOn:
    """By the rows themselves."""

    @pytest.mark.parametrize(
        "splits",
        [
            KFold(4, shuffle=True, random_state=0),
            TimeSeriesSplit(4),
            [(range(50, 100), range(50)), (range(50), range(50, 100))],
        ],
    )
    def test_each_seed_trains_on_train_and_its_split_and_tests_the_rest_of_it(
        self, splits: Any
    ) -> None:
        """The rows that losses and evaluations see are those of the splitter, which is asked here as well."""
        seen: list[tuple[bool, set[float]]] = []

        class Noted(nn.Module):
            def __init__(self) -> None:
                super().__init__()
                self.layers = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 1))

            def forward(self, x: Tensor) -> Tensor:
                rows = set(x[:, 0].tolist()) if x.shape[0] > 1 else set()
                seen.append((self.training, rows))
                out: Tensor = self.layers(x)
                return out

        task = make_task(model=Noted)
        study = searched(task)
        x, _ = data()
        pairs = list(splits.split(np.zeros((ROWS, 1)))) if hasattr(splits, "split") else splits
        seen.clear()
        # one at a time, so that each training's passes follow one another
        confirm(study, task, splits=splits, seeds=4, executor=acs.Local(1))
        own, test = set(x[:60, 0].tolist()), set(x[100:, 0].tolist())
        tested = [rows for training, rows in seen if not training and rows and rows <= test]
        wanted = [{float(x[100 + row, 0]) for row in pair[1]} for pair in pairs]
        assert {frozenset(rows) for rows in tested} == {frozenset(rows) for rows in wanted}
        # an epoch's rows, up to the evaluation that follows: train, and the split's share of test
        epochs, current = [], set()
        for training, rows in seen:
            if training:
                current |= rows
            elif current:
                epochs.append(frozenset(current))
                current = set()
        further = {frozenset(rows & test) for rows in epochs if rows >= own}
        expected = {frozenset(float(x[100 + row, 0]) for row in pair[0]) for pair in pairs}
        assert expected <= further <= expected | {frozenset()}

    def test_validation_data_are_those_of_the_search(self) -> None:
        task = make_task()
        splits = divide(task, KFold(4), None)
        for trained, tested in splits.parts:
            assert len(trained) + len(tested) == ROWS
        assert splits.groups is None


@pytest.mark.parametrize(
    "wrap",
    [
        lambda x, y: (x, y),
        lambda x, y: ((x[:, :2], x[:, 2:]), y),
        lambda x, y: TensorDataset(x, y),
        lambda x, y: list(zip(x, y, strict=True)),
    ],
    ids=["tensors", "two inputs", "dataset", "list"],
)
def test_the_kind_of_data_does_not_matter(wrap: Any) -> None:
    class Either(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layers = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 1))

        def forward(self, x: Tensor, other: Tensor | None = None) -> Tensor:
            out: Tensor = self.layers(x if other is None else torch.cat([x, other], 1))
            return out

    x, y = data()
    task = make_task(
        model=Either, train=wrap(x[:60], y[:60]), valid=wrap(x[60:100], y[60:100]), test=wrap(x[100:], y[100:])
    )  # fmt: skip
    verdict = confirm(searched(task), task, splits=KFold(4))
    assert (verdict.splits, verdict.seeds) == (4, 8)
    assert verdict.covers == "seeds+rows"


def test_a_verdict_over_splits_says_so_and_is_read_again(tmp_path: Path) -> None:
    task = make_task(patience=2, schedule="cosine")
    study = searched(task, f"sqlite:///{tmp_path / 's.db'}")
    verdict = confirm(study, task, splits=KFold(5, shuffle=True, random_state=0))
    assert "on test data in 5 splits, 8 paired seeds" in str(verdict)
    assert "over new training runs and new rows like these" in str(verdict)
    assert acs.Verdict.from_json(verdict.to_json()) == verdict
    again = confirm(
        study, task, splits=list(KFold(5, shuffle=True, random_state=0).split(range(ROWS)))
    )
    assert again == verdict  # the same rows, however they are named
    assert len(study.verdicts) == 1
    other = confirm(study, task, splits=KFold(5, shuffle=True, random_state=1))
    assert other.baseline.values != verdict.baseline.values
    assert len(study.verdicts) == 2


@pytest.mark.slow
def test_two_processes_come_to_the_same_verdict() -> None:
    task = make_task()
    alone = confirm(searched(task), task, splits=KFold(3), seeds=4)
    executor = acs.Processes(2)
    together = confirm(searched(task), task, splits=KFold(3), seeds=4, executor=executor)
    assert [row.values for row in together.rows] == [row.values for row in alone.rows]
    assert [(row.low, row.high) for row in together.rows] == [
        (row.low, row.high) for row in alone.rows
    ]


def test_it_goes_on_where_it_was_cut() -> None:
    task = make_task()
    study = searched(task)
    cut = confirm(study, task, splits=KFold(3), budget=13)
    assert (cut.cut, cut.seeds) == ("the budget of 13 trainings", 4)
    whole = confirm(study, task, splits=KFold(3))
    assert whole.rows == confirm(searched(task), task, splits=KFold(3)).rows


def test_rows_of_a_group_are_left_out_together() -> None:
    """Copies of one row under 20 labels: groups of rows say as much as 20 rows, single ones claim to say more."""
    x, y = data()
    generator = torch.Generator().manual_seed(3)
    few, noise = x[:20].repeat_interleave(10, 0), 1e-3 * torch.randn(200, 4, generator=generator)
    labels = np.arange(200) // 10
    task = make_task(test=(few + noise, y[:20].repeat_interleave(10, 0)))
    study = searched(task)
    singly, grouped = (confirm(study, task, groups=groups) for groups in (None, labels))
    assert grouped.rows_share > singly.rows_share
    assert (singly.groups, grouped.groups) == (0, 20)
    assert "over new training runs and new rows like these" in str(singly)
    assert "over new training runs and new groups of rows like these" in str(grouped)
    assert acs.Verdict.from_json(grouped.to_json()) == grouped
    width = [row.high - row.low for verdict in (singly, grouped) for row in verdict.rows]
    assert width[1] > 1.5 * width[0]


Rows = npt.NDArray[np.float64]


def draw(
    rng: np.random.Generator, rows: int, folds: int, seeds: int, parts: tuple[float, float, float], *, again: bool
) -> Paired:  # fmt: skip
    """Differences whose true mean is 0: of seeds, of rows, and of both, each tested in one of the folds."""
    of_seeds, of_rows, of_both = parts
    by_row = of_rows * rng.standard_normal(rows)
    groups = rng.permutation(rows) % 20
    place = rng.permutation(rows) % folds
    values, without = [], []
    for seed in range(seeds):
        if again and seed % folds == 0:
            place = rng.permutation(rows) % folds
        own = np.flatnonzero(place == seed % folds)
        scores = (
            of_seeds * rng.standard_normal()
            + by_row[own]
            + of_both * rng.standard_normal(len(own))
        )
        values.append(scores.mean())
        without.append([scores[groups[own] != group].mean() for group in range(20)])
    return Paired(np.array(values), np.array(without))


PARTS = [(0.005, 0.1, 0.1), (0.02, 0.05, 0.1), (0.005, 0.14, 0.05)]
CASES = list(itertools.product(PARTS, [3, 5, 10], [8, 16], [False, True]))


@pytest.mark.measured
@pytest.mark.parametrize(
    ("parts", "folds", "seeds", "again"),
    CASES[:1] + [pytest.param(*case, marks=pytest.mark.slow) for case in CASES[1:]],
)
def test_intervals_over_splits_cover_new_rows(
    folds: int, seeds: int, parts: tuple[float, float, float], again: bool
) -> None:
    """In 500 simulated truths at least 93 %, with one division and with one drawn anew in each repetition."""
    rng = np.random.default_rng(folds * seeds)
    test = PairedTest(1, "maximize", (seeds,))
    for rows in (60, 220):
        found = (
            test.interval(draw(rng, rows, folds, seeds, parts, again=again)) for _ in range(500)
        )
        assert sum(low <= 0 <= high for low, high, _ in found) >= 0.93 * 500


GROUPS = np.arange(ROWS) // 5


class Unseeded:
    def split(self, x: Any, y: Any = None, groups: Any = None) -> Any:
        return ShuffleSplit(3).split(x)


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"splits": 5.5}, "splits must be a splitter"),
        ({"splits": "5"}, "splits must be a splitter"),
        ({"splits": 1}, "from 2 to the number of test rows, 100"),
        ({"splits": []}, "splits= is empty"),
        ({"splits": [range(5)]}, "split 1 must be"),
        ({"splits": [(range(60), range(40, 100))]}, "split 1 trains and tests on the same rows: 20 of them, as row 40"),
        ({"splits": [(range(60), range(60, 101))]}, "row 100 is not among them"),
        ({"splits": [(range(60), [-1, 70])]}, "row -1 is not among them"),
        ({"splits": [(range(60), [61.5])]}, "are no positions"),
        ({"splits": [(range(60), [61, 61])]}, "more than once"),
        ({"splits": [([True] * 5, range(60, 100))]}, "a mask of 5 for 100 rows"),
        ({"splits": [(range(100), [])]}, "split 1 tests no row"),
        ({"splits": [(range(20, 100), range(20))]}, "the splits test 20 rows: a verdict on fewer than 30"),
        ({"splits": KFold(101)}, "cannot divide 100 rows: ValueError"),
        ({"splits": GroupKFold(5)}, "cannot divide 100 rows: ValueError: The 'groups' parameter"),
        ({"splits": Unseeded()}, "gives other splits each time it is asked.*random_state"),
        ({"splits": RepeatedKFold(n_splits=5, n_repeats=2, random_state=0)}, "are 10, and .* at most 8.*seeds=10"),
        ({"splits": KFold(5, shuffle=True, random_state=0), "groups": GROUPS}, "split 1 divides .* GroupKFold"),
        ({"splits": LeaveOneGroupOut(), "groups": GROUPS, "seeds": 20}, "split 1 tests rows of one group alone"),
        ({"groups": GROUPS[:7]}, "groups has 7 labels: give one for each of the 100 test rows, or for all 200"),
        ({"groups": np.arange(200) // 50}, "the test rows are of 2 groups: fewer than 5"),
        ({"groups": np.arange(200) % 50}, "50 groups have rows in test and in the data of the search, as 0"),
        ({"groups": np.zeros((100, 2))}, "groups must be a list of labels"),
        ({"groups": [None, *range(99)]}, "groups has no label for 1 rows, as row 0"),
        ({"groups": np.array([*range(98), np.nan, np.nan])}, "groups has no label for 2 rows, as row 98"),
        ({"groups": [0] * 80 + [1 + row // 5 for row in range(20)]}, "5 groups, of sizes that say as much as 1.5"),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_refused(settings: dict[str, Any], said: str) -> None:
    task = make_task()
    study = searched(task)
    with pytest.raises(acs.StudyError, match=said):
        confirm(study, task, **settings)
    assert study.verdicts == []


def test_no_word_comes_before_every_split_was_tested() -> None:
    task = make_task()
    splits = KFold(10, shuffle=True, random_state=0)
    verdict = searched(task).confirm(task, top_k=1, splits=splits, lrs=[], show_progress_bar=False)
    assert verdict.splits == 10
    assert verdict.seeds >= 10
    cut = searched(task).confirm(
        task, top_k=1, splits=splits, lrs=[], budget=18, show_progress_bar=False
    )
    assert cut.cut
    assert cut.splits == cut.seeds < 10  # as many as were tested


@pytest.mark.slow
def test_means_of_lines_are_of_the_same_rows() -> None:
    """Who left early has tested other rows than the baseline: beside it, it is shown by what the two differ."""
    task = make_task()
    study = searched(task)
    verdict = study.confirm(
        task, top_k=3, splits=KFold(8, shuffle=True, random_state=0), show_progress_bar=False
    )
    for row in verdict.rows:
        assert row.mean - verdict.baseline.mean == pytest.approx(row.difference, abs=1e-9)


@pytest.mark.slow
def test_copies_are_left_out_together_in_whatever_they_are() -> None:
    x, y = data()
    rows = [row for row in range(100, 160) for _ in range(10)]
    widths = []
    for wrap in (
        lambda x, y: (x, y), TensorDataset, lambda x, y: list(zip(x, y, strict=True)),
        lambda x, y: Subset(TensorDataset(x, y), range(len(x))),
    ):  # fmt: skip
        task = make_task(
            train=wrap(x[:60], y[:60]),
            valid=wrap(x[60:100], y[60:100]),
            test=wrap(x[rows], y[rows]),
        )
        verdict = confirm(searched(task), task)
        assert verdict.covers == "seeds+rows"
        widths += [verdict.rows[0].high - verdict.rows[0].low]
    assert widths == pytest.approx([widths[0]] * 4, rel=0.02)


@pytest.mark.slow
def test_a_metric_that_is_not_defined_on_a_split_is_no_divergence() -> None:
    """Of few positives some fold has none, and no ranking of it has an area under its curve."""
    x, _ = data()
    rare = (x[:, 0] > 1.2).float()
    task = make_task(
        model=lambda: nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 1), nn.Flatten(0)),
        train=(x[:60], rare[:60]), valid=(x[60:100], rare[60:100]), test=(x[100:], rare[100:]),
        loss=F.binary_cross_entropy_with_logits, metric="auc",
    )  # fmt: skip
    study = searched(task)
    folds = KFold(16)
    assert min(rare[100:][test].sum() for _, test in folds.split(range(ROWS))) == 0
    with pytest.raises(acs.StudyError, match=r"auc cannot be had of the test rows of split \d+"):
        confirm(study, task, splits=folds, seeds=16)
    assert study.verdicts == []
    verdict = confirm(study, task, splits=StratifiedKFold(5))
    assert all(row.diverged == 0 for row in (verdict.baseline, *verdict.rows))


def test_a_schedule_that_must_have_steps_is_not_asked_for_none() -> None:
    asked: list[int] = []

    def schedule(optimizer: torch.optim.Optimizer, total_steps: int) -> LRScheduler:
        asked.append(total_steps)
        return OneCycleLR(optimizer, optimizer.defaults["lr"], total_steps)

    task = make_task(schedule=schedule, schedule_every="step")
    verdict = confirm(searched(task), task, splits=2)
    assert verdict.rows
    assert min(asked) > 0


def test_rows_of_a_loader_cannot_be_divided() -> None:
    x, y = data()
    task = make_task(test=DataLoader(TensorDataset(x[100:], y[100:]), batch_size=50))
    with pytest.raises(acs.TaskError, match="test is a DataLoader"):
        confirm(searched(task), task, splits=KFold(4))


def test_rows_of_a_function_are_not_known() -> None:
    study = acs.create_study(study_name="f", direction="maximize")
    study.optimize(lambda candidate, run: run.seed % 7, n_trials=2, show_progress_bar=False)
    with pytest.raises(acs.TaskError, match="your function keeps its data to itself"):
        study.confirm(lambda candidate, run: run.seed % 7, splits=5)


def test_copies_of_a_row_that_are_trained_on_where_they_are_tested_are_said() -> None:
    x, y = data()
    rows = [*range(100, 200), *range(100, 105)]
    task = make_task(test=(x[rows], y[rows]))
    verdict = confirm(searched(task), task, splits=KFold(3))
    assert "10 of 105 test rows also stand in train" in verdict.sentence
    whole = make_task(test=(x[100:150].repeat(2, 1), y[100:150].repeat(2, 1)))
    with pytest.raises(acs.StudyError, match="every test row has a copy among those"):
        confirm(searched(whole), whole, splits=KFold(2))


class TestOneDataSet:
    def test_half_of_it_is_kept_from_the_search_in_the_same_way_each_time(self) -> None:
        x, y = data()
        parts = make_parts((x, y), 5, None)
        again = make_parts((x, y), KFold(3), None)
        sizes = [len(part[0]) for part in (parts.train, parts.valid, parts.test)]
        assert sizes == [75, 25, 100]
        rows = torch.cat([part[0] for part in (parts.train, parts.valid, parts.test)])
        assert len({tuple(row) for row in rows.tolist()}) == 200
        assert torch.equal(parts.test[0], again.test[0])
        assert not torch.equal(parts.test[0], x[100:])

    def test_splits_by_time_keep_the_latest_rows(self) -> None:
        x, y = data()
        parts = make_parts((x, y), TimeSeriesSplit(4), None)
        assert torch.equal(parts.train[0], x[:75])
        assert torch.equal(parts.valid[0], x[75:100])
        assert torch.equal(parts.test[0], x[100:])

    def test_groups_stay_together(self) -> None:
        x, y = data()
        labels = np.array([f"p{row // 7}" for row in range(200)])
        parts = make_parts((x, y), GroupKFold(5), labels)
        where = {tuple(row.tolist()): label for row, label in zip(x, labels, strict=True)}
        found = [
            {where[tuple(row.tolist())] for row in part[0]}
            for part in (parts.train, parts.valid, parts.test)
        ]
        assert not found[0] & found[1] | found[0] & found[2] | found[1] & found[2]
        assert [where[tuple(row.tolist())] for row in parts.test[0]] == list(parts.groups)

    @pytest.mark.parametrize(
        ("splits", "groups", "said"),
        [
            ([(range(5), range(5, 40))], None, "a list of splits names rows of the test data"),
            (5, np.arange(7), "groups must be 200 labels"),
            (TimeSeriesSplit(3), np.arange(200) // 5, "leave groups out of account"),
            (
                GroupKFold(2),
                np.arange(200) // 100,
                "2 groups, the largest with 100 of 200 rows",
            ),
        ],
    )
    def test_what_cannot_be_divided_is_refused(self, splits: Any, groups: Any, said: str) -> None:
        with pytest.raises(acs.StudyError, match=said):
            make_parts(data(), splits, groups)

    @pytest.mark.parametrize("kind", ["labels", "one hot"])
    def test_rows_of_a_data_set_are_stratified_by_their_classes(self, kind: str) -> None:
        x, _ = data()
        classes = (x[:, 0] > 0.5).long()
        items = [
            (row, int(label) if kind == "labels" else F.one_hot(label, 2).float())
            for row, label in zip(x, classes, strict=True)
        ]
        parts = make_parts(items, StratifiedKFold(4), None)
        assert len(parts.test) == 100
        with pytest.raises(acs.StudyError, match="the targets of the rows are no single numbers"):
            make_parts((x, x), StratifiedKFold(4), None)

    def test_copies_stay_together(self) -> None:
        x, y = data(100)
        parts = make_parts((x.repeat(2, 1), y.repeat(2, 1)), 5, None)
        found = [{tuple(row) for row in part[0].tolist()} for part in (parts.train, parts.test)]
        assert not found[0] & found[1]

    @pytest.mark.parametrize(
        ("splits", "said"),
        [
            (
                RepeatedKFold(n_splits=5, n_repeats=4, random_state=0),
                "are 20, and .* give fewer splits",
            ),
            (zip([range(50)], [range(40, 100)], strict=True), "trains and tests on the same rows"),
        ],
    )
    def test_what_no_verdict_can_come_of_is_refused_before_the_search(
        self, splits: Any, said: str, tmp_path: Path
    ) -> None:
        url = f"sqlite:///{tmp_path / 'f.db'}"
        with pytest.raises(acs.StudyError, match=said):
            acs.find(make_task(), splits=splits, budget=60, storage=url, show_progress_bar=False)
        assert not (tmp_path / "f.db").exists()

    def test_an_iterator_of_splits_is_read_once(self) -> None:
        found = acs.find(
            make_task(),
            splits=KFold(4).split(range(ROWS)),
            budget=45,
            storage=None,
            show_progress_bar=False,
        )
        assert found.verdict is not None
        assert found.verdict.splits == 4

    def test_find_without_test_data_asks_for_them_or_for_splits(self) -> None:
        x, y = data()
        with pytest.raises(acs.TaskError, match=r"needs valid, test.*or give train= and splits=5"):
            acs.find(make_task().model, train=(x, y), loss=F.mse_loss, budget=60)

    def test_find_goes_on_with_the_same_parts(self, tmp_path: Path) -> None:
        classes = (data()[0][:, 0] > 0).long()

        def model() -> nn.Module:
            return nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 2))

        def find(**more: Any) -> acs.FindResult:
            return acs.find(
                model, train=(data()[0], classes), splits=StratifiedKFold(4), loss=F.cross_entropy,
                metric="accuracy", epochs=2, lr=1e-2, tune_lr=False, device="cpu", budget=60,
                storage=f"sqlite:///{tmp_path / 'f.db'}", show_progress_bar=False, **more,
            )  # fmt: skip

        result = find()
        assert result.verdict is not None
        assert result.verdict.splits == 4
        assert result.spent.trainings <= 60
        again = find()
        assert again.verdict == result.verdict
        assert again.spent.trainings == result.spent.trainings
        with pytest.raises(acs.StudyError, match="is about another task"):
            find(batch_size=10)


class Rows3(Dataset[Any]):
    """A data set of three parts in each row."""

    def __len__(self) -> int:
        return 60

    def __getitem__(self, index: int) -> Any:
        x, y = data()
        return x[index, :2], x[index, 2:], y[index]


def test_a_data_set_is_joined_with_tensors_of_the_same_rows() -> None:
    x, y = data()

    class Two(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layers = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 1))

        def forward(self, a: Tensor, b: Tensor) -> Tensor:
            out: Tensor = self.layers(torch.cat([a, b], 1))
            return out

    pair = ((x[100:, :2], x[100:, 2:]), y[100:])
    task = make_task(
        model=Two, train=Rows3(), valid=((x[60:100, :2], x[60:100, 2:]), y[60:100]), test=pair
    )
    verdict = confirm(searched(task), task, splits=KFold(4))
    assert verdict.splits == 4
