"""Talking to mail servers that take their time: the limit is for all that is said, not for each byte of it."""

import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress

import pytest
from flask import Flask
from flask_mail import Mail

from authapp import create_app, init_app
from authapp.columns import new_id
from authapp.mail import smtp
from authapp.mail.models import OutboxMessage
from authapp.testing import TEST_SETTINGS
from tests.factories import ALICE

LIMIT_SECONDS = 1
# Far less than the limit, and so each line alone is in time.
PAUSE_SECONDS = 0.1


def drip(client: socket.socket, code: bytes) -> None:
    """Answer one command with a line now and then, for as long as anybody listens."""
    while True:
        client.sendall(code + b"-please wait\r\n")
        time.sleep(PAUSE_SECONDS)


def serve(listener: socket.socket, slow_at: bytes) -> None:
    client, _ = listener.accept()
    with client, suppress(OSError):
        if slow_at == b"CONNECT":
            drip(client, b"220")
        client.sendall(b"220 hello\r\n")
        for line in client.makefile("rb"):
            command = line.split()[0].upper() if line.split() else b""
            if command == slow_at:
                drip(client, b"250")
            client.sendall(b"354 go on\r\n" if command == b"DATA" else b"250 fine\r\n")
            if command == b"DATA":
                content = client.makefile("rb")
                while content.readline() != b".\r\n":
                    pass
                if slow_at == b".":
                    drip(client, b"250")
                client.sendall(b"250 taken\r\n")


@pytest.fixture
def slow_app() -> Iterator[Callable[[bytes], Flask]]:
    """Make an application whose mail server is slow at one command."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def make(slow_at: bytes) -> Flask:
            threading.Thread(target=serve, args=(listener, slow_at), daemon=True).start()
            server = {"MAIL_SERVER": "127.0.0.1", "MAIL_PORT": listener.getsockname()[1], "MAIL_SUPPRESS_SEND": False}
            settings = {**TEST_SETTINGS, **server, "MAIL_TIMEOUT": LIMIT_SECONDS, "DATABASE_URL": "sqlite:///:memory:"}
            return create_app(settings, environ={})

        yield make


def send() -> None:
    with smtp.connect() as connection:
        smtp.send(connection, OutboxMessage(id=new_id(), to=ALICE, subject="Hello", text="Hello", html="<p>Hello"))


@pytest.mark.parametrize("slow_at", [b"CONNECT", b"EHLO", b"RCPT", b"."])
def test_server_that_sends_a_line_now_and_then_is_left_after_the_time_limit(
    slow_app: Callable[[bytes], Flask], slow_at: bytes
):
    with slow_app(slow_at).app_context():
        began = time.monotonic()
        with pytest.raises(smtp.FAILURES):
            send()
    assert LIMIT_SECONDS * 0.9 < time.monotonic() - began < LIMIT_SECONDS * 10


def test_server_that_will_not_say_goodbye_has_taken_the_mail(slow_app: Callable[[bytes], Flask]):
    with slow_app(b"QUIT").app_context():
        began = time.monotonic()
        send()
    assert time.monotonic() - began < LIMIT_SECONDS * 10


def test_no_clock_is_left_running(slow_app: Callable[[bytes], Flask]):
    before = {thread.name for thread in threading.enumerate() if isinstance(thread, threading.Timer)}
    with slow_app(b"").app_context():
        send()
    # A cancelled clock ends by itself; it gets a moment to do so.
    for thread in threading.enumerate():
        if isinstance(thread, threading.Timer) and thread.name not in before:
            thread.join(LIMIT_SECONDS / 2)
            assert not thread.is_alive()


def test_mail_of_a_host_whose_own_flask_mail_knows_no_sender_has_one(tmp_path, slow_app: Callable[[bytes], Flask]):
    host = Flask("host", instance_path=str(tmp_path))
    server = slow_app(b"").config
    host.config.update({name: server[name] for name in ("MAIL_SERVER", "MAIL_PORT", "MAIL_SUPPRESS_SEND")})
    host.config.update({**TEST_SETTINGS, "MAIL_DEFAULT_SENDER": None, "DATABASE_URL": "sqlite:///:memory:"})
    Mail(host)
    init_app(host, environ={})
    with host.app_context():
        send()
