"""Reads what W&B wrote without a network: the file of a run, a log in LevelDB's format with a record in each entry.

https://github.com/google/leveldb/blob/main/doc/log_format.md; the library itself has a reader in Go alone.
"""

from __future__ import annotations

import json
import struct
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

__all__ = ["WandbRun", "read_runs"]

_IDENTITY = b":W&B"
_BLOCK = 32768
_HEADER = struct.Struct("<IHB")  # checksum, length, kind
_FULL, _LAST = 1, 4
_PATIENCE = 30  # seconds


@dataclass
class WandbRun:
    """One run: as it was made, its history, summary, and the exit code that it ended with."""

    name: str = ""
    group: str = ""
    project: str = ""
    config: dict[str, Any] = field(default_factory=dict)
    history: list[dict[str, Any]] = field(default_factory=list)
    summary: dict[str, Any] = field(default_factory=dict)
    exit_code: int | None = None


def read_runs(folder: Path) -> list[WandbRun]:
    """Every run under a folder, each to its end: W&B's own process writes on when a run is finished."""
    deadline = time.monotonic() + _PATIENCE
    while True:
        files = sorted(folder.rglob("*.wandb"), key=lambda file: file.parent.name)
        runs = [_read_run(file) for file in files]
        if all(run.exit_code is not None for run in runs) or time.monotonic() > deadline:
            return runs
        time.sleep(0.02)


def _read_run(file: Path) -> WandbRun:
    from wandb.proto import wandb_internal_pb2

    run = WandbRun()
    for data in _entries(file.read_bytes()):
        record = wandb_internal_pb2.Record()
        record.ParseFromString(data)
        kind = record.WhichOneof("record_type")
        if kind == "run":
            run.name, run.group = record.run.display_name, record.run.run_group
            run.project = record.run.project
            run.config |= _items(record.run.config.update)
        elif kind == "history":
            run.history.append(_items(record.history.item))
        elif kind == "summary":
            run.summary |= _items(record.summary.update)
        elif kind == "exit":
            run.exit_code = record.exit.exit_code
    return run


def _items(items: Any) -> dict[str, Any]:
    return {item.key or ".".join(item.nested_key): json.loads(item.value_json) for item in items}


def _entries(data: bytes) -> Iterator[bytes]:
    assert data.startswith(_IDENTITY)
    position, parts = 7, b""
    while position + _HEADER.size <= len(data):
        if (left := _BLOCK - position % _BLOCK) < _HEADER.size:
            position += left  # padding
            continue
        _, length, kind = _HEADER.unpack_from(data, position)
        position += _HEADER.size
        if position + length > len(data):
            return  # still being written
        parts += data[position : position + length]
        position += length
        if kind in (_FULL, _LAST):
            yield parts
            parts = b""
