"""What scripts that ended, however they did, have left."""

from __future__ import annotations

import time
from pathlib import Path

import psutil

import actsearch as acs

__all__ = ["left_by", "states_in"]


def left_by(mark: Path, seconds: float = 20) -> list[list[str]]:
    """Command lines of living processes with this mark in their environment, when it has had time to end."""
    until = time.monotonic() + seconds
    while True:
        found = []
        for process in psutil.process_iter():
            try:
                if process.environ().get("LEFT_BY_TRIALS") == str(mark):
                    found.append(process.cmdline())
            except psutil.Error:
                continue
        if not found or time.monotonic() > until:
            return found
        time.sleep(0.2)


def states_in(tmp_path: Path) -> list[str]:
    study = acs.load_study(study_name="s", storage=f"sqlite:///{tmp_path}/a.db")
    return [trial.state.name for trial in study.trials]
