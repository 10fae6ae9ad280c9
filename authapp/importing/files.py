"""Reading rows from CSV and JSON Lines, one at a time, past those that cannot be read.

However long the file, and whatever is wrong with it, no more than a row of it is in memory.
"""

import codecs
import csv
import json
from collections.abc import Callable, Iterator
from typing import Any, BinaryIO, NamedTuple

CSV, JSONL = "csv", "jsonl"
FIELDS = (
    "email", "password_hash", "name", "photo", "role", "is_active", "is_verified", "created_at", "id",
)  # fmt: skip

# A row has 3,000 characters at most; a file without line breaks, or with a quote that never ends, is no reason to read
# it whole.
_LONGEST_ROW_BYTES = 64 * 1024


class FileError(Exception):
    """A file of which no row can be read; its text says why."""


class RowTooLongError(Exception):
    """A row with which no memory is filled."""


class Row(NamedTuple):
    """A row: the line that it begins at, and its fields, or what is wrong with it."""

    line: int
    fields: dict[str, Any]
    problem: str | None = None


class Lines:
    """The lines of a file. Bytes that are no UTF-8 become what no text has, so that only their row is refused."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self.number = 0
        self.bytes_read = 0
        self._bytes_before_row = 0

    def begin_row(self) -> int:
        """Give the number of the next line, at which a row begins."""
        self._bytes_before_row = self.bytes_read
        return self.number + 1

    def __iter__(self) -> "Lines":
        return self

    def __next__(self) -> str:
        """Give the next line. Raises `RowTooLongError` for one that makes its row so, and goes on after it."""
        line = rest = self._piece()
        if not line:
            raise StopIteration
        self.number += 1
        while len(rest) > _LONGEST_ROW_BYTES and not rest.endswith(b"\n"):
            rest = self._piece()
        if self.bytes_read - self._bytes_before_row > _LONGEST_ROW_BYTES:
            raise RowTooLongError(f"the row is longer than {_LONGEST_ROW_BYTES} bytes")
        if self.number == 1:
            line = line.removeprefix(codecs.BOM_UTF8)
        return line.decode("utf-8", "surrogateescape")

    def _piece(self) -> bytes:
        piece = self._file.readline(_LONGEST_ROW_BYTES + 1)
        self.bytes_read += len(piece)
        return piece


def rows(lines: Lines, form: str) -> Iterator[Row]:
    """Read the rows that there are. Raises `FileError` before the first one."""
    read: Callable[[Lines], Iterator[Row]] = _read_csv if form == CSV else _read_json
    yield from read(lines)
    if not lines.number:
        raise FileError("The file is empty.")


def unknown(names: list[str]) -> str | None:
    """Say what is wrong with the names of the fields."""
    if "password" in names:
        return (
            "Passwords are not taken, only their hashes (password_hash): a file of passwords should not be, and to hash"
            " them here would take days. Whoever comes without a hash chooses a password by a reset."
        )
    others = [name for name in names if name not in FIELDS]
    if others:
        return f"Unknown: {', '.join(map(ascii, others))}. There are: {', '.join(FIELDS)}."
    if len(set(names)) < len(names):
        return "A column is there twice."
    return None


def _read_csv(lines: Lines) -> Iterator[Row]:
    """Read rows up to the first that is no CSV: where a quote went astray, text of a field would be read as rows."""
    reader, columns, begins = csv.reader(lines, strict=True), None, lines.begin_row()
    try:
        for cells in reader:
            if columns is None:
                columns = _columns(cells)
            elif cells:
                yield _row(begins, columns, cells)
            begins = lines.begin_row()
    except (csv.Error, RowTooLongError) as error:
        if columns is None:
            raise FileError(f"The first line cannot be read: {error}.") from None
        yield Row(begins, {}, f"Not CSV: {error}, in line {lines.number}. Nothing from here on was read.")


def _columns(cells: list[str]) -> list[str]:
    names = [cell.strip() for cell in cells]
    if "email" not in names:
        raise FileError("The first line has to name the columns, one of them email, with commas between them.")
    if problem := unknown(names):
        raise FileError(problem)
    return names


def _row(line: int, columns: list[str], cells: list[str]) -> Row:
    if len(cells) != len(columns):
        return Row(line, {}, f"There are {len(cells)} fields in it, and {len(columns)} columns.")
    return Row(line, dict(zip(columns, cells, strict=True)))


def _read_json(lines: Lines) -> Iterator[Row]:
    while True:
        lines.begin_row()
        try:
            line = next(lines)
        except StopIteration:
            return
        except RowTooLongError as error:
            yield Row(lines.number, {}, f"Not JSON: {error}.")
            continue
        if line.strip():
            yield _object(lines.number, line)


def _object(number: int, line: str) -> Row:
    try:
        fields = json.loads(line)
    except (ValueError, RecursionError):
        return Row(number, {}, "Not JSON: each line has to be an object of its own.")
    if not isinstance(fields, dict):
        return Row(number, {}, "Not a JSON object.")
    return Row(number, fields, unknown(list(fields)))
