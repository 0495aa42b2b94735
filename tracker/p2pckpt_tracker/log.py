"""Logging: structured lines on standard error, and nothing of a request's target, which may hold a pass."""

from __future__ import annotations

import logging
import sys

import structlog


def set_up_logging() -> None:
    """Configure structlog; libraries that log through ``logging`` are heard from WARNING up, by name only."""
    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.JSONRenderer(),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(logging.INFO),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
        cache_logger_on_first_use=True,
    )
    root = logging.getLogger()
    root.handlers = [_NamesOnly()]
    root.setLevel(logging.WARNING)


class _NamesOnly(logging.Handler):
    """Passes on where a library complained and about which kind of exception, without its message.

    aiohttp puts the bytes of a malformed request into messages and tracebacks, and announce passes are in there.
    """

    def emit(self, record: logging.LogRecord) -> None:
        kind = record.exc_info[0] if record.exc_info else None
        structlog.get_logger(record.name).warning(
            "library warning",
            level_name=record.levelname,
            where=f"{record.module}:{record.lineno}",
            error=kind.__name__ if kind is not None else "",
        )
