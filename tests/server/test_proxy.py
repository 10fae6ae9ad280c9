"""The shipped nginx configuration, run: what a client may say, what nginx says by itself, what it does twice."""

import json
import re
import socket
import ssl
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from email.message import Message
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlsplit

import httpx
import pytest
from flask import Flask

from authapp import errors
from authapp.errors import AuthError
from tests.factories import ALICE, PASSWORD
from tests.server import slow
from tests.server.conftest import starting
from tests.server.proxy import SHIPPED, Proxy, configured, nginx
from tests.services import free_port
from tests.test_metrics import TOKEN

pytestmark = [pytest.mark.server, pytest.mark.any_database]

SECRET = "a-token-from-a-mail"
AT_ONCE = 100
OTHER_ADDRESS = "127.0.0.9"
LIES = {"X-Forwarded-For": "6.6.6.6, 127.0.0.1", "X_Forwarded_For": "6.6.6.6", "X-Forwarded-Proto": "http"}


@pytest.fixture(scope="module")
def proxied(shared_app: Flask, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Proxy]:
    """nginx before one node of the service."""
    root = Path(__file__).parents[2]
    with starting(shared_app, root, tmp_path_factory.mktemp("logs")) as start:
        node = start(workers=1, TRUSTED_PROXIES=1, AUTH_REQUIRE_VERIFIED_EMAIL="false", METRICS_TOKEN=TOKEN)
        with nginx(tmp_path_factory.mktemp("nginx"), [node.removeprefix("http://")]) as proxy:
            yield proxy


@pytest.fixture
def client(proxied: Proxy) -> Iterator[httpx.Client]:
    """A client of the service behind nginx, at an address that is not nginx's."""
    with _client(proxied) as client:
        yield client


def _client(proxy: Proxy) -> httpx.Client:
    transport = httpx.HTTPTransport(local_address=OTHER_ADDRESS, verify=proxy.trust)
    return httpx.Client(base_url=proxy.address, transport=transport, timeout=40)


class Seen(NamedTuple):
    """A request that came to such a node: what, by which connection, and what nginx says of it."""

    method: str
    connection: tuple[str, int]
    headers: Message


class DyingNode(BaseHTTPRequestHandler):
    """A node that reads a request, notes it and dies over it; of `/kept/` it gives an answer."""

    protocol_version = "HTTP/1.1"
    seen: list["Seen"]

    def answer(self) -> None:
        self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self.seen.append(Seen(self.command, self.client_address, self.headers))
        if not self.path.startswith("/kept/"):
            self.close_connection = True
            return
        self.send_response(200)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, format: str, *args: Any) -> None:
        """Keep quiet."""


@contextmanager
def dying_nodes(number: int) -> Iterator[tuple[list[str], list[Seen]]]:
    """Run such nodes; gives their addresses, and what they will have been asked."""
    seen: list[Seen] = []
    methods = {f"do_{method}": DyingNode.answer for method in ("GET", "POST", "PATCH", "DELETE")}
    handler = type("Node", (DyingNode,), {"seen": seen, **methods})
    servers = [ThreadingHTTPServer(("127.0.0.1", 0), handler) for _ in range(number)]
    for server in servers:
        threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield [f"127.0.0.1:{server.server_port}" for server in servers], seen
    finally:
        for server in servers:
            server.shutdown()
            server.server_close()


def sent(proxy: Proxy, raw: bytes) -> str:
    """Send this, encrypted, and give all that comes back until the server hangs up."""
    url = urlsplit(proxy.address)
    with (
        socket.create_connection((url.hostname, url.port), timeout=30) as plain,
        proxy.trust.wrap_socket(plain, server_hostname=url.hostname) as connection,
    ):
        connection.sendall(raw)
        found = b""
        while part := _received(connection):
            found += part
        return found.decode()


def _received(connection: ssl.SSLSocket) -> bytes:
    try:
        return connection.recv(65536)
    except (ConnectionResetError, ssl.SSLEOFError):
        return b""


def assert_refused(answer: httpx.Response, refusal: type[AuthError]) -> None:
    """Check that nginx says what the service would, and in all of its form."""
    expected = {"success": False, "error": {"code": refusal.code, "message": refusal.message}}
    assert (answer.status_code, answer.json()) == (refusal.status, expected)
    assert answer.headers["Content-Type"] == "application/json"
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
    assert answer.headers["Referrer-Policy"] == "no-referrer"
    assert answer.headers["Content-Security-Policy"] == "default-src 'none'; frame-ancestors 'none'"
    assert answer.headers["Cache-Control"] == "no-store"
    assert answer.headers["Strict-Transport-Security"]
    assert re.fullmatch(r"[A-Za-z0-9._-]{1,128}", answer.headers["X-Request-ID"])
    assert ("Retry-After" in answer.headers) == (refusal.status in (429, 503))


