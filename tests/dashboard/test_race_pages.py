"""Pages of a study whose verdict is a race that a finalist left early."""

from __future__ import annotations

import dataclasses
import json
import math
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest
from saying import said
from streamlit.testing.v1 import AppTest

from actsearch.records import TrialState
from actsearch.report import Reader

Opener = Callable[..., AppTest]


@pytest.fixture
def raced(copied: Path) -> tuple[Path, int, int]:
    """The database, the trial that stayed, and the one that left after two of eight seeds."""
    reader = Reader(f"sqlite:///{copied}")
    study = reader.study("confirmed")
    verdict = reader.verdicts(study)[0][1]
    stayed = verdict.rows[0]
    other = next(
        trial
        for trial in reader.trials(study)
        if trial.state is TrialState.COMPLETE
        and trial.number != stayed.number
        and not trial.candidate.is_baseline
    )
    reader.close()
    left = dataclasses.replace(
        stayed, number=other.number, label=other.candidate.label, values=stayed.values[:2], low=-math.inf,
        high=math.inf, p_value=1.0, verdict="left early", learning_rates=stayed.learning_rates[:2],
    )  # fmt: skip
    changed = dataclasses.replace(
        verdict, rows=(stayed, left), winner=verdict.baseline, versus_catalog=None, most_seeds=16
    )
    with closing(sqlite3.connect(copied)) as connection, connection:
        connection.execute(
            "UPDATE confirmations SET verdict = ?",
            (json.dumps(changed.to_json(), allow_nan=False),),
        )
    assert stayed.number is not None
    return copied, stayed.number, other.number


@pytest.mark.parametrize("page", ["study", "leaderboard", "trials", "activation"])
def test_it_is_shown_without_an_interval(
    opened: Opener, raced: tuple[Path, int, int], page: str
) -> None:
    path, _, left = raced
    app = opened(page, path, study="confirmed", trial=str(left))
    text = said(app)
    assert "inf" not in text.replace("information", "")
    if page == "activation":
        assert "Left the race after 2 seeds" in text
    if page == "study":
        assert "8 of at most 16 paired seeds" in text


def test_it_is_compared_on_the_seeds_that_it_has(
    opened: Opener, raced: tuple[Path, int, int]
) -> None:
    path, stayed, left = raced
    app = opened("compare", path, study="confirmed", compare=f"{stayed},{left}")
    assert "2 seeds" in said(app)
