"""Logs: what happens, a line a decision, on standard error: for people, or as JSON for programs."""

import logging
import logging.config
import os
from typing import Any

from proxy.settings import variable

FORMS = ("console", "json")


class _WithoutThreadsAdvice(logging.Filter):
    """Leave out granian's advice to have fewer threads: it cannot know what they wait for."""

    def filter(self, record: logging.LogRecord) -> bool:
        return "Python threads" not in record.getMessage()


def configuration(form: str) -> dict[str, Any]:
    """Return what :func:`logging.config.dictConfig` is to be told for lines of *form*."""
    stderr = {"class": "logging.StreamHandler", "formatter": form, "filters": ["advice"]}
    return {
        "version": 1,
        "disable_existing_loggers": False,
        "formatters": {
            "console": {"format": "%(asctime)s %(levelname)s %(name)s: %(message)s"},
            "json": {
                "()": "pythonjsonlogger.msgspec.MsgspecFormatter",
                "format": "%(levelname)s %(name)s %(message)s",
                "rename_fields": {"levelname": "level", "name": "logger"},
                "timestamp": "at",
            },
        },
        "filters": {"advice": {"()": _WithoutThreadsAdvice}},
        "handlers": {"stderr": stderr},
        "root": {"handlers": ["stderr"], "level": "INFO"},
        "loggers": {"alembic": {"level": "WARNING"}, "_granian": {"level": "INFO"}},
    }


def configure() -> None:
    """Begin to log as the environment says; what it says wrong is told with its other mistakes."""
    said = os.environ.get(variable("log"), "").strip()
    logging.config.dictConfig(configuration(said if said in FORMS else FORMS[0]))
