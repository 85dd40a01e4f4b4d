"""``kill -9`` at any moment of a confirmation: no training is lost or repeated, and the verdict is as if unbroken."""

from __future__ import annotations

import json
import random
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from driven import CONFIRM, Child, Launcher, check_file
from postgresql_server import Server

TRIALS = 6
SETTINGS = {
    "task": ("task", TRIALS, 0, 1),
    "stacked": ("stacked", TRIALS, 0, 1),
    "callable": ("callable", TRIALS, 0.002, 1),
    "two": ("task", TRIALS, 0, 1, 2),  # one verdict after the other
    "two stacked": ("stacked", TRIALS, 0, 1, 2),
}


class Stored:
    """What a database holds of confirmations; read without our code."""

    def __init__(self, url: str) -> None:
        engine = sa.create_engine(url, poolclass=sa.NullPool)
        with engine.connect() as connection:

            def rows(query: str) -> list[Any]:
                return [tuple(row) for row in connection.exec_driver_sql(query)]

            tables = set(sa.inspect(connection).get_table_names())
            self.made = "confirmation_trainings" in tables
            self.verdicts = rows(_VERDICTS) if self.made else []
            self.scores = dict(rows(_SCORES)) if self.made else {}
            self.looks = rows(_LOOKS)[0][0] or 0 if self.made else 0
            self.open = len(rows("SELECT id FROM open_confirmations")) if self.made else 0
            self.leases = len(rows("SELECT study_id FROM leases")) if self.made else 0


_VERDICTS = "SELECT number, CAST(verdict AS TEXT) FROM confirmations ORDER BY id"
_SCORES = "SELECT key, CAST(score AS TEXT) FROM confirmation_trainings"
_LOOKS = "SELECT sum(comparisons) FROM looks"


class Confirming:
    """Starts the search with its verdicts, kills it, and remembers which trainings it has reported."""

    def __init__(self, launcher: Launcher, url: str, name: str) -> None:
        self._launcher = launcher
        self.url = url
        self._settings = SETTINGS[name]
        self.reported: list[str] = []
        self.before = Stored(url) if Path(url.removeprefix("sqlite:///")).exists() else None

    def start(self) -> Child:
        """Until it begins with its first verdict."""
        child = self._launcher.start(CONFIRM, self.url, *self._settings)
        assert child.read(2) == ["READY", "SEARCHED"], child.errors
        return child

    def run(self, kill_after: tuple[int, float] | None = None, number: int = 9) -> bool:
        """Whether it came to its end; send it a signal some seconds after it said so many more lines."""
        child = self.start()
        if kill_after is not None:
            child.read(kill_after[0])
            time.sleep(kill_after[1])
            child.signal(number)
        code = child.wait()
        self.reported += [line for line in child.lines if line.startswith("DONE ")]
        ended = "END" in child.lines
        assert ended or (kill_after and code in (-number, 1)), child.errors
        self.check()
        return ended

    def check(self) -> None:
        """The database is whole, and no score that was there is gone or another, but for its verdict."""
        if self.url.startswith("sqlite"):
            check_file(Path(self.url.removeprefix("sqlite:///")))
        now = Stored(self.url)
        reported = [line.removeprefix("DONE ") for line in self.reported]
        assert len(set(reported)) == len(reported), "a training that was stored was made again"
        if self.before is not None:
            assert now.verdicts[: len(self.before.verdicts)] == self.before.verdicts
            if len(now.verdicts) == len(self.before.verdicts):
                assert self.before.scores.items() <= now.scores.items()
                assert now.looks >= self.before.looks
        self.before = now


Whole = tuple[list[Any], int, list[str]]
Unbroken = Callable[[str], Whole]


@pytest.fixture(scope="session")
def unbroken_verdicts(launcher: Launcher, tmp_path_factory: pytest.TempPathFactory) -> Unbroken:
    """Verdicts, looks and trainings of one that nothing happened to."""
    known: dict[str, Whole] = {}
    folder = tmp_path_factory.mktemp("unbroken")

    def of(name: str) -> Whole:
        if name not in known:
            whole = Confirming(launcher, f"sqlite:///{folder}/{len(known)}.db", name)
            assert whole.run()
            stored = Stored(whole.url)
            assert (stored.open, stored.scores, stored.leases) == (0, {}, 0)
            known[name] = (stored.verdicts, stored.looks, whole.reported)
        return known[name]

    return of


@pytest.fixture(scope="session")
def whole_stacked(unbroken_verdicts: Unbroken) -> Whole:
    return unbroken_verdicts("stacked")


@pytest.fixture(scope="session")
def whole_callable(unbroken_verdicts: Unbroken) -> Whole:
    return unbroken_verdicts("callable")


