"""SQLite's engine: SQLAlchemy on a file of the store."""

from datetime import timedelta
from pathlib import Path

from sqlalchemy import Engine, create_engine, event

from proxy.store import pragmas
from proxy.store.schema import set_seal
from proxy.store.seal import Seal

_BUSY = timedelta(seconds=10)


def engine(path: Path, seal: Seal) -> Engine:
    """Return an engine on the file at *path*, which syncs each commit, and seals with *seal*."""
    made = create_engine(
        f"sqlite:///{path}",
        connect_args={"timeout": _BUSY.total_seconds()},
        hide_parameters=True,  # an error would tell the log whose address it was about
    )
    set_seal(made, seal)
    event.listen(made, "connect", lambda connection, _record: pragmas.tell(connection))
    return made
