"""Migration: the book's tables brought up to date, in the one transaction of the caller."""

from alembic import command
from alembic.config import Config
from sqlalchemy import Connection


def upgrade(connection: Connection) -> None:
    """Run what is missing on *connection*; nothing of it holds before the caller commits."""
    config = Config()
    config.set_main_option("script_location", "proxy:store/migrations")
    config.attributes["connection"] = connection
    command.upgrade(config, "head")
