"""One family of errors and warnings: each says what was wrong, where, and what to do about it."""

from __future__ import annotations

__all__ = [
    "ActivationError",
    "ActsearchError",
    "ActsearchWarning",
    "BenchmarkError",
    "FormulaError",
    "PlacementError",
    "SpaceError",
    "StorageError",
    "StudyError",
    "TaskError",
]


class ActsearchError(Exception):
    """Base of every error that actsearch raises on purpose.

    Example:
        >>> try:
        ...     acs.parse("x +")
        ... except acs.ActsearchError as error:
        ...     print(type(error).__name__)
        FormulaError
    """


class FormulaError(ActsearchError, ValueError):
    """A formula that cannot be read.

    Attributes:
        position: 0-based column in the text at which reading stopped, or None for a tree.

    Example:
        >>> try:
        ...     acs.parse("x * sigmod(x)")
        ... except acs.FormulaError as error:
        ...     print(error.position)
        4
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
    """An activation that does not exist, a hyperparameter out of range, channels that do not fit.

    Example:
        >>> acs.activation("leaky_relu", negative_slope=2)
        Traceback (most recent call last):
            ...
        actsearch.errors.ActivationError: leaky_relu: negative_slope must be a number from 0 to 1, not 2
    """


class BenchmarkError(ActsearchError, ValueError):
    """A benchmark of activations that cannot be read or written.

    Example:
        >>> try:
        ...     acs.benchmark.load("nothing.npz")
        ... except acs.BenchmarkError as error:
        ...     print(error)
        nothing.npz: cannot be read: No such file or directory
    """


class PlacementError(ActsearchError, ValueError):
    """A model in which nothing, or not what was asked for, could be replaced.

    Example:
        >>> acs.place(nn.Linear(2, 2), "gelu")
        Traceback (most recent call last):
            ...
        actsearch.errors.PlacementError: ...
    """


class TaskError(ActsearchError, ValueError):
    """A task whose model, data, loss, metric or settings do not fit together.

    Example:
        >>> acs.Task(model="mlp", train=None, valid=None)
        Traceback (most recent call last):
            ...
        actsearch.errors.TaskError: model must be a torch.nn.Module or a function that builds one, not str
    """


class SpaceError(ActsearchError, ValueError):
    """A search space or strategy setting that is empty, unknown or contradictory.

    Example:
        >>> acs.Space(max_depth=1)
        Traceback (most recent call last):
            ...
        actsearch.errors.SpaceError: max_depth must be an integer from 2 to 50, not 1
    """


class StudyError(ActsearchError, RuntimeError):
    """A study that is missing, in use, or was made with other settings.

    Example:
        >>> acs.create_study(study_name="")
        Traceback (most recent call last):
            ...
        actsearch.errors.StudyError: study_name must be a text that is not empty, not ''
    """


class StorageError(ActsearchError, RuntimeError):
    """A database that cannot be opened, is not ours, is newer than this version, or is locked.

    Example:
        >>> acs.load_study(study_name="digits", storage="sqlite:///no/such.db")
        Traceback (most recent call last):
            ...
        actsearch.errors.StorageError: ...
    """


class ActsearchWarning(UserWarning):
    """Something a user should know although the call goes on.

    Example:
        >>> import warnings
        >>> with warnings.catch_warnings():
        ...     warnings.simplefilter("ignore", acs.ActsearchWarning)
    """
