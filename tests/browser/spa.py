"""The single-page application of examples/, served from a thread of the test, so that its clock can be moved."""

import importlib.util
import re
import secrets
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from flask import Flask
from playwright.sync_api import BrowserContext, Page, Request, expect
from werkzeug.serving import WSGIRequestHandler, make_server

from authapp.extensions import db
from authapp.testing import TEST_SETTINGS, add_user
from tests.browser.conftest import Service
from tests.factories import PASSWORD
from tests.services import free_port

EXAMPLES = Path(__file__).parents[2] / "examples"
WAYS = ["cookies", "bearer"]


@dataclass
class Spa:
    """The running page, and the service of its accounts, which is on another origin where `pages` is."""

    app: Flask
    service: Service
    pages: str

    def member(self) -> str:
        """Make an account that can log in with `PASSWORD`, and give its address."""
        return add_user(self.app, f"alice-{secrets.token_hex(4)}@example.org").email

    def visit(self, window: BrowserContext, path: str = "/", *, way: str = "cookies") -> Page:
        """Open the page in a tab of this window, with the tokens kept in this way."""
        page = window.new_page()
        page.set_default_timeout(10_000)
        page.add_init_script(f"localStorage.setItem('tokens', '{way}')")
        page.goto(self.pages + path)
        return page


def module() -> ModuleType:
    """Load examples/spa/app.py."""
    spec = importlib.util.spec_from_file_location("examples_spa", EXAMPLES / "spa/app.py")
    assert spec is not None
    assert spec.loader is not None
    found = importlib.util.module_from_spec(spec)
    # Where Flask looks for the folder that the module is in.
    sys.modules[spec.name] = found
    spec.loader.exec_module(found)
    return found


@contextmanager
def serving(
    folder: Path,
    *,
    port: int | None = None,
    address: str | None = None,
    add: Callable[[Flask], None] | None = None,
    **settings: object,
) -> Iterator[Spa]:
    """Serve the page and its accounts on one origin, which people know by this address, and what is added to them."""
    with pytest.MonkeyPatch.context() as patch, ExitStack() as stack:
        port = port or free_port()
        here = f"http://127.0.0.1:{port}"
        patch.setenv("AUTH_PUBLIC_URL", address or here)
        url = f"sqlite:///{folder / 'spa.db'}"
        app = module().create_app({**TEST_SETTINGS, "DATABASE_URL": url, **settings})
        stack.callback(_close, app)
        if add:
            add(app)
        stack.enter_context(answering(app, port))
        service = Service(here)
        stack.callback(service.http.close)
        yield Spa(app, service, here)


@contextmanager
def serving_apart(folder: Path) -> Iterator[Spa]:
    """Serve the page on one host, and its accounts on another of the same site."""
    ports = free_port(), free_port()
    accounts, pages = f"http://auth.example.test:{ports[0]}", f"http://app.example.test:{ports[1]}"
    with (
        serving(folder, port=ports[0], address=accounts, CLIENT_ORIGIN=pages) as found,
        answering(module().create_pages(accounts), ports[1]),
    ):
        yield Spa(found.app, found.service, pages)


@contextmanager
def answering(app: Flask, port: int) -> Iterator[None]:
    """Answer for this application at this port until the block is left."""
    server = make_server("127.0.0.1", port, app, threaded=True, request_handler=_Quiet)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        yield
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def log_in(page: Page, email: str, password: str = PASSWORD) -> None:
    """Log in at the page."""
    page.get_by_label("E-mail").fill(email)
    page.get_by_label("Password", exact=True).fill(password)
    page.get_by_role("button", name="Log in").click()
    expect(heading(page)).to_have_text(re.compile(r"Hello \S+"))


def sent(window: BrowserContext, path: str) -> list[Request]:
    """Collect what the tabs of this window send to this route from now on."""
    seen: list[Request] = []
    window.on("request", lambda one: seen.append(one) if one.url.endswith(f"/api/auth{path}") else None)
    return seen


def heading(page: Page) -> Any:
    """Give the heading, to expect something of."""
    return page.get_by_role("heading", level=1)


class _Quiet(WSGIRequestHandler):
    """Print no request: the address of a view may hold the token of a mail."""

    def log(self, *_args: object) -> None:
        pass


def _close(app: Flask) -> None:
    with app.app_context():
        db.engine.dispose()
