"""A learned shape and its names on the page of a candidate."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from saying import said
from streamlit.testing.v1 import AppTest
from torch import nn
from torch.nn import functional as F

import actsearch as acs
from actsearch.records import CURVE_POINTS, Curve
from actsearch.report import LearnedCurve
from actsearch_dashboard import figures
from actsearch_dashboard.figures.shape import fit_to

Opener = Callable[..., AppTest]
NAMES = ["number", "unexplained", "value", "label", "state"]


@pytest.fixture(scope="module")
def shapes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A study that learned a shape and tried names for it: passes 1 and 2, the curve 3, names from 4 on."""
    path = tmp_path_factory.mktemp("shapes") / "shapes.db"
    x = torch.randn(96, 3, generator=torch.Generator().manual_seed(1))
    y = torch.sin(2 * x[:, :1])
    task = acs.Task(
        model=lambda: nn.Sequential(nn.Linear(3, 6), nn.ReLU(), nn.Linear(6, 1)),
        train=(x[:64], y[:64]), valid=(x[64:], y[64:]), loss=F.mse_loss, metric="mse",
        epochs=2, batch_size=32, lr=1e-2, tune_lr=False,
    )  # fmt: skip
    space = acs.Space(["relu", "tanh"], ["add", "mul"], max_size=5)
    study = acs.create_study(
        study_name="shapes", storage=f"sqlite:///{path}", strategy="gradient", space=space
    )
    study.optimize(task, n_trials=6, show_progress_bar=False)
    return path


@pytest.mark.slow
@pytest.mark.parametrize("trial", ["2", "3", "4"])
def test_the_curve_and_its_names_are_shown(opened: Opener, shapes: Path, trial: str) -> None:
    app = opened("activation", shapes, study="shapes", trial=trial)
    text = said(app)
    assert "Learned shape" in text
    assert f"shape {trial} *" in {str(chart.key) for chart in app.get("plotly_chart")}
    tables = [table.value for table in app.dataframe if list(table.value.columns) == NAMES]
    # of two passes, one became the curve that was named
    assert len(tables) == 1 or trial == "2"
    # a pass has no activation to be pasted
    assert ("No Python for it" in text) is (trial == "2")
    assert any("import torch" in code.value for code in app.code) is (trial != "2")


@pytest.mark.slow
def test_a_trial_before_any_pass_has_no_shape(opened: Opener, shapes: Path) -> None:
    assert "Learned shape" not in said(opened("activation", shapes, study="shapes", trial="0"))


@pytest.mark.slow
@pytest.mark.parametrize(
    "written", [None, [], "text", {"*": {"x": [1, 2], "y": ["<b>", 1], "density": [1, 1]}}]
)
def test_what_another_program_wrote_in_its_place_is_not_drawn(
    opened: Opener, shapes: Path, tmp_path: Path, written: Any
) -> None:
    path = tmp_path / "other.db"
    path.write_bytes(shapes.read_bytes())
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute(
            "UPDATE trials SET user_attrs = ? WHERE number IN (1, 2)",
            (json.dumps({"curves": written}),),
        )
    assert "Learned shape" not in said(opened("activation", path, study="shapes", trial="2"))


def learned() -> LearnedCurve:
    x = np.linspace(-3, 3, 41)
    density = np.exp(-x * x / 2)
    return LearnedCurve(tuple(x), tuple(np.tanh(x)), tuple(density / density.sum()))


def test_a_name_is_drawn_with_the_factor_and_offset_that_come_nearest() -> None:
    points = np.array(CURVE_POINTS)
    image = Curve(points, 5 - 3 * np.tanh(points), np.zeros_like(points))
    np.testing.assert_allclose(fit_to(learned(), image), np.tanh(learned().x), atol=5e-3)
    figure = figures.learned_shape(learned(), image)
    assert [trace.name for trace in figure.data] == ["inputs", "learned", "name"]
    assert [trace.name for trace in figures.learned_shape(learned()).data] == ["inputs", "learned"]


def test_a_name_that_is_not_known_where_the_curve_is_draws_nothing() -> None:
    far = Curve(np.array([50.0, 51.0]), np.array([0.0, 1.0]), np.zeros(2))
    assert np.isnan(fit_to(learned(), far)).all()
