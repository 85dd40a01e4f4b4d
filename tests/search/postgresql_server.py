"""A real PostgreSQL server in a folder of its own, run as an unprivileged user as its programs demand."""

from __future__ import annotations

import contextlib
import itertools
import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import sqlalchemy as sa

__all__ = ["GUARDED", "Server", "missing", "running_server"]

_USER = "postgres"  # whom Debian's package makes
GUARDED = "guarded"
"""The one user of the server whose password is asked for; make the role first."""


def _programs() -> Path | None:
    """The folder of initdb and pg_ctl; Debian keeps the server's programs off the PATH."""
    found = shutil.which("pg_ctl")
    folders = [Path(found).resolve().parent] if found else []
    folders += sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)
    for folder in folders:
        if all((folder / name).exists() for name in ("initdb", "pg_ctl", "postgres")):
            return folder
    return None


def missing() -> str:
    """Why no server can be started here; "" if one can."""
    if _programs() is None:
        return "the programs of a PostgreSQL server are not installed (Debian: postgresql)"
    if find_spec("psycopg") is None:
        return "psycopg is not installed (pip install 'actsearch[postgresql]')"
    return ""


class Server:
    """A server that runs; each test makes a schema of its own in it."""

    def __init__(self, programs: Path, folder: Path) -> None:
        self._programs = programs
        self.folder = folder
        self._data = folder / "data"
        self._numbers = itertools.count()

    def start(self) -> None:
        """Make the files of the server and start it; only a socket in its folder leads to it."""
        locale = ["--locale=C.UTF-8", "--encoding=UTF8", "--auth=trust", "--username=actsearch"]
        self._run("initdb", "--no-sync", *locale)
        with (self._data / "postgresql.conf").open("a") as settings:
            settings.write(
                f"listen_addresses = ''\nunix_socket_directories = '{self.folder}'\n"
                "fsync = off\nshared_buffers = 32MB\nmax_connections = 60\n"
            )
        rules = self._data / "pg_hba.conf"
        rules.write_text(f"local all {GUARDED} scram-sha-256\n" + rules.read_text())
        self._run("pg_ctl", "start", "--wait", f"--log={self.folder}/log")

    def restart(self) -> None:
        """End every connection, as after an update of the system."""
        self._run("pg_ctl", "restart", "--wait", "--mode=fast", f"--log={self.folder}/log")

    def stop(self) -> None:
        """End it at once."""
        self._run("pg_ctl", "stop", "--wait", "--mode=immediate")

    def kill_and_start(self) -> None:
        """kill -9 and a new start, as if the machine had lost its power."""
        file = self._data / "postmaster.pid"
        os.kill(int(file.read_text().split()[0]), signal.SIGKILL)
        for _ in range(50):  # its children see that it is gone, and hold its memory until then
            time.sleep(0.1)
            with contextlib.suppress(AssertionError):
                return self._run("pg_ctl", "start", "--wait", f"--log={self.folder}/log")
        raise AssertionError("the server did not start again")

    def _run(self, program: str, *arguments: str) -> None:
        as_user = (
            ["setpriv", f"--reuid={_USER}", f"--regid={_USER}", "--clear-groups"]
            if os.geteuid() == 0
            else []
        )
        command = [*as_user, str(self._programs / program), "-D", str(self._data), *arguments]
        with (self.folder / "out").open("w+") as out:  # a pipe would be kept open by the server
            result = subprocess.run(command, stdout=out, stderr=out, cwd="/", timeout=120)
            out.seek(0)
            assert result.returncode == 0, out.read()

    def url(self, database: str) -> str:
        """Storage URL of a database, whether it is there or not."""
        return f"postgresql+psycopg://actsearch@/{database}?host={self.folder}"

    def new_schema(self) -> str:
        """URL of an empty schema of its own in a database; a database for each would take half a second."""
        name = f"test{next(self._numbers)}"
        self.execute(self.url("postgres"), f"CREATE SCHEMA {name}")
        return self.url("postgres") + f"&options=-csearch_path%3D{name}"

    def execute(self, url: str, statement: str) -> list[tuple[object, ...]]:
        """Run one statement from a connection of its own; its rows."""
        engine = sa.create_engine(url, poolclass=sa.NullPool, isolation_level="AUTOCOMMIT")
        with engine.connect() as connection:
            result = connection.exec_driver_sql(statement)
            return [tuple(row) for row in result] if result.returns_rows else []

    def end_connections(self) -> int:
        """End every connection of the product, as an administrator may; how many there were."""
        rows = self.execute(
            self.url("postgres"),
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
            "WHERE application_name = 'actsearch'",
        )
        return len(rows)


@contextlib.contextmanager
def running_server() -> Iterator[Server]:
    """A server while it is needed; nothing of it stays."""
    programs = _programs()
    assert programs is not None
    folder = Path(tempfile.mkdtemp(prefix="actsearch-pg-", dir="/tmp"))
    try:
        if os.geteuid() == 0:
            shutil.chown(folder, _USER, _USER)
        server = Server(programs, folder)
        server.start()
        try:
            yield server
        finally:
            server.stop()
    finally:
        shutil.rmtree(folder, ignore_errors=True)
