"""Cached reading. What is read is kept until the database file changes, so that a live study is seen at once.

What grows with the trials is kept once for all sessions, and of it only what changed is read again.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Generic, TypeVar

import numpy as np
import pandas as pd
import plotly.graph_objects as go
import streamlit as st

from actsearch.pareto import front
from actsearch.records import RunGoal, StudyRecord, TrialRecord
from actsearch.report import Pruning, Reader, StudySummary, Verdict, VerdictRow, leaders, sample
from actsearch.report.formulas import count_nodes, operators_in
from actsearch.storage import StoredTraining, redact, storage_file
from actsearch_dashboard.filters import TRAINED
from actsearch_dashboard.text import shorten

__all__ = [
    "MOST_PRUNED",
    "MOST_SAMPLED",
    "FormulaContents",
    "Store",
    "StudyView",
    "open_store",
    "place_of_headline",
]

Stamp = tuple[object, ...]
Kind = TypeVar("Kind")

MOST_SAMPLED = 300
"""Of a study with more trained trials, figures that need whole trials show so many, read with all their parts."""

MOST_PRUNED = 2000
"""What a pruner saved is told over so many of the latest trials: the epochs of all of these are read."""

# Seconds after which anything is read again: a file system's time stamps may be too coarse to tell of each write.
_SAFETY = 60
_LONGEST_NAME = 40  # of a metric or a strategy: longer ones would not fit at an axis
# Few trials take longer, and a killed process should not stay unnoticed for hours.
_SILENCE = timedelta(minutes=10)


@dataclass
class _Kept(Generic[Kind]):
    """Something that is brought up to date rather than made anew, for all sessions."""

    value: Kind | None = None
    stamp: Stamp | None = None
    moment: float = 0.0
    lock: threading.Lock = field(default_factory=threading.Lock)

    def current(
        self, read_stamp: Callable[[], Stamp], refresh: Callable[[Kind | None], Kind]
    ) -> Kind:
        """The value; ``refresh`` makes it from the one before if the stamp is another or it is old."""
        with self.lock:
            # the stamp first: what is written while the value is read makes another one, and it is read again
            now, stamp = time.monotonic(), read_stamp()
            if self.value is None or stamp != self.stamp or now - self.moment > _SAFETY:
                self.value = refresh(self.value)
                self.stamp, self.moment = stamp, now
            return self.value


@dataclass(frozen=True)
class FormulaContents:
    """What the formulas of a study's trials are made of, a row for each as in its frame.

    Attributes:
        sizes: number of nodes; 0 for a trial with several activations.
        operators: names of operators.
    """

    sizes: np.ndarray
    operators: list[frozenset[str]]


@dataclass(frozen=True)
class Store:
    """A storage as the pages see it; each call asks the database only if its file has changed."""

    url: str = field(repr=False)  # it may hold a password
    reader: Reader
    identity: Stamp = ()

    @property
    def stamp(self) -> Stamp:
        """Changes when the database does."""
        path = storage_file(self.url)
        return self.reader.stamp() if path is None else _stamp(path)

    @property
    def name(self) -> str:
        """Short name of the storage."""
        path = storage_file(self.url)
        if path is not None:
            return path.name
        place = redact(self.url).partition("://")[2].partition("?")[0]
        return place.rpartition("@")[2]

    def studies(self) -> list[StudyRecord]:
        """Every study, oldest first."""
        studies: list[StudyRecord] = _read(self.url, self.stamp, "studies", (), self.reader)
        return studies

    def summaries(self) -> list[StudySummary]:
        """How every study stands, oldest first."""
        kept = _kept_summaries(self.url, self.identity)
        return kept.current(lambda: self.stamp, lambda before: self.reader.summaries(before or ()))

    def summary(self, name: str) -> StudySummary | None:
        """How one study stands; None if there is none of that name."""
        return next((item for item in self.summaries() if item.study.name == name), None)

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
        """Name of what is optimised, of several objectives the first; of a callable, whose value it is."""
        if self.objectives:
            return self.objectives[0]
        task = self.record.task or {}
        made_by = str(task.get("objective") or "")
        name = f"value of {made_by}" if made_by.isidentifier() else "value"
        return shorten(task.get("metric") or name, _LONGEST_NAME)

    @property
    def objectives(self) -> tuple[str, ...]:
        """Names of several objectives as pages show them; empty where there is but one."""
        count, names = len(self.record.directions), self.record.objectives
        if count < 2:
            return ()
        if len(names) != count:
            return tuple(f"objective {number}" for number in range(1, count + 1))
        return tuple(shorten(name, _LONGEST_NAME) for name in names)

    @property
    def unit(self) -> str:
        """What the records of a curve are numbered by: epochs, or the steps of a task whose budget is in steps."""
        return "epoch" if (self.record.task or {}).get("steps") is None else "step"

    @property
    def strategy(self) -> str:
        """Name of the strategy."""
        return shorten(self.record.strategy.get("name", "–"), _LONGEST_NAME)

    @property
    def is_running(self) -> bool:
        """Whether a process drives the study now; never cached."""
        return self.store.reader.is_running(self.record)

    @property
    def run_goal(self) -> RunGoal | None:
        """What the process that drives the study is about, if it said so; never cached."""
        return self.store.reader.run_goal(self.record)

    def frame(self) -> pd.DataFrame:
        """The trials as columns, see :data:`actsearch.report.COLUMNS`. Shared by all pages: never write to it.

        The same object as long as nothing changes.
        """
        return self._kept.current(
            lambda: self.store.stamp, lambda before: self.store.reader.frame(self.record, before)
        )

    def ranked(self) -> pd.DataFrame:
        """The complete trials, best first; of several objectives the Pareto front comes first, as ``front`` says.

        What is best in the first objective may be dominated by one that is as good in it and better in another.
        """
        frame = self.frame()
        ranked = leaders(frame, self.record.direction, len(frame))
        columns = ["value", *(f"value_{index}" for index in range(1, len(self.objectives)))]
        if len(columns) < 2 or not set(columns) <= set(ranked):
            return ranked
        points = ranked[columns].to_numpy(dtype=float)
        on_front = _front(self.store.url, self.record.id, self.store.stamp, points, self.record)
        return ranked.assign(front=on_front).sort_values("front", ascending=False, kind="stable")

    @property
    def _kept(self) -> _Kept[pd.DataFrame]:
        record = self.record
        return _kept_frame(self.store.url, self.store.identity, record.id, record.created)

    def formula_contents(self) -> FormulaContents:
        """What the formulas in :meth:`frame` are made of."""
        frame, known = self.frame(), _known_formulas(self.store.url, self.record.id)
        for formula in set(frame["formula"]) - known.keys():
            known[formula] = count_nodes(formula), operators_in(formula)
        contents = [known[formula] for formula in frame["formula"]]
        sizes = np.array([size for size, _ in contents], dtype=np.int64)
        sizes[frame["groups"].to_numpy() > 1] = 0
        return FormulaContents(sizes, [operators for _, operators in contents])

    def sample_numbers(
        self,
        most: int = MOST_SAMPLED,
        best_share: float = 0.25,
        only: Sequence[int] | None = None,  # of these alone
    ) -> list[int]:
        """Numbers of the trained trials, or of so many: the best share of those, the others evenly spread."""
        frame = self.frame()
        trained = frame[frame["state"].isin(TRAINED)]
        if only is not None:
            trained = trained[trained["number"].isin(list(only))]
        shown = sample(trained, self.record.direction, most, best_share)
        return [int(number) for number in shown["number"]]

    def trial(self, number: int) -> TrialRecord | None:
        """One trial with its epochs, read afresh; None if there is none of that number."""
        trials = self.store.reader.trials(self.record, [number], epochs=True)
        return trials[0] if trials else None

    def verdicts(self) -> list[tuple[datetime, Verdict]]:
        """Confirmations with their time, oldest first."""
        store, arguments = self.store, (self.record,)
        verdicts: list[tuple[datetime, Verdict]]
        verdicts = _read(store.url, store.stamp, "verdicts", arguments, store.reader)
        return verdicts

    def stored_trainings(self) -> list[list[StoredTraining]]:
        """Of each verdict that is not made yet, the trainings that are stored; oldest first."""
        store, arguments = self.store, (self.record,)
        trainings: list[list[StoredTraining]]
        trainings = _read(store.url, store.stamp, "stored_trainings", arguments, store.reader)
        return trainings

    def headline(self) -> tuple[datetime, Verdict] | None:
        """The verdict that pages begin with: the latest that says what to do, or the latest of all; None without any.

        A later one with too few seeds to tell anything takes nothing back.
        """
        return next(iter(self.ordered_verdicts()), None)

    def verdict_of(self, number: int) -> tuple[Verdict, VerdictRow] | None:
        """What is said of a trial: by the headline if it compared it, else by the latest verdict that did."""
        for _, verdict in self.ordered_verdicts():
            if (row := verdict.row(number)) is not None:
                return verdict, row
        return None

    def ordered_verdicts(self) -> list[tuple[datetime, Verdict]]:
        """The headline, then the others, newest first."""
        verdicts = self.verdicts()[::-1]
        start = place_of_headline(verdicts)
        return verdicts[start : start + 1] + verdicts[:start] + verdicts[start + 1 :]

    def pruning(self) -> Pruning | None:
        """The pruner's account over the latest trained trials; None where nothing is pruned."""
        if self.record.pruner is None:
            return None
        frame = self.frame()
        numbers = frame["number"][frame["state"].isin(TRAINED)].tail(MOST_PRUNED)
        store, arguments = self.store, (self.record, numbers.tolist())
        pruning: Pruning | None
        pruning = _read(store.url, store.stamp, "pruning", arguments, store.reader)
        return pruning

    def optuna_figure(
        self, name: str, objective: int = 0, only: tuple[int, ...] | None = None
    ) -> go.Figure:
        """One of Optuna's own figures; see :func:`actsearch_dashboard.optuna_figures.draw`."""
        return _optuna_figure(
            self.store.url, self.record.id, self.store.stamp, name, objective, only, self
        )

    def is_silent(self, now: datetime | None = None) -> bool:
        """Whether it is marked as running although nothing has ended for long: its process may be dead."""
        frame = self.frame()
        moments = frame["completed"].fillna(frame["created"])
        last = moments.max() if moments.notna().any() else self.record.created
        return last is not None and (now or datetime.now(UTC)) - last > _SILENCE


