"""While many log in, are those who are signed in still served? `GET me` within five times its time on an idle service.

    make bench-storm
    .venv/bin/python -m benchmarks.login_storm --rounds 2 --seconds 10 --database sqlite

Starts the real service (gunicorn, two workers, hashes at their default cost) on SQLite and, where one answers, on
MariaDB. Four connections ask for `GET me` and one for `/healthz`, at a fixed rate: an answer's time counts from the
moment its request was due, whether or not the one before had been answered by then. Rounds without anything else and
rounds in which sixteen connections do nothing but log in take turns, so that the machine's moods meet both. The clients
are two processes; how much of a processor they use is printed, since they compete with the service for it. Exits with
1 where a request failed, where the 99th percentile of `GET me` is over five times that of the idle rounds, or where an
answer of `/healthz` took longer than 200 ms.
"""

import argparse
import http.client
import json
import multiprocessing
import secrets
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from dataclasses import dataclass, field
from http import HTTPStatus

import flask_migrate
import pymysql

from authapp import create_app, database, users
from authapp.extensions import db
from benchmarks.service import MYSQL_URL, mysql, service

PREFIX = "/api/auth"
PASSWORD = "violet-tractor-19-sings"  # noqa: S105  # Of accounts that live as long as this runs.
WORKERS = 2
LOOKERS, LOOKS_A_SECOND = 4, 10
"""Connections that ask for `GET me`, and how often each does; also how often one asks for `/healthz`."""
STORMERS = 16
MOST_TIMES_IDLE = 5
MOST_HEALTH_MILLISECONDS = 200
START_SECONDS = 1.5
TIMEOUT_SECONDS = 30
ME, HEALTH = f"{PREFIX}/me", "/healthz"


@dataclass
class Heard:
    """What one kind of request met: the times of the answers in ms, what failed, and the processor that asking took."""

    milliseconds: list[float] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)
    refused: int = 0
    processor: float = 0.0

    def add(self, other: "Heard") -> None:
        """Take in what another has met."""
        self.milliseconds += other.milliseconds
        self.failures += other.failures
        self.refused += other.refused
        self.processor += other.processor


@dataclass(frozen=True)
class Span:
    """When to ask, by the clock that all processes of a machine share."""

    begin: float
    end: float


@dataclass
class Storm:
    """What was met on one database, without a storm and within one."""

    idle: dict[str, Heard]
    stormy: dict[str, Heard]
    logins: Heard
    seconds: float

    @property
    def times_idle(self) -> float:
        """How many times as long as on the idle service the slowest hundredth of `GET me` took at least."""
        return percentile(self.stormy[ME], 99) / percentile(self.idle[ME], 99)

    @property
    def longest_health(self) -> float:
        """The longest answer of `/healthz` within the storm, in ms."""
        return max(self.stormy[HEALTH].milliseconds)

    @property
    def failures(self) -> list[str]:
        """What failed of all but the logins."""
        return [failure for phase in (self.idle, self.stormy) for heard in phase.values() for failure in heard.failures]

    @property
    def is_weathered(self) -> bool:
        """Whether every goal is met."""
        is_fast = self.times_idle <= MOST_TIMES_IDLE and self.longest_health <= MOST_HEALTH_MILLISECONDS
        return is_fast and not self.failures and not self.logins.failures


def percentile(heard: Heard, number: int) -> float:
    """Give the time that so many of a hundred answers took at most."""
    return statistics.quantiles(heard.milliseconds, n=100, method="inclusive")[number - 1]


class Client:
    """One connection that is kept open."""

    def __init__(self, port: int) -> None:
        self._connection = http.client.HTTPConnection("127.0.0.1", port, timeout=TIMEOUT_SECONDS)

    def ask(self, method: str, path: str, headers: dict[str, str], body: bytes | None = None) -> tuple[int, bytes]:
        """Send a request and give the status and the body of the answer; the status is 0 where there was none."""
        try:
            self._connection.request(method, path, body, headers)
            response = self._connection.getresponse()
            return response.status, response.read()
        except (OSError, http.client.HTTPException) as error:
            self._connection.close()
            return 0, repr(error).encode()

    def log_in(self, email: str) -> tuple[int, bytes]:
        """Log in."""
        body = json.dumps({"email": email, "password": PASSWORD}).encode()
        return self.ask("POST", f"{PREFIX}/login", {"Content-Type": "application/json"}, body)

    def close(self) -> None:
        """Hang up."""
        self._connection.close()


