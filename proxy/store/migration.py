"""Migration: the book's tables brought up to date, in the one transaction of the caller."""

import threading
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sqlalchemy import Connection

_VERSIONS = Path(__file__).parent / "migrations" / "versions"
# Alembic keeps what it is at in a module of its own, and each shop's sender migrates its store.
_alone = threading.Lock()


def upgrade(connection: "Connection") -> None:
    """Run what is missing on *connection*; nothing of it holds before the caller commits."""
    if is_current(connection):
        return
    # Only here: who has no use for it is up a third of a second sooner.
    from alembic import command
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", "proxy:store/migrations")
    config.attributes["connection"] = connection
    with _alone:
        command.upgrade(config, "head")


def is_current(connection: "Connection") -> bool:
    """Tell whether nothing is missing, without Alembic."""
    from sqlalchemy import inspect

    if not inspect(connection).has_table("alembic_version"):
        return False
    found = connection.exec_driver_sql("SELECT version_num FROM alembic_version").scalar()
    return found == max(path.name.partition("_")[0] for path in _VERSIONS.glob("[0-9]*.py"))
