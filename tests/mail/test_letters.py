"""What stands in the mails: rendered with all that they may meet, and read as a mail program reads them."""

import re
import textwrap
from collections.abc import Callable
from email.message import EmailMessage
from email.parser import BytesParser
from email.policy import default
from html.parser import HTMLParser
from pathlib import Path

import pytest
from flask import Flask
from jinja2 import StrictUndefined

from authapp import create_app
from authapp.columns import new_id
from authapp.mail import letters, outbox, smtp
from authapp.mail.models import OutboxMessage
from authapp.testing import TEST_SETTINGS
from tests.conftest import MakeApp
from tests.factories import ALICE, PASSWORD, Api, data, mailed_token, mails
from tests.mail.conftest import MailServer

pytestmark = pytest.mark.any_database

LINK = "https://auth.example.org/api/auth/reset-password?token=" + "WyJhYmMiLC-_" * 14 + ".aSB5-w.kz_9-Q"
LONG_LINK = f"https://app.example.org/{'way/' * 60}?lang=en&amp=1&q=%20'x'&token={'A_-.' * 50}#top"
NEW_EMAIL = "o'brien+new&co@example.org"
WITH_LINK = ("verify_email", "reset_password", "change_email")
# What each is given, beside what all of them know.
CONTEXTS: dict[str, dict[str, object]] = {
    "verify_email": {"link": LINK, "hours": 24},
    "reset_password": {"link": LINK, "hours": 1},
    "change_email": {"link": LINK, "hours": 1},
    "email_change_requested": {"new_email": NEW_EMAIL},
    "email_changed": {"new_email": NEW_EMAIL},
    "password_changed": {},
    "already_registered": {},
}
# Their recipients have not shown that the address is theirs: whoever wrote the name chose them.
TO_STRANGERS = ("verify_email", "change_email")
PLAIN_NAMES = {
    "<script>alert(1)</script>": "<script>alert(1)</script>",
    "\"><img src=x onerror='x'>": "\"><img src=x onerror='x'>",
    "Alice\r\nBcc: bob@example.org\n\nYou won": "Alice Bcc: bob@example.org You won",
    "Alice\u2028\x85\x0b\x00Liddell": "Alice Liddell",
    "Alice\u202e\u2066moc.elpmaxe": "Alice moc.elpmaxe",
    "{{ 7 * 7 }}": "{{ 7 * 7 }}",
    "شلوم" * 25: "شلوم" * 25,
    "👩‍👩‍👧‍👦" * 14: "👩‍👩‍👧‍👦" * 14,
    " \n ": "",
}


