"""The door to submitit: jobs of Slurm, or processes of this machine in their place."""

from __future__ import annotations

import contextlib
import os
import shutil
import site
import subprocess
import time
import warnings
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

import actsearch
from actsearch.errors import StudyError
from actsearch.execution.on_slurm.errands import Errands
from actsearch.execution.on_slurm.host import Host

__all__ = ["CLUSTERS", "Jobs", "State", "SubmissionFailed", "WORDS"]

CLUSTERS = ("slurm", "local")

_WAITING = (
    "PENDING", "CONFIGURING", "REQUEUED", "REQUEUE_FED", "REQUEUE_HOLD", "RESV_DEL_HOLD", "SPECIAL_EXIT",
)  # fmt: skip
_RUNNING = ("RUNNING", "COMPLETING", "RESIZING", "SIGNALING", "STAGE_OUT", "STOPPED", "SUSPENDED")
WORDS = {
    "OUT_OF_MEMORY": "Slurm ended its job, which took more memory than it may (mem_gb)",
    "TIMEOUT": "its job reached its time limit (timeout_min)",
    "DEADLINE": "its job reached its deadline",
    "NODE_FAIL": "the node of its job failed",
    "BOOT_FAIL": "the node of its job did not start",
    "PREEMPTED": "its job made way for another (preemption)",
    "CANCELLED": "its job was cancelled",
    "FAILED": "its job failed",
    "COMPLETED": "its job ended",
    "": "its job is gone",
}
"""What became of a job, by the state that Slurm gives it at its end."""

_GENERAL = (
    "name", "timeout_min", "mem_gb", "nodes", "cpus_per_task", "gpus_per_node", "tasks_per_node", "stderr_to_stdout",
)  # fmt: skip
"""Parameters that submitit has for every cluster."""

_ENDLESS = 10_000  # times that a job may come back after its time limit: its driver decides
_QUERY_SECONDS = 60.0  # that a command of Slurm's may take
_OFTEN, _SELDOM = 2.0, 60.0  # seconds from one question to Slurm to the next
_AGAIN = 5.0  # seconds after which a job is submitted again that was not taken
_OWN = "submitit "  # with which its own lines in a job's log begin


class SubmissionFailed(Exception):
    """A job was not taken; its argument says why.

    Attributes:
        may_pass: whether Slurm may be back soon.
    """

    def __init__(self, why: str) -> None:
        super().__init__(why)
        self.may_pass = "ontroller" in why or "timed out" in why


@dataclass(frozen=True)
class State:
    """Of a job.

    Attributes:
        kind: "waiting" in the queue, "running", "gone", or "unknown".
        name: as Slurm calls it.
        reason: why it waits, likewise.
    """

    kind: str
    name: str = ""
    reason: str = ""


