"""MariaDB and MySQL: how long a server may keep silent, and what is done while one does.

A server that hangs, or that no packet reaches, refuses nobody: whoever needs it waits as long as they are let. The
limits add up, to a statement and then a new connection, or a statement and whoever waits for it: each is short.
"""

import re
import ssl
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, ClassVar

import pymysql
from pymysql.constants import CR, SERVER_STATUS

CONNECT_TIMEOUT_SECONDS = 2
STATEMENT_TIMEOUT_SECONDS = 3
# Shorter than a statement's time, so that the server says what was waited for.
LOCK_TIMEOUT_SECONDS = 2
GREETING_TIMEOUT_SECONDS = 1.5
# A server that refuses does so at once; one that takes as long hangs.
_HANGS_AFTER_SECONDS = 1
_PAUSE_SECONDS = 0.5

# The server has ended the connection, or will answer nothing on it any more.
_CUT_CODES = frozenset({1927, 4031, CR.CR_SERVER_GONE_ERROR, CR.CR_SERVER_LOST})

_ISOLATES = re.compile(rb"\s*SET\s+SESSION\s+TRANSACTION\s+ISOLATION\s+LEVEL\s", re.I)
_READ_COMMITTED = re.compile(rb"\s*READ\s+COMMITTED\s*$", re.I)
_MANAGES = re.compile(rb"\s*(SET|BEGIN|START|COMMIT|ROLLBACK)\b", re.I)
_READS = re.compile(rb"\s*(SELECT|SHOW)\b", re.I)
_LOCKS = re.compile(rb"\b(FOR\s+UPDATE|FOR\s+SHARE|LOCK\s+IN\s+SHARE)\b", re.I)

if TYPE_CHECKING:
    _Connection = pymysql.connections.Connection[pymysql.cursors.Cursor]
else:
    _Connection = pymysql.connections.Connection


class Door:
    """The way to one server. Once a try to connect has hung, nobody tries for a moment, and then one at a time.

    Else every request would wait for it anew, and those that need no database would find no thread free.
    """

    def __init__(self) -> None:
        self._closed_until = 0.0

    @contextmanager
    def passing(self) -> Iterator[None]:
        """Try to connect. Raises the driver's `OperationalError` where nobody should."""
        started = time.monotonic()
        if started < self._closed_until:
            raise pymysql.err.OperationalError(CR.CR_CONN_HOST_ERROR, "The server did not answer a moment ago")
        if self._closed_until:
            # The others need not wait for this try.
            self._closed_until = started + CONNECT_TIMEOUT_SECONDS + STATEMENT_TIMEOUT_SECONDS
        hung = False
        try:
            yield
        except Exception:
            hung = time.monotonic() - started >= _HANGS_AFTER_SECONDS
            raise
        finally:
            self._closed_until = time.monotonic() + _PAUSE_SECONDS if hung else 0.0


