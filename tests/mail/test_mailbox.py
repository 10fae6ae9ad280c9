"""The development mailbox: the mails, for whoever sits at this machine and for nobody else."""

import html
import re
import uuid
from datetime import UTC, datetime, timedelta

import pytest
import time_machine
from flask import Flask
from werkzeug.test import TestResponse

from authapp import database
from authapp.mail import outbox
from tests.conftest import MakeApp
from tests.factories import ALICE, BOB, Api, data, mails, refusal, user_of
from tests.mail.conftest import PRODUCTION

NOT_THERE = (404, "NOT_FOUND")
HOSTILE = "</pre><script>alert('x')</script><a href=\"javascript:alert(1)\">&amp;"


def look(
    app: Flask, path: str = "", *, address: str = "127.0.0.1", host: str = "127.0.0.1:8000", **headers: str
) -> TestResponse:
    """Open the mailbox from an address, with a Host header; underscores of other headers are hyphens."""
    sent = {"Host": host, **{name.replace("_", "-"): value for name, value in headers.items()}}
    return app.test_client().get(f"/dev/mailbox{path}", environ_overrides={"REMOTE_ADDR": address}, headers=sent)


def hrefs(page: TestResponse) -> list[str]:
    """Give the links of the mails' texts."""
    return [html.unescape(found) for found in re.findall(r'<a href="([^"]*)" rel', page.text)]


def test_page_shows_the_newest_mail_first_with_links_to_click(app: Flask, api: Api):
    for address in (ALICE, BOB):
        data(api.register(address), 201)
    page = look(app)
    assert (page.status_code, page.mimetype) == (200, "text/html")
    assert page.text.index(BOB) < page.text.index(ALICE)
    first, second = mails(app)
    assert hrefs(page) == [*outbox.links_of(second), *outbox.links_of(first)]


def test_text_of_a_mail_stands_there_once_with_its_link_in_its_place(app: Flask, api: Api):
    data(api.register(), 201)
    (mail,) = mails(app)
    (shown,) = re.findall(r"<pre>(.*?)</pre>", look(app).text, re.DOTALL)
    assert html.unescape(re.sub(r"<[^>]*>", "", shown)) == mail.text
    assert f'<a href="{outbox.links_of(mail)[0]}"' in html.unescape(shown)


def test_mail_can_be_looked_at_as_html_which_may_do_nothing(app: Flask, api: Api):
    data(api.register(), 201)
    (path,) = re.findall(r'<a href="/dev/mailbox(/[^"]*)">As HTML</a>', look(app).text)
    page = look(app, path)
    assert (page.status_code, page.mimetype, page.text) == (200, "text/html", mails(app)[0].html)
    policy = page.headers["Content-Security-Policy"].split("; ")
    assert {"default-src 'none'", "style-src 'unsafe-inline'", "sandbox", "frame-ancestors 'none'"} <= set(policy)
    assert page.headers["Cache-Control"] == "no-store"
    assert page.headers["X-Content-Type-Options"] == "nosniff"
    assert refusal(look(app, path, address="192.0.2.7")) == NOT_THERE
    assert refusal(look(app, path, host="evil.example")) == NOT_THERE
    assert refusal(look(app, path, X_Forwarded_For="127.0.0.1")) == NOT_THERE
    assert refusal(look(app, f"/{uuid.uuid4()}")) == NOT_THERE


def test_link_from_the_page_verifies(app: Flask, api: Api):
    data(api.register(), 201)
    (link,) = hrefs(look(app))
    data(api.post("/verify-email", {"token": link.partition("token=")[2]}))
    assert user_of(app).is_verified


def test_newest_mail_is_first_within_the_same_millisecond(app: Flask, api: Api):
    """Mails have no other order than that of their ids."""
    people = [f"person-{number}@example.org" for number in range(5)]
    with time_machine.travel(datetime(2026, 3, 1, 12, tzinfo=UTC), tick=False):
        for address in people:
            data(api.register(address), 201)
    listed = look(app, Accept="application/json").json
    assert listed is not None
    assert [mail["to"] for mail in listed] == people[::-1]


def test_list_has_every_field(app: Flask, api: Api):
    with time_machine.travel(datetime(2026, 3, 1, 12, tzinfo=UTC), tick=False) as clock:
        data(api.register(name="Alice"), 201)
        clock.shift(timedelta(seconds=1.5))
        data(api.register(BOB), 201)
    listed = look(app, Accept="application/json")
    assert (listed.status_code, listed.mimetype) == (200, "application/json")
    first, second = mails(app)
    assert listed.json == [
        {
            "id": str(mail.id),
            "to": to,
            "subject": "Please verify your e-mail address",
            "text": mail.text,
            "html": mail.html,
            "links": outbox.links_of(mail),
            "created_at": created_at,
        }
        for mail, to, created_at in [
            (second, BOB, "2026-03-01T12:00:01.500Z"),
            (first, ALICE, "2026-03-01T12:00:00.000Z"),
        ]
    ]
    assert all(len(mail["links"]) == 1 for mail in listed.json)


