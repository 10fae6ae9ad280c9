"""Where mailed links point to, and what the rules behind them keep."""

import pytest
from flask import Flask

from authapp import database, links, users
from authapp.errors import LinkInvalidError
from authapp.mail import outbox
from authapp.models import User
from tests.conftest import MakeApp
from tests.factories import ALICE, BOB, Api, data, mailed_token, mails, make_user


def mailed_link(app: Flask) -> str:
    (link,) = outbox.links_of(mails(app)[-1])
    return link


def test_link_points_below_the_public_address(make_app: MakeApp):
    app = make_app(AUTH_PUBLIC_URL="https://auth.example.com/")
    data(Api(app).register(), 201)
    assert mailed_link(app).startswith("https://auth.example.com/api/auth/verify-email?token=")


def test_link_never_follows_the_host_header(app: Flask, api: Api):
    evil = {"Host": "evil.example", "X-Forwarded-Host": "evil.example", "Forwarded": "host=evil.example"}
    data(api.post("/register", {"email": ALICE, "password": "violet-tractor-19-sings"}, headers=evil), 201)
    data(api.post("/resend-verification", {"email": ALICE}, headers=evil), 202)
    assert len(mails(app)) == 2
    for mail in mails(app):
        assert "evil" not in mail.text + mail.html
        assert outbox.links_of(mail)[0].startswith("http://127.0.0.1:8000/api/auth/")


def test_link_follows_the_prefix(make_app: MakeApp):
    app = make_app(AUTH_URL_PREFIX="/auth")
    data(Api(app).register(), 201)
    assert mailed_link(app).startswith("http://127.0.0.1:8000/auth/verify-email?token=")


def test_link_points_to_the_operators_own_page(make_app: MakeApp):
    app = make_app(AUTH_VERIFY_URL="https://app.example.com/#/verify/{token}?token={token}")
    data(Api(app).register(), 201)
    address, _, token = mailed_link(app).partition("token=")
    assert address == f"https://app.example.com/#/verify/{token}?"
    data(Api(app).post("/verify-email", {"token": token}))


def test_token_needs_no_encoding_in_an_address(app: Flask, api: Api):
    api.register()
    assert set(mailed_token(app)) <= set("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_.")


def test_link_is_used_up_by_whoever_comes_first(app: Flask):
    make_user(app)
    with app.app_context():
        token = links.issue(users.find(ALICE) or User(), links.VERIFY_EMAIL)
        database.commit()
        assert links.redeem(token, links.VERIFY_EMAIL).again is False
        database.commit()
        redeemed = links.redeem(token, links.VERIFY_EMAIL)
    assert (redeemed.again, redeemed.email) == (True, ALICE)


def test_link_issued_anew_is_unused_again(app: Flask):
    make_user(app)
    with app.app_context():
        user = users.find(ALICE) or User()
        first = links.issue(user, links.VERIFY_EMAIL)
        links.redeem(first, links.VERIFY_EMAIL)
        second = links.issue(user, links.VERIFY_EMAIL)
        with pytest.raises(LinkInvalidError):
            links.redeem(first, links.VERIFY_EMAIL)
        assert links.redeem(second, links.VERIFY_EMAIL).again is False


def test_links_of_two_people_do_not_touch(app: Flask):
    make_user(app)
    make_user(app, BOB)
    with app.app_context():
        alice = links.issue(users.find(ALICE) or User(), links.VERIFY_EMAIL)
        bob = links.issue(users.find(BOB) or User(), links.VERIFY_EMAIL)
        database.commit()
        assert links.redeem(bob, links.VERIFY_EMAIL).email == BOB
        assert links.redeem(alice, links.VERIFY_EMAIL).email == ALICE
