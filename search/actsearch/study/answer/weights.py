"""Weights of a trained winner in a file beside the database. The door to safetensors."""

from __future__ import annotations

import importlib.util
import logging
import os
import re
from collections.abc import Mapping
from pathlib import Path

from torch import nn

from actsearch.study.unfinished import digest

__all__ = ["load_weights", "save_weights", "weights_path"]

_log = logging.getLogger("actsearch")

_PLAIN = re.compile(r"[^A-Za-z0-9_.-]+")
_LONGEST = 60  # characters of a study's name that are part of a file's
_MADE_OF = "made_of"


def weights_path(database: Path, study_name: str) -> Path:
    """Where the weights of a study's winner are: beside its database, named after both."""
    plain = _PLAIN.sub("_", study_name)[:_LONGEST]
    if plain != study_name:  # two names may look alike without what a file's name cannot have
        plain += f"-{digest(study_name)[:8]}"
    return database.with_name(f"{database.name}.{plain}.safetensors")


def save_weights(
    model: nn.Module, path: Path, made_of: Mapping[str, object], most_mb: float
) -> bool:
    """Write a model's weights and buffers, replacing the file at once; whether that was done.

    Args:
        model: whose.
        path: of the file.
        made_of: what they are the result of, as JSON data; stands in the file.
        most_mb: larger ones are not written, which is logged.
    """
    if most_mb <= 0:
        return False
    if not _has_library():
        _log.warning(
            "the winner's weights are not written to a file: that needs safetensors, the extra actsearch[weights]; "
            "result.model has them"
        )
        return False
    sizes = (
        item.numel() * item.element_size() for item in (*model.parameters(), *model.buffers())
    )
    if (size := sum(sizes) / 1e6) > most_mb:
        _log.warning(
            "the winner's weights are not written to a file: they are %.0f MB, more than max_weights_mb=%g; "
            "result.model has them", size, most_mb,
        )  # fmt: skip
        return False
    from safetensors.torch import save_model

    new = path.with_name(f"{path.name}.{os.getpid()}.new")
    try:
        save_model(model, str(new), {_MADE_OF: digest(made_of), **_describe(made_of)})
        os.replace(new, path)
    except Exception as error:  # a full disk, a folder of that name, a module that keeps other things than tensors
        _log.warning(
            "the winner's weights are not written to %s: %s: %s; result.model has them",
            path, type(error).__name__, error,
        )  # fmt: skip
        return False
    finally:
        new.unlink(missing_ok=True)
    return True


def load_weights(model: nn.Module, path: Path, made_of: Mapping[str, object]) -> bool:
    """Read weights into a model of the same structure; False where the file is none, or the result of anything else."""
    if not path.is_file() or not _has_library():
        return False
    from safetensors import SafetensorError, safe_open
    from safetensors.torch import load_model

    try:
        with safe_open(str(path), "pt") as file:
            stored = file.metadata() or {}
        if stored.get(_MADE_OF) != digest(made_of):
            return False
        load_model(model, path)
    except (SafetensorError, RuntimeError, OSError) as error:
        _log.warning("%s cannot be used: %s", path, error)
        return False
    return True


def _has_library() -> bool:
    return importlib.util.find_spec("safetensors") is not None


def _describe(made_of: Mapping[str, object]) -> dict[str, str]:
    """For people who open the file: the format holds texts alone."""
    return {key: str(value) for key, value in made_of.items()}
