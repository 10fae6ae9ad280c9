"""What one machine carries: requests a second of `GET me`, refresh and login, and what each costs the processor.

    make bench-capacity
    .venv/bin/python -m benchmarks.capacity --seconds 3 --rounds 2 --database sqlite

Starts the real service (gunicorn, two workers, hashes at their default cost). Eight connections of one client process
ask for one thing, as fast as they are answered, then for the next, by turns. What a request costs is the processor's
time that the service's processes have used meanwhile, and MariaDB's where that runs on this machine (all that it did,
for others too). It depends much less on what else the machine does than requests a second do. The hash alone is
computed by two processes at once, as the two workers do, just before each round of logins and just after it: these are
compared with each other.
"""

import json
import multiprocessing
import statistics
import sys
import time
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from dataclasses import dataclass
from http import HTTPStatus

from werkzeug.security import check_password_hash, generate_password_hash

from authapp.settings import DEFAULT_HASH
from benchmarks.people import ME, PASSWORD, PREFIX, Client, address
from benchmarks.service import used, watched_service
from benchmarks.setting import Given, main_of, prepared
from benchmarks.table import Figure

WORKERS, CONNECTIONS = 2, 8
WARM_SECONDS = 1.0
JSON = {"Content-Type": "application/json"}
MOST_OF_HASH, MOST_REFRESH_P99 = 1.05, 50.0
Signed = tuple[int, Client, dict[str, str]]
"""A connection: its number, itself, and the tokens of its account."""


@dataclass(frozen=True)
class Round:
    """What a round of one kind met: answers a second, p99 in ms, ms of processor a request, share of the client."""

    rate: float
    p99: float
    service: float
    database: float
    client: float


def ask(port: int, pid: int, kind: str, seconds: float) -> Round:
    """Ask for one thing over several connections, after signing them in; a process of its own runs this.

    Raises `SystemExit` where a request failed.
    """
    signed = [_sign_in(port, number) for number in range(CONNECTIONS)]
    with ThreadPoolExecutor(CONNECTIONS) as threads:
        before, began = used(pid), time.monotonic()
        met = list(threads.map(lambda one: _repeat(kind, one, began + seconds), signed))
        after, lasted = used(pid), time.monotonic() - began
    times = [taken for several in met for taken in several]
    client, service, database = (end - start for start, end in zip(before, after, strict=True))
    p99 = statistics.quantiles(times, n=100, method="inclusive")[98]
    per = 1000 / len(times)
    return Round(len(times) / lasted, p99 * 1000, service * per, database * per, client / lasted)


def _sign_in(port: int, number: int) -> Signed:
    client = Client(port)
    status, answer = client.log_in(address(number))
    if status != HTTPStatus.OK:
        raise SystemExit(f"login answered {status}: {answer.decode()}")
    # While the others log in the service would hang up on a connection that is idle; it is opened anew with the
    # first request.
    client.close()
    return number, client, json.loads(answer)["data"]


def _repeat(kind: str, signed: Signed, end: float) -> list[float]:
    """Ask until that time, and give the seconds that each answer took."""
    number, client, tokens = signed
    took = []
    while (began := time.monotonic()) < end:
        if kind == "me":
            status, answer = client.ask("GET", ME, {"Authorization": f"Bearer {tokens['access_token']}"})
        elif kind == "refresh":
            body = json.dumps({"refresh_token": tokens["refresh_token"]}).encode()
            status, answer = client.ask("POST", f"{PREFIX}/refresh", JSON, body)
            tokens = json.loads(answer)["data"] if status == HTTPStatus.OK else tokens
        else:
            status, answer = client.log_in(address(number))
        took.append(time.monotonic() - began)
        if status != HTTPStatus.OK:
            raise SystemExit(f"{kind} answered {status}: {answer.decode(errors='replace')}")
    client.close()
    return took


def hash_alone(seconds: float) -> float:
    """Give the milliseconds of processor that it takes to check a password, and nothing else, over so long a time."""
    kept, number = generate_password_hash(PASSWORD, method=DEFAULT_HASH), 0
    began, end = time.process_time(), time.monotonic() + seconds
    while time.monotonic() < end:
        check_password_hash(kept, PASSWORD)
        number += 1
    return (time.process_time() - began) * 1000 / number


def measure(url: str, given: Given) -> list[Figure]:
    """Measure on one empty database."""
    settings, context = prepared(url), multiprocessing.get_context("spawn")
    rounds: dict[str, list[Round]] = {"me": [], "refresh": [], "login": []}
    times_hash: list[float] = []
    with (
        watched_service(settings, workers=WORKERS) as (port, pid),
        ProcessPoolExecutor(WORKERS, mp_context=context) as clients,
    ):
        # A round that does not count starts the threads of the service, and the client's process.
        clients.submit(ask, port, pid, "me", WARM_SECONDS).result()
        for _ in range(given.rounds):
            for kind in ("me", "refresh"):
                rounds[kind].append(clients.submit(ask, port, pid, kind, given.seconds).result())
            alone = _hashes(clients, given.seconds / 2)
            rounds["login"].append(clients.submit(ask, port, pid, "login", given.seconds).result())
            alone += _hashes(clients, given.seconds / 2)
            times_hash.append(rounds["login"][-1].service / statistics.mean(alone))
    return [*_costs(rounds, given.kind), *_goals(rounds, statistics.median(times_hash), given.kind)]


def _hashes(clients: ProcessPoolExecutor, seconds: float) -> list[float]:
    return [one.result() for one in [clients.submit(hash_alone, seconds) for _ in range(WORKERS)]]


def _costs(rounds: dict[str, list[Round]], kind: str) -> list[Figure]:
    found = []
    for name, several in rounds.items():
        middle = {what: statistics.median(getattr(one, what) for one in several) for what in Round.__annotations__}
        said = "{service:.2f} + {database:.2f} ms, {rate:.0f} a second, client {client:.0%}".format(**middle)
        found.append(Figure(f"{name}: processor of Python + database, rate ({kind})", "", "", said))
    return found


def _goals(rounds: dict[str, list[Round]], times_hash: float, kind: str) -> list[Figure]:
    p99 = statistics.median(one.p99 for one in rounds["refresh"])
    return [
        Figure(
            f"login: processor, of the hash alone ({kind})",
            f"<= {MOST_OF_HASH}",
            "1.00",
            f"{times_hash:.3f}",
            times_hash <= MOST_OF_HASH,
        ),
        Figure(
            f"refresh: p99 at 8 connections, ms ({kind})",
            f"<= {MOST_REFRESH_P99:g}" if kind == "SQLite" else "",
            "",
            f"{p99:.1f}",
            p99 <= MOST_REFRESH_P99 if kind == "SQLite" else None,
        ),
    ]


if __name__ == "__main__":
    sys.exit(main_of(__doc__, measure, rounds=3, seconds=5))
