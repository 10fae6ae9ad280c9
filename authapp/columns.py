"""Column types that mean the same on every database."""

import uuid
from datetime import UTC, datetime
from typing import Any

import uuid6
from sqlalchemy import BINARY, DateTime, Dialect, LargeBinary, String, TypeDecorator
from sqlalchemy.dialects import mysql
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.types import TypeEngine

EMAIL_LENGTH = 254
NETWORK_LENGTH = 45

# Named on every table: a server whose default is latin1 would refuse an emoji in a name.
TABLE_OPTIONS = {"mysql_engine": "InnoDB", "mysql_charset": "utf8mb4", "mysql_collate": "utf8mb4_bin"}


def new_id() -> uuid.UUID:
    """Make a UUID of version 7 (RFC 9562): later ones sort later, so new rows land at the index's end."""
    return uuid.UUID(int=uuid6.uuid7().int)


class Identifier(TypeDecorator[uuid.UUID]):
    """A UUID in 16 bytes, in the order that it sorts by."""

    impl = LargeBinary
    cache_ok = True

    def load_dialect_impl(self, dialect: Dialect) -> TypeEngine[Any]:
        if dialect.name in ("mysql", "mariadb"):
            return dialect.type_descriptor(BINARY(16))
        return dialect.type_descriptor(LargeBinary(16))

    def process_bind_param(self, value: uuid.UUID | None, dialect: Dialect) -> bytes | None:
        return None if value is None else value.bytes

    def process_result_value(self, value: Any, dialect: Dialect) -> uuid.UUID | None:
        return None if value is None else uuid.UUID(bytes=bytes(value))


class UTCDateTime(TypeDecorator[datetime]):
    """An aware time, kept in UTC with its microseconds (a plain DATETIME of MariaDB drops them)."""

    impl = DateTime
    cache_ok = True

    def load_dialect_impl(self, dialect: Dialect) -> TypeEngine[Any]:
        if dialect.name in ("mysql", "mariadb"):
            return dialect.type_descriptor(mysql.DATETIME(fsp=6))
        return dialect.type_descriptor(DateTime())

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        return None if value is None else value.astimezone(UTC).replace(tzinfo=None)

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        return None if value is None else value.replace(tzinfo=UTC)


class ExactString(String):
    """Text that equals only itself, byte for byte: neither case, accents nor trailing spaces are ignored.

    SQLite compares so by itself. On MariaDB only a NOPAD collation does, on MySQL only the 0900 one.
    """


@compiles(ExactString, "mysql", "mariadb")
def _compile_exact_string(column: ExactString, compiler: Any, **_: Any) -> str:
    collation = "utf8mb4_nopad_bin" if compiler.dialect.is_mariadb else "utf8mb4_0900_bin"
    return f"VARCHAR({column.length}) CHARACTER SET utf8mb4 COLLATE {collation}"
