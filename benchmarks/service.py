"""What benchmarks run on: the real service under gunicorn, and a database of its own on the server that there is."""

import os
import secrets
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pymysql
from sqlalchemy.engine import URL, make_url

ROOT = Path(__file__).parent.parent
MYSQL_URL = make_url(os.environ.get("TEST_MYSQL_URL", "mysql+pymysql://root@127.0.0.1:3306"))


@contextmanager
def mysql() -> Iterator[URL]:
    """Make a database of our own on the server, and drop it afterwards."""
    name = f"authapp_bench_{secrets.token_hex(4)}"
    server = pymysql.connect(
        host=MYSQL_URL.host or "127.0.0.1",
        port=MYSQL_URL.port or 3306,
        user=MYSQL_URL.username or "root",
        password=MYSQL_URL.password or "",
        connect_timeout=3,
    )
    with server, server.cursor() as cursor:
        cursor.execute(f"CREATE DATABASE {name}")
        try:
            yield MYSQL_URL.set(database=name)
        finally:
            cursor.execute(f"DROP DATABASE {name}")


@contextmanager
def service(settings: dict[str, str], *, workers: int) -> Iterator[int]:
    """Run the service, and give its port."""
    port = free_port()
    command = [sys.executable, "-m", "gunicorn", "--log-level", "warning", "wsgi:app"]
    with process(command, {**settings, "BIND": f"127.0.0.1:{port}", "WEB_CONCURRENCY": str(workers)}):
        wait_for(port)
        yield port


@contextmanager
def process(command: list[str], environment: dict[str, str]) -> Iterator[None]:
    """Run a process of ours until the block is left; what it printed is shown when something goes wrong."""
    with tempfile.TemporaryFile() as log:
        running = subprocess.Popen(  # noqa: S603  # The command is ours.
            command, cwd=ROOT, env={"PATH": os.environ["PATH"], **environment}, stdout=log, stderr=log
        )
        try:
            yield
        except BaseException:
            log.seek(0)
            print(log.read().decode()[-4000:], file=sys.stderr)
            raise
        finally:
            running.terminate()
            running.wait(timeout=30)


def wait_for(port: int) -> None:
    """Wait until somebody listens there."""
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
        except OSError:
            time.sleep(0.05)
        else:
            return
    raise SystemExit("The service did not start.")


def free_port() -> int:
    """Find a port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
