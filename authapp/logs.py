"""The service's log: one line an event, each with the id and the client of its request.

A host application keeps its own set-up; it may use the filter and the formatters.
"""

import logging
import sys

import click
from flask import Flask, has_request_context, request

from authapp.lines import FORMATTERS, REQUEST_ID, JsonFormatter, TextFormatter

__all__ = ["JsonFormatter", "RequestFilter", "TextFormatter", "init_app"]


class RequestFilter(logging.Filter):
    """Puts the id of the current request on every record, and the address of its client, where there is one."""

    def filter(self, record: logging.LogRecord) -> bool:
        record.request_id = None
        if has_request_context():
            record.request_id, record.ip = request.environ.get(REQUEST_ID), request.remote_addr
        return True


def init_app(app: Flask) -> None:
    """Send authapp's log to standard error, as `LOG_FORMAT` says."""
    logger = logging.getLogger("authapp")
    if logger.handlers:
        return
    handler = logging.StreamHandler(sys.stderr)
    handler.addFilter(RequestFilter())
    handler.setFormatter(FORMATTERS[app.config["LOG_FORMAT"]]())
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    if _is_command():
        # Whoever typed it is told in its own words what it did.
        logging.getLogger("authapp.signals").setLevel(logging.WARNING)


def _is_command() -> bool:
    """Say whether this process is a command, and not the development server, which is one in name only."""
    context = click.get_current_context(silent=True)
    return context is not None and context.info_name != "run"
