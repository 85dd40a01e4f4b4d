"""``parallel=V`` under random speeds and kills: the trials are those of a search that nothing happened to."""

from __future__ import annotations

import random
import time
from pathlib import Path

import pytest
from driven import Launcher, Row, check_file, rows_of

RUNS = 20
TOTAL = 40
WORKERS = (1, 2, 4)

SEARCH = """
import os
import sys
import time
import torch
import torch.nn.functional as F
from torch import nn
import actsearch as acs

url, strategy, workers, batch = sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4]) or None
generator = torch.Generator().manual_seed(0)
x = torch.randn(80, 2, generator=generator)
y = (x[:, 0] * x[:, 1] > 0).long()


class Slow(nn.Module):
    def forward(self, x):
        # up to 8 ms, by a source that no seed reaches
        time.sleep(int.from_bytes(os.urandom(2), "little") / 2**23)
        return x


def model():
    return nn.Sequential(nn.Linear(2, 8), nn.ReLU(), Slow(), nn.Linear(8, 2))


task = acs.Task(model=model, train=(x[:64], y[:64]), valid=(x[64:], y[64:]), loss=F.cross_entropy,
                metric="loss", epochs=9, batch_size=32, lr=1e-2, tune_lr=False, device="cpu")
print("READY", flush=True)
kind = {"random": acs.RandomSearch, "genetic": acs.Genetic}[strategy]
study = acs.create_study(study_name="s", storage=url, strategy=kind(parallel=4), seed=3,
                         pruner=acs.SuccessiveHalving(1, 3), load_if_exists=True)
executor = acs.Local(batch) if workers == 1 else acs.Processes(workers, batch=batch)
study.optimize(task, total_trials=int(sys.argv[5]), executor=executor, show_progress_bar=False,
               callbacks=[lambda study, trial: print("DONE", trial.number, flush=True)])
print("END", flush=True)
"""
"""A search of a URL, a strategy, workers, trials in a pass, trials in all."""


def _killed(launcher: Launcher, path: Path, rng: random.Random, strategy: str, kills: int) -> int:
    """A search that is killed some times and goes on with other workers; returns how often it was."""
    done, reported = 0, set[str]()
    while True:
        workers, batch = rng.choice(WORKERS), rng.choice((0, 1, 3))
        child = launcher.start(
            SEARCH, f"sqlite:///{path}", strategy, workers, batch, rng.choice((20, TOTAL)) if done < kills else TOTAL
        )  # fmt: skip
        if done < kills:
            child.read(rng.randint(1, TOTAL // kills))
            time.sleep(rng.uniform(0, 0.3))
            child.kill()
        code = child.wait()
        assert done < kills or code == 0, child.errors
        new = {line for line in child.lines if line.startswith("DONE")}
        assert not new & reported, "a reported trial was trained again"
        reported |= new
        check_file(path)
        if "END" in child.lines and done >= kills:
            return done
        done += 1


@pytest.mark.slow
@pytest.mark.parametrize("strategy", ["random", "genetic"])
def test_twenty_of_twenty_searches_make_the_same_trials(
    strategy: str, launcher: Launcher, tmp_path: Path
) -> None:
    """Ten for each strategy, in this process and in children, one at a time and in stacks, with 0 to 3 kills."""
    found: list[list[Row]] = []
    kills = 0
    for run in range(RUNS // 2):
        rng = random.Random(f"{strategy} {run}")
        path = tmp_path / f"{run}.db"
        kills += _killed(launcher, path, rng, strategy, run % 4)
        found.append(rows_of(f"sqlite:///{path}"))
    equal = sum(rows == found[0] for rows in found)
    states = [row[1] for row in found[0]]
    print(
        f"{strategy}: {equal} of {len(found)} equal after {kills} kills, {len(states)} trials each, "
        f"{states.count('PRUNED')} pruned"
    )
    assert states.count("PRUNED") > 10
    assert equal == len(found)
