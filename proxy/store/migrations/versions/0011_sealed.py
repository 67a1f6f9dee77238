"""What is about people may be sealed: which carts name an address is said beside them."""

import sqlalchemy as sa
from alembic import op

revision = "0011"
down_revision = "0010"
branch_labels = None
depends_on = None


def upgrade() -> None:
    has_email = sa.Column("has_email", sa.Boolean, nullable=False, server_default=sa.false())
    op.add_column("carts", has_email)
    is_sqlite = op.get_context().dialect.name == "sqlite"
    place = sa.text(_IN_SQLITE if is_sqlite else _IN_POSTGRESQL)
    carts = sa.table("carts", sa.column("has_email", sa.Boolean))
    op.execute(sa.update(carts).where(place).values(has_email=True))


_IN_SQLITE = """instr(cart, CAST('"email":"' AS BLOB)) > 0"""
_IN_POSTGRESQL = """position(convert_to('"email":"', 'UTF8') IN cart) > 0"""
