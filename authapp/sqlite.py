"""SQLite: its file, which is nobody else's to read, and what every connection to it switches on."""

import contextlib
import sqlite3
from pathlib import Path
from typing import Any

from flask import Flask
from sqlalchemy.engine import URL

from authapp.config import ConfigError, is_in_memory


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

    A listener of the engine would have to be a listener of every engine, the host's own ones included.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.execute("PRAGMA foreign_keys = ON")
        self.execute("PRAGMA journal_mode = WAL")
        self.execute("PRAGMA synchronous = NORMAL")

    def __del__(self) -> None:
        """Close what nobody closed: an application that is dropped has no moment of its own to do it in."""
        with contextlib.suppress(sqlite3.Error):
            self.close()