def address(number: int) -> str:
    """Give the address of an account."""
    return f"person-{number:02d}@example.org"


def look(port: int, token: str, span: Span) -> dict[str, Heard]:
    """Ask for `GET me` and `/healthz` at a fixed rate; a process of its own runs this."""
    began = time.process_time()
    with ThreadPoolExecutor(LOOKERS + 1) as threads:
        me = [threads.submit(_look, port, ME, token, span, number / LOOKERS) for number in range(LOOKERS)]
        health = threads.submit(_look, port, HEALTH, "", span, 0.5)
        found = {ME: _together([one.result() for one in me]), HEALTH: health.result()}
    found[ME].processor = time.process_time() - began
    return found


def _look(port: int, path: str, token: str, span: Span, shift: float) -> Heard:
    heard, client, number = Heard(), Client(port), 0
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    while (due := span.begin + (number + shift) / LOOKS_A_SECOND) < span.end:
        time.sleep(max(0.0, due - time.monotonic()))
        status, answer = client.ask("GET", path, headers)
        heard.milliseconds.append((time.monotonic() - due) * 1000)
        if status != HTTPStatus.OK:
            heard.failures.append(f"{path}: {status} {answer.decode(errors='replace')}")
        number += 1
    client.close()
    return heard


def storm(port: int, span: Span) -> Heard:
    """Log in, over many connections, again and again; a process of its own runs this."""
    began = time.process_time()
    with ThreadPoolExecutor(STORMERS) as threads:
        heard = _together([one.result() for one in [threads.submit(_storm, port, n, span) for n in range(STORMERS)]])
    heard.processor = time.process_time() - began
    return heard


def _storm(port: int, number: int, span: Span) -> Heard:
    heard, client = Heard(), Client(port)
    time.sleep(max(0.0, span.begin - time.monotonic()))
    while (sent := time.monotonic()) < span.end:
        status, answer = client.log_in(address(number))
        if status == HTTPStatus.OK:
            heard.milliseconds.append((time.monotonic() - sent) * 1000)
        elif status == HTTPStatus.SERVICE_UNAVAILABLE:
            heard.refused += 1
        else:
            heard.failures.append(f"login: {status} {answer.decode(errors='replace')}")
    client.close()
    return heard


def _together(several: Sequence[Heard]) -> Heard:
    found = Heard()
    for one in several:
        found.add(one)
    return found


def measure(settings: dict[str, str], *, rounds: int, seconds: float) -> Storm:
    """Run the service with these settings, and everything against it; the database has the accounts."""
    met = Storm({ME: Heard(), HEALTH: Heard()}, {ME: Heard(), HEALTH: Heard()}, Heard(), rounds * seconds)
    context = multiprocessing.get_context("spawn")
    with service(settings, workers=WORKERS) as port, ProcessPoolExecutor(2, mp_context=context) as clients:
        token = _token(port)
        # A round that is not counted starts the threads of the service, and the clients' processes.
        for number in range(rounds + 1):
            for is_stormy in (False, True):
                begin = time.monotonic() + START_SECONDS
                span = Span(begin, begin + (seconds if number else 2.0))
                looked = clients.submit(look, port, token, span)
                logins = clients.submit(storm, port, span).result() if is_stormy else Heard()
                found = looked.result()
                if number:
                    met.logins.add(logins)
                    for path, heard in (met.stormy if is_stormy else met.idle).items():
                        heard.add(found[path])
    return met


