"""One thread for every test, and the smallest task that really trains."""

from __future__ import annotations

import gc
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import postgresql_server
import processor_time
import pytest
import ray_clusters
import resuming
import torch
import torch.nn.functional as F
from driven import Launcher
from torch import nn

import actsearch as acs

gc.disable()
# until the tests are known: a quarter of the time to import and collect went into looking through what stays anyway


@pytest.hookimpl(tryfirst=True)
def pytest_runtestloop() -> None:
    """From here on garbage is collected, but not looked for among what was imported and collected."""
    gc.freeze()
    gc.enable()


def pytest_sessionfinish(session: pytest.Session) -> None:
    """What is frozen is hidden from gc.get_referrers, which hypothesis asks where it is imported for its summary.

    The launcher, which no test may have asked for, ends here: later, xdist ends its processes at any moment.
    """
    gc.unfreeze()
    if launcher := session.config.stash.get(_LAUNCHER, None):
        launcher.close()


def pytest_addoption(parser: pytest.Parser) -> None:
    """Options of these tests."""
    resuming.add_option(parser)


def pytest_configure(config: pytest.Config) -> None:
    """A test that takes more than a second is marked slow, or fails; long runs can be gone on with.

    A shell that starts them in the background has them ignore Ctrl-C, and with them every program that they start.
    """
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    config.pluginmanager.register(processor_time.ProcessorTime(), "processor_time")
    if path := config.getoption("resume"):
        config.pluginmanager.register(resuming.Resuming(config, path), "resuming")


@pytest.hookimpl(tryfirst=True)
def pytest_report_to_serializable(report: Any) -> None:
    """What a test logged may hold text that cannot travel from one process of the tests to another."""
    if isinstance(report, pytest.TestReport):
        report.sections = [
            (name, text.encode("utf-8", "backslashreplace").decode())
            for name, text in report.sections
        ]


@pytest.fixture(scope="session", autouse=True)
def one_thread() -> None:
    """Sums over threads differ in the last digit, and the tests of one machine share its cores."""
    torch.set_num_threads(1)


def _tiny_model() -> nn.Module:
    return nn.Sequential(nn.Linear(2, 8), nn.ReLU(), nn.Linear(8, 2))


@pytest.fixture
def tiny_task() -> acs.Task:
    """The smallest task that really trains."""
    return _make_tiny_task()


@pytest.fixture(scope="session")
def make_tiny_task() -> Callable[[], acs.Task]:
    """Makes the same, for fixtures that several tests share."""
    return _make_tiny_task


def _make_tiny_task() -> acs.Task:
    """Two classes in the plane, an MLP 2-8-2, one epoch: a training takes about 10 ms."""
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(96, 2, generator=generator)
    y = (x[:, 0] * x[:, 1] > 0).long()
    return acs.Task(
        model=_tiny_model,
        train=(x[:64], y[:64]),
        valid=(x[64:80], y[64:80]),
        test=(x[80:], y[80:]),
        loss=F.cross_entropy,
        metric="loss",
        tune_lr=False,
        epochs=1,
        batch_size=32,
        lr=1e-2,
        device="cpu",
    )


@pytest.fixture
def sqlite_url(tmp_path: Path) -> str:
    """A database file that does not exist yet."""
    return f"sqlite:///{tmp_path / 'study.db'}"


_LAUNCHER = pytest.StashKey[Launcher]()


def pytest_collection_finish(session: pytest.Session) -> None:
    """Before the first test there is nothing yet that a launcher must not inherit."""
    needs = any("launcher" in getattr(item, "fixturenames", ()) for item in session.items)
    if needs and not session.config.option.collectonly:
        session.config.stash[_LAUNCHER] = Launcher()


@pytest.fixture(scope="session")
def launcher(pytestconfig: pytest.Config) -> Launcher:
    """Starts scripts in processes of their own."""
    if _LAUNCHER not in pytestconfig.stash:  # it was asked for by name alone
        pytestconfig.stash[_LAUNCHER] = Launcher()
    return pytestconfig.stash[_LAUNCHER]


@pytest.fixture(scope="session")
def server() -> Iterator[postgresql_server.Server]:
    """A PostgreSQL server; the test is skipped where none can be started."""
    if reason := postgresql_server.missing():
        pytest.skip(reason)
    with postgresql_server.running_server() as running:
        yield running


@pytest.fixture(scope="session")
def ray_cluster() -> Iterator[Any]:
    """A Ray cluster, to which this process is connected; the test is skipped where none can be started."""
    if reason := ray_clusters.missing():
        pytest.skip(reason)
    with ray_clusters.running_cluster() as cluster:
        yield cluster


@pytest.fixture
def postgresql_url(server: postgresql_server.Server) -> str:
    """An empty place on a server."""
    return server.new_schema()


@pytest.fixture(params=["sqlite", "postgresql"])
def database_url(request: pytest.FixtureRequest) -> str:
    """A place for a storage, once on each kind of database; nothing is stored there yet."""
    return str(request.getfixturevalue(f"{request.param}_url"))


@pytest.fixture
def distance() -> Callable[[acs.Candidate, acs.Run], float]:
    """An objective without training: mean squared distance of the function to x*tanh(x); to be minimised."""
    x = torch.linspace(-3, 3, 61).unsqueeze(1)
    wanted = x * torch.tanh(x)

    def objective(candidate: acs.Candidate, run: acs.Run) -> float:
        torch.default_generator.manual_seed(
            run.seed
        )  # torch.manual_seed is slow: it looks for GPUs
        with torch.no_grad():
            return float((candidate.module(channels=1).eval()(x) - wanted).square().mean())

    return objective
