"""The pruner of each study; none for those of before."""

import sqlalchemy as sa
from alembic.operations import Operations

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade(op: Operations) -> None:
    op.add_column("studies", sa.Column("pruner", sa.JSON(none_as_null=True), nullable=True))
