"""The outbox: mails that wait in the database until a mail server has taken them, and requests for mails."""

import uuid
from datetime import datetime

from sqlalchemy import String, Text
from sqlalchemy.dialects import mysql
from sqlalchemy.orm import Mapped, mapped_column

from authapp import clock
from authapp.columns import EMAIL_LENGTH, NETWORK_LENGTH, TABLE_OPTIONS, ExactString, Identifier, UTCDateTime, new_id
from authapp.extensions import Model

SUBJECT_LENGTH = 255
ERROR_LENGTH = 255

_BODY = Text().with_variant(mysql.MEDIUMTEXT(), "mysql", "mariadb")


class OutboxMessage(Model):
    """A mail. It is due from `due_at` on; whoever claims it moves that time into the future first.

    Its text holds a link that is as good as a password, so outside development it is emptied once sent.
    """

    __tablename__ = "auth_outbox_message"
    __table_args__ = TABLE_OPTIONS

    id: Mapped[uuid.UUID] = mapped_column(Identifier, primary_key=True, default=new_id)
    to: Mapped[str] = mapped_column("recipient", String(EMAIL_LENGTH))
    subject: Mapped[str] = mapped_column(String(SUBJECT_LENGTH))
    text: Mapped[str] = mapped_column(_BODY)
    html: Mapped[str] = mapped_column(_BODY)
    created_at: Mapped[datetime] = mapped_column(UTCDateTime, default=clock.now)
    # Empty where there is nothing to do: the mail was sent, or given up, or stays in the development mailbox.
    due_at: Mapped[datetime | None] = mapped_column(UTCDateTime, index=True)
    attempts: Mapped[int] = mapped_column(default=0)
    sent_at: Mapped[datetime | None] = mapped_column(UTCDateTime, index=True)
    last_error: Mapped[str | None] = mapped_column(String(ERROR_LENGTH))


class MailRequest(Model):
    """Somebody asked for a mail to this address, which may have no account; `mail.requests` finds out."""

    __tablename__ = "auth_mail_request"
    __table_args__ = TABLE_OPTIONS

    id: Mapped[uuid.UUID] = mapped_column(Identifier, primary_key=True, default=new_id)
    kind: Mapped[str] = mapped_column(ExactString(32))
    email: Mapped[str] = mapped_column(ExactString(EMAIL_LENGTH))
    # Where it was asked from, as far as that is known: the account may know the place.
    network: Mapped[str | None] = mapped_column(String(NETWORK_LENGTH))
    created_at: Mapped[datetime] = mapped_column(UTCDateTime, default=clock.now, index=True)
