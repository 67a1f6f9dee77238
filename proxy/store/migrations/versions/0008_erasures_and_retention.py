"""Who was erased is known by a mark, and what is old is found without reading all there is."""

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None

_TIME = sa.DateTime(timezone=True)


def upgrade() -> None:
    op.create_table(
        "erasures",
        sa.Column("shop", sa.String(64), nullable=False),
        sa.Column("mark", sa.String(32), nullable=False),
        sa.Column("until", _TIME, nullable=False),
        sa.PrimaryKeyConstraint("shop", "mark"),
    )
    op.create_index("erasures_until", "erasures", ["shop", "until"])
    op.add_column("checkouts", sa.Column("erased_at", _TIME))
    op.add_column("accounts", sa.Column("prune_before", _TIME))
    op.drop_index("checkouts_due", "checkouts")
    op.create_index("checkouts_due", "checkouts", ["shop", "status", "due_at", "acted_at"])
    op.create_index("facts_received", "facts", ["shop", "received_at"])
    op.create_index("carts_received", "carts", ["shop", "received_at"])
    has_body = sa.text("body IS NOT NULL")
    op.create_index(
        "facts_with_a_body", "facts", ["shop"], sqlite_where=has_body, postgresql_where=has_body
    )
