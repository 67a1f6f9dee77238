"""What happens is counted; checkouts keep what was sent and when, and a hash of the address."""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None

_TIME = sa.DateTime(timezone=True)


def upgrade() -> None:
    op.create_table(
        "tallies",
        sa.Column("shop", sa.String(64), nullable=False),
        sa.Column("minute", _TIME, nullable=False),
        sa.Column("what", sa.String(32), nullable=False),
        sa.Column("detail", sa.String(64), nullable=False),
        sa.Column("many", sa.BigInteger, nullable=False),
        sa.PrimaryKeyConstraint("shop", "minute", "what", "detail"),
    )
    op.create_table(
        "sent",
        sa.Column("shop", sa.String(64), nullable=False),
        sa.Column("cart_id", sa.String(255), nullable=False),
        sa.Column("epoch", _TIME, nullable=False),
        sa.Column("event", sa.LargeBinary, nullable=False),
        sa.PrimaryKeyConstraint("shop", "cart_id", "epoch"),
    )
    op.add_column("checkouts", sa.Column("total", sa.LargeBinary))
    op.add_column("checkouts", sa.Column("delivered_at", _TIME))
    op.add_column("checkouts", sa.Column("address_hash", sa.String(32)))
    called_off = sa.Column("called_off", sa.Boolean, nullable=False, server_default=sa.false())
    op.add_column("checkouts", called_off)
    op.create_index("checkouts_acted", "checkouts", ["shop", "acted_at"])
    op.create_index("checkouts_of_an_event", "checkouts", ["shop", "unique_id"])
    op.create_index("checkouts_of_an_address", "checkouts", ["shop", "address_hash"])
