"""The landing pages in a browser: with and without script, on a phone and a desk, by keyboard alone."""

import os
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Page, Route, expect

from authapp.links import CHANGE_EMAIL, RESET_PASSWORD, VERIFY_EMAIL
from tests.browser.conftest import OpenPage, Service
from tests.factories import OTHER_PASSWORD, PASSWORD

pytestmark = pytest.mark.server

PHONE, DESK = {"width": 390, "height": 844}, {"width": 1280, "height": 800}
# What Playwright makes each window with: every size, theme and way, but not every mixture.
WINDOWS: dict[str, dict[str, Any]] = {
    "phone-light-script": {"viewport": PHONE, "color_scheme": "light"},
    "phone-dark-plain": {"viewport": PHONE, "color_scheme": "dark", "java_script_enabled": False},
    "desk-dark-script": {"viewport": DESK, "color_scheme": "dark"},
    "desk-light-plain": {"viewport": DESK, "color_scheme": "light", "java_script_enabled": False},
}
DONE = {
    VERIFY_EMAIL: "Your account has been activated.",
    RESET_PASSWORD: "Your password has been changed. You can log in now.",
    CHANGE_EMAIL: "Your e-mail address has been changed.",
}
# A folder to look at the pages in, when one is named.
SCREENSHOTS = os.environ.get("TEST_SCREENSHOTS")


def shoot(page: Page, *names: str) -> None:
    if SCREENSHOTS:
        page.screenshot(path=Path(SCREENSHOTS) / f"{'-'.join(names)}.png")


def tab_to(page: Page, selector: str) -> None:
    """Press Tab until this has the focus; it must show."""
    for _ in range(10):
        page.keyboard.press("Tab")
        if page.locator(f"{selector}:focus").count():
            outline = page.locator(selector).evaluate("element => getComputedStyle(element).outlineStyle")
            assert outline == "solid"
            return
    pytest.fail(f"Tab never came to {selector}")


def type_passwords(page: Page, password: str, again: str | None = None) -> None:
    tab_to(page, "#new_password")
    page.keyboard.insert_text(password)
    tab_to(page, "#new_password_confirm")
    page.keyboard.insert_text(password if again is None else again)


def press_button(page: Page) -> None:
    tab_to(page, "button")
    page.keyboard.press("Enter")


def posts(page: Page) -> list[str]:
    """Collect the addresses that are posted to from now on."""
    seen: list[str] = []
    page.on("request", lambda request: seen.append(request.url) if request.method == "POST" else None)
    return seen


@pytest.mark.parametrize("window", WINDOWS)
@pytest.mark.parametrize("purpose", DONE)
def test_link_leads_to_its_end_by_keyboard_alone(service: Service, open_page: OpenPage, purpose: str, window: str):
    alice = service.person(purpose)
    page = open_page(alice.link, **WINDOWS[window])
    shoot(page, purpose, window, "1")
    assert page.locator("body").evaluate("body => body.scrollWidth <= window.innerWidth")
    if purpose == RESET_PASSWORD:
        type_passwords(page, OTHER_PASSWORD)
    assert not alice.is_done()
    press_button(page)
    expect(page.locator("main")).to_contain_text(DONE[purpose])
    shoot(page, purpose, window, "2")
    assert page.title() == f"{page.locator('h1').inner_text()} · Smith & Sons"
    assert alice.is_done()
    if window.endswith("script"):
        assert page.url.endswith(f"/{purpose}")
        expect(page.locator("h1")).to_be_focused()
        expect(page.get_by_role("status")).to_contain_text(DONE[purpose])
    else:
        assert page.url.endswith(f"/{purpose}/page")


def test_opening_a_page_sends_nothing(service: Service, open_page: OpenPage):
    """Some mail scanners run the script of what they open."""
    page = open_page("about:blank")
    sent = posts(page)
    for purpose in DONE:
        alice = service.person(purpose)
        page.goto(alice.link)
        page.mouse.move(200, 200)
        page.evaluate("new Promise(done => setTimeout(done, 100))")
        assert sent == []
        assert not alice.is_done()


@pytest.mark.parametrize("window", ["phone-light-script", "phone-dark-plain"])
def test_weak_password_is_told_at_its_field(service: Service, open_page: OpenPage, complaints: list[str], window: str):
    alice = service.person(RESET_PASSWORD)
    page = open_page(alice.link, **WINDOWS[window])
    type_passwords(page, "password1")
    press_button(page)
    field = page.locator("#new_password")
    expect(field).to_have_attribute("aria-invalid", "true")
    expect(field).to_be_focused()
    expect(field).to_have_accessible_description(
        "At least 8 characters. Several words together are strong, and easy to remember. "
        "This password is too easy to guess. This is a very common password. "
        "Add another word or two. Uncommon words are better."
    )
    shoot(page, "weak", window)
    # The browser tells of any answer that is an error.
    assert [complaint for complaint in complaints if "422" not in complaint] == []
    complaints.clear()
    for password in page.locator("input[type=password]").all():
        password.fill("")
    expect(field).to_have_attribute("aria-invalid", "false" if window.endswith("script") else "true")
    page.locator("h1").click()
    type_passwords(page, OTHER_PASSWORD)
    press_button(page)
    expect(page.locator("main")).to_contain_text(DONE[RESET_PASSWORD])
    assert alice.is_done()


