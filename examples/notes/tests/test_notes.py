"""Notes, tested through HTTP as its users use it."""

import logging

import pytest
from flask import Flask
from flask.testing import FlaskClient
from notes import MOST_CHARACTERS

from authapp.testing import PASSWORD, LogIn, MailOutbox, MakeUser

WELCOME = "Welcome! This is your first note."


@pytest.fixture
def alice(make_user: MakeUser, log_in: LogIn) -> FlaskClient:
    """A client that is logged in as Alice."""
    return log_in(make_user("alice@example.org", name="Alice"))


@pytest.fixture
def bob(make_user: MakeUser, log_in: LogIn) -> FlaskClient:
    """A client that is logged in as Bob."""
    return log_in(make_user("bob@example.org"))


def texts(client: FlaskClient) -> list[str]:
    return [note["text"] for note in client.get("/notes").get_json()["notes"]]


def test_everybody_has_their_own_notes(alice: FlaskClient, bob: FlaskClient):
    assert alice.post("/notes", json={"text": "Buy milk"}).status_code == 201
    assert texts(alice) == [WELCOME, "Buy milk"]
    assert texts(bob) == [WELCOME]


def test_only_the_owner_deletes_a_note(alice: FlaskClient, bob: FlaskClient):
    note = alice.post("/notes", json={"text": "Buy milk"}).get_json()["id"]
    refused = bob.delete(f"/notes/{note}")
    assert refused.status_code == 404
    assert "No such note" in refused.text, "the application's own page"
    assert alice.delete(f"/notes/{note}").status_code == 204
    assert texts(alice) == [WELCOME]


@pytest.mark.parametrize("body", [{}, {"text": ""}, {"text": 7}, {"text": "x" * (MOST_CHARACTERS + 1)}, ["text"]])
def test_what_is_no_note_is_refused(alice: FlaskClient, body: object):
    assert alice.post("/notes", json=body).status_code == 400


def test_notes_need_a_login(client: FlaskClient):
    response = client.get("/notes")
    assert response.status_code == 401
    assert response.get_json()["error"]["code"] == "UNAUTHORIZED"


def test_front_page_knows_who_is_there(client: FlaskClient, alice: FlaskClient):
    assert "Hello, stranger." in client.get("/").text
    assert "Notes of Alice" in alice.get("/").text


def test_forms_tell_a_password_manager_which_password_is_meant(client: FlaskClient):
    register, log_in = client.get("/").text.split("<form")[1:]
    assert 'autocomplete="new-password"' in register
    assert 'autocomplete="current-password"' in log_in


def test_who_has_registered_is_led_to_the_mailbox(client: FlaskClient):
    said = client.get("/").text.partition('<template id="registered">')[2].partition("</template>")[0]
    assert '<a href="/dev/mailbox">' in said


def test_numbers_are_for_admins(make_user: MakeUser, log_in: LogIn, alice: FlaskClient):
    carol = log_in(make_user("carol@example.org", role="admin"))
    assert "2 users, 2 notes" in carol.get("/admin").text
    refused = alice.get("/admin")
    assert (refused.status_code, refused.mimetype) == (403, "text/html")
    assert "<h1>Not for you</h1>" in refused.text


@pytest.mark.parametrize("path", ["/", "/admin"])
def test_page_for_a_token_that_is_over_refreshes_it(client: FlaskClient, path: str):
    page = client.get(path, headers={"Authorization": "Bearer of-yesterday"})
    assert page.status_code == 401
    assert "data-refresh" in page.text


def test_from_registration_to_the_last_note(app: Flask, mailoutbox: MailOutbox):
    browser = app.test_client()
    account = {"email": "dora@example.org", "password": PASSWORD}
    assert browser.post("/api/auth/register", json=account).status_code == 201
    assert browser.post("/api/auth/verify-email", json={"token": mailoutbox.token()}).status_code == 200
    assert browser.post("/api/auth/login", json=account).status_code == 200
    assert WELCOME in browser.get("/").text
    csrf = {"X-CSRF-TOKEN": browser.get_cookie("csrf_access_token").value}
    assert browser.post("/notes", json={"text": "Buy milk"}).status_code == 403, "without the CSRF token"
    assert browser.post("/notes", json={"text": "Buy milk"}, headers=csrf).status_code == 201
    assert browser.post("/api/auth/logout", json={}, headers=csrf).status_code == 200
    assert "Hello, stranger." in browser.get("/").text


def test_notes_go_with_their_owner(
    alice: FlaskClient, make_user: MakeUser, log_in: LogIn, caplog: pytest.LogCaptureFixture
):
    carol = log_in(make_user("carol@example.org", role="admin"))
    with caplog.at_level(logging.WARNING):
        assert alice.delete("/api/auth/me", json={"password": PASSWORD}).status_code == 200
    assert "account_deleted" in caplog.text
    assert "1 users, 1 notes" in carol.get("/admin").text


def test_page_of_authapps_is_the_applications_own(client: FlaskClient):
    page = client.get("/api/auth/verify-email?token=from-the-mail")
    assert page.status_code == 200
    assert "Then you can write your notes." in page.text


def test_page_that_does_not_exist_is_the_applications_own(client: FlaskClient):
    assert "No such note" in client.get("/nothing").text
    assert client.get("/api/auth/nothing").get_json()["error"]["code"] == "NOT_FOUND"