class Connection(_Connection):
    """A connection that begins a transaction where one is needed, as the driver of SQLite does: at the first write.

    At READ COMMITTED a plain SELECT sees the same inside of a transaction and outside, and where none is open there is
    nothing to end: so a request that only reads costs one round trip. Nor is a server asked beforehand whether it is
    still there: the first thing that a user of the pool sends, a SELECT or the BEGIN, is sent once more over a new
    connection where the old one turns out to be cut. Nothing else is ever sent twice.
    """

    # PyMySQL has no public word for the first, and its types none for the second.
    _read_timeout: float | None
    server_status: int
    _tls: ClassVar[ssl.SSLContext | None] = None
    # Whether statements get a transaction at all (PEP 249), the SET that named its isolation, whether reads need none
    # at that, and whether nothing has been sent since the last one ended.
    _begins = True
    _isolation = b""
    _reads_alone = False
    _is_fresh = False
    door: Door | None = None

    def connect(self, sock: Any = None) -> None:
        """Connect and log in. `connect_timeout` is over with the socket, and a server that hangs has one for us."""
        with self._answered_within(GREETING_TIMEOUT_SECONDS):
            super().connect(sock)
            if not self.get_autocommit():
                # What begins is up to us.
                super().query(b"SET AUTOCOMMIT = 1")
            if self._isolation:
                super().query(self._isolation)
        self._is_fresh = True

    def autocommit(self, value: Any) -> None:
        """Say that no statement gets a transaction, or that those get one which need it."""
        self._begins = not value

    def query(self, sql: str | bytes, unbuffered: bool = False) -> int:
        """Send a statement, and before it a BEGIN where it needs one."""
        raw = sql.encode() if isinstance(sql, str) else bytes(sql)
        if found := _ISOLATES.match(raw):
            self._isolation, self._reads_alone = raw, bool(_READ_COMMITTED.match(raw, found.end()))
        if self._begins and not self._is_in_transaction() and not self._needs_none(raw):
            self._send(b"BEGIN")
        return self._send(raw, unbuffered)

    def commit(self) -> None:
        """Commit what is open."""
        if self._is_in_transaction():
            super().commit()
        self._is_fresh = True

    def rollback(self) -> None:
        """Undo what is open. Where no answer comes, the server does so by itself, once it finds us gone."""
        if self._is_in_transaction():
            with self._answered_within(GREETING_TIMEOUT_SECONDS):
                super().rollback()
        self._is_fresh = True

    def _is_in_transaction(self) -> bool:
        return bool(self.server_status & SERVER_STATUS.SERVER_STATUS_IN_TRANS)

    def _needs_none(self, raw: bytes) -> bool:
        if self._reads_alone and _READS.match(raw):
            return not _LOCKS.search(raw)
        return bool(_MANAGES.match(raw))

    def _send(self, raw: bytes, unbuffered: bool = False) -> int:
        may_repeat = self._is_fresh and (raw == b"BEGIN" or bool(_READS.match(raw)))
        self._is_fresh = False
        try:
            return super().query(raw, unbuffered)
        except pymysql.err.OperationalError as error:
            if not may_repeat or not _is_cut(error):
                raise
            self._reconnect(error)
        return super().query(raw, unbuffered)

    def _reconnect(self, cut: pymysql.err.OperationalError) -> None:
        """Connect anew. Raises `cut` where that fails: by its code the pool knows that this connection is dead."""
        self._force_close()  # type: ignore[attr-defined]  # It is private.
        try:
            with self.door.passing() if self.door else nullcontext():
                self.connect()
        except pymysql.err.OperationalError as error:
            raise cut from error

    def _create_ssl_ctx(self, sslp: dict[str, Any]) -> ssl.SSLContext:
        """Prepare for TLS; once for all connections that ask for nothing particular, since it takes long.

        After an outage each process opens twenty at once.
        """
        make: Callable[[dict[str, Any]], ssl.SSLContext] = super()._create_ssl_ctx  # type: ignore[misc]  # It is private.
        if sslp:
            return make(sslp)
        Connection._tls = Connection._tls or make(sslp)
        return Connection._tls

    @contextmanager
    def _answered_within(self, seconds: float) -> Iterator[None]:
        given = self._read_timeout
        self._read_timeout = seconds
        try:
            yield
        finally:
            self._read_timeout = given


_doors: defaultdict[tuple[object, ...], Door] = defaultdict(Door)


def _connect(**options: Any) -> Connection:
    door = _doors[tuple(options.get(name) for name in ("host", "port", "unix_socket"))]
    is_autocommit = options.pop("autocommit", False)
    # The door comes first: to make the object may take longer than a whole request, where it prepares for TLS.
    with door.passing():
        made = Connection(**options, autocommit=None)
    made.door = door
    made.autocommit(is_autocommit)
    return made


def _is_cut(error: pymysql.err.OperationalError) -> bool:
    """Say whether the connection is gone, and not silent for too long: the next one would be, too."""
    waited = isinstance(error.__context__, TimeoutError)
    return bool(error.args) and error.args[0] in _CUT_CODES and not waited


DRIVER = SimpleNamespace(**{**vars(pymysql), "connect": _connect})
"""PyMySQL with these connections, for `create_engine(module=…)`."""