def test_passwords_that_differ_are_not_sent(service: Service, open_page: OpenPage):
    page = open_page(service.person(RESET_PASSWORD).link)
    sent = posts(page)
    press_button(page)
    expect(page.locator("#new_password")).to_be_focused()
    expect(page.locator("#new_password-problems")).to_have_text("Please enter a password.")
    page.keyboard.insert_text(OTHER_PASSWORD)
    tab_to(page, "#new_password_confirm")
    page.keyboard.insert_text(PASSWORD)
    page.keyboard.press("Enter")
    expect(page.locator("#new_password_confirm")).to_be_focused()
    expect(page.locator("#new_password_confirm")).to_have_accessible_description("The passwords differ.")
    expect(page.locator("#new_password-problems")).to_be_hidden()
    assert sent == []


def test_password_can_be_shown(service: Service, open_page: OpenPage):
    link = service.person(RESET_PASSWORD).link
    page = open_page(link)
    type_passwords(page, OTHER_PASSWORD)
    tab_to(page, "#reveal")
    for kind in ("text", "password"):
        page.keyboard.press("Space")
        expect(page.locator("#new_password")).to_have_attribute("type", kind)
        expect(page.locator("#new_password_confirm")).to_have_attribute("type", kind)
    expect(open_page(link, java_script_enabled=False).get_by_text("Show the password")).to_be_hidden()


def test_password_can_be_pasted(service: Service, open_page: OpenPage):
    page = open_page(service.person(RESET_PASSWORD).link)
    with_what = "new ClipboardEvent('paste', {bubbles: true, cancelable: true})"
    for field in ("#new_password", "#new_password_confirm"):
        # What dispatching gives is whether nobody has prevented it.
        assert page.locator(field).evaluate(f"element => element.dispatchEvent({with_what})")


def test_form_is_sent_once_however_often_its_button_is_pressed(service: Service, open_page: OpenPage):
    alice = service.person(RESET_PASSWORD)
    page = open_page(alice.link)
    sent: list[str] = posts(page)
    waiting: list[Route] = []
    page.route("**/reset-password", lambda route: waiting.extend([route]))
    type_passwords(page, OTHER_PASSWORD)
    press_button(page)
    expect(page.locator("button")).to_be_disabled()
    expect(page.get_by_role("status")).to_have_text("Sending …")
    page.evaluate("document.querySelector('form').requestSubmit()")
    page.locator("#new_password_confirm").press("Enter")
    page.locator("button").click(force=True)
    assert len(sent) == len(waiting) == 1
    waiting[0].continue_()
    expect(page.locator("main")).to_contain_text(DONE[RESET_PASSWORD])
    assert len(sent) == 1
    assert alice.is_done()


@pytest.mark.parametrize(
    ("answer", "told"),
    [
        ({}, "The server cannot be reached. Please try again."),
        ({"status": 502, "body": "<h1>Bad gateway</h1>"}, "That did not work. Please try again in a moment."),
        (
            {"status": 503, "json": {"success": False, "error": {"code": "SERVER_BUSY", "message": "Busy."}}},
            "Busy.",
        ),
    ],
)
def test_what_came_to_nothing_can_be_sent_again(
    service: Service, open_page: OpenPage, complaints: list[str], answer: dict[str, Any], told: str
):
    alice = service.person(VERIFY_EMAIL)
    page = open_page(alice.link)
    page.route("**/verify-email", lambda route: route.fulfill(**answer) if answer else route.abort(), times=1)
    press_button(page)
    expect(page.get_by_role("alert")).to_have_text(told)
    shoot(page, "again", told[:4])
    assert len(complaints) == 1
    complaints.clear()
    press_button(page)
    expect(page.locator("main")).to_contain_text(DONE[VERIFY_EMAIL])
    assert alice.is_done()


@pytest.mark.parametrize(
    ("purpose", "window"), list(zip(DONE, ["phone-light-script", "desk-light-plain", "desk-dark-script"], strict=True))
)
def test_dead_link_says_what_to_do_next(
    service: Service, open_page: OpenPage, complaints: list[str], purpose: str, window: str
):
    page = open_page(f"{service.address}/api/auth/{purpose}?token=dead", **WINDOWS[window])
    # Nobody is asked for a password in vain.
    if purpose != RESET_PASSWORD:
        press_button(page)
    expect(page.locator("h1")).to_have_text("This link does not work")
    expect(page.locator("main")).to_contain_text("Invalid or expired token")
    expect(page.locator("form")).to_have_count(0)
    expect(page).to_have_title("This link does not work · Smith & Sons")
    shoot(page, "dead", purpose, window)
    assert [complaint for complaint in complaints if "400" not in complaint] == []
    complaints.clear()


def test_token_leaves_the_address_bar_and_outlives_a_reload(
    service: Service, open_page: OpenPage, complaints: list[str]
):
    """A phone loads a page again that it had put aside, for instance while its user looked up a password."""
    alice = service.person(RESET_PASSWORD)
    page = open_page(alice.link)
    assert page.url.endswith("/reset-password")
    page.reload()
    expect(page.locator("form")).to_have_count(1)
    assert page.url.endswith("/reset-password")
    # The address alone is none that the server knows a page for.
    assert len(complaints) == 1
    complaints.clear()
    type_passwords(page, OTHER_PASSWORD)
    press_button(page)
    expect(page.locator("main")).to_contain_text(DONE[RESET_PASSWORD])
    assert alice.is_done()


def test_button_has_the_operators_colour_and_in_the_dark_a_lighter_one(service: Service, open_page: OpenPage):
    page = open_page(f"{service.address}/api/auth/verify-email?token=x", color_scheme="light")
    expect(page.locator("button")).to_have_css("background-color", "rgb(11, 110, 79)")
    expect(page.locator("button")).to_have_css("color", "rgb(255, 255, 255)")
    page.emulate_media(color_scheme="dark")
    expect(page.locator("button")).not_to_have_css("background-color", "rgb(11, 110, 79)")
    expect(page.locator("button")).to_have_css("color", "rgb(0, 0, 0)")
