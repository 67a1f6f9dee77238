"""Alarms and what is told of them; accounts keep when they were seen, and a revision's end."""

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None

_TIME = sa.DateTime(timezone=True)


def upgrade() -> None:
    op.create_table(
        "alarms",
        sa.Column("shop", sa.String(64), nullable=False),
        sa.Column("name", sa.String(32), nullable=False),
        sa.Column("raised_at", _TIME, nullable=False),
        sa.Column("said_at", _TIME, nullable=False),
        sa.Column("grade", sa.BigInteger, nullable=False),
        sa.Column("words", sa.Text, nullable=False),
        sa.Column("remedy", sa.Text, nullable=False),
        sa.Column("cleared_at", _TIME),
        sa.PrimaryKeyConstraint("shop", "name", "raised_at"),
    )
    op.create_table(
        "notices",
        sa.Column("seq", sa.BigInteger().with_variant(sa.Integer, "sqlite"), primary_key=True),
        sa.Column("id", sa.String(32), nullable=False),
        sa.Column("shop", sa.String(64), nullable=False),
        sa.Column("name", sa.String(32), nullable=False),
        sa.Column("state", sa.String(32), nullable=False),
        sa.Column("words", sa.Text, nullable=False),
        sa.Column("remedy", sa.Text, nullable=False),
        sa.Column("at", _TIME, nullable=False),
        sa.Column("told_at", _TIME),
    )
    op.create_index("notices_of_a_shop", "notices", ["shop", "at"])
    op.add_column("accounts", sa.Column("seen_at", _TIME))
    op.add_column("accounts", sa.Column("revision", sa.String(32)))
    op.add_column("accounts", sa.Column("retires_on", sa.Date))