class Jobs:
    """Jobs with the same needs. Nothing but :meth:`cancel` waits for Slurm, which may hang."""

    def __init__(
        self,
        folder: Path,
        cluster: str,
        parameters: Mapping[str, Any],
        wake: Callable[[], None] = lambda: None,
    ) -> None:
        """Args:
        folder: for submitit's own files.
        cluster: of CLUSTERS.
        parameters: as of ``submitit.AutoExecutor.update_parameters``; those that it knows of Slurm alone without
            the ``slurm_`` before them, as well.
        wake: called when a job was taken, or was not, and when a state has changed.

        Raises:
            StudyError: there is no submitit, or no Slurm, or a parameter has no meaning.
        """
        try:
            import submitit
        except ImportError as error:
            raise StudyError(
                f"acs.Slurm needs the package submitit ({error}): pip install 'actsearch[slurm]'"
            ) from None
        if cluster == "slurm" and not all(map(shutil.which, ("sbatch", "srun", "squeue"))):
            raise StudyError(
                "acs.Slurm: there is no Slurm on this machine (sbatch is not found): run the script on a login node of "
                "the cluster, or give cluster='local' to try it in processes of this machine"
            )
        self._submitit = submitit
        self._is_local = cluster == "local"
        self._states: dict[str, State] = {}
        self._asked = float("-inf")
        self._changed = time.monotonic()
        try:
            self._executor = submitit.AutoExecutor(
                folder,
                cluster,
                slurm_max_num_timeout=_ENDLESS,
                local_max_num_timeout=_ENDLESS,
            )
            self._executor.update_parameters(**_named(parameters), **_setup(parameters))
        except (AssertionError, NameError, TypeError, ValueError) as error:
            raise StudyError(f"acs.Slurm: {' '.join(str(error).split())}") from None
        self._wake = wake
        self._errands = Errands()
        self._question: Future[Any] | None = None

    def submit(self, host: Host) -> Future[Any]:
        """Start a job; what comes is the job, or SubmissionFailed."""
        submitted = self._errands.add(self._submit, host)
        submitted.add_done_callback(lambda _: self._wake())
        return submitted

    def _submit(self, host: Host) -> Any:
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                job = self._executor.submit(Submission(host))
        except (OSError, RuntimeError) as error:
            lines = [line.removeprefix("sbatch: error: ") for line in str(error).splitlines()]
            failed = SubmissionFailed("; ".join(lines)[:500] or type(error).__name__)
            if failed.may_pass:
                time.sleep(_AGAIN)
            raise failed from error
        self._changed = time.monotonic()
        return job

    # what became of them

    def state(self, job: Any) -> State:
        """Of a job, as Slurm has last said it."""
        if self._is_local:
            return State("running" if job._process.poll() is None else "gone")
        now = time.monotonic()
        is_answered = self._question is None or self._question.done()
        if is_answered and now - self._asked > min(
            max((now - self._changed) / 10, _OFTEN), _SELDOM
        ):
            self._asked = now
            self._question = self._errands.add(self._ask)
        return self._states.get(job.job_id, State("unknown"))

    def forget(self) -> None:
        """Ask anew: something has changed."""
        self._changed = time.monotonic()

    def _ask(self) -> None:
        # squeue knows ended jobs for some minutes as well; sacct would want a database that not all clusters have
        command = [
            "squeue",
            "--noheader",
            "--states=all",
            f"--user={os.geteuid()}",
            "--format=%A|%T|%r",
        ]
        try:
            done = subprocess.run(command, capture_output=True, text=True, timeout=_QUERY_SECONDS)
        except (OSError, subprocess.TimeoutExpired):
            return
        if done.returncode:
            return
        found = {}
        for line in done.stdout.splitlines():
            number, _, rest = line.strip().partition("|")
            name, _, reason = rest.partition("|")
            kind = "waiting" if name in _WAITING else "running" if name in _RUNNING else "gone"
            found[number] = State(kind, name, reason)
        gone = {number: State("gone") for number in self._states if number not in found}
        new = self._states | gone | found
        if new != self._states:
            self._states, self._changed = new, time.monotonic()
            self._wake()

    def printed(self, job: Any, read: dict[Path, int]) -> str:
        """What a job has printed since, without submitit's own lines.

        Args:
            job: a job.
            read: bytes of each file that were read before; changed.
        """
        text = ""
        for path in (job.paths.stderr, job.paths.stdout):
            with contextlib.suppress(OSError), path.open("rb") as file:
                file.seek(read.get(path, 0))
                data = file.read()
                data = data[: data.rfind(b"\n") + 1]  # whole lines
                read[path] = read.get(path, 0) + len(data)
                text += data.decode("utf-8", "replace")
        return "".join(line for line in text.splitlines(True) if not line.startswith(_OWN))

    def cancel_soon(self, jobs: Sequence[Any]) -> None:
        """As :meth:`cancel`, without waiting for it."""
        if jobs:
            self._errands.add(self.cancel, jobs)

    def settle(self) -> None:
        """Wait for what was asked of Slurm."""
        self._errands.add(lambda: None).result()

    def close(self) -> None:
        """Ask nothing more of Slurm."""
        self._errands.close()

    def cancel(self, jobs: Sequence[Any]) -> None:
        """End jobs, whatever they do."""
        if not self._is_local:
            if jobs:
                with contextlib.suppress(OSError, subprocess.TimeoutExpired):
                    command = ["scancel", *(job.job_id for job in jobs)]
                    subprocess.run(command, capture_output=True, timeout=_QUERY_SECONDS)
            return
        for job in jobs:
            with contextlib.suppress(psutil.Error):
                controller = psutil.Process(job._process.pid)
                for process in [controller, *controller.children(recursive=True)]:
                    with contextlib.suppress(psutil.Error):
                        process.kill()
            job._process.wait()


class Submission:
    """What submitit hands to a job, and starts again when the job was preempted or reached its time limit."""

    def __init__(self, host: Host) -> None:
        self.host = host

    def __call__(self) -> None:
        """Run it."""
        self.host()

    def checkpoint(self) -> Any:
        """What is started when the job comes back."""
        from submitit.helpers import DelayedSubmission

        return DelayedSubmission(Submission(self.host.again()))


def _named(parameters: Mapping[str, Any]) -> dict[str, Any]:
    """By submitit's names."""
    return {
        name
        if name in _GENERAL or name.startswith(("slurm_", "local_"))
        else f"slurm_{name}": value
        for name, value in parameters.items()
    }


def _setup(parameters: Mapping[str, Any]) -> dict[str, Any]:
    """Lines before a job's own, so that it finds this package where it is not installed."""
    place = str(Path(actsearch.__file__).parents[1])
    installed = [*site.getsitepackages(), site.getusersitepackages()]
    known = os.environ.get("PYTHONPATH", "").split(os.pathsep)
    if (
        place in installed
        or place in known
        or "slurm_setup" in parameters
        or "setup" in parameters
    ):
        return {}
    return {"slurm_setup": [f'export PYTHONPATH="{place}${{PYTHONPATH:+:$PYTHONPATH}}"']}
