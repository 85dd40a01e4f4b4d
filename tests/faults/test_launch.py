"""The same seed makes the same trials, whatever the hash seed and however the script is started."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

SCRIPT = """
import hashlib
import torch
import torch.nn.functional as F
from torch import nn
import actsearch as acs

torch.set_num_threads(1)
generator = torch.Generator().manual_seed(0)
x = torch.randn(80, 2, generator=generator)
y = (x[:, 0] * x[:, 1] > 0).long()


def model():
    return nn.Sequential(nn.Linear(2, 8), nn.ReLU(), nn.Linear(8, 2))


task = acs.Task(model=model, train=(x[:64], y[:64]), valid=(x[64:], y[64:]), loss=F.cross_entropy,
                metric="loss", epochs=1, batch_size=32, lr=1e-2, device="cpu")
for strategy in ("random", "bayesian", "genetic"):
    study = acs.create_study(study_name="s", strategy=strategy, seed=5)
    study.optimize(task, n_trials=45, show_progress_bar=False)
    rows = [(t.number, t.state.name, t.candidate.formula, t.value) for t in study.trials]
    assert sum(t.state.is_trained for t in study.trials) == 45
    print(strategy, len(rows), hashlib.sha256(repr(rows).encode()).hexdigest())
print("task", task.describe())
"""

Launch = Callable[[Path], tuple[list[str], str | None]]

LAUNCHES: dict[str, Launch] = {
    "python script.py": lambda path: ([str(path)], None),
    "python -m module": lambda path: (["-m", path.stem], None),
    "python -c": lambda path: (["-c", SCRIPT], None),
    "python - < script": lambda path: (["-"], SCRIPT),
    "python -O script.py": lambda path: (["-O", str(path)], None),
    "imported": lambda path: (["-c", f"import {path.stem}"], None),
}


def _output(folder: Path, launch: str, hash_seed: str) -> str:
    path = folder / "my_search.py"
    path.write_text(SCRIPT)
    arguments, text = LAUNCHES[launch](path)
    result = subprocess.run(
        [sys.executable, *arguments],
        input=text,
        capture_output=True,
        text=True,
        cwd=folder,
        env=os.environ | {"PYTHONHASHSEED": hash_seed},
    )
    assert result.returncode == 0, result.stderr
    return result.stdout


@pytest.fixture(scope="module")
def reference(tmp_path_factory: pytest.TempPathFactory) -> str:
    output = _output(tmp_path_factory.mktemp("reference"), "python script.py", "0")
    digests = {line.split()[2] for line in output.splitlines()[:3]}
    assert len(digests) == 3  # the strategies differ
    return output


@pytest.mark.slow  # each imports torch anew
@pytest.mark.parametrize(
    ("launch", "hash_seed"),
    [
        ("python script.py", "1"),
        ("python script.py", "random"),
        ("python -m module", "2"),
        ("python -c", "3"),
        ("python - < script", "4"),
        ("python -O script.py", "5"),
        ("imported", "6"),
    ],
)
def test_the_same_study_comes_out(
    reference: str, tmp_path: Path, launch: str, hash_seed: str
) -> None:
    assert _output(tmp_path, launch, hash_seed) == reference
