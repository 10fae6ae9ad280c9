"""Requests for hypothesis to generate: honest ones to every route, most of them with something hostile about them.

Honest first, so that enough of them get past the first check and meet the rules. `world.World` has the people, tokens
and links that they name.
"""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from reprlib import Repr
from typing import Any
from urllib.parse import quote, urlencode

from hypothesis import strategies as st

from tests.factories import ALICE, OTHER_PASSWORD, PASSWORD
from tests.hostile.odd import content_types, header_texts, methods, texts, values
from tests.hostile.world import DORA, EMAILS, FREE, LINKS, SIGN_INS

PREFIX = "/api/auth"
FORM = "application/x-www-form-urlencoded"
JSON = "application/json"
PHOTO = "https://images.example.org/a.png"
_BOUNDARY = "a-boundary"
_SHORT = Repr()
_SHORT.maxstring = _SHORT.maxother = 300


@dataclass(frozen=True, repr=False)
class Sent:
    """A request as it goes over the wire, but for what is named in it; without a length the body is chunked."""

    method: str
    target: str
    headers: tuple[tuple[str, str], ...] = ()
    content_type: str | None = None
    content_length: str | None = "0"
    body: bytes = b""

    def __repr__(self) -> str:
        """Tell it in one line: forty of them are told where one has failed, and some bodies are long."""
        told = (self.target, self.headers, self.content_type, self.content_length, self.body)
        return f"Sent({self.method!r}, {', '.join(_SHORT.repr(part) for part in told)})"


@dataclass
class Draft:
    """A request that is being made up."""

    draw: Callable[..., Any]
    method: str
    path: str
    query: str = ""
    headers: list[tuple[str, str]] = field(default_factory=list)
    fields: dict[Any, Any] | None = None
    content_type: str | None = None
    body: bytes | None = None
    content_length: str | None = None
    is_chunked: bool = False

    def sent(self) -> Sent:
        body = self.encoded()
        length = None if self.is_chunked else self.content_length or str(len(body))
        target = self.path + (f"?{self.query}" if self.query else "")
        return Sent(self.method, target, tuple(self.headers), self.content_type, length, body)

    def encoded(self) -> bytes:
        if self.body is not None:
            return self.body
        if self.fields is None:
            return b""
        if self.content_type == FORM:
            pairs = {str(name): str(value) for name, value in self.fields.items()}
            return urlencode(pairs, safe="<>~@", errors="surrogatepass").encode()
        return json.dumps(self.fields, ensure_ascii=self.draw(st.booleans())).encode(errors="surrogatepass")


@dataclass(frozen=True)
class Route:
    """What a route takes from an honest client."""

    method: str
    path: str
    fields: Mapping[str, st.SearchStrategy[Any]] | None = None
    maybe: Mapping[str, st.SearchStrategy[Any]] = field(default_factory=dict)
    caller: str | None = None
    form: bool = False
    query: st.SearchStrategy[str] = field(default_factory=lambda: st.just(""))


def named(*names: str, suffix: str = "") -> st.SearchStrategy[str]:
    return st.sampled_from([f"<<{name}{suffix}>>" for name in names])


emails = st.sampled_from(EMAILS) | st.sampled_from([ALICE, DORA, ALICE.upper(), f"{FREE}."])
passwords = st.sampled_from([PASSWORD, PASSWORD, PASSWORD, OTHER_PASSWORD, "wrong"])
new_passwords = st.sampled_from([OTHER_PASSWORD, OTHER_PASSWORD, "copper-lantern-42", "short", "password1", "é" * 9])
names = st.sampled_from(["Alice", "Alice", "Alice", "Álvaro 🎉", "x" * 101, " ", None])
photos = st.sampled_from([PHOTO, PHOTO, PHOTO, "http://example.org/a.png", "https://", None])
refresh_tokens = named(*SIGN_INS, "alice", "alice2", "last", suffix=".refresh") | named("late.first", "alice.access")


def link(*likely: str) -> st.SearchStrategy[str]:
    return named(*likely) | named(*LINKS)


