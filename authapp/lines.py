"""How a line of the log is written: as one JSON object, or as text for the eye.

gunicorn.conf.py runs this file by itself, before there is an application: nothing of ours may be imported here.
"""

import json
import logging
import re
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

# Where a request keeps its id, its route and the code that it was refused with; a host application may want them too.
REQUEST_ID = "authapp.request_id"
ROUTE = "authapp.route"
ERROR_CODE = "authapp.error_code"

# Whose messages are the names of events. Those of others are sentences.
_OURS = ("authapp", "gunicorn.access")
# gunicorn quotes what it cannot read, and whole queries: the end of a body, the token of a mailed link.
_QUOTED = re.compile(r"(?<=Invalid request from ip=)(\S*: [^:]*):.*|(?<=\?)\S+", re.DOTALL)
# What `logging` puts on every record; anything else on one is a field of the event.
_STANDARD = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "request_id", "taskName"}


class TextFormatter(logging.Formatter):
    """Time, level, request id, event, and the event's fields as name=value; what comes after it is indented."""

    def format(self, record: logging.LogRecord) -> str:
        request_id = getattr(record, "request_id", None) or "-"
        fields = (f"{name}={value}" for name, value in _fields(record).items() if value is not None)
        line = " ".join([_time(record), record.levelname, request_id, _said(record), *fields])
        trace = self.formatException(record.exc_info) if record.exc_info else ""
        # A trace quotes what came from outside: indented, no line of it can pass for an event.
        return "\n".join([_printable(line), *(f"  {_printable(part)}" for part in trace.splitlines())])


class JsonFormatter(logging.Formatter):
    """One object: time, level, event and request_id, then the event's fields; a trace is a field, too.

    What others than authapp log is an event by the name of its logger, its text under `message`.
    """

    def format(self, record: logging.LogRecord) -> str:
        line: dict[str, Any] = {
            "time": _time(record),
            "level": record.levelname,
            "event": record.name,
            "request_id": getattr(record, "request_id", None),
        }
        line["event" if _is_ours(record) else "message"] = _said(record)
        # No field can pass for one of these.
        line.update((name, value) for name, value in _fields(record).items() if name not in line)
        if record.exc_info:
            line["trace"] = self.formatException(record.exc_info)
        # ASCII: nothing in it ends a line for any reader, or steers a terminal, but for the one that JSON lets through.
        return json.dumps(line, default=str).replace("\x7f", "\\u007f")


FORMATTERS: Mapping[str, type[logging.Formatter]] = {"json": JsonFormatter, "text": TextFormatter}


def of_request(environ: Mapping[str, Any], *, status: object, sent: int | None, seconds: float) -> dict[str, Any]:
    """Give the fields of a request that was answered; its path alone, since a query may hold a mailed link's token."""
    return {
        "request_id": environ.get(REQUEST_ID),
        "method": environ.get("REQUEST_METHOD"),
        # A link that a mail program has mangled may have its query in its path.
        "path": str(environ.get("PATH_INFO")).partition("?")[0],
        "route": environ.get(ROUTE),
        "status": int(str(status).partition(" ")[0]),
        "code": environ.get(ERROR_CODE),
        "duration_ms": round(seconds * 1000, 1),
        "bytes": sent,
        "ip": environ.get("REMOTE_ADDR"),
    }


def _is_ours(record: logging.LogRecord) -> bool:
    return record.name in _OURS or record.name.startswith("authapp.")


def _said(record: logging.LogRecord) -> str:
    said = record.getMessage()
    return _QUOTED.sub(lambda quoted: quoted[1] or "", said) if record.name == "gunicorn.error" else said


def _fields(record: logging.LogRecord) -> dict[str, Any]:
    return {name: value for name, value in vars(record).items() if name not in _STANDARD}


def _time(record: logging.LogRecord) -> str:
    return datetime.fromtimestamp(record.created, tz=UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _printable(text: str) -> str:
    """Escape what would end the line, steer a terminal or turn the direction of reading."""
    return "".join(char if char.isprintable() else ascii(char)[1:-1] for char in text)
