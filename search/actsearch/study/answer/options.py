"""What a call of ``acs.find`` asks for besides its budget."""

from __future__ import annotations

from dataclasses import dataclass

from actsearch.execution import Executor
from actsearch.report.verdict.rows import Covers
from actsearch.study.splits import Splits

__all__ = ["Options"]


@dataclass(frozen=True)
class Options:
    """How an answer is found; see :func:`actsearch.find`."""

    min_effect: float | None = None
    covers: Covers = "seeds+rows"
    executor: Executor | None = None
    show_progress_bar: bool = True
    max_weights_mb: float = 500
    splits: Splits | None = None  # as read from splits and groups
