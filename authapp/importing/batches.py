"""Writing accounts in batches: one SELECT, one INSERT and one commit for some hundreds of rows.

What was committed stays, so an import that was interrupted is run again: whoever is there already is passed over.
"""

import uuid
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing
from dataclasses import dataclass, field
from itertools import islice
from typing import Any

from sqlalchemy import insert, select
from sqlalchemy.exc import DBAPIError

from authapp import database
from authapp.columns import new_id
from authapp.errors import ValidationError
from authapp.extensions import db
from authapp.importing import accounts
from authapp.importing.files import Row
from authapp.importing.seen import Seen
from authapp.models import User

Refuse = Callable[[int, str], None]
"""Told the line and the reason of a row that is refused."""

_ROWS_AT_ONCE = 500
_TRIES = 3

_DUPLICATE = "{field}: The same as in line {line}."
_OTHER_ID = "id: The address is there already, under another id."
_OTHER_EMAIL = "id: Another account's."


@dataclass
class Import:
    """One run over a file, and its counts so far. With `dry_run` everything is checked and nothing is written."""

    refuse: Refuse
    dry_run: bool = False
    made: int = 0
    there_already: int = 0
    refused: int = 0
    _seen: Seen = field(default_factory=Seen)

    def run(self, rows: Iterable[Row]) -> Iterator[None]:
        """Take the rows in, batch by batch, and yield after each."""
        rows = iter(rows)
        with closing(self._seen):
            while batch := list(islice(rows, _ROWS_AT_ONCE)):
                self._take(dict(self._good(batch)))
                yield

    def _good(self, batch: list[Row]) -> Iterator[tuple[int, dict[str, Any]]]:
        """Give the lines whose rows are right in themselves, and the only ones of their address and id in the file."""
        for row in batch:
            values, problem = _read(row)
            problem = problem or self._note(row.line, values)
            if problem:
                self._refuse(row.line, problem)
            else:
                yield row.line, values

    def _note(self, line: int, values: dict[str, Any]) -> str | None:
        """Remember a row's address and id; say which of them an earlier line has."""
        keys = {name: str(values[name]) for name in ("email", "id") if values[name]}
        for name, key in keys.items():
            if earlier := self._seen.line_of(key):
                return _DUPLICATE.format(field=name, line=earlier)
        for key in keys.values():
            self._seen.note(key, line)
        return None

    def _take(self, batch: dict[int, dict[str, Any]]) -> None:
        """Write what is not there yet. Who registers meanwhile, or holds a lock, has it looked at again."""
        for tries in range(1, _TRIES + 1):
            try:
                new, refused = _compare(batch)
                if not self.dry_run and new:
                    db.session.execute(insert(User.__table__), new)  # type: ignore[arg-type]  # A table, as declared.
                    database.commit()
                break
            except DBAPIError as error:
                database.start_over()
                if tries == _TRIES or not database.is_transient(error):
                    raise
        database.rollback()
        self.made += len(new)
        self.there_already += len(batch) - len(new) - len(refused)
        for line, reason in refused.items():
            self._refuse(line, reason)

    def _refuse(self, line: int, reason: str) -> None:
        self.refused += 1
        self.refuse(line, reason)


def _read(row: Row) -> tuple[dict[str, Any], str | None]:
    """Give the values of a row, and what is wrong with it."""
    if row.problem:
        return {}, row.problem
    try:
        return accounts.values(row.fields), None
    except ValidationError as error:
        details = (error.details or {}).items()
        return {}, " ".join(f"{name}: {' '.join(messages)}" for name, messages in details)


def _compare(batch: dict[int, dict[str, Any]]) -> tuple[list[dict[str, Any]], dict[int, str]]:
    """Give the rows of which there is no account yet, and the lines that contradict one, with the reason."""
    ids = _present(batch)
    taken = set(ids.values())
    new, refused = [], {}
    for line, values in batch.items():
        there, given = ids.get(values["email"]), values["id"]
        if there is None and given in taken:
            refused[line] = _OTHER_EMAIL
        elif there is None:
            new.append({**values, "id": given or new_id()})
        elif given not in (None, there):
            refused[line] = _OTHER_ID
    return new, refused


def _present(batch: dict[int, dict[str, Any]]) -> dict[str, uuid.UUID]:
    """Give the accounts, id by address, that have an address or an id of the batch."""
    emails = [values["email"] for values in batch.values()]
    ids = [values["id"] for values in batch.values() if values["id"]]
    statement: Any = select(User.email, User.id).where(User.email.in_(emails))
    if ids:
        # Each half finds its rows by an index of its own, which not every database does for an OR.
        statement = statement.union_all(select(User.email, User.id).where(User.id.in_(ids)))
    return dict(db.session.execute(statement).all())