def _token(port: int) -> str:
    client = Client(port)
    status, answer = client.log_in(address(0))
    client.close()
    if status != HTTPStatus.OK:
        raise SystemExit(f"login answered {status}: {answer.decode()}")
    found: str = json.loads(answer)["data"]["access_token"]
    return found


def production(url: str) -> dict[str, str]:
    """Give the settings of a service on this database."""
    return {
        "APP_ENV": "production",
        "SECRET_KEY": secrets.token_urlsafe(48),
        "AUTH_PUBLIC_URL": "https://auth.example.org",
        "DATABASE_URL": url,
        # The limits would end the storm.
        "RATELIMIT_ENABLED": "false",
    }


def fill() -> None:
    """Make the accounts, in the database of the application at hand."""
    for number in range(STORMERS):
        users.create_user(address(number), PASSWORD, is_verified=True)
    database.commit()


def report(met: Storm, write: Callable[[str], object] = print) -> None:
    """Print the times, and whether each goal is met."""
    write(f"  {'':22}{'answers':>8}{'median':>11}{'p99':>11}{'longest':>11}{'failed':>8}")
    for phase, several in (("idle", met.idle), ("storm", met.stormy)):
        for path, heard in several.items():
            _write_row(f"{phase}  GET {path}", heard, write)
    _write_row("storm  POST login", met.logins, write)
    a_second = len(met.logins.milliseconds) / met.seconds
    write(f"  {a_second:.1f} logins a second, {met.logins.refused} refused (SERVER_BUSY)")
    looking, storming = met.stormy[ME].processor / met.seconds, met.logins.processor / met.seconds
    write(f"  the clients took {looking:.0%} and {storming:.0%} of a processor in the storm")
    for failure in (met.failures + met.logins.failures)[:5]:
        write(f"  FAILED: {failure}")
    is_fast, is_healthy = met.times_idle <= MOST_TIMES_IDLE, met.longest_health <= MOST_HEALTH_MILLISECONDS
    write(f"  p99 of GET me: {met.times_idle:.1f} times idle (goal {MOST_TIMES_IDLE}): {_verdict(is_fast)}")
    write(
        f"  longest /healthz: {met.longest_health:.0f} ms (goal {MOST_HEALTH_MILLISECONDS} ms): {_verdict(is_healthy)}"
    )


def _write_row(name: str, heard: Heard, write: Callable[[str], object]) -> None:
    times = statistics.median(heard.milliseconds), percentile(heard, 99), max(heard.milliseconds)
    shown = "".join(f"{one:8.1f} ms" for one in times)
    write(f"  {name:22}{len(heard.milliseconds):8}{shown}{len(heard.failures):8}")


def _verdict(is_met: bool) -> str:
    return "met" if is_met else "MISSED"


def run(url: str, *, rounds: int, seconds: float) -> bool:
    """Measure on one empty database, and print what was met; say whether every goal is met."""
    settings = production(url)
    with create_app(settings, environ={}).app_context():
        flask_migrate.upgrade()
        fill()
        db.engine.dispose()
    met = measure(settings, rounds=rounds, seconds=seconds)
    report(met)
    return met.is_weathered


def main() -> int:
    """Measure on each database and give the exit status."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=4, help="of each kind, idle and stormy (4)")
    parser.add_argument("--seconds", type=float, default=15, help="that each round takes (15)")
    parser.add_argument("--database", choices=["sqlite", "mariadb"], help="one of them only")
    given = parser.parse_args()
    good = True
    if given.database != "mariadb":
        with tempfile.TemporaryDirectory() as directory:
            print("SQLite")
            good = run(f"sqlite:///{directory}/bench.db", rounds=given.rounds, seconds=given.seconds)
    if given.database != "sqlite":
        try:
            with mysql() as url:
                print("\nMariaDB")
                where = url.render_as_string(hide_password=False)
                good = run(where, rounds=given.rounds, seconds=given.seconds) and good
        except pymysql.OperationalError as error:
            print(f"\nNo MariaDB answers at {MYSQL_URL.host}: left out ({error.args[0]}).")
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
