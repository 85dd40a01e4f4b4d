"""One candidate trained under some seeds, as a study would have it trained."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from actsearch.evaluation import Request, make_subject
from actsearch.records import CandidateRecord, Outcome


def evaluate(
    record: CandidateRecord, objective: Any, seeds: Sequence[int], **settings: Any
) -> Outcome:
    """The outcome of a Task or a function of one's own; settings as of a Request."""
    return make_subject(objective).train([Request(record, tuple(seeds), **settings)])[0]
