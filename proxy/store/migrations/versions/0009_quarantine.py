"""Who posted a checkout, as a hash, and whether an operator has released it from quarantine."""

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None


def upgrade() -> None:
    released: sa.Column[bool] = sa.Column(
        "released", sa.Boolean(), nullable=False, server_default=sa.false()
    )
    op.add_column("checkouts", released)
    op.add_column("checkouts", sa.Column("client", sa.String(32)))
    # With the time, it also tells how many checkouts of one address or client came together.
    op.drop_index("checkouts_of_an_address", "checkouts")
    for name, who in (("an_address", "address_hash"), ("a_client", "client")):
        columns = ["shop", who, "settled_at"]
        op.create_index(f"checkouts_of_{name}", "checkouts", columns)
