"""Trainings of a verdict that is not made yet; a look by what is looked at, unknown of those of before."""

import sqlalchemy as sa
from alembic.operations import Operations

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None


def upgrade(op: Operations) -> None:
    op.create_table(
        "open_confirmations",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("study_id", sa.Integer(), nullable=False),
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("key", sa.Text(), nullable=False),
        sa.Column("environment_id", sa.Integer(), nullable=False),
        sa.Column("device", sa.Text(), nullable=False),
        sa.Column("created", sa.DateTime(), nullable=False),
        sa.ForeignKeyConstraint(
            ["study_id"],
            ["studies.id"],
            name=op.f("fk_open_confirmations_study_id"),
            ondelete="CASCADE",
        ),
        sa.ForeignKeyConstraint(
            ["environment_id"],
            ["environments.id"],
            name=op.f("fk_open_confirmations_environment_id"),
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_open_confirmations")),
        sa.UniqueConstraint("study_id", "key", name=op.f("uq_open_confirmations_study_id_key")),
        sa.UniqueConstraint(
            "study_id", "number", name=op.f("uq_open_confirmations_study_id_number")
        ),
    )
    op.create_table(
        "confirmation_trainings",
        sa.Column("confirmation_id", sa.Integer(), nullable=False),
        sa.Column("key", sa.Text(), nullable=False),
        sa.Column("score", sa.JSON(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(
            ["confirmation_id"],
            ["open_confirmations.id"],
            name=op.f("fk_confirmation_trainings_confirmation_id"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("confirmation_id", "key", name=op.f("pk_confirmation_trainings")),
        sqlite_with_rowid=False,
    )
    op.add_column("looks", sa.Column("key", sa.Text(), nullable=True))
    op.create_index(op.f("ix_looks_test_data_key"), "looks", ["test_data", "key"], unique=True)
