"""What tests need again and again: people, tokens, mails, and a client that speaks the API's envelope."""

import base64
import json
from collections.abc import Callable
from functools import cache
from typing import Any

from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat
from flask import Flask
from werkzeug.test import TestResponse

from authapp import keys, testing, users
from authapp.models import User
from tests import described

ALICE = testing.EMAIL
BOB = "bob@example.org"
CAROL = "carol@example.org"
PASSWORD = testing.PASSWORD
OTHER_PASSWORD = "granite-7-harbour-lamp"
INVALID = (401, "TOKEN_INVALID")

mails = testing.mails


class Api:
    """A client of one application: paths are below the prefix, bodies are JSON.

    Every answer is held against the API's document.
    """

    def __init__(self, app: Flask) -> None:
        self.app = app
        self.prefix: str = app.config["AUTH_URL_PREFIX"]

    def request(self, method: str, path: str, *, token: str | None = None, **kwargs: Any) -> TestResponse:
        """Send a request; `token` becomes the Authorization header."""
        headers = dict(kwargs.pop("headers", {}))
        if token is not None:
            headers["Authorization"] = f"Bearer {token}"
        answer = self.app.test_client(use_cookies=False).open(
            self.prefix + path, method=method, headers=headers, **kwargs
        )
        described.check(self.app, method, self.prefix + path, answer)
        return answer

    def get(self, path: str, **kwargs: Any) -> TestResponse:
        return self.request("GET", path, **kwargs)

    def post(self, path: str, body: object = None, **kwargs: Any) -> TestResponse:
        """Post a JSON body, or none."""
        if body is not None:
            kwargs["json"] = body
        return self.request("POST", path, **kwargs)

    def delete(self, path: str, **kwargs: Any) -> TestResponse:
        return self.request("DELETE", path, **kwargs)

    def patch(self, path: str, body: object, **kwargs: Any) -> TestResponse:
        return self.request("PATCH", path, json=body, **kwargs)

    def register(self, email: str = ALICE, password: str = PASSWORD, **more: object) -> TestResponse:
        return self.post("/register", {"email": email, "password": password, **more})

    def log_in(self, email: str = ALICE, password: str = PASSWORD, **kwargs: Any) -> dict[str, Any]:
        """Log in and give the answer's data."""
        found: dict[str, Any] = data(self.post("/login", {"email": email, "password": password}, **kwargs))
        return found

    def refresh(self, refresh_token: str) -> TestResponse:
        return self.post("/refresh", {"refresh_token": refresh_token})


def make_user(app: Flask, email: str = ALICE, password: str = PASSWORD, **more: Any) -> str:
    """Make a verified account (unless told otherwise) and give its id."""
    return str(testing.add_user(app, email, password, **more).id)


def data(response: TestResponse, status: int = 200) -> Any:
    """Give the data of a success, after checking that it is one."""
    assert response.status_code == status, response.text
    assert response.json is not None
    assert response.json["success"] is True
    assert set(response.json) == {"success", "data"}
    return response.json["data"]


def refusal(response: TestResponse) -> tuple[int, str]:
    """Give the status and the code of a failure, after checking its envelope."""
    assert response.json is not None, response.text
    assert response.json["success"] is False
    assert set(response.json) == {"success", "error"}
    error = response.json["error"]
    assert isinstance(error["message"], str)
    assert set(error) <= {"code", "message", "details"}
    if response.status_code == 401:
        assert response.headers["WWW-Authenticate"].startswith("Bearer")
    return response.status_code, error["code"]


def mailed_token(app: Flask, number: int = -1) -> str:
    """Give the token of the link in a mail, the newest unless told otherwise."""
    return testing.mailed_token(mails(app)[number])


def claims(token: str) -> dict[str, Any]:
    """Read a token's payload without checking anything."""
    payload = token.split(".")[1]
    found: dict[str, Any] = json.loads(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))
    return found


def user_of(app: Flask, email: str = ALICE) -> User:
    """Give an account as it stands in the database."""
    with app.app_context():
        found = users.find(email)
        assert found is not None
        return found


def assert_both_refused(api: Api, pair: dict[str, Any], change: Callable[[str], str]) -> None:
    """Check that both tokens, so changed, are refused where the unchanged ones are not."""
    access, refresh = change(pair["access_token"]), change(pair["refresh_token"])
    response = api.get("/me", token=access)
    assert refusal(response) == INVALID
    assert 'error="invalid_token"' in response.headers["WWW-Authenticate"]
    assert refusal(api.refresh(refresh)) == INVALID
    assert refusal(api.post("/logout", {"refresh_token": refresh})) == INVALID
    assert refusal(api.post("/logout", token=access)) == INVALID
    data(api.get("/me", token=pair["access_token"]))


def key_pair(algorithm: str, which: str = "current") -> tuple[str, str]:
    """Give a private and a public key as PEM, the same ones whenever `which` is the same."""
    return _generated(algorithm, which)


@cache
def _generated(algorithm: str, _which: str) -> tuple[str, str]:
    if algorithm != "RS256":
        return keys.generate(algorithm)
    # The shortest that is taken: each start checks the key, and a longer one takes it several times as long.
    private = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    secret = private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    public = private.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    return secret.decode(), public.decode()


class Browser:
    """A front end in a browser: it keeps cookies, and sends the CSRF token that it reads from one."""

    def __init__(self, app: Flask) -> None:
        self.app = app
        self.prefix: str = app.config["AUTH_URL_PREFIX"]
        self.http = app.test_client()

    def cookie(self, name: str, path: str = "/") -> str | None:
        """Give the value of the cookie that was set for this path, if there is one."""
        found = self.http.get_cookie(name, path=path)
        return found.value if found else None

    def send(self, method: str, path: str, *, csrf: str | None = "access", **kwargs: Any) -> TestResponse:
        """Send a request with the CSRF token of this cookie, or of none."""
        headers = dict(kwargs.pop("headers", {}))
        value = self.cookie(f"csrf_{csrf}_token")
        if value is not None:
            headers["X-CSRF-TOKEN"] = value
        return self.http.open(self.prefix + path, method=method, headers=headers, **kwargs)

    def log_in(self, email: str = ALICE, **kwargs: Any) -> TestResponse:
        return self.send("POST", "/login", json={"email": email, "password": PASSWORD}, **kwargs)

    def refresh(self, csrf: str | None = "refresh", **kwargs: Any) -> TestResponse:
        return self.send("POST", "/refresh", csrf=csrf, **kwargs)

    def log_out(self, csrf: str | None = "access", **kwargs: Any) -> TestResponse:
        return self.send("POST", "/logout", csrf=csrf, **kwargs)
