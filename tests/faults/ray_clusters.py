"""A Ray cluster on 127.0.0.1 for tests, to which nodes can be added, and of which nodes can be killed."""

from __future__ import annotations

import contextlib
import json
import logging
import signal
import subprocess
import sysconfig
import time
import warnings
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import psutil

__all__ = ["added_node", "kill_node", "missing", "running_cluster"]

HEAD_CPUS = 2
NODE_SECONDS = 120
STORE_BYTES = 150 * 1024 * 1024


def missing() -> str:
    """Why no cluster can be started here; "" if one can."""
    return "" if find_spec("ray") else "ray is not installed (pip install 'actsearch[ray]')"


def added_node(cluster: Any, *, num_cpus: int, resources: dict[str, int]) -> psutil.Process:
    """One more node, once it is there: by ``ray start``, as on a real cluster.

    ``Cluster.add_node`` starts it from this process and writes the environment on the way,
    beside threads of ray that read it: libc ended the process in two of five tries.
    """
    before = _nodes_alive()
    process = psutil.Popen(
        [
            str(Path(sysconfig.get_path("scripts"), "ray")),
            "start",
            "--block",
            f"--address={cluster.address}",
            f"--num-cpus={num_cpus}",
            f"--resources={json.dumps(resources)}",
            f"--object-store-memory={STORE_BYTES}",
            "--min-worker-port=0",
            "--max-worker-port=0",
            "--disable-usage-stats",
        ],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    late = time.monotonic() + NODE_SECONDS
    while not _nodes_alive() - before:
        if time.monotonic() > late or process.poll() is not None:
            kill_node(process)
            raise RuntimeError(f"no node was added in {NODE_SECONDS} s")
        time.sleep(0.2)
    return process


def kill_node(node: psutil.Process) -> None:
    """All processes of a node at once, as when its machine loses power."""
    processes = [*node.children(recursive=True), node] if node.is_running() else []
    for process in processes:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.kill()
    psutil.wait_procs(processes, timeout=NODE_SECONDS)


def _nodes_alive() -> set[str]:
    import ray

    return {node["NodeID"] for node in ray.nodes() if node["Alive"]}


@contextlib.contextmanager
def running_cluster() -> Iterator[Any]:
    """A cluster of one node, to which this process is connected: the one ``ray.init`` of all tests."""
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import ray
        from ray.cluster_utils import Cluster

        cluster = Cluster()
        cluster.add_node(
            wait=False,
            num_cpus=HEAD_CPUS,
            object_store_memory=STORE_BYTES,
            include_dashboard=False,
        )
        cluster.wait_for_nodes(NODE_SECONDS)
        ray.init(cluster.address, logging_level=logging.ERROR)
    for number, handler in before.items():
        signal.signal(number, handler)
    try:
        yield cluster
    finally:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            ray.shutdown()
            cluster.shutdown()
