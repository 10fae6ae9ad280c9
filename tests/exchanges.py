"""One real exchange for each operation of the API's document, with a service of its own: what docs/api.md shows."""

import re
import tempfile
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path
from typing import Any

import flask_migrate
from flask import Flask

from authapp import create_app, testing
from authapp.extensions import db
from authapp.openapi import complete

SHORTENED = (
    # Each pattern, and what stands for whatever it finds, from here to the next run.
    (r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", "01a1fe06-09d6-71d0-825d-d3851898df46"),
    (r"\d{4}-\d\d-\d\dT[0-9:.]+Z", "2026-11-21T09:30:00.000Z"),
    (r"eyJ[\w.-]{60,}", "eyJhbGci..."),
)


@dataclass(frozen=True)
class Exchange:
    """A request and its answer, without what differs from run to run; `sent` is the body, None where there was none."""

    path: str
    sent: dict[str, Any] | None
    status: HTTPStatus
    answer: str


class Walk:
    """Alice walks through all that there is; `found` has an exchange for each operation's id."""

    def __init__(self, app: Flask, bodies: dict[str, dict[str, Any]]) -> None:
        self.app, self.bodies = app, bodies
        self.http = app.test_client(use_cookies=False)
        self.places = {
            told["operationId"]: (method, path)
            for path, methods in complete.make(app)["paths"].items()
            for method, told in methods.items()
            if method != "parameters"
        }
        self.access = self.refresh = ""
        self.found: dict[str, Exchange] = {}

    def do(self, name: str, *, at: str = "", **given: str) -> Any:
        """Send this operation's example, with these fields instead of the example's, and give the answer's data."""
        method, pattern = self.places[name]
        path = re.sub(r"{\w+}", at, pattern)
        sent = {**self.bodies[name], **given} if name in self.bodies else None
        answer = self.http.open(path, method=method, json=sent, headers={"Authorization": f"Bearer {self.access}"})
        status = HTTPStatus(answer.status_code)
        assert status < HTTPStatus.BAD_REQUEST, f"{name}: {answer.text}"
        self.found[name] = Exchange(_shortened(path), sent, status, _shortened(answer.text))
        data = answer.json.get("data", {}) if answer.json else {}
        self.access = data.get("access_token") or self.access
        self.refresh = data.get("refresh_token") or self.refresh
        return data

    def link(self) -> str:
        """Give the token of the link in the newest mail."""
        with_link = [mail for mail in testing.mails(self.app) if "token=" in mail.text]
        return testing.mailed_token(with_link[-1])

    def whole(self) -> None:
        """Go all of the way, from an empty database to an empty one."""
        self.do("register")
        for name in ("resend_verification", "resend_email_verification"):
            self.do(name)
        for name in ("verify_email", "confirm_email_verification"):
            self.do(name, token=self.link())
        self.do("login_json")
        self.do("login")
        self.do("refresh_tokens", refresh_token=self.refresh)
        for name in ("get_me", "update_me"):
            self.do(name)
        elsewhere = next(one for one in self.do("list_sessions")["sessions"] if not one["current"])
        self.do("end_session", at=elsewhere["id"])
        self.do("end_other_sessions")
        self.do("change_password")
        self._reset()
        new = self.bodies["change_password"]["new_password"]
        self.do("login", password=new)
        self.do("change_email", password=new)
        self.do("confirm_email_change", token=self.link())
        self.do("logout", refresh_token=self.refresh)
        self.do("login", email=self.bodies["change_email"]["new_email"], password=new)
        self.do("delete_me", password=new)
        for name in ("healthz", "readyz", "jwks"):
            self.do(name)

    def _reset(self) -> None:
        for ask, take in (("forgot_password", "reset_password"), ("request_password_reset", "confirm_password_reset")):
            self.do(ask)
            self.do(take, token=self.link())


def of(bodies: dict[str, dict[str, Any]]) -> dict[str, Exchange]:
    """Make an exchange for each operation, with these bodies by operation id where it takes one."""
    with tempfile.TemporaryDirectory() as folder:
        url = f"sqlite:///{Path(folder) / 'walk.db'}"
        app = create_app({**testing.TEST_SETTINGS, "DATABASE_URL": url}, environ={})
        with app.app_context():
            flask_migrate.upgrade()
        walk = Walk(app, bodies)
        walk.whole()
        with app.app_context():
            db.engine.dispose()
        return walk.found


def _shortened(text: str) -> str:
    for pattern, instead in SHORTENED:
        text = re.sub(pattern, instead, text)
    return text
