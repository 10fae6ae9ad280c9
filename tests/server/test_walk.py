"""A person's way through the running service, mail included; on each database."""

import json
import re
from collections import Counter
from pathlib import Path

import httpx
import pytest

from tests.factories import ALICE, PASSWORD
from tests.server.conftest import Mailbox, StartNode
from tests.test_metrics import TOKEN, parse

pytestmark = pytest.mark.server

# What the walk is made of: each is one line of the log.
FACTS = {
    "user_registered": 1,
    "mail_sent": 1,
    "login_failed": 1,
    "user_verified": 1,
    "user_logged_in": 1,
    "session_refreshed": 1,
    "session_ended": 1,
}


def test_a_user_registers_verifies_logs_in_refreshes_and_logs_out(
    start_node: StartNode, mailbox: tuple[Mailbox, int], tmp_path: Path
):
    received, port = mailbox
    address = start_node(
        # Its settings are tried first, as they are in production.
        AUTHAPP_GREETING="",
        workers=3,
        MAIL_SERVER="127.0.0.1",
        MAIL_PORT=port,
        MAIL_DEFAULT_SENDER="Example <no-reply@example.org>",
        METRICS_TOKEN=TOKEN,
    )
    with httpx.Client(base_url=f"{address}/api/auth", timeout=10) as http:
        account = {"email": ALICE, "password": PASSWORD, "name": "Alice 🐟"}
        assert http.post("/register", json=account).status_code == 201

        mail = received.received.get(timeout=10)
        assert mail["To"] == ALICE
        assert mail["From"] == "Example <no-reply@example.org>"
        text = mail.get_body(("plain",))
        assert text is not None
        link = re.search(r"https://auth\.example\.org/api/auth/verify-email\?token=(\S+)", text.get_content())
        assert link is not None

        assert http.get("/verify-email", params={"token": link[1]}).status_code == 200
        assert http.post("/login", json={"email": ALICE, "password": PASSWORD}).status_code == 403
        verified = http.post("/verify-email", json={"token": link[1]})
        assert verified.json()["data"]["message"] == "Your account has been activated."

        first = _tokens(http.post("/login", json={"email": ALICE, "password": PASSWORD}))
        assert _me(http, first["access_token"]).json()["data"]["user"]["name"] == "Alice 🐟"
        second = _tokens(http.post("/refresh", json={"refresh_token": first["refresh_token"]}))
        assert _me(http, second["access_token"]).status_code == 200
        assert http.post("/logout", json={"refresh_token": second["refresh_token"]}).status_code == 200

        for token in (first["access_token"], second["access_token"]):
            assert _code(_me(http, token)) == (401, "TOKEN_REVOKED")
        for token in (first["refresh_token"], second["refresh_token"]):
            assert _code(http.post("/refresh", json={"refresh_token": token})) == (401, "TOKEN_REVOKED")
    assert received.received.empty()
    # Whichever of the workers was asked each time.
    answer = httpx.get(f"{address}/metrics", headers={"Authorization": f"Bearer {TOKEN}"})
    found = parse(answer.text)
    assert {name: found[f"authapp_events_total[('event', '{name}')]"] for name in FACTS} == FACTS
    assert found["authapp_tokens_refused_total[('code', 'TOKEN_REVOKED')]"] == 4
    (log,) = tmp_path.glob("gunicorn-*.log")
    for line in log.read_text().splitlines():
        assert {"time", "level", "event", "request_id"} <= json.loads(line).keys()
    told = [json.loads(line) for line in log.read_text().splitlines()]
    (page,) = [line for line in told if line.get("path") == "/api/auth/verify-email" and line["method"] == "GET"]
    assert (page["route"], page["status"], page["code"], page["ip"]) == (page["path"], 200, None, "127.0.0.1")
    assert [line["code"] for line in told if line["event"] == "request"].count("TOKEN_REVOKED") == 4
    events = Counter(line["event"] for line in told)
    assert events["request"] >= 10
    assert {name: events[name] for name in FACTS} == FACTS
    for secret in (link[1], first["refresh_token"], second["access_token"], PASSWORD, ALICE):
        assert secret not in log.read_text()


def test_a_revoked_session_is_refused_by_every_worker_at_the_next_request(start_node: StartNode):
    one, other = (start_node(workers=2, AUTH_REQUIRE_VERIFIED_EMAIL="false") for _ in range(2))
    pair = httpx.post(f"{one}/api/auth/register", json={"email": ALICE, "password": PASSWORD}).json()["data"]
    here, there = httpx.Client(base_url=f"{one}/api/auth"), httpx.Client(base_url=f"{other}/api/auth")
    with here, there:
        assert _me(there, pair["access_token"]).status_code == 200
        assert here.post("/logout", json={"refresh_token": pair["refresh_token"]}).status_code == 200
        assert _code(_me(there, pair["access_token"])) == (401, "TOKEN_REVOKED")
        refused = there.post("/refresh", json={"refresh_token": pair["refresh_token"]})
        assert _code(refused) == (401, "TOKEN_REVOKED")
    # A new connection each time, so that each worker of both has its turn.
    for address in [one, other] * 10:
        headers = {"Authorization": f"Bearer {pair['access_token']}"}
        assert httpx.get(f"{address}/api/auth/me", headers=headers).status_code == 401


def _me(http: httpx.Client, token: str) -> httpx.Response:
    return http.get("/me", headers={"Authorization": f"Bearer {token}"})


def _tokens(response: httpx.Response) -> dict[str, str]:
    assert response.status_code == 200, response.text
    found: dict[str, str] = response.json()["data"]
    return found


def _code(response: httpx.Response) -> tuple[int, str]:
    return response.status_code, response.json()["error"]["code"]
