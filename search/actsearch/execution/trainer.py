"""What a worker does with the messages of its pool."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch

from actsearch.devices import take_device
from actsearch.errors import ActsearchError
from actsearch.evaluation import Pruner, Subject
from actsearch.execution.flow import remote_flow
from actsearch.execution.work import Job, Work

__all__ = ["Assignment", "Equipment", "Question", "Trainer", "terms_of"]

Terms = dict[str, Any]
"""The fields of a Work but for its subject, which is sent apart: the others change more often, and are small."""


def terms_of(work: Work) -> Terms:
    """Of a work."""
    return {
        field.name: getattr(work, field.name)
        for field in dataclasses.fields(work)
        if field.name != "subject"
    }


@dataclass(frozen=True)
class Equipment:
    """What is trained from now on.

    Attributes:
        subject: of the study.
        checked_on: kind of device on which the pool's own process has checked it.
    """

    subject: Subject
    checked_on: str


@dataclass(frozen=True)
class Assignment:
    """Jobs to be trained in one pass; see :meth:`Work.train`."""

    jobs: Sequence[Job]
    terms: Terms
    pruner: Pruner | None
    inexact: bool


@dataclass(frozen=True)
class Question:
    """What is measured where trainings run.

    Attributes:
        jobs: how many of them to train in one pass; none: how long a training takes.
        terms: of the work.
    """

    jobs: Sequence[Job]
    terms: Terms


class Trainer:
    """Answers messages; it keeps the subject, and what that learns of itself."""

    def __init__(self, threads: int, place: int = 0) -> None:
        """Args:
        threads: that torch may use.
        place: of this process among those that train, see :func:`actsearch.devices.take_device`.
        """
        torch.set_num_threads(threads)
        self._place = place
        self._subject: Subject | None = None

    def answer(self, message: Any) -> tuple[str, Any]:
        """Kind and content of the event that answers a message."""
        if isinstance(message, Equipment):
            return self._equip(message)
        assert self._subject is not None
        work = Work(self._subject, **message.terms)
        if isinstance(message, Question):
            if not message.jobs:
                return "answer", self._subject.forecast_seconds()
            batch = work.batch_for(message.jobs)
            return "answer", (batch, self._subject.stack_gain, torch.get_num_threads())
        return "done", work.train(message.jobs, pruner=message.pruner, inexact=message.inexact)

    def _equip(self, equipment: Equipment) -> tuple[str, Any]:
        self._subject, subject = None, equipment.subject
        remote_flow().given_up.clear()  # those of another study
        if subject.may_use_gpu:
            take_device(self._place)
        if subject.device_type not in ("", equipment.checked_on):
            try:
                subject.check()  # the pool's own process may have no such device
            except ActsearchError as error:
                return "refused", f"on a worker's {subject.device_type}: {error}"
        self._subject = subject
        return "ready", None