def _check_end(confirming: Confirming, unbroken: Whole) -> None:
    """As if nothing had happened: verdicts to the last digit, as many looks, no training lost or made again."""
    verdicts, looks, trainings = unbroken
    stored = Stored(confirming.url)
    assert [number for number, _ in stored.verdicts] == list(range(len(verdicts)))
    assert [json.loads(text) for _, text in stored.verdicts] == [
        json.loads(text) for _, text in verdicts
    ]
    assert stored.looks == looks
    assert (stored.open, stored.scores) == (0, {})
    assert set(confirming.reported) <= set(trainings)


def _killed_and_resumed(
    launcher: Launcher, urls: Callable[[int], str], name: str, kills: int, unbroken: Any
) -> list[int]:
    """Kill it many times; compare with one that was not. Returns how many trainings were stored after each kill."""
    rng = random.Random(f"{name} {kills}")
    lines = len(unbroken[2]) + 2 * len(unbroken[0])  # JUDGED and STORED besides
    confirming = Confirming(launcher, urls(0), name)
    progress: list[int] = []
    while len(progress) < kills:
        moment = (rng.randint(0, 2 * lines // (min(kills, 8) + 1)), rng.uniform(0, 0.02))
        if confirming.run(moment):  # it was faster: begin anew
            _check_end(confirming, unbroken)
            confirming = Confirming(launcher, urls(len(progress)), name)
            continue
        assert Stored(confirming.url).looks <= unbroken[1]
        progress.append(len(confirming.reported))
    assert confirming.run()
    _check_end(confirming, unbroken)
    return progress


def _files(folder: Path) -> Callable[[int], str]:
    return lambda number: f"sqlite:///{folder}/{number}.db"


def test_a_confirmation_killed_and_resumed_gives_the_same_verdicts(
    launcher: Launcher, whole_stacked: Whole, tmp_path: Path
) -> None:
    _killed_and_resumed(launcher, _files(tmp_path), "stacked", 2, whole_stacked)


@pytest.mark.slow
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("name", list(SETTINGS))
def test_so_does_one_that_is_killed_again_and_again(
    launcher: Launcher, unbroken_verdicts: Unbroken, tmp_path: Path, name: str
) -> None:
    unbroken = unbroken_verdicts(name)
    progress = _killed_and_resumed(launcher, _files(tmp_path), name, 25, unbroken)
    print(f"{name}: of {len(unbroken[2])} trainings reported after each kill {progress}")
    assert len(set(progress)) > 5  # the kills came at different moments


@pytest.mark.parametrize("line", ["JUDGED", "STORED"])
def test_so_does_one_that_is_killed_while_its_verdict_is_stored(
    launcher: Launcher, whole_callable: Whole, tmp_path: Path, line: str
) -> None:
    confirming = Confirming(launcher, _files(tmp_path)(0), "callable")
    trainings = len(whole_callable[2])
    confirming.run((trainings + 1 + (line == "STORED"), 0.0))
    assert len(confirming.reported) == trainings
    confirming.run()
    _check_end(confirming, whole_callable)


def test_so_does_one_on_a_server(
    launcher: Launcher, whole_callable: Whole, server: Server
) -> None:
    _killed_and_resumed(
        launcher, lambda number: server.new_schema(), "callable", 2, whole_callable
    )


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=lambda item: item.name)
def test_ctrl_c_and_sigterm_lose_nothing_that_was_stored(
    launcher: Launcher, whole_callable: Whole, tmp_path: Path, number: signal.Signals
) -> None:
    confirming = Confirming(launcher, _files(tmp_path)(0), "callable")
    assert not confirming.run((10, 0.0), number)
    stored = Stored(confirming.url)
    assert len(stored.scores) >= 10
    assert (stored.leases == 0) == (number is signal.SIGINT)  # which ends as an exception does
    assert confirming.run()
    _check_end(confirming, whole_callable)


def test_of_three_that_go_on_at_once_one_does(
    launcher: Launcher, whole_callable: Whole, tmp_path: Path
) -> None:
    confirming = Confirming(launcher, _files(tmp_path)(0), "callable")
    assert not confirming.run((20, 0.0))
    children = [confirming.start() for _ in range(3)]
    codes = [child.wait() for child in children]
    trained = [[line for line in child.lines if line.startswith("DONE")] for child in children]
    assert sum(map(bool, trained)) == 1
    confirming.reported += sum(trained, [])
    confirming.check()
    _check_end(confirming, whole_callable)
    for child, code, own in zip(children, codes, trained, strict=True):
        if own:
            assert code == 0
        elif code != 0:
            assert "is being run by" in child.errors
        else:
            assert child.lines[-1] == "END"  # it came when the verdict was there
