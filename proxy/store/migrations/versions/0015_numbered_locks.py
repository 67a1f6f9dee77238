"""Several keys that addresses are hashed with, by number, each locked under each secret."""

import sqlalchemy as sa
from alembic import op

revision = "0015"
down_revision = "0014"
branch_labels = None
depends_on = None


def upgrade() -> None:
    # Those of before were locked in another way, which no released version knows.
    op.drop_table("locks")
    op.create_table(
        "locks",
        sa.Column("shop", sa.String(64), nullable=False),
        sa.Column("place", sa.Integer, nullable=False),
        sa.Column("number", sa.Integer, nullable=False),
        sa.Column("lock", sa.LargeBinary, nullable=False),
        sa.PrimaryKeyConstraint("shop", "place"),
    )
