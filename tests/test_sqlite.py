"""Connections to SQLite: who writes waits in a line, and nobody is left holding its head."""

import gc
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from authapp import sqlite

TIMEOUT_SECONDS = 0.3
WAITING = 16
COUNT = "UPDATE counter SET value = value + 1"
Open = Callable[[], sqlite.Connection]


@pytest.fixture
def connect(tmp_path: Path) -> Iterator[Open]:
    """Opens connections as authapp does, to a file with a counter."""
    file = str(tmp_path / "lines.db")
    opened: list[sqlite3.Connection] = []

    def connect() -> sqlite.Connection:
        opened.append(
            sqlite3.connect(
                file,
                isolation_level="IMMEDIATE",
                timeout=TIMEOUT_SECONDS,
                factory=sqlite.Connection,
                check_same_thread=False,
            )
        )
        assert isinstance(opened[-1], sqlite.Connection)
        return opened[-1]

    connect().execute("CREATE TABLE counter (value INTEGER)")
    connect().execute("INSERT INTO counter VALUES (0)").connection.commit()
    yield connect
    for connection in opened:
        connection.close()


def value(connection: sqlite3.Connection) -> int:
    (found,) = connection.execute("SELECT value FROM counter").fetchone()
    return int(found)


def is_free(connect: Open) -> bool:
    """Say whether somebody else may write, and have it written."""
    connection = connect()
    try:
        connection.execute(COUNT)
    except sqlite3.OperationalError:
        return False
    connection.commit()
    return True


def test_all_of_many_writers_have_their_turn(connect: Open):
    def write(_number: int) -> None:
        connection = connect()
        for _ in range(20):
            connection.execute(COUNT)
            connection.commit()

    with ThreadPoolExecutor(16) as threads:
        list(threads.map(write, range(16)))
    assert value(connect()) == 320


@pytest.mark.parametrize("end", ["commit", "rollback", "close"])
def test_turn_ends_with_the_transaction(connect: Open, end: str):
    connection = connect()
    connection.execute(COUNT)
    assert not is_free(connect)
    getattr(connection, end)()
    assert is_free(connect)


def test_reading_takes_no_turn(connect: Open):
    writer, reader = connect(), connect()
    writer.execute(COUNT)
    assert value(reader) == 0
    reader.rollback()
    assert not is_free(connect)
    writer.commit()
    assert value(reader) == 1


def test_turn_of_a_connection_that_is_forgotten_is_over(tmp_path: Path):
    file = str(tmp_path / "forgotten.db")
    with sqlite3.connect(file) as plain:
        plain.execute("CREATE TABLE counter (value INTEGER)")
    plain.close()

    def connect() -> sqlite.Connection:
        return sqlite.Connection(file, timeout=TIMEOUT_SECONDS, isolation_level="IMMEDIATE")

    connect().execute(COUNT)
    gc.collect()
    assert is_free(connect)


def test_who_waits_too_long_is_refused_and_holds_up_nobody(connect: Open, tmp_path: Path):
    other = sqlite3.connect(tmp_path / "lines.db", isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    began = time.monotonic()
    with ThreadPoolExecutor(WAITING) as threads:
        assert list(threads.map(lambda _number: is_free(connect), range(WAITING))) == [False] * WAITING
    # All have waited at the same time, not each in turn.
    assert time.monotonic() - began < WAITING / 2 * TIMEOUT_SECONDS
    other.execute("ROLLBACK")
    other.close()
    assert is_free(connect)


def test_writer_of_another_process_is_waited_for(connect: Open, tmp_path: Path):
    other = sqlite3.connect(tmp_path / "lines.db", isolation_level=None, check_same_thread=False)
    other.execute("BEGIN IMMEDIATE")
    later = threading.Timer(TIMEOUT_SECONDS / 3, other.execute, ["ROLLBACK"])
    later.start()
    assert is_free(connect)
    later.join()
    other.close()


def test_statement_that_fails_keeps_the_turn_until_the_end(connect: Open):
    connection = connect()
    with pytest.raises(sqlite3.OperationalError):
        connection.execute("UPDATE nothing SET value = 1")
    connection.rollback()
    assert is_free(connect)


def test_database_in_memory_has_no_line():
    one, other = (sqlite.Connection(":memory:", isolation_level="IMMEDIATE") for _ in range(2))
    for connection in (one, other):
        connection.execute("CREATE TABLE counter (value INTEGER)")
        connection.execute("INSERT INTO counter VALUES (0)")
    one.close()
    other.close()
