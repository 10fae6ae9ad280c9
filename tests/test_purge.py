"""Purging: what is past its time is deleted, and nothing else."""

import uuid
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import pytest
import time_machine
from flask import Flask
from sqlalchemy import func, select

from authapp import addresses, clock, database, purge, tokens, users
from authapp.extensions import Model, db
from authapp.mail.models import OutboxMessage
from authapp.models import Link, RevokedToken, Session, User
from tests.factories import ALICE, BOB, Api, claims, data, mailed_token, mails, make_user, refusal
from tests.statements import heard, just_before

START = datetime(2031, 3, 1, 12, tzinfo=UTC)
NOTHING = dict.fromkeys(("sessions", "revoked tokens", "known networks", "links", "sent mails", "mail requests"), 0)


@pytest.fixture
def now(app: Flask) -> Iterator[time_machine.Traveller]:
    """The clock, which stands still until it is moved."""
    with time_machine.travel(START, tick=False) as traveller:
        yield traveller


def purged(app: Flask) -> dict[str, int]:
    """Purge, and give what that says it deleted, leaving out what it had none of."""
    with app.app_context():
        numbers = purge.run()
        assert list(numbers) == list(NOTHING)
        return {what: number for what, number in numbers.items() if number}


def count(app: Flask, model: type[Model]) -> int:
    with app.app_context():
        return db.session.scalar(select(func.count()).select_from(model)) or 0


def revoke(app: Flask, token: str) -> None:
    """Put one token on record as dead, while its session lives on."""
    with app.app_context():
        tokens.revoke(tokens.read(token, type=tokens.ACCESS))
        database.commit()


def send(app: Flask, number: int) -> None:
    """Mark this many mails as sent now."""
    with app.app_context():
        for message in db.session.scalars(select(OutboxMessage).order_by(OutboxMessage.id).limit(number)):
            message.sent_at, message.due_at = clock.now(), None
        database.commit()


def test_nothing_to_purge_is_no_error(app: Flask):
    assert purged(app) == {}


def test_session_past_its_absolute_end_is_deleted(app: Flask, api: Api, now: time_machine.Traveller):
    make_user(app)
    api.log_in()
    now.shift(timedelta(days=app.config["SESSION_MAX_DAYS"]))
    later = api.log_in()
    assert purged(app) == {}
    now.shift(timedelta(seconds=tokens.LEEWAY_SECONDS + 1))
    assert purged(app) == {"sessions": 1}
    assert purged(app) == {}
    data(api.get("/me", token=later["access_token"]))
    assert count(app, User) == 1


def test_session_that_is_refreshed_until_the_end_lives_until_the_end(app: Flask, api: Api, now: time_machine.Traveller):
    make_user(app)
    pair = api.log_in()
    for _ in range(app.config["SESSION_MAX_DAYS"] - 1):
        now.shift(timedelta(days=1))
        purged(app)
        pair = data(api.refresh(pair["refresh_token"]))
    now.shift(timedelta(days=1, seconds=tokens.LEEWAY_SECONDS + 1))
    # Its last refresh token was put on record by nobody: the session ended by itself.
    assert purged(app)["sessions"] == 1


def test_ended_session_is_deleted_once_its_tokens_have_expired(app: Flask, api: Api, now: time_machine.Traveller):
    make_user(app)
    ended, living = api.log_in(), api.log_in()
    data(api.post("/logout", token=ended["access_token"]))
    now.shift(timedelta(days=app.config["REFRESH_TOKEN_EXPIRE_DAYS"], seconds=tokens.LEEWAY_SECONDS - 1))
    purged(app)
    assert count(app, Session) == 2
    assert refusal(api.refresh(ended["refresh_token"])) == (401, "TOKEN_REVOKED")
    now.shift(2)
    assert purged(app)["sessions"] == 1
    assert refusal(api.refresh(ended["refresh_token"])) == (401, "TOKEN_EXPIRED")
    with app.app_context():
        assert db.session.scalars(select(Session.id)).all() == [uuid.UUID(claims(living["access_token"])["sid"])]


def test_record_of_a_revoked_token_stays_as_long_as_the_token_is_read(
    app: Flask, api: Api, now: time_machine.Traveller
):
    make_user(app)
    pair = api.log_in()
    revoke(app, pair["access_token"])
    # A token is taken for some seconds past its time, since clocks differ: so long its record has to stay.
    now.shift(timedelta(minutes=app.config["ACCESS_TOKEN_EXPIRE_MINUTES"], seconds=tokens.LEEWAY_SECONDS - 1))
    assert purged(app) == {}
    assert refusal(api.get("/me", token=pair["access_token"])) == (401, "TOKEN_REVOKED")
    now.shift(2)
    assert purged(app) == {"revoked tokens": 1}
    assert refusal(api.get("/me", token=pair["access_token"])) == (401, "TOKEN_EXPIRED")
    data(api.refresh(pair["refresh_token"]))


