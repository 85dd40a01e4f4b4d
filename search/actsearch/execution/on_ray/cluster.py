"""The door to Ray: a connection, actors, the object store, and why an actor is there no more."""

from __future__ import annotations

import contextlib
import os
import secrets
import signal
import socket
import sys
import threading
import time
import warnings
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from actsearch.errors import StudyError
from actsearch.execution.on_ray import host
from actsearch.execution.transport import Loss

__all__ = ["Cluster", "HostFailed", "HostLost", "Needs", "describe_amounts"]

_REACH_SECONDS = 5.0  # for an answer at an address; Ray itself waits a minute, or ends the process
_LAST_WORDS = 1.0  # seconds until Ray has handed on what workers printed
_ERROR = 40  # level of Ray's own log in this process: what matters to a search is said by us


class HostLost(Exception):
    """An actor is there no more; its argument is a :class:`Loss`."""


class HostFailed(Exception):
    """An actor cannot be there; its argument says why."""


@dataclass(frozen=True)
class Needs:
    """What a worker takes of a node.

    Attributes:
        num_cpus: processors, which are also its torch threads.
        num_gpus: of those that only it sees; may be a part of one.
        resources: the cluster's own kinds.
        memory: bytes of main memory; 0 for any.
        runtime_env: in which environment it starts.
    """

    num_cpus: float
    num_gpus: float
    resources: Mapping[str, float] = field(default_factory=dict)
    memory: int = 0
    runtime_env: Mapping[str, Any] | None = None

    def of_node(self) -> dict[str, float]:
        """By the names that Ray gives them."""
        wanted = {"CPU": self.num_cpus, "GPU": self.num_gpus, "memory": self.memory}
        return {name: amount for name, amount in (wanted | dict(self.resources)).items() if amount}

    def describe(self) -> str:
        """In words."""
        return describe_amounts(self.of_node()) or "nothing"


def describe_amounts(amounts: Mapping[str, float]) -> str:
    """Resources in words."""
    return ", ".join(
        f"{amount / 1e9:.3g} GB {name}" if name == "memory" else f"{amount:g} {name}"
        for name, amount in amounts.items()
    )


