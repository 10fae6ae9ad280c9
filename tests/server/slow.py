"""Clients that take their time: they send a byte now and then, or half a head, or leave their answer unread."""

import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from urllib.parse import urlsplit

_PAUSE_SECONDS = 0.2
_CONNECT_SECONDS = 10
_HEAD = b"POST /api/auth/login HTTP/1.1\r\nHost: slow\r\nContent-Type: application/json\r\nContent-Length: 5000\r\n"
# Of the files that the service has, the largest; so often it is more than a kernel takes off a sender's hands.
_TIMES = 16
LARGE = "/docs/swagger-ui-bundle.js"


@dataclass
class Slow:
    """A slow client: what it sends at once, what it then repeats, and what it has got back."""

    connection: socket.socket
    at_once: bytes
    drip: bytes = b""
    step: int = 65536
    got: bytes = field(default=b"", init=False)
    is_over: bool = field(default=False, init=False)

    def go_on(self) -> None:
        """Send the next byte, and take what has come."""
        try:
            if self.drip:
                self.connection.sendall(self.drip)
            part = self.connection.recv(self.step)
            self.is_over = not part
            self.got += part
        except (BlockingIOError, ssl.SSLWantReadError):
            pass
        except OSError:
            self.is_over = True


def body(connection: socket.socket) -> Slow:
    """Send a body a byte at a time."""
    return Slow(connection, _HEAD + b"\r\n", drip=b" ")


def half_head(connection: socket.socket) -> Slow:
    """Send half a head, and no more."""
    return Slow(connection, _HEAD)


def reader(connection: socket.socket) -> Slow:
    """Ask for much, again and again, and read a byte at a time."""
    return Slow(connection, f"GET {LARGE} HTTP/1.1\r\nHost: slow\r\n\r\n".encode() * _TIMES, step=1)


def lingering(connection: socket.socket) -> Slow:
    """Ask for the connection to be closed with the answer, and leave one's own end open."""
    return Slow(connection, b"GET /healthz HTTP/1.1\r\nHost: slow\r\nConnection: close\r\n\r\n")


@contextmanager
def crowd(address: str, number: int, *kinds: Callable[[socket.socket], Slow]) -> Iterator[list[Slow]]:
    """Connect so many clients of each kind, and have them dawdle until the block is left."""
    stop = threading.Event()
    clients: list[Slow] = []

    def dawdle() -> None:
        while not stop.wait(_PAUSE_SECONDS):
            for client in clients:
                if not client.is_over:
                    client.go_on()

    thread = threading.Thread(target=dawdle)
    thread.start()
    with ExitStack() as connections:
        try:
            for kind in [kind for kind in kinds for _ in range(number)]:
                client = kind(connections.enter_context(_connection(address)))
                client.connection.sendall(client.at_once)
                client.connection.setblocking(False)
                clients.append(client)
            yield clients
        finally:
            stop.set()
            thread.join()


def _connection(address: str) -> socket.socket:
    url = urlsplit(address)
    plain = socket.socket()
    # What a client has not read stays with the sender, but for this much.
    plain.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    plain.settimeout(_CONNECT_SECONDS)
    plain.connect((url.hostname, url.port))
    if url.scheme == "http":
        return plain
    # Whose certificate it is, other tests ask.
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    return context.wrap_socket(plain)
