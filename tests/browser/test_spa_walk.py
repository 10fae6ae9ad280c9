"""The walk of a newcomer through the example page, and of axe through every page that they meet."""

from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, BrowserContext, Page, expect

from tests.browser import looks, spa
from tests.browser.conftest import Service
from tests.browser.spa import Spa, heading
from tests.factories import OTHER_PASSWORD, PASSWORD

pytestmark = [pytest.mark.server, pytest.mark.clients]

EMAIL = "alice@example.org"
NEXT_PASSWORD = "copper-lantern-42-hums"
REFUSED = ("400", "401", "403", "409", "422")


@pytest.fixture
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Spa]:
    """The page and its accounts; the limits are on, as they will be."""
    with spa.serving(tmp_path_factory.mktemp("spa"), RATELIMIT_ENABLED=True) as found:
        yield found


@pytest.fixture
def window(browser: Browser) -> Iterator[BrowserContext]:
    """A window that nobody has signed in in yet, which complains of nothing but refusals."""
    context = browser.new_context()
    complaints: list[str] = []
    context.on("console", lambda told: complaints.append(told.text) if told.type in ("error", "warning") else None)
    context.on("weberror", lambda error: complaints.append(str(error.error)))
    yield context
    context.close()
    # The browser tells of every answer that is an error.
    assert [told for told in complaints if not any(f"status of {code}" in told for code in REFUSED)] == []


class Walker:
    """Somebody at the page: fills in, presses, reads, and has axe look where they are."""

    def __init__(self, page: Page, *, judged: bool = False) -> None:
        self.page, self._judged = page, judged

    def looks_well(self, name: str) -> None:
        if self._judged:
            looks.check(self.page, name)

    def fill(self, **fields: str) -> None:
        for name, value in fields.items():
            self.page.locator(f"main #{name}").fill(value)

    def press(self, name: str) -> None:
        self.page.get_by_role("button", name=name, exact=True).click()

    def follow(self, name: str) -> None:
        self.page.get_by_role("link", name=name).click()

    def reads(self, title: str) -> None:
        expect(heading(self.page)).to_have_text(title)
        expect(heading(self.page)).to_be_focused()
        expect(self.page).to_have_title(f"{title} · Lighthouse")

    def is_told(self, text: str) -> None:
        expect(self.page.get_by_role("status")).to_contain_text(text)

    def is_refused(self, field: str, text: str) -> None:
        expect(self.page.locator(f"#{field}-problems")).to_contain_text(text)
        expect(self.page.locator(f"#{field}")).to_be_focused()
        expect(self.page.locator(f"#{field}")).to_have_attribute("aria-invalid", "true")


@pytest.mark.parametrize("way", spa.WAYS)
def test_newcomer_walks_through_every_page(site: Spa, window: BrowserContext, way: str):
    # The pages are the same in both ways.
    alice = Walker(site.visit(window, way=way), judged=way == "cookies")
    alice.reads("Log in")
    alice.looks_well("login")
    register(alice)
    verify(alice, site)
    use(alice, site)
    other = Walker(site.visit(window, way=way))
    other.reads("Hello Alice Adams")
    change_password(alice)
    other.follow("Sessions")
    expect(other.page.get_by_text("this one")).to_be_visible()
    leave(alice, other)
    reset(alice, site)


def register(alice: Walker) -> None:
    alice.follow("Make an account")
    alice.reads("Make an account")
    alice.looks_well("register")
    alice.press("Make my account")
    alice.is_refused("email", "Missing data")
    alice.fill(name="Alice", email=EMAIL, password="password1")
    alice.press("Make my account")
    alice.is_refused("password", "too easy to guess")
    alice.looks_well("register-refused")
    alice.fill(password=PASSWORD)
    alice.press("Make my account")
    alice.reads("Look at your mail")
    alice.looks_well("mail")


def verify(alice: Walker, site: Spa) -> None:
    alice.follow("Log in")
    alice.fill(email=EMAIL, password=PASSWORD)
    alice.press("Log in")
    alice.reads("Look at your mail")
    alice.is_told("Please verify your e-mail address first.")
    with alice.page.context.expect_page() as opened:
        alice.follow("On this machine mails wait")
    mailbox = opened.value
    expect(mailbox.get_by_role("heading", level=1)).to_have_text("Mailbox")
    looks.check(mailbox, "mailbox")
    mailbox.close()
    alice.page.goto(site.service.link(EMAIL, "verify"))
    alice.reads("Activate your account")
    assert "token" not in alice.page.url
    alice.looks_well("verify")
    # A phone may have to load the page again before the button is pressed.
    alice.page.reload()
    alice.press("Activate my account")
    alice.reads("Log in")
    alice.is_told("Your account has been activated. You can log in now.")
    alice.looks_well("login-told")


