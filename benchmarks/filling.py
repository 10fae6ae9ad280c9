"""Fill a database with a million of each, in seconds: the server makes the rows itself, from a number for each.

Ids have the shape of real ones, so that rows and indexes are as large and lie where real ones would: of version 7 in
the order of their making for users and sessions, all over for tokens. Those of a number can be told again by `user_id`
and `session_id`.
"""

import sqlite3
import uuid
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial

import pymysql
from sqlalchemy.engine import URL, make_url

from authapp import clock

_USER, _SESSION = "000", "001"
_BEGAN = timedelta(days=20)
# As Werkzeug writes one, at the default cost; nobody's.
_HASH = f"scrypt:32768:8:3${'s' * 16}${'0' * 128}"
_SPREAD, _RANGE = 2654435761, 2**32
"""Times this, modulo that, numbers in a row are all over."""

_CACHE_KIB = 500_000

_COLUMNS = {
    "auth_user": "id, email, password_hash, role, is_active, is_verified, epoch, created_at, updated_at",
    "auth_session": "id, user_id, epoch, generation, rotated_at, expires_at, ends_at, authenticated_at, created_at,"
    " ip, user_agent",
    "auth_known_network": "user_id, network, seen_at",
    "auth_revoked_token": "jti, type, expires_at, revoked_at",
}
_AGENT = "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0"


@dataclass(frozen=True)
class Filled:
    """A database with so many users, each with a session and a network, and so many revoked tokens."""

    users: int
    tokens: int
    now: datetime

    def user_id(self, number: int) -> uuid.UUID:
        """Give the id of a user, by a number from 1 on."""
        return self._id(number, _USER)

    def session_id(self, number: int) -> uuid.UUID:
        """Give the id of that user's session."""
        return self._id(number, _SESSION)

    def email(self, number: int) -> str:
        """Give that user's address."""
        return f"{number * _SPREAD % _RANGE:08x}.{number}@example.org"

    @property
    def began(self) -> int:
        """Give the time from which the ids count, in ms."""
        return int((self.now - _BEGAN).timestamp() * 1000)

    def _id(self, number: int, tag: str) -> uuid.UUID:
        return uuid.UUID(hex=f"{self.began + number:012x}7{tag}8{number:015x}")


def fill(url: URL | str, *, users: int, tokens: int, expired: bool = False) -> Filled:
    """Fill the empty tables of a migrated database; what is `expired` may be purged, but for the users."""
    filled = Filled(users, tokens, clock.now())
    time = partial(_time, filled.now)
    end = time(days=-40 if expired else 6)
    with _connected(make_url(url)) as (execute, kind):
        id, email, jti = kind(filled.began)
        past, network = time(days=-41 if expired else 0), "'192.0.2.7'"
        rows = {
            "auth_user": (users, f"{id(_USER)}, {email}, '{_HASH}', 'user', 1, 1, 0, {past}, {past}"),
            "auth_session": (
                users,
                f"{id(_SESSION)}, {id(_USER)}, 0, 1, {past}, {end}, {end}, {past}, {past}, {network}, '{_AGENT}'",
            ),
            "auth_known_network": (users, f"{id(_USER)}, {network}, {past}"),
            "auth_revoked_token": (tokens, f"{jti}, 'refresh', {end}, {past}"),
        }
        for table, (number, values) in rows.items():
            # In the order of the key: else a million random places would be looked for one by one.
            execute(f"INSERT INTO {table} ({_COLUMNS[table]})", values, number)
    return filled


_Kind = Callable[[int], tuple[Callable[[str], str], str, str]]
_Execute = Callable[[str, str, int], None]


@contextmanager
def _connected(url: URL) -> Iterator[tuple[_Execute, _Kind]]:
    """Give what fills a table, and the SQL of an id, an address and a token's id, where `seq` is the number."""
    if url.get_backend_name() == "sqlite":
        with closing(sqlite3.connect(str(url.database), isolation_level=None)) as file:
            # SQLite has it itself from 3.41 on.
            file.create_function("unhex", 1, bytes.fromhex, deterministic=True)
            file.execute("PRAGMA synchronous = OFF")
            file.execute(f"PRAGMA cache_size = -{_CACHE_KIB}")
            yield partial(_fill_sqlite, file), _sqlite
            # Else whoever comes next pays for moving a million rows out of the journal.
            file.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        return
    server = pymysql.connect(
        host=url.host or "127.0.0.1",
        port=url.port or 3306,
        user=url.username or "root",
        password=url.password or "",
        database=str(url.database),
        autocommit=True,
    )
    with server, server.cursor() as cursor:
        yield partial(_fill_mariadb, cursor), _mariadb


def _fill_sqlite(file: sqlite3.Connection, insert: str, values: str, number: int) -> None:
    numbers = f"WITH RECURSIVE n(seq) AS (SELECT 1 UNION ALL SELECT seq + 1 FROM n WHERE seq < {number})"  # noqa: S608
    file.execute(f"{insert} {numbers} SELECT {values} FROM n ORDER BY 1")  # noqa: S608  # All of it is ours.


def _fill_mariadb(cursor: pymysql.cursors.Cursor, insert: str, values: str, number: int) -> None:
    cursor.execute(f"{insert} SELECT {values} FROM seq_1_to_{number} ORDER BY 1")  # noqa: S608  # All of it is ours.
    cursor.execute(f"ANALYZE TABLE {insert.split()[2]}")


def _sqlite(began: int) -> tuple[Callable[[str], str], str, str]:
    email = f"printf('%08x.%d@example.org', seq * {_SPREAD} % {_RANGE}, seq)"
    return (lambda tag: f"unhex(printf('%012x7{tag}8%015x', {began} + seq, seq))"), email, "randomblob(16)"


def _mariadb(began: int) -> tuple[Callable[[str], str], str, str]:
    email = f"CONCAT(LOWER(LPAD(HEX(seq * {_SPREAD} % {_RANGE}), 8, '0')), '.', seq, '@example.org')"
    tail = "LPAD(HEX(seq), 15, '0')"
    return (
        (lambda tag: f"UNHEX(CONCAT(LPAD(HEX({began} + seq), 12, '0'), '7{tag}8', {tail}))"),
        email,
        "UNHEX(MD5(seq))",
    )


def _time(now: datetime, *, days: int) -> str:
    """Write a time as both kinds of databases keep it."""
    return f"'{(now + timedelta(days=days)).replace(tzinfo=None).isoformat(sep=' ', timespec='microseconds')}'"