def place_of_headline(verdicts: Sequence[tuple[datetime, Verdict]]) -> int:
    """Of verdicts, newest first, which one pages begin with: see :meth:`StudyView.headline`."""
    return next((at for at, (_, verdict) in enumerate(verdicts) if verdict.is_decided), 0)


def open_store(url: str) -> Store:
    """Open a storage for reading.

    Raises:
        StorageError: it is missing, empty, not ours or newer.
    """
    path = storage_file(url)
    identity = _status(path)[:2] if path is not None else ()
    return Store(url, _reader(url, identity), identity)


def _status(path: Path) -> tuple[int, int, int, int]:
    try:
        status = path.stat()
    except OSError:
        return (0, 0, 0, 0)
    return (status.st_dev, status.st_ino, status.st_mtime_ns, status.st_size)


def _stamp(path: Path) -> Stamp:
    path = path.resolve()  # the log lies beside the file, not beside a symbolic link to it
    return _status(path) + _status(path.with_name(path.name + "-wal"))


# Streamlit leaves arguments with a leading underscore out of the key.


@st.cache_resource(max_entries=8, show_spinner=False)
def _reader(url: str, identity: Stamp) -> Reader:
    """Kept for as long as the file is the same one, not merely one of the same name."""
    return Reader(url)


@st.cache_resource(max_entries=4, show_spinner=False)
def _kept_summaries(url: str, identity: Stamp) -> _Kept[list[StudySummary]]:
    return _Kept()


