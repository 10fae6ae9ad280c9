"""Bytes that are no good HTTP, against the running service: refused or answered, at once, and nobody else suffers.

What is wrong with a head is gunicorn's to refuse, in its own words: the application never hears of it.
"""

import json
import re
import socket
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import pytest
from flask import Flask

from tests.conftest import Figure
from tests.factories import ALICE, PASSWORD, make_user
from tests.server.conftest import starting

pytestmark = [pytest.mark.server, pytest.mark.any_database]

# To wait for what comes back: none of these may hold a connection.
TIMEOUT_SECONDS = 10
HOST = "Host: 127.0.0.1\r\n"
CLOSE = "Connection: close\r\n"
ME = "GET /api/auth/me HTTP/1.1\r\n" + HOST
HEALTHZ = "GET /healthz HTTP/1.1\r\n" + HOST
SMUGGLED = "GET /api/auth/smuggled HTTP/1.1\r\n" + HOST + "\r\n"
LOGIN = json.dumps({"email": ALICE, "password": PASSWORD})
JSON = "Content-Type: application/json\r\n"
FORM = "Content-Type: application/x-www-form-urlencoded\r\n"


def post(*headers: str, body: str = "", path: str = "/api/auth/login") -> str:
    lines = "".join(f"{header}\r\n" for header in headers)
    return f"POST {path} HTTP/1.1\r\n{HOST}{JSON}{lines}\r\n{body}"


