"""Executors that live across calls."""

from __future__ import annotations

from types import TracebackType
from typing import Self

__all__ = ["Held"]


class Held:
    """Closed at the end of the outermost ``with``: each call of a study is one, and a user may have one around them.

    Example:
        >>> with acs.Local() as executor:
        ...     pass  # study.optimize(task, executor=executor); study.confirm(task, executor=executor)
    """

    _holders = 0

    def __enter__(self) -> Self:
        self._holders += 1
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._holders -= 1
        if not self._holders:
            self.close()

    def close(self) -> None:
        """Give back what is held. It can be used again."""
        raise NotImplementedError