def test_link_is_deleted_a_week_after_it_expired(app: Flask, api: Api, now: time_machine.Traveller):
    api.register()
    token = mailed_token(app)
    now.shift(timedelta(hours=app.config["AUTH_VERIFY_LINK_HOURS"], days=7))
    api.register(BOB)
    assert purged(app) == {}
    assert refusal(api.post("/verify-email", {"token": token})) == (400, "LINK_EXPIRED")
    now.shift(1)
    assert purged(app) == {"links": 1}
    data(api.post("/verify-email", {"token": mailed_token(app)}))


def test_sent_mail_is_deleted_after_a_week_and_a_waiting_one_never(app: Flask, api: Api, now: time_machine.Traveller):
    api.register()
    api.register(BOB)
    send(app, 1)
    now.shift(timedelta(days=7))
    assert purged(app) == {}
    now.shift(1)
    assert purged(app) == {"sent mails": 1}
    assert [message.to for message in mails(app)] == [BOB]
    now.shift(timedelta(days=365))
    assert purged(app) == {"links": 2}
    assert [message.to for message in mails(app)] == [BOB]


def test_living_things_stay(app: Flask, api: Api, now: time_machine.Traveller):
    make_user(app)
    api.register(BOB)
    pair = api.log_in()
    ended = api.log_in()
    data(api.post("/logout", token=ended["access_token"]))
    send(app, 1)
    kinds = (User, Session, RevokedToken, Link, OutboxMessage)
    before = [count(app, kind) for kind in kinds]
    assert all(before)
    assert purged(app) == {}
    assert [count(app, kind) for kind in kinds] == before
    data(api.get("/me", token=pair["access_token"]))
    assert refusal(api.get("/me", token=ended["access_token"])) == (401, "TOKEN_REVOKED")
    data(api.post("/verify-email", {"token": mailed_token(app)}))


def test_everything_is_deleted_in_batches_that_are_transactions_of_their_own(
    app: Flask, api: Api, now: time_machine.Traveller, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(purge, "_BATCH", 2)
    for number in range(5):
        api.register(f"user{number}@example.org")
    for user in mails(app):
        with app.app_context():
            found = users.find(user.to)
            assert found is not None
            addresses.verify(found)
            database.commit()
        data(api.post("/logout", token=api.log_in(user.to)["access_token"]))
    send(app, 5)
    now.shift(timedelta(days=365))
    make_user(app)
    pair = api.log_in()
    # Each logout put an access and a refresh token on record.
    with heard(app) as statements:
        rest = {"known networks": 5, "links": 5, "sent mails": 5}
        assert purged(app) == {"sessions": 5, "revoked tokens": 10, **rest}
    assert sum(statement.startswith("SELECT") for statement in statements) == 4 + 1 + 6 + 4 + 4 + 4 + 1
    data(api.get("/me", token=pair["access_token"]))
    assert count(app, User) == 6


def test_what_came_back_to_life_meanwhile_is_not_deleted(app: Flask, api: Api, now: time_machine.Traveller):
    api.register()
    now.shift(timedelta(days=30))
    # The mail that replaces an expired link keeps its row.
    with just_before(app, "DELETE FROM auth_link", lambda: api.post("/resend-verification", {"email": ALICE})):
        assert purged(app) == {}
    data(api.post("/verify-email", {"token": mailed_token(app)}))


def test_mail_that_was_given_up_is_deleted_a_week_after_it_was_written(
    app: Flask, api: Api, now: time_machine.Traveller
):
    """Its link is dead by then, but it has an address in it, and nobody will try it again."""
    api.register()
    with app.app_context():
        (mail,) = db.session.scalars(select(OutboxMessage))
        mail.attempts = 100
        database.commit()
    now.shift(timedelta(days=7))
    assert purged(app) == {}
    now.shift(1)
    assert purged(app) == {"sent mails": 1}


def test_purge_rests_after_each_batch(
    app: Flask, api: Api, now: time_machine.Traveller, monkeypatch: pytest.MonkeyPatch
):
    rests: list[float] = []
    monkeypatch.setattr(purge, "_BATCH", 2)
    monkeypatch.setattr("authapp.purge.time.sleep", rests.append)
    for number in range(5):
        api.register(f"user{number}@example.org")
    now.shift(timedelta(days=30))
    assert purged(app) == {"links": 5}
    assert len(rests) == 3
