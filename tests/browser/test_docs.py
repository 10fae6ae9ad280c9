"""Swagger UI at `/docs` in a browser: logging in with its Authorize dialog, and calling the API."""

import os
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import Page, Route, expect

from tests.browser.conftest import OpenPage, Service
from tests.factories import PASSWORD

pytestmark = pytest.mark.server

SCREENSHOTS = os.environ.get("TEST_SCREENSHOTS")


def test_who_logs_in_by_the_dialog_can_call_me(open_page: OpenPage, service: Service):
    alice = service.person("reset-password").email
    page = open_page("about:blank")
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    page.goto(f"{service.address}/docs/")
    assert page.url == f"{service.address}/docs"
    expect(page.locator(".info .title")).to_contain_text("authapp")
    expect(page.locator("#operations-register-register")).to_be_visible()
    shoot(page, "docs")

    page.get_by_role("button", name="Authorize").first.click()
    form = page.locator(".auth-container").first
    expect(form).to_contain_text("passwordLogin")
    expect(form.locator("#oauth_username")).to_be_focused()
    # No client, no scopes: an address and a password are all there is to fill in.
    expect(form.locator("label:visible")).to_have_text(["username:", "password:"])
    expect(page.locator(".scope-def:visible")).to_have_count(0)
    shoot(page, "docs-authorize")
    form.locator("#oauth_username").fill(alice)
    form.locator("#oauth_password").fill(PASSWORD)
    form.locator("button.authorize").click()
    expect(form).to_contain_text("Authorized")
    shoot(page, "docs-authorized")
    page.get_by_role("button", name="Close").first.click()

    me = page.locator("#operations-me-get_me")
    me.locator(".opblock-summary-control").click()
    me.get_by_role("button", name="Execute").click()
    answer = me.locator(".live-responses-table .response")
    expect(answer.locator(".response-col_status")).to_contain_text("200")
    expect(answer.locator(".response-col_description")).to_contain_text(alice)
    answer.scroll_into_view_if_needed()
    shoot(page, "docs-me")
    assert {urlsplit(url).netloc for url in asked if not url.startswith("data:")} == {urlsplit(service.address).netloc}


def test_who_only_presses_execute_gets_an_account(open_page: OpenPage, service: Service, complaints: list[str]):
    page = open_page(f"{service.address}/docs", viewport={"width": 390, "height": 844})
    # Swagger UI is slow to draw where the processor has much to do.
    page.set_default_timeout(15_000)
    register = page.locator("#operations-register-register")
    register.locator(".opblock-summary-control").click()
    expect(register.locator(".parameters-container")).to_contain_text("No parameters")
    execute = register.get_by_role("button", name="Execute")
    status = register.locator(".live-responses-table .response .response-col_status")
    execute.click()
    expect(status).to_contain_text("201")
    assert page.locator("body").evaluate("body => body.scrollWidth <= window.innerWidth")
    shoot(page, "docs-phone-json")

    register.locator(".opblock-section-request-body select").first.select_option("application/x-www-form-urlencoded")
    execute.click()
    # There was nothing else to refuse.
    expect(status).to_contain_text("409")
    shoot(page, "docs-phone-form")
    assert [complaint for complaint in complaints if "409" not in complaint] == []
    complaints.clear()


def test_page_asks_nobody_else_under_a_public_name_either(open_page: OpenPage, service: Service):
    """Swagger UI has documents of public hosts checked on the internet, unless it is told not to."""
    page = open_page("about:blank")
    asked: list[str] = []

    def serve(route: Route) -> None:
        asked.append(route.request.url)
        address = urlsplit(route.request.url)._replace(netloc=urlsplit(service.address).netloc, scheme="http").geturl()
        route.fulfill(response=route.fetch(url=address))

    page.route("**/*", serve)
    page.goto("https://auth.example.org/docs")
    expect(page.locator("#operations-register-register")).to_be_visible()
    assert {urlsplit(url).netloc for url in asked} == {"auth.example.org"}


def shoot(page: Page, name: str) -> None:
    if SCREENSHOTS:
        page.screenshot(path=Path(SCREENSHOTS) / f"{name}.png")
