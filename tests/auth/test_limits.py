"""Limits: what may be tried how often, by whom, and that it is counted before it is tried."""

from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from typing import Any

import pymysql
import pytest
import time_machine
from sqlalchemy import select
from werkzeug.security import check_password_hash
from werkzeug.test import TestResponse

from authapp import passwords, users
from authapp.clients import Client
from authapp.errors import AuthError
from authapp.extensions import db
from authapp.models import KnownNetwork
from tests.conftest import MakeApp
from tests.factories import (
    ALICE,
    BOB,
    CAROL,
    OTHER_PASSWORD,
    PASSWORD,
    Api,
    data,
    mailed_token,
    mails,
    make_user,
    refusal,
    user_of,
)
from tests.statements import failing

LIMITED = (429, "RATE_LIMITED")
WRONG = (401, "INVALID_CREDENTIALS")
START = datetime(2031, 3, 1, 12, tzinfo=UTC)
HOME, STRANGER = "198.51.100.7", "203.0.113.9"


@pytest.fixture
def now() -> Iterator[time_machine.Traveller]:
    """The clock, which stands still until it is moved."""
    with time_machine.travel(START, tick=False) as traveller:
        yield traveller


@pytest.fixture
def limited(make_app: MakeApp) -> Api:
    """A client of a service with limits."""
    return Api(make_app(RATELIMIT_ENABLED=True))


def log_in(api: Api, email: str = ALICE, password: str = "wrong", ip: str = STRANGER) -> TestResponse:
    return api.post("/login", {"email": email, "password": password}, environ_base={"REMOTE_ADDR": ip})


def outcomes(send: Callable[[], TestResponse], times: int) -> list[int]:
    return [send().status_code for _ in range(times)]


def address(number: int) -> str:
    return f"192.0.2.{number}"


def test_eleventh_wrong_password_within_five_minutes_is_refused_and_says_how_long(
    limited: Api, now: time_machine.Traveller
):
    make_user(limited.app)
    for _ in range(10):
        assert refusal(log_in(limited)) == WRONG
        now.shift(timedelta(seconds=10))
    answer = log_in(limited)
    assert refusal(answer) == LIMITED
    assert answer.headers["Retry-After"] == "200"
    assert refusal(log_in(limited, password=PASSWORD)) == LIMITED
    now.shift(timedelta(seconds=200))
    assert refusal(log_in(limited)) == WRONG
    assert refusal(log_in(limited)) == LIMITED
    now.shift(timedelta(minutes=5))
    assert log_in(limited, password=PASSWORD).status_code == 200


def test_an_account_that_nobody_has_is_limited_in_the_same_way(limited: Api, now: time_machine.Traveller):
    make_user(limited.app)
    known, unknown = ([log_in(limited, who) for _ in range(11)] for who in (ALICE, BOB))
    assert [answer.data for answer in known] == [answer.data for answer in unknown]
    assert known[-1].headers["Retry-After"] == unknown[-1].headers["Retry-After"] == "300"


def test_every_spelling_of_an_address_counts_as_the_one_account(limited: Api, now: time_machine.Traveller):
    for spelling in (ALICE, ALICE.upper(), "Alice@Example.ORG", " alice@example.org"):
        outcomes(lambda spelling=spelling: log_in(limited, spelling), 5)  # type: ignore[misc]  # mypy/issues/12557
    assert refusal(log_in(limited)) == LIMITED


def test_other_clients_and_other_accounts_have_tries_of_their_own(limited: Api, now: time_machine.Traveller):
    make_user(limited.app)
    outcomes(lambda: log_in(limited), 11)
    assert refusal(log_in(limited, ip=HOME)) == WRONG
    assert refusal(log_in(limited, BOB)) == WRONG


def test_right_passwords_are_not_counted(limited: Api, now: time_machine.Traveller):
    make_user(limited.app)
    assert outcomes(lambda: log_in(limited, password=PASSWORD), 15) == [200] * 15


def test_right_password_of_a_disabled_account_is_no_failed_login(limited: Api, now: time_machine.Traveller):
    make_user(limited.app, is_verified=False)
    assert outcomes(lambda: log_in(limited, password=PASSWORD), 12) == [403] * 12


