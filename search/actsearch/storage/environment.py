"""Which versions of python and of the libraries make and train trials, found without importing them."""

from __future__ import annotations

import functools
import hashlib
import json
import platform
from collections.abc import Mapping
from importlib import metadata

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from actsearch.storage import tolerant
from actsearch.storage.tables import Base

__all__ = ["all_versions", "environment_id", "versions"]

_PACKAGES = ("actsearch", "torch", "optuna", "deap", "numpy")
_ENVIRONMENTS = Base.metadata.tables["environments"]
_FIND = sa.select(_ENVIRONMENTS.c.id).where(_ENVIRONMENTS.c.digest == sa.bindparam("of_digest"))
_ALL = sa.select(_ENVIRONMENTS.c.id, _ENVIRONMENTS.c.versions)


@functools.cache
def _versions() -> dict[str, str]:
    by_package = {"python": platform.python_version()}
    for package in _PACKAGES:
        try:
            by_package[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            by_package[package] = "unknown"
    return by_package


def versions() -> dict[str, str]:
    """Versions of everything that shapes a trial made in this process."""
    return dict(_versions())


def environment_id(connection: Connection) -> int:
    """Inside a write transaction: the row of this process's versions, made if it is not there."""
    digest = hashlib.sha256(json.dumps(_versions(), sort_keys=True).encode()).hexdigest()
    environment: int | None = connection.scalar(_FIND, {"of_digest": digest})
    if environment is None:
        row = {"digest": digest, "versions": _versions()}
        key = connection.execute(_ENVIRONMENTS.insert(), row).inserted_primary_key
        assert key is not None
        environment = key[0]
    return int(environment)


def all_versions(connection: Connection) -> dict[int, Mapping[str, str]]:
    """Versions by row."""
    return {row.id: tolerant.mapping(row.versions) for row in connection.execute(_ALL)}
