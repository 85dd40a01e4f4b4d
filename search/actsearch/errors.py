"""One family of errors and warnings: each says what was wrong, where, and what to do about it."""

from __future__ import annotations

__all__ = [
    "ActivationError",
    "ActsearchError",
    "ActsearchWarning",
    "FormulaError",
    "PlacementError",
    "SpaceError",
    "StorageError",
    "StudyError",
    "TaskError",
]


class ActsearchError(Exception):
    """Base of every error that actsearch raises on purpose."""


class FormulaError(ActsearchError, ValueError):
    """A formula that cannot be read.

    Attributes:
        position: 0-based column in the text at which reading stopped, or None for a tree.
    """

    def __init__(self, message: str, text: str | None = None, position: int | None = None) -> None:
        self.position = position
        if text is not None and position is not None:
            start = max(0, position - 30)
            shown = text[start : position + 30].replace("\n", " ").replace("\0", "?")
            message = f"{message}\n  at position {position}: {shown}\n" + " " * (
                len(f"  at position {position}: ") + position - start
            )
            message += "^"
        super().__init__(message)


class ActivationError(ActsearchError, ValueError):
    """An activation that does not exist, a hyperparameter out of range, channels that do not fit."""


class PlacementError(ActsearchError, ValueError):
    """A model in which nothing, or not what was asked for, could be replaced."""


class TaskError(ActsearchError, ValueError):
    """A task whose model, data, loss, metric or settings do not fit together."""


class SpaceError(ActsearchError, ValueError):
    """A search space or strategy setting that is empty, unknown or contradictory."""


class StudyError(ActsearchError, RuntimeError):
    """A study that is missing, in use, or was made with other settings."""


class StorageError(ActsearchError, RuntimeError):
    """A database that cannot be opened, is not ours, is newer than this version, or is locked."""


class ActsearchWarning(UserWarning):
    """Something a user should know although the call goes on."""
