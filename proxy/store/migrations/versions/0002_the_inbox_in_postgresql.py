"""The inbox in PostgreSQL: streams of facts, a partition a day; and room for large books."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    # It is the cart id and ten digits: SQLite never minded, PostgreSQL does.
    with op.batch_alter_table("checkouts") as checkouts:
        checkouts.alter_column("unique_id", type_=sa.String(300), existing_nullable=False)
    if op.get_context().dialect.name == "postgresql":
        _count_further()
        _make_inbox()


def _count_further() -> None:
    """Number facts and attempts beyond 2^31, as SQLite does anyway."""
    for table in ("facts", "attempts"):
        op.execute(f"ALTER TABLE {table} ALTER COLUMN seq TYPE bigint")
        op.execute(f"ALTER SEQUENCE {table}_seq_seq AS bigint")


def _make_inbox() -> None:
    op.execute(
        """
        CREATE TABLE inbox (
            shop text NOT NULL,
            inbox text NOT NULL,
            seq bigint NOT NULL,
            day date NOT NULL DEFAULT (now() AT TIME ZONE 'UTC')::date,
            id text NOT NULL,
            kind text NOT NULL,
            cart_id text NOT NULL,
            received_at timestamptz NOT NULL,
            delayed boolean NOT NULL,
            body bytea NOT NULL,
            PRIMARY KEY (shop, inbox, seq, day)
        ) PARTITION BY RANGE (day)
        """
    )
    # A fact of a day for which nobody has made a partition lies here.
    op.execute("CREATE TABLE inbox_other PARTITION OF inbox DEFAULT")
    op.execute(
        """
        CREATE TABLE streams (
            shop text NOT NULL,
            inbox text NOT NULL,
            head bigint NOT NULL,
            PRIMARY KEY (shop, inbox)
        )
        """
    )
