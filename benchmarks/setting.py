"""What benchmarks run on and are told: each database in its turn, empty or with accounts, and how long to measure."""

import argparse
import logging
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import flask_migrate
import pymysql

from authapp import create_app
from authapp.extensions import db
from benchmarks.people import fill, production
from benchmarks.service import MYSQL_URL, mysql
from benchmarks.table import Figure, show

KINDS = ("SQLite", "MariaDB")
MANY_ROWS = 1_000_000


@dataclass(frozen=True)
class Given:
    """What was asked for: the kind of database, how many rounds, the seconds of each, and the rows of a full one."""

    kind: str
    rounds: int
    seconds: float
    rows: int


Measure = Callable[[str, Given], list[Figure]]


@contextmanager
def database(kind: str) -> Iterator[str | None]:
    """Give the address of an empty database of this kind, which is gone afterwards; nothing without a server."""
    if kind == "SQLite":
        with tempfile.TemporaryDirectory() as directory:
            yield f"sqlite:///{directory}/bench.db"
        return
    try:
        with mysql() as url:
            yield url.render_as_string(hide_password=False)
    except pymysql.OperationalError as error:
        print(f"No MariaDB answers at {MYSQL_URL.host}: left out ({error.args[0]}).")
        yield None


def prepared(url: str) -> dict[str, str]:
    """Migrate an empty database, make the accounts, and give the settings of a service on it."""
    settings = production(url)
    with create_app(settings, environ={}).app_context():
        flask_migrate.upgrade()
        fill()
        db.engine.dispose()
    return settings


def run(
    measure: Measure, *, kinds: tuple[str, ...] = KINDS, rounds: int, seconds: float, rows: int = MANY_ROWS
) -> list[Figure]:
    """Measure on each database that there is."""
    # That accounts and tables are made here is not worth a line each.
    logging.disable(logging.INFO)
    figures: list[Figure] = []
    for kind in kinds:
        with database(kind) as url:
            if url:
                figures += measure(url, Given(kind, rounds, seconds, rows))
    return figures


def main_of(doc: str | None, measure: Measure, *, rounds: int, seconds: float) -> int:
    """Measure as the command line says, print the table, and give the exit status: 1 where a goal was missed."""
    parser = argparse.ArgumentParser(description=(doc or "").partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=rounds, help=f"by turns ({rounds})")
    parser.add_argument("--seconds", type=float, default=seconds, help=f"that each round takes ({seconds:g})")
    parser.add_argument("--rows", type=int, default=MANY_ROWS, help=f"of a database that is filled ({MANY_ROWS:,})")
    parser.add_argument("--database", choices=[kind.lower() for kind in KINDS], help="one of them only")
    given = parser.parse_args()
    kinds = tuple(kind for kind in KINDS if given.database in (None, kind.lower()))
    figures = run(measure, kinds=kinds, rounds=given.rounds, seconds=given.seconds, rows=given.rows)
    show(figures)
    return int(any(figure.is_met is False for figure in figures))
