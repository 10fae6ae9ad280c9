"""For the tests of a host application: settings, accounts, clients that are logged in, and the mails that were sent.

`pytest_plugins = ["authapp.testing"]` in the top `conftest.py` brings the fixtures, which ask for a fixture `app` of
the host's own, as pytest-flask does; whatever else runs the tests calls the functions. No server is needed.

PYTEST_DONT_REWRITE: else pytest warns where `conftest.py` imports `TEST_SETTINGS` from here too.
"""

from collections.abc import Callable, Iterator, Sequence
from typing import Any, TypeAlias, overload

import pytest
from flask import Flask
from flask.testing import FlaskClient
from sqlalchemy import delete, inspect, select

from authapp import database, signin, users
from authapp.clients import Client
from authapp.extensions import db
from authapp.mail import outbox
from authapp.mail.models import OutboxMessage
from authapp.models import User

# A hash that costs next to nothing, for tests only.
FAST_PASSWORD_HASH = "scrypt:128:1:1"  # noqa: S105  # A method, not a password.
TEST_SETTINGS: dict[str, object] = {
    "APP_ENV": "development",
    "TESTING": True,
    "SECRET_KEY": "a secret for tests that nobody should use anywhere else",
    "AUTH_PASSWORD_HASH": FAST_PASSWORD_HASH,
    "RATELIMIT_ENABLED": False,
}
"""What an application under test is made with; `DATABASE_URL` or a database of its own comes beside it."""

EMAIL = "alice@example.org"
PASSWORD = "violet-tractor-19-sings"  # noqa: S105  # Of accounts that no server knows.

_MAY_EMPTY = "authapp_tests_may_empty_database"

MakeUser: TypeAlias = Callable[..., User]
LogIn: TypeAlias = Callable[[User], FlaskClient]


def add_user(app: Flask, email: str = EMAIL, password: str = PASSWORD, **fields: Any) -> User:
    """Make an account, its address verified unless told otherwise, and give the user as it was saved.

    Takes what `users.create_user` does, raises what that raises, and sends the signals that it sends.
    """
    with app.app_context():
        user = users.create_user(email, password, **{"is_verified": True, **fields})
        database.commit()
        return _as_saved(user)


def client_of(app: Flask, user: User) -> FlaskClient:
    """Give a test client that is logged in as this user: a session of its own, real tokens, no password asked.

    Each of its requests carries the access token.
    """
    with app.app_context():
        pair = signin.sign_in(db.session.get_one(User, user.id), Client(user_agent="test client"))
        database.commit()
    client = app.test_client()
    client.environ_base["HTTP_AUTHORIZATION"] = f"Bearer {pair.access_token}"
    return client


def mails(app: Flask) -> list[OutboxMessage]:
    """Give the mails that were written, oldest first, each with `to`, `subject`, `text` and `html`.

    Not those of `MAIL_DELIVERY=inline`, which are nowhere but on their way.
    """
    with app.app_context():
        found = list(db.session.scalars(select(OutboxMessage).order_by(OutboxMessage.id)))
        db.session.expunge_all()
        return found


def mailed_token(mail: OutboxMessage) -> str:
    """Give the token of the link in a mail."""
    (link,) = outbox.links_of(mail)
    return link.partition("token=")[2]


def empty_tables(app: Flask) -> None:
    """Delete every row of every table of the application's, children first; tables that do not exist are no error."""
    with app.app_context():
        existing = inspect(db.engine).get_table_names()
        for table in reversed(app.extensions["sqlalchemy"].metadata.sorted_tables):
            if table.name in existing:
                db.session.execute(delete(table))
        db.session.commit()


class MailOutbox(Sequence[OutboxMessage]):
    """The mails of an application, as they are when they are looked at."""

    def __init__(self, app: Flask) -> None:
        self._app = app

    def __len__(self) -> int:
        return len(mails(self._app))

    @overload
    def __getitem__(self, which: int) -> OutboxMessage: ...

    @overload
    def __getitem__(self, which: slice) -> list[OutboxMessage]: ...

    def __getitem__(self, which: int | slice) -> OutboxMessage | list[OutboxMessage]:
        return mails(self._app)[which]

    def token(self, to: str | None = None) -> str:
        """Give the token of the link in the newest mail, or in the newest one to this address."""
        return mailed_token([mail for mail in self if to in (None, mail.to)][-1])


@pytest.fixture
def empty_database(app: Flask) -> Iterator[None]:
    """Leave no row behind when the test is over; the other fixtures ask for it.

    A database that has rows before the first test may be the one that somebody works with: then the test fails, and
    nothing is deleted, unless `app.config["TESTS_MAY_EMPTY_DATABASE"]` is true.
    """
    if not app.extensions.get(_MAY_EMPTY):
        if not app.config.get("TESTS_MAY_EMPTY_DATABASE") and (filled := _filled_table(app)):
            pytest.fail(_refusal(app, filled), pytrace=False)
        app.extensions[_MAY_EMPTY] = True
    yield
    empty_tables(app)


@pytest.fixture
def make_user(app: Flask, empty_database: None) -> MakeUser:
    """Make an account: `make_user()`, `make_user("carol@example.org", role="admin")`; see `add_user`."""
    return lambda *args, **kwargs: add_user(app, *args, **kwargs)


@pytest.fixture
def log_in(app: Flask, empty_database: None) -> LogIn:
    """Give a test client that is logged in: `log_in(make_user()).get("/")`; see `client_of`."""
    return lambda user: client_of(app, user)


@pytest.fixture
def mailoutbox(app: Flask, empty_database: None) -> MailOutbox:
    """The mails that were sent: `len(mailoutbox)`, `mailoutbox[-1].subject`, `mailoutbox.token()`."""
    return MailOutbox(app)


def _filled_table(app: Flask) -> str | None:
    """Give the name of a table that has rows, of those that would be emptied."""
    with app.app_context():
        existing = inspect(db.engine).get_table_names()
        tables = [table for table in app.extensions["sqlalchemy"].metadata.sorted_tables if table.name in existing]
        filled = (table.name for table in tables if db.session.execute(select(table).limit(1)).first())
        return next(filled, None)


def _refusal(app: Flask, table: str) -> str:
    with app.app_context():
        database = db.engine.url.render_as_string(hide_password=True)
    return (
        f"These tests would delete every row of {database}, where {table} has some: give them a database of their own, "
        "as docs/embed.md shows, or set TESTS_MAY_EMPTY_DATABASE in app.config."
    )


def _as_saved(user: User) -> User:
    """Load what the commit may have expired, for whoever reads it when the session is over."""
    db.session.refresh(user)
    db.session.expunge(user)
    return user