HEADS = {
    "nothing": "",
    "an empty line": "\r\n",
    "empty lines first": "\r\n\r\n\r\n" + HEALTHZ + CLOSE + "\r\n",
    "a word": "x\r\n\r\n",
    "no version": "GET /healthz\r\n\r\n",
    "version 0.9": "GET /healthz HTTP/0.9\r\n\r\n",
    "version 1.0": "GET /healthz HTTP/1.0\r\n\r\n",
    "version 2.0": "GET /healthz HTTP/2.0\r\n\r\n",
    "the preface of HTTP/2": "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    "an unknown version": "GET /healthz HTTP/1.1x\r\n\r\n",
    "three spaces": "GET   /healthz   HTTP/1.1\r\n" + HOST + CLOSE + "\r\n",
    "tabs": "GET\t/healthz\tHTTP/1.1\r\n" + HOST + CLOSE + "\r\n",
    "a space in the path": "GET /healthz x HTTP/1.1\r\n" + HOST + CLOSE + "\r\n",
    "line feeds alone": "GET /healthz HTTP/1.1\nHost: x\nConnection: close\n\n",
    "carriage returns alone": "GET /healthz HTTP/1.1\rHost: x\r\r",
    "a method in lower case": "get /healthz HTTP/1.1\r\n" + HOST + CLOSE + "\r\n",
    "a method of 300 letters": "G" * 300 + " /healthz HTTP/1.1\r\n" + HOST + CLOSE + "\r\n",
    "a method of signs": "G@T /healthz HTTP/1.1\r\n" + HOST + CLOSE + "\r\n",
    "an absolute target": "GET http://127.0.0.1/healthz HTTP/1.1\r\n" + HOST + CLOSE + "\r\n",
    "an absolute target elsewhere": "GET http://evil.example/api/auth/me HTTP/1.1\r\n" + HOST + CLOSE + "\r\n",
    "an absolute target without a path": "GET http://evil.example HTTP/1.1\r\n" + HOST + CLOSE + "\r\n",
    "a target of another scheme": "GET file:///etc/passwd HTTP/1.1\r\n" + HOST + CLOSE + "\r\n",
    "an address as a target": "GET http://[::1 HTTP/1.1\r\n" + HOST + CLOSE + "\r\n",
    "an asterisk": "OPTIONS * HTTP/1.1\r\n" + HOST + CLOSE + "\r\n",
    "an asterisk to GET": "GET * HTTP/1.1\r\n" + HOST + CLOSE + "\r\n",
    "an authority": "CONNECT evil.example:443 HTTP/1.1\r\n" + HOST + CLOSE + "\r\n",
    "two slashes first": "GET //evil.example/healthz HTTP/1.1\r\n" + HOST + CLOSE + "\r\n",
    "no slash": "GET healthz HTTP/1.1\r\n" + HOST + CLOSE + "\r\n",
    "a fragment": "GET /healthz#x HTTP/1.1\r\n" + HOST + CLOSE + "\r\n",
    "a broken escape": "GET /api/auth/%zz%4 HTTP/1.1\r\n" + HOST + CLOSE + "\r\n",
    "an escaped NUL": "GET /api/auth/me%00 HTTP/1.1\r\n" + HOST + CLOSE + "\r\n",
    "a NUL in the path": "GET /api/auth/\x00 HTTP/1.1\r\n" + HOST + CLOSE + "\r\n",
    "8 bits in the path": "GET /api/auth/\xff\xfe HTTP/1.1\r\n" + HOST + CLOSE + "\r\n",
    "8 bits in the query": "GET /api/auth/verify-email?token=\xff HTTP/1.1\r\n" + HOST + CLOSE + "\r\n",
    "a path of 5000": "GET /" + "a" * 5000 + " HTTP/1.1\r\n" + HOST + CLOSE + "\r\n",
    "a path of 100,000": "GET /" + "a" * 100_000 + " HTTP/1.1\r\n" + HOST + CLOSE + "\r\n",
    "a line without an end": "GET /" + "a" * 300_000,
    "no host": "GET /healthz HTTP/1.1\r\n" + CLOSE + "\r\n",
    "two hosts": HEALTHZ + "Host: evil.example\r\n" + CLOSE + "\r\n",
    "a host that is none": "GET /api/auth/me HTTP/1.1\r\nHost: a b\r\n" + CLOSE + "\r\n",
    "200 headers": HEALTHZ + "".join(f"X-{number}: x\r\n" for number in range(200)) + CLOSE + "\r\n",
    "10,000 headers": HEALTHZ + "".join(f"X-{number}: x\r\n" for number in range(10_000)) + CLOSE + "\r\n",
    "a header of 7000": ME + "Authorization: Bearer " + "a" * 7000 + "\r\n" + CLOSE + "\r\n",
    "a header of 100,000": ME + "X-A: " + "a" * 100_000 + "\r\n" + CLOSE + "\r\n",
    "a header without an end": HEALTHZ + "X-A: " + "a" * 300_000,
    "cookies of 7000": ME + "Cookie: " + "a=b; " * 1400 + "\r\n" + CLOSE + "\r\n",
    "a NUL in a header": HEALTHZ + "X-A: a\x00b\r\n" + CLOSE + "\r\n",
    "a NUL in a header's name": HEALTHZ + "X-\x00A: b\r\n" + CLOSE + "\r\n",
    "8 bits in headers": ME + "Authorization: Bearer \xff\xfe\r\nUser-Agent: \xff\r\n" + CLOSE + "\r\n",
    "8 bits in a header's name": HEALTHZ + "X-\xff: b\r\n" + CLOSE + "\r\n",
    "control characters in a header": HEALTHZ + "X-Request-ID: a\x1b[2Jb\r\n" + CLOSE + "\r\n",
    "a carriage return in a header": HEALTHZ + "X-A: a\rSet-Cookie: b\r\n" + CLOSE + "\r\n",
    "a folded header": HEALTHZ + "X-A: a\r\n b\r\n" + CLOSE + "\r\n",
    "a header without a colon": HEALTHZ + "X-A\r\n" + CLOSE + "\r\n",
    "a header without a name": HEALTHZ + ": a\r\n" + CLOSE + "\r\n",
    "a space before the colon": HEALTHZ + "X-A : a\r\n" + CLOSE + "\r\n",
    "a name with an underscore": ME + "X_REQUEST_ID: a\r\nAUTHORIZATION_: b\r\n" + CLOSE + "\r\n",
    "names of the server's own": HEALTHZ + "SCRIPT_NAME: /x\r\nPATH_INFO: /x\r\nREMOTE_USER: a\r\n" + CLOSE + "\r\n",
    "a proxy's line": "PROXY TCP4 1.2.3.4 5.6.7.8 1 2\r\n" + HEALTHZ + CLOSE + "\r\n",
    "an expectation": post("Expect: 100-continue", "Content-Length: 2", "Connection: close", body="{}"),
    "an unknown expectation": post("Expect: tea", "Content-Length: 2", "Connection: close", body="{}"),
    "an upgrade": HEALTHZ + "Upgrade: h2c\r\nConnection: Upgrade, HTTP2-Settings\r\nHTTP2-Settings: AA\r\n\r\n",
    "TLS": "\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + "\xaa" * 500,
}
# Ways to have the end of a body seen elsewhere by a proxy before us: what follows it must not be taken for a request.
SMUGGLING = {
    "a length and chunks": post("Content-Length: 4", "Transfer-Encoding: chunked", body="0\r\n\r\n" + SMUGGLED),
    "chunks and a length": post("Transfer-Encoding: chunked", "Content-Length: 6", body="0\r\n\r\n" + SMUGGLED),
    "two lengths": post("Content-Length: 2", "Content-Length: 50", body="{}" + SMUGGLED),
    "two equal lengths": post("Content-Length: 2", "Content-Length: 2", body="{}" + SMUGGLED),
    "a list of lengths": post("Content-Length: 2, 50", body="{}" + SMUGGLED),
    "a negative length": post("Content-Length: -1", body=SMUGGLED),
    "a length with a sign": post("Content-Length: +2", body="{}" + SMUGGLED),
    "a length in words": post("Content-Length: two", body=SMUGGLED),
    "a length with an underscore": post("Content-Length: 0_2", body="{}" + SMUGGLED),
    "a length in hexadecimal": post("Content-Length: 0x2", body="{}" + SMUGGLED),
    "a length in other digits": post("Content-Length: \xb2", body="{}" + SMUGGLED),
    "a length of 30 digits": post("Content-Length: " + "9" * 30, body="{}"),
    "an empty length": post("Content-Length:", body=SMUGGLED),
    "chunks, misspelt": post("Transfer-Encoding: xchunked", body="0\r\n\r\n" + SMUGGLED),
    "chunks, twice": post("Transfer-Encoding: chunked, chunked", body="0\r\n\r\n" + SMUGGLED),
    "chunks, then plain": post("Transfer-Encoding: chunked, identity", body="0\r\n\r\n" + SMUGGLED),
    "chunks in two headers": post(
        "Transfer-Encoding: chunked", "Transfer-Encoding: identity", body="0\r\n\r\n" + SMUGGLED
    ),
    "chunks after a vertical tab": post("Transfer-Encoding: \x0bchunked", body="0\r\n\r\n" + SMUGGLED),
    "chunks with a space before the colon": post("Transfer-Encoding : chunked", body="0\r\n\r\n" + SMUGGLED),
    "chunks on a folded line": post("Transfer-Encoding:\r\n chunked", body="0\r\n\r\n" + SMUGGLED),
    "chunks with an underscore": post("Transfer_Encoding: chunked", "Content-Length: 2", body="{}"),
    "chunks in version 1.0": post("Transfer-Encoding: chunked", body="0\r\n\r\n" + SMUGGLED).replace("/1.1", "/1.0", 1),
    "a chunk's length with a sign": post("Transfer-Encoding: chunked", body="+2\r\n{}\r\n0\r\n\r\n" + SMUGGLED),
    "a chunk's length with 0x": post("Transfer-Encoding: chunked", body="0x2\r\n{}\r\n0\r\n\r\n" + SMUGGLED),
    "a chunk's length with an underscore": post("Transfer-Encoding: chunked", body="0_2\r\n{}\r\n0\r\n\r\n" + SMUGGLED),
    "a chunk's length of 40 digits": post("Transfer-Encoding: chunked", body="f" * 40 + "\r\n{}\r\n0\r\n\r\n"),
    "a chunk that ends early": post("Transfer-Encoding: chunked", body="5\r\n{}\r\n0\r\n\r\n" + SMUGGLED),
    "a chunk that ends late": post("Transfer-Encoding: chunked", body="1\r\n{}\r\n0\r\n\r\n" + SMUGGLED),
    "line feeds between chunks": post("Transfer-Encoding: chunked", body="2\n{}\n0\n\n" + SMUGGLED),
    "an odd extension of a chunk": post("Transfer-Encoding: chunked", body="2;\n\r\n{}\r\n0\r\n\r\n" + SMUGGLED),
}
STATUS = re.compile(rb"^HTTP/1\.[01] (\d{3}) ", re.M)
# RFC 9112, 6.1: what a server answers to a transfer coding that it does not know.
UNKNOWN_CODING = 501


