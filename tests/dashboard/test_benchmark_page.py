"""The benchmark: its figures and tables on numbers worked out by hand, and its page, also where it cannot be read."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from saying import said
from streamlit.testing.v1 import AppTest

import actsearch as acs
from actsearch import benchmark
from actsearch.benchmark import Benchmark, BenchmarkFunction, BenchmarkTask
from actsearch_dashboard import benchmark_tables as tables
from actsearch_dashboard import figures, palette
from actsearch_dashboard.figures.benchmark import RankPanel, RankRow, Ranks
from actsearch_dashboard.formulas import formula_curve

Opener = Callable[..., AppTest]
NAN = math.nan
RELU, BENT, LINE = range(3)
OWN, TRIPLE = range(2)


def _small() -> Benchmark:
    """Two tasks, three activations, two learning rates, two seeds."""
    functions = (("relu", "relu(x)"), ("x * tanh(x)", "x * tanh(x)"), ("<b>line</b>", "x"))
    scores = [
        [[[0.5, 0.7], [0.9, 0.9]], [[0.8, 0.8], [NAN, 0.99]], [[0.1, 0.3], [0.2, 0.2]]],
        [[[2.0, 4.0], [1.0, 1.0]], [[1.0, 2.0], [3.0, 3.0]], [[5.0, 5.0], [NAN, NAN]]],
    ]
    return Benchmark(
        (
            BenchmarkTask("up", "what grows", "accuracy", "maximize", 100, 0.01, 50),
            BenchmarkTask("down", "what shrinks", "mse", "minimize", 2000, 0.001, 60),
        ),
        tuple(BenchmarkFunction(label, text, None, {}, False) for label, text in functions),
        (1.0, 3.0),
        (0, 1),
        np.array(scores, np.float32),
        np.full((2, 3), 0.5, np.float32),
        np.zeros((3, 2, 72), np.float32),
        np.zeros((2, 2, 3), np.float32),
    )


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> Benchmark:
    """What the page then finds."""
    table = _small()
    monkeypatch.setattr(benchmark, "load", lambda: table)
    return table


def _address(app: AppTest) -> str | None:
    found = app.query_params.get("activation")
    return found[0] if isinstance(found, list) else found


def test_cells_are_those_at_one_rate_or_at_the_best() -> None:
    own = tables.read_cells(_small(), OWN)
    assert own.shares.tolist() == [[0.5, 1, 0], [0.5, 1, 0]]
    assert own.ranks.tolist() == [[2, 1, 3], [2, 1, 3]]
    assert own.values == pytest.approx(np.array([[0.6, 0.8, 0.2], [3.0, 1.5, 5.0]]))
    assert not own.diverged.any()
    best = tables.read_cells(_small())
    assert best.shares.tolist() == [[1, 0.5, 0], [1, 0.5, 0]]
    assert best.rates.tolist() == [[TRIPLE, OWN, OWN], [TRIPLE, OWN, OWN]]
    assert best.values == pytest.approx(np.array([[0.9, 0.8, 0.2], [1.0, 1.5, 5.0]]))


def test_where_a_seed_diverged_the_others_count_in_the_mean_and_the_rank_is_the_last() -> None:
    cells = tables.read_cells(_small(), TRIPLE)
    assert cells.diverged.tolist() == [[0, 1, 0], [0, 0, 2]]
    assert cells.ranks.tolist() == [[1, 3, 2], [1, 2, 3]]
    assert cells.values[0, BENT] == pytest.approx(0.99)
    assert math.isnan(cells.values[1, LINE])


def test_equal_activations_share_their_rank() -> None:
    table = _small()
    table.scores[0, BENT, OWN] = table.scores[0, RELU, OWN]
    cells = tables.read_cells(table, OWN)
    assert cells.ranks[0].tolist() == [1, 1, 3]
    assert cells.shares[0].tolist() == [0.75, 0.75, 0]


def test_rows_are_the_best_on_average_the_ones_with_some_words_and_some_in_any_case() -> None:
    table = _small()
    order = tables.mean_order(tables.read_cells(table, OWN))
    assert order == [BENT, RELU, LINE]
    assert tables.select_places(table, order, "", None, set()) == order
    assert tables.select_places(table, order, "", 1, {LINE}) == [BENT, LINE]
    assert tables.select_places(table, order, " RELU ", 1, set()) == [RELU]
    assert tables.select_places(table, order, "no such word", 1, {LINE}) == []


def test_the_heat_map_has_means_first_crosses_and_the_numbers_at_the_pointer() -> None:
    table = _small()
    cells = tables.read_cells(table, TRIPLE)
    order = tables.mean_order(cells)
    figure = figures.rank_heat(["up", "down"], tables.rank_rows(table, cells, order, order, LINE))
    (heat,) = figure.data
    assert order == [RELU, BENT, LINE]  # of the last two, which are equal, the first in the table
    assert [list(row) for row in heat.z] == [[1, 1, 1], [0.25, 0, 0.5], [0.25, 0.5, 0]]
    assert [list(row) for row in heat.text] == [["", "", ""], ["", "×", ""], ["", "", "×"]]
    assert list(figure.layout.xaxis.ticktext) == ["<b>mean</b>", "up", "down"]
    names = list(figure.layout.yaxis.ticktext)
    assert names == ["relu  1", "x * tanh(x)  2", "<b>&lt;b&gt;line&lt;/b&gt;  3</b>"]
    assert heat.hovertext[1][0] == "x * tanh(x)<br>place 2: beats 25% on average"
    assert heat.hovertext[1][1].split("<br>") == [
        "x * tanh(x) on up",
        "beats 0%, rank 3",
        "accuracy 0.9900, mean over 1 of 2 seeds",
        "seeds that diverged: 1",
        "at 3 × learning rate",
    ]
    assert "mse" not in heat.hovertext[2][2]  # no seed came to an end
    assert (heat.zmin, heat.zmax) == (0, 1)


def test_shortened_names_that_are_equal_stay_apart() -> None:
    row = RankRow("x" * 80, 1, Ranks([0.5], [False]), [""])
    figure = figures.rank_heat(["task"], [row, row])
    assert len(figure.data[0].z) == 2
    assert len(set(figure.data[0].y)) == 2


def test_tasks_that_agree_most_come_first() -> None:
    correlations = np.array([[1.0, 0.1, 0.5], [0.1, 1.0, -0.2], [0.5, -0.2, 1.0]])
    figure = figures.task_correlations(["a", "b", "c"], correlations)
    (heat,) = figure.data
    assert list(figure.layout.yaxis.ticktext) == ["a", "c", "b"]  # sums 1.6, 1.3, 0.9
    assert [list(row) for row in heat.z] == [[1, 0.5, 0.1], [0.5, 1, -0.2], [0.1, -0.2, 1]]
    assert (heat.zmin, heat.zmax) == (-1, 1)
    assert heat.hovertext[0][1] == "a and c"


def test_an_activation_stands_beside_another_in_a_panel_a_rate() -> None:
    panels = [
        RankPanel("1 ×", Ranks([0.9, 0.1], [False, False]), Ranks([0.5, 0.5], [False, True])),
        RankPanel("3 ×", Ranks([0.2, 0.0], [False, True])),
    ]
    figure = figures.rank_panels("sin", "ReLU", ["up", "down"], panels)
    assert [title.text for title in figure.layout.annotations] == ["1 ×", "3 ×"]
    reference, own, alone = figure.data
    assert (reference.name, reference.marker.color) == ("ReLU", palette.GREY)
    assert (own.name, own.marker.color) == ("sin", palette.BLUE)
    assert list(reference.marker.symbol) == ["circle", "x"]
    assert (list(alone.x), list(alone.marker.symbol)) == ([0.2, 0.0], ["circle", "x"])
    assert alone.xaxis == "x2"


def test_the_table_of_an_activation_has_each_task_at_each_rate() -> None:
    frame = tables.activation_table(_small(), BENT, RELU)
    assert frame["task"].tolist() == ["up", "up", "down", "down"]
    assert frame["rate"].tolist() == ["1 ×", "3 ×", "1 ×", "3 ×"]
    assert frame["metric"].tolist() == ["accuracy ↑", "accuracy ↑", "mse ↓", "mse ↓"]
    assert frame["value"].tolist() == pytest.approx([0.8, 0.99, 1.5, 3])
    assert frame["ReLU"].tolist() == pytest.approx([0.6, 0.9, 3, 1])
    assert frame["rank"].tolist() == [1, 3, 1, 2]
    assert frame["rank of ReLU"].tolist() == [2, 1, 2, 1]
    assert frame["diverged"].tolist() == ["", "1 of 2 seeds", "", ""]
    assert "ReLU" not in tables.activation_table(_small(), BENT, None)


def test_the_portfolio_says_on_which_tasks_each_is_the_best_of_it() -> None:
    """Mean ranks at both rates, of three: on "up" 1.5 (2 and 1), 2 and 2.5; on "down" 1.5, 1.5 and 3."""
    frame = tables.portfolio_table(_small(), [LINE, BENT, RELU], ["", "", ""])
    assert frame["order"].tolist() == [1, 2, 3]
    assert frame["activation"].tolist() == ["<b>line</b>", "x * tanh(x)", "relu"]
    assert frame["best of the list on"].tolist() == ["", "down", "up, down"]


def test_tasks_and_rates_have_names() -> None:
    frame = tables.task_table(_small())
    assert frame["stands for"].tolist() == ["what grows", "what shrinks"]
    assert frame["learning rate"].tolist() == [0.01, 0.001]
    assert [tables.rate_name(rate) for rate in (1 / 3, 1.0, 3.0)] == ["1/3 ×", "1 ×", "3 ×"]


def test_the_curve_of_a_formula_has_its_slopes_and_starts_where_it_learns_from() -> None:
    curve = formula_curve("param(2.0) * max(x, 0)")
    assert curve is not None
    assert (curve.x[0], curve.x[-1]) == (-6, 6)
    assert curve.y == pytest.approx(2 * np.maximum(curve.x, 0))
    assert curve.dy[curve.x == 0] == pytest.approx([1.0])  # the mean of both sides
    assert curve.dy[curve.x != 0] == pytest.approx(2.0 * (curve.x[curve.x != 0] > 0))
    assert formula_curve("no formula") is None


@pytest.mark.usefixtures("small")
def test_the_page_shows_the_best_first_and_puts_it_into_the_address(opened: Opener) -> None:
    app = opened("benchmark", None)
    text = said(app)
    assert "3 activations, each trained in small networks on 2 tasks" in text
    assert "100 to 2,000 parameters" in text
    assert _address(app) == "relu"
    results, portfolio, tasks = (table.value for table in app.dataframe)
    assert results["value"].tolist() == pytest.approx([0.6, 0.9, 3, 1])
    assert len(portfolio) == 3
    assert portfolio["function"].str.startswith("data:image/svg").all()
    assert tasks["task"].tolist() == ["up", "down"]
    assert len(app.get("plotly_chart")) == 4


@pytest.mark.usefixtures("small")
def test_the_page_shows_the_activation_of_the_address_by_name_or_formula(opened: Opener) -> None:
    for asked, label in (("x * tanh(x)", "x * tanh(x)"), ("x", "<b>line</b>")):
        app = opened("benchmark", None, activation=asked)
        said(app)
        assert _address(app) == label
        assert app.selectbox(key="benchmark_box").value == _small().position(label)
    app.selectbox(key="benchmark_box").set_value(RELU).run()
    said(app)
    assert _address(app) == "relu"


@pytest.mark.usefixtures("small")
def test_an_activation_that_is_not_there_is_a_calm_message(opened: Opener, evil: str) -> None:
    app = opened("benchmark", None, activation=evil)
    assert "in the benchmark: choose one below" in said(app)
    assert "<img" not in app.warning[0].value.replace(r"\<", "")
    assert len(app.get("plotly_chart")) == 2
    app.selectbox(key="benchmark_box").set_value(BENT).run()
    assert "choose one below" not in said(app)
    assert _address(app) == "x * tanh(x)"


@pytest.mark.usefixtures("small")
def test_the_rate_the_words_and_the_number_of_rows_can_be_chosen(opened: Opener) -> None:
    app = opened("benchmark", None)
    app.selectbox(key="benchmark_rate").set_value("own").run()
    said(app)
    assert '"x * tanh(x)  1"' in app.get("plotly_chart")[0].proto.spec
    app.text_input(key="benchmark_words").set_value("TANH").run()
    assert "1 of 3 are shown." in said(app)
    app.text_input(key="benchmark_words").set_value("no such word").run()
    assert "No activation matches" in said(app)


def test_a_table_of_one_rate_and_without_relu_has_nothing_to_choose_and_to_compare(
    opened: Opener, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = _small()
    table = Benchmark(
        whole.tasks, whole.functions[1:], (1.0,), whole.seeds, whole.scores[:, 1:, :1],
        whole.seconds[:, 1:], whole.curves[1:], whole.smoothed[:, :1, 1:],
    )  # fmt: skip
    monkeypatch.setattr(benchmark, "load", lambda: table)
    app = opened("benchmark", None)
    said(app)
    assert len(app.selectbox) == 1
    assert "ReLU" not in app.dataframe[0].value


def test_a_damaged_table_is_a_calm_message(
    opened: Opener, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    path = tmp_path / "damaged.npz"
    benchmark.write(_small(), path)
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 0xFF
    path.write_bytes(content)
    with pytest.raises(acs.BenchmarkError) as caught:
        benchmark.load(path)
    read = benchmark.load
    monkeypatch.setattr(benchmark, "load", lambda: read(path))
    app = opened("benchmark", None)
    assert str(caught.value) in said(app).replace("\\", "")
    assert app.header[0].value == "Benchmark"
    assert not app.get("plotly_chart")


def test_the_table_that_is_shipped_is_shown(opened: Opener) -> None:
    table = benchmark.load()
    app = opened("benchmark", None, activation="gelu")
    text = said(app)
    assert f"{len(table.functions)} activations" in text
    assert "erf" in app.latex[0].value
    assert len(app.dataframe[0].value) == len(table.tasks) * len(table.rates)
    assert len(app.dataframe[1].value) == 8
