"""Talking to the mail server: Flask-Mail, with a time limit and with certificates that are checked."""

import contextlib
import logging
import smtplib
import socket
import ssl
import threading
import time
from types import TracebackType
from typing import Any

from flask import current_app
from flask_mail import BadHeaderError, Connection, Message

from authapp import traces
from authapp.mail.models import OutboxMessage

log = logging.getLogger(__name__)

# What connecting and sending may raise. A name or a password that is not ASCII is a ValueError, and so is a challenge
# that is not base64.
FAILURES = (OSError, smtplib.SMTPException, BadHeaderError, ValueError)

_GOODBYE_SECONDS = 1.0
_TAKEN = "250 "


class _Timed(smtplib.SMTP):
    """A client with a limit for all that is said from `begin` on: it hangs up then.

    smtplib's own limit begins anew at every byte, and a server may send one now and then for hours.
    """

    _clock: threading.Timer | None = None
    _end = 0.0
    # The connection by another name, which stays when TLS takes over the first.
    _wire: socket.socket | None = None
    answer = ""
    """What the server said to the latest mail that it was given, in one line."""

    def connect(self, host: str = "localhost", port: int = 0, *args: object) -> tuple[int, bytes]:
        self.begin(self.timeout)
        try:
            return super().connect(host, port)
        except BaseException:
            self.close()
            raise

    def send(self, s: Any) -> None:
        """Say something, unless time is up: a process that was frozen must not go on with what others do by now."""
        if time.monotonic() > self._end:
            self.close()
            raise smtplib.SMTPServerDisconnected("Time is up")
        super().send(s)

    def data(self, msg: Any) -> tuple[int, bytes]:
        code, text = super().data(msg)
        self.answer = f"{code} {' '.join(text.decode(errors='replace').split())}"
        return code, text

    def begin(self, seconds: float) -> None:
        """Give the server this long from now on."""
        if self._clock:
            self._clock.cancel()
        self._end = time.monotonic() + seconds
        self._clock = threading.Timer(seconds, self._hang_up)
        self._clock.daemon = True
        self._clock.start()

    def close(self) -> None:
        if self._clock:
            self._clock.cancel()
        if self._wire:
            self._wire.close()
        super().close()

    def _get_socket(self, host: str, port: int, timeout: float) -> socket.socket:
        """Connect; of a name's addresses each gets its share of the time, or a dead one would take it all."""
        addresses = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        connected = socket.create_connection((host, port), timeout / len(addresses))
        connected.settimeout(timeout)
        self._wire = connected.dup()
        return connected

    def _hang_up(self) -> None:
        """Have whoever waits for the server find the connection closed, also amid a handshake."""
        if self._wire:
            with contextlib.suppress(OSError):
                self._wire.shutdown(socket.SHUT_RDWR)


class _TimedSSL(smtplib.SMTP_SSL, _Timed):
    """The same, with TLS from the first byte."""


class _Connection(Connection):
    """Flask-Mail's connection; that one waits for ever on a silent server, and checks no certificate.

    `MAIL_TIMEOUT` is for the first mail with all that comes before it, and for each other mail.
    """

    _in_use = False

    def configure_host(self) -> smtplib.SMTP:
        server, port, timeout = self.mail.server, self.mail.port, current_app.config["MAIL_TIMEOUT"]
        host: smtplib.SMTP
        if self.mail.use_ssl:
            host = _TimedSSL(server, port, timeout=timeout, context=ssl.create_default_context())
        else:
            host = _Timed(server, port, timeout=timeout)
        try:
            if self.mail.use_tls:
                host.starttls(context=ssl.create_default_context())
            if self.mail.username and self.mail.password:
                host.login(self.mail.username, self.mail.password)
            # A server that will not have us at all refuses no mail in particular.
            host.ehlo_or_helo_if_needed()
        except BaseException:
            host.close()
            raise
        return host

    def send(self, message: Message, envelope_from: str | tuple[str, str] | None = None) -> None:
        host = self.host
        if not isinstance(host, _Timed):
            super().send(message, envelope_from)
            return
        if self._in_use:
            host.begin(current_app.config["MAIL_TIMEOUT"])
        self._in_use, host.answer = True, ""
        try:
            super().send(message, envelope_from)
        except Exception as error:
            if not host.answer.startswith(_TAKEN):
                # smtplib does so after some refusals only: the next mail would be taken for a part of this one.
                with contextlib.suppress(smtplib.SMTPServerDisconnected):
                    host.rset()
                raise
            # A host's listener to Flask-Mail's signal fails, or nobody is there who takes more than MAIL_MAX_EMAILS.
            log.error("after_sending_failed", exc_info=traces.to_log(error))

    def __exit__(
        self, exc_type: type[BaseException] | None, exc_value: BaseException | None, tb: TracebackType | None
    ) -> None:
        """Say goodbye; a server that is gone already has taken, or refused, what was sent before."""
        if isinstance(self.host, _Timed):
            self.host.begin(_GOODBYE_SECONDS)
            with contextlib.suppress(OSError, smtplib.SMTPException):
                self.host.quit()
            self.host.close()


def connect() -> _Connection:
    """Open a connection to `MAIL_SERVER`, to be used in a `with`; entering it may raise one of `FAILURES`."""
    return _Connection(current_app.extensions["mail"])


def is_open(connection: Connection) -> bool:
    """Say whether more can be sent: a server may hang up on any mail. What Flask-Mail suppresses needs none."""
    return connection.host is None or connection.host.sock is not None


def send(connection: Connection, message: OutboxMessage) -> str:
    """Hand one mail over and give the server's answer, which often names the mail. Raises one of `FAILURES`."""
    # A host application's own Flask-Mail may know no sender.
    sender = connection.mail.default_sender or current_app.config["MAIL_DEFAULT_SENDER"]
    mail = Message(message.subject, [message.to], message.text, message.html, sender=sender)
    # The same id at every attempt, so that a mailbox that got it twice may show it once.
    mail.msgId = f"<{message.id}@authapp>"
    mail.extra_headers = {"Auto-Submitted": "auto-generated"}
    mail.send(connection)
    return connection.host.answer if isinstance(connection.host, _Timed) else ""
