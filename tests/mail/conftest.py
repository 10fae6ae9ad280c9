"""A real mail server, whose moods a test can choose."""

import asyncio
import secrets
import socket
import ssl
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from email.message import EmailMessage
from email.parser import BytesParser
from email.policy import default
from pathlib import Path
from typing import Any

import pytest
from aiosmtpd.controller import Controller
from aiosmtpd.smtp import SMTP, Envelope, Session
from flask import Flask

from authapp import database
from authapp.mail import delivery, outbox
from tests import certificates
from tests.conftest import MakeApp
from tests.mail.faulty import FaultyServer
from tests.services import free_port

# What an application outside development must be given.
PRODUCTION = {
    "APP_ENV": "production",
    "SECRET_KEY": secrets.token_urlsafe(48),
    "AUTH_PUBLIC_URL": "https://auth.example.org",
}

MailingApp = Callable[..., Flask]

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
LINK = "https://auth.example.org/api/auth/verify-email?token=abc"


def queue(app: Flask, *recipients: str, subject: str = "Please verify your e-mail address") -> None:
    with app.app_context():
        for to in recipients:
            outbox.queue("verify_email", to=to, subject=subject, link=LINK, hours=24)
        database.commit()


def deliver(app: Flask) -> int:
    """Deliver once; a server that cannot be reached takes nothing."""
    with app.app_context():
        try:
            return delivery.deliver_due()
        except delivery.UnreachableError:
            return 0


def recipients(messages: list[EmailMessage]) -> list[str]:
    return [message["To"] for message in messages]


def content(message: EmailMessage, kind: str) -> str:
    part = message.get_body((kind,))
    assert part is not None
    found: str = part.get_content()
    return found


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


@pytest.fixture
def faulty(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[FaultyServer]:
    """A mail server that misbehaves when told to; its certificate is trusted."""
    certificate, context = make_certificate(tmp_path)
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    server = FaultyServer(context)
    yield server
    server.close()


def make_certificate(folder: Path) -> tuple[Path, ssl.SSLContext]:
    """Make a certificate for 127.0.0.1 that nobody but itself vouches for, and a server's context with it."""
    certificate_file, key_file = certificates.make(folder)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate_file, key_file)
    return certificate_file, context
