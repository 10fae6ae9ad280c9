"""`GET me` against the limit, which is bare Flask, PyJWT, one SELECT by primary key and JSON (`limit_app.py`).

    make bench-signed-in
    .venv/bin/python -m benchmarks.signed_in --seconds 2 --rounds 2 --database sqlite

Both run under gunicorn with two workers of 64 threads, on one database, and are asked by turns by wrk with eight
connections, which never wait; and so is the limit on authapp's own class of workers (`authapp/gthread.py`), which shows
what of the difference is the application's. The rounds are many and short: which of gunicorn's own workers accepts how
many of the connections is chance. What a request costs is the processor's time that the processes of the service have
used meanwhile; MariaDB's is beside it. The medians of the rounds are told.
"""

import json
import statistics
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from http import HTTPStatus
from pathlib import Path
from tempfile import TemporaryDirectory

import jwt

from benchmarks import wrk
from benchmarks.people import ME, Client, address
from benchmarks.service import ROOT, free_port, process, used, wait_for, watched_service
from benchmarks.setting import Given, main_of, prepared
from benchmarks.table import Figure

WORKERS, THREADS = 2, 64
OUR_WORKER = f"""
import runpy
worker_class = runpy.run_path({str(ROOT / "authapp" / "gthread.py")!r})["Worker"]
"""
GOALS = {"SQLite": 0.70, "MariaDB": 0.75}


@dataclass(frozen=True)
class Asked:
    """One application: where it listens, and whose process it is."""

    url: str
    token: str
    pid: int


@dataclass(frozen=True)
class Round:
    """What a round met: answers a second, processor's time of the service and of MariaDB in us a request, p99 in ms."""

    rate: float
    service: float
    database: float
    p99: float
    failures: int


@contextmanager
def limit(settings: dict[str, str], user_id: str, config: str = "") -> Iterator[Asked]:
    """Run the limit on this database, under these settings of gunicorn's, and give a token for this user."""
    port = free_port()
    # Our worker tries no settings of authapp's where `make run` has done so.
    environment = {name: settings[name] for name in ("SECRET_KEY", "DATABASE_URL")} | {"AUTHAPP_GREETING": "1"}
    claims = {"sub": user_id, "exp": datetime.now(UTC) + timedelta(hours=1)}
    token = jwt.encode(claims, settings["SECRET_KEY"], algorithm="HS256")
    with TemporaryDirectory() as directory:
        # Else it would run by our own settings.
        own = Path(directory) / "gunicorn.conf.py"
        own.write_text(config)
        workers = ["--workers", str(WORKERS), "--threads", str(THREADS)]
        where = ["--bind", f"127.0.0.1:{port}", "--keep-alive", "5", "--config", str(own), "--log-level", "warning"]
        command = [sys.executable, "-m", "gunicorn", *workers, *where, "benchmarks.limit_app:app"]
        with process(command, environment) as pid:
            wait_for(port)
            # A worker listens before it has loaded the application.
            Client(port).ask("GET", "/me", {})
            yield Asked(f"http://127.0.0.1:{port}/me", token, pid)


@contextmanager
def ours(settings: dict[str, str]) -> Iterator[tuple[Asked, str]]:
    """Run the service, and give what asks it, and the user that its token speaks for."""
    with watched_service(settings, workers=WORKERS) as (port, pid):
        client = Client(port)
        status, answer = client.log_in(address(0))
        client.close()
        if status != HTTPStatus.OK:
            raise SystemExit(f"login answered {status}: {answer.decode()}")
        data = json.loads(answer)["data"]
        yield Asked(f"http://127.0.0.1:{port}{ME}", data["access_token"], pid), data["user"]["id"]


def ask(one: Asked, seconds: float) -> Round:
    """Ask for one round."""
    before = used(one.pid)
    heard = wrk.ask(one.url, one.token, seconds)
    after = used(one.pid)
    service, database = (1e6 * (end - start) / heard.answers for start, end in zip(before[1:], after[1:], strict=True))
    return Round(heard.rate, service, database, heard.p99, heard.failures)


def median(rounds: list[Round]) -> Round:
    """Give the median of each figure, and all failures."""
    rate, service, database, p99 = (
        statistics.median(getattr(one, name) for one in rounds) for name in ("rate", "service", "database", "p99")
    )
    return Round(rate, service, database, p99, sum(one.failures for one in rounds))


def measure(url: str, given: Given) -> list[Figure]:
    """Measure on one empty database."""
    settings = prepared(url)
    with ExitStack() as stack:
        mine, user_id = stack.enter_context(ours(settings))
        least = stack.enter_context(limit(settings, user_id))
        same = stack.enter_context(limit(settings, user_id, OUR_WORKER))
        asked = (least, mine, same)
        for one in asked:
            ask(one, 1)
        rounds = [[ask(one, given.seconds) for one in asked] for _ in range(given.rounds)]
    bare, us, alike = (median(list(column)) for column in zip(*rounds, strict=True))
    if bare.failures + us.failures:
        raise SystemExit(f"requests failed: {bare.failures} of the limit, {us.failures} of ours")
    ratio, cost = us.rate / bare.rate, bare.service / us.service
    goal = GOALS[given.kind]
    return [
        Figure(
            f"GET me: rate, of the limit ({given.kind})", f">= {goal:.2f}", "1.00", f"{ratio:.2f}", is_met=ratio >= goal
        ),
        Figure(f"GET me: rate, of the limit on our worker ({given.kind})", "", "1.00", f"{us.rate / alike.rate:.2f}"),
        Figure(f"GET me: limit's processor time, of ours ({given.kind})", "", "1.00", f"{cost:.2f}"),
        Figure(f"GET me: a second ({given.kind})", "", f"{bare.rate:.0f}", f"{us.rate:.0f}"),
        Figure(
            f"GET me: processor, us of Python + database ({given.kind})",
            "",
            f"{bare.service:.0f} + {bare.database:.0f}",
            f"{us.service:.0f} + {us.database:.0f}",
        ),
        Figure(f"GET me: p99 at 8 connections, ms ({given.kind})", "", f"{bare.p99:.1f}", f"{us.p99:.1f}"),
    ]


if __name__ == "__main__":
    sys.exit(main_of(__doc__, measure, rounds=24, seconds=1))
