"""PostgreSQL's engine: SQLAlchemy on one connection at a time."""

from collections.abc import Callable

import psycopg
from sqlalchemy import Engine, create_engine, event
from sqlalchemy.engine.interfaces import ExceptionContext
from sqlalchemy.exc import DBAPIError

from proxy.errors import CheckoutProxyError
from proxy.store.database import Connection, words
from proxy.store.schema import set_seal
from proxy.store.seal import Seal

Lost = Callable[[], CheckoutProxyError]


def engine(connect: Callable[[], Connection], lost: Lost, seal: Seal) -> Engine:
    """Return an engine on what *connect* makes; whoever was using one that broke gets *lost*.

    It seals with *seal*. Its errors are without the DETAIL in which PostgreSQL quotes whole rows.
    """
    made = create_engine(
        "postgresql+psycopg://",
        creator=connect,
        pool_size=1,
        max_overflow=0,
        # Lanes wait for the one connection as long as a statement takes: there is no other.
        pool_timeout=None,
        hide_parameters=True,  # an error would tell the log whose address it was about
    )

    set_seal(made, seal)

    @event.listens_for(made, "handle_error")
    def tell(context: ExceptionContext) -> BaseException | None:
        if context.is_disconnect:
            return lost()
        return _without_detail(context)

    return made


def _without_detail(context: ExceptionContext) -> BaseException | None:
    error = context.original_exception
    if not isinstance(error, psycopg.Error):
        return None
    error.args = (words(error),)
    return DBAPIError.instance(
        context.statement, None, error, psycopg.Error, hide_parameters=True, dialect=context.dialect
    )