@pytest.mark.parametrize(
    ("accept", "kind"),
    [
        ("text/html,application/xhtml+xml,*/*;q=0.8", "text/html"),
        ("*/*", "text/html"),
        ("application/json, text/html;q=0.5", "application/json"),
    ],
)
def test_browser_gets_the_page_and_a_program_the_list(app: Flask, accept: str, kind: str):
    assert look(app, Accept=accept).mimetype == kind


def test_empty_mailbox_says_so(app: Flask):
    assert "No mail yet." in look(app).text
    assert look(app, Accept="application/json").json == []


@pytest.mark.parametrize(
    ("address", "host"),
    [
        ("127.0.0.1", "127.0.0.1:8000"),
        ("127.0.0.1", "localhost:8000"),
        ("127.0.0.1", "localhost"),
        ("127.8.9.10", "127.8.9.10:8000"),
        ("::1", "[::1]:8000"),
        ("::1", "[::1]"),
        ("::1", "localhost:8000"),
        ("::ffff:127.0.0.1", "localhost:8000"),
    ],
)
def test_this_machine_is_let_in(app: Flask, address: str, host: str):
    assert look(app, address=address, host=host).status_code == 200


@pytest.mark.parametrize("address", ["192.0.2.7", "10.0.0.1", "0.0.0.0", "2001:db8::1", "::ffff:192.0.2.7", "::", ""])
def test_another_machine_finds_nothing(app: Flask, api: Api, address: str):
    data(api.register(), 201)
    answer = look(app, address=address)
    assert refusal(answer) == NOT_THERE
    assert ALICE not in answer.text


@pytest.mark.parametrize(
    "header", ["X_Forwarded_For", "X_Forwarded_Host", "X_Forwarded_Proto", "X_Real_IP", "Forwarded", "Via"]
)
def test_who_comes_through_a_proxy_finds_nothing(app: Flask, header: str):
    assert refusal(look(app, **{header: "127.0.0.1"})) == NOT_THERE


def test_proxy_that_is_trusted_opens_nothing(make_app: MakeApp):
    assert refusal(look(make_app(TRUSTED_PROXIES=1), X_Forwarded_For="127.0.0.1")) == NOT_THERE


@pytest.mark.parametrize(
    "host",
    [
        "evil.example",
        "evil.example:8000",
        "127.0.0.1.evil.example",
        "localhost.evil.example",
        "127.0.0.1@evil.example",
        "192.0.2.7:8000",
        "[2001:db8::1]:8000",
        "[::1",
        "localhost:8000:9000",
    ],
)
def test_page_of_a_stranger_that_had_its_name_rebound_finds_nothing(app: Flask, host: str):
    """A browser on this machine would send such a request, and let the stranger's page read the answer."""
    answer = look(app, host=host)
    assert answer.status_code in (400, 404)
    refusal(answer)


def test_production_has_no_mailbox(make_app: MakeApp):
    assert refusal(look(make_app(**PRODUCTION))) == NOT_THERE
    assert refusal(look(make_app(**PRODUCTION), f"/{uuid.uuid4()}")) == NOT_THERE


def test_hostile_mail_stays_text(app: Flask):
    with app.app_context():
        outbox.queue("verify_email", to=ALICE, subject=HOSTILE, link=HOSTILE, hours=24)
        database.commit()
    page = look(app)
    assert html.unescape(page.text).count(HOSTILE) == 2
    assert "<script" not in page.text
    assert page.text.count("</pre>") == 1
    assert not any(href.startswith("javascript") for href in hrefs(page))


def test_page_may_load_and_run_nothing(app: Flask):
    answer = look(app)
    policy = answer.headers["Content-Security-Policy"]
    assert "default-src 'none'" in policy
    assert "frame-ancestors 'none'" in policy
    assert "script-src" not in policy
    assert answer.headers["Cache-Control"] == "no-store"
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
    assert answer.headers["Referrer-Policy"] == "no-referrer"


def test_list_is_for_no_other_origin(app: Flask):
    answer = look(app, Accept="application/json", Origin="https://evil.example")
    assert "Access-Control-Allow-Origin" not in answer.headers
    assert answer.headers["Content-Security-Policy"].startswith("default-src 'none'")


def test_mailbox_is_only_looked_at(app: Flask):
    assert refusal(app.test_client().post("/dev/mailbox")) == (405, "METHOD_NOT_ALLOWED")