class Cluster:
    """A connection to a cluster, or to one on this machine that starts and ends with it.

    Attributes:
        gpus: of all nodes, when it was reached.
    """

    gpus = 0.0

    def __init__(self, address: str | None) -> None:
        """Args:
        address: as of ``ray.init``.
        """
        self._address = address
        self._ray: Any = None
        self._is_ours = False
        self._environment: dict[str, str | None] = {}

    @property
    def is_open(self) -> bool:
        """Whether it was reached."""
        return self._ray is not None and bool(self._ray.is_initialized())

    def connect(self, cpus: float) -> None:
        """Reach it.

        Args:
            cpus: at least so many for one that starts on this machine.

        Raises:
            StudyError: Ray is not installed, or there is no cluster that it can use.
        """
        if self.is_open:
            return
        try:
            import ray
        except ImportError as error:
            raise StudyError(
                f"acs.Ray needs the package ray ({error}): pip install 'actsearch[ray]', here and on every node"
            ) from None
        if self._address is not None and "://" in self._address:
            raise StudyError(
                f"acs.Ray(address={self._address!r}): a Ray Client cannot drive a study; run the script on a machine "
                "of the cluster, as with `ray job submit`, and give address='auto'"
            )
        if not ray.is_initialized():
            self._init(ray, cpus)
            self._is_ours = True
        elif self._address not in (None, "auto", "local", ray.get_runtime_context().gcs_address):
            raise StudyError(
                f"acs.Ray(address={self._address!r}): this process is connected to the cluster at "
                f"{ray.get_runtime_context().gcs_address} already; call ray.shutdown() first, or leave the address out"
            )
        ray.cloudpickle.register_pickle_by_value(host)
        self._ray = ray
        self.gpus = sum(node.get("GPU", 0.0) for node in self.nodes())

    def _init(self, ray: Any, cpus: float) -> None:
        settings: dict[str, Any] = {"logging_level": _ERROR}
        try:
            with _kept_signals(), warnings.catch_warnings():
                warnings.simplefilter("ignore")  # of what a later Ray will do
                if self._address not in (None, "local"):
                    self._check_reachable()
                    ray.init(self._address, **settings)
                    return
                try:
                    self._set_token(ray)
                    ray.init(
                        self._address,
                        num_cpus=max(int(cpus + 0.999), len(os.sched_getaffinity(0))),
                        include_dashboard=False,
                        **settings,
                    )
                except ValueError:
                    if self._address == "local":
                        raise
                    # there is one on this machine, to which num_cpus cannot be given
                    self._restore_environment(ray)
                    ray.init(self._address, **settings)
        except Exception as error:  # Ray's are of many kinds, bare ones among them
            self._restore_environment(ray)
            raise StudyError(self._describe_failure(error)) from error

    def _check_reachable(self) -> None:
        name, _, port = (self._address or "").rpartition(":")
        if name and port.isdigit():
            with socket.create_connection((name.strip("[]"), int(port)), _REACH_SECONDS):
                pass

    def _describe_failure(self, error: Exception) -> str:
        text = str(error).strip() or type(error).__name__
        where = f"acs.Ray(address={self._address!r})"
        if "ersion mismatch" in text:
            return (
                f"{where}: the cluster runs another version of Python or Ray: {' '.join(text.split())}; "
                "use the same ones here and there"
            )
        if "uthentication" in text:
            return (
                f"{where}: the cluster wants a token that is not here: set RAY_AUTH_TOKEN to it, "
                "or copy ~/.ray/auth_token from there"
            )
        if "during startup" in text:
            return f"{where}: Ray did not start on this machine, which may be too busy: {text}"
        return (
            f"{where}: no Ray cluster answers there ({text.splitlines()[0]}); start one with `ray start --head`, "
            "or leave the address out for one on this machine"
        )

    def _set_token(self, ray: Any) -> None:
        """Give the new cluster a token of its own: Ray would leave one in the home folder, for whatever comes after."""
        has_own = any(
            name in os.environ
            for name in ("RAY_AUTH_MODE", "RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH")
        )
        if not has_own and not (Path.home() / ".ray" / "auth_token").exists():
            self._set_environment("RAY_AUTH_MODE", "token")
            self._set_environment("RAY_AUTH_TOKEN", secrets.token_hex(32))
            self._forget_token(ray)

    def _set_environment(self, name: str, value: str) -> None:
        self._environment[name] = os.environ.get(name)
        os.environ[name] = value

    def _restore_environment(self, ray: Any) -> None:
        while self._environment:
            name, value = self._environment.popitem()
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value
            self._forget_token(ray)

    @staticmethod
    def _forget_token(ray: Any) -> None:
        """Have Ray read the environment again: it keeps token and mode for the life of a process."""
        with contextlib.suppress(AttributeError):  # of another version
            ray._raylet.Config.initialize("")
            ray._raylet.AuthenticationTokenLoader.instance().reset_cache()

    def disconnect(self, *, in_fork: bool = False) -> None:
        """End the connection, if it was made here; in a fork it is the parent's."""
        ray, self._ray = self._ray, None
        if ray is not None and self._is_ours and not in_fork:
            time.sleep(_LAST_WORDS)
            with _kept_signals():
                ray.shutdown()
            self._restore_environment(ray)
        self._is_ours = False

    def nodes(self) -> list[dict[str, float]]:
        """The resources of each node that is alive."""
        return [node["Resources"] for node in self._ray.nodes() if node["Alive"]]

    # actors

    def start(self, needs: Needs) -> Any:
        """Start a host, without waiting for it."""
        actor = self._ray.remote(
            host.Host
        ).options(
            num_cpus=needs.num_cpus,
            num_gpus=needs.num_gpus,
            resources=dict(needs.resources) or None,
            memory=needs.memory or None,
            runtime_env=None if needs.runtime_env is None else dict(needs.runtime_env),
            scheduling_strategy="SPREAD",
            max_restarts=0,
            max_concurrency=2,  # one call that waits for its child, and one that tells this something
            max_task_retries=0,
        )
        folder = "" if "working_dir" in (needs.runtime_env or {}) else os.getcwd()
        return actor.remote(list(sys.path), list(sys.argv), folder)

    def put(self, data: Any) -> Any:
        """Put an array into the object store; what it is passed on as."""
        return self._ray.put(data)

    def call(self, method: Any, *arguments: Any, seconds: float | None = None) -> Any:
        """What a method of a host returns.

        Raises:
            HostLost: it is there no more, or has not answered after so many seconds.
            HostFailed: it cannot be there.
        """
        with self._translated():
            return self._ray.get(method.remote(*arguments), timeout=seconds)

    def tell(self, method: Any, *arguments: Any) -> None:
        """Call a method of a host and wait for nothing; one that is gone says so elsewhere."""
        with contextlib.suppress(Exception):
            method.remote(*arguments)

    def stream(self, method: Any, *arguments: Any) -> Iterator[Any]:
        """What a method of a host yields, as it comes.

        Raises:
            HostLost: it is there no more.
        """
        with self._translated():
            for item in method.remote(*arguments):
                yield self._ray.get(item)

    def kill(self, actor: Any) -> None:
        """End a host, whatever it does, or before it has begun."""
        if self.is_open:
            with contextlib.suppress(Exception):  # it is gone, or the cluster is
                self._ray.kill(actor, no_restart=True)

    @contextlib.contextmanager
    def _translated(self) -> Iterator[None]:
        errors = self._ray.exceptions
        try:
            yield
        except errors.RuntimeEnvSetupError as error:
            raise HostFailed(
                f"the runtime_env of acs.Ray cannot be set up: {_short(error)}"
            ) from error
        except errors.ActorUnschedulableError as error:
            raise HostFailed(
                f"the cluster has no place for a worker of acs.Ray: {_short(error)}"
            ) from error
        except (errors.OutOfMemoryError, errors.ObjectStoreFullError) as error:
            raise HostLost(
                Loss(f"memory of its node ran out: {_short(error)}", "memory")
            ) from error
        except errors.RayActorError as error:
            raise self._explain(error) from error
        except errors.RayTaskError as error:
            raise HostFailed(f"a worker of acs.Ray failed: {_short(error)}") from error
        except errors.RayError as error:  # what it has said is lost
            raise HostLost(
                Loss(f"the connection to its worker was lost: {_short(error)}", "machine")
            ) from error

    @staticmethod
    def _explain(error: Exception) -> Exception:
        text = str(error)
        if getattr(error, "actor_init_failed", False) or "in its creation task" in text:
            return HostFailed(f"a worker of acs.Ray did not start: {_short(error)}")
        if "memory pressure" in text or "running low on memory" in text:
            return HostLost(Loss("Ray ended its worker as memory of the node ran out", "memory"))
        return HostLost(
            Loss("its worker was lost, with its node or ended from outside", "machine")
        )


def _short(error: Exception) -> str:
    """The last line of a text that may hold a traceback."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[-1][:300] if lines else type(error).__name__


@contextlib.contextmanager
def _kept_signals() -> Iterator[None]:
    """Put back what Ray replaces."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            if handler is not None:
                signal.signal(number, handler)