_REGISTER = {
    "email": emails | st.sampled_from([f"new.{number}@example.org" for number in range(9)]),
    "password": st.just(PASSWORD) | new_passwords,
}
_NEW_PASSWORD = {"token": link("reset", "mailed", "reset.old"), "new_password": new_passwords}
_CONFIRM = {"token": link("verify", "verified", "mailed")}
_CHANGE = {"token": link("change", "taken")}
_SEND_MAIL = {"email": emails}
ROUTES = [
    Route("POST", "/register", _REGISTER, {"name": names, "photo": photos, "password_confirm": passwords}, form=True),
    Route("POST", "/register", _REGISTER),
    Route("POST", "/register", _REGISTER),
    Route("POST", "/login", {"email": emails, "password": passwords}),
    Route("POST", "/login/json", {"email": emails, "password": passwords}),
    Route("POST", "/login", {"username": emails, "password": passwords}, {"scope": texts}, form=True),
    Route("POST", "/refresh", {}, {"refresh_token": refresh_tokens}, caller="refresh"),
    Route("POST", "/refresh", {"refresh_token": refresh_tokens}),
    Route("POST", "/logout", {"refresh_token": refresh_tokens}),
    Route("POST", "/logout", {}, {"refresh_token": refresh_tokens}, caller="access"),
    Route("GET", "/me", caller="access"),
    Route("PATCH", "/me", {}, {"name": names, "photo": photos}, caller="access"),
    Route("DELETE", "/me", {"password": passwords}, caller="access"),
    Route(
        "POST",
        "/change-password",
        {"current_password": passwords, "new_password": new_passwords},
        caller="access",
    ),
    Route("POST", "/change-email", {"new_email": emails, "password": passwords}, caller="access"),
    Route("POST", "/change-email/confirm", _CHANGE),
    Route("POST", "/forgot-password", _SEND_MAIL),
    Route("POST", "/password-reset/request", _SEND_MAIL),
    Route("POST", "/reset-password", _NEW_PASSWORD),
    Route("POST", "/password-reset/confirm", _NEW_PASSWORD),
    Route("POST", "/verify-email", _CONFIRM),
    Route("POST", "/email-verification/confirm", _CONFIRM),
    Route("POST", "/resend-verification", _SEND_MAIL),
    Route("POST", "/email-verification/resend", _SEND_MAIL),
    Route("GET", "/sessions", caller="access"),
    Route("DELETE", "/sessions", caller="access"),
    *(Route("DELETE", f"/sessions/<<{name}.sid>>", caller="access") for name in ("alice2", "bob")),
    Route("GET", "/verify-email", query=link("verify").map(lambda token: f"token={token}")),
    Route("GET", "/reset-password", query=link("reset", "reset.old").map(lambda token: f"token={token}")),
    Route("GET", "/change-email", query=link("change").map(lambda token: f"token={token}")),
    Route("POST", "/verify-email/page", _CONFIRM, form=True),
    Route("POST", "/reset-password/page", _NEW_PASSWORD, {"new_password_confirm": st.just(OTHER_PASSWORD)}, form=True),
    Route("POST", "/change-email/page", _CHANGE, form=True),
    Route("GET", "/brand.css"),
    *(Route("GET", f"..{path}") for path in ("/healthz", "/readyz", "/.well-known/jwks.json", "/dev/mailbox")),
]


def sign_in(draft: Draft, type: str) -> None:
    """Say who is calling: in the Authorization header, else in a cookie with or without its CSRF token."""
    draw = draft.draw
    who = draw(st.sampled_from(("alice", "alice", "alice", "bob", "bob", "carol", "last", *SIGN_INS)))
    if draw(st.integers(0, 4)):
        draft.headers.append(("Authorization", f"Bearer <<{who}.{type}>>"))
        return
    draft.headers.append(("Cookie", f"{type}_token=<<{who}.{type}>>"))
    if draw(st.integers(0, 3)):
        draft.headers.append(("X-CSRF-TOKEN", f"<<{draw(st.sampled_from((who, who, 'bob')))}.csrf_{type}>>"))


def honest(draw: Callable[..., Any]) -> Draft:
    route: Route = draw(st.sampled_from(ROUTES))
    path = route.path.removeprefix("..") if route.path.startswith("..") else PREFIX + route.path
    draft = Draft(draw, route.method, path, query=draw(route.query))
    if route.fields is not None:
        more = {name: value for name, value in route.maybe.items() if draw(st.integers(0, 2)) == 0}
        draft.fields = {name: draw(value) for name, value in {**route.fields, **more}.items()}
        draft.content_type = FORM if route.form else JSON
        if not draft.fields and draw(st.booleans()):
            draft.fields, draft.content_type = None, None
    if route.caller:
        sign_in(draft, route.caller)
    return draft


