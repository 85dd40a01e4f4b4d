"""What a driver is about: searching up to a number of trials or a moment, or confirming; unknown of those of before."""

import sqlalchemy as sa
from alembic.operations import Operations

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None


def upgrade(op: Operations) -> None:
    whole = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
    op.add_column("leases", sa.Column("purpose", sa.Text(), nullable=True))
    op.add_column("leases", sa.Column("target", whole, nullable=True))
    op.add_column("leases", sa.Column("until", sa.DateTime(), nullable=True))
