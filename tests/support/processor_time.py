"""Fails a test that is not marked slow and takes more than a second of processor time, its child processes included.

Processor time and not the clock's: on a shared machine a test may wait for long through no fault of its own. Left out
are fixtures of a wider scope than one test, which whichever test comes first would have to pay for, and tests during
which libraries are imported for the first time in the process: that takes seconds, in whichever test it falls. What
hypothesis reads and tabulates before its first example in a process (2 s where no earlier run has left it a folder) is
done before the first test that is counted with it.
Processor time itself doubles where another process wants the same core's caches. So a test above the limit is judged by
a unit of work that is measured directly after it: what it took is divided by how much longer than on the quiet
reference machine that unit took now.
"""

from __future__ import annotations

import os
import resource
import sys
import time
from collections.abc import Generator
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

__all__ = ["ProcessorTime"]

LIMIT = 1.0
"""Seconds on the reference machine: a virtual one with 2 cores of an AMD EPYC and nothing else to do, in 2026."""

_MARGIN = 2.0
"""A test fails above so many times the limit: with four processes for each core, three runs of one test came to figures
that differed by up to 1.9 times, after the division by what the unit took."""

_UNIT = 0.040
"""Seconds of processor time that :func:`_unit` takes there."""

_TICKS = os.sysconf("SC_CLK_TCK")
_LIBRARY = 20
"""So many modules first imported during a test are a library; a test that imports files of its own stays below."""

_PROPERTY = "processor time"


class ProcessorTime:
    """A plugin of pytest; with ``--durations=N`` it prints the N tests that took most."""

    def __init__(self) -> None:
        self._wide = 0.0  # what fixtures of a wider scope took since the test began
        self._depth = 0
        self._drew = False

    @pytest.hookimpl(wrapper=True)
    def pytest_fixture_setup(
        self, fixturedef: pytest.FixtureDef[Any]
    ) -> Generator[None, object, object]:
        """Count apart what several tests share."""
        if fixturedef.scope == "function" or self._depth:
            return (yield)
        self._depth += 1
        before = _spent()
        try:
            return (yield)
        finally:
            self._depth -= 1
            self._wide += _spent() - before

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_runtest_setup(self, item: pytest.Item) -> Generator[None]:
        """Begin to count."""
        self._wide = 0.0
        if not self._drew and getattr(getattr(item, "obj", None), "is_hypothesis_test", False):
            self._drew = True
            _first_example()
        item.stash[_BEGUN] = (_spent(), len(sys.modules))
        return (yield)

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_runtest_call(self, item: pytest.Item) -> Generator[None]:
        """Fail a test that took too long and would have passed."""
        yield
        begun, modules = item.stash[_BEGUN]
        took = _spent() - begun - self._wide
        item.user_properties.append((_PROPERTY, round(took, 3)))
        if took <= LIMIT or any(
            map(item.get_closest_marker, ("slow", "browser", "measured", "whole"))
        ):
            return
        if len(sys.modules) - modules >= _LIBRARY:
            return
        scaled = took / max(1.0, _unit() / _UNIT)
        if scaled > _MARGIN * LIMIT:
            pytest.fail(
                f"took {took:.2f} s of processor time with its child processes, on a quiet machine {scaled:.2f} s: the "
                f"limit of a test that is not marked slow is {LIMIT:g} s (tests/README.md)",
                pytrace=False,
            )

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        """Print the sum, and the dearest tests if durations are asked for."""
        count = terminalreporter.config.getoption("durations")
        if count is None:
            return
        found = [
            (float(str(value)), report.nodeid)
            for reports in terminalreporter.stats.values()
            for report in reports
            if isinstance(report, pytest.TestReport) and report.when == "call"
            for name, value in report.user_properties
            if name == _PROPERTY
        ]
        found.sort(reverse=True)
        terminalreporter.section(f"processor time: {sum(took for took, _ in found):.0f} s")
        for took, name in found[: count or None]:
            terminalreporter.write_line(f"{took:7.2f} s  {name}")


_BEGUN = pytest.StashKey[tuple[float, int]]()


@settings(max_examples=1, database=None, deadline=None)
@given(st.integers(), st.floats(), st.text())
def _first_example(integer: int, number: float, text: str) -> None:
    """Has hypothesis collect the constants of our modules and the table of characters."""
    del integer, number, text


def _spent() -> float:
    """Processor time of this process and of its descendants, alive or waited for."""
    own = resource.getrusage(resource.RUSAGE_SELF)
    ended = resource.getrusage(resource.RUSAGE_CHILDREN)
    return own.ru_utime + own.ru_stime + ended.ru_utime + ended.ru_stime + _living(os.getpid())


def _living(pid: int) -> float:
    """Of the descendants that are alive, and of those that they have waited for; 0 where there is no /proc."""
    total = 0.0
    try:
        for task in os.listdir(f"/proc/{pid}/task"):
            for child in _read(f"/proc/{pid}/task/{task}/children").split():
                # after the name in parentheses: the state is field 3; utime, stime, cutime, cstime are 14 to 17
                number = int(child)
                fields = _read(f"/proc/{number}/stat").rpartition(b")")[2].split()
                total += sum(map(int, fields[11:15])) / _TICKS + _living(number)
    except OSError:  # it has ended meanwhile; who waits for it is told its time
        pass
    return total


def _read(path: str) -> bytes:
    """A file of /proc, twice for each test and process: through a file object it would take three times as long."""
    file = os.open(path, os.O_RDONLY)
    try:
        return os.read(file, 1 << 16)
    finally:
        os.close(file)


def _unit() -> float:
    """Processor time of a unit of Python's own work: the largest of five, in favour of the test that is judged."""
    tries = []
    for _ in range(5):
        begun = time.process_time()
        table: dict[int, str] = {}
        for number in range(300_000):
            table[number % 997] = str(number)
        tries.append(time.process_time() - begun)
    return max(tries)
