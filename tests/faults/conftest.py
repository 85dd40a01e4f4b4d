"""The study that nothing happened to, and workers to which much happens."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from driven import SEARCH, Launcher, Row, rows_of
from ray_jobs import outcomes_of

import actsearch as acs

Unbroken = Callable[[str, int, bool], list[Row]]


@pytest.fixture(scope="session")
def unbroken(launcher: Launcher, tmp_path_factory: pytest.TempPathFactory) -> Unbroken:
    """Trials of the search (strategy, trials in all, with a pruner) that nothing happened to, one after the other."""
    known: dict[tuple[str, int, bool], list[Row]] = {}
    folder: Path = tmp_path_factory.mktemp("unbroken")

    def rows(strategy: str, total: int, pruned: bool = False) -> list[Row]:
        key = (strategy, total, pruned)
        if key not in known:
            url = f"sqlite:///{folder}/{len(known)}.db"
            child = launcher.start(SEARCH, url, strategy, total, 1, int(pruned))
            assert child.wait() == 0, child.errors
            known[key] = rows_of(url)
        return known[key]

    return rows


@pytest.fixture(scope="session")
def ray_workers(ray_cluster: Any) -> Iterator[acs.Ray]:
    """Two workers of a Ray cluster's head that stay for all tests."""
    with acs.Ray(2, num_cpus=0.5, trial_timeout=8) as made:
        outcomes_of(made, lambda candidate, run: 1.0)  # both are there
        yield made


@pytest.fixture
def local_slurm(tmp_path: Path) -> Callable[..., acs.Slurm]:
    """Makes executors whose jobs are processes of this machine, by submitit; their folder is ``tmp_path / "jobs"``."""
    pytest.importorskip(
        "submitit", reason="submitit is not installed (pip install 'actsearch[slurm]')"
    )
    return functools.partial(acs.Slurm, folder=tmp_path / "jobs", cluster="local")


@pytest.fixture(scope="session")
def slurm_workers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[acs.Slurm]:
    """Two such jobs that stay for all tests."""
    pytest.importorskip(
        "submitit", reason="submitit is not installed (pip install 'actsearch[slurm]')"
    )
    folder = tmp_path_factory.mktemp("jobs")
    with acs.Slurm(2, folder=folder, cluster="local", trial_timeout=15) as made:
        outcomes_of(made, lambda candidate, run: 1.0)  # both are there
        yield made
