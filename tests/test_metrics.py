"""`/metrics` in one process: who gets it, what it counts, and that its names are those of its page."""

import logging
import re
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path

import pytest
import time_machine
from flask import Flask
from prometheus_client.parser import text_string_to_metric_families
from sqlalchemy.exc import OperationalError

import authapp
from authapp import clock, create_app
from authapp.config import ConfigError
from authapp.extensions import db
from authapp.mail.models import MailRequest, OutboxMessage
from authapp.metrics import counting, init_app
from tests.conftest import MakeApp
from tests.factories import ALICE, OTHER_PASSWORD, PASSWORD, Api, data, make_user, refusal
from tests.statements import failing

TOKEN = "kq7TzVb2nXw9LrYp4MsHd6FgJc8ZtR3a"  # Of no service.

Numbers = dict[str, float]


def scrape(app: Flask, *, token: str | None = TOKEN) -> Numbers:
    """Give the value of every sample, by its name and its labels as they are written."""
    answer = app.test_client().get("/metrics", headers={"Authorization": f"Bearer {token}"})
    assert answer.status_code == 200, answer.text
    assert answer.content_type.startswith("text/plain")
    return parse(answer.text)


def parse(text: str) -> Numbers:
    samples = (sample for family in text_string_to_metric_families(text) for sample in family.samples)
    return {f"{one.name}{sorted(one.labels.items()) or ''}": one.value for one in samples}


@pytest.fixture
def metered(make_app: MakeApp) -> Iterator[Flask]:
    """The service with `/metrics`."""
    yield make_app(METRICS_TOKEN=TOKEN, RATELIMIT_ENABLED=True)
    logging.getLogger("authapp").removeHandler(counting.LISTENER)


@pytest.fixture
def growth(metered: Flask) -> Callable[[], Numbers]:
    """Say what has grown since the test began, and by how much; the numbers are those of the process."""
    before = scrape(metered)

    def grown() -> Numbers:
        now = scrape(metered)
        return {name: value - before.get(name, 0) for name, value in now.items() if value != before.get(name, 0)}

    return grown


@pytest.mark.any_database
def test_there_is_none_unless_a_token_is_set(make_app: MakeApp):
    # Another test of this process may have had one.
    logging.getLogger("authapp").removeHandler(counting.LISTENER)
    assert refusal(make_app().test_client().get("/metrics")) == (404, "NOT_FOUND")
    assert counting.LISTENER not in logging.getLogger("authapp").handlers


@pytest.mark.any_database
def test_nothing_of_it_is_loaded_unless_a_token_is_set(root: Path):
    users = set()
    for file in (root / "authapp").rglob("*.py"):
        if re.search(r"^(from|import) (prometheus_client|authapp\.metrics)\b", file.read_text(), re.MULTILINE):
            users.add(file.relative_to(root / "authapp").as_posix())
    assert users == {"metrics/series.py", "metrics/counting.py", "metrics/scrape.py"}


@pytest.mark.any_database
@pytest.mark.parametrize(
    "given", [None, "", "Bearer", f"Bearer {TOKEN}x", f"Bearer {TOKEN[:-1]}", f"Basic {TOKEN}", "ÿ"]
)
def test_whoever_has_not_the_token_is_refused(metered: Flask, given: str | None):
    headers = {} if given is None else {"Authorization": given}
    answer = metered.test_client().get("/metrics", headers=headers)
    assert refusal(answer) == (401, "UNAUTHORIZED")


@pytest.mark.any_database
@pytest.mark.parametrize("token", ["x" * 31, f"{TOKEN} x", f"{TOKEN}é"])
def test_a_token_that_can_be_guessed_or_not_be_sent_is_refused(token: str):
    with pytest.raises(ConfigError, match="METRICS_TOKEN is not valid"):
        create_app({"APP_ENV": "development", "METRICS_TOKEN": token}, environ={})


def test_requests_are_counted_by_route_and_code(metered: Flask, growth: Callable[[], Numbers]):
    make_user(metered)
    api = Api(metered)
    pair = api.log_in()
    assert refusal(api.post("/login", {"email": ALICE, "password": OTHER_PASSWORD})) == (401, "INVALID_CREDENTIALS")
    assert refusal(api.delete("/sessions/00000000-0000-0000-0000-000000000000", token=pair["access_token"])) == (
        404,
        "NOT_FOUND",
    )
    assert refusal(api.get("/nowhere/1")) == (404, "NOT_FOUND")
    api.request("BREW", "/me")
    found = growth()
    for method, route, status, code in [
        ("POST", "/api/auth/login", 200, ""),
        ("POST", "/api/auth/login", 401, "INVALID_CREDENTIALS"),
        ("DELETE", "/api/auth/sessions/<uuid:sid>", 404, "NOT_FOUND"),
        ("GET", "", 404, "NOT_FOUND"),
        ("other", "", 405, "METHOD_NOT_ALLOWED"),
    ]:
        labels = [("code", code), ("method", method), ("route", route), ("status", str(status))]
        assert found[f"authapp_http_requests_total{labels}"] == 1, found
    assert found["authapp_http_request_duration_seconds_count[('route', '/api/auth/login')]"] == 2
    # That of making the account among them.
    assert found["authapp_password_hash_wait_seconds_count"] == 3
    assert "authapp_password_hash_waiting" not in found


