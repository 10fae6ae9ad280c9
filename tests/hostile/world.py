"""The same people, sign-ins and links in any number of databases, under names that a request can be written with.

A request says `<<alice.access>>`, and each application is sent the token of its own: ids differ between databases.
`<<alice.access~17>>` is that token with one character changed, left out or put in.
"""

import re
from datetime import timedelta
from functools import cache
from typing import Any

import time_machine
from flask import Flask
from sqlalchemy import select
from werkzeug.security import generate_password_hash

from authapp import clock, cookies, links, sessions, tokens, users
from authapp.clients import Client
from authapp.extensions import db
from authapp.mail import outbox
from authapp.mail.models import OutboxMessage
from authapp.models import Session, User
from authapp.testing import FAST_PASSWORD_HASH, empty_tables
from tests.factories import ALICE, BOB, CAROL, OTHER_PASSWORD, PASSWORD

DORA = "dora@example.org"
ERIN = "erin@example.org"
FREE = "alice.new@example.org"
EMAILS = (ALICE, BOB, CAROL, DORA, ERIN, FREE)
SIGN_INS = ("alice", "alice2", "bob", "carol", "dora", "erin", "late", "ended", "last")
LINKS = ("verify", "verified", "reset", "reset.old", "change", "taken", "withdrawn", "mailed")
_NAMED = re.compile(r"<<([a-z0-9_.]+)(?:~(\d+))?>>")
_ALPHABET = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"


class World:
    """Who and what there is in the database of one application, all of it new."""

    def __init__(self, app: Flask) -> None:
        self.app = app
        self.named: dict[str, str] = {}
        empty_tables(app)
        with app.app_context():
            self._fill()
            db.session.commit()

    def fill_in(self, text: str) -> str:
        """Give a text with what it names put in; what nobody has is left as it is."""
        return _NAMED.sub(self._value, text) if "<<" in text else text

    def remember(self, data: dict[str, Any]) -> None:
        """Name the tokens of an answer, for the requests that follow."""
        if isinstance(data.get("access_token"), str) and isinstance(data.get("refresh_token"), str):
            self.named["last.access"], self.named["last.refresh"] = data["access_token"], data["refresh_token"]

    def _value(self, found: re.Match[str]) -> str:
        name, number = found.groups()
        value = self._mailed() if name == "mailed" else self.named.get(name, found.group())
        return value if number is None else damaged(value, int(number))

    def _mailed(self) -> str:
        """Give the token of the newest mail."""
        with self.app.app_context():
            mail = db.session.scalars(select(OutboxMessage).order_by(OutboxMessage.id.desc()).limit(1)).first()
            found = outbox.links_of(mail) if mail else []
        return found[0].partition("token=")[2] if found else ""

    def _fill(self) -> None:
        alice, bob, carol = _add(ALICE, name="Alice"), _add(BOB, OTHER_PASSWORD), _add(CAROL, role="admin")
        dora, erin = _add(DORA, is_verified=False), _add(ERIN)
        for name, user in {"alice": alice, "alice2": alice, "bob": bob, "carol": carol, "erin": erin}.items():
            self._sign_in(name, user)
        # Hers is what a service gives to whoever registers, where no verified address is needed.
        self._sign_in("dora", dora)
        users.set_active(erin, False)
        # Its access token has expired, and the refresh token of its first generation came back long ago.
        late = self._sign_in("late", bob, age=timedelta(hours=1))
        self.named["late.first"] = self.named["late.refresh"]
        late.generation += 1
        self._name("late", bob, late)
        ended = self._sign_in("ended", alice)
        sessions.end(ended.id, alice.id, reason="logged_out")
        self._mail_links(alice, bob, carol, dora)

    def _mail_links(self, alice: User, bob: User, carol: User, dora: User) -> None:
        self.named["verify"] = links.issue(dora, links.VERIFY_EMAIL)
        self.named["verified"] = links.issue(bob, links.VERIFY_EMAIL)
        links.redeem(self.named["verified"], links.VERIFY_EMAIL)
        self.named["withdrawn"] = links.issue(bob, links.RESET_PASSWORD)
        self.named["reset"] = links.issue(alice, links.RESET_PASSWORD)
        links.withdraw(bob.id, links.RESET_PASSWORD)
        with time_machine.travel(clock.now() - timedelta(days=2)):
            self.named["reset.old"] = links.issue(carol, links.RESET_PASSWORD)
        self.named["change"] = links.issue(alice, links.CHANGE_EMAIL, email=FREE)
        self.named["taken"] = links.issue(bob, links.CHANGE_EMAIL, email=ALICE)

    def _sign_in(self, name: str, user: User, *, age: timedelta = timedelta(0)) -> Session:
        session = sessions.start(user, Client("192.0.2.1", "a browser"))
        session.rotated_at -= age
        self._name(name, user, session)
        return session

    def _name(self, name: str, user: User, session: Session) -> None:
        pair = tokens.pair(user, session)
        self.named[f"{name}.access"], self.named[f"{name}.refresh"] = pair.access_token, pair.refresh_token
        self.named[f"{name}.sid"] = str(session.id)
        self.named[f"{name}.csrf_access"] = cookies.csrf_token(tokens.ACCESS, session.id)
        self.named[f"{name}.csrf_refresh"] = cookies.csrf_token(tokens.REFRESH, session.id)


def damaged(text: str, number: int) -> str:
    """Give a text with one character changed, left out or put in: which one, and how, is in the number."""
    place, how = number % (len(text) or 1), number // (len(text) or 1) % 3
    if how == 1:
        return text[:place] + text[place + 1 :]
    other = _ALPHABET[(_ALPHABET.find(text[place : place + 1]) + 1) % len(_ALPHABET)]
    return text[:place] + other + text[place + (how == 0) :]


def _add(email: str, password: str = PASSWORD, *, is_verified: bool = True, **more: Any) -> User:
    """Add an account without asking whether its password is a good one, which takes the most time."""
    user = User(email=email, password_hash=_hash(password), is_verified=is_verified, **more)
    db.session.add(user)
    db.session.flush()
    return user


@cache
def _hash(password: str) -> str:
    return generate_password_hash(password, method=FAST_PASSWORD_HASH)