@pytest.fixture(scope="module")
def log() -> list[Path]:
    return []


@pytest.fixture(scope="module")
def service(shared_app: Flask, tmp_path_factory: pytest.TempPathFactory, log: list[Path]) -> Iterator[str]:
    """A service of one worker: if that is stuck, everybody notices."""
    logs = tmp_path_factory.mktemp("logs")
    with starting(shared_app, Path(__file__).parents[2], logs) as start:
        address = start(workers=1)
        log.extend(logs.glob("gunicorn-*.log"))
        yield address


def sent(address: str, raw: str) -> bytes:
    """Send these bytes and nothing more, and give all that comes back until the server hangs up."""
    url = urlsplit(address)
    with socket.create_connection((str(url.hostname), url.port or 80), timeout=TIMEOUT_SECONDS) as connection:
        found = b""
        try:
            connection.sendall(raw.encode("latin-1"))
            connection.shutdown(socket.SHUT_WR)
            while more := connection.recv(65536):
                found += more
        except TimeoutError:
            raise
        except OSError:
            # It hung up before it had read everything.
            pass
        return found


def statuses(answer: bytes) -> list[int]:
    return [int(status) for status in STATUS.findall(answer)]


def test_broken_heads_are_refused_and_the_next_request_is_fine(service: str, log: list[Path], figure: Figure):
    seen: Counter[int] = Counter()
    for what, raw in HEADS.items():
        found = statuses(sent(service, raw))
        assert all(status < 500 for status in found), (what, found)
        seen.update(found or [0])
        assert statuses(sent(service, f"{HEALTHZ}{CLOSE}\r\n")) == [200], what
    assert "Traceback" not in log[0].read_text()
    figure("broken heads sent", len(HEADS))
    figure("answers to broken heads, 0 being none", dict(sorted(seen.items())))


