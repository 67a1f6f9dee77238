"""What operators ask the sender, and what it answers."""

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None

_TIME = sa.DateTime(timezone=True)


def upgrade() -> None:
    op.create_table(
        "questions",
        sa.Column("shop", sa.String(64), nullable=False),
        sa.Column("id", sa.String(64), nullable=False),
        sa.Column("asked_at", _TIME, nullable=False),
        sa.Column("body", sa.LargeBinary),
        sa.Column("answer", sa.LargeBinary),
        sa.Column("answered_at", _TIME),
        sa.PrimaryKeyConstraint("shop", "id"),
    )