# What is hostile: each changes a draft.


# What drivers, encoders and comparisons stumble over.
_POISON: st.SearchStrategy[Any] = st.sampled_from(
    ["\x00", f"{PASSWORD}\x00", "\ud800", f"{PASSWORD}\udfff", "\U0010ffff" * 9, "x" * 5000, "", 0, True, None, [], {}]
)


def odd_field(draft: Draft) -> None:
    draft.fields = draft.fields or {}
    name = draft.draw(st.sampled_from(sorted(map(str, draft.fields)) or ["email"]))
    draft.fields[name] = draft.draw(_POISON | texts | values)


def missing_field(draft: Draft) -> None:
    if draft.fields:
        draft.fields.pop(draft.draw(st.sampled_from(sorted(map(str, draft.fields)))), None)


def unknown_field(draft: Draft) -> None:
    unknown = st.sampled_from(["role", "is_verified", "id", "__class__", "email ", "Email", ""]) | texts
    draft.fields = {**(draft.fields or {}), draft.draw(unknown): draft.draw(st.just("admin") | values)}


def spelled_otherwise(draft: Draft) -> None:
    """Write the very body in a way that only a lax reader of JSON takes, or that none does."""
    text = json.dumps(draft.fields or {})
    twice = text[:-1] + (", " if draft.fields else "") + text[1:]
    ways = [
        twice.encode(),
        b"\xef\xbb\xbf" + text.encode(),
        text.encode("utf-16"),
        text.encode("utf-16-be"),
        text.encode("utf-32"),
        text.encode() + b"\x00",
        text.encode() + text.encode(),
        text[:-1].encode() + b"," + b'"a": NaN}',
        text[:-1].encode() + b',"a": ' + b"9" * 5000 + b"}",
        text[:-1].encode() + b',"a": -1e99999}',
        text[:-1].encode() + b',"a": ' + b"[" * 4000 + b"]" * 4000 + b"}",
        text[:-1].encode() + b',"a": "\\ud800"}',
        text[:-1].encode() + b',"\\ud800": 1}',
        text.replace('"', "'").encode(),
        b"[" + text.encode() + b"]",
        b" " * 16_000 + text.encode(),
        b"\n\t" + text.encode() + b"\r\n",
        text.replace(":", "\x0b:").encode(),
        "".join(f"\\u{ord(char):04x}" if char == "e" else char for char in text).encode(),
    ]
    draft.body = draft.draw(st.sampled_from(ways))


def odd_form(draft: Draft) -> None:
    text = urlencode({str(name): str(value) for name, value in (draft.fields or {}).items()}, errors="replace")
    ways = [f"{text}&{text}", f"{text}&a=%", f"{text}&a=%ff", f"{text};a=b", f"{text}&=", f"&&{text}", text + "&a" * 60]
    draft.body, draft.content_type = draft.draw(st.sampled_from(ways)).encode(), FORM


def multipart(draft: Draft) -> None:
    pairs = {str(name): str(value) for name, value in (draft.fields or {}).items()}
    parts = [f'Content-Disposition: form-data; name="{name}"\r\n\r\n{value}' for name, value in pairs.items()]
    parts.append('Content-Disposition: form-data; name="photo"; filename="../../a.png"\r\n\r\n\x00')
    text = "".join(f"--{_BOUNDARY}\r\n{part}\r\n" for part in parts) + draft.draw(
        st.sampled_from(["", f"--{_BOUNDARY}--"])
    )
    draft.body = text.encode(errors="surrogatepass")
    draft.content_type = f"multipart/form-data; boundary={_BOUNDARY}"


def damaged_bytes(draft: Draft) -> None:
    body = bytearray(draft.encoded())
    for _ in range(draft.draw(st.integers(1, 3))):
        place = draft.draw(st.integers(0, len(body)))
        body[place : place + draft.draw(st.integers(0, 2))] = draft.draw(st.binary(max_size=3))
    draft.body = bytes(body)


def any_bytes(draft: Draft) -> None:
    draft.body = draft.draw(st.binary(max_size=100))


def other_content_type(draft: Draft) -> None:
    draft.content_type = draft.draw(content_types | st.sampled_from([FORM, JSON]) | header_texts)


def other_method(draft: Draft) -> None:
    draft.method = draft.draw(methods)


