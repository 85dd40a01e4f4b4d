"""The data of a task in the object store of a cluster, while its nodes are lost."""

from __future__ import annotations

import threading
from typing import Any, cast

import numpy as np

from actsearch.evaluation import Subject
from actsearch.execution.on_ray.cluster import Cluster
from actsearch.execution.on_ray.worker import DataStore
from actsearch.execution.parcel import Parcel

PARTS = tuple(np.full(1000, number, np.uint8) for number in range(4))


class Puts:
    """Stands for a cluster: counts what is put, and once has a node lost meanwhile.

    Attributes:
        store: told of the loss.
        loses_at: while this part is put; -1 for never.
    """

    def __init__(self) -> None:
        self.store: DataStore | None = None
        self.loses_at = -1
        self.places: list[str] = []

    def put(self, part: Any) -> str:
        """A place in the object store."""
        self.places.append(f"{len(self.places)} has {part[0]}")
        if part[0] == self.loses_at and self.store is not None:
            self.loses_at = -1
            for _ in range(2):  # several workers of the node, each with a thread of its own
                thread = threading.Thread(target=self.store.renew)
                thread.start()
                thread.join(10)
                assert not thread.is_alive()  # a put may take minutes
        return self.places[-1]


def make_store(cluster: Puts) -> DataStore:
    cluster.store = DataStore(cast(Cluster, cluster), lambda subject: Parcel(PARTS))
    return cluster.store


class TestALossWhileDataIsPut:
    def test_all_of_it_is_there_and_none_from_before_the_loss(self) -> None:
        for at in range(4):
            cluster, subject = Puts(), cast(Subject, object())
            store = make_store(cluster)
            cluster.loses_at = at
            held = store.hold(subject)
            assert [place.split()[-1] for _, place in held] == ["0", "1", "2", "3"]
            assert all(int(place.split()[0]) > at for _, place in held)
            assert store.hold(subject) is held

    def test_what_is_the_same_in_another_subject_is_put_once(self) -> None:
        cluster = Puts()
        store = make_store(cluster)
        held = store.hold(cast(Subject, object()))
        assert list(store.hold(cast(Subject, object()))) == list(held)
        assert len(cluster.places) == 4
        store.renew()
        store.hold(cast(Subject, object()))
        assert len(cluster.places) == 8
