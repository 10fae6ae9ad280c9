"""The service's log: one line an event, each with the request's id."""

import logging
import sys
from datetime import UTC, datetime

from flask import Flask, has_request_context, request

from authapp.api import REQUEST_ID

# What `logging` puts on every record; anything else on one is a field of the event.
_STANDARD = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "request_id", "taskName"}


class RequestIdFilter(logging.Filter):
    """Puts the id of the current request on every record, and "-" where there is none."""

    def filter(self, record: logging.LogRecord) -> bool:
        record.request_id = request.environ.get(REQUEST_ID, "-") if has_request_context() else "-"
        return True


class EventFormatter(logging.Formatter):
    """Time, level, request id, event, and the event's fields as name=value; what comes after it is indented."""

    def format(self, record: logging.LogRecord) -> str:
        time = datetime.fromtimestamp(record.created, tz=UTC).isoformat(timespec="milliseconds")
        fields = (f"{name}={value}" for name, value in vars(record).items() if name not in _STANDARD)
        line = " ".join([time, record.levelname, getattr(record, "request_id", "-"), record.getMessage(), *fields])
        trace = self.formatException(record.exc_info) if record.exc_info else ""
        # A trace quotes what came from outside: indented, no line of it can pass for an event.
        return "\n".join([_printable(line), *(f"  {_printable(part)}" for part in trace.splitlines())])


def init_app(app: Flask) -> None:
    """Send authapp's log to standard error; a host application keeps its own set-up and never comes here."""
    logger = logging.getLogger("authapp")
    if logger.handlers:
        return
    handler = logging.StreamHandler(sys.stderr)
    handler.addFilter(RequestIdFilter())
    handler.setFormatter(EventFormatter())
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)


def _printable(text: str) -> str:
    """Escape what would end the line, steer a terminal or turn the direction of reading."""
    return "".join(char if char.isprintable() else ascii(char)[1:-1] for char in text)
