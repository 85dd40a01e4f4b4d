"""Several processes at one database: two that would resume a search, and many that read while one writes."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import pytest
from driven import SEARCH, Child, Launcher, Row, check_file, rows_of

TOTAL = 45
FEW = 18  # as in test_kill.py: the unbroken search is the same one


def _said(child: Child) -> list[str]:
    return [line for line in child.lines if line.startswith("DONE ")]


@pytest.mark.parametrize(
    ("strategy", "total"),
    [("random", FEW), pytest.param("genetic", TOTAL, marks=pytest.mark.slow)],
)
def test_of_two_resumes_at_once_one_drives(
    launcher: Launcher,
    unbroken: Callable[[str, int, bool], list[Row]],
    tmp_path: Path,
    strategy: str,
    total: int,
) -> None:
    """Invariant: one trains, the others are told by whom the study is run, and the study equals the unbroken one."""
    url = f"sqlite:///{tmp_path}/study.db"
    first = launcher.start(SEARCH, url, strategy, total, 1, 0)
    first.read(total // 2)
    first.kill()
    first.wait()
    children = [launcher.start(SEARCH, url, strategy, total, 1, 0) for _ in range(3)]
    codes = [child.wait() for child in children]
    drove = [child for child, code in zip(children, codes, strict=True) if code == 0]
    refused = [child for child, code in zip(children, codes, strict=True) if code != 0]
    assert len(drove) == 1, [child.errors for child in children]
    assert drove[0].lines[-1] == "END"
    for child in refused:
        assert _said(child) == []
        last = child.errors.strip().splitlines()[-1]
        assert "study 's' is being run by" in last
        assert f"(process {drove[0].pid}, " in last
    numbers = [int(line.split()[1]) for line in [*_said(first), *_said(drove[0])]]
    assert sorted(set(numbers)) == sorted(numbers)
    assert rows_of(url) == unbroken(strategy, total, False)
    check_file(tmp_path / "study.db")


WRITE = """
import sys, time
import actsearch as acs

def objective(candidate, run):
    for epoch in range(5):
        run.report(epoch, 1.0 / (1 + run.number))
    return 1.0 / (1 + run.number)

study = acs.create_study(study_name="s", storage=sys.argv[1], strategy="random", direction="minimize")
print("READY", flush=True)
study.optimize(objective, n_trials=1, show_progress_bar=False)
print("FIRST", flush=True)
study.optimize(objective, timeout=float(sys.argv[2]), executor=acs.Local(int(sys.argv[3])), show_progress_bar=False)
print("END", sum(trial.state.is_trained for trial in study.trials), flush=True)
"""

READ = """
import sqlite3, sys, time
from actsearch.report import Reader, leaderboard

url, ends, raw = sys.argv[1], time.monotonic() + float(sys.argv[2]), sys.argv[3] == "1"
reader, reads, before = Reader(url), 0, 0
connection = sqlite3.connect(url.removeprefix("sqlite:///"), timeout=0) if raw else None
while time.monotonic() < ends:
    if reads % 10 == 0:
        reader.close()
        reader = Reader(url)
    (summary,) = reader.summaries()
    trials = reader.trials(summary.study, epochs=True)
    assert [trial.number for trial in trials] == list(range(len(trials)))
    done = [trial for trial in trials if trial.state.is_trained]
    assert len(done) >= before, "a trial was seen, and then no more"
    before = len(done)
    for trial in done:  # nothing is seen half
        assert trial.value is not None and len(trial.evaluations) == 1 and len(trial.evaluations[0].epochs) == 5
    values = [trial.value for trial in leaderboard(trials, summary.study.direction)]
    assert values == sorted(values)
    if connection is not None:
        rows = connection.execute(
            "SELECT number, value FROM trials JOIN trial_values ON trial_id = trials.id ORDER BY value LIMIT 10"
        ).fetchall()
        assert len(rows) >= min(10, before)
    reads += 1
print("READ", reads, before, flush=True)
"""


def _read_while_writing(
    launcher: Launcher, folder: Path, seconds: float, readers: int, batch: int
) -> tuple[int, int]:
    """Trials written and times everything was read."""
    url = f"sqlite:///{folder}/study.db"
    driver = launcher.start(WRITE, url, seconds, batch)
    assert driver.read(2) == ["READY", "FIRST"], driver.errors
    children = [launcher.start(READ, url, seconds, number % 2) for number in range(readers)]
    reads, seen = 0, 0
    for child in children:
        assert child.wait() == 0, child.errors
        _, times, last = child.lines[-1].split()
        reads += int(times)
        seen = max(seen, int(last))
        assert int(times) > 0
    assert driver.wait() == 0, driver.errors
    written = int(driver.lines[-1].split()[1])
    assert 0 < seen <= written
    check_file(folder / "study.db")
    return written, reads


def test_readers_never_fail_while_one_writes(launcher: Launcher, tmp_path: Path) -> None:
    """Invariant: a reader is never locked out, sees whole trials in order, and never fewer than before."""
    _read_while_writing(launcher, tmp_path, 0.3, readers=2, batch=1)


@pytest.mark.slow
@pytest.mark.parametrize("batch", [1, 8])
def test_nor_do_eight_in_half_a_minute(launcher: Launcher, tmp_path: Path, batch: int) -> None:
    started = time.monotonic()
    written, reads = _read_while_writing(launcher, tmp_path, 30, readers=8, batch=batch)
    print(f"{written} trials written, read {reads} times, in {time.monotonic() - started:.0f} s")
