"""``kill -9`` at any moment: the file stays whole, nothing reported is lost, and the search goes on as if unbroken."""

from __future__ import annotations

import itertools
import random
import signal
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from driven import SEARCH, Launcher, Row, check_file, ended_trials, rows_of

TOTAL = 45  # trained trials: several logical batches of each strategy
FEW = 18  # two of random and of bayesian search


class Driver:
    """Starts the search, kills it, and remembers what it has reported."""

    def __init__(self, launcher: Launcher, path: Path, *settings: object) -> None:
        self._launcher = launcher
        self.path = path
        self.url = f"sqlite:///{path}"
        self.reported: dict[int, tuple[str, str]] = {}
        self._settings = settings

    def run(self, kill_after: tuple[int, float] | None = None) -> bool:
        """Whether the search came to its end; kill it some seconds after so many trials were reported."""
        child = self._launcher.start(SEARCH, self.url, *self._settings)
        assert child.read(1) == ["READY"], child.errors
        if kill_after is not None:
            child.read(kill_after[0])
            time.sleep(kill_after[1])
            child.kill()
        code = child.wait()
        for line in child.lines:
            if line.startswith("DONE "):
                _, number, state, value = line.split()
                assert int(number) not in self.reported, "a reported trial was trained again"
                self.reported[int(number)] = (state, value)
        ended = "END" in child.lines
        assert ended or (kill_after and code == -signal.SIGKILL), child.errors
        return ended

    def check(self) -> None:
        """The file is whole and holds everything that was reported."""
        if not self.path.exists():
            assert not self.reported
            return
        check_file(self.path)
        ended = ended_trials(self.path)
        for number, said in self.reported.items():
            assert ended[number] == said


def _killed_and_resumed(
    launcher: Launcher,
    folder: Path,
    expected: list[Row],
    kills: int,
    strategy: str,
    batch: int = 1,
    pruned: bool = False,
    total: int = TOTAL,
) -> list[int]:
    """Kill the search many times; compare with one that was not. Returns how far each kill let it come."""
    rng = random.Random(f"{strategy} {kills} {batch} {pruned}")
    settings = (strategy, total, batch, int(pruned))
    driver = Driver(launcher, folder / "0.db", *settings)
    progress: list[int] = []
    while len(progress) < kills:
        trials = rng.randint(0, 2 * total // (kills + 1))
        seconds = rng.uniform(0, 0.1 if trials else 0.5)  # making the file, or some trials further
        ended = driver.run((trials, seconds))
        driver.check()
        if ended:  # it was faster: begin anew
            assert rows_of(driver.url) == expected
            driver = Driver(launcher, folder / f"{len(progress)}.db", *settings)
            continue
        progress.append(len(driver.reported))
    assert driver.run()
    driver.check()
    assert rows_of(driver.url) == expected
    assert sum(row[1] in ("COMPLETE", "FAILED", "PRUNED") for row in expected) == total
    return progress


@pytest.fixture(scope="module")
def expected(
    request: pytest.FixtureRequest, unbroken: Callable[[str, int, bool], list[Row]]
) -> list[Row]:
    """The trials of a short search that nothing happened to."""
    strategy, pruned = request.param
    return unbroken(strategy, FEW, pruned)


@pytest.mark.parametrize(
    ("expected", "strategy", "batch", "pruned"),
    [(("random", False), "random", 1, False), (("bayesian", True), "bayesian", 4, True)],
    indirect=["expected"],
)
def test_a_search_killed_and_resumed_makes_the_same_trials(
    launcher: Launcher,
    expected: list[Row],
    tmp_path: Path,
    strategy: str,
    batch: int,
    pruned: bool,
) -> None:
    _killed_and_resumed(launcher, tmp_path, expected, 1, strategy, batch, pruned, FEW)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("strategy", "batch", "pruned"),
    [
        *itertools.product(("random", "bayesian", "genetic"), (1, 4), (False, True)),
        ("gradient", 1, False),
    ],
)
def test_so_does_one_that_is_killed_again_and_again(
    launcher: Launcher,
    unbroken: Callable[[str, int, bool], list[Row]],
    tmp_path: Path,
    strategy: str,
    batch: int,
    pruned: bool,
) -> None:
    expected = unbroken(strategy, TOTAL, pruned)
    assert any(row[1] == "PRUNED" for row in expected) == (pruned or strategy == "gradient")
    progress = _killed_and_resumed(launcher, tmp_path, expected, 50, strategy, batch, pruned)
    print(f"{strategy}, {batch} in a stack, {pruned}: reported after each kill {progress}")
    assert len(set(progress)) > 5  # the kills came at different moments
