"""The scripts of docs/protect.md, run in a browser against a service that hands out cookies."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Page, Route

from tests.browser.conftest import OpenPage, Service, serving
from tests.factories import PASSWORD

pytestmark = pytest.mark.server

EXPIRED = {"success": False, "error": {"code": "TOKEN_EXPIRED", "message": "Token has expired"}}
PAGE = Path(__file__).parents[2] / "docs/protect.md"
ORIGINS = ["the service's own origin", "another origin"]


@pytest.fixture(scope="module")
def cookie_service(service: Service, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """A service whose tokens are cookies; the other service stands for a front end on another origin."""
    settings = {"AUTH_COOKIES": "true", "CLIENT_ORIGIN": service.address}
    with serving(tmp_path_factory.mktemp("cookies"), **settings) as found:
        yield found


def script(service: Service, origin: str) -> str:
    """Give the script that the page shows for a front end there."""
    ours: str
    theirs: str
    ours, theirs = re.findall(r"^```javascript\n(.*?)^```$", PAGE.read_text(), re.M | re.S)
    if origin == ORIGINS[0]:
        return ours
    call = ours[ours.index("async function call") :]
    return theirs.replace("https://auth.example.com", service.address) + call


def status_of(page: Page, method: str, path: str, body: object = None) -> int:
    asked = "async ([method, path, body]) => (await call(method, path, body ?? undefined)).status"
    status: int = page.evaluate(asked, [method, path, body])
    return status


@pytest.mark.parametrize("origin", ORIGINS)
def test_script_of_the_page_logs_in_refreshes_and_logs_out(
    cookie_service: Service, service: Service, open_page: OpenPage, complaints: list[str], origin: str
):
    alice = cookie_service.person("reset-password").email
    front_end = cookie_service.address if origin == ORIGINS[0] else service.address
    # Any page of that origin will do, were it not for the policy of ours.
    page = open_page(f"{front_end}/api/auth/verify-email?token=none", bypass_csp=True)
    page.add_script_tag(content=script(cookie_service, origin))
    assert status_of(page, "GET", "/me") == 401
    assert status_of(page, "POST", "/login", {"email": alice, "password": PASSWORD}) == 200
    assert status_of(page, "PATCH", "/me", {"name": "Alice"}) == 200

    asked: list[str] = []

    def expire(route: Route) -> None:
        if route.request.method != "OPTIONS":
            asked.append(route.request.url.rpartition("/")[2])
        if asked != ["me"] or route.request.method == "OPTIONS":
            route.continue_()
            return
        headers = {"Access-Control-Allow-Origin": front_end, "Access-Control-Allow-Credentials": "true"}
        route.fulfill(status=401, json=EXPIRED, headers=headers)

    page.route("**/api/auth/*", expire)
    assert status_of(page, "GET", "/me") == 200
    assert asked == ["me", "refresh", "me"]
    page.unroute("**/api/auth/*")
    assert status_of(page, "POST", "/logout") == 200
    assert status_of(page, "GET", "/me") == 401
    # The browser tells of each 401, and of nothing else.
    assert {told.partition("status of ")[2][:3] for told in complaints} == {"401"}, complaints
    complaints.clear()
