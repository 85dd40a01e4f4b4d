"""Whether a storage is whole, and what each of its studies could go on with."""

from __future__ import annotations

from dataclasses import dataclass

from actsearch.activation_catalog import CATALOG
from actsearch.errors import ActsearchError
from actsearch.expression import parse
from actsearch.records import ActivationRecord, StudyRecord, TrialRecord, TrialState
from actsearch.report.tables import state_counts
from actsearch.report.verdict import read_verdicts
from actsearch.storage import Storage
from actsearch.storage.health import check_database

__all__ = ["Line", "examine"]

_MANY = 5  # lines of one kind; of a file that is damaged throughout there would be thousands


@dataclass(frozen=True)
class Line:
    """One line of a report.

    Attributes:
        what: what was looked at.
        text: what was found.
        is_finding: whether somebody should do something about it.
    """

    what: str
    text: str
    is_finding: bool = False


def examine(url: str) -> list[Line]:
    """Check a storage without writing to it; nothing in it makes this raise."""
    try:
        storage = Storage(url, read_only=True)
    except ActsearchError as error:
        return [Line("storage", str(error), True)]
    lines: list[Line] = []
    try:
        for what, findings in check_database(storage.database):
            lines += [Line(what, text, True) for text in findings] or [Line(what, "ok")]
        lines += _log_beside(storage)
        for study in storage.studies():
            lines += _examine_study(storage, study)
    except ActsearchError as error:
        lines.append(Line("storage", str(error), True))
    finally:
        storage.database.close()
    return lines


def _log_beside(storage: Storage) -> list[Line]:
    """What is to be known before the file is copied."""
    path = storage.database.path
    if path is None:
        return []
    log = path.with_name(f"{path.name}-wal")
    try:
        has_content = log.stat().st_size > 0
    except OSError:
        return []
    text = (
        f"what was stored last may be in {log.name} alone: copy the storage with actsearch backup FILE, "
        f"not {path.name} by itself"
    )
    return [Line("write-ahead log", text)] if has_content else []


def _examine_study(storage: Storage, study: StudyRecord) -> list[Line]:
    what = f"study {study.name}"
    try:
        trials = storage.trials(study.id)
        stored = storage.confirmations(study.id)
        interrupted = storage.interrupted_confirmations(study.id)
        holder = storage.lease(study).holder()
    except ActsearchError as error:
        return [Line(what, str(error), True)]
    lines = [Line(what, _describe_next(study, trials))]
    lines += [
        Line(what, f"confirm, called as before, goes on with {count} stored trainings")
        for count in interrupted
    ]
    if holder is not None and holder.alive:
        lines.append(Line(what, f"is being run by {holder}"))
    elif holder is not None:
        text = (
            f"its lease was left by {holder}: the next optimize takes it over, or actsearch unlock"
        )
        lines.append(Line(what, text, True))
    lost = len(stored) - len(read_verdicts((item.created, item.verdict) for item in stored))
    if lost:
        lines.append(Line(what, f"{lost} of {len(stored)} verdicts cannot be read", True))
    unreadable = [(trial, text) for trial in trials if (text := _find_error(trial))]
    for trial, text in unreadable[:_MANY]:
        lines.append(
            Line(what, f"trial {trial.number} cannot be read as an activation: {text}", True)
        )
    if len(unreadable) > _MANY:
        lines.append(Line(what, f"and {len(unreadable) - _MANY} more like that", True))
    return lines


def _describe_next(study: StudyRecord, trials: list[TrialRecord]) -> str:
    """What the next optimize would begin with."""
    counts = state_counts(trials)
    trained = sum(count for state, count in counts.items() if state.is_trained)
    running, waiting = counts[TrialState.RUNNING], counts[TrialState.WAITING]
    if running + waiting:
        then = f"optimize goes on with {running} interrupted and {waiting} waiting trials"
    else:
        then = f"optimize goes on with new proposals ({study.strategy.get('name')})"
    return f"{trained} trained trials; {then}"


def _find_error(trial: TrialRecord) -> str:
    """Why a stored activation is not valid; empty for one that can be read."""
    for item in trial.candidate.activations.values():
        try:
            _check_activation(item)
        except ActsearchError as error:
            return str(error).splitlines()[0]
    return ""


def _check_activation(item: ActivationRecord) -> None:
    if item.name is None:
        parse(item.formula)
    else:
        CATALOG[item.name].bind(dict(item.hyperparameters))
