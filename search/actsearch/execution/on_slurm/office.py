"""The folder of a driver, and the thread that serves the jobs with which it shares that."""

from __future__ import annotations

import contextlib
import json
import logging
import os
import queue
import secrets
import shutil
import socket
import stat
import sys
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import psutil

from actsearch.errors import StudyError
from actsearch.execution.on_slurm import slot as slots
from actsearch.execution.on_slurm.channel import Pace, is_private
from actsearch.execution.on_slurm.host import Host
from actsearch.execution.on_slurm.jobs import Jobs
from actsearch.execution.on_slurm.slot import Slot, SlurmWorker
from actsearch.execution.on_slurm.store import DataFolder
from actsearch.execution.transport import Event, Loss

__all__ = ["Office"]

_log = logging.getLogger("actsearch")

_PREFIX = "actsearch-"
_END_SECONDS = 10.0  # that hosts have to end by themselves, before their jobs are ended
_GONE_SECONDS = 5.0  # that jobs have to be gone, before what they leave is reported


class Office:
    """Jobs of one driver, from :meth:`open` to :meth:`close`.

    Attributes:
        folder: its own, within the user's.
    """

    def __init__(
        self, folder: Path, cluster: str, parameters: Mapping[str, Any], threads: int
    ) -> None:
        """Open it.

        Args:
            folder: the user's, that all machines share.
            cluster: see :class:`Jobs`.
            parameters: likewise.
            threads: that torch may use in each job.

        Raises:
            StudyError: there is no Slurm, or the folder is of no use.
        """
        self.folder = _make_folder(folder)
        self._pace = Pace()
        try:
            self._jobs = Jobs(self.folder / "jobs", cluster, parameters, self._pace.quicken)
        except BaseException:
            shutil.rmtree(self.folder, ignore_errors=True)
            raise
        self._key = secrets.token_bytes(32)
        self._threads = threads
        self._store = DataFolder(self.folder / "data")
        self._slots: list[Slot] = []
        self._made = 0
        self._lock = threading.Lock()  # of the list
        self._closes = False
        self._trouble = ""
        self._clerk = threading.Thread(target=self._serve, daemon=True)
        self._clerk.start()

    def worker(self, events: queue.SimpleQueue[Event]) -> SlurmWorker:
        """One more, in a job that is there already, if one is free."""
        with self._lock:
            free = sorted((s for s in self._slots if s.is_free), key=lambda s: not s.is_heard)
            if free:
                chosen = free[0]
            else:
                self._made += 1
                place = self.folder / f"job-{self._made:04}"
                chosen = Slot(place, self._key, self._jobs, self._host)
                self._slots.append(chosen)
            held = {file for slot in self._slots for file in slot.held}
            worker = SlurmWorker(chosen, self._store, events, self._pace.quicken)
        self._store.clean(held)
        return worker

    def _host(self, folder: Path) -> Host:
        level = logging.getLogger("actsearch").getEffectiveLevel()
        return Host(
            str(folder), self._key, list(sys.path), list(sys.argv), os.getcwd(), self._threads, level,
            slots.PATIENCE,
        )  # fmt: skip

    def _serve(self) -> None:
        while not self._closes:
            for slot in self._present():
                if self._closes:
                    return
                if self._serve_one(slot):
                    self._pace.quicken()
            self._pace.wait()

    def _present(self) -> list[Slot]:
        with self._lock:
            over = [slot for slot in self._slots if slot.is_over]
            self._slots = [slot for slot in self._slots if not slot.is_over]
            present = list(self._slots)
        for slot in over:  # also to a worker that came in at the last moment
            slot.end("lost", Loss("its job is gone", "machine"))
        self._jobs.cancel_soon([slot.job for slot in over if slot.job is not None])
        return present

    def _serve_one(self, slot: Slot) -> bool:
        try:
            happened = slot.serve()
            self._trouble = ""
        except OSError as error:  # the file server may be back
            if str(error) != self._trouble:
                self._trouble = str(error)
                _log.warning("acs.Slurm: %s; tried again", error)
            return False
        except Exception as error:  # whoever waits for an event must not wait for ever
            _log.exception("acs.Slurm: a job is given up")
            why = f"what its job says cannot be read: {type(error).__name__}: {error}"
            slot.end("lost", Loss(why, "machine"))
        return happened if not slot.is_over else True

    def close(self) -> None:
        """End the jobs, and remove the folder."""
        self._closes = True
        self._pace.quicken()
        self._clerk.join()
        for slot in self._slots:
            slot.withdraw()
        self._jobs.settle()
        jobs = [slot.job for slot in self._slots if slot.job is not None]
        waiting = [slot.job for slot in self._slots if slot.job is not None and not slot.is_heard]
        for slot in self._slots:
            with contextlib.suppress(OSError):
                slot.quit()
        self._jobs.cancel(waiting)
        self._await_end(jobs, _END_SECONDS)
        self._jobs.cancel([job for job in jobs if not self._is_gone(job)])
        self._await_end(jobs, _GONE_SECONDS)
        self._jobs.close()
        for slot in self._slots:
            slot.relay_last()
        self._slots = []
        ends = time.monotonic() + _GONE_SECONDS
        while self.folder.exists() and time.monotonic() < ends:
            shutil.rmtree(self.folder, ignore_errors=True)
            time.sleep(0.05)
        if self.folder.exists():
            _log.warning(
                "acs.Slurm: %s cannot be removed: jobs still have files open in it", self.folder
            )

    def _await_end(self, jobs: list[Any], seconds: float) -> None:
        ends = time.monotonic() + seconds
        self._jobs.forget()
        while time.monotonic() < ends and not all(map(self._is_gone, jobs)):
            time.sleep(0.05)

    def _is_gone(self, job: Any) -> bool:
        return self._jobs.state(job).kind == "gone"


