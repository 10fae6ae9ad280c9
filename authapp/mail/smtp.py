"""Talking to the mail server: Flask-Mail, with a time limit and with certificates that are checked."""

import contextlib
import smtplib
import ssl
from types import TracebackType

from flask import current_app
from flask_mail import Connection, Message

from authapp.mail.models import OutboxMessage


class _Connection(Connection):
    """Flask-Mail's connection; that one waits for ever on a silent server, and checks no certificate."""

    def configure_host(self) -> smtplib.SMTP:
        server, port, timeout = self.mail.server, self.mail.port, current_app.config["MAIL_TIMEOUT"]
        context = ssl.create_default_context()
        host: smtplib.SMTP
        if self.mail.use_ssl:
            host = smtplib.SMTP_SSL(server, port, timeout=timeout, context=context)
        else:
            host = smtplib.SMTP(server, port, timeout=timeout)
        if self.mail.use_tls:
            host.starttls(context=context)
        if self.mail.username and self.mail.password:
            host.login(self.mail.username, self.mail.password)
        return host

    def __exit__(self, exc_type: type[BaseException], exc_value: BaseException, tb: TracebackType) -> None:
        """Say goodbye; a server that is gone already has taken, or refused, what was sent before."""
        with contextlib.suppress(OSError, smtplib.SMTPException):
            super().__exit__(exc_type, exc_value, tb)


def connect() -> Connection:
    """Open a connection to `MAIL_SERVER`, to be used in a `with`; entering it may raise as `smtplib` does."""
    return _Connection(current_app.extensions["mail"])


def send(connection: Connection, message: OutboxMessage) -> None:
    """Hand one mail over. Raises `smtplib.SMTPException` or `OSError`."""
    mail = Message(message.subject, recipients=[message.to], body=message.text, html=message.html)
    # The same id at every attempt, so that a mailbox that got it twice may show it once.
    mail.msgId = f"<{message.id}@authapp>"
    mail.extra_headers = {"Auto-Submitted": "auto-generated"}
    mail.send(connection)
