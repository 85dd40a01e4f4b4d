"""Trials that come and are decided on while others run, as a study with ``parallel`` has them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from actsearch.execution.work import Job

__all__ = ["Flow", "GivenUp", "RemoteFlow", "remote_flow"]


class Flow(Protocol):
    """The driver, as an executor may ask it while it runs; a :class:`actsearch.evaluation.followed.Follower`.

    An executor that does not ask is handed further jobs when it has answered all it has, and reports no rung: the
    trials are the same, but workers wait for each other, and what will be pruned is trained to its end.
    """

    # not inherited: a process that only hands on what others train imports this, and not torch
    @property
    def given_up(self) -> Mapping[int, int]:
        """See :class:`Follower`."""

    def report(self, step: int, values: Mapping[int, float]) -> None:
        """See :class:`Follower`."""

    def take(self) -> Sequence[Job]:
        """Further jobs, for workers that are free: all that may be trained now, and maybe none."""


@dataclass(frozen=True)
class GivenUp:
    """A message to a process that trains.

    Attributes:
        steps: by number of trial, the epoch or step at which it ends.
    """

    steps: Mapping[int, int]


class RemoteFlow:
    """What stands for the driver in another process: it hands on what is reported, and hears who is given up.

    Attributes:
        given_up: by number of trial, the epoch or step at which it ends.
    """

    def __init__(self) -> None:
        self.given_up: dict[int, int] = {}
        self._send: Callable[[str, Any], None] | None = None

    def connect(self, send: Callable[[str, Any], None]) -> None:
        """Hand on what is reported from now on."""
        self._send = send
        self.given_up = {}

    def report(self, step: int, values: Mapping[int, float]) -> None:
        """See :class:`Follower`."""
        if self._send is not None and values:
            self._send("reached", (step, dict(values)))

    def take(self) -> Sequence[Job]:
        """Nothing: the driver asks nobody here."""
        return []

    def __reduce__(self) -> tuple[Callable[[], RemoteFlow], tuple[()]]:
        return remote_flow, ()


_remote = RemoteFlow()


def remote_flow() -> RemoteFlow:
    """The one of this process. What a driver's flow becomes where it is sent."""
    return _remote