def _make_folder(folder: Path) -> Path:
    """A folder of this driver's own.

    Raises:
        StudyError: it cannot be made, or would not be this user's alone.
    """
    own = folder.expanduser().absolute() / f"{_PREFIX}{secrets.token_hex(6)}"
    try:
        folder = own.parent
        folder.mkdir(parents=True, exist_ok=True)
        mode = folder.stat().st_mode
        if mode & stat.S_IWOTH and not mode & stat.S_ISVTX:
            raise StudyError(
                f"acs.Slurm: every user can change {folder}, and what jobs are sent through it is code; give a folder "
                "that is yours"
            )
        _sweep(folder)
        own.mkdir(mode=0o700)
        if not is_private(own):
            own.rmdir()
            raise StudyError(
                f"acs.Slurm: a folder in {folder} cannot be made this user's alone, and what jobs are sent through it "
                "is code; give one on a file system that keeps permissions"
            )
        (own / "data").mkdir()
        (own / "jobs").mkdir()
        driver = {
            "host": socket.gethostname(),
            "pid": os.getpid(),
            "started": _started(os.getpid()),
        }
        (own / "driver.json").write_text(json.dumps(driver))
    except OSError as error:
        raise StudyError(f"acs.Slurm: folder={str(own.parent)!r}: {error}") from None
    return own


def _started(pid: int) -> float | None:
    """When a process of this machine began; None if there is none."""
    try:
        return psutil.Process(pid).create_time()
    except psutil.Error:
        return None


def _sweep(folder: Path) -> None:
    """Remove what drivers of this machine have left that were killed."""
    for left in folder.glob(f"{_PREFIX}*"):
        try:
            driver = json.loads((left / "driver.json").read_text())
            is_ours = left.stat().st_uid == os.geteuid() and not left.is_symlink()
            if is_ours and driver["host"] == socket.gethostname():
                if _started(int(driver["pid"])) != driver["started"]:
                    shutil.rmtree(left, ignore_errors=True)
        except (OSError, ValueError, TypeError, KeyError):
            continue
