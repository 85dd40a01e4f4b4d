"""The schema, one class a table. A change here needs a migration in ``migrations/versions``."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from sqlalchemy import (
    JSON,
    CheckConstraint,
    Double,
    ForeignKey,
    Index,
    LargeBinary,
    MetaData,
    UniqueConstraint,
    text,
)
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from actsearch.records import TrialState
from actsearch.storage.column_types import Int64, StorableText, UtcDateTime

__all__ = [
    "DIAGNOSED",
    "Base",
    "ConfirmationRow",
    "ConfirmationTrainingRow",
    "DiagnosticsRow",
    "EnvironmentRow",
    "EpochRow",
    "EvaluationRow",
    "FunctionRow",
    "LeaseRow",
    "LookRow",
    "OpenConfirmationRow",
    "StudyRow",
    "TrialRow",
    "TrialValueRow",
    "utc_now",
]


def utc_now() -> datetime:
    """The present moment, aware, in UTC."""
    return datetime.now(UTC)


_LARGEST = "1.7976931348623157e308"  # of doubles: infinity and NaN lie beyond
_WORDS = "('nan', 'inf', '-inf')"


def _finite(*columns: str, name: str = "finite") -> CheckConstraint:
    """No NaN and no infinity, which each database sorts and compares in its own way."""
    check = " AND ".join(f"{column} BETWEEN -{_LARGEST} AND {_LARGEST}" for column in columns)
    return CheckConstraint(check, name=name)


def _text_beside(number: str, text_: str) -> CheckConstraint:
    """A text only for a number that is not finite, and NULL in the place of that number."""
    check = f"{text_} IS NULL OR ({text_} IN {_WORDS} AND {number} IS NULL)"
    return CheckConstraint(check, name=text_)


class Base(DeclarativeBase):
    """Names every constraint, so that migrations can speak of them."""

    metadata = MetaData(
        naming_convention={
            "ix": "ix_%(table_name)s_%(column_0_N_name)s",
            "uq": "uq_%(table_name)s_%(column_0_N_name)s",
            "ck": "ck_%(table_name)s_%(constraint_name)s",
            "fk": "fk_%(table_name)s_%(column_0_N_name)s",
            "pk": "pk_%(table_name)s",
        }
    )
    type_annotation_map = {
        dict[str, Any]: JSON,
        list[Any]: JSON,
        datetime: UtcDateTime,
        str: StorableText,
        float: Double,
    }


class StudyRow(Base):
    """One study: its settings never change, but direction, objectives and task, set once by the first optimize.

    ``direction`` is that of the first objective; ``directions`` is NULL where there is but one.
    """

    __tablename__ = "studies"

    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(unique=True)
    seed: Mapped[int] = mapped_column(Int64)
    direction: Mapped[str | None] = mapped_column()
    space: Mapped[dict[str, Any]]
    strategy: Mapped[dict[str, Any]]
    task: Mapped[dict[str, Any] | None] = mapped_column(JSON(none_as_null=True))
    versions: Mapped[dict[str, Any]]
    user_attrs: Mapped[dict[str, Any]]
    created: Mapped[datetime]
    pruner: Mapped[dict[str, Any] | None] = mapped_column(JSON(none_as_null=True))
    directions: Mapped[list[Any] | None] = mapped_column(JSON(none_as_null=True))
    objectives: Mapped[list[Any] | None] = mapped_column(JSON(none_as_null=True))

    __table_args__ = (CheckConstraint("direction IN ('maximize', 'minimize')", name="direction"),)


class EnvironmentRow(Base):
    """Versions of everything that shapes a trial; trials name the ones they were proposed and trained with."""

    __tablename__ = "environments"

    id: Mapped[int] = mapped_column(primary_key=True)
    digest: Mapped[str] = mapped_column(unique=True)
    versions: Mapped[dict[str, Any]]


class TrialRow(Base):
    """One trial."""

    __tablename__ = "trials"

    id: Mapped[int] = mapped_column(primary_key=True)
    study_id: Mapped[int] = mapped_column(ForeignKey("studies.id", ondelete="CASCADE"))
    number: Mapped[int]
    state: Mapped[str]
    activations: Mapped[dict[str, Any]]
    formula: Mapped[str]
    label: Mapped[str]
    operation: Mapped[str]
    parents: Mapped[list[Any]]
    fingerprint: Mapped[str]
    alias: Mapped[str]
    mirror: Mapped[str] = mapped_column(server_default=text("''"))
    duplicate_of: Mapped[int | None]
    spread: Mapped[float | None]
    spread_nonfinite: Mapped[str | None]
    reason: Mapped[str]
    warnings: Mapped[list[Any]]
    user_attrs: Mapped[dict[str, Any]]
    seconds: Mapped[float]
    created: Mapped[datetime]
    started: Mapped[datetime | None]
    completed: Mapped[datetime | None]
    proposed_in: Mapped[int | None] = mapped_column(ForeignKey("environments.id"))
    trained_in: Mapped[int | None] = mapped_column(ForeignKey("environments.id"))

    __table_args__ = (
        UniqueConstraint("study_id", "number"),
        CheckConstraint(
            "state IN ({})".format(", ".join(f"'{state.value}'" for state in TrialState)),
            name="state",
        ),
        CheckConstraint("(state = 'DUPLICATE') = (duplicate_of IS NOT NULL)", name="duplicate"),
        _finite("spread"),
        _text_beside("spread", "spread_nonfinite"),
        Index(None, "study_id", "state"),
    )


class FunctionRow(Base):
    """An activation of a study's trials as a function of one number: f and then f' at fixed points, single precision.

    Trials with the same activation share a row; ``digest`` is :attr:`actsearch.records.ActivationRecord.digest`.
    """

    __tablename__ = "functions"

    study_id: Mapped[int] = mapped_column(
        ForeignKey("studies.id", ondelete="CASCADE"), primary_key=True
    )
    digest: Mapped[bytes] = mapped_column(LargeBinary, primary_key=True)
    samples: Mapped[bytes] = mapped_column(LargeBinary)


class TrialValueRow(Base):
    """A trial's value in one objective; a value that is not a finite number is NULL with its text."""

    __tablename__ = "trial_values"

    trial_id: Mapped[int] = mapped_column(
        ForeignKey("trials.id", ondelete="CASCADE"), primary_key=True
    )
    objective: Mapped[int] = mapped_column(primary_key=True)  # 0-based
    value: Mapped[float | None]
    nonfinite: Mapped[str | None]

    __table_args__ = (
        _finite("value"),
        _text_beside("value", "nonfinite"),
        CheckConstraint("value IS NOT NULL OR nonfinite IS NOT NULL", name="present"),
        {"sqlite_with_rowid": False},
    )


