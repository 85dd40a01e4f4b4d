"""Leaves out the tests that have passed before and notes those that pass, so that a long run can be gone on with."""

from __future__ import annotations

from pathlib import Path

import pytest

__all__ = ["Resuming", "add_option"]


def add_option(parser: pytest.Parser) -> None:
    """The option that asks for it."""
    parser.addoption(
        "--resume",
        metavar="FILE",
        type=Path,
        help="leave out the tests that are named in FILE, and add those that pass",
    )


class Resuming:
    """A plugin of pytest; under xdist every worker leaves out, and the process that started them notes."""

    def __init__(self, config: pytest.Config, path: Path) -> None:
        self._path = path
        self._notes = not hasattr(config, "workerinput")
        self._passed = set(path.read_text().splitlines() if path.exists() else ())

    def pytest_collection_modifyitems(
        self, config: pytest.Config, items: list[pytest.Item]
    ) -> None:
        """Leave out."""
        left = [item for item in items if item.nodeid not in self._passed]
        config.hook.pytest_deselected(
            items=[item for item in items if item.nodeid in self._passed]
        )
        items[:] = left

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Note a test when its fixtures have been torn down as well."""
        if not self._notes:
            return
        if report.when == "call" and report.passed:
            self._passed.add(report.nodeid)
        elif report.failed:
            self._passed.discard(report.nodeid)
        if report.when == "teardown" and report.nodeid in self._passed:
            with self._path.open("a") as file:
                file.write(report.nodeid + "\n")
