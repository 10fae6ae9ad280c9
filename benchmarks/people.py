"""Those who use the service in a benchmark: their accounts, its settings, and a connection that is kept open."""

import http.client
import json
import secrets

from authapp import clock, database, passwords
from authapp.extensions import db
from authapp.models import User

PREFIX = "/api/auth"
ME, HEALTH = f"{PREFIX}/me", "/healthz"
PASSWORD = "violet-tractor-19-sings"  # noqa: S105  # Of accounts that live as long as this runs.
ACCOUNTS = 64
TIMEOUT_SECONDS = 30


class Client:
    """One connection that is kept open."""

    def __init__(self, port: int) -> None:
        self._connection = http.client.HTTPConnection("127.0.0.1", port, timeout=TIMEOUT_SECONDS)

    def ask(self, method: str, path: str, headers: dict[str, str], body: bytes | None = None) -> tuple[int, bytes]:
        """Send a request and give the status and the body of the answer; the status is 0 where there was none."""
        try:
            self._connection.request(method, path, body, headers)
            response = self._connection.getresponse()
            return response.status, response.read()
        except (OSError, http.client.HTTPException) as error:
            self._connection.close()
            return 0, repr(error).encode()

    def log_in(self, email: str) -> tuple[int, bytes]:
        """Log in."""
        body = json.dumps({"email": email, "password": PASSWORD}).encode()
        return self.ask("POST", f"{PREFIX}/login", {"Content-Type": "application/json"}, body)

    def close(self) -> None:
        """Hang up."""
        self._connection.close()


def address(number: int) -> str:
    """Give the address of an account."""
    return f"person-{number:02d}@example.org"


def production(url: str) -> dict[str, str]:
    """Give the settings of a service on this database."""
    return {
        "APP_ENV": "production",
        "SECRET_KEY": secrets.token_urlsafe(48),
        "AUTH_PUBLIC_URL": "https://auth.example.org",
        "DATABASE_URL": url,
        # The limits would end the storm.
        "RATELIMIT_ENABLED": "false",
    }


def fill() -> None:
    """Make the accounts, in the database of the application at hand; one hash is all of theirs."""
    with passwords.place():
        password_hash = passwords.hash(PASSWORD)
    for number in range(ACCOUNTS):
        values = {"email": address(number), "password_hash": password_hash, "is_verified": True}
        db.session.add(User.create(clock.now(), **values))
    database.commit()