class EvaluationRow(Base):
    """One training of a trial under one seed."""

    __tablename__ = "evaluations"

    id: Mapped[int] = mapped_column(primary_key=True)
    trial_id: Mapped[int] = mapped_column(ForeignKey("trials.id", ondelete="CASCADE"))
    seed: Mapped[int] = mapped_column(Int64)
    value: Mapped[float | None]
    metrics: Mapped[dict[str, Any]]
    seconds: Mapped[float]
    reason: Mapped[str]
    nonfinite: Mapped[str | None]
    parameters_added: Mapped[int | None] = mapped_column(Int64)
    loss_gap: Mapped[float | None]

    __table_args__ = (
        UniqueConstraint("trial_id", "seed"),
        _finite("value"),
        _text_beside("value", "nonfinite"),
        _finite("loss_gap", name="loss_gap"),
    )


class EpochRow(Base):
    """One epoch of one evaluation; ``nonfinite`` names the columns that are NULL for being nan or inf."""

    __tablename__ = "epochs"

    evaluation_id: Mapped[int] = mapped_column(
        ForeignKey("evaluations.id", ondelete="CASCADE"), primary_key=True
    )
    epoch: Mapped[int] = mapped_column(primary_key=True)  # 1-based
    train_loss: Mapped[float | None]
    train_metric: Mapped[float | None]
    valid_loss: Mapped[float | None]
    valid_metric: Mapped[float | None]
    seconds: Mapped[float]
    nonfinite: Mapped[dict[str, Any] | None] = mapped_column(JSON(none_as_null=True))

    __table_args__ = (
        _finite("train_loss", "train_metric", "valid_loss", "valid_metric"),
        {"sqlite_with_rowid": False},  # a third smaller: rows lie in the index of their key
    )


