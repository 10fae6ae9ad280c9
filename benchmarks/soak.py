"""Twenty minutes of mixed load: does anything grow, does anything fail?

    make bench-soak
    .venv/bin/python -m benchmarks.soak --seconds 120 --database mariadb

Eight connections of one client process each live a person's day over and over: log in, look at `me` and at the list of
sessions, refresh, change the name, log out, look at `me` once more in vain. Every five seconds the workers' resident
memory, their open files and the connections to MariaDB are noted. What is compared is the middle of the second quarter
with that of the last one: in the first the threads, the pools and the allocator still fill up.
"""

import json
import multiprocessing
import os
import statistics
import sys
import time
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path

from sqlalchemy import create_engine, text
from sqlalchemy.pool import NullPool

from benchmarks.people import ME, PREFIX, Client, address
from benchmarks.service import watched_service
from benchmarks.setting import Given, main_of, prepared
from benchmarks.table import Figure

WORKERS, CONNECTIONS, LOOKS = 2, 8, 20
PAUSE_SECONDS = 5.0
MOST_GROWTH = 1.05
JSON = {"Content-Type": "application/json"}
OPEN = text("SELECT COUNT(*) FROM information_schema.processlist WHERE db = DATABASE() AND id <> CONNECTION_ID()")


@dataclass(frozen=True)
class Sample:
    """What was there at a moment: MiB of the workers together, their open files, connections to the database."""

    memory: float
    files: int
    connections: int


def live(port: int, until: float) -> Counter[str]:
    """Have everybody live until then, and count what was answered by status; a process of its own runs this."""
    with ThreadPoolExecutor(CONNECTIONS) as threads:
        lives = threads.map(lambda number: _live(port, number, until), range(CONNECTIONS))
        return sum(lives, Counter())


def _live(port: int, number: int, until: float) -> Counter[str]:
    client, met = Client(port), Counter[str]()

    def ask(expected: int, method: str, path: str, token: str = "", body: object = None) -> dict[str, str]:
        headers = {**JSON, **({"Authorization": f"Bearer {token}"} if token else {})}
        raw = json.dumps(body).encode() if body is not None else None
        status, answer = client.ask(method, f"{PREFIX}{path}", headers, raw)
        met["right" if status == expected else f"{method} {path}: {status} {answer[:200]!r}"] += 1
        found: dict[str, str] = json.loads(answer).get("data", {}) if status == expected else {}
        return found

    while time.monotonic() < until:
        status, answer = client.log_in(address(number))
        met["right" if status == HTTPStatus.OK else f"login: {status} {answer[:200]!r}"] += 1
        if status != HTTPStatus.OK:
            continue
        pair = json.loads(answer)["data"]
        for _ in range(LOOKS):
            ask(200, "GET", ME.removeprefix(PREFIX), pair["access_token"])
        ask(200, "GET", "/sessions", pair["access_token"])
        pair = ask(200, "POST", "/refresh", body={"refresh_token": pair["refresh_token"]}) or pair
        ask(200, "PATCH", "/me", pair["access_token"], {"name": f"Number {number}"})
        ask(200, "POST", "/logout", pair["access_token"], {})
        ask(401, "GET", "/me", pair["access_token"])
    client.close()
    return met


def sample(pid: int, url: str) -> Sample:
    """Look at the service, whose first process this is."""
    workers = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    pages = sum(int(Path(f"/proc/{worker}/statm").read_text().split()[1]) for worker in workers)
    files = sum(len(os.listdir(f"/proc/{worker}/fd")) for worker in workers)
    connections = 0
    if url.startswith("mysql"):
        with create_engine(url, poolclass=NullPool).connect() as connection:
            connections = connection.scalar(OPEN) or 0
    return Sample(pages * os.sysconf("SC_PAGESIZE") / 2**20, files, connections)


def measure(url: str, given: Given) -> list[Figure]:
    """Measure on one empty database."""
    settings, context, samples = prepared(url), multiprocessing.get_context("spawn"), list[Sample]()
    with (
        watched_service(settings, workers=WORKERS) as (port, pid),
        ProcessPoolExecutor(1, mp_context=context) as clients,
    ):
        until = time.monotonic() + given.seconds
        living = clients.submit(live, port, until)
        while time.monotonic() < until:
            time.sleep(PAUSE_SECONDS)
            samples.append(sample(pid, url))
        met = living.result()
    right = met.pop("right", 0)
    for what, number in met.most_common(5):
        print(f"FAILED {number} times: {what}")
    answers = Figure(f"soak: {right} answers right, others ({given.kind})", "0", "", str(met.total()), not met.total())
    return [answers, *(growth(samples, what, given.kind) for what in Sample.__annotations__)]


def growth(samples: Sequence[Sample], what: str, kind: str) -> Figure:
    """Compare the second quarter with the last."""
    values, quarter = [getattr(one, what) for one in samples], len(samples) // 4
    before, after = statistics.median(values[quarter : 2 * quarter]), statistics.median(values[-quarter:])
    is_met = after <= max(before * MOST_GROWTH, before + 1)
    goal = f"<= {MOST_GROWTH} times"
    return Figure(f"soak: {what}, second quarter and last ({kind})", goal, f"{before:.0f}", f"{after:.0f}", is_met)


if __name__ == "__main__":
    sys.exit(main_of(__doc__, measure, rounds=1, seconds=1200))
