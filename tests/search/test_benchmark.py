"""The benchmark of activations: what is shipped, what is refused, and what is read from it."""

from __future__ import annotations

import dataclasses
import itertools
import json
import logging
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from scipy import special, stats
from simulated_study import simulate

import actsearch as acs
from actsearch.activations import describe
from actsearch.benchmark import Benchmark, choose_portfolio, file, leave_out, normal_scores, write
from actsearch.records import CandidateRecord, TrialRecord, TrialState
from actsearch.strategies import Context, make_strategy


@pytest.fixture(scope="module")
def table() -> Benchmark:
    return acs.benchmark.load()


def small_table() -> Benchmark:
    """Two tasks, three functions, two rates, two seeds."""
    tasks = tuple(
        acs.benchmark.BenchmarkTask(name, "an example", "metric", direction, 10, 0.1, 5)  # type: ignore[arg-type]
        for name, direction in (("up", "maximize"), ("down", "minimize"))
    )
    functions = tuple(
        acs.benchmark.BenchmarkFunction(name, f"{name}(x)", None, {}, False)
        for name in ("relu", "tanh", "sin")
    )
    scores = np.arange(24, dtype=np.float32).reshape(2, 3, 2, 2)
    return Benchmark(
        tasks, functions, (1.0, 3.0), (0, 1), scores, np.ones((2, 3), np.float32),
        np.zeros((3, 2, 72), np.float32), np.zeros((2, 2, 3), np.float32),
    )  # fmt: skip


def changed(path: Path, **members: Any) -> Path:
    """The file with other members."""
    with np.load(path) as stored:
        content = {name: stored[name] for name in stored.files}
    np.savez(path, allow_pickle=True, **{**content, **members})
    return path


def about(path: Path) -> dict[str, Any]:
    with np.load(path) as stored:
        read: dict[str, Any] = json.loads(stored["about"].tobytes())
    return read


def test_many_activations_on_many_kinds_of_tasks_are_shipped(table: Benchmark) -> None:
    assert len(table.tasks) >= 14
    assert len(table.functions) >= 300
    assert table.scores.shape == (
        len(table.tasks),
        len(table.functions),
        len(table.rates),
        len(table.seeds),
    )
    assert {"accuracy", "mse", "r2", "loss"} == {task.metric for task in table.tasks}
    composed = [function for function in table.functions if function.name is None]
    assert len(composed) >= 100
    # most trainings come to an end
    assert np.isfinite(table.scores).mean() > 0.9


def test_what_is_shipped_is_small() -> None:
    shipped = Path(file.__file__).with_name("activations.npz")
    assert shipped.stat().st_size < 2_000_000


def test_the_curves_are_those_of_the_formulas_as_torch_computes_them(table: Benchmark) -> None:
    quantiles = special.ndtri((np.arange(24) + 0.5) / 24)
    x = torch.tensor(np.concatenate([scale * quantiles for scale in (0.5, 1.0, 2.0)]))
    for place in range(0, len(table.functions), 23):
        function = table.functions[place]
        module = acs.activation(function.formula).double()
        with torch.no_grad():
            values = module(x).numpy()
        np.testing.assert_allclose(table.curves[place, 0], values, rtol=1e-4, atol=1e-5)


