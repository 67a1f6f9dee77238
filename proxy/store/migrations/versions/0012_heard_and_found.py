"""When a checkout was last heard of, whatever the page says; and a cart's bodies in an index."""

import sqlalchemy as sa
from alembic import op

revision = "0012"
down_revision = "0011"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("checkouts", sa.Column("heard_at", sa.DateTime(timezone=True)))
    # With the cart, what is left of a closed one is found among all that was ever said of it.
    op.drop_index("facts_with_a_body", "facts")
    has_body = sa.text("body IS NOT NULL")
    op.create_index(
        "facts_with_a_body",
        "facts",
        ["shop", "cart_id"],
        sqlite_where=has_body,
        postgresql_where=has_body,
    )