DIAGNOSED = ("mean", "sd", "dead", "zeros", "saturation", "gain", "gradient_norm")
"""The numbers of a diagnosis that are columns."""


class DiagnosticsRow(Base):
    """One site in one look at a training; ``nonfinite`` as in epochs."""

    __tablename__ = "diagnostics"

    evaluation_id: Mapped[int] = mapped_column(
        ForeignKey("evaluations.id", ondelete="CASCADE"), primary_key=True
    )
    stage: Mapped[str] = mapped_column(primary_key=True)
    position: Mapped[int] = mapped_column(primary_key=True)  # 0-based
    site: Mapped[str]
    shape: Mapped[list[Any]]
    mean: Mapped[float | None]
    sd: Mapped[float | None]
    dead: Mapped[float | None]
    zeros: Mapped[float | None]
    saturation: Mapped[float | None]
    gain: Mapped[float | None]
    gradient_norm: Mapped[float | None]
    histogram: Mapped[list[Any]]
    learned: Mapped[dict[str, Any]]
    nonfinite: Mapped[dict[str, Any] | None] = mapped_column(JSON(none_as_null=True))

    __table_args__ = (
        CheckConstraint("stage IN ('start', 'end')", name="stage"),
        _finite(*DIAGNOSED),
        {"sqlite_with_rowid": False},
    )


class ConfirmationRow(Base):
    """One verdict."""

    __tablename__ = "confirmations"

    id: Mapped[int] = mapped_column(primary_key=True)
    study_id: Mapped[int] = mapped_column(ForeignKey("studies.id", ondelete="CASCADE"))
    number: Mapped[int]
    key: Mapped[str]
    verdict: Mapped[dict[str, Any]]
    created: Mapped[datetime]

    __table_args__ = (UniqueConstraint("study_id", "number"), UniqueConstraint("study_id", "key"))


class OpenConfirmationRow(Base):
    """A verdict that is being made, or was interrupted; gone when the verdict is stored."""

    __tablename__ = "open_confirmations"

    id: Mapped[int] = mapped_column(primary_key=True)
    study_id: Mapped[int] = mapped_column(ForeignKey("studies.id", ondelete="CASCADE"))
    number: Mapped[int]  # 0-based, in the order in which a study's confirmations were begun
    key: Mapped[str]  # of the verdict
    environment_id: Mapped[int] = mapped_column(ForeignKey("environments.id"))
    device: Mapped[str]  # its kind, as "cuda"
    created: Mapped[datetime]

    __table_args__ = (UniqueConstraint("study_id", "number"), UniqueConstraint("study_id", "key"))


class ConfirmationTrainingRow(Base):
    """One finished training of a verdict that is not stored yet."""

    __tablename__ = "confirmation_trainings"

    confirmation_id: Mapped[int] = mapped_column(
        ForeignKey("open_confirmations.id", ondelete="CASCADE"), primary_key=True
    )
    key: Mapped[str] = mapped_column(primary_key=True)
    score: Mapped[dict[str, Any]]
    reason: Mapped[str]

    __table_args__ = ({"sqlite_with_rowid": False},)


class LookRow(Base):
    """Comparisons made on some test data; they stay when the study that made them is deleted.

    One row for each, with a key of everything that its result depends on: the same one made again is the same row. Of
    those made before schema 0007, whose key is NULL, one row holds all of a verdict.
    """

    __tablename__ = "looks"

    id: Mapped[int] = mapped_column(primary_key=True)
    test_data: Mapped[str] = mapped_column(index=True)
    comparisons: Mapped[int]
    study_name: Mapped[str]
    created: Mapped[datetime]
    key: Mapped[str | None]

    __table_args__ = (Index(None, "test_data", "key", unique=True),)


class LeaseRow(Base):
    """Which process drives a study."""

    __tablename__ = "leases"

    study_id: Mapped[int] = mapped_column(
        ForeignKey("studies.id", ondelete="CASCADE"), primary_key=True
    )
    token: Mapped[str]
    owner: Mapped[str]
    host: Mapped[str]
    pid: Mapped[int]
    process: Mapped[str]  # its mark, which tells it from later ones with its number
    acquired: Mapped[datetime]
    renewed: Mapped[datetime]
    purpose: Mapped[str | None]
    target: Mapped[int | None] = mapped_column(Int64)
    until: Mapped[datetime | None]
