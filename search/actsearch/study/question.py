"""What a verdict is asked."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, get_args

from actsearch.checks import check_field, check_integer, check_number, check_one_of
from actsearch.errors import StudyError
from actsearch.report import LOOKS
from actsearch.report.verdict.rows import Covers

__all__ = ["Question"]


@dataclass(frozen=True)
class Question:
    """See :meth:`actsearch.Study.confirm`."""

    top_k: int = 5
    seeds: int | None = None
    baseline: Any = None
    min_effect: float | None = None
    covers: Covers = "seeds+rows"
    lrs: Sequence[float] | None = None
    splits: Any = None
    groups: Any = None

    def __post_init__(self) -> None:
        check_field(self, "top_k", check_integer, StudyError, low=1)
        if self.seeds is not None:
            check_field(self, "seeds", check_integer, StudyError, low=2)
        if self.min_effect is not None:
            check_field(self, "min_effect", check_number, StudyError, above=0)
        check_one_of("covers", self.covers, get_args(Covers), StudyError)
        if self.lrs is not None:
            object.__setattr__(self, "lrs", _check_rates(self.lrs))

    @property
    def looks(self) -> tuple[int, ...]:
        """Numbers of seeds at which results are looked at."""
        return LOOKS if self.seeds is None else (self.seeds,)

    def key(self) -> list[Any]:
        """Of what the verdict depends on besides finalists, baseline and task; known to earlier versions alike."""
        looks = self.looks
        more: list[Any] = [self.covers] if self.covers != "seeds" else []
        if self.lrs is not None:
            more.append(list(self.lrs))
        return [self.top_k, looks if len(looks) > 1 else looks[0], self.min_effect, *more]


def _check_rates(rates: Any) -> tuple[float, ...]:
    if isinstance(rates, str) or not hasattr(rates, "__iter__"):
        raise StudyError(f"lrs must be a list of learning rates, as [1e-3, 3e-3], not {rates!r}")
    checked = (check_number("a learning rate in lrs", rate, StudyError, above=0) for rate in rates)
    return tuple(sorted(set(checked)))
