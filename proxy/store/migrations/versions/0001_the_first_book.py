"""The first book: facts, carts, checkouts, attempts, accounts and the marks of the inboxes."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

_TIME = sa.DateTime(timezone=True)


def _shop() -> sa.Column[str]:
    return sa.Column("shop", sa.String(64), nullable=False)


def _cart_id() -> sa.Column[str]:
    return sa.Column("cart_id", sa.String(255), nullable=False)


def upgrade() -> None:
    op.create_table(
        "marks",
        sa.Column("inbox", sa.String(32), primary_key=True),
        sa.Column("seq", sa.BigInteger, nullable=False),
    )
    op.create_table(
        "facts",
        sa.Column("seq", sa.Integer, primary_key=True),
        _shop(),
        _cart_id(),
        sa.Column("id", sa.String(64), nullable=False),
        sa.Column("kind", sa.String(16), nullable=False),
        sa.Column("received_at", _TIME, nullable=False),
        sa.Column("body", sa.LargeBinary),
        sa.Column("decision", sa.Text, nullable=False),
        sa.UniqueConstraint("shop", "cart_id", "id"),
    )
    op.create_table(
        "carts",
        _shop(),
        _cart_id(),
        sa.Column("received_at", _TIME, nullable=False),
        sa.Column("cart", sa.LargeBinary, nullable=False),
        sa.PrimaryKeyConstraint("shop", "cart_id"),
    )
    op.create_table(
        "checkouts",
        _shop(),
        _cart_id(),
        sa.Column("epoch", _TIME, nullable=False),
        sa.Column("unique_id", sa.String(255), nullable=False),
        sa.Column("acted_at", _TIME, nullable=False),
        sa.Column("settled_at", _TIME, nullable=False),
        sa.Column("status", sa.String(32), nullable=False),
        sa.Column("reason", sa.Text, nullable=False),
        sa.Column("due_at", _TIME),
        sa.Column("ordered_at", _TIME),
        sa.Column("attempts", sa.Integer, nullable=False),
        sa.Column("trouble", sa.String(32)),
        sa.Column("troubled_at", _TIME),
        sa.Column("retry_at", _TIME),
        sa.Column("latest", sa.LargeBinary, nullable=False),
        sa.Column("addresses", sa.LargeBinary, nullable=False),
        sa.Column("addressee", sa.LargeBinary),
        sa.Column("maybe_sent", sa.Boolean, nullable=False),
        sa.PrimaryKeyConstraint("shop", "cart_id", "epoch"),
    )
    op.create_index("checkouts_due", "checkouts", ["shop", "status", "due_at"])
    op.create_table(
        "attempts",
        sa.Column("seq", sa.Integer, primary_key=True),
        _shop(),
        _cart_id(),
        sa.Column("epoch", _TIME, nullable=False),
        sa.Column("at", _TIME, nullable=False),
        sa.Column("status", sa.Integer),
        sa.Column("request_id", sa.String(128)),
        sa.Column("reason", sa.Text, nullable=False),
    )
    op.create_index("attempts_of_a_cart", "attempts", ["shop", "cart_id"])
    op.create_table(
        "accounts",
        sa.Column("shop", sa.String(64), primary_key=True),
        sa.Column("paused_at", _TIME),
        sa.Column("paused_until", _TIME),
        sa.Column("reason", sa.Text, nullable=False),
        sa.Column("stopped", sa.Boolean, nullable=False),
    )