def odd_path(draft: Draft) -> None:
    path = draft.path
    encoded = "".join(f"%{ord(char):02x}" if char.isalpha() else char for char in path)
    ways = [
        encoded,
        encoded.replace("%", "%25"),
        path + "/",
        path.upper(),
        path.replace("/", "//"),
        path.replace("/", "/./"),
        path.replace("/", "/%2e%2e/", 1),
        path.replace("/auth/", "/auth/x/../"),
        path.replace("/", "%2f"),
        path.replace("/", "\\"),
        path + "%00",
        path + "%0d%0aX: y",
        path + ";a=b",
        path + "%ff%fe",
        path + "%ed%a0%80",
        path + "%c0%af",
        path + "%e2%80%ae",
        path + "/" + "a" * 7000,
        path + "/.." * 500,
        f"{PREFIX}/sessions/{'0' * 32}",
        f"{PREFIX}/sessions/00000000-0000-0000-0000-000000000000",
        f"{PREFIX}/sessions/%00",
        f"{PREFIX}/static/..%2f..%2f..%2fconfig.py",
        f"{PREFIX}/static/page.css%00.js",
        "",
        "*",
        "http://evil.example" + path,
    ]
    odd = st.text(st.characters(max_codepoint=0x2FFF, exclude_categories=["Cs"]), max_size=30)
    draft.path = draft.draw(st.sampled_from(ways) | odd.map(lambda text: f"{PREFIX}/{quote(text)}"))


def odd_query(draft: Draft) -> None:
    ways = ["token=", "token=%00", "token=%ff", "token=a&token=b", "token[]=a", "%", "&" * 2000, "a=" + "b" * 7000]
    odd = st.text(max_size=30).map(lambda text: f"token={quote(text)}")
    draft.query = draft.draw(st.sampled_from(ways) | odd)


def odd_caller(draft: Draft) -> None:
    """Say who is calling in another way, or wrongly."""
    kept = [pair for pair in draft.headers if pair[0] not in ("Authorization", "Cookie")]
    which = f"{draft.draw(st.sampled_from(SIGN_INS))}.{draft.draw(st.sampled_from(['access', 'refresh']))}"
    damage = draft.draw(st.integers(0, 1500))
    ways = [
        f"Bearer <<{which}>>",
        f"Bearer <<{which}~{damage}>>",
        f"bearer  <<{which}>> ",
        f"BEARER\t<<{which}>>",
        f"Bearer <<{which}>>, Bearer <<{which}>>",
        f"Bearer <<{which}>>=",
        f"Basic <<{which}>>",
        f"<<{which}>>",
        f'Bearer "<<{which}>>"',
        f"Bearer \xa0<<{which}>>",
        "Bearer",
        "Bearer <<reset>>",
        "Bearer " + "a." * 3000,
    ]
    text = draft.draw(st.sampled_from(ways) | header_texts | header_texts.map(lambda text: f"Bearer {text}"))
    draft.headers = [*kept, *draft.draw(st.sampled_from([[], [("Authorization", text)]]))]


def odd_cookies(draft: Draft) -> None:
    who, other = (draft.draw(st.sampled_from(SIGN_INS)) for _ in range(2))
    damage = draft.draw(st.integers(0, 1500))
    ways = [
        f"access_token=<<{who}.access>>; refresh_token=<<{other}.refresh>>",
        f"access_token=<<{who}.access>>; access_token=<<{other}.access>>",
        f"access_token=<<{who}.refresh>>; refresh_token=<<{other}.access>>",
        f"access_token=<<{who}.access~{damage}>>",
        f'access_token="<<{who}.access>>"',
        f'access_token="\\056<<{who}.access>>',
        f"access_token=<<{who}.access>>,refresh_token=<<{other}.refresh>>",
        "access_token=; refresh_token=; logged_in=true",
        "; ".join(f"a{number}=b" for number in range(700)),
        "access_token=" + "a" * 7000,
        ";=;==;,",
    ]
    csrf = draft.draw(st.sampled_from([f"<<{who}.csrf_access>>", f"<<{other}.csrf_refresh>>", ""]) | header_texts)
    kept = [pair for pair in draft.headers if draft.draw(st.booleans()) or pair[0] != "Authorization"]
    cookie = draft.draw(st.sampled_from(ways) | header_texts.map(lambda text: f"access_token={text}"))
    draft.headers = [*kept, ("Cookie", cookie), ("X-CSRF-TOKEN", csrf)]


