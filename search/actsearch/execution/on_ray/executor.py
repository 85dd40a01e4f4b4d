"""``acs.Ray``: trials on the machines of a cluster."""

from __future__ import annotations

import dataclasses
import logging
import math
import queue
from collections.abc import Mapping
from typing import Any

from actsearch.checks import check_integer, check_number
from actsearch.errors import StudyError
from actsearch.evaluation import Subject
from actsearch.execution.on_ray.cluster import Cluster, Needs, describe_amounts
from actsearch.execution.on_ray.worker import DataStore, RayWorker
from actsearch.execution.parcel import pack
from actsearch.execution.pool import Pool
from actsearch.execution.processes import parse_bytes
from actsearch.execution.trainer import Equipment
from actsearch.execution.transport import Event

__all__ = ["Ray"]

_log = logging.getLogger("actsearch")

_CRASH_RETRIES = 1


class Ray(Pool):
    """On a Ray cluster, or on one that starts on this machine; needs ``pip install 'actsearch[ray]'``.

    Each worker is an actor that stays for all calls of a ``with`` block, and trains in a child process of its own. The
    driver alone proposes and writes to the storage, which no worker sees. A trial whose process crashes is trained once
    more, elsewhere if there is another node, and fails alone the second time; one that hangs fails at
    ``trial_timeout``; what trained on a node that is lost is trained again, ``retries`` times. Where no node is left,
    the search waits, says so, and goes on when one is back.

    Attributes:
        workers: as given; None for as many as the cluster has room for.
        address: of the cluster, as of ``ray.init``.
        count: of workers; 1 before a cluster with ``workers=None`` was reached.
        trial_timeout: seconds that one trial may take, or None.
        batch: candidates trained in one pass; 1 for one after the other, None and numbers as in :class:`Local`.
        retries: so often a trial is trained again whose node was lost.

    Example:
        >>> acs.Ray(2, trial_timeout=600)
        Ray(workers=2, address=None, num_cpus=1, num_gpus=None, batch=None, trial_timeout=600, retries=3)
        >>> # with acs.Ray(address="auto", num_gpus=1) as executor:
        >>> #     study.optimize(task, n_trials=200, executor=executor)
        >>> #     study.confirm(task, executor=executor)
    """

    def __init__(
        self,
        workers: int | None = None,
        *,
        address: str | None = None,
        num_cpus: float = 1,
        num_gpus: float | None = None,
        resources: Mapping[str, float] | None = None,
        memory: int | str | None = None,
        batch: int | None = None,
        trial_timeout: float | None = None,
        retries: int = 3,
        runtime_env: Mapping[str, Any] | None = None,
    ) -> None:
        """Args:
        workers: None for as many as the cluster has room for.
        address: None as in ``ray.init``: the cluster that this process is connected to, that of RAY_ADDRESS or of
            ``ray start`` on this machine, or else a new one on this machine, which ends with the executor. "auto",
            "local" or "HOST:PORT" likewise.
        num_cpus: that each worker takes of its node, as many threads of torch.
        num_gpus: likewise, and it sees no others; 0.5 for two workers to one. None: 1 where the cluster has some and
            the objective may use one, else 0.
        resources: of the cluster's own kinds, likewise.
        memory: likewise: bytes, or text such as "4GB". Ray places workers by it, and does not limit them.
        batch: see above.
        trial_timeout: a trial that takes longer fails. In one pass, n trials may take n times as long.
        retries: see above.
        runtime_env: of the workers, as Ray has it: ``{"pip": [...], "env_vars": {...}}``.

        Raises:
            StudyError: a setting has no meaning.
        """
        if workers is not None:
            check_integer("workers", workers, StudyError, low=1)
        check_number("num_cpus", num_cpus, StudyError, low=0)
        if num_gpus is not None:
            check_number("num_gpus", num_gpus, StudyError, low=0)
        if address is not None and (not isinstance(address, str) or not address):
            raise StudyError(
                f'address must be text such as "10.0.0.1:6379" or "auto", not {address!r}'
            )
        for name, mapping in (("resources", resources), ("runtime_env", runtime_env)):
            if mapping is not None and not isinstance(mapping, Mapping):
                raise StudyError(f"{name} must be a mapping, as {{...}}, not {mapping!r}")
        for name, amount in (resources or {}).items():
            check_number(f"resources[{name!r}]", amount, StudyError, low=0)
        self.workers = workers
        self.address = address
        self.retries = check_integer("retries", retries, StudyError, low=0)
        self._num_cpus, self._num_gpus = num_cpus, num_gpus
        needs = Needs(
            num_cpus, num_gpus or 0, dict(resources or {}), parse_bytes("memory", memory) or 0, runtime_env
        )  # fmt: skip
        super().__init__(
            _Actors(Cluster(address), needs, workers, is_gpu_chosen=num_gpus is None),
            workers or 1,
            trial_timeout=trial_timeout,
            batch=batch,
            crash_retries=_CRASH_RETRIES,
            loss_retries=self.retries,
        )

    def __repr__(self) -> str:
        return (
            f"Ray(workers={self.workers}, address={self.address!r}, num_cpus={self._num_cpus}, "
            f"num_gpus={self._num_gpus}, batch={self.batch}, trial_timeout={self.trial_timeout}, "
            f"retries={self.retries})"
        )


