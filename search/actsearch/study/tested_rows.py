"""The rows that a verdict tests: all of the test data under every seed, or one split of them after the other."""

from __future__ import annotations

import functools
import hashlib
import itertools
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import cast

import numpy as np

from actsearch.errors import StudyError
from actsearch.evaluation import Subject
from actsearch.report import MIN_SEEDS, SharedRows
from actsearch.study.question import Question
from actsearch.study.splits import Splits, divide
from actsearch.task import Task
from actsearch.task.rows_digest import rows_digest
from actsearch.training.row_groups import number_distinct

__all__ = ["TestedRows"]


class TestedRows:
    """Test rows as a question divides them.

    Attributes:
        splits: into which; None where nothing is divided.
        looks: numbers of seeds at which results are looked at.
    """

    def __init__(self, subject: Subject, question: Question) -> None:
        """Args:
        subject: of the search.
        question: with ``splits`` and ``groups``.

        Raises:
            StudyError: they do not fit, or there are more splits than seeds.
            TaskError: a function of the user's own keeps its data to itself.
        """
        self._subject = subject
        self.splits = self._divide(question)
        self.looks = question.looks
        if len(self.looks) > 1:
            # no word before every split was tested once
            self.looks = tuple(n for n in self.looks if n < MIN_SEEDS or n >= self.count)

    def _divide(self, question: Question) -> Splits | None:
        if isinstance(question.splits, Splits):
            return question.splits
        if question.splits is None and question.groups is None:
            return None
        self._subject.divide([], None)  # refused where the data are not known
        splits = divide(cast(Task, self._subject.objective), question.splits, question.groups)
        count, most = len(splits.parts), question.looks[-1]
        if count > most:
            raise StudyError(
                f"splits= are {count}, and there are at most {most} paired seeds, each of which trains on one of them: "
                f"give fewer splits, or confirm with seeds={count} or more"
            )
        return splits

    @property
    def key(self) -> list[str]:
        """Of what a verdict depends on; empty where nothing is divided."""
        return [] if self.splits is None else [self.splits.key()]

    def digest(self) -> str | None:
        """Of the rows that are tested, as a verdict keeps it; None where it is not known which they are."""
        test = getattr(
            self._subject.objective, "test", None
        )  # a function keeps its data to itself
        rows = None if test is None else rows_digest(test)
        splits = self.splits
        if rows is None or splits is None or (self.count == 1 and splits.tested == splits.rows):
            return rows
        # other splits test other rows, or after training on others; labels of groups change no score
        divided = rows + replace(splits, groups=None).key()
        return hashlib.blake2b(divided.encode(), digest_size=16).hexdigest()

    @property
    def count(self) -> int:
        """Of splits; 0 where nothing is divided."""
        return 0 if self.splits is None else len(self.splits.parts)

    @property
    def groups(self) -> int:
        """Of how many groups the test rows are; 0 where each stands for itself."""
        labels = None if self.splits is None else self.splits.groups
        return 0 if labels is None else len(np.unique(labels))

    @functools.cached_property
    def _subjects(self) -> Sequence[Subject]:
        """One for each split."""
        if self.splits is None:
            return []
        labels = self.splits.groups
        return self._subject.divide(
            [(trained.tolist(), tested.tolist()) for trained, tested in self.splits.parts],
            None if labels is None else labels.tolist(),
        )

    def by_seed(self, seeds: Sequence[int]) -> Mapping[int, Subject]:
        """One split after the other, and again from the first; empty where nothing is divided."""
        return dict(zip(seeds, itertools.cycle(self._subjects), strict=False))

    def check(self) -> None:
        """Refuse splits in which some test rows cannot be scored, which would look like trainings that diverged.

        Raises:
            StudyError: the metric is not defined on the test rows of a split, as of one class alone.
        """
        for number, subject in enumerate(self._subjects, 1):
            # of all rows, another word is said for it
            if (reason := subject.undefined_on_test()) and not self._subject.undefined_on_test():
                raise StudyError(
                    f"{self._subject.metric} cannot be had of the test rows of split {number} ({reason}), as where all "
                    "are of one class: give fewer splits, or a splitter that keeps classes in proportion, as "
                    "StratifiedKFold(5)"
                )

    def shared(self) -> tuple[SharedRows, ...]:
        """Test rows that stand in data of the search, or are trained on, as copies, where they are tested.

        Raises:
            TaskError: nothing sound can come from the data.
            StudyError: every row that is tested is trained on.
        """
        found = {
            item.other: SharedRows(item.other, item.shared, item.rows, item.relabelled)
            for item in self._subject.rows_in_test()
        }
        if self.splits is None or not (copied := self._count_copies(self.splits)):
            return tuple(found.values())
        rows = self.splits.rows
        if copied == rows:
            raise StudyError(
                "every test row has a copy among those that are trained on where it is tested: keep copies together by "
                "groups=, with a splitter as GroupKFold(5)"
            )
        other = found.get("train", SharedRows("train", 0, rows))
        found["train"] = replace(other, shared=min(other.shared + copied, rows))
        return tuple(found.values())

    def _count_copies(self, splits: Splits) -> int:
        """Test rows that are trained on, as copies, in a split in which they are tested."""
        numbers = number_distinct(cast(Task, self._subject.objective).test, splits.rows)
        if numbers is None:
            return 0
        own = numbers.numpy()
        copied = [tested[np.isin(own[tested], own[trained])] for trained, tested in splits.parts]
        return len(np.unique(np.concatenate(copied)))
