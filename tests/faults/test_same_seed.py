"""The same seed makes the same trials with the default executor, however fast or slow the machine is meanwhile.

What is searched for is the loss: its last digit says what an accuracy on a few samples hides.
"""

from __future__ import annotations

import itertools
import random
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from driven import Launcher, Row, rows_of
from stack_tasks import task_of

import actsearch as acs
from actsearch.evaluation import stacked
from actsearch.evaluation.subject import stack_choice
from actsearch.training.stack import fit_together

KINDS = ("mlp", "cnn", "encoder")
TOTAL = 20
RUNS = 20

SEARCH = """
import sys
sys.path.insert(0, sys.argv[1])
import torch
from stack_tasks import task_of
import actsearch as acs
from actsearch.evaluation.subject import stack_choice

kind, strategy, url, counts = sys.argv[2], sys.argv[3], sys.argv[4], [int(item) for item in sys.argv[5:]]
torch.set_num_threads(2)
stack_choice._WORTH = 0  # so that these small tasks, too, are measured and stacked
print("READY", flush=True)
study = acs.create_study(study_name="s", storage=url, strategy=strategy, seed=3, load_if_exists=True)
for count in counts:
    study.optimize(task_of(kind, metric="loss"), total_trials=count, show_progress_bar=False,
                   callbacks=[lambda study, trial: print("DONE", trial.number, flush=True)])
print("END", flush=True)
"""
"""A search of a kind of task, a strategy, a URL, and how many trials there are to be after each call of optimize."""


def _lying(alone: float, together: float) -> Any:
    """A clock by which single training takes so long, and a stack so long."""
    steps = itertools.cycle([0.0, alone, together])
    now = itertools.accumulate(steps)
    return SimpleNamespace(perf_counter=lambda: next(now))


def _trials(study: acs.Study) -> list[tuple[Any, ...]]:
    return [
        (t.number, t.state, t.candidate.formula, t.value, t.duplicate_of, t.reason)
        for t in study.trials
    ]


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("strategy", ["genetic", "bayesian"])
def test_no_clock_decides_which_trials_are_made(
    kind: str, strategy: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By one clock stacks take no time, by the other they take forever; one at a time is the third way."""
    monkeypatch.setattr(stack_choice, "_WORTH", 0)
    sizes: list[int] = []

    def counted(task: Any, members: Any, **more: Any) -> Any:
        sizes.append(len(members))
        return fit_together(task, members, **more)

    monkeypatch.setattr(stacked, "fit_together", counted)
    found, most = [], []
    for clock, counts, executor in (
        (_lying(1e6, 1e-6), (10,), None),
        (_lying(1e6, 1e-6), (3, 7), None),
        (_lying(1e-6, 1e6), (10,), None),
        (_lying(1.0, 1.0), (10,), acs.Local(batch=1)),
    ):
        monkeypatch.setattr(stacked, "time", clock)
        study = acs.create_study(study_name="s", strategy=strategy, seed=3)
        for count in counts:
            study.optimize(
                task_of(kind, epochs=1, metric="loss"),
                n_trials=count,
                executor=executor,
                show_progress_bar=False,
            )
        found.append(_trials(study))
        most.append((len(sizes), max(sizes, default=0)))
        sizes.clear()
    assert found[1:] == found[:1] * 3
    assert most[0][1] >= 8  # trained together indeed
    assert most[3] == (0, 0)
    assert most[2][0] < most[0][0] + 2  # but for the measurement, one at a time


@pytest.fixture
def busy() -> Iterator[None]:
    """Both cores have something else to do, now and then."""
    code = "import time\nwhile True:\n    t = time.time() + 0.3\n    while time.time() < t: pass\n    time.sleep(0.05)"
    children = [subprocess.Popen([sys.executable, "-c", code]) for _ in range(2)]
    yield
    for child in children:
        child.kill()
        child.wait()


def _run(launcher: Launcher, url: str, kind: str, strategy: str, way: str) -> list[Row]:
    """The trials of one search, whole, in two calls, or killed and resumed."""
    folder = str(Path(__file__).parents[1] / "search")
    counts = (7, TOTAL) if way == "7 + 13" else (TOTAL,)
    rng = random.Random(url)
    if way == "killed":
        child = launcher.start(SEARCH, folder, kind, strategy, url, *counts)
        child.read(1 + rng.randrange(TOTAL - 2))
        time.sleep(rng.uniform(0, 0.2))
        child.kill()
        child.wait()
    child = launcher.start(SEARCH, folder, kind, strategy, url, *counts)
    assert child.wait() == 0, child.errors
    return rows_of(url)


@pytest.mark.slow
@pytest.mark.usefixtures("busy")
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("strategy", ["genetic", "bayesian"])
def test_twenty_of_twenty_runs_are_equal_under_load(
    kind: str, strategy: str, launcher: Launcher, tmp_path: Path
) -> None:
    ways = ["whole", "whole", "7 + 13", "killed"]
    found = [
        _run(launcher, f"sqlite:///{tmp_path}/{run}.db", kind, strategy, ways[run % len(ways)])
        for run in range(RUNS)
    ]
    equal = sum(rows == found[0] for rows in found)
    print(f"{kind}, {strategy}: {equal} of {RUNS} equal, {len(found[0])} trials each")
    assert equal == RUNS


def _thread_values(kind: str, threads: int, batch: int | None) -> list[Any]:
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        study = acs.create_study(study_name="s", strategy="random", seed=1)
        study.optimize(
            task_of(kind, epochs=1, metric="loss"),
            n_trials=4,
            executor=acs.Local(batch=batch),
            show_progress_bar=False,
        )
    finally:
        assert torch.get_num_threads() == threads  # what a user set is put back
        torch.set_num_threads(before)
    return _trials(study)


@pytest.mark.parametrize(
    "kind", ["mlp", *(pytest.param(kind, marks=pytest.mark.slow) for kind in KINDS[1:])]
)
def test_the_number_of_threads_changes_no_value_of_a_small_task(kind: str) -> None:
    expected = _thread_values(kind, 1, 1)
    others: list[Callable[[], list[Any]]] = [
        lambda: _thread_values(kind, 2, 1),
        lambda: _thread_values(kind, 2, 6),
    ]
    for other in others:
        assert other() == expected


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_child_processes_make_the_same_trials(kind: str) -> None:
    """They choose as this process does, each with its share of the threads."""
    found = []
    for executor in (None, acs.Processes(2), acs.Processes(2, batch=5)):
        study = acs.create_study(study_name="s", strategy="genetic", seed=3)
        study.optimize(
            task_of(kind, epochs=1, metric="loss"),
            n_trials=12,
            executor=executor,
            show_progress_bar=False,
        )
        found.append(_trials(study))
    assert found[1:] == found[:1] * 2