def test_form_login_shares_the_count_and_is_refused_in_its_own_form(limited: Api, now: time_machine.Traveller):
    outcomes(lambda: log_in(limited), 10)
    form = {"username": ALICE, "password": "wrong"}
    answer = limited.post("/login", data=form, environ_base={"REMOTE_ADDR": STRANGER})
    assert answer.status_code == 429
    assert answer.get_json()["error"] == "temporarily_unavailable"
    assert answer.headers["Retry-After"] == "300"


def test_client_that_tries_many_accounts_is_refused_after_a_hundred(limited: Api, now: time_machine.Traveller):
    tried = [log_in(limited, f"user{number}@example.org").status_code for number in range(101)]
    assert tried == [401] * 100 + [429]
    assert refusal(log_in(limited, "user7@example.org", ip=HOME)) == WRONG


def test_client_of_ipv6_is_its_network(limited: Api, now: time_machine.Traveller):
    for number in range(10):
        assert refusal(log_in(limited, ip=f"2001:db8:7:8:{number}::1")) == WRONG
    assert refusal(log_in(limited, ip="2001:db8:7:8:ffff::2")) == LIMITED
    assert refusal(log_in(limited, ip="2001:db8:7:9::1")) == WRONG
    assert refusal(log_in(limited, ip="::ffff:203.0.113.9")) == WRONG
    outcomes(lambda: log_in(limited), 9)
    assert refusal(log_in(limited, ip="::ffff:203.0.113.9")) == LIMITED


