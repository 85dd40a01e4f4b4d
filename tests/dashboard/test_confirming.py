"""A verdict that is being made: how far it is, what is left of it, and what is said where it stopped."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from saying import said
from streamlit.testing.v1 import AppTest

import actsearch as acs
from actsearch.records import RunGoal
from actsearch.storage import StoredTraining
from actsearch_dashboard.confirming import measure_confirmation

Opener = Callable[..., AppTest]

NOW = datetime(2026, 1, 1, 12, tzinfo=UTC)
PATIENCE = 60.0  # seconds

CONFIRM = """
import sys, time
import actsearch as acs

def objective(candidate, run):
    time.sleep(float(sys.argv[2]) * (run.phase == "confirm"))
    return len(candidate.formula) + run.seed % 1009 / 13

study = acs.create_study(
    study_name="s", storage=sys.argv[1], strategy="random", direction="maximize", load_if_exists=True
)
study.optimize(objective, total_trials=6, show_progress_bar=False)
study.confirm(objective, top_k=2, seeds=6, baseline="relu", show_progress_bar=False)
"""


def _stored(
    minutes: list[float], label: str = "gelu", phase: str = "confirm"
) -> list[StoredTraining]:
    return [
        StoredTraining(NOW - timedelta(hours=1) + timedelta(minutes=minute), phase, label, seed)
        for seed, minute in enumerate(minutes)
    ]


def test_how_far_a_verdict_is() -> None:
    since = NOW - timedelta(hours=1)
    goal = RunGoal("confirm", 20, None, since)
    state = measure_confirmation([*_stored([2, 4, 6, 8]), *_stored([10], "relu")], goal, NOW)
    assert (state.done, state.planned) == (5, 20)
    assert state.left == pytest.approx(15 * 2 * 60)
    assert state.seeds == {"gelu": 4, "relu": 1}
    assert state.is_silent  # nothing for 50 minutes, and a training took two
    assert not measure_confirmation(_stored([40, 55]), goal, NOW).is_silent
    assert not measure_confirmation(_stored([30]), goal, NOW).is_silent  # half an hour each


def test_an_interrupted_call_counts_but_not_for_the_rate() -> None:
    goal = RunGoal("confirm", 20, None, NOW - timedelta(minutes=10))
    before = _stored([-6000, -5999, -5998])
    state = measure_confirmation([*before, *_stored([55, 60], "relu")], goal, NOW)
    assert state.done == 5
    assert state.left == pytest.approx(15 * 5 * 60)
    begun = measure_confirmation(before, goal, NOW)
    assert begun.left is None
    limited = RunGoal("confirm", 20, NOW + timedelta(seconds=30), goal.since)
    assert measure_confirmation(before, limited, NOW).left == pytest.approx(30)


def test_trainings_of_an_earlier_version_are_counted() -> None:
    state = measure_confirmation([StoredTraining()] * 3, RunGoal("confirm"), NOW)
    assert (state.done, state.planned, state.left, state.seeds) == (3, None, None, {})


@pytest.mark.slow
def test_a_verdict_of_another_process_is_followed_to_its_end(
    opened: Opener, tmp_path: Path
) -> None:
    path = tmp_path / "s.db"
    words = [sys.executable, "-c", CONFIRM, f"sqlite:///{path}"]

    def wait_for(text: str) -> AppTest:
        until = time.monotonic() + PATIENCE
        while True:
            app = opened("study", path, study="s")
            if text in said(app):
                return app
            assert time.monotonic() < until
            time.sleep(0.3)

    acs.create_study(
        study_name="s", storage=f"sqlite:///{path}", strategy="random", direction="maximize"
    )
    child = subprocess.Popen([*words, "0.7"])
    try:
        app = wait_for("Seeds so far: ")
        (bar,) = app.get("progress")
        assert "trainings done · about" in bar.proto.text
        assert "of about" in bar.proto.text
        assert "relu 1" in said(app) or "relu 2" in said(app)
    finally:
        child.kill()
        child.wait()
    text = said(wait_for("A confirmation stopped"))
    assert "it goes on where it stopped" in text
    subprocess.run([*words, "0"], check=True, timeout=PATIENCE)
    text = said(opened("study", path, study="s"))
    assert "A confirmation stopped" not in text
    assert "Confirmation began" not in text
    assert "Verdict of" in text