class _Actors:
    """Starts workers on a cluster."""

    def __init__(
        self, cluster: Cluster, needs: Needs, workers: int | None, *, is_gpu_chosen: bool
    ) -> None:
        self._cluster = cluster
        self._asked = needs
        self._needs = needs
        self._workers = workers
        self._is_gpu_chosen = is_gpu_chosen
        self._store = DataStore(cluster, _pack)
        self._count = workers or 1

    def open(self, subject: Subject) -> int:
        if self._cluster.is_open:
            return self._count
        self._cluster.connect(self._asked.num_cpus * (self._workers or 1))
        self._needs = self._asked
        if self._is_gpu_chosen and self._cluster.gpus >= 1 and subject.takes_gpu:
            self._needs = dataclasses.replace(self._asked, num_gpus=1)
        try:
            self._count = self._fit()
        except BaseException:
            self._cluster.disconnect()
            raise
        return self._count

    def _fit(self) -> int:
        """How many workers there may be.

        Raises:
            StudyError: no node has room for one.
        """
        nodes = self._cluster.nodes()
        room = sum(_room(node, self._needs) for node in nodes)
        if room == 0:
            raise StudyError(
                f"acs.Ray: no node of the cluster has {self._needs.describe()} for a worker; "
                f"they have {'; '.join(map(_describe, nodes)) or 'nothing'}. Ask for less, or add a node"
            )
        if self._workers is not None and room < self._workers:
            _log.warning(
                "acs.Ray: the cluster has room for %d of %d workers with %s each; the others start when there is more",
                room, self._workers, self._needs.describe(),
            )  # fmt: skip
        return self._workers or room

    def start(self, events: queue.SimpleQueue[Event]) -> RayWorker:
        threads = max(1, int(self._needs.num_cpus))
        return RayWorker(self._cluster, self._needs, self._store, threads, events)

    def close(self, *, in_fork: bool = False) -> None:
        self._store.clear()
        self._cluster.disconnect(in_fork=in_fork)


def _pack(subject: Subject) -> Any:
    return pack(Equipment(subject, subject.device_type), subject)


def _room(node: Mapping[str, float], needs: Needs) -> int:
    """How many workers fit on a node."""
    wanted = needs.of_node()
    if not wanted:
        return 1
    return min(math.floor(node.get(name, 0.0) / amount + 1e-9) for name, amount in wanted.items())


def _describe(node: Mapping[str, float]) -> str:
    shown = {name: amount for name, amount in node.items() if ":" not in name}
    shown.pop("object_store_memory", None)
    return describe_amounts(dict(sorted(shown.items())))
