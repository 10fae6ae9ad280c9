"""Sending a generated request to an application, below any client library, and judging what comes back."""

import io
import json
import re
from dataclasses import dataclass
from functools import cached_property
from typing import Any
from urllib.parse import unquote_to_bytes

from werkzeug.datastructures import Headers
from werkzeug.test import run_wsgi_app

from tests.hostile.generated import FORM, PREFIX, Sent
from tests.hostile.world import World
from tests.leaks import Watch

# Answers that are no envelope when all is well: documents, pages for people and what these are made of.
_DOCUMENTS = ("/.well-known/jwks.json", "/openapi.json", "/dev/mailbox")
_PAGES = re.compile(PREFIX + r"/(verify-email|reset-password|change-email)(/page)?|/docs(/.*)?|/dev/mailbox(/.*)?")
_FILES = re.compile(PREFIX + r"/(brand\.(css|svg)|static/.*)|/docs/.*")
_HEADERS = {
    "X-Content-Type-Options": re.compile("nosniff"),
    "Referrer-Policy": re.compile("no-referrer"),
    "Content-Security-Policy": re.compile(r"default-src 'none'.*"),
    "X-Request-ID": re.compile(r"[A-Za-z0-9._-]{1,128}"),
}
# What differs between two databases, or from one second to the next: ids, times, tokens.
_OWN = re.compile(
    r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}|\d{4}-\d\d-\d\d[T ][\d:.]+Z?|[\w.~-]{60,}"
    r"|Max-Age=\d+|Expires=[^;]+"
)
_UNCOMPARED = ("X-Request-ID", "Date", "Content-Length")


@dataclass(frozen=True)
class Answer:
    """What came back for a request."""

    sent: Sent
    path: str
    status: int
    headers: Headers
    body: bytes

    @cached_property
    def json(self) -> Any:
        is_json = self.headers.get("Content-Type", "").startswith("application/json")
        return json.loads(self.body) if is_json and self.body else None

    @property
    def code(self) -> str | None:
        """The code of a refusal, in whichever of its two forms."""
        error = self.json.get("error") if isinstance(self.json, dict) else None
        return error["code"] if isinstance(error, dict) else error

    def comparable(self) -> tuple[object, ...]:
        """Give all that a client can tell this answer from another by; ids, times and tokens aside."""
        headers = [(name, _OWN.sub("-", value)) for name, value in self.headers if name not in _UNCOMPARED]
        return self.status, self.code, sorted(headers), _OWN.sub("-", self.body.decode(errors="replace"))

    def faults(self) -> list[str]:
        """Say what is wrong with it, whatever was asked."""
        found = [] if self.status < 500 else ["5xx"]
        found += [] if self._is_in_form() else ["outside the envelope"]
        found += [f"header {name}" for name, good in _HEADERS.items() if not good.fullmatch(self.headers.get(name, ""))]
        if self.status == 401 and not self.headers.get("WWW-Authenticate", "").startswith("Bearer"):
            found.append("header WWW-Authenticate")
        if "Cache-Control" not in self.headers or (_is_told(self.json) and self._is_kept()):
            found.append("header Cache-Control")
        return found

    def _is_kept(self) -> bool:
        return self.path not in _DOCUMENTS and self.headers["Cache-Control"] != "no-store"

    def _is_in_form(self) -> bool:
        if self.sent.method == "HEAD" or self.status in (204, 304):
            return not self.body
        if self.sent.method == "OPTIONS" and self.status == 200:
            return not self.body
        if self.headers.get("Content-Type", "").startswith("text/html"):
            return _PAGES.fullmatch(self.path) is not None
        if self.status < 400 and (self.path in _DOCUMENTS or _FILES.fullmatch(self.path)):
            return True
        return _is_enveloped(self.json, self.status) or (self._is_form_login() and _is_granted(self.json, self.status))

    def _is_form_login(self) -> bool:
        type = (self.sent.content_type or "").partition(";")[0].strip().lower()
        return self.path == f"{PREFIX}/login" and self.sent.method == "POST" and type == FORM


def _is_enveloped(found: Any, status: int) -> bool:
    if not isinstance(found, dict):
        return False
    if status < 400:
        return set(found) == {"success", "data"} and found["success"] is True
    error = found.get("error")
    return (
        set(found) == {"success", "error"}
        and found["success"] is False
        and isinstance(error, dict)
        and set(error) in ({"code", "message"}, {"code", "message", "details"})
        and all(isinstance(error[name], str) for name in ("code", "message"))
        and isinstance(error.get("details", {}), dict)
    )


def _is_granted(found: Any, status: int) -> bool:
    """Say whether it is as RFC 6749 says (5.1 and 5.2)."""
    if status < 400:
        return isinstance(found, dict) and set(found) == {"access_token", "refresh_token", "token_type", "expires_in"}
    return isinstance(found, dict) and set(found) == {"error", "error_description"}


def _is_told(found: Any) -> bool:
    return isinstance(found, dict) and "success" in found


def leaked(watch: Watch) -> list[str]:
    """Say what got out since this was last asked, by its form alone: tokens, links, hashes, keys.

    Generated names and ids may be what is a password or an address elsewhere, and are shown again.
    """
    return [one for one in watch.take() if " has the " not in one]


def exchange(world: World, sent: Sent) -> Answer:
    """Send a request with what it names put in, and remember the tokens of the answer."""
    environ = _environ(world, sent)
    chunks, status, headers = run_wsgi_app(world.app, environ, buffered=True)
    answer = Answer(sent, environ["PATH_INFO"], int(status.split()[0]), headers, b"".join(chunks))
    found = answer.json if answer.status in (200, 201) else None
    if isinstance(found, dict):
        world.remember(found["data"] if isinstance(found.get("data"), dict) else found)
    return answer


def _environ(world: World, sent: Sent) -> dict[str, Any]:
    """Give what gunicorn would make of it: bytes as latin-1, the path decoded, a body that ends where it ends."""
    path, _, query = world.fill_in(sent.target).partition("?")
    body = world.fill_in(sent.body.decode("latin-1")).encode("latin-1")
    length = str(len(body)) if sent.content_length == str(len(sent.body)) else sent.content_length
    environ: dict[str, Any] = {
        "REQUEST_METHOD": sent.method,
        "SCRIPT_NAME": "",
        "PATH_INFO": unquote_to_bytes(path).decode("latin-1"),
        "QUERY_STRING": query.encode().decode("latin-1"),
        "RAW_URI": f"{path}?{query}",
        "SERVER_NAME": "127.0.0.1",
        "SERVER_PORT": "8000",
        "SERVER_PROTOCOL": "HTTP/1.1",
        "REMOTE_ADDR": "127.0.0.1",
        "HTTP_HOST": "127.0.0.1:8000",
        "wsgi.version": (1, 0),
        "wsgi.url_scheme": "http",
        "wsgi.input": io.BytesIO(body),
        "wsgi.input_terminated": True,
        "wsgi.errors": io.StringIO(),
        "wsgi.multithread": True,
        "wsgi.multiprocess": True,
        "wsgi.run_once": False,
    }
    for name, value in sent.headers:
        key = f"HTTP_{name.upper().replace('-', '_')}"
        text = world.fill_in(value)
        environ[key] = f"{environ[key]},{text}" if key in environ and key != "HTTP_HOST" else text
    if sent.content_type is not None:
        environ["CONTENT_TYPE"] = sent.content_type
    if length is not None:
        environ["CONTENT_LENGTH"] = length
    else:
        environ["HTTP_TRANSFER_ENCODING"] = "chunked"
    return environ
