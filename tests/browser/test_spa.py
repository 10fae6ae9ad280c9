"""The single-page application of examples/, in a browser: what must hold between its tabs, in either way."""

import os
import re
import sys
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import httpx
import pytest
import time_machine
from flask import Flask
from playwright.sync_api import Browser, BrowserContext, Page, Route, expect

from authapp.auth import fields
from authapp.protect import login_required
from authapp.testing import add_user
from tests.browser import spa
from tests.browser.spa import Spa
from tests.factories import PASSWORD
from tests.services import Server, accepts, free_port, running

pytestmark = pytest.mark.server

# The one way is for every run; the other is tried with the walks.
WAYS = ["cookies", pytest.param("bearer", marks=pytest.mark.clients)]
EXPIRED = timedelta(minutes=31)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Spa]:
    """The page and its accounts."""
    with spa.serving(tmp_path_factory.mktemp("spa")) as found:
        yield found


@pytest.fixture
def window(browser: Browser) -> Iterator[BrowserContext]:
    """A window that nobody has signed in in yet."""
    context = browser.new_context(viewport={"width": 1280, "height": 800})
    yield context
    context.close()


@pytest.mark.parametrize("way", WAYS)
def test_two_tabs_outlive_their_access_tokens_in_one_session_and_leave_together(
    site: Spa, window: BrowserContext, way: str
):
    alice = site.member()
    one = site.visit(window, way=way)
    spa.log_in(one, alice)
    other = site.visit(window, way=way)
    expect(spa.heading(other)).to_contain_text("Hello")
    refreshed = spa.sent(window, "/refresh")
    with time_machine.travel(EXPIRED):
        for tab in (one, other):
            tab.evaluate("document.querySelector('nav a[href=\"/sessions\"]').click()")
        for tab in (one, other):
            expect(tab.get_by_text("this one")).to_be_visible()
            expect(tab.locator(".sessions li")).to_have_count(1)
        # Cookies are every tab's, access tokens are one's own.
        assert len(refreshed) == {"cookies": 1, "bearer": 2}[way]
        one.get_by_role("button", name="Log out").click()
        for tab in (one, other):
            expect(spa.heading(tab)).to_have_text("Log in")


@pytest.mark.clients
@pytest.mark.parametrize("ending", ["broken off", "silence"])
@pytest.mark.parametrize("way", spa.WAYS)
def test_lost_answer_of_a_refresh_signs_nobody_out(site: Spa, window: BrowserContext, way: str, ending: str):
    alice = site.member()
    page = site.visit(window, way=way)
    spa.log_in(page, alice)
    lost: list[str] = []

    def lose_one(route: Route) -> None:
        if lost:
            route.continue_()
            return
        # By another client: Playwright's own would keep the cookies of the answer.
        kept = "; ".join(f"{one['name']}={one['value']}" for one in window.cookies(route.request.url))
        headers = {**route.request.headers, "Cookie": kept}
        answer = httpx.post(route.request.url, headers=headers, content=route.request.post_data or "")
        assert answer.is_success, answer.text
        lost.append(route.request.url)
        if ending == "broken off":
            route.abort()

    page.route("**/refresh", lose_one)
    with time_machine.travel(EXPIRED):
        page.get_by_role("link", name="Sessions").click()
        expect(page.get_by_text("this one")).to_be_visible(timeout=15_000)
    assert len(lost) == 1


@pytest.mark.clients
@pytest.mark.parametrize("way", spa.WAYS)
def test_page_on_another_host_of_the_site_does_the_same(
    window: BrowserContext, tmp_path_factory: pytest.TempPathFactory, way: str
):
    with spa.serving_apart(tmp_path_factory.mktemp("apart")) as site:
        alice = site.member()
        page = site.visit(window, way=way)
        spa.log_in(page, alice)
        # What needs a CSRF token, which a page on another host cannot read from a cookie.
        page.get_by_label("Name").fill("Alice Adams")
        page.get_by_role("button", name="Save").click()
        expect(page.get_by_role("status")).to_have_text("Saved.")
        with time_machine.travel(EXPIRED):
            page.reload()
            expect(spa.heading(page)).to_have_text("Hello Alice Adams")
            page.get_by_role("button", name="Log out").click()
            expect(spa.heading(page)).to_have_text("Log in")


@pytest.mark.clients
def test_too_many_tries_are_told_with_the_time_to_wait(
    window: BrowserContext, tmp_path_factory: pytest.TempPathFactory
):
    with spa.serving(tmp_path_factory.mktemp("limited"), RATELIMIT_ENABLED=True) as site:
        alice = site.member()
        for _ in range(10):
            assert not site.service.can_log_in(alice, "wrong")
        page = site.visit(window)
        page.get_by_label("E-mail").fill(alice)
        page.get_by_label("Password", exact=True).fill(PASSWORD)
        button = page.get_by_role("button", name="Log in")
        button.click()
        expect(page.get_by_role("alert")).to_contain_text("Too many tries. Please wait a while. You can try again in")
        expect(button).to_have_attribute("aria-disabled", "true")