def test_nothing_is_smuggled_behind_a_body(service: str, log: list[Path], figure: Figure):
    seen: Counter[int] = Counter()
    for what, raw in SMUGGLING.items():
        answer = sent(service, raw)
        found = statuses(answer)
        seen.update(found or [0])
        assert all(status < 500 or status == UNKNOWN_CODING for status in found), (what, found)
        assert len(found) <= 1, (what, answer)
        assert b"NOT_FOUND" not in answer, what
        assert statuses(sent(service, f"{HEALTHZ}{CLOSE}\r\n")) == [200], what
    text = log[0].read_text()
    assert "/api/auth/smuggled" not in text
    assert "Traceback" not in text
    figure("ways to smuggle sent", len(SMUGGLING))
    figure("answers to them, 0 being none", dict(sorted(seen.items())))


def test_requests_in_one_go_are_answered_in_turn(service: str):
    login = post(f"Content-Length: {len(LOGIN)}", body=LOGIN)
    chunked = post("Transfer-Encoding: chunked", body=f"{len(LOGIN):x};a=b\r\n{LOGIN}\r\n0\r\nX-A: b\r\n\r\n")
    answer = sent(service, (HEALTHZ + "\r\n") + login + chunked + (ME + "\r\n") + (HEALTHZ + CLOSE + "\r\n"))
    assert statuses(answer) == [200, 401, 401, 401, 200]
    assert answer.count(b"INVALID_CREDENTIALS") == 2


def test_body_that_was_not_read_is_not_taken_for_the_next_request(service: str):
    body = SMUGGLED * 3
    for head in ("GET /api/auth/nowhere", "DELETE /api/auth/me", "GET /healthz", "POST /api/auth/sessions"):
        raw = f"{head} HTTP/1.1\r\n{HOST}Content-Length: {len(body)}\r\n\r\n{body}{HEALTHZ}{CLOSE}\r\n"
        answer = sent(service, raw)
        assert len(statuses(answer)) in (1, 2), (head, answer)
        assert answer.count(b"NOT_FOUND") == (head == "GET /api/auth/nowhere"), (head, answer)


@pytest.mark.parametrize("kind", ["form", "JSON"])
def test_body_that_is_broken_off_changes_nothing(app: Flask, service: str, kind: str):
    """The beginning of a form is a form too: an account would be made with half of a password."""
    form = f"email=alice%40example.org&password={PASSWORD}"
    for body, type, path in (
        (form, FORM, "/api/auth/register"),
        (form.replace("email", "username"), FORM, "/api/auth/login"),
        (json.dumps({"email": ALICE, "password": PASSWORD}), JSON, "/api/auth/register"),
    ):
        if (type == FORM) != (kind == "form"):
            continue
        for told, chunked in ((len(body) + 1, False), (len(body) + 9000, False), (len(body) + 1, True)):
            head = "Transfer-Encoding: chunked" if chunked else f"Content-Length: {told}"
            start = f"{told:x}\r\n" if chunked else ""
            answer = sent(service, f"POST {path} HTTP/1.1\r\n{HOST}{type}{head}\r\n\r\n{start}{body}")
            assert statuses(answer) == [400], answer
    whole = httpx.post(f"{service}/api/auth/register", json={"email": ALICE, "password": PASSWORD})
    assert whole.status_code == 201, "there was an account already"


def test_body_that_goes_on_too_long_is_not_part_of_it(app: Flask, service: str):
    make_user(app)
    raw = post(f"Content-Length: {len(LOGIN)}", "Connection: close", body=LOGIN + "garbage" * 100)
    answer = sent(service, raw)
    assert statuses(answer) == [200]
