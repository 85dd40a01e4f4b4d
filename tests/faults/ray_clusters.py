"""A Ray cluster on 127.0.0.1 for tests, to which nodes can be added, and of which nodes can be killed."""

from __future__ import annotations

import contextlib
import logging
import signal
import warnings
from collections.abc import Iterator
from importlib.util import find_spec
from typing import Any

__all__ = ["add_node", "missing", "running_cluster"]

HEAD_CPUS = 2


def missing() -> str:
    """Why no cluster can be started here; "" if one can."""
    return "" if find_spec("ray") else "ray is not installed (pip install 'actsearch[ray]')"


def add_node(cluster: Any, **settings: Any) -> Any:
    """One more node, on a busy machine as well: Ray gives one up that is not there after 30 s."""
    for left in reversed(range(4)):
        try:
            return cluster.add_node(**settings)
        except Exception:
            if not left:
                raise


@contextlib.contextmanager
def running_cluster() -> Iterator[Any]:
    """A cluster of one node, to which this process is connected: the one ``ray.init`` of all tests."""
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import ray
        from ray.cluster_utils import Cluster

        cluster = Cluster()
        add_node(cluster, num_cpus=HEAD_CPUS, include_dashboard=False)
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
