"""The mirror class of each trial; unknown, an empty text, for those of before."""

import sqlalchemy as sa
from alembic.operations import Operations

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade(op: Operations) -> None:
    op.add_column(
        "trials", sa.Column("mirror", sa.Text(), nullable=False, server_default=sa.text("''"))
    )
