"""A verdict that is not made yet: its finished trainings are in the storage, and are not repeated."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from datetime import datetime
from typing import Any, Literal

from actsearch.records import CandidateRecord, Score, StudyRecord
from actsearch.storage import Lease, Storage

__all__ = ["Unfinished", "activations_json", "digest"]


class Unfinished:
    """The finished trainings of one confirmation, each stored as it ends.

    Attributes:
        number: of the confirmation; decides its seeds, and stays the same when it is interrupted.
    """

    def __init__(
        self, storage: Storage, study: StudyRecord, key: str, device: str, lease: Lease
    ) -> None:
        """Args:
        storage: where they are.
        study: whose.
        key: of everything that the verdict depends on.
        device: kind of device that trains.
        lease: of the study, held.
        """
        self._storage = storage
        self._key = key
        self._lease = lease
        self._begun = storage.begin_confirmation(study.id, key, device, lease)
        self._left = dict(self._begun.scores)
        self.number = self._begun.number

    @property
    def begun(self) -> datetime:
        """When it was begun; another moment after :meth:`begin_anew`."""
        return self._begun.created

    @property
    def left(self) -> int:
        """How many were stored by an interrupted call and have not been taken yet."""
        return len(self._left)

    def key(
        self,
        phase: Literal["search", "confirm"],
        position: int,
        record: CandidateRecord,
        seed: int,
        step: int,
        learning_rate: float | None,
    ) -> str:
        """A key of what a training depends on besides its confirmation.

        Args:
            phase: of the objective.
            position: of the contender, so that two that are the same activation are two trainings.
            record: what is trained.
            seed: under which seed.
            step: of the grid of learning rates.
            learning_rate: there; None where the objective has its own.
        """
        settings = [phase, position, activations_json(record), seed, step, learning_rate]
        return digest([self._key, *settings])

    def begin_anew(self) -> None:
        """Drop what an interrupted call stored: the same training gives another result now."""
        self._begun = self._storage.restart_confirmation(self._begun, self._lease)
        self._left = {}

    def take(self, key: str) -> Score | None:
        """The result of a training that an interrupted call stored; None if it has to be trained."""
        return self._left.pop(key, None)

    def add(self, scores: Mapping[str, Score], notes: Mapping[str, Mapping[str, Any]]) -> None:
        """Store trainings that have ended, with what readers are told of them.

        Raises:
            StudyError: another process has taken the study over.
        """
        self._storage.add_scores(self._begun, scores, self._lease, notes)


def activations_json(record: CandidateRecord) -> list[Any]:
    """What a candidate computes, as JSON data; not how it was made."""
    return [[group, item.to_json()] for group, item in record.activations.items()]


def digest(data: Any) -> str:
    """A hash of JSON data."""
    return hashlib.sha256(json.dumps(data, default=str).encode()).hexdigest()