def test_what_happens_to_logins_sessions_and_tokens_is_counted(metered: Flask, growth: Callable[[], Numbers]):
    make_user(metered)
    api = Api(metered)
    wrong = {"email": ALICE, "password": OTHER_PASSWORD}
    for _ in range(10):
        assert refusal(api.post("/login", wrong)) == (401, "INVALID_CREDENTIALS")
    assert refusal(api.post("/login", wrong)) == (429, "RATE_LIMITED")
    with time_machine.travel(clock.now() + timedelta(minutes=6)):
        pair = api.log_in()
        data(api.post("/logout", {"refresh_token": pair["refresh_token"]}))
        assert refusal(api.get("/me", token=pair["access_token"])) == (401, "TOKEN_REVOKED")
        assert refusal(api.get("/me", token="x")) == (401, "TOKEN_INVALID")
    found = growth()
    expected = {
        "authapp_logins_total[('result', 'success')]": 1,
        "authapp_logins_total[('result', 'INVALID_CREDENTIALS')]": 10,
        "authapp_rate_limited_total[('limit', 'failed-logins')]": 1,
        "authapp_sessions_ended_total[('reason', 'logged_out')]": 1,
        "authapp_tokens_refused_total[('code', 'TOKEN_REVOKED')]": 1,
        "authapp_tokens_refused_total[('code', 'TOKEN_INVALID')]": 1,
        "authapp_events_total[('event', 'session_ended')]": 1,
        "authapp_events_total[('event', 'login_failed')]": 10,
    }
    assert {name: found.get(name) for name in expected} == expected


@pytest.mark.any_database
def test_refused_hashes_are_counted_by_reason(make_app: MakeApp, metered: Flask, growth: Callable[[], Numbers]):
    gate = metered.extensions["authapp"].gate
    gate._free = 0
    assert refusal(Api(metered).post("/login", {"email": ALICE, "password": PASSWORD})) == (503, "SERVER_BUSY")
    assert growth()["authapp_password_hashes_refused_total[('reason', 'queue_full')]"] == 1


def test_mails_that_wait_are_told_with_the_age_of_the_oldest(metered: Flask):
    found = scrape(metered)
    assert (found["authapp_mails_pending"], found["authapp_mails_oldest_pending_seconds"]) == (0, 0)
    now = clock.now()
    mail = {"to": ALICE, "subject": "", "text": "", "html": ""}
    with metered.app_context():
        db.session.add_all([
            OutboxMessage(**mail, created_at=now - timedelta(minutes=9), due_at=now, attempts=3),
            OutboxMessage(**mail, created_at=now - timedelta(days=1), sent_at=now),
            OutboxMessage(**mail, created_at=now - timedelta(days=3), attempts=100),
            OutboxMessage(**mail, created_at=now - timedelta(days=3)),
            MailRequest(kind="reset-password", email=ALICE, created_at=now - timedelta(minutes=10)),
        ])  # fmt: skip
        db.session.commit()
    found = scrape(metered)
    assert found["authapp_mails_pending"] == 2
    assert 600 <= found["authapp_mails_oldest_pending_seconds"] < 660
    assert found["authapp_mails_given_up"] == 1
    assert found["authapp_database_up"] == 1
    assert found[f"authapp_build_info[('version', '{authapp.__version__}')]"] == 1


@pytest.mark.any_database
def test_without_the_database_all_else_is_told(metered: Flask):
    with failing(metered, "SELECT", OperationalError("", None, Exception("gone"))):
        found = scrape(metered)
    assert found["authapp_database_up"] == 0
    assert "authapp_mails_pending" not in found
    assert "authapp_logins_total[('result', 'success')]" in found


@pytest.mark.any_database
def test_a_host_application_may_have_it_and_its_own_pages_are_not_counted(make_app: MakeApp):
    host = Flask("host")
    host.config.update(APP_ENV="development", METRICS_TOKEN=TOKEN, DATABASE_URL="sqlite://")
    authapp.init_app(host, environ={})
    init_app(host)
    host.add_url_rule("/mine", "mine", lambda: "")
    try:
        assert host.test_client().get("/mine").status_code == 200
        assert refusal(host.test_client().get("/api/auth/me")) == (401, "UNAUTHORIZED")
        found = scrape(host)
    finally:
        logging.getLogger("authapp").removeHandler(counting.LISTENER)
    assert not [name for name in found if "/mine" in name]
    assert [name for name in found if "authapp_http_requests_total" in name and "/api/auth/me'" in name]
