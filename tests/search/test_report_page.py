"""A page of HTML with everything that a study found."""

from __future__ import annotations

import html
import re
from dataclasses import replace
from pathlib import Path

import pytest

import actsearch as acs
from actsearch.cli import main
from actsearch.export.page.page import _shown

NAME = "<script>alert(1)</script> & more"


@pytest.fixture
def confirmed(tiny_task: acs.Task, sqlite_url: str) -> acs.Study:
    study = acs.create_study(study_name=NAME, storage=sqlite_url, strategy="random", seed=3)
    study.optimize(tiny_task, n_trials=5, show_progress_bar=False)
    study.confirm(tiny_task, top_k=2, seeds=8, show_progress_bar=False)
    return study


def test_it_has_the_verdict_and_what_to_paste(confirmed: acs.Study, tmp_path: Path) -> None:
    confirmed.report(tmp_path / "report.html")
    page = html.unescape((tmp_path / "report.html").read_text())
    (verdict,) = confirmed.verdicts
    assert verdict.sentence in page
    assert str(verdict.recipe()) in page
    assert acs.to_python(verdict) in page
    for row in verdict.rows:
        assert row.label in page
    assert f"{verdict.trainings}" in page
    assert '"seed": 3' in page or "<td>3</td>" in page
    assert acs.__version__ in page


def test_it_needs_nothing_but_itself_and_runs_nothing_of_a_database(
    confirmed: acs.Study, tmp_path: Path
) -> None:
    confirmed.report(tmp_path / "report.html")
    page = (tmp_path / "report.html").read_text()
    assert not re.search(r"<script[^>]+src=|<link|<img|<iframe", page)
    assert "<script>alert(1)" not in page
    assert html.escape(NAME) in page


def test_finalists_with_one_label_are_both_shown(confirmed: acs.Study) -> None:
    records = [
        trial.record for trial in confirmed.trials if not trial.candidate.record.is_baseline
    ]
    first = next(one for one in records if one.state is acs.TrialState.COMPLETE)
    twins = [first, replace(first, number=99)]
    assert list(_shown(twins, None, "minimize")) == [
        f"{first.candidate.label} (trial {one.number})" for one in twins
    ]


def test_without_a_verdict_it_says_so(tmp_path: Path) -> None:
    study = acs.create_study(study_name="open", direction="minimize", strategy="random")
    study.optimize(lambda candidate, run: float(run.number), n_trials=4, show_progress_bar=False)
    study.report(tmp_path / "report.html")
    page = (tmp_path / "report.html").read_text()
    assert "There is none: the best of many noisy values is optimistic" in page
    assert "4 complete" in page.lower()


def test_an_empty_study_has_a_report(tmp_path: Path) -> None:
    study = acs.create_study(study_name="empty", direction="minimize")
    study.report(tmp_path / "report.html")
    assert "<h1>empty</h1>" in (tmp_path / "report.html").read_text()


def test_the_command_line_writes_the_same(
    confirmed: acs.Study, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    url = str(confirmed._storage.database.url)
    target = tmp_path / "report.html"
    assert main(["report", NAME, str(target), url]) == 0
    assert "written to" in capsys.readouterr().out
    confirmed.report(tmp_path / "other.html")
    ids = re.compile(r"[0-9a-f]{8}-[0-9a-f-]{27}")  # of figures
    assert ids.sub("", target.read_text()) == ids.sub("", (tmp_path / "other.html").read_text())


def test_it_does_not_overwrite_the_database(confirmed: acs.Study) -> None:
    path = confirmed._storage.database.url.removeprefix("sqlite:///")
    before = Path(path).read_bytes()
    with pytest.raises(acs.StorageError):
        confirmed.report(path)
    assert Path(path).read_bytes()[:16] == before[:16]
