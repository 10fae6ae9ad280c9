"""What benchmarks run on: the real service under gunicorn, and a database of its own on the server that there is."""

import os
import secrets
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pymysql
from sqlalchemy.engine import URL, make_url

TICKS_A_SECOND = os.sysconf("SC_CLK_TCK")
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
    with watched_service(settings, workers=workers) as (port, _):
        yield port


@contextmanager
def watched_service(settings: dict[str, str], *, workers: int) -> Iterator[tuple[int, int]]:
    """Run the service, and give its port and the id of its first process, whose children are the workers."""
    port = free_port()
    command = [sys.executable, "-m", "gunicorn", "--log-level", "warning", "wsgi:app"]
    with process(command, {**settings, "BIND": f"127.0.0.1:{port}", "WEB_CONCURRENCY": str(workers)}) as pid:
        wait_for(port)
        yield port, pid


@contextmanager
def process(command: list[str], environment: dict[str, str]) -> Iterator[int]:
    """Run a process of ours until the block is left; what it printed is shown when something goes wrong."""
    with tempfile.TemporaryFile() as log:
        running = subprocess.Popen(  # noqa: S603  # The command is ours.
            command, cwd=ROOT, env={"PATH": os.environ["PATH"], **environment}, stdout=log, stderr=log
        )
        try:
            yield running.pid
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


def used(pid: int) -> tuple[float, float, float]:
    """Give what this process, the service and MariaDB have used of the processor so far, in seconds."""
    everybody = {int(found.name): found for found in Path("/proc").glob("[0-9]*")}
    stats = {number: _stat(found) for number, found in everybody.items()}
    service = [ticks for number, (_, parent, ticks) in stats.items() if pid in (number, parent)]
    database = [ticks for name, _, ticks in stats.values() if name in ("mariadbd", "mysqld")]
    return time.process_time(), _seconds(service), _seconds(database)


def _stat(process: Path) -> tuple[str, int, int]:
    """Give a process's name, its parent, and the ticks that it has used; see proc(5)."""
    try:
        name, _, rest = (process / "stat").read_text().partition("(")[2].rpartition(")")
    except OSError:
        # It has just ended.
        return "", 0, 0
    fields = rest.split()
    return name, int(fields[1]), int(fields[11]) + int(fields[12])


def _seconds(ticks: Iterable[int]) -> float:
    return sum(ticks) / TICKS_A_SECOND