_HEADERS: dict[str, list[str]] = {
    "X-Forwarded-For": ["203.0.113.7", "::1", "fe80::1%" + "a" * 200, "unknown", "1.2.3.4, 5.6.7.8", "," * 500],
    "X-Forwarded-Proto": ["https", "gopher", "https, http", ""],
    "X-Forwarded-Host": ["evil.example"],
    "X-Forwarded-Prefix": ["/evil"],
    "X-Request-ID": ["a-good.id_1", "x" * 128, "x" * 129, "", "a b", "<script>", "\xe9"],
    "X-CSRF-TOKEN": ["<<alice.csrf_access>>", "\xe9", ""],
    "Host": ["localhost", "evil.example", "evil.example:99999", "a b", "[::1", "a@b", "", "\xe9.example", "x" * 3000],
    "Origin": ["null", "https://app.example.com", "https://evil.example", "http://[", "http://a:b", "//", "\xe9"],
    "User-Agent": ["", "Mozilla/5.0 (Windows NT 10.0) Firefox/140.0", "x" * 7000, "\xff\xfe", "(" * 3000, "\x1b[2J"],
    "Accept": ["*/*", "text/html", "application/json", "a/b;q=x", ",;,", "a/" * 2000],
    "Accept-Encoding": ["gzip", "identity;q=0, *;q=0"],
    "Accept-Language": ["de", "x" * 3000],
    "Content-Encoding": ["gzip", "deflate, gzip"],
    "Expect": ["100-continue", "x"],
    "If-None-Match": ["*", '"', "W/"],
    "If-Modified-Since": ["yesterday", "Thu, 01 Jan 1970 00:00:00 GMT", "Thu, 99 Jan 99999 00:00:00 GMT"],
    "If-Range": ['"x"'],
    "Range": ["bytes=0-", "bytes=9-1", "bytes=" + "0-1," * 500, "x=1"],
    "Referer": ["https://evil.example/"],
    "Sec-Fetch-Site": ["cross-site", "none", "x"],
    "Access-Control-Request-Method": ["POST", "x"],
    "Access-Control-Request-Headers": ["authorization", "," * 1000],
    "Transfer-Encoding": ["chunked", "identity", "gzip, chunked"],
    "Upgrade": ["websocket", "h2c"],
    "X-HTTP-Method-Override": ["DELETE"],
    "X-Original-URL": ["/api/auth/me"],
    "Forwarded": ["for=127.0.0.1;host=evil.example"],
}


def odd_header(draft: Draft) -> None:
    name = draft.draw(st.sampled_from(sorted(_HEADERS)))
    draft.headers.append((name, draft.draw(st.sampled_from(_HEADERS[name]) | header_texts)))


def odd_length(draft: Draft) -> None:
    """Say another length than the body's; a server lets hardly any of these through, and not every one is gunicorn."""
    length = len(draft.encoded())
    ways = [str(length + 1), str(max(length - 1, 0)), "0", "-1", "+1", "", "1e3", "9" * 30, " 5", "0x10", "\u0661"]
    draft.content_length = draft.draw(st.sampled_from(ways))


def chunked(draft: Draft) -> None:
    draft.is_chunked = True


def too_long(draft: Draft) -> None:
    draft.body = draft.encoded() + b" " * draft.draw(st.sampled_from([16 * 1024, 16 * 1024 + 1, 100_000]))


BODY_TRICKS = (
    odd_field,
    odd_field,
    odd_field,
    odd_field,
    missing_field,
    unknown_field,
    spelled_otherwise,
    odd_form,
    multipart,
    damaged_bytes,
    any_bytes,
    other_content_type,
    too_long,
)
TRICKS = (*BODY_TRICKS, odd_caller, odd_caller, odd_cookies, odd_header, odd_header, odd_length, chunked)
ROUTE_TRICKS = (other_method, odd_path, odd_query)


@st.composite
def requests(draw: Callable[..., Any]) -> Sent:
    """Make a request; about a third have nothing hostile about them but what they ask for."""
    draft = honest(draw)
    for _ in range(draw(st.sampled_from([0, 0, 0, 1, 1, 1, 1, 2, 3]))):
        draw(st.sampled_from(TRICKS + TRICKS + ROUTE_TRICKS))(draft)
    return draft.sent()
