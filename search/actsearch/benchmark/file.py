"""The benchmark as a file: arrays and a text about them in one archive of numpy's, with a checksum."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import hashlib
import io
import json
import os
import zipfile
import zlib
from collections.abc import Iterator, Mapping
from contextvars import ContextVar
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np

from actsearch.benchmark.table import Benchmark, BenchmarkFunction, BenchmarkTask
from actsearch.errors import BenchmarkError

__all__ = ["VERSION", "leave_out", "load", "write"]

VERSION = 1
"""Of the format; a file of a later one is refused."""

_SHIPPED = "activations.npz"
_ARRAYS = ("scores", "seconds", "curves", "smoothed")
_left_out: ContextVar[tuple[str, ...]] = ContextVar("left_out", default=())


def load(path: str | os.PathLike[str] | None = None) -> Benchmark:
    """Read the benchmark that is shipped with the package, or another one.

    Args:
        path: of a file that :func:`write` made; None for the one shipped, which is read once a process.

    Raises:
        BenchmarkError: the file cannot be read, is damaged, or is of a newer format.

    Example:
        >>> table = acs.benchmark.load()
        >>> table.tasks[0].direction
        'maximize'
    """
    if path is None:
        return _shipped_without(_left_out.get())
    try:
        content = Path(path).read_bytes()
    except OSError as error:
        raise BenchmarkError(f"{path}: cannot be read: {error.strerror or error}") from None
    return _read(content, str(path))


@contextlib.contextmanager
def leave_out(*tasks: str) -> Iterator[None]:
    """Within it the shipped benchmark has no such tasks, and no strategy knows of them: to measure searches on them."""
    token = _left_out.set(tasks)
    try:
        yield
    finally:
        _left_out.reset(token)


@functools.cache
def _shipped_without(tasks: tuple[str, ...]) -> Benchmark:
    table = _load_shipped()
    return table.without(*tasks) if tasks else table


@functools.cache
def _load_shipped() -> Benchmark:
    try:
        content = resources.files(__package__).joinpath(_SHIPPED).read_bytes()
    except OSError as error:
        raise BenchmarkError(
            f"the benchmark that is shipped with actsearch cannot be read ({error.strerror or error}): "
            "install the package again"
        ) from None
    return _read(content, _SHIPPED)


def write(table: Benchmark, path: str | os.PathLike[str]) -> None:
    """Write a benchmark, whole or not at all.

    Raises:
        BenchmarkError: the file cannot be written.
    """
    arrays = {name: np.ascontiguousarray(getattr(table, name), np.float32) for name in _ARRAYS}
    about = json.dumps(
        {
            "version": VERSION,
            "checksum": _checksum(arrays),
            "tasks": [dataclasses.asdict(task) for task in table.tasks],
            "functions": [dataclasses.asdict(function) for function in table.functions],
            "rates": list(table.rates),
            "seeds": list(table.seeds),
        },
        sort_keys=True,
    ).encode()
    content = io.BytesIO()
    np.savez_compressed(
        content, about=np.frombuffer(about, np.uint8), check=_digest(about), allow_pickle=False,
        **arrays,
    )  # fmt: skip
    target = Path(path)
    unfinished = target.with_name(f".{target.name}.{os.getpid()}")
    try:
        unfinished.write_bytes(content.getvalue())
        unfinished.replace(target)
    except OSError as error:
        with contextlib.suppress(OSError):
            unfinished.unlink()
        raise BenchmarkError(f"{path}: cannot be written: {error.strerror or error}") from None


def _checksum(arrays: Mapping[str, Any]) -> str:
    digest = hashlib.sha256()
    for name in _ARRAYS:
        digest.update(f"{name} {arrays[name].shape}".encode())
        digest.update(arrays[name].tobytes())
    return digest.hexdigest()


def _digest(about: bytes) -> Any:
    return np.frombuffer(hashlib.sha256(about).digest(), np.uint8)


def _read(content: bytes, where: str) -> Benchmark:
    damaged = f"{where} is no benchmark of activations, or damaged"
    try:
        with np.load(io.BytesIO(content), allow_pickle=False) as stored:
            text, check = stored["about"].tobytes(), stored["check"]
            about = json.loads(text)
            version = about["version"]
            if isinstance(version, int) and version > VERSION:
                raise BenchmarkError(
                    f"{where} is a benchmark of format {version}, and this actsearch reads up to {VERSION}: "
                    "install a newer one"
                )
            arrays = {name: stored[name] for name in _ARRAYS}
        if not np.array_equal(check, _digest(text)) or about["checksum"] != _checksum(arrays):
            raise BenchmarkError(f"{damaged}: its checksum does not agree with what it holds")
        table = Benchmark(
            tuple(BenchmarkTask(**task) for task in about["tasks"]),
            tuple(BenchmarkFunction(**function) for function in about["functions"]),
            tuple(map(float, about["rates"])),
            tuple(map(int, about["seeds"])),
            **arrays,
        )
    except (
        OSError,
        EOFError,
        ValueError,
        KeyError,
        TypeError,
        zipfile.BadZipFile,
        zlib.error,
        NotImplementedError,
        RuntimeError,  # of a file that is called encrypted
    ) as error:
        if isinstance(error, BenchmarkError):
            raise
        raise BenchmarkError(f"{damaged} ({type(error).__name__})") from None
    tasks, functions, rates = len(table.tasks), len(table.functions), len(table.rates)
    shapes = {
        "scores": (tasks, functions, rates, len(table.seeds)),
        "seconds": (tasks, functions),
        "curves": (functions, *table.curves.shape[1:]),
        "smoothed": (tasks, rates, functions),
    }
    if any(arrays[name].shape != shape for name, shape in shapes.items()):
        raise BenchmarkError(f"{damaged}: the sizes of its arrays do not agree with its lists")
    return table
