"""Messages between a driver and its jobs: whole, in order, and of this driver alone."""

from __future__ import annotations

import os
import random
import threading
import time
from pathlib import Path

import pytest

from actsearch.execution.on_slurm.channel import Beat, Channel, Silence, is_private

KEY = b"k" * 32


@pytest.fixture
def ends(tmp_path: Path) -> tuple[Channel, Channel]:
    """Of a driver and a host that have met."""
    driver = Channel(tmp_path / "job-0001", KEY, "driver")
    driver.make()
    return driver, _host(driver, tmp_path)


def _host(driver: Channel, folder: Path, key: bytes = KEY) -> Channel:
    host = Channel(folder / "job-0001", key, "host")
    driver.address(host.life)
    driver.beat()
    return host


def _take(channel: Channel) -> list[bytes]:
    return list(channel.take(channel.look()))


class TestMessages:
    def test_they_arrive_once_and_in_order(self, ends: tuple[Channel, Channel]) -> None:
        for sender, reader in (ends, ends[::-1]):
            for number in range(12):
                sender.post(str(number).encode())
            assert _take(reader) == [str(number).encode() for number in range(12)]
            assert _take(reader) == []
            sender.post(b"later")
            assert _take(reader) == [b"later"]

    def test_none_is_left_when_it_was_read(
        self, ends: tuple[Channel, Channel], tmp_path: Path
    ) -> None:
        ends[0].post(b"a")
        ends[1].post(b"b")
        assert _take(ends[1]) + _take(ends[0]) == [b"a", b"b"]
        assert [path for path in tmp_path.rglob("*-*") if path.is_file()] == []

    @pytest.mark.slow
    def test_written_by_threads_each_is_whole(self, ends: tuple[Channel, Channel]) -> None:
        driver, host = ends
        contents = [bytes([number]) * 50_000 for number in range(40)]

        def post(part: list[bytes]) -> None:
            for content in part:
                host.post(content)

        threads = [
            threading.Thread(target=post, args=(contents[start : start + 10],))
            for start in range(0, 40, 10)
        ]
        for thread in threads:
            thread.start()
        found: list[bytes] = []
        while len(found) < 40:
            found += _take(driver)
        for thread in threads:
            thread.join()
        assert sorted(found) == sorted(contents)

    def test_a_host_that_starts_anew_is_sent_nothing_of_the_one_before(
        self, ends: tuple[Channel, Channel], tmp_path: Path
    ) -> None:
        driver, first = ends
        driver.post(b"for the first")
        first.post(b"of the first")
        second = Channel(tmp_path / "job-0001", KEY, "host")
        second.beat()
        assert _take(second) == []
        beat = driver.look()
        assert beat is not None
        assert beat.life == second.life
        driver.address(second.life)
        driver.post(b"for the second")
        second.post(b"of the second")
        assert _take(second) == [b"for the second"]
        assert _take(driver) == [b"of the second"]


class TestWhatIsNotOfThisDriver:
    def test_another_key_says_nothing(self, ends: tuple[Channel, Channel], tmp_path: Path) -> None:
        """As a driver has it that finds the folder of an earlier one, or as somebody who guesses."""
        driver, _ = ends
        other = Channel(tmp_path / "job-0001", b"x" * 32, "host")
        other.life = driver.life
        other.post(b"evil")
        assert driver.look() is None
        assert _take(driver) == []

    def test_a_message_that_was_changed_is_not_read(
        self, ends: tuple[Channel, Channel], tmp_path: Path
    ) -> None:
        driver, host = ends
        rng = random.Random(0)
        host.post(bytes(range(200)))
        (path,) = (tmp_path / "job-0001" / "from_host").glob("*-*")
        whole = path.read_bytes()
        beat = driver.look()
        for _ in range(100):
            damaged = bytearray(whole)
            damaged[rng.randrange(len(damaged))] ^= 1 << rng.randrange(8)
            path.write_bytes(damaged)
            assert list(driver.take(beat)) == []
            path.write_bytes(whole[: rng.randrange(len(whole))])
            assert list(driver.take(beat)) == []
        path.write_bytes(whole)  # a file server may show the end of a file late
        assert list(driver.take(beat)) == [bytes(range(200))]

    def test_a_message_of_this_driver_at_another_place_is_not_read(
        self, ends: tuple[Channel, Channel], tmp_path: Path
    ) -> None:
        driver, host = ends
        host.post(b"first")
        folder = tmp_path / "job-0001" / "from_host"
        (path,) = folder.glob("*-*")
        kept = path.read_bytes()
        assert _take(driver) == [b"first"]
        host.post(b"second")
        (path,) = folder.glob("*-*")
        path.write_bytes(kept)
        assert _take(driver) == []
        back = tmp_path / "job-0001" / "from_driver" / path.name
        back.write_bytes(kept)
        driver.post(b"x")
        driver.post(b"y")
        back.write_bytes(kept)
        assert _take(host) == [b"x"]

    def test_a_beat_that_was_changed_is_none(
        self, ends: tuple[Channel, Channel], tmp_path: Path
    ) -> None:
        driver, host = ends
        host.beat()
        path = tmp_path / "job-0001" / "host.beat"
        whole = path.read_bytes()
        for index in range(len(whole)):
            path.write_bytes(whole[:index] + bytes([whole[index] ^ 1]) + whole[index + 1 :])
            assert driver.look() is None
            path.write_bytes(whole[:index])
            assert driver.look() is None
        path.write_bytes(whole)
        assert driver.look() is not None

    def test_a_folder_that_others_can_write_to_or_read_is_not_private(
        self, tmp_path: Path
    ) -> None:
        for mode in (0o700, 0o500):
            tmp_path.chmod(mode)
            assert is_private(tmp_path)
        for mode in (0o770, 0o707, 0o750, 0o701, 0o1777):
            tmp_path.chmod(mode)
            assert not is_private(tmp_path)
        tmp_path.chmod(0o700)
        if os.geteuid() == 0:
            os.chown(tmp_path, 12345, -1)
            assert not is_private(tmp_path)


class TestSilence:
    def test_it_counts_what_was_watched_and_not_a_sleep(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        now = [100.0]
        monkeypatch.setattr(time, "monotonic", lambda: now[0])
        silence = Silence()

        def note(count: int | None) -> float:
            return silence.note(None if count is None else Beat(b"", count, 0, 0))

        assert note(1) == 0
        for _ in range(30):
            now[0] += 1
            seconds = note(1)
        assert seconds == 30
        now[0] += 3600  # the machine slept, or its file server did
        assert note(1) == 32
        now[0] += 1
        assert note(None) == 33  # a beat that cannot be read is no sign of life
        now[0] += 1
        assert note(2) == 0
