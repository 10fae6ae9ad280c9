"""A real mail server, whose moods a test can choose."""

import asyncio
import socket
from collections.abc import Callable, Iterator
from email.message import EmailMessage
from email.parser import BytesParser
from email.policy import default
from typing import Any

import pytest
from aiosmtpd.controller import Controller
from aiosmtpd.smtp import SMTP, Envelope, Session
from flask import Flask

from tests.conftest import MakeApp
from tests.services import free_port

# What an application outside development must be given.
PRODUCTION = {
    "APP_ENV": "production",
    "SECRET_KEY": "0bV7rWq2Xk9TzLhJm4YcNf8sGdPeUa3QiR6oHvKtB1w",
    "AUTH_PUBLIC_URL": "https://auth.example.org",
}


class MailServer:
    """A mail server: it takes what comes, save what it was told to refuse or to be cut off at."""

    def __init__(self) -> None:
        self.port = free_port()
        # Every mail whose content came through, those that were never acknowledged included.
        self.seen: list[EmailMessage] = []
        # The mails for which the client was told that they were taken.
        self.taken: list[EmailMessage] = []
        # The same mails, byte for byte as they came.
        self.raw: list[bytes] = []
        self.refused: set[str] = set()
        self.cut_off: set[str] = set()
        self._controller: Controller | None = None

    def start(self, **options: Any) -> None:
        """Listen; on the same port each time."""
        self._controller = Controller(self, hostname="127.0.0.1", port=self.port, **options)
        self._controller.start()

    def stop(self) -> None:
        if self._controller is not None:
            self._controller.stop()
            self._controller = None

    async def handle_RCPT(  # noqa: N802  # aiosmtpd's name.
        self, server: SMTP, session: Session, envelope: Envelope, address: str, options: list[str]
    ) -> str:
        if address in self.refused:
            return "550 5.1.1 Nobody here has this name"
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(self, server: SMTP, session: Session, envelope: Envelope) -> str:  # noqa: N802  # aiosmtpd's name.
        assert isinstance(envelope.content, bytes)
        message = BytesParser(policy=default).parsebytes(envelope.content)
        assert isinstance(message, EmailMessage)
        self.seen.append(message)
        if self.cut_off.intersection(envelope.rcpt_tos):
            assert isinstance(server.transport, asyncio.Transport)
            server.transport.abort()
            raise ConnectionResetError
        self.taken.append(message)
        self.raw.append(envelope.content)
        return "250 OK"


@pytest.fixture
def mail_server() -> Iterator[MailServer]:
    """A mail server that listens."""
    server = MailServer()
    server.start()
    yield server
    server.stop()


@pytest.fixture
def mailing_app(make_app: MakeApp, mail_server: MailServer) -> Callable[..., Flask]:
    """Make an application that sends to the mail server; only it decides when it delivers."""

    def make(**settings: object) -> Flask:
        # Flask-Mail sends nothing in a test unless told to.
        server = {"MAIL_SERVER": "127.0.0.1", "MAIL_PORT": mail_server.port, "MAIL_SUPPRESS_SEND": False}
        return make_app(**{**server, "MAIL_TIMEOUT": 5, **settings})

    return make


@pytest.fixture
def silent_port() -> Iterator[int]:
    """The port of a server that takes connections and never says a word."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield listener.getsockname()[1]
