"""The first schema. No database is made with it any more: a new one is made from the models, as the newest schema."""

from alembic.operations import Operations

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade(op: Operations) -> None:
    pass
