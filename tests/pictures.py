"""Makes the pictures of the documents, docs/images/*.png, with a browser in front of what really runs."""

import logging
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import flask_migrate
import time_machine
from playwright.sync_api import Browser, Page, expect, sync_playwright

from authapp import create_app
from authapp.auth import fields
from authapp.extensions import db
from authapp.testing import TEST_SETTINGS, add_user
from tests.browser import spa
from tests.browser.conftest import CHROMIUM, CHROMIUM_OPTIONS, Service
from tests.services import free_port

IMAGES = Path(__file__).parents[1] / "docs/images"
MOST_BYTES = 150_000
# What is shown of times is the same whenever this runs.
NOON = "2026-11-21T12:00:00Z"
FIREFOX = "Mozilla/5.0 (X11; Ubuntu; Linux x86_64; rv:145.0) Gecko/20100101 Firefox/145.0"
IPHONE = (
    "Mozilla/5.0 (iPhone; CPU iPhone OS 18_6 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) "
    "Version/18.6 Mobile/15E148 Safari/604.1"
)


def main(images: Path = IMAGES) -> None:
    """Make every picture anew, in this folder."""
    images.mkdir(exist_ok=True)
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        playwright = stack.enter_context(sync_playwright())
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=CHROMIUM_OPTIONS)
        stack.callback(browser.close)
        stack.enter_context(time_machine.travel(NOON, tick=False))
        service = stack.enter_context(_service(folder))
        _shoot_docs(browser, service, images)
        _shoot_reset(browser, service, images)
        _shoot_spa(browser, stack.enter_context(spa.serving(folder)), images)


@contextmanager
def _service(folder: Path) -> Iterator[Service]:
    port = free_port()
    address = f"http://127.0.0.1:{port}"
    own = {"DATABASE_URL": f"sqlite:///{folder / 'service.db'}", "AUTH_PUBLIC_URL": address}
    app = create_app({**TEST_SETTINGS, **own, "AUTH_BRAND_NAME": "Lighthouse"}, environ={})
    with app.app_context():
        flask_migrate.upgrade()
    add_user(app, fields.EMAIL, fields.PASSWORD, name="Alice")
    with spa.answering(app, port):
        found = Service(address)
        yield found
        found.http.close()
    with app.app_context():
        db.engine.dispose()


def _shoot_docs(browser: Browser, service: Service, images: Path) -> None:
    page = _page(browser)
    page.goto(f"{service.address}/docs")
    expect(page.locator("#operations-register-register")).to_be_visible()
    _shoot(page, images / "docs.png")


def _shoot_reset(browser: Browser, service: Service, images: Path) -> None:
    service.post("/forgot-password", {"email": fields.EMAIL})
    page = _page(browser)
    page.goto(service.link(fields.EMAIL, "reset-password"))
    _shoot(page, images / "reset.png")
    _shoot_on_phone(page, images / "reset-phone.png")


def _shoot_spa(browser: Browser, site: spa.Spa, images: Path) -> None:
    add_user(site.app, fields.EMAIL, fields.PASSWORD, name="Alice")
    site.service.http.headers["User-Agent"] = IPHONE
    assert site.service.can_log_in(fields.EMAIL, fields.PASSWORD)
    page = _page(browser, FIREFOX)
    page.goto(site.pages)
    spa.log_in(page, fields.EMAIL, fields.PASSWORD)
    page.get_by_role("link", name="Sessions").click()
    expect(page.locator(".sessions li")).to_have_count(2)
    _shoot(page, images / "spa.png")
    page.emulate_media(color_scheme="dark")
    _shoot_on_phone(page, images / "spa-phone.png")


def _page(browser: Browser, user_agent: str | None = None) -> Page:
    window = browser.new_context(
        viewport={"width": 1100, "height": 640}, timezone_id="UTC", color_scheme="light", user_agent=user_agent
    )
    page = window.new_page()
    page.set_default_timeout(20_000)
    return page


def _shoot_on_phone(page: Page, file: Path) -> None:
    page.set_viewport_size({"width": 390, "height": 640})
    _shoot(page, file)


def _shoot(page: Page, file: Path) -> None:
    page.evaluate("document.activeElement?.blur()")
    picture = page.screenshot(animations="disabled")
    assert len(picture) <= MOST_BYTES, f"{file.name} has {len(picture)} bytes"
    file.write_bytes(picture)


if __name__ == "__main__":
    logging.disable()
    main()
