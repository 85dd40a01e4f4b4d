"""Ctrl-C in a terminal reaches every process of the search, workers of its loaders included."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import actsearch as acs

SCRIPT = """
import sys, time
import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.data import DataLoader, TensorDataset
import actsearch as acs

torch.set_num_threads(1)
generator = torch.Generator().manual_seed(0)
x = torch.randn(80, 2, generator=generator)
y = (x[:, 0] * x[:, 1] > 0).long()


def slow_loss(output, target):
    print("TRAINING", flush=True)
    time.sleep(0.02)
    return F.cross_entropy(output, target)


train = DataLoader(TensorDataset(x[:64], y[:64]), batch_size=16, shuffle=True, num_workers=2)
task = acs.Task(model=lambda: nn.Sequential(nn.Linear(2, 8), nn.ReLU(), nn.Linear(8, 2)), train=train,
                valid=(x[64:], y[64:]), loss=slow_loss, metric="loss", epochs=4, lr=1e-2, device="cpu")
study = acs.create_study(study_name="s", storage=sys.argv[1], strategy="random", seed=3, load_if_exists=True)
study.optimize(task, total_trials=4, callbacks=[lambda study, trial: print("DONE", flush=True)],
               show_progress_bar=False)
print("END", flush=True)
"""


def _start(path: Path, url: str) -> subprocess.Popen[str]:
    pipes: Any = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    return subprocess.Popen(
        [sys.executable, str(path), url], text=True, start_new_session=True, **pipes
    )


def _rows(url: str) -> list[tuple[object, ...]]:
    study = acs.load_study(study_name="s", storage=url)
    return [(t.number, t.state.name, t.candidate.formula, t.value) for t in study.trials]


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_no_trial_fails_because_its_workers_were_interrupted_as_well(
    tmp_path: Path, number: signal.Signals
) -> None:
    """As a terminal sends Ctrl-C, and a service manager SIGTERM: to all processes of the group."""
    path = tmp_path / "search_it.py"
    path.write_text(SCRIPT)
    unbroken, broken = (f"sqlite:///{tmp_path}/{name}.db" for name in ("unbroken", "broken"))
    whole = _start(path, unbroken)
    assert "END" in whole.communicate(timeout=300)[0]
    script = _start(path, broken)
    assert script.stdout is not None
    lines = iter(script.stdout.readline, "")
    for beginning in ("DONE", "TRAINING", "TRAINING", "TRAINING"):
        assert any(line.startswith(beginning) for line in lines)
    os.killpg(script.pid, number)
    errors = script.communicate(timeout=300)[1]
    assert script.returncode != 0
    assert "ends when the running trials are stored" in errors
    states = {row[1] for row in _rows(broken)}
    assert not states & {"FAILED", "RUNNING"}, errors
    assert "END" in _start(path, broken).communicate(timeout=300)[0]
    assert _rows(broken) == _rows(unbroken)