@pytest.mark.clients
def test_lost_network_signs_nobody_out(site: Spa, window: BrowserContext):
    page = site.visit(window)
    spa.log_in(page, site.member())
    window.set_offline(True)
    expect(page.get_by_role("status")).to_have_text("You are offline.")
    page.get_by_role("link", name="Sessions").click()
    expect(page.get_by_role("alert")).to_have_text("The server cannot be reached. Please try again.")
    window.set_offline(False)
    page.get_by_role("link", name="Account", exact=True).click()
    expect(spa.heading(page)).to_contain_text("Hello")


@pytest.mark.clients
def test_logout_that_is_refused_for_its_csrf_token_signs_nobody_out(site: Spa, window: BrowserContext):
    """As where another front end of the same service has signed somebody else in meanwhile."""
    page = site.visit(window)
    spa.log_in(page, site.member())
    page.evaluate("document.cookie = 'csrf_access_token=another; path=/'")
    page.get_by_role("button", name="Log out").click()
    expect(page.get_by_role("status")).to_contain_text("X-CSRF-TOKEN")
    assert {cookie["name"] for cookie in window.cookies()} >= {"access_token", "logged_in"}


@pytest.mark.clients
def test_answer_that_comes_late_is_not_written_into_another_view(site: Spa, window: BrowserContext):
    page = site.visit(window)
    late = hold_back(page, "/login/json")
    page.get_by_role("button", name="Log in").click()
    page.get_by_role("link", name="Forgot your password?").click()
    expect(spa.heading(page)).to_have_text("Forgot your password?")
    answer(page, late)
    expect(page.locator("#email-problems")).to_be_empty()
    page.get_by_role("link", name="Log in").click()
    spa.log_in(page, site.member())
    page.get_by_role("link", name="Sessions").click()
    late = hold_back(page, "/me")
    page.get_by_role("link", name="Account", exact=True).click()
    page.get_by_role("link", name="Sessions").click()
    expect(page.get_by_text("this one")).to_be_visible()
    answer(page, late)
    expect(spa.heading(page)).to_have_text("Where you are signed in")
    expect(page.locator("[role=alert]")).to_be_empty()


def hold_back(page: Page, path: str) -> list[Route]:
    """Hold back the next request of this route, and give where it will be found."""
    late: list[Route] = []

    def keep(route: Route) -> None:
        late.append(route)

    page.route(f"**/api/auth{path}", keep, times=1)
    return late


def answer(page: Page, late: list[Route]) -> None:
    """Let the answer come, and give the page the time to do something with it."""
    (route,) = late
    with page.expect_request_finished():
        route.continue_()
    page.wait_for_timeout(200)


@pytest.mark.clients
def test_session_that_was_ended_elsewhere_is_noticed_at_the_next_step(site: Spa, window: BrowserContext):
    alice = site.member()
    page = site.visit(window)
    spa.log_in(page, alice)
    elsewhere = site.service.post("/login", {"email": alice, "password": PASSWORD}).json()["data"]["access_token"]
    ended = site.service.http.delete(
        f"{site.service.address}/api/auth/sessions", headers={"Authorization": f"Bearer {elsewhere}"}
    )
    assert ended.json()["data"] == {"revoked": 1}
    page.get_by_role("link", name="Sessions").click()
    expect(spa.heading(page)).to_have_text("Log in")
    expect(page.get_by_role("status")).to_have_text("You are logged out.")


@pytest.mark.clients
def test_what_the_page_about_clients_shows_of_calling_one_runs(
    window: BrowserContext, root: Path, tmp_path_factory: pytest.TempPathFactory
):
    (program,) = re.findall(r"^```js\n(import .*?)^```$", (root / "docs/clients.md").read_text(), re.M | re.S)
    imported = re.compile(r'^import (\{.*\}) from "\./clients/(.*)";$', re.M)
    program = imported.sub(r'const \1 = await import("/clients/\2");', program)
    with spa.serving(tmp_path_factory.mktemp("own"), add=add_notes) as site:
        add_user(site.app, fields.EMAIL, fields.PASSWORD)
        page = site.visit(window)
        printed: list[str] = []
        page.on("console", lambda told: printed.append(told.text))
        page.evaluate(f"async () => {{ {program} }}")
    assert printed == [fields.EMAIL, "2", "false undefined"]


def add_notes(app: Flask) -> None:
    """Give the application a route of its own."""

    @app.get("/notes")
    @login_required
    def notes() -> dict[str, list[str]]:
        return {"notes": ["one", "two"]}


@pytest.mark.clients
def test_page_alone_starts_as_the_document_says(root: Path, tmp_path: Path):
    (command,) = re.findall(r"^\.venv/bin/(flask .*create_pages.*)$", (root / "docs/clients.md").read_text(), re.M)
    port = free_port()
    server = Server(
        ["/bin/sh", "-c", f"exec {sys.executable} -m {command.replace('3000', str(port))}"],
        port=port,
        log=tmp_path / "log",
        answers=lambda: accepts(port),
        environment={"PATH": os.environ["PATH"], "PYTHONPATH": str(root), "PWD": str(root)},
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(root)
        with running(server):
            answer = httpx.get(f"http://127.0.0.1:{port}/sessions")
    assert '<meta name="service" content="http://127.0.0.1:8000">' in answer.text
    assert "connect-src 'self' http://127.0.0.1:8000;" in answer.headers["Content-Security-Policy"]
