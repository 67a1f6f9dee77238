"""When a checkout was last heard of, whatever the page says of when the shopper acted."""

import sqlalchemy as sa
from alembic import op

revision = "0012"
down_revision = "0011"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("checkouts", sa.Column("heard_at", sa.DateTime(timezone=True)))