def test_shipped_configuration_is_valid(tmp_path: Path):
    command = configured(tmp_path, ["127.0.0.1:8001", "127.0.0.1:8002"], host="127.0.0.1", ports=(8003, 8004))
    done = subprocess.run([*command, "-t"], capture_output=True, text=True, check=False)
    assert (done.returncode, "test is successful" in done.stderr) == (0, True), done.stderr
    assert "warn" not in done.stderr


def test_shipped_configuration_refuses_in_the_words_of_the_service():
    refusals = [thing for thing in vars(errors).values() if isinstance(thing, type) and issubclass(thing, AuthError)]
    known = {(refusal.status, refusal.code, refusal.message) for refusal in refusals}
    found = re.findall(r"return (\d+) '(.*)\\n';", SHIPPED.read_text())
    assert len(found) == 6
    for status, text in found:
        body = json.loads(text)
        assert body["success"] is False
        assert (int(status), body["error"]["code"], body["error"]["message"]) in known


def test_shipped_configuration_never_sends_twice_what_a_node_may_have_acted_on():
    directives = [line.split("#")[0] for line in SHIPPED.read_text().splitlines()]
    assert not any("non_idempotent" in line for line in directives)


@pytest.mark.long
def test_what_a_client_says_of_its_address_never_reaches_a_node(tmp_path: Path):
    with dying_nodes(1) as (nodes, seen), nginx(tmp_path / "nginx", nodes) as proxy, _client(proxy) as client:
        assert client.get("/kept/", headers=LIES).status_code == 200
    ((_, _, headers),) = seen
    assert headers.get_all("X-Forwarded-For") == [OTHER_ADDRESS]
    assert headers.get_all("X-Forwarded-Proto") == ["https"]
    assert "X_Forwarded_For" not in headers


@pytest.mark.long
def test_a_session_shows_the_address_that_nginx_saw(app: Flask, client: httpx.Client):
    account = {"email": ALICE, "password": PASSWORD}
    answer = client.post("/api/auth/register", json=account, headers=LIES)
    assert answer.status_code == 201, answer.text
    bearer = {"Authorization": f"Bearer {answer.json()['data']['access_token']}"}
    (session,) = client.get("/api/auth/sessions", headers=bearer).json()["data"]["sessions"]
    assert session["ip"] == OTHER_ADDRESS


@pytest.mark.long
def test_answers_of_a_node_pass_as_they_are(client: httpx.Client, proxied: Proxy):
    answer = client.get("/api/auth/me", headers={"X-Request-ID": "from-the-client.1"})
    assert (answer.status_code, answer.json()["error"]["code"]) == (401, "UNAUTHORIZED")
    assert answer.headers["WWW-Authenticate"] == "Bearer"
    assert answer.headers["X-Request-ID"] == "from-the-client.1"
    assert answer.headers["Strict-Transport-Security"]
    assert answer.headers["Server"] == "nginx"
    assert [len(answer.headers.get_list(name)) for name in ("X-Request-ID", "Cache-Control")] == [1, 1]
    assert proxied.logs(' from-the-client.1 127.0.0.9 "GET /api/auth/me" 401 ')
    large = client.post("/api/auth/login", content=b"x" * 20_000, headers={"Content-Type": "application/json"})
    assert (large.status_code, large.json()["error"]["code"]) == (413, "PAYLOAD_TOO_LARGE")
    for headers in ({}, {"X-Request-ID": "no good"}):
        made = client.get("/api/auth/none", headers=headers).headers["X-Request-ID"]
        assert proxied.logs(f' {made} 127.0.0.9 "GET /api/auth/none" 404 ')


