"""``kill -9`` at any moment of ``acs.find``: called again, it goes on, to the same answer within its budget."""

from __future__ import annotations

import json
import random
import time
from pathlib import Path
from typing import Any

import pytest
from driven import Child, Launcher, check_file

import actsearch as acs

BUDGET = 80

FIND = """
import json
import sys
import torch
from torch import nn
import actsearch as acs

url, budget = sys.argv[1], int(sys.argv[2])
x = torch.randn(192, 2, generator=torch.Generator().manual_seed(0))
y = x.prod(1, keepdim=True)
print("READY", flush=True)
result = acs.find(
    lambda: nn.Sequential(nn.Linear(2, 8), nn.ReLU(), nn.Linear(8, 1)), train=(x[:96], y[:96]),
    valid=(x[96:144], y[96:144]), test=(x[144:], y[144:]), loss=nn.functional.mse_loss, epochs=4, lr=3e-2,
    batch_size=16, device="cpu", strategy="random", budget=budget, storage=url, show_progress_bar=False,
)
verdict = result.verdict
rows = [[row.number, list(row.values), repr((row.low, row.high))] for row in verdict.rows] if verdict else None
weights = [p.tolist() for p in result.model.parameters()] if result.model is not None else None
print("END", json.dumps([rows, result.spent.trainings, weights]), flush=True)
"""


def ask(launcher: Launcher, url: str, kill_after: float | None = None) -> Any:
    """What it came to; None where it was killed before."""
    child: Child = launcher.start(FIND, url, BUDGET)
    assert child.read(1) == ["READY"], child.errors
    if kill_after is not None:
        time.sleep(kill_after)
        child.kill()
    child.wait()
    ended = [line for line in child.lines if line.startswith("END ")]
    assert ended or kill_after is not None, child.errors
    return json.loads(ended[0].removeprefix("END ")) if ended else None


@pytest.fixture(scope="module")
def unbroken(launcher: Launcher, tmp_path_factory: pytest.TempPathFactory) -> tuple[Any, float]:
    """The answer, and how long it took."""
    began = time.monotonic()
    answer = ask(launcher, f"sqlite:///{tmp_path_factory.mktemp('unbroken')}/a.db")
    return answer, time.monotonic() - began


@pytest.mark.slow
@pytest.mark.parametrize("number", range(8))
def test_killed_again_and_again_it_comes_to_the_same_answer(
    number: int, launcher: Launcher, unbroken: tuple[Any, float], tmp_path: Path
) -> None:
    answer, seconds = unbroken
    url = f"sqlite:///{tmp_path}/a.db"
    draw = random.Random(number)
    for _ in range(4):
        ask(launcher, url, draw.uniform(0.1, 0.8) * seconds)
        if (tmp_path / "a.db").exists():
            check_file(tmp_path / "a.db")
    assert ask(launcher, url) == answer
    assert answer[1] <= BUDGET
    study = acs.load_study(study_name="find", storage=url)
    assert len(study.verdicts) <= 1
