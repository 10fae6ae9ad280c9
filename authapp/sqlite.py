"""SQLite: its file, which is nobody else's to read, and what every connection to it switches on."""

import contextlib
import os
import re
import sqlite3
import time
from collections import defaultdict
from pathlib import Path
from threading import Lock
from typing import Any

from flask import Flask
from sqlalchemy.engine import URL

from authapp.config import ConfigError, is_in_memory

_WRITES = re.compile(r"\s*(INSERT|UPDATE|DELETE|REPLACE)\b", re.I)
# Before whoever is first in line looks again whether somebody of another process still writes.
_PAUSE_SECONDS = 0.001
# By file: who of this process may write to it.
_lines: defaultdict[str, Lock] = defaultdict(Lock)
os.register_at_fork(after_in_child=_lines.clear)


def make_file(app: Flask, url: URL) -> None:
    """Make the file, if there is none, so that only this user can read the hashes and links in it.

    Raises `ConfigError` where this user cannot write it.
    """
    file = Path(app.instance_path, url.database or "")
    try:
        Path(app.instance_path).mkdir(mode=0o700, parents=True, exist_ok=True)
        if not is_in_memory(url) and file.parent.is_dir() and not str(url.database).startswith("file:"):
            file.touch(mode=0o600, exist_ok=True)
    except OSError as error:
        raise ConfigError(
            f"DATABASE_URL names an SQLite file that this user cannot write ({error.filename}: {error.strerror}): "
            "give it and its directory to the user that runs the service."
        ) from None


class Connection(sqlite3.Connection):
    """A connection with what SQLite leaves off: foreign keys, and a journal in which readers do not wait for a writer.

    And one in which writers wait in a line. SQLite lets each look again after a while, and the longer it has waited the
    longer that while: of many who write, some wait for hundreds of milliseconds behind all who came after them. Here
    one of a process looks, and soon again; the others stand in line behind it.

    A listener of the engine would have to be a listener of every engine, the host's own ones included.
    """

    # Until it is open, which may fail.
    _line: Any = None
    _is_first = False

    def __init__(self, database: Any, *, timeout: float = 5.0, **kwargs: Any) -> None:
        super().__init__(database, timeout=timeout, **kwargs)
        self.execute("PRAGMA foreign_keys = ON")
        self.execute("PRAGMA journal_mode = WAL")
        self.execute("PRAGMA synchronous = NORMAL")
        self._line = None if ":memory:" in str(database) else _lines[str(database)]
        self._patience_seconds = timeout

    def cursor(self, factory: Any = None) -> Any:
        """Give a cursor that stands in line before it writes."""
        return super().cursor(factory or Cursor)

    def line_up(self) -> None:
        """Begin a transaction that writes, as soon as nobody else does. Raises `OperationalError` after a while."""
        if self._line is None or self.in_transaction or self.isolation_level is None:
            return
        deadline = time.monotonic() + self._patience_seconds
        if not self._line.acquire(timeout=self._patience_seconds):
            raise sqlite3.OperationalError("database is locked")
        self._is_first = True
        try:
            super().execute("PRAGMA busy_timeout = 0")
            while not self._begins(deadline):
                time.sleep(_PAUSE_SECONDS)
        finally:
            self._step_aside()
            super().execute(f"PRAGMA busy_timeout = {self._patience_seconds * 1000:.0f}")

    def commit(self) -> None:
        """Commit what is open, and let the next one write."""
        try:
            super().commit()
        finally:
            self._step_aside()

    def rollback(self) -> None:
        """Undo what is open, and let the next one write."""
        try:
            super().rollback()
        finally:
            self._step_aside()

    def close(self) -> None:
        """Close it; what is open is undone."""
        super().close()
        self._step_aside(is_over=True)

    def __del__(self) -> None:
        """Close what nobody closed: an application that is dropped has no moment of its own to do it in."""
        with contextlib.suppress(sqlite3.Error):
            self.close()

    def _begins(self, deadline: float) -> bool:
        try:
            super().execute("BEGIN IMMEDIATE")
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode & 0xFF != sqlite3.SQLITE_BUSY or time.monotonic() > deadline:
                raise
            return False
        return True

    def _step_aside(self, *, is_over: bool = False) -> None:
        if self._line and self._is_first and (is_over or not self.in_transaction):
            self._is_first = False
            self._line.release()


class Cursor(sqlite3.Cursor):
    """A cursor that stands in line before it writes."""

    def execute(self, sql: str, *args: Any) -> "Cursor":
        """Run a statement."""
        if _WRITES.match(sql):
            self.connection.line_up()  # type: ignore[attr-defined]  # It is one of ours.
        super().execute(sql, *args)
        return self

    def executemany(self, sql: str, *args: Any) -> "Cursor":
        """Run a statement with each of these parameters."""
        self.connection.line_up()  # type: ignore[attr-defined]  # It is one of ours.
        super().executemany(sql, *args)
        return self
