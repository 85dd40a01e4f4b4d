"""Cached reading. What is read is kept until the database file changes, so that a live study is seen at once."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pandas as pd
import plotly.graph_objects as go
import streamlit as st

from actsearch.errors import StorageError
from actsearch.records import StudyRecord, TrialRecord
from actsearch.report import Reader, StudySummary, Verdict, columns_of
from actsearch_dashboard import optuna_figures
from actsearch_dashboard.text import cut

__all__ = ["Store", "StudyView", "open_store", "storage_url"]

Stamp = tuple[object, ...]

_SAFETY = (
    60  # seconds after which anything is read again, should a file's time stamp not have moved
)
_LONGEST_NAME = 40  # of a metric or a strategy
_SILENCE = timedelta(minutes=10)


def storage_url(arguments: Sequence[str] | None = None) -> str:
    """The storage from the command line, ``streamlit run app.py -- URL``.

    Raises:
        StorageError: if there is none.
    """
    given = sys.argv[1:] if arguments is None else arguments
    if not given:
        raise StorageError(
            "no storage was given: start with  actsearch dashboard sqlite:///studies/actsearch.db"
        )
    return given[0]


@dataclass(frozen=True)
class Store:
    """A storage as the pages see it; each call asks the database only if its file has changed."""

    url: str
    reader: Reader

    @property
    def stamp(self) -> Stamp:
        """Changes when the database does."""
        path = _path(self.url)
        return self.reader.stamp() if path is None else _stamp(path)

    @property
    def name(self) -> str:
        """Short name of the storage."""
        path = _path(self.url)
        return path.name if path is not None else self.url.split("@")[-1]

    def studies(self) -> list[StudyRecord]:
        """Every study, oldest first."""
        return _studies(self.url, self.stamp, self.reader)

    def summaries(self) -> list[StudySummary]:
        """How every study stands, oldest first."""
        return _summaries(self.url, self.stamp, self.reader)

    def view(self, name: str) -> StudyView:
        """One study; StudyError if there is none of that name."""
        return StudyView(self, self.reader.study(name))


@dataclass(frozen=True)
class StudyView:
    """One study of a storage."""

    store: Store
    record: StudyRecord

    @property
    def metric(self) -> str:
        """Name of what is optimised."""
        return cut((self.record.task or {}).get("metric") or "value", _LONGEST_NAME)

    @property
    def strategy(self) -> str:
        """Name of the strategy."""
        return cut(self.record.strategy.get("name", "–"), _LONGEST_NAME)

    @property
    def is_running(self) -> bool:
        """Whether a process drives the study now; never cached."""
        return self.store.reader.is_running(self.record)

    def trials(self) -> list[TrialRecord]:
        """Trials in order, duplicates with the value of what they repeat."""
        return _trials(self.store.url, self.record.id, self.store.stamp, self)

    def frame(self) -> pd.DataFrame:
        """The trials as columns, see :data:`actsearch.report.COLUMNS`. Shared by all pages: never write to it."""
        return _frame(self.store.url, self.record.id, self.store.stamp, self)

    def trial(self, number: int) -> TrialRecord | None:
        """One trial with its epochs, read afresh; None if there is none of that number."""
        found = self.store.reader.trials(self.record, [number], epochs=True)
        return found[0] if found else None

    def verdicts(self) -> list[tuple[datetime, Verdict]]:
        """Confirmations with their time, oldest first."""
        return _verdicts(self.store.url, self.record.id, self.store.stamp, self)

    def optuna_figure(self, name: str) -> go.Figure:
        """One of Optuna's own figures; see :func:`actsearch_dashboard.optuna_figures.draw`."""
        return _optuna_figure(self.store.url, self.record.id, self.store.stamp, name, self)

    def is_silent(self, now: datetime | None = None) -> bool:
        """Whether it is marked as running although nothing has ended for long: its process may be dead."""
        moments = [trial.completed or trial.created for trial in self.trials()]
        last = max((item for item in moments if item is not None), default=self.record.created)
        return last is not None and (now or datetime.now(UTC)) - last > _SILENCE


def open_store(url: str) -> Store:
    """Open a storage for reading.

    Raises:
        StorageError: it is missing, empty, not ours or newer.
    """
    path = _path(url)
    identity = _status(path)[:2] if path is not None else ()
    return Store(url, _reader(url, identity))


def _path(url: str) -> Path | None:
    head, found, path = url.partition(":///")
    return Path(path.partition("?")[0]) if found and head.startswith("sqlite") and path else None


def _status(path: Path) -> tuple[int, int, int, int]:
    try:
        status = path.stat()
    except OSError:
        return (0, 0, 0, 0)
    return (status.st_dev, status.st_ino, status.st_mtime_ns, status.st_size)


def _stamp(path: Path) -> Stamp:
    return _status(path) + _status(path.with_name(path.name + "-wal"))


# Streamlit leaves arguments with a leading underscore out of the key.


@st.cache_resource(max_entries=8, show_spinner=False)
def _reader(url: str, identity: Stamp) -> Reader:
    """Kept for as long as the file is the same one, not merely one of the same name."""
    return Reader(url)


@st.cache_data(ttl=_SAFETY, max_entries=4, show_spinner=False)
def _studies(url: str, stamp: Stamp, _from: Reader) -> list[StudyRecord]:
    return _from.studies()


@st.cache_data(ttl=_SAFETY, max_entries=4, show_spinner=False)
def _summaries(url: str, stamp: Stamp, _from: Reader) -> list[StudySummary]:
    return _from.summaries()


@st.cache_data(ttl=_SAFETY, max_entries=8, show_spinner=False)
def _trials(url: str, study_id: int, stamp: Stamp, _view: StudyView) -> list[TrialRecord]:
    return _view.store.reader.trials(_view.record)


@st.cache_resource(ttl=_SAFETY, max_entries=8, show_spinner=False)
def _frame(url: str, study_id: int, stamp: Stamp, _view: StudyView) -> pd.DataFrame:
    return columns_of(_view.trials(), len(_view.record.directions) or 1)


@st.cache_data(ttl=_SAFETY, max_entries=8, show_spinner=False)
def _verdicts(
    url: str, study_id: int, stamp: Stamp, _view: StudyView
) -> list[tuple[datetime, Verdict]]:
    return _view.store.reader.verdicts(_view.record)


@st.cache_data(ttl=_SAFETY, max_entries=16, show_spinner="Drawing ...")
def _optuna_figure(
    url: str, study_id: int, stamp: Stamp, name: str, _view: StudyView
) -> go.Figure:
    with_epochs = name in optuna_figures.NEED_EPOCHS
    trials = _view.store.reader.trials(_view.record, epochs=with_epochs)
    return optuna_figures.draw(name, _view.record, trials)
