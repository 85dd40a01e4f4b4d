"""``acs.Slurm``: trials in jobs of a Slurm cluster."""

from __future__ import annotations

import os
import queue
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from actsearch.checks import check_integer, check_number
from actsearch.errors import StudyError
from actsearch.evaluation import Subject
from actsearch.execution.on_slurm.jobs import CLUSTERS
from actsearch.execution.on_slurm.office import Office
from actsearch.execution.on_slurm.slot import SlurmWorker
from actsearch.execution.pool import Pool
from actsearch.execution.transport import Event

__all__ = ["Slurm"]

_CRASH_RETRIES = 1
_ONE = ("nodes", "tasks_per_node", "ntasks_per_node", "slurm_nodes", "slurm_ntasks_per_node")


class Slurm(Pool):
    """In jobs of a Slurm cluster, by submitit; needs ``pip install 'actsearch[slurm]'``.

    Each worker is a job that stays for all calls of a ``with`` block, and trains in a child process of its own; they
    speak with the driver through files. The driver alone proposes and writes to the storage, which no worker sees. A
    trial whose process crashes is trained once more, in another job if there is one on another node, and fails alone
    the second time; one that hangs fails at ``trial_timeout``; what trained in a job that was preempted, reached its
    time limit or was lost is trained again, ``retries`` times. Such jobs come back by themselves. Where no job runs,
    the search waits, says so, and goes on when one does.

    Attributes:
        workers: how many jobs; also as ``count``.
        folder: that all machines share.
        cluster: "slurm", or "local" for processes of this machine.
        trial_timeout: seconds that one trial may take, or None.
        batch: candidates trained in one pass; 1 for one after the other, None and numbers as in :class:`Local`.
        retries: so often a trial is trained again whose job was lost.

    Example:
        >>> acs.Slurm(8, folder="~/jobs", timeout_min=240, partition="gpu", gpus_per_node=1)
        Slurm(workers=8, folder='~/jobs', cluster='slurm', batch=None, trial_timeout=None, retries=3)
        >>> # with acs.Slurm(8, folder="~/jobs", timeout_min=240, mem_gb=16) as executor:
        >>> #     study.optimize(task, n_trials=200, executor=executor)
        >>> #     study.confirm(task, executor=executor)
    """

    def __init__(
        self,
        workers: int,
        *,
        folder: str | os.PathLike[str],
        timeout_min: int = 60,
        partition: str | None = None,
        cpus_per_task: int = 1,
        gpus_per_node: int | None = None,
        mem_gb: float | None = None,
        cluster: str = "slurm",
        batch: int | None = None,
        trial_timeout: float | None = None,
        retries: int = 3,
        **parameters: Any,
    ) -> None:
        """Args:
        workers: how many jobs.
        folder: for messages and data, on a file system that this machine and the nodes share; only a folder of your
            own. Nothing is left in it after the executor has ended.
        timeout_min: time limit of a job; one that reaches it is queued again. Long against a trial.
        partition: of the cluster; None for its default.
        cpus_per_task: processors of a job, as many threads of torch.
        gpus_per_node: of a job.
        mem_gb: of a job; Slurm ends one that takes more.
        cluster: "local" for processes of this machine in the place of jobs, to try it without a cluster.
        batch: see above.
        trial_timeout: a trial that takes longer fails. In one pass, n trials may take n times as long.
        retries: see above.
        parameters: further ones of a job, as submitit's ``update_parameters`` has them (``account="..."``, or
            ``slurm_account="..."``; ``additional_parameters={...}`` for all others of ``sbatch``).

        Raises:
            StudyError: a setting has no meaning.
        """
        self.workers = check_integer("workers", workers, StudyError, low=1)
        check_integer("timeout_min", timeout_min, StudyError, low=1)
        check_integer("cpus_per_task", cpus_per_task, StudyError, low=1)
        if gpus_per_node is not None:
            check_integer("gpus_per_node", gpus_per_node, StudyError, low=0)
        if mem_gb is not None:
            check_number("mem_gb", mem_gb, StudyError, above=0)
        if not isinstance(folder, (str, os.PathLike)) or not os.fspath(folder):
            raise StudyError(f'folder must be a path such as "~/jobs", not {folder!r}')
        if partition is not None and (not isinstance(partition, str) or not partition):
            raise StudyError(f"partition must be the name of one, not {partition!r}")
        if cluster not in CLUSTERS:
            raise StudyError(f"cluster must be one of {', '.join(CLUSTERS)}, not {cluster!r}")
        for name in _ONE:
            if parameters.get(name, 1) != 1:
                raise StudyError(f"{name}={parameters[name]!r}: a worker is one task on one node")
        self.folder = folder
        self.cluster = cluster
        self.retries = check_integer("retries", retries, StudyError, low=0)
        needs = {
            "name": "actsearch", "timeout_min": timeout_min, "slurm_partition": partition,
            "cpus_per_task": cpus_per_task, "gpus_per_node": gpus_per_node, "mem_gb": mem_gb, **parameters,
        }  # fmt: skip
        super().__init__(
            _SlurmJobs(Path(folder), cluster, needs, self.workers),
            self.workers,
            trial_timeout=trial_timeout,
            batch=batch,
            crash_retries=_CRASH_RETRIES,
            loss_retries=self.retries,
        )

    def __repr__(self) -> str:
        return (
            f"Slurm(workers={self.workers}, folder={os.fspath(self.folder)!r}, cluster={self.cluster!r}, "
            f"batch={self.batch}, trial_timeout={self.trial_timeout}, retries={self.retries})"
        )


class _SlurmJobs:
    """Starts workers in jobs."""

    def __init__(self, folder: Path, cluster: str, needs: Mapping[str, Any], workers: int) -> None:
        self._folder = folder
        self._cluster = cluster
        self._needs = {name: value for name, value in needs.items() if value is not None}
        self._workers = workers
        self._office: Office | None = None

    def open(self, subject: Subject) -> int:
        if self._office is None:
            threads = int(self._needs["cpus_per_task"])
            self._office = Office(self._folder, self._cluster, self._needs, threads)
        return self._workers

    def start(self, events: queue.SimpleQueue[Event]) -> SlurmWorker:
        assert self._office is not None
        return self._office.worker(events)

    def close(self, *, in_fork: bool = False) -> None:
        office, self._office = self._office, None
        if office is not None and not in_fork:
            office.close()
