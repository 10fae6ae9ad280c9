"""Trying the mail server: whether it lets us in, whether it takes a mail, and what to check where it does not."""

import smtplib
import socket
import ssl

from flask import current_app

from authapp import columns
from authapp.mail import letters, smtp
from authapp.mail.models import OutboxMessage

_LONGEST_ANSWER = 200


def reach() -> None:
    """Connect, with TLS and a login as the settings say, and hang up. Raises one of `smtp.FAILURES`."""
    with smtp.connect():
        pass


def send(address: str) -> str:
    """Send a test mail, now, and give the server's answer. Raises one of `smtp.FAILURES`."""
    text, html = letters.write("test_mail", {})
    message = OutboxMessage(id=columns.new_id(), to=address, subject="Test mail", text=text, html=html)
    with smtp.connect() as connection:
        return _line(smtp.send(connection, message))


def explain(error: BaseException | None) -> str:
    """Say in one sentence what went wrong with the mail server and which settings to check."""
    where = f"{current_app.config['MAIL_SERVER']}:{current_app.config['MAIL_PORT']}"
    for kinds, problem, mend in _CAUSES:
        if isinstance(error, kinds):
            return f"{where} {problem} ({_said(error)}): {mend}"
    return f"{where} cannot be reached ({_said(error)}): check MAIL_SERVER and MAIL_PORT, and the firewall between."


# The first that fits counts: some are special cases of later ones.
_CAUSES: tuple[tuple[type[Exception] | tuple[type[Exception], ...], str, str], ...] = (
    (smtplib.SMTPAuthenticationError, "refused the login", "check MAIL_USERNAME and MAIL_PASSWORD."),
    (
        smtplib.SMTPNotSupportedError,
        "does not offer what the settings ask for",
        "check MAIL_USE_TLS and MAIL_PORT (587 is usual with it); most servers offer a login only after TLS.",
    ),
    (
        smtplib.SMTPSenderRefused,
        "refused the sender",
        "check MAIL_DEFAULT_SENDER, and whether the server wants a login (MAIL_USERNAME, MAIL_PASSWORD).",
    ),
    (smtplib.SMTPRecipientsRefused, "refused the recipient", "check the address, and whether it wants a login."),
    (
        ssl.SSLCertVerificationError,
        "has a certificate that is not good for this name",
        "check that MAIL_SERVER is the name in its certificate, and who signed that.",
    ),
    (
        ssl.SSLError,
        "does not speak TLS as the settings want it",
        "check MAIL_USE_SSL (usual with port 465) and MAIL_USE_TLS (with 587).",
    ),
    (socket.gaierror, "is a name that nobody knows", "check MAIL_SERVER."),
    (
        (TimeoutError, smtplib.SMTPServerDisconnected),
        "did not answer in time, or hung up",
        "check MAIL_PORT, and MAIL_USE_SSL if the port wants TLS from the first byte.",
    ),
    (smtplib.SMTPResponseException, "refused", "check what it says, and the server's own log."),
    (UnicodeError, "was not asked", "MAIL_SERVER, MAIL_USERNAME and MAIL_PASSWORD must be ASCII."),
)


def _said(error: BaseException | None) -> str:
    """Give the server's own words, or those of whoever could not reach it."""
    if isinstance(error, smtplib.SMTPRecipientsRefused):
        error = smtplib.SMTPResponseException(*next(iter(error.recipients.values())))
    if isinstance(error, smtplib.SMTPResponseException):
        text = error.smtp_error
        words = f"{error.smtp_code} {text.decode(errors='replace') if isinstance(text, bytes) else text}"
    elif isinstance(error, UnicodeError):
        # Its text would quote a password.
        words = type(error).__name__
    else:
        words = getattr(error, "strerror", None) or str(error) or type(error).__name__
    return _line(words)


def _line(words: str) -> str:
    """Make one line of a server's words, of a bearable length, in which nothing steers a terminal."""
    line = " ".join(words.split())[:_LONGEST_ANSWER]
    return "".join(char if char.isprintable() else "?" for char in line)