# of a hundred thousand trials one has 150 MB
@st.cache_resource(max_entries=3, show_spinner=False)
def _kept_frame(
    url: str, identity: Stamp, study_id: int, created: datetime | None
) -> _Kept[pd.DataFrame]:
    return _Kept()


@st.cache_resource(max_entries=3, show_spinner=False)
def _known_formulas(url: str, study_id: int) -> dict[str, tuple[int, frozenset[str]]]:
    return {}


@st.cache_data(ttl=_SAFETY, max_entries=24, show_spinner=False)
def _read(url: str, stamp: Stamp, method: str, arguments: tuple[Any, ...], _reader: Reader) -> Any:
    """What a method of the reader returns."""
    return getattr(_reader, method)(*arguments)


@st.cache_data(ttl=_SAFETY, max_entries=8, show_spinner=False)
def _front(
    url: str, study_id: int, stamp: Stamp, _points: np.ndarray, _study: StudyRecord
) -> np.ndarray:
    """Which rows no other one dominates; those with a gap never are on the front."""
    known = np.flatnonzero(np.isfinite(_points).all(axis=1))
    mask = np.zeros(len(_points), dtype=bool)
    mask[known[front(_points[known].tolist(), _study.directions)]] = True
    return mask


@st.cache_data(ttl=_SAFETY, max_entries=16, show_spinner="Drawing ...")
def _optuna_figure(
    url: str,
    study_id: int,
    stamp: Stamp,
    name: str,
    objective: int,
    only: tuple[int, ...] | None,
    _view: StudyView,
) -> go.Figure:
    from actsearch_dashboard import optuna_figures  # loads slowly: not before the first paint

    with_epochs = name in optuna_figures.NEED_EPOCHS
    most = optuna_figures.MOST_CURVES if with_epochs else MOST_SAMPLED
    share = 0.0 if name in optuna_figures.NEED_EVEN else 0.25
    numbers = _view.sample_numbers(most, share, only)
    trials = _view.store.reader.trials(_view.record, numbers, epochs=with_epochs)
    return optuna_figures.draw(
        name, _view.record, trials, (_view.objectives or (_view.metric,))[objective], objective
    )
