"""Debian's Chromium, driven through the pages of a service that really runs."""

import secrets
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import flask_migrate
import httpx
import pytest
from playwright.sync_api import Browser, BrowserContext, Page, sync_playwright

from authapp import create_app
from authapp.extensions import db
from authapp.links import CHANGE_EMAIL, RESET_PASSWORD, VERIFY_EMAIL
from authapp.testing import FAST_PASSWORD_HASH, TEST_SETTINGS
from tests.factories import OTHER_PASSWORD, PASSWORD
from tests.server.conftest import running
from tests.services import lacking

CHROMIUM = Path("/usr/bin/chromium")
CHROMIUM_OPTIONS = [
    "--no-sandbox",
    "--disable-gpu",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    # Names of one site, for what browsers do between its hosts.
    "--host-resolver-rules=MAP *.example.test 127.0.0.1",
]
MAIL_SECONDS = 10

OpenPage = Callable[..., Page]


@dataclass
class Service:
    """A running service, as a person with a mailbox meets it."""

    address: str
    http: httpx.Client = field(default_factory=httpx.Client)

    def post(self, path: str, body: dict[str, str], token: str | None = None) -> httpx.Response:
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        return self.http.post(f"{self.address}/api/auth{path}", json=body, headers=headers)

    def can_log_in(self, email: str, password: str = PASSWORD) -> bool:
        return self.post("/login", {"email": email, "password": password}).status_code == 200

    def link(self, email: str, purpose: str) -> str:
        """Wait for the mail with a link for this purpose and give the link."""
        deadline = time.monotonic() + MAIL_SECONDS
        while time.monotonic() < deadline:
            box = self.http.get(f"{self.address}/dev/mailbox", headers={"Accept": "application/json"}).json()
            for mail in box:
                if mail["to"] == email and mail["links"] and f"/{purpose}?" in mail["links"][0]:
                    return str(mail["links"][0])
            time.sleep(0.05)
        pytest.fail(f"no mail for {purpose}")

    def person(self, purpose: str) -> "Person":
        """Register somebody and take them as far as a mail for this purpose."""
        email = f"alice-{secrets.token_hex(4)}@example.org"
        assert self.post("/register", {"email": email, "password": PASSWORD}).status_code == 201
        link = self.link(email, VERIFY_EMAIL)
        if purpose == VERIFY_EMAIL:
            return Person(self, purpose, link, email, PASSWORD)
        assert self.post("/verify-email", {"token": link.partition("token=")[2]}).status_code == 200
        if purpose == RESET_PASSWORD:
            assert self.post("/forgot-password", {"email": email}).status_code == 202
            return Person(self, purpose, self.link(email, purpose), email, OTHER_PASSWORD)
        token = self.post("/login", {"email": email, "password": PASSWORD}).json()["data"]["access_token"]
        fresh = f"new-{email}"
        assert self.post("/change-email", {"new_email": fresh, "password": PASSWORD}, token).status_code == 202
        return Person(self, purpose, self.link(fresh, CHANGE_EMAIL), fresh, PASSWORD)


@dataclass
class Person:
    """Somebody with a link; once it has done its work, they log in with this address and this password."""

    service: Service
    purpose: str
    link: str
    email: str
    password: str

    def is_done(self) -> bool:
        return self.service.can_log_in(self.email, self.password)


@pytest.fixture(scope="package")
def browser() -> Iterator[Browser]:
    """The one browser; without it: skipped, or failed where services are required.

    It ends with this folder: Playwright has an event loop running for as long, which other tests could trip over.
    """
    if not CHROMIUM.exists():
        lacking(f"{CHROMIUM} is missing")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=CHROMIUM_OPTIONS)
        yield browser
        browser.close()


@pytest.fixture(scope="package")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """A service with colours of its own."""
    names = {"AUTH_BRAND_NAME": "Smith & Sons", "AUTH_BRAND_COLOR": "#0b6e4f"}
    with serving(tmp_path_factory.mktemp("service"), **names) as found:
        yield found


@contextmanager
def serving(folder: Path, **settings: str) -> Iterator[Service]:
    """Run a service in development, which keeps its mails in a mailbox, with these settings."""
    url = f"sqlite:///{folder / 'test.db'}"
    with create_app({**TEST_SETTINGS, "DATABASE_URL": url}, environ={}).app_context():
        flask_migrate.upgrade()
        db.engine.dispose()
    environment = {
        "APP_ENV": "development",
        "SECRET_KEY": secrets.token_urlsafe(48),
        "DATABASE_URL": url,
        "AUTH_PASSWORD_HASH": FAST_PASSWORD_HASH,
        "WEB_CONCURRENCY": "1",
        **settings,
    }
    with running(Path(__file__).parents[2], environment, folder) as address:
        found = Service(address)
        yield found
        found.http.close()


@pytest.fixture
def complaints() -> list[str]:
    """What the browser complained of: errors on its console, blocked loads, uncaught exceptions."""
    return []


@pytest.fixture(scope="package")
def windows(browser: Browser) -> Callable[..., BrowserContext]:
    """Make a window with options of Playwright's `new_context`; one with the same options is used again."""
    made: dict[str, BrowserContext] = {}

    def window(**options: Any) -> BrowserContext:
        key = repr(sorted(options.items()))
        if key not in made:
            made[key] = browser.new_context(**options)
        return made[key]

    return window


@pytest.fixture
def open_page(windows: Callable[..., BrowserContext], complaints: list[str]) -> Iterator[OpenPage]:
    """Open an address in a tab of its own, in a window with these options.

    The test fails if the browser complained of anything that it did not take from `complaints`.
    """
    pages: list[Page] = []

    def open(address: str, **options: Any) -> Page:
        page = windows(**options).new_page()
        pages.append(page)
        page.set_default_timeout(5000)
        page.on("console", lambda told: complaints.append(told.text) if told.type in ("error", "warning") else None)
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.goto(address)
        return page

    yield open
    for page in pages:
        page.close()
    assert complaints == []
