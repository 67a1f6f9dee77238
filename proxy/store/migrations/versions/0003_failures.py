"""Accounts count the requests that failed in a row."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    failures = sa.Column("failures", sa.Integer, nullable=False, server_default="0")
    op.add_column("accounts", failures)
