"""Whose telephone number was in a checkout, as a hash: once it is closed it is found by that."""

import sqlalchemy as sa
from alembic import op

revision = "0014"
down_revision = "0013"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("checkouts", sa.Column("phone_hash", sa.String(32)))
    has_number = sa.text("phone_hash IS NOT NULL")
    op.create_index(
        "checkouts_of_a_number",
        "checkouts",
        ["shop", "phone_hash"],
        sqlite_where=has_number,
        postgresql_where=has_number,
    )
