"""MariaDB and MySQL: how long a server may keep silent, and what is done while one does.

A server that hangs, or that no packet reaches, refuses nobody: whoever needs it waits as long as they are let. The
limits add up, to a ping and then a new connection, or a statement and whoever waits for it meanwhile: each is short.
"""

import ssl
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, ClassVar

import pymysql
from pymysql.constants import CR

CONNECT_TIMEOUT_SECONDS = 2
STATEMENT_TIMEOUT_SECONDS = 3
# Shorter than a statement's time, so that the server says what was waited for.
LOCK_TIMEOUT_SECONDS = 2
GREETING_TIMEOUT_SECONDS = 1.5
_PING_TIMEOUT_SECONDS = 0.75
# A server that refuses does so at once; one that takes as long hangs.
_HANGS_AFTER_SECONDS = 1
_PAUSE_SECONDS = 0.5

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
    """A connection that waits less for a greeting, or for the answer to a ping, than for that to a statement."""

    # PyMySQL has no public word for it.
    _read_timeout: float | None
    _tls: ClassVar[ssl.SSLContext | None] = None

    def connect(self, sock: Any = None) -> None:
        """Connect and log in. `connect_timeout` is over with the socket, and a server that hangs has one for us."""
        with self._answered_within(GREETING_TIMEOUT_SECONDS):
            super().connect(sock)

    def ping(self, reconnect: Any = False) -> None:
        """Ask whether the server is there."""
        with self._answered_within(_PING_TIMEOUT_SECONDS):
            super().ping(reconnect)

    def rollback(self) -> None:
        """Undo what is open. Where no answer comes, the server does so by itself, once it finds us gone."""
        with self._answered_within(GREETING_TIMEOUT_SECONDS):
            super().rollback()

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
    # The door comes first: to make the object may take longer than a whole request, where it prepares for TLS.
    with _doors[tuple(options.get(name) for name in ("host", "port", "unix_socket"))].passing():
        return Connection(**options)


DRIVER = SimpleNamespace(**{**vars(pymysql), "connect": _connect})
"""PyMySQL with these connections, for `create_engine(module=…)`."""
