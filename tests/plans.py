"""How a database would run the statements of an application: which of our tables it would read from end to end."""

import re
from collections.abc import Iterator
from contextlib import closing, contextmanager
from typing import Any

import pymysql
from flask import Flask

from tests.statements import Sent, listening

# Our tables, and the names that they get where one stands twice in a statement, begin so.
_OURS = "auth_"
_SCAN = re.compile(rf"SCAN ({_OURS}\w+)")
_PLANNED = ("SELECT", "UPDATE", "DELETE")
_WHOLE = ("ALL", "index")


@contextmanager
def scans(app: Flask) -> Iterator[dict[str, set[str]]]:
    """Collect the statements that are sent meanwhile, each with those of our tables that it would read whole.

    The database is asked right before each is sent: over the same connection, and with its parameters, since the plan
    depends on the rows that there are.
    """
    found: dict[str, set[str]] = {}

    def hear(sent: Sent) -> None:
        if sent.statement.lstrip().startswith(_PLANNED):
            found.setdefault(sent.statement, set()).update(_scanned(sent))

    with listening(app, hear):
        yield found


def _scanned(sent: Sent) -> Iterator[str]:
    parameters = sent.parameters[0] if sent.is_many else sent.parameters
    driver: Any = sent.connection.connection.driver_connection
    if sent.connection.dialect.name == "sqlite":
        for *_, step in driver.execute(f"EXPLAIN QUERY PLAN {sent.statement}", parameters).fetchall():
            yield from _SCAN.findall(step)
        return
    with closing(driver.cursor(pymysql.cursors.DictCursor)) as cursor:
        cursor.execute(f"EXPLAIN {sent.statement}", parameters)
        for step in cursor.fetchall():
            if (step["table"] or "").startswith(_OURS) and step["type"] in _WHOLE:
                yield step["table"]