def test_account_that_many_clients_try_is_closed_to_strangers_and_open_to_its_owner(
    limited: Api, now: time_machine.Traveller
):
    make_user(limited.app)
    data(log_in(limited, password=PASSWORD, ip=HOME))
    tried = [log_in(limited, ip=address(number // 10)).status_code for number in range(110)]
    assert tried == [401] * 100 + [429] * 10
    assert refusal(log_in(limited, password=PASSWORD, ip=STRANGER)) == LIMITED
    data(log_in(limited, password=PASSWORD, ip=HOME))
    # Nor do the owner's own slips count there.
    assert refusal(log_in(limited, ip=HOME)) == WRONG
    now.shift(timedelta(hours=1, seconds=1))
    data(log_in(limited, password=PASSWORD, ip=STRANGER))


def test_network_is_known_for_thirty_days_after_the_last_login_from_there(limited: Api, now: time_machine.Traveller):
    make_user(limited.app)
    data(log_in(limited, password=PASSWORD, ip=HOME))
    now.shift(timedelta(days=20))
    data(log_in(limited, password=PASSWORD, ip=HOME))
    now.shift(timedelta(days=29))
    outcomes(lambda: log_in(limited), 10)
    for number in range(9):
        outcomes(lambda number=number: log_in(limited, ip=address(number)), 10)  # type: ignore[misc]  # mypy/issues/12557
    data(log_in(limited, password=PASSWORD, ip=HOME))
    with limited.app.app_context():
        seen = db.session.scalars(select(KnownNetwork)).all()
        assert [(known.network, known.seen_at) for known in seen] == [(HOME, START + timedelta(days=49))]
    now.shift(timedelta(days=30, seconds=1))
    for number in range(10):
        outcomes(lambda number=number: log_in(limited, ip=address(number)), 10)  # type: ignore[misc]  # mypy/issues/12557
    assert refusal(log_in(limited, password=PASSWORD, ip=HOME)) == LIMITED


def test_address_that_signed_in_to_another_account_is_a_stranger_to_this_one(limited: Api, now: time_machine.Traveller):
    make_user(limited.app)
    make_user(limited.app, BOB)
    data(log_in(limited, BOB, PASSWORD, ip=HOME))
    for number in range(10):
        outcomes(lambda number=number: log_in(limited, ip=address(number)), 10)  # type: ignore[misc]  # mypy/issues/12557
    assert refusal(log_in(limited, password=PASSWORD, ip=HOME)) == LIMITED


def test_of_fifty_wrong_passwords_at_once_ten_are_checked(limited: Api, monkeypatch: pytest.MonkeyPatch):
    make_user(limited.app)
    # Its own check of answers against the document is not for threads.
    refusal(log_in(limited, BOB))
    checked: list[str] = []

    def counting(password_hash: str, password: str) -> bool:
        checked.append(password)
        return check_password_hash(password_hash, password)

    monkeypatch.setattr(passwords, "check_password_hash", counting)
    with ThreadPoolExecutor(50) as threads:
        tried = Counter(threads.map(lambda _: log_in(limited).status_code, range(50)))
    assert tried == {401: 10, 429: 40}
    assert len(checked) == 10


def test_login_that_finds_the_server_busy_does_not_count(make_app: MakeApp, now: time_machine.Traveller):
    api = Api(make_app(RATELIMIT_ENABLED=True, AUTH_HASH_QUEUE=0))
    make_user(api.app)
    with api.app.app_context(), passwords.place():
        assert [refusal(log_in(api)) for _ in range(12)] == [(503, "SERVER_BUSY")] * 12
    assert outcomes(lambda: log_in(api), 11) == [401] * 10 + [429]


def test_try_that_is_one_too_many_for_the_account_does_not_wait_among_those_who_hash(
    make_app: MakeApp, now: time_machine.Traveller
):
    api = Api(make_app(RATELIMIT_ENABLED=True, AUTH_HASH_CONCURRENCY=1, AUTH_HASH_QUEUE=1))
    make_user(api.app)
    for number in range(10):
        outcomes(lambda number=number: log_in(api, ip=address(number)), 10)  # type: ignore[misc]  # mypy/issues/12557
    with api.app.app_context(), passwords.place():
        # Who waited would be told, after ten seconds, that the server is busy.
        assert refusal(log_in(api, ip=address(10))) == LIMITED


def test_twenty_registrations_an_hour_by_client(limited: Api, now: time_machine.Traveller):
    def register(number: int, ip: str = STRANGER, password: str = PASSWORD) -> TestResponse:
        body = {"email": f"user{number}@example.org", "password": password}
        return limited.post("/register", body, environ_base={"REMOTE_ADDR": ip})

    # One that is refused for its weak password is none.
    assert [register(0, password="password").status_code for _ in range(3)] == [422] * 3
    assert [register(number).status_code for number in range(10)] == [201] * 10
    # One that finds the address taken is one, or it would tell for nothing who has an account.
    assert [register(number).status_code for number in range(10)] == [409] * 10
    answer = register(99)
    assert refusal(answer) == LIMITED
    assert answer.headers["Retry-After"] == "3600"
    assert register(99, ip=HOME).status_code == 201
    now.shift(timedelta(hours=1))
    assert register(100).status_code == 201


@pytest.mark.parametrize("path", ["/forgot-password", "/password-reset/request", "/resend-verification"])
def test_mail_that_is_asked_for_again_within_a_minute_is_not_sent_and_the_answer_is_the_same(
    limited: Api, now: time_machine.Traveller, path: str
):
    make_user(limited.app, is_verified=False)
    first = limited.post(path, {"email": ALICE})
    token = mailed_token(limited.app)
    second = limited.post(path, {"email": ALICE.upper()})
    assert (first.status_code, first.data) == (second.status_code, second.data)
    assert first.status_code == 202
    assert len(mails(limited.app)) == 1
    # The link that was sent still works.
    if "verif" in path:
        data(limited.post("/verify-email", {"token": token}))
    else:
        data(limited.post("/reset-password", {"token": token, "new_password": OTHER_PASSWORD}))


def test_five_mails_a_day_to_a_recipient(limited: Api, now: time_machine.Traveller):
    make_user(limited.app)
    make_user(limited.app, BOB)
    for _ in range(7):
        assert limited.post("/forgot-password", {"email": ALICE}).status_code == 202
        now.shift(timedelta(minutes=1))
    assert len(mails(limited.app)) == 5
    limited.post("/forgot-password", {"email": BOB})
    assert len(mails(limited.app)) == 6
    now.shift(timedelta(days=1))
    limited.post("/forgot-password", {"email": ALICE})
    assert len(mails(limited.app)) == 7


def test_stranger_cannot_use_up_the_mails_of_an_owner(limited: Api, now: time_machine.Traveller):
    make_user(limited.app)
    data(log_in(limited, password=PASSWORD, ip=HOME))
    for _ in range(6):
        limited.post("/forgot-password", {"email": ALICE}, environ_base={"REMOTE_ADDR": STRANGER})
        now.shift(timedelta(minutes=1))
    assert len(mails(limited.app)) == 5
    limited.post("/forgot-password", {"email": ALICE}, environ_base={"REMOTE_ADDR": HOME})
    assert len(mails(limited.app)) == 6
    data(limited.post("/reset-password", {"token": mailed_token(limited.app), "new_password": OTHER_PASSWORD}))


def test_reset_makes_a_stranger_of_whoever_had_the_account(make_app: MakeApp, now: time_machine.Traveller):
    api = Api(make_app(RATELIMIT_ENABLED=True, AUTH_REQUIRE_VERIFIED_EMAIL=False))

    def ask(ip: str) -> None:
        now.shift(timedelta(minutes=1))
        api.post("/forgot-password", {"email": ALICE}, environ_base={"REMOTE_ADDR": ip})

    # A stranger registers the address, and signs in from wherever that is possible.
    api.register()
    for number in range(12):
        data(log_in(api, password=PASSWORD, ip=address(number)))
    ask(HOME)
    new = {"token": mailed_token(api.app), "new_password": OTHER_PASSWORD}
    data(api.post("/reset-password", new, environ_base={"REMOTE_ADDR": HOME}))
    before = len(mails(api.app))
    for _ in range(6):
        ask(address(1))
    assert len(mails(api.app)) < before + 6
    used_up = len(mails(api.app))
    ask(HOME)
    assert len(mails(api.app)) == used_up + 1
    tried = [log_in(api, ip=address(number)).status_code for number in range(12) for _ in range(10)]
    assert Counter(tried) == {401: 100, 429: 20}
    # Though the owner has not signed in from there before.
    data(log_in(api, password=OTHER_PASSWORD, ip=HOME))


def test_stranger_who_has_registered_an_address_cannot_fill_its_mailbox(make_app: MakeApp, now: time_machine.Traveller):
    api = Api(make_app(RATELIMIT_ENABLED=True, AUTH_REQUIRE_VERIFIED_EMAIL=False))
    for _ in range(6):
        token = data(api.register(), 201)["access_token"]
        data(api.delete("/me", json={"password": PASSWORD}, token=token))
    assert len(mails(api.app)) == 5
    token = data(api.register(), 201)["access_token"]
    for number in range(6):
        present, new = (PASSWORD, OTHER_PASSWORD)[:: -1 if number % 2 else 1]
        body = {"current_password": present, "new_password": new}
        token = data(api.post("/change-password", body, token=token))["access_token"]
    assert len(mails(api.app)) == 6
    for number in range(6):
        body = {"new_email": f"user{number}@example.org", "password": PASSWORD}
        data(api.post("/change-email", body, token=token), 202)
    assert [mail.to for mail in mails(api.app)].count(ALICE) == 7
    # Whoever has verified the address is told of everything.
    ask = api.post("/forgot-password", {"email": ALICE})
    assert ask.status_code == 202
    data(api.post("/reset-password", {"token": mailed_token(api.app), "new_password": OTHER_PASSWORD}))
    for number in range(3):
        present, new = (OTHER_PASSWORD, PASSWORD)[:: -1 if number % 2 else 1]
        token = api.log_in(password=present)["access_token"]
        data(api.post("/change-password", {"current_password": present, "new_password": new}, token=token))
    assert [mail.subject for mail in mails(api.app)[-3:]] == ["Your password has been changed"] * 3


def test_change_of_address_mails_one_recipient_once_a_minute(limited: Api, now: time_machine.Traveller):
    make_user(limited.app)
    token = log_in(limited, password=PASSWORD).get_json()["data"]["access_token"]

    def change(to: str) -> TestResponse:
        return limited.post("/change-email", {"new_email": to, "password": PASSWORD}, token=token)

    first, second = change(BOB), change(BOB)
    assert (first.status_code, first.data) == (second.status_code, second.data)
    assert first.status_code == 202
    # One link, and one notice.
    assert [mail.to for mail in mails(limited.app)] == [BOB, ALICE]
    data(limited.post("/change-email/confirm", {"token": mailed_token(limited.app, 0)}))


def test_client_that_asks_for_mails_without_end_is_refused(limited: Api, now: time_machine.Traveller):
    asked = [
        limited.post(path, {"email": f"user{number}@example.org"}).status_code
        for number in range(51)
        for path in ("/forgot-password", "/resend-verification")
    ]
    assert asked == [202] * 100 + [429] * 2
    other = limited.post("/forgot-password", {"email": ALICE}, environ_base={"REMOTE_ADDR": HOME})
    assert other.status_code == 202


def test_mail_that_could_not_be_written_does_not_count(limited: Api, now: time_machine.Traveller):
    make_user(limited.app)
    with failing(limited.app, "INSERT INTO auth_outbox_message", pymysql.err.OperationalError(2013, "Lost connection")):
        limited.post("/forgot-password", {"email": ALICE})
    assert mails(limited.app) == []
    limited.post("/forgot-password", {"email": BOB})
    assert [mail.to for mail in mails(limited.app)] == [ALICE]


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", "/verify-email"),
        ("POST", "/email-verification/confirm"),
        ("POST", "/reset-password"),
        ("POST", "/password-reset/confirm"),
        ("POST", "/change-email/confirm"),
    ],
)
def test_twenty_bad_links_in_five_minutes_by_client(limited: Api, now: time_machine.Traveller, method: str, path: str):
    body = {"token": "nonsense", **({"new_password": OTHER_PASSWORD} if "reset" in path else {})}
    answers = [limited.request(method, path, json=body) for _ in range(21)]
    assert [refusal(answer) for answer in answers] == [(400, "LINK_INVALID")] * 20 + [LIMITED]
    now.shift(timedelta(minutes=5))
    assert refusal(limited.request(method, path, json=body)) == (400, "LINK_INVALID")


def test_pages_share_the_count_of_bad_links(limited: Api, now: time_machine.Traveller):
    assert outcomes(lambda: limited.get("/reset-password?token=nonsense"), 21) == [400] * 20 + [429]
    assert refusal(limited.post("/verify-email", {"token": "nonsense"})) == LIMITED
    page = limited.post("/verify-email/page", data={"token": "nonsense"})
    assert (page.status_code, page.mimetype) == (429, "text/html")
    assert int(page.headers["Retry-After"]) == 300


def test_good_link_is_none_that_was_tried_in_vain(limited: Api, now: time_machine.Traveller):
    limited.register()
    token = mailed_token(limited.app)
    assert outcomes(lambda: limited.post("/verify-email", {"token": token}), 25) == [200] * 25


@pytest.mark.parametrize("which", ["change-password", "delete", "change-email"])
def test_five_wrong_passwords_of_somebody_who_is_signed_in(limited: Api, now: time_machine.Traveller, which: str):
    make_user(limited.app)
    make_user(limited.app, BOB)
    tokens = {who: log_in(limited, who, PASSWORD).get_json()["data"]["access_token"] for who in (ALICE, BOB)}

    def send(password: str, who: str = ALICE) -> TestResponse:
        if which == "delete":
            return limited.delete("/me", json={"password": password}, token=tokens[who])
        if which == "change-email":
            return limited.post("/change-email", {"new_email": CAROL, "password": password}, token=tokens[who])
        body = {"current_password": password, "new_password": OTHER_PASSWORD}
        return limited.post("/change-password", body, token=tokens[who])

    assert [refusal(send("wrong")) for _ in range(5)] == [WRONG] * 5
    assert refusal(send(PASSWORD)) == LIMITED
    assert refusal(send("wrong", BOB)) == WRONG
    data(limited.get("/me", token=tokens[ALICE]))
    now.shift(timedelta(minutes=5))
    assert send(PASSWORD).status_code in (200, 202)


def test_forwarded_addresses_count_only_where_a_proxy_is_trusted(make_app: MakeApp, now: time_machine.Traveller):
    direct = Api(make_app(RATELIMIT_ENABLED=True))
    behind = Api(make_app(RATELIMIT_ENABLED=True, TRUSTED_PROXIES=1))

    def send(api: Api, forwarded: str) -> TestResponse:
        return api.post("/login", {"email": ALICE, "password": "wrong"}, headers={"X-Forwarded-For": forwarded})

    assert [send(direct, address(number)).status_code for number in range(11)] == [401] * 10 + [429]
    assert [send(behind, address(number)).status_code for number in range(11)] == [401] * 11
    # What the client wrote stands before what the proxy added.
    assert [send(behind, f"{address(number)}, {HOME}").status_code for number in range(11)] == [401] * 10 + [429]
    assert send(behind, f"{HOME}:49152").status_code == 429


@pytest.mark.parametrize(
    "garbage",
    ["", ",", ",,,,", "unknown", "1.2.3", "999.999.999.999", "<script>", "a" * 4000, "\x7f", "::::", "[", "]:80", "%"],
)
def test_garbage_in_a_forwarded_address_is_harmless_and_still_counts(
    make_app: MakeApp, now: time_machine.Traveller, garbage: str
):
    api = Api(make_app(RATELIMIT_ENABLED=True, TRUSTED_PROXIES=1))
    header = {"X-Forwarded-For": garbage}
    body = {"email": ALICE, "password": "wrong"}
    assert outcomes(lambda: api.post("/login", body, headers=header), 11) == [401] * 10 + [429]


def test_limits_can_be_switched_off(api: Api, now: time_machine.Traveller):
    make_user(api.app)
    assert outcomes(lambda: log_in(api), 15) == [401] * 15


def test_view_of_a_host_that_says_who_asks_is_limited_and_a_script_by_the_account_alone(
    limited: Api, now: time_machine.Traveller
):
    make_user(limited.app)

    def tries(times: int, **more: Any) -> Counter[str]:
        codes: Counter[str] = Counter()
        with limited.app.app_context():
            for _ in range(times):
                try:
                    users.authenticate_user(ALICE, "wrong", **more)
                except AuthError as error:
                    codes[error.code] += 1
        return codes

    assert tries(11, client=Client.seen(HOME, None)) == {"INVALID_CREDENTIALS": 10, "RATE_LIMITED": 1}
    assert tries(91) == {"INVALID_CREDENTIALS": 90, "RATE_LIMITED": 1}


def test_client_without_an_address_is_no_place_to_be_known_from(limited: Api, now: time_machine.Traveller):
    make_user(limited.app)
    data(log_in(limited, password=PASSWORD, ip=""))
    with limited.app.app_context():
        assert db.session.scalars(select(KnownNetwork)).all() == []


def test_deleted_account_leaves_no_network_behind(limited: Api, now: time_machine.Traveller):
    make_user(limited.app)
    token = log_in(limited, password=PASSWORD).get_json()["data"]["access_token"]
    user_of(limited.app)
    data(limited.delete("/me", json={"password": PASSWORD}, token=token))
    with limited.app.app_context():
        assert db.session.scalars(select(KnownNetwork)).all() == []


def test_with_generic_answers_a_registration_leaves_the_same_counts_whether_or_not_the_address_is_taken(
    make_app: MakeApp, now: time_machine.Traveller
):
    api = Api(make_app(RATELIMIT_ENABLED=True, AUTH_GENERIC_RESPONSES=True))
    make_user(api.app)
    for who in (ALICE, BOB):
        assert [api.register(who).status_code for _ in range(7)] == [201] * 7
    # All but the first try for a free address found it taken, and its owner told.
    assert [mail.to for mail in mails(api.app)] == [ALICE] * 5 + [BOB] * 5


def test_nobody_changes_to_a_hundred_addresses_an_hour(limited: Api, now: time_machine.Traveller):
    make_user(limited.app)
    token = log_in(limited, password=PASSWORD).get_json()["data"]["access_token"]
    tried = [
        limited.post("/change-email", {"new_email": f"user{number}@example.org", "password": PASSWORD}, token=token)
        for number in range(101)
    ]
    assert [answer.status_code for answer in tried] == [202] * 100 + [429]
