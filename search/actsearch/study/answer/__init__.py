"""One call from a model to an answer, within a budget."""

from actsearch.study.answer.entry import find
from actsearch.study.answer.result import FindResult, Spent
from actsearch.study.answer.script import load_task

__all__ = ["FindResult", "Spent", "find", "load_task"]
