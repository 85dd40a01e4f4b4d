"""Tests on a device that counts, in an interpreter of their own.

torch has to be told of a further kind of device before its first backward pass, and a process that was told of one is
none that a user has.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

CASES = Path(__file__).with_name("accelerator_cases.py")


def run(*selection: str) -> None:
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:xdist", "-p", "no:cacheprovider"]
    ended = subprocess.run(
        [*command, *selection, str(CASES)], capture_output=True, text=True, timeout=900
    )
    assert ended.returncode == 0, ended.stdout + ended.stderr


@pytest.mark.measured  # starting the interpreter alone takes more than a second
def test_training_waits_for_no_device_and_gives_what_the_cpu_gives() -> None:
    run("-k", "plain or few_kernels or (mlp and cpu_gives)")


@pytest.mark.slow
def test_everything_on_a_device() -> None:
    run()
