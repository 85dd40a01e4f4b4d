"""A Slurm of one machine for tests: a controller and a node of its own, in a folder, on ports of 127.0.0.1."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

__all__ = ["missing", "running_cluster"]

_PROGRAMS = ("munged", "slurmctld", "slurmd", "sbatch", "srun", "scontrol")
_CONF = """
ClusterName=tests
SlurmctldHost={host}(127.0.0.1)
SlurmUser=root
AuthType=auth/munge
AuthInfo=socket={folder}/munge/socket
SlurmctldPort={ports[0]}
SlurmdPort={ports[1]}
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SchedulerType=sched/backfill
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
JobAcctGatherType=jobacct_gather/none
MpiDefault=none
ReturnToService=2
KillWait=3
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
NodeName={host} NodeAddr=127.0.0.1 CPUs={cpus} RealMemory=4096 State=UNKNOWN
PartitionName=low Nodes={host} Default=YES State=UP PriorityTier=1
PartitionName=high Nodes={host} State=UP PriorityTier=10
"""


def missing() -> str:
    """Why no cluster can be started here; "" if one can."""
    lacking = [name for name in _PROGRAMS if _find(name) is None]
    if lacking:
        return f"{', '.join(lacking)} not installed (Debian: slurmctld slurmd slurm-client munge)"
    return "" if os.geteuid() == 0 else "no Slurm can be started here without root"


def _find(name: str) -> str | None:
    return shutil.which(name) or shutil.which(name, path="/usr/sbin:/sbin")


@contextlib.contextmanager
def running_cluster(folder: Path) -> Iterator[Path]:
    """A cluster with two processors, and partitions "low" and "high" of which the second preempts the first.

    Yields:
        its configuration, for the environment variable SLURM_CONF.
    """
    for name in ("munge", "state", "spool"):
        (folder / name).mkdir(mode=0o700)
    (folder / "munge" / "key").write_bytes(os.urandom(1024))
    (folder / "munge" / "key").chmod(0o400)
    conf = folder / "slurm.conf"
    conf.write_text(
        _CONF.format(
            folder=folder, host=socket.gethostname().split(".")[0], ports=_free_ports(), cpus=os.cpu_count()
        )
    )  # fmt: skip
    munge = f"{folder}/munge"
    commands = [
        ["munged", "--foreground", "--force", f"--socket={munge}/socket", f"--key-file={munge}/key",
         f"--pid-file={munge}/pid", f"--log-file={munge}/log", f"--seed-file={munge}/seed"],
        ["slurmctld", "-D", "-c"],
        ["slurmd", "-D"],
    ]  # fmt: skip
    env = {**os.environ, "SLURM_CONF": str(conf)}
    with contextlib.ExitStack() as started:
        for command in commands:
            program = _find(command[0])
            assert program is not None
            process = subprocess.Popen(
                [program, *command[1:]], env=env, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
            )  # fmt: skip
            started.callback(_end, process)
            time.sleep(0.5)
        _await_idle(env)
        yield conf


def _end(process: subprocess.Popen[bytes]) -> None:
    process.send_signal(signal.SIGTERM)
    try:
        process.wait(10)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def _await_idle(env: dict[str, str]) -> None:
    until = time.monotonic() + 60
    while time.monotonic() < until:
        command = ["sinfo", "--noheader", "--format=%T"]
        if subprocess.run(command, env=env, capture_output=True, text=True).stdout[:4] == "idle":
            return
        time.sleep(0.3)
    raise RuntimeError("the node of the Slurm of these tests did not come up")


def _free_ports() -> list[int]:
    with contextlib.ExitStack() as held:
        sockets = [held.enter_context(socket.socket()) for _ in range(2)]
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [one.getsockname()[1] for one in sockets]
