"""What has been in the file already: on disk, since a file may have more rows than memory has room for."""

import hashlib
import secrets
import sqlite3


class Seen:
    """The lines that keys were first on. Only digests are kept, in a file without a name that ends with the process."""

    def __init__(self) -> None:
        self._secret = secrets.token_bytes(16)
        self._rows = sqlite3.connect("", isolation_level=None)
        self._rows.execute("PRAGMA journal_mode=OFF")
        self._rows.execute("CREATE TABLE seen (key BLOB PRIMARY KEY, line INTEGER) WITHOUT ROWID")
        self._rows.execute("BEGIN")

    def line_of(self, key: str) -> int | None:
        """Give the line that had this key before."""
        found = self._rows.execute("SELECT line FROM seen WHERE key = ?", (self._digest(key),)).fetchone()
        return found[0] if found else None

    def note(self, key: str, line: int) -> None:
        """Remember that this line has this key."""
        self._rows.execute("INSERT INTO seen VALUES (?, ?)", (self._digest(key), line))

    def close(self) -> None:
        """Forget everything."""
        self._rows.close()

    def _digest(self, key: str) -> bytes:
        return hashlib.blake2b(key.encode(), digest_size=16, key=self._secret).digest()
