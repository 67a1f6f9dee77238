"""The key that addresses are hashed with, locked under each of a shop's secrets."""

import sqlalchemy as sa
from alembic import op

revision = "0013"
down_revision = "0012"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "locks",
        sa.Column("shop", sa.String(64), nullable=False),
        sa.Column("lock", sa.LargeBinary, nullable=False),
        sa.PrimaryKeyConstraint("shop", "lock"),
    )
