"""Requests that no client library would send, on the running service."""

import json
import socket
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from flask import Flask

from tests.factories import PASSWORD
from tests.server.conftest import StartNode

pytestmark = [pytest.mark.server, pytest.mark.any_database]

CHUNKED = (
    "POST /api/auth/login HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n"
)


def sent(address: str, raw: str) -> str:
    """Send this and give all that comes back until the server hangs up."""
    url = urlsplit(address)
    assert url.hostname
    assert url.port
    with socket.create_connection((url.hostname, url.port), timeout=10) as connection:
        connection.sendall(raw.encode())
        connection.shutdown(socket.SHUT_WR)
        return b"".join(iter(lambda: connection.recv(65536), b"")).decode()


def test_what_is_not_quite_http_is_refused_and_leaves_one_line_in_the_log(
    app: Flask, start_node: StartNode, tmp_path: Path
):
    address = start_node(workers=1)
    for body in ("zz\r\nabc\r\n0\r\n\r\n", "-3\r\nabc\r\n", "3\r\nabcdefg"):
        answer = sent(address, CHUNKED + body)
        assert answer.startswith("HTTP/1.1 400 "), answer
        assert '"code":"BAD_REQUEST"' in answer
    for body in ('{"email":"alice@example.org","password":"violet-tractor-19-sings"}', "username=a&password=violet"):
        kind = "application/json" if body.startswith("{") else "application/x-www-form-urlencoded"
        head = f"POST /api/auth/login HTTP/1.1\r\nHost: x\r\nContent-Type: {kind}\r\nContent-Length: 100\r\n\r\n"
        assert "The body cannot be read." in sent(address, head + body)
    # Neither the path nor a line of the log is what a header or an escape says.
    moved = sent(address, "GET /x/api/auth/me HTTP/1.1\r\nHost: x\r\nSCRIPT_NAME: /x\r\nConnection: close\r\n\r\n")
    assert moved.startswith("HTTP/1.1 404 ")
    sent(address, "GET /%0d%0aforged%1b[2J HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
    # The end of a body that was longer than its head says, and a link that was broken in two: no line quotes them.
    sent(address, f'"password": "{PASSWORD}"}}\r\n\r\n')
    sent(address, "GET /api/auth/verify-email?token=half-a-token in two HTTP/1.1\r\nHost: x\r\n\r\n")
    (log,) = tmp_path.glob("gunicorn-*.log")
    assert "Traceback" not in log.read_text()
    assert "\x1b" not in log.read_text()
    paths = [json.loads(line).get("path") for line in log.read_text().splitlines() if line.startswith("{")]
    assert not any(line.startswith("forged") for line in log.read_text().splitlines())
    assert "/\r\nforged\x1b[2J" in paths
    assert "Invalid HTTP request line" in log.read_text()
    assert "half-a-token" not in log.read_text()
