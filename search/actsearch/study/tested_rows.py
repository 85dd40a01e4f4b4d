"""The rows that a verdict tests: all of the test data under every seed, or one split of them after the other."""

from __future__ import annotations

import functools
import itertools
from collections.abc import Mapping, Sequence
from typing import cast

from actsearch.errors import StudyError
from actsearch.evaluation import Subject
from actsearch.report import SharedRows
from actsearch.study.question import Question
from actsearch.study.splits import Splits, divide
from actsearch.task import Task

__all__ = ["TestedRows"]


class TestedRows:
    """Test rows as a question divides them."""

    def __init__(self, subject: Subject, question: Question) -> None:
        """Args:
        subject: of the search.
        question: with ``splits`` and ``groups``.

        Raises:
            StudyError: they do not fit, or there are more splits than seeds.
            TaskError: a function of the user's own keeps its data to itself.
        """
        self._subject = subject
        self._splits = self._divide(question)

    def _divide(self, question: Question) -> Splits | None:
        if question.splits is None and question.groups is None:
            return None
        self._subject.divide([], None)  # refused where the data are not known
        splits = divide(cast(Task, self._subject.objective), question.splits, question.groups)
        count, most = len(splits.parts), question.looks[-1]
        if count > most:
            raise StudyError(
                f"splits= are {count}, and there are at most {most} paired seeds, each of which trains on one of them: "
                f"give seeds={count} or more, or fewer splits"
            )
        return splits

    @property
    def key(self) -> list[str]:
        """Of what a verdict depends on; empty where nothing is divided."""
        return [] if self._splits is None else [self._splits.key()]

    @property
    def count(self) -> int:
        """Of splits; 0 where nothing is divided."""
        return 0 if self._splits is None else len(self._splits.parts)

    @functools.cached_property
    def _subjects(self) -> Sequence[Subject]:
        """One for each split."""
        if self._splits is None:
            return []
        labels = self._splits.groups
        return self._subject.divide(
            [(trained.tolist(), tested.tolist()) for trained, tested in self._splits.parts],
            None if labels is None else labels.tolist(),
        )

    def by_seed(self, seeds: Sequence[int]) -> Mapping[int, Subject]:
        """One split after the other, and again from the first; empty where nothing is divided."""
        return dict(zip(seeds, itertools.cycle(self._subjects), strict=False))

    def shared(self) -> tuple[SharedRows, ...]:
        """Test rows that stand in data of the search, or are trained on where they are tested; over all splits.

        Raises:
            TaskError: nothing sound can come from the data.
        """
        found: dict[str, SharedRows] = {}
        for subject in self._subjects or [self._subject]:
            for item in subject.rows_in_test():
                other = found.get(item.other, SharedRows(item.other, 0, 0))
                found[item.other] = SharedRows(
                    item.other,
                    other.shared + item.shared,
                    item.rows if self._splits is None else self._splits.tested,
                    other.relabelled + item.relabelled,
                )
        return tuple(found.values())
