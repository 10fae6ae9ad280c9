"""What `docs/scale.md` says of the database's work, held against what is sent to it."""

import re
from collections.abc import Callable
from pathlib import Path

import pytest
from flask import Flask
from werkzeug.test import TestResponse

from tests.factories import ALICE, BOB, OTHER_PASSWORD, PASSWORD, Api, data, mailed_token, make_user
from tests.statements import heard, sent_to_mariadb

Counts = dict[str, tuple[int, ...]]


def counted(app: Flask, send: Callable[[], TestResponse]) -> tuple[int, ...]:
    """Count the statements that read, those that write and, on MariaDB, the round trips; the request has to succeed."""
    with pytest.MonkeyPatch.context() as patch, heard(app) as statements, sent_to_mariadb(patch) as sent:
        answer = send()
    assert answer.status_code < 300, answer.text
    reads = sum(statement.startswith("SELECT") for statement in statements)
    if app.config["DATABASE_URL"].startswith("mysql"):
        return reads, len(statements) - reads, len(sent)
    return reads, len(statements) - reads


def those_of_an_account(app: Flask, api: Api) -> Counts:
    """Register, verify the address and reset the password."""
    found = {"POST /register": counted(app, lambda: api.register(BOB))}
    link = {"token": mailed_token(app)}
    found["POST /verify-email"] = counted(app, lambda: api.post("/verify-email", link))
    found["POST /forgot-password, with its mail"] = counted(app, lambda: api.post("/forgot-password", {"email": ALICE}))
    new = {"token": mailed_token(app), "new_password": OTHER_PASSWORD}
    found["POST /reset-password"] = counted(app, lambda: api.post("/reset-password", new))
    return found


def those_of_a_session(app: Flask, api: Api) -> Counts:
    """Log in, refresh, see and end sessions, log out."""
    account, kept, found = {"email": ALICE, "password": PASSWORD}, [], {}

    def send(path: str, body: object) -> TestResponse:
        answer = api.post(path, body)
        kept.append(data(answer))
        return answer

    found["POST /login, from a new place"] = counted(app, lambda: send("/login", account))
    found["POST /login"] = counted(app, lambda: send("/login", account))
    first, second = kept
    token = first["access_token"]
    found["GET /me"] = counted(app, lambda: api.get("/me", token=token))
    body = {"refresh_token": first["refresh_token"]}
    found["POST /refresh"] = counted(app, lambda: api.post("/refresh", body))
    found["POST /refresh, the answer before was lost"] = counted(app, lambda: api.post("/refresh", body))
    found["GET /sessions"] = counted(app, lambda: api.get("/sessions", token=token))
    theirs = data(api.get("/sessions", token=second["access_token"]))["sessions"]
    (other,) = [session["id"] for session in theirs if session["current"]]
    found["DELETE /sessions/{id}"] = counted(app, lambda: api.delete(f"/sessions/{other}", token=token))
    found["POST /logout"] = counted(app, lambda: api.post("/logout", token=token))
    return found


def those_of_somebody_signed_in(app: Flask, api: Api) -> Counts:
    """Change what can be changed, and leave."""
    token = data(api.post("/login", {"email": ALICE, "password": OTHER_PASSWORD}))["access_token"]
    api.post("/login", {"email": ALICE, "password": OTHER_PASSWORD})
    given, new = {"password": OTHER_PASSWORD}, {"current_password": OTHER_PASSWORD, "new_password": PASSWORD}
    found = {"PATCH /me": counted(app, lambda: api.patch("/me", {"name": "Alice"}, token=token))}
    found["DELETE /sessions, of two"] = counted(app, lambda: api.delete("/sessions", token=token))
    move = {"new_email": "alice@example.com", **given}
    found["POST /change-email"] = counted(app, lambda: api.post("/change-email", move, token=token))
    link = {"token": mailed_token(app, -2)}
    found["POST /change-email/confirm"] = counted(app, lambda: api.post("/change-email/confirm", link))
    found["POST /change-password"] = counted(app, lambda: api.post("/change-password", new, token=token))
    token = data(api.post("/login", {"email": "alice@example.com", "password": PASSWORD}))["access_token"]
    leave = {"password": PASSWORD}
    found["DELETE /me"] = counted(app, lambda: api.delete("/me", json=leave, token=token))
    return found


def test_statements_of_each_request_are_those_on_the_page(app: Flask, api: Api, root: Path):
    make_user(app)
    measured = {**those_of_a_session(app, api), **those_of_an_account(app, api)}
    measured |= those_of_somebody_signed_in(app, api)
    page = (root / "docs/scale.md").read_text()
    rows = re.findall(r"^\| `([A-Z]+ /[^`]+)`([^|]*) \| (\d+) \| (\d+) \| (\d+) \|", page, re.MULTILINE)
    kinds = 3 if app.config["DATABASE_URL"].startswith("mysql") else 2
    assert {name + more: tuple(map(int, counts))[:kinds] for name, more, *counts in rows} == measured


def test_files_that_the_pages_name_as_their_evidence_exist(root: Path):
    for page in ("scale", "compare"):
        named = re.findall(r"`((?:tests|benchmarks)/[\w/.]+)`", (root / f"docs/{page}.md").read_text())
        assert named
        assert [name for name in named if not (root / name).exists()] == []