@pytest.mark.long
def test_what_nginx_refuses_itself_is_in_the_envelope(client: httpx.Client, proxied: Proxy):
    assert_refused(client.post("/api/auth/login", content=b"x" * 70_000), errors.PayloadTooLargeError)
    assert_refused(client.request("TRACE", "/api/auth/login"), errors.MethodNotAllowedError)
    assert_refused(client.get("/api/auth/login", headers={"X-Long": "x" * 40_000}), errors.BadRequestError)
    assert_refused(client.get(f"/api/auth/{'x' * 40_000}"), errors.BadRequestError)
    for head in ("GARBAGE\r\n\r\n", "GET /api/auth/me HTTP/1.1\r\n\r\n", "GET /a HTTP/1.1\r\nHost: a b\r\n\r\n"):
        answer = sent(proxied, head.encode())
        assert answer.startswith("HTTP/1.1 400 "), (head, answer)
        assert '"code":"BAD_REQUEST"' in answer, (head, answer)
    assert_refused(client.get("/authapp-refusals/503"), errors.NotFoundError)
    for path in ("/metrics", "/%6detrics"):
        assert_refused(client.get(path, headers={"Authorization": f"Bearer {TOKEN}"}), errors.NotFoundError)


@pytest.mark.long
def test_an_address_has_so_many_requests_at_once_and_leaves_the_others_theirs(client: httpx.Client, proxied: Proxy):
    with slow.crowd(proxied.address, AT_ONCE + 1, slow.body) as clients:
        deadline = time.monotonic() + 10
        while not any(one.got for one in clients) and time.monotonic() < deadline:
            time.sleep(0.1)
        assert_refused(httpx.get(f"{proxied.address}/api/auth/me", verify=proxied.trust), errors.RateLimitedError)
        assert client.get("/api/auth/me").status_code == 401


@pytest.mark.long
def test_plain_http_leads_to_https(proxied: Proxy):
    answer = httpx.post(f"{proxied.plain_address}/api/auth/login?a=b", json={"email": ALICE, "password": PASSWORD})
    assert (answer.status_code, answer.headers["Location"]) == (308, "https://auth.example.com/api/auth/login?a=b")


@pytest.mark.long
def test_no_token_of_a_link_is_logged(tmp_path: Path, client: httpx.Client, proxied: Proxy):
    page = f"/api/auth/reset-password?token={SECRET}"
    referred = {"Referer": f"https://auth.example.com{page}"}
    assert client.get(page, headers=referred).status_code in (200, 400)
    httpx.get(proxied.plain_address + page, headers=referred)
    assert proxied.logs('"GET /api/auth/reset-password" ')
    assert SECRET not in proxied.log()
    with nginx(tmp_path / "nginx", [f"127.0.0.1:{free_port()}"]) as alone, _client(alone) as other:
        assert_refused(other.get(page, headers=referred), errors.ServiceUnavailableError)
        assert_refused(other.post(page, content=b"x" * 70_000, headers=referred), errors.PayloadTooLargeError)
        assert alone.logs('"GET /api/auth/reset-password" 503 ')
        assert alone.logs('"POST /api/auth/reset-password" 413 ')
        assert alone.logs("said=502")
        assert SECRET not in alone.log()


@pytest.mark.long
def test_what_could_not_be_sent_goes_to_another_node(tmp_path: Path):
    with dying_nodes(1) as (nodes, seen):
        closed = [f"127.0.0.1:{free_port()}" for _ in range(2)]
        with nginx(tmp_path / "nginx", [closed[0], *nodes]) as proxy, _client(proxy) as client:
            answers = [client.post("/kept/", content=b"once").status_code for _ in range(20)]
    assert answers == [200] * 20
    assert [method for method, *_ in seen] == ["POST"] * 20


@pytest.mark.long
@pytest.mark.parametrize(("method", "times"), [("POST", 1), ("PATCH", 1), ("GET", 2), ("DELETE", 2)])
def test_what_a_node_may_have_acted_on_is_sent_once_unless_it_may_be_repeated(tmp_path: Path, method: str, times: int):
    with dying_nodes(2) as (nodes, seen), nginx(tmp_path / "nginx", nodes) as proxy, _client(proxy) as client:
        body = b"a body" if method in ("POST", "PATCH") else None
        assert_refused(client.request(method, "/api/auth/me", content=body), errors.ServiceUnavailableError)
    assert [method for method, *_ in seen] == [method] * times


@pytest.mark.long
def test_connections_to_a_node_are_used_again(tmp_path: Path):
    with dying_nodes(1) as (nodes, seen), nginx(tmp_path / "nginx", nodes) as proxy, _client(proxy) as client:
        for _ in range(20):
            client.post("/kept/", content=b"again")
    assert len(seen) == 20
    assert len({request.connection for request in seen}) <= 2
