"""Requests whose account disappears, or is made, between two of their statements.

On SQLite nobody else can write once a request has begun to, so there the other comes before its first write.
"""

from collections.abc import Callable

import pytest
from flask import Flask

from authapp import addresses, database, users
from tests.factories import ALICE, PASSWORD, Api, data, mailed_token, make_user, refusal, user_of
from tests.statements import just_before


def deleting_alice(app: Flask) -> Callable[[], None]:
    def delete() -> None:
        with app.app_context():
            user = users.find(ALICE)
            assert user is not None
            users.delete(user)
            database.commit()

    return delete


def is_sqlite(app: Flask) -> bool:
    return str(app.config["DATABASE_URL"]).startswith("sqlite")


# Where the answer to a request for a mail takes SQLite's one lock.
FIRST_WRITE = "DELETE FROM auth_mail_request"
LOAD_USER = "SELECT auth_user.id, auth_user.email, auth_user.password_hash"


@pytest.mark.parametrize("statement", [LOAD_USER, "UPDATE auth_user"])
def test_profile_of_an_account_that_is_gone_cannot_be_changed(app: Flask, api: Api, statement: str):
    make_user(app)
    token = api.log_in()["access_token"]
    with just_before(app, statement, deleting_alice(app)):
        assert refusal(api.patch("/me", {"name": "Alice"}, token=token)) == (401, "TOKEN_INVALID")


def test_account_deleted_while_its_link_is_redeemed_is_not_verified(app: Flask, api: Api):
    data(api.register(), 201)
    token = mailed_token(app)
    with just_before(app, "UPDATE auth_link", deleting_alice(app)):
        assert refusal(api.post("/verify-email", {"token": token})) == (400, "LINK_INVALID")


def test_account_deleted_while_its_link_is_sent_again_tells_nothing(app: Flask, api: Api):
    statement = FIRST_WRITE if is_sqlite(app) else "INSERT INTO auth_link"
    make_user(app, is_verified=False)
    with just_before(app, statement, deleting_alice(app)):
        data(api.post("/resend-verification", {"email": ALICE}), 202)


def test_of_two_first_links_at_once_the_later_works(app: Flask, api: Api):
    statement = FIRST_WRITE if is_sqlite(app) else "INSERT INTO auth_link"
    make_user(app, is_verified=False)

    def send_one() -> None:
        with app.app_context():
            user = users.find(ALICE)
            assert user is not None
            addresses.send_verification(user)
            database.commit()

    with just_before(app, statement, send_one):
        data(api.post("/resend-verification", {"email": ALICE}), 202)
    assert refusal(api.post("/verify-email", {"token": mailed_token(app, 0)})) == (400, "LINK_INVALID")
    data(api.post("/verify-email", {"token": mailed_token(app, 1)}))
    assert user_of(app).is_verified


def test_login_of_an_account_that_disappears_is_refused_like_any_other(app: Flask, api: Api):
    make_user(app)
    with just_before(app, "INSERT INTO auth_session", deleting_alice(app)):
        answer = api.post("/login", {"email": ALICE, "password": PASSWORD})
    assert refusal(answer) == (401, "INVALID_CREDENTIALS")


def test_account_that_two_delete_at_once_is_deleted(app: Flask):
    make_user(app)
    with just_before(app, "DELETE FROM auth_user", deleting_alice(app)):
        done = app.test_cli_runner().invoke(args=["auth", "delete-user", ALICE, "--yes"])
    assert done.exit_code == 0
