"""Migration: the book's tables brought up to date, in the one transaction of the caller."""

import threading
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sqlalchemy import Connection


# Alembic keeps what it is at in a module of its own, and each shop's sender migrates its store.
_alone = threading.Lock()


def upgrade(connection: "Connection") -> None:
    """Run what is missing on *connection*; nothing of it holds before the caller commits."""
    # Only here: a web worker has no use for it, and would start a fifth slower.
    from alembic import command
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", "proxy:store/migrations")
    config.attributes["connection"] = connection
    with _alone:
        command.upgrade(config, "head")
