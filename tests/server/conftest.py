"""The real thing: gunicorn as processes of its own, on a real database, with a mail server that receives."""

import os
import queue
import secrets
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from email.message import EmailMessage
from email.parser import BytesParser
from email.policy import default
from pathlib import Path

import httpx
import pytest
from aiosmtpd.controller import Controller
from aiosmtpd.smtp import SMTP, Envelope, Session
from flask import Flask

from tests.services import free_port

START_SECONDS = 60

StartNode = Callable[..., str]


class Mailbox:
    """A mail server's handler that keeps what it gets."""

    def __init__(self) -> None:
        self.received: queue.Queue[EmailMessage] = queue.Queue()

    async def handle_DATA(self, server: SMTP, session: Session, envelope: Envelope) -> str:  # noqa: N802  # aiosmtpd's name.
        assert isinstance(envelope.content, bytes)
        message = BytesParser(policy=default).parsebytes(envelope.content)
        assert isinstance(message, EmailMessage)
        self.received.put(message)
        return "250 OK"


@pytest.fixture
def mailbox() -> Iterator[tuple[Mailbox, int]]:
    """A real SMTP server, and the port that it listens on."""
    handler = Mailbox()
    controller = Controller(handler, hostname="127.0.0.1", port=free_port())
    controller.start()
    yield handler, controller.port
    controller.stop()


@pytest.fixture
def start_node(app: Flask, root: Path, tmp_path: Path) -> Iterator[StartNode]:
    """Start a service of several workers on the test's database, and give its address; all end with the test."""
    with starting(app, root, tmp_path) as start:
        yield start


@contextmanager
def starting(app: Flask, root: Path, logs: Path) -> Iterator[StartNode]:
    """Start services of several workers on the database of this application; all end with the block."""
    secret = secrets.token_urlsafe(48)
    with ExitStack() as nodes:

        def start(*, workers: int, **settings: object) -> str:
            environment = production(app, workers=workers, **{"SECRET_KEY": secret, **settings})
            return nodes.enter_context(running(root, environment, logs))

        yield start


def production(app: Flask, *, workers: int, **settings: object) -> dict[str, str]:
    """Give the environment of a service of several workers on the database of this application."""
    given = {
        "APP_ENV": "production",
        "SECRET_KEY": secrets.token_urlsafe(48),
        "AUTH_PUBLIC_URL": "https://auth.example.org",
        "DATABASE_URL": app.config["DATABASE_URL"],
        "WEB_CONCURRENCY": workers,
        **settings,
    }
    return {name: str(value) for name, value in given.items()}


@dataclass(frozen=True)
class Service:
    """A gunicorn that runs: its address, its arbiter, and the file that it prints to."""

    address: str
    arbiter: "subprocess.Popen[bytes]"
    log: Path

    def workers(self) -> list[int]:
        """Give the process ids of its workers, as they are now."""
        children = Path(f"/proc/{self.arbiter.pid}/task/{self.arbiter.pid}/children")
        return [int(pid) for pid in children.read_text().split()]


@contextmanager
def running(root: Path, environment: dict[str, str], logs: Path) -> Iterator[str]:
    """Run gunicorn until the block is left, and give its address; what it printed stands in a file under `logs`."""
    with serving(root, environment, logs) as service:
        yield service.address


@contextmanager
def serving(
    root: Path,
    environment: dict[str, str],
    logs: Path,
    *,
    wsgi: str = "wsgi:app",
    command: Sequence[str] = (),
    port: int | None = None,
) -> Iterator[Service]:
    """Run gunicorn, or this command, until the block is left, for tests that have to do with its processes.

    As `make run` does it: all workers load the application at once, and none waits for the first one.
    """
    port = port or free_port()
    # All clients of a test have one address; a test of the limits switches them on.
    ours = {
        "PATH": os.environ["PATH"],
        "BIND": f"127.0.0.1:{port}",
        "AUTHAPP_GREETING": "1",
        "RATELIMIT_ENABLED": "false",
    }
    log = logs / f"gunicorn-{port}.log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            command or [sys.executable, "-m", "gunicorn", wsgi],
            cwd=root,
            env={**ours, **environment},
            stdout=output,
            stderr=subprocess.STDOUT,
        )
        try:
            address = f"http://127.0.0.1:{port}"
            _wait_until_ready(address, process, log)
            yield Service(address, process, log)
        finally:
            _stop(process)


def _stop(process: "subprocess.Popen[bytes]") -> None:
    process.terminate()
    try:
        process.wait(timeout=15)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def _wait_until_ready(address: str, process: "subprocess.Popen[bytes]", log: Path) -> None:
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline:
        if process.poll() is not None:
            break
        try:
            if httpx.get(f"{address}/readyz").status_code == 200:
                return
        except httpx.TransportError:
            pass
        time.sleep(0.05)
    pytest.fail(f"gunicorn did not become ready:\n{log.read_text()}")
