"""What was seen inside of trainings; several objectives; nothing and one for those of before."""

import sqlalchemy as sa
from alembic.operations import Operations

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None

LARGEST = "1.7976931348623157e308"
NUMBERS = ("mean", "sd", "dead", "zeros", "saturation", "gain", "gradient_norm")


def finite(*columns: str) -> str:
    return " AND ".join(f"{column} BETWEEN -{LARGEST} AND {LARGEST}" for column in columns)


def upgrade(op: Operations) -> None:
    for name in ("directions", "objectives"):
        op.add_column("studies", sa.Column(name, sa.JSON(none_as_null=True), nullable=True))
    whole = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
    op.add_column("evaluations", sa.Column("parameters_added", whole, nullable=True))
    double = sa.Double().compile(op.get_bind().dialect)
    op.execute(  # in plain SQL: SQLite takes a constraint only together with its new column
        f"ALTER TABLE evaluations ADD COLUMN loss_gap {double}"
        f" CONSTRAINT ck_evaluations_loss_gap CHECK ({finite('loss_gap')})"
    )
    op.create_table(
        "diagnostics",
        sa.Column("evaluation_id", sa.Integer(), nullable=False),
        sa.Column("stage", sa.Text(), nullable=False),
        sa.Column("position", sa.Integer(), nullable=False),
        sa.Column("site", sa.Text(), nullable=False),
        sa.Column("shape", sa.JSON(), nullable=False),
        *(sa.Column(name, sa.Double(), nullable=True) for name in NUMBERS),
        sa.Column("histogram", sa.JSON(), nullable=False),
        sa.Column("learned", sa.JSON(), nullable=False),
        sa.Column("nonfinite", sa.JSON(none_as_null=True), nullable=True),
        sa.CheckConstraint("stage IN ('start', 'end')", name=op.f("ck_diagnostics_stage")),
        sa.CheckConstraint(finite(*NUMBERS), name=op.f("ck_diagnostics_finite")),
        sa.ForeignKeyConstraint(
            ["evaluation_id"],
            ["evaluations.id"],
            name=op.f("fk_diagnostics_evaluation_id"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("evaluation_id", "stage", "position", name=op.f("pk_diagnostics")),
        sqlite_with_rowid=False,
    )
