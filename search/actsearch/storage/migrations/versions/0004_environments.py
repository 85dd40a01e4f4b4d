"""Versions by trial; a text beside every number that is not finite, and checks; smaller epochs in SQLite."""

import sqlalchemy as sa
from alembic.operations import Operations
from sqlalchemy.schema import SchemaItem

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

LARGEST = "1.7976931348623157e308"
COLUMNS = (
    "ALTER TABLE trials ADD COLUMN proposed_in INTEGER"
    " CONSTRAINT fk_trials_proposed_in REFERENCES environments (id)",
    "ALTER TABLE trials ADD COLUMN trained_in INTEGER"
    " CONSTRAINT fk_trials_trained_in REFERENCES environments (id)",
)
VALUES = "trial_id, objective, value, nonfinite"
EPOCHS = (
    "evaluation_id, epoch, train_loss, train_metric, valid_loss, valid_metric, seconds, nonfinite"
)


def finite(*columns: str) -> str:
    return " AND ".join(f"{column} BETWEEN -{LARGEST} AND {LARGEST}" for column in columns)


def beside(number: str, text: str) -> str:
    return f"{text} IS NULL OR ({text} IN ('nan', 'inf', '-inf') AND {number} IS NULL)"


VALUE_CHECKS = {
    "ck_trial_values_finite": finite("value"),
    "ck_trial_values_nonfinite": beside("value", "nonfinite"),
    "ck_trial_values_present": "value IS NOT NULL OR nonfinite IS NOT NULL",
}
EPOCH_CHECKS = {
    "ck_epochs_finite": finite("train_loss", "train_metric", "valid_loss", "valid_metric")
}


def upgrade(op: Operations) -> None:
    op.create_table(
        "environments",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("digest", sa.Text(), nullable=False),
        sa.Column("versions", sa.JSON(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_environments")),
        sa.UniqueConstraint("digest", name=op.f("uq_environments_digest")),
    )
    for statement in COLUMNS:
        op.execute(statement)
    add_text(op, "trials", "spread", "spread_nonfinite")
    add_text(op, "evaluations", "value", "nonfinite")
    if op.get_bind().dialect.name == "sqlite":
        rebuild(op, "trial_values", trial_values(op), VALUES)
        rebuild(op, "epochs", epochs(op), EPOCHS)
        return
    for table, checks in (("trial_values", VALUE_CHECKS), ("epochs", EPOCH_CHECKS)):
        for name, check in checks.items():
            op.create_check_constraint(op.f(name), table, check)


def add_text(op: Operations, table: str, number: str, text: str) -> None:
    """In plain SQL: SQLite takes a constraint only together with its new column."""
    op.execute(
        f"ALTER TABLE {table} ADD COLUMN {text} TEXT"
        f" CONSTRAINT ck_{table}_finite CHECK ({finite(number)})"
        f" CONSTRAINT ck_{table}_{text} CHECK ({beside(number, text)})"
    )


def rebuild(op: Operations, table: str, parts: list[SchemaItem], columns: str) -> None:
    """SQLite changes neither the checks of a table nor how it is stored; nothing refers to these tables."""
    op.create_table(f"new_{table}", *parts, sqlite_with_rowid=False)
    op.execute(f"INSERT INTO new_{table} ({columns}) SELECT {columns} FROM {table}")
    op.drop_table(table)
    op.rename_table(f"new_{table}", table)


def trial_values(op: Operations) -> list[SchemaItem]:
    return [
        sa.Column("trial_id", sa.Integer(), nullable=False),
        sa.Column("objective", sa.Integer(), nullable=False),
        sa.Column("value", sa.Double(), nullable=True),
        sa.Column("nonfinite", sa.Text(), nullable=True),
        *(sa.CheckConstraint(check, name=op.f(name)) for name, check in VALUE_CHECKS.items()),
        sa.ForeignKeyConstraint(
            ["trial_id"], ["trials.id"], name=op.f("fk_trial_values_trial_id"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("trial_id", "objective", name=op.f("pk_trial_values")),
    ]


def epochs(op: Operations) -> list[SchemaItem]:
    return [
        sa.Column("evaluation_id", sa.Integer(), nullable=False),
        sa.Column("epoch", sa.Integer(), nullable=False),
        sa.Column("train_loss", sa.Double(), nullable=True),
        sa.Column("train_metric", sa.Double(), nullable=True),
        sa.Column("valid_loss", sa.Double(), nullable=True),
        sa.Column("valid_metric", sa.Double(), nullable=True),
        sa.Column("seconds", sa.Double(), nullable=False),
        sa.Column("nonfinite", sa.JSON(none_as_null=True), nullable=True),
        *(sa.CheckConstraint(check, name=op.f(name)) for name, check in EPOCH_CHECKS.items()),
        sa.ForeignKeyConstraint(
            ["evaluation_id"],
            ["evaluations.id"],
            name=op.f("fk_epochs_evaluation_id"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("evaluation_id", "epoch", name=op.f("pk_epochs")),
    ]