def use(alice: Walker, site: Spa) -> None:
    alice.fill(email=EMAIL, password="wrong")
    alice.press("Log in")
    expect(alice.page.get_by_role("alert")).to_have_text("The e-mail address or the password is wrong.")
    alice.fill(password=PASSWORD)
    alice.press("Log in")
    alice.reads("Hello Alice")
    alice.fill(name="Alice Adams")
    alice.press("Save")
    alice.is_told("Saved.")
    alice.looks_well("account")
    site.service.post("/login", {"email": EMAIL, "password": PASSWORD})
    alice.follow("Sessions")
    alice.reads("Where you are signed in")
    expect(alice.page.locator(".sessions li")).to_have_count(2)
    alice.looks_well("sessions")
    alice.page.get_by_role("button", name="End ").first.click()
    alice.is_told("The session is over.")
    expect(alice.page.locator(".sessions li")).to_have_count(1)


def change_password(alice: Walker) -> None:
    alice.follow("Password")
    alice.reads("Change your password")
    alice.fill(current_password="wrong", new_password=OTHER_PASSWORD)
    alice.press("Change my password")
    expect(alice.page.get_by_role("alert")).to_contain_text("password is wrong")
    alice.looks_well("password-refused")
    alice.fill(current_password=PASSWORD)
    alice.press("Change my password")
    alice.is_told("Your password has been changed.")


def leave(alice: Walker, other: Walker) -> None:
    alice.press("Log out")
    for tab in (alice, other):
        tab.reads("Log in")
        tab.is_told("You are logged out.")
    other.page.goto(other.page.url.replace("/login", "/sessions"))
    other.reads("Log in")


def reset(alice: Walker, site: Spa) -> None:
    alice.follow("Forgot your password?")
    alice.reads("Forgot your password?")
    alice.fill(email=EMAIL)
    alice.press("Send me a link")
    alice.is_told("If this address has an account, a mail is on its way.")
    alice.looks_well("forgot")
    alice.page.goto(site.service.link(EMAIL, "reset"))
    alice.reads("Choose a new password")
    alice.fill(new_password=NEXT_PASSWORD)
    alice.looks_well("reset")
    alice.press("Change my password")
    alice.reads("Log in")
    alice.is_told("Your password has been changed. You can log in now.")
    spa.log_in(alice.page, EMAIL, NEXT_PASSWORD)
    alice.page.goto(site.service.link(EMAIL, "reset"))
    alice.fill(new_password=PASSWORD)
    alice.press("Change my password")
    expect(alice.page.get_by_role("alert")).to_have_text("Invalid or expired token")
    alice.looks_well("reset-refused")


@pytest.mark.parametrize("purpose", ["verify-email", "reset-password", "change-email"])
def test_axe_has_nothing_against_our_own_pages(service: Service, window: BrowserContext, purpose: str):
    page = window.new_page()
    alice = service.person(purpose)
    page.goto(alice.link)
    looks.check(page, f"own-{purpose}")
    if purpose == "reset-password":
        page.locator("#new_password").fill("password1")
        page.locator("#new_password_confirm").fill("password1")
        page.get_by_role("button").click()
        expect(page.locator("#new_password-problems")).to_contain_text("too easy to guess")
        looks.check(page, f"own-{purpose}-refused")
        page.locator("#new_password").fill(OTHER_PASSWORD)
        page.locator("#new_password_confirm").fill(OTHER_PASSWORD)
    page.get_by_role("button").click()
    expect(page.get_by_role("status")).not_to_be_empty()
    expect(page.locator("form")).to_have_count(0)
    looks.check(page, f"own-{purpose}-done")
    page.goto(alice.link.partition("token=")[0] + "token=none")
    if page.get_by_role("button").count():
        page.get_by_role("button").click()
    expect(page.locator("main")).to_contain_text("This link does not work")
    looks.check(page, f"own-{purpose}-dead")


def test_axe_has_nothing_against_what_we_put_around_swagger_ui(service: Service, window: BrowserContext):
    page = window.new_page()
    page.goto(f"{service.address}/docs")
    expect(page.get_by_role("heading").first).to_be_visible()
    looks.check(page, "docs", "#docs")