@pytest.mark.slow
def test_it_is_read_without_torch() -> None:
    code = (
        "import sys, actsearch as acs; acs.benchmark.load(); "
        "raise SystemExit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_what_is_written_is_read_again(tmp_path: Path) -> None:
    written = small_table()
    write(written, tmp_path / "table.npz")
    read = acs.benchmark.load(tmp_path / "table.npz")
    for field in dataclasses.fields(Benchmark):
        own, other = getattr(read, field.name), getattr(written, field.name)
        assert np.array_equal(own, other) if isinstance(own, np.ndarray) else own == other
    assert sorted(path.name for path in tmp_path.iterdir()) == ["table.npz"]


@pytest.mark.parametrize("change", [0xFF, 0x01])
def test_a_byte_that_has_changed_anywhere_is_noticed(tmp_path: Path, change: int) -> None:
    path = tmp_path / "table.npz"
    write(small_table(), path)
    content = path.read_bytes()
    told = acs.benchmark.load(path)
    for place in range(0, len(content), 7 if change == 0xFF else 1):
        damaged = bytearray(content)
        damaged[place] ^= change
        path.write_bytes(damaged)
        try:
            read = acs.benchmark.load(path)
        except acs.BenchmarkError:
            continue
        else:  # in a field of the archive that nobody reads
            assert np.array_equal(read.scores, told.scores)


def test_what_is_no_benchmark_is_refused_in_a_sentence(tmp_path: Path) -> None:
    path = tmp_path / "table.npz"
    for content in (b"", b"{}", b"PK\x05\x06" + bytes(18)):
        path.write_bytes(content)
        with pytest.raises(acs.BenchmarkError, match="no benchmark of activations, or damaged"):
            acs.benchmark.load(path)
    with pytest.raises(acs.BenchmarkError, match="cannot be read: No such file"):
        acs.benchmark.load(tmp_path / "missing.npz")
    with pytest.raises(acs.BenchmarkError, match="cannot be written"):
        write(small_table(), tmp_path / "missing" / "table.npz")


def test_half_a_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "table.npz"
    write(small_table(), path)
    path.write_bytes(path.read_bytes()[:400])
    with pytest.raises(acs.BenchmarkError, match="damaged"):
        acs.benchmark.load(path)


def test_a_newer_format_is_refused_with_the_way_out(tmp_path: Path) -> None:
    path = tmp_path / "table.npz"
    write(small_table(), path)
    newer = json.dumps({**about(path), "version": 99}).encode()
    changed(path, about=np.frombuffer(newer, np.uint8))
    with pytest.raises(
        acs.BenchmarkError,
        match="format 99, and this actsearch reads up to 1: install a newer one",
    ):
        acs.benchmark.load(path)


def test_nothing_in_a_file_is_executed(tmp_path: Path) -> None:
    class Trap:
        def __reduce__(self) -> tuple[Any, ...]:
            return Path.touch, (tmp_path / "executed",)

    path = tmp_path / "table.npz"
    write(small_table(), path)
    changed(path, scores=np.array([Trap()], dtype=object))
    with pytest.raises(acs.BenchmarkError, match="damaged"):
        acs.benchmark.load(path)
    assert not (tmp_path / "executed").exists()


def test_lists_and_arrays_that_do_not_agree_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "table.npz"
    write(dataclasses.replace(small_table(), rates=(1.0,)), path)
    with pytest.raises(acs.BenchmarkError, match="sizes of its arrays"):
        acs.benchmark.load(path)


def test_larger_is_better_whatever_the_metric() -> None:
    table = small_table()
    assert table.values[0, :, 0].tolist() == [0.5, 4.5, 8.5]
    assert table.values[1, :, 0].tolist() == [-12.5, -16.5, -20.5]
    assert table.as_given.tolist() == table.values[:, :, 0].tolist()
    assert table.best_rate.tolist() == [[2.5, 6.5, 10.5], [-12.5, -16.5, -20.5]]
    np.testing.assert_allclose(table.correlations, [[1, -1], [-1, 1]], atol=1e-12)
    scores = table.scores.copy()
    scores[0, 2, 0, 0] = np.nan  # one seed diverged
    assert dataclasses.replace(table, scores=scores).ranks[0, 0].argmin() == 2


def test_correlations_are_spearmans(table: Benchmark) -> None:
    expected = stats.spearmanr(table.best_rate, axis=1).statistic
    np.testing.assert_allclose(table.correlations, expected, atol=1e-9)


def test_normal_scores_of_a_known_list() -> None:
    # Blom-like positions (i - 1/2) / n; ties share their mean rank
    expected = stats.norm.ppf([0.125, 0.5, 0.5, 0.875])
    np.testing.assert_allclose(normal_scores(np.array([-9.0, 0.0, 0.0, 1e9])), expected)


def test_a_portfolio_covers_tasks_as_well_as_the_best_of_all_lists() -> None:
    scores = np.random.default_rng(0).normal(size=(5, 9))
    chosen = choose_portfolio(scores, 3)
    assert len(set(chosen)) == 3
    worth = [scores[:, list(some)].max(1).mean() for some in itertools.combinations(range(9), 3)]
    least = scores.min()
    # greedy choice of a submodular function (Nemhauser et al. 1978)
    assert scores[:, chosen].max(1).mean() - least >= (1 - 1 / np.e) * (max(worth) - least)


def test_a_portfolio_of_one_is_the_best_on_average() -> None:
    scores = np.random.default_rng(1).normal(size=(6, 20))
    assert choose_portfolio(scores, 1) == [int(scores.mean(0).argmax())]


@pytest.mark.parametrize("count", [8, 16])
def test_the_portfolio_helps_on_tasks_that_were_left_out(table: Benchmark, count: int) -> None:
    """More than functions drawn at random, and more than the recommended rows in the order of the catalog."""
    ranks = table.ranks.mean(1)
    in_order = [
        place
        for name in acs.Space().activation_names
        if (place := table.position(name)) is not None
    ][:count]
    ours, others, catalog = [], [], []
    rng = np.random.default_rng(0)
    for place, task in enumerate(table.tasks):
        chosen = table.without(task.name).portfolio(count)
        assert len(set(chosen)) == count
        ours.append(ranks[place, chosen].max())
        drawn = [rng.choice(len(table.functions), count, replace=False) for _ in range(200)]
        others.append(np.mean([ranks[place, some].max() for some in drawn]))
        catalog.append(ranks[place, in_order].max())
    for rivals in (others, catalog):
        better = sum(a > b for a, b in zip(ours, rivals, strict=True))
        assert stats.binomtest(better, len(ours), alternative="greater").pvalue < 0.05


def test_a_task_that_is_left_out_is_unknown(table: Benchmark) -> None:
    name = table.tasks[0].name
    with leave_out(name):
        assert name not in {task.name for task in acs.benchmark.load().tasks}
    assert acs.benchmark.load().tasks == table.tasks
    with pytest.raises(KeyError, match="no task of the benchmark is called nonsense"):
        table.without("nonsense")


@pytest.mark.parametrize("name", ["auto", "bayesian", "genetic"])
def test_a_search_begins_with_what_the_benchmark_says(name: str, table: Benchmark) -> None:
    space = acs.Space(activations="all")
    made = make_strategy(name)
    context = Context(space, 0, "maximize")
    proposed = made.propose([], made.batch_size([], context), context)
    known = {function.formula for function in table.functions}
    assert len(proposed) == (8 if name == "auto" else 16)
    # the second half of genetic search's is drawn at random
    first = proposed[:8] if name == "genetic" else proposed
    assert all(one.activations["*"].formula in known for one in first)


def enqueued(*formulas: str) -> list[TrialRecord]:
    return [
        TrialRecord(
            number, TrialState.COMPLETE, CandidateRecord.shared(describe(formula), "user"), 0.1 * number,
            fingerprint=str(number),
        )
        for number, formula in enumerate(formulas)
    ]  # fmt: skip


@pytest.mark.parametrize("name", ["auto", "bayesian", "genetic"])
def test_it_does_so_as_well_after_what_its_user_enqueued(name: str) -> None:
    made = make_strategy(name)
    context = Context(acs.Space(), 0, "maximize")
    history = enqueued("relu", "x * sin(x)", "sin(7*x)", "tanh(x) + x")
    proposed = made.propose(history, made.batch_size(history, context), context)
    assert sum(one.operation == "benchmark" for one in proposed) >= 7


def test_without_the_prior_nothing_is_known_of_other_tasks() -> None:
    made = acs.Auto(prior=False)
    context = Context(acs.Space(), 0, "maximize")
    proposed = made.propose([], made.batch_size([], context), context)
    assert len(proposed) == 8
    assert not [one for one in proposed if one.operation == "benchmark"]


@pytest.mark.parametrize("batch", [1, 8])
def test_the_default_strategy_tries_early_what_everybody_tries(batch: int) -> None:
    def evaluate(candidates: Sequence[CandidateRecord], identities: Sequence[str]) -> list[float]:
        return [len(identity) / 100 for identity in identities]

    history = simulate(acs.Auto(batch=batch), evaluate, 0, 24)
    rows = [one.candidate.activations["*"].name for one in history[:24]]
    assert {"gelu", "silu"} <= set(rows)


def test_it_tries_of_them_what_lies_in_the_space() -> None:
    def evaluate(candidates: Sequence[CandidateRecord], identities: Sequence[str]) -> list[float]:
        return [len(identity) / 100 for identity in identities]

    space = acs.Space(activations=["relu", "tanh", "softplus", "silu"])
    history = simulate(acs.Auto(batch=4), evaluate, 0, 16, space=space)
    rows = {one.candidate.activations["*"].name for one in history}
    assert {"silu"} <= rows <= {*space.activation_names, None}


@pytest.mark.parametrize("name", ["auto", "genetic"])
def test_half_of_what_it_begins_with_are_catalog_rows(name: str) -> None:
    made = make_strategy(name)
    context = Context(acs.Space(), 0, "maximize")
    proposed = made.propose([], made.batch_size([], context), context)[:8]
    rows = [one for one in proposed if one.activations["*"].name]
    assert len(rows) >= len(proposed) // 2


@pytest.mark.parametrize("name", ["auto", "bayesian", "genetic"])
@pytest.mark.parametrize("damage", [b"nonsense", None])
def test_without_the_benchmark_a_search_goes_on_and_says_so(
    name: str,
    damage: bytes | None,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    path = tmp_path / "table.npz"
    if damage is not None:
        path.write_bytes(damage)
    monkeypatch.setattr(file, "_shipped_without", lambda tasks: acs.benchmark.load(path))
    for study_name in ("one", "another"):
        study = acs.create_study(study_name=study_name, strategy=name, direction="maximize")
        with caplog.at_level(logging.WARNING, "actsearch"):
            study.optimize(
                lambda candidate, run: float(run.number), n_trials=4, show_progress_bar=False
            )
        assert len(study.trials) >= 4
    said = [
        record.message for record in caplog.records if "without what is known" in record.message
    ]
    assert len(said) == 2
    assert said[0].startswith("study one: ")
    assert "table.npz" in said[0]


@pytest.mark.parametrize(
    ("name", "activations"),
    [
        ("auto", ["maxout"]),
        ("genetic", ["maxout"]),
        ("bayesian", ["rrelu", "softshrink", "hardshrink"]),
    ],
)
def test_a_space_that_holds_nothing_of_the_benchmark_is_searched_all_the_same(
    name: str, activations: list[str], caplog: pytest.LogCaptureFixture
) -> None:
    operators = ["i1e", "i0e"] if name != "bayesian" else None
    space = acs.Space(activations=activations, operators=operators, max_size=5)
    study = acs.create_study(study_name="odd", strategy=name, space=space, direction="minimize")
    with caplog.at_level(logging.WARNING, "actsearch"):
        study.optimize(
            lambda candidate, run: float(run.number), n_trials=3, show_progress_bar=False
        )
    assert "none of the benchmark's functions lies in the space" in caplog.text