class Page(HTMLParser):
    """What a mail program makes of the HTML part."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.links: list[str] = []
        self.texts: list[str] = []
        self.lang: str | None = None
        self.title = ""
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        found = dict(attrs)
        if "href" in found:
            self.links.append(found["href"] or "")
        self.lang = found.get("lang", self.lang)

    def handle_data(self, data: str) -> None:
        self.texts.append(data.strip())
        if self.tags[-1:] == ["title"]:
            self.title += data.strip()


@pytest.fixture(scope="module")
def strict_app() -> Flask:
    """An application whose templates may name nothing that they were not given; it never asks its database."""
    brand = {"AUTH_BRAND_NAME": "Smith & Sons <Ltd>", "AUTH_BRAND_COLOR": "#ffd400"}
    app = create_app({**TEST_SETTINGS, **brand, "DATABASE_URL": "sqlite://"}, environ={})
    app.jinja_env.undefined = StrictUndefined
    return app


def write(app: Flask, template: str, **more: object) -> tuple[str, Page]:
    with app.app_context():
        text, html = letters.write(template, {**CONTEXTS[template], **more})
    return text, Page(html)


def test_every_mail_is_among_those_tested():
    import authapp.mail

    folder = Path(authapp.mail.__file__).parent / "templates/authapp/mail"
    texts, pages = ({path.stem for path in folder.glob(f"*.{kind}")} for kind in ("txt", "html"))
    assert set(CONTEXTS) <= texts
    assert texts <= pages


@pytest.mark.parametrize("template", CONTEXTS)
def test_mail_says_who_sends_it_and_is_a_whole_page(strict_app: Flask, template: str):
    text, page = write(strict_app, template)
    assert "Smith & Sons <Ltd>" in text
    assert "Smith & Sons <Ltd>" in page.texts
    assert text.startswith("Hello,\n")
    assert page.lang == "en"
    assert page.title
    assert not {"script", "img", "table", "link", "form"} & set(page.tags)


@pytest.mark.parametrize("name", PLAIN_NAMES)
@pytest.mark.parametrize("template", CONTEXTS)
def test_name_is_one_line_of_text_whatever_it_holds(strict_app: Flask, template: str, name: str):
    text, page = write(strict_app, template, name=name)
    plain = PLAIN_NAMES[name]
    greeted = bool(plain) and template not in TO_STRANGERS
    assert text.split("\n", 1)[0] == (f"Hello {plain}," if greeted else "Hello,")
    assert ("bdi" in page.tags) == greeted
    assert (plain in page.texts) == greeted or plain == ""
    assert not {"script", "img"} & set(page.tags)


@pytest.mark.parametrize("template", WITH_LINK)
def test_hours_are_counted_as_people_count(strict_app: Flask, template: str):
    for hours, words in ((1, "for 1 hour."), (24, "for 24 hours.")):
        text, page = write(strict_app, template, hours=hours)
        assert words in text
        assert words in " ".join(page.texts)


@pytest.mark.parametrize("template", ["email_change_requested", "email_changed"])
def test_new_address_is_named_whole(strict_app: Flask, template: str):
    text, page = write(strict_app, template)
    assert NEW_EMAIL in text.splitlines()
    assert NEW_EMAIL in page.texts


def test_colour_of_the_button_is_the_operators_and_its_words_can_be_read(strict_app: Flask):
    with strict_app.app_context():
        _, html = letters.write("reset_password", CONTEXTS["reset_password"])
    assert "background:#ffd400; color:#000000;" in html


@pytest.mark.parametrize("link", [LINK, LONG_LINK], ids=["ours", "long"])
@pytest.mark.parametrize("template", WITH_LINK)
def test_link_is_whole_in_the_mail_that_arrives(
    mailing_app: Callable[..., Flask], mail_server: MailServer, template: str, link: str
):
    app = mailing_app()
    content = {**CONTEXTS[template], "link": link, "name": "שלום 🐟"}
    with app.app_context():
        text, html = letters.write(template, content)
        with smtp.connect() as connection:
            smtp.send(connection, OutboxMessage(id=new_id(), to=ALICE, subject="A link", text=text, html=html))
    (raw,) = mail_server.raw
    assert max(len(line) for line in raw.split(b"\r\n")) <= 998
    mail = BytesParser(policy=default).parsebytes(raw)
    arrived = body_of(mail, "plain")
    assert arrived.splitlines().count(link) == 1
    assert rewrapped(arrived).splitlines().count(link) == 1
    page = Page(body_of(mail, "html"))
    assert page.links == [link, link]
    assert page.texts.count(link) == 1


@pytest.mark.parametrize("template", CONTEXTS)
def test_text_of_a_mail_needs_no_wrapping(strict_app: Flask, template: str):
    """Nor has it a line that mail programs take for something else: a quotation, the next mail of a mailbox file."""
    text, _ = write(strict_app, template, name="Alice Liddell")
    assert max(len(line) for line in text.splitlines() if line != LINK) <= 76
    assert not re.search(r"[ \t]$|^[ \t>]|^From |\n\n\n", text, re.MULTILINE)


def body_of(mail: EmailMessage, kind: str) -> str:
    part = mail.get_body((kind,))
    assert part is not None
    content = part.get_content()
    assert isinstance(content, str)
    return content


def rewrapped(text: str) -> str:
    """Give the text as a program shows it that joins flowed lines (RFC 3676) and fills paragraphs to 76 columns."""
    joined = re.sub(r" \n", " ", text)
    paragraphs = (re.sub(r"\n(?=.)", " ", paragraph) for paragraph in joined.split("\n\n"))
    return "\n\n".join(
        textwrap.fill(paragraph, 76, break_long_words=False, break_on_hyphens=False) for paragraph in paragraphs
    )


def test_host_header_has_no_say_in_any_link(make_app: MakeApp):
    app = make_app(AUTH_PUBLIC_URL="https://auth.example.org")
    hostile = {"Host": "evil.example", "X-Forwarded-Host": "evil.example", "Forwarded": "host=evil.example"}
    api, account = Api(app), {"email": ALICE, "password": PASSWORD}
    data(api.post("/register", account, headers=hostile), 201)
    data(api.post("/verify-email", {"token": mailed_token(app)}, headers=hostile))
    data(api.post("/forgot-password", {"email": ALICE}, headers=hostile), 202)
    change = {"new_email": "alice@example.net", "password": PASSWORD}
    token = data(api.post("/login", account))["access_token"]
    data(api.post("/change-email", change, token=token, headers=hostile), 202)
    found = [link for mail in mails(app) for link in outbox.links_of(mail)]
    assert [link.partition("?")[0].removeprefix("https://auth.example.org/api/auth/") for link in found] == [
        "verify-email",
        "reset-password",
        "change-email",
    ]
    assert "evil" not in "".join(mail.text + mail.html for mail in mails(app))


@pytest.mark.parametrize("part", ["txt", "html"])
def test_template_of_the_application_comes_before_ours(make_app: MakeApp, tmp_path: Path, part: str):
    (tmp_path / "authapp" / "mail").mkdir(parents=True)
    (tmp_path / "authapp" / "mail" / f"password_changed.{part}").write_text("Ahoy {{ name }}, yours {{ brand }}")
    app = make_app(AUTH_BRAND_NAME="Smith")
    app.template_folder = str(tmp_path)
    with app.app_context():
        text, html = letters.write("password_changed", {"name": "Alice"})
    ours, theirs = (html, text) if part == "txt" else (text, html)
    assert theirs == "Ahoy Alice, yours Smith"
    assert "has been changed" in ours
