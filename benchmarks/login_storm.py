"""While many log in, are those who are signed in still served? `GET me` against its time on an idle service.

    make bench-login-storm
    .venv/bin/python -m benchmarks.login_storm --rounds 2 --seconds 10 --database sqlite

Starts the real service (gunicorn, two workers, hashes at their default cost), and once more without a gate before the
hashes. Ten connections ask for `GET me` a hundred times a second in all, and one for `/healthz`: an answer's time
counts from the moment its request was due, whether or not the one before had been answered by then. Rounds without
anything else and rounds in which 16 or 64 connections do nothing but log in take turns, so that the machine's moods
meet all. Whoever is refused (`SERVER_BUSY`) comes back at once, which no good client does. The clients are two
processes; how much of a processor they use is printed, since they compete with the service for it.
"""

import json
import multiprocessing
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from dataclasses import dataclass, field
from http import HTTPStatus

from benchmarks.people import HEALTH, ME, Client, address
from benchmarks.service import service
from benchmarks.setting import Given, main_of, prepared
from benchmarks.table import Figure

WORKERS = 2
LOOKERS, LOOKS_A_SECOND = 10, 10
"""Connections that ask for `GET me`, and how often each does; also how often one asks for `/healthz`."""
STORMS = {16: 3.0, 64: 10.0}
"""How many log in at once, and how many times its idle p99 that of `GET me` may be then."""
LEAST_LOGINS = 0.85
"""Of as many logins as there are without a gate."""
UNGATED = {"AUTH_HASH_CONCURRENCY": "64", "AUTH_HASH_QUEUE": "64"}
START_SECONDS = 1.5
# All who log in come at one moment, which is no storm that lasts: those who look begin when that is over.
LEAD_SECONDS = 2.0


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
class Phase:
    """What those who are signed in and those who log in have met, in all the rounds of one kind."""

    looked: dict[str, Heard] = field(default_factory=lambda: {ME: Heard(), HEALTH: Heard()})
    logins: Heard = field(default_factory=Heard)
    seconds: float = 0.0

    @property
    def failures(self) -> list[str]:
        """What failed but for the logins that were refused."""
        return [failure for heard in (*self.looked.values(), self.logins) for failure in heard.failures]

    @property
    def logins_a_second(self) -> float:
        """How many logged in."""
        return len(self.logins.milliseconds) / self.seconds


def percentile(heard: Heard, number: int) -> float:
    """Give the time that so many of a hundred answers took at most."""
    return statistics.quantiles(heard.milliseconds, n=100, method="inclusive")[number - 1]


def look(port: int, token: str, span: Span) -> dict[str, Heard]:
    """Ask for `GET me` and `/healthz` at a fixed rate; a process of its own runs this."""
    began = time.process_time()
    with ThreadPoolExecutor(LOOKERS + 1) as threads:
        signed = {"Authorization": f"Bearer {token}"}
        me = [threads.submit(look_at, port, ME, signed, span, number / LOOKERS) for number in range(LOOKERS)]
        health = threads.submit(look_at, port, HEALTH, {}, span, 0.5)
        found = {ME: together([one.result() for one in me]), HEALTH: health.result()}
    found[ME].processor = time.process_time() - began
    return found


def look_at(port: int, path: str, headers: dict[str, str], span: Span, shift: float) -> Heard:
    """Ask for one thing over one connection at a fixed rate, shifted by this part of the time between two requests."""
    heard, client, number = Heard(), Client(port), 0
    while (due := span.begin + (number + shift) / LOOKS_A_SECOND) < span.end:
        time.sleep(max(0.0, due - time.monotonic()))
        status, answer = client.ask("GET", path, headers)
        heard.milliseconds.append((time.monotonic() - due) * 1000)
        if status != HTTPStatus.OK:
            heard.failures.append(f"{path}: {status} {answer.decode(errors='replace')}")
        number += 1
    client.close()
    return heard


def storm(port: int, span: Span, many: int) -> Heard:
    """Log in, over so many connections, again and again; a process of its own runs this."""
    began = time.process_time()
    with ThreadPoolExecutor(many) as threads:
        clients = [Client(port) for _ in range(many)]
        several = [threads.submit(log_in_again, one.log_in, address(n), span) for n, one in enumerate(clients)]
        heard = together([one.result() for one in several])
    for client in clients:
        client.close()
    heard.processor = time.process_time() - began
    return heard


def log_in_again(log_in: Callable[[str], tuple[int, bytes]], email: str, span: Span) -> Heard:
    """Log in again and again, in one way; those who are refused for being too many are counted apart."""
    heard = Heard()
    time.sleep(max(0.0, span.begin - time.monotonic()))
    while (sent := time.monotonic()) < span.end:
        status, answer = log_in(email)
        if status == HTTPStatus.OK:
            heard.milliseconds.append((time.monotonic() - sent) * 1000)
        elif status == HTTPStatus.SERVICE_UNAVAILABLE and b"SERVER_BUSY" in answer:
            heard.refused += 1
        else:
            heard.failures.append(f"login: {status} {answer.decode(errors='replace')}")
    return heard


def together(several: Sequence[Heard]) -> Heard:
    """Give what several have met as one."""
    found = Heard()
    for one in several:
        found.add(one)
    return found


def measure(settings: dict[str, str], *, rounds: int, seconds: float) -> dict[str, Phase]:
    """Run the service with these settings, and everything against it; the database has the accounts."""
    met: dict[str, Phase] = {"idle": Phase(), **{str(many): Phase() for many in STORMS}, "ungated": Phase()}
    context = multiprocessing.get_context("spawn")
    with (
        service(settings, workers=WORKERS) as port,
        service({**settings, **UNGATED}, workers=WORKERS) as ungated,
        ProcessPoolExecutor(2, mp_context=context) as clients,
    ):
        token = token_of(port)
        kinds = [("idle", port, 0), *((str(many), port, many) for many in STORMS), ("ungated", ungated, min(STORMS))]
        # A round that is not counted starts the threads of the service, and the clients' processes.
        for number in range(rounds + 1):
            for name, where, many in kinds:
                begin = time.monotonic() + START_SECONDS
                around = Span(begin, begin + LEAD_SECONDS + (seconds if number else 1.0))
                span = Span(begin + LEAD_SECONDS, around.end)
                looked = clients.submit(look, where, token, span)
                logins = clients.submit(storm, where, around, many).result() if many else Heard()
                found = looked.result()
                if number:
                    met[name].seconds += LEAD_SECONDS + seconds
                    met[name].logins.add(logins)
                    for path, heard in found.items():
                        met[name].looked[path].add(heard)
    return met


def token_of(port: int) -> str:
    """Log the first account in, and give its access token."""
    client = Client(port)
    status, answer = client.log_in(address(0))
    client.close()
    if status != HTTPStatus.OK:
        raise SystemExit(f"login answered {status}: {answer.decode()}")
    found: str = json.loads(answer)["data"]["access_token"]
    return found


def figures(met: dict[str, Phase], kind: str) -> list[Figure]:
    """Give the figures of a run."""
    idle, ungated = percentile(met["idle"].looked[ME], 99), met["ungated"]
    found = []
    for many, most in STORMS.items():
        phase, name = met[str(many)], f"beside {many} that log in ({kind})"
        p99, health = percentile(phase.looked[ME], 99), max(phase.looked[HEALTH].milliseconds)
        refused = sum(len(heard.failures) for heard in phase.looked.values())
        times = p99 / idle
        found += [
            Figure(f"me: p99, times idle, {name}", f"<= {most:g}", f"{idle:.1f} ms", f"{times:.1f}", times <= most),
            Figure(f"me: refused or failed, {name}", "0", "", str(refused), not refused),
            Figure(f"longest /healthz, ms, {name}", "", "", f"{health:.0f}"),
            Figure(f"logins a second, refused, {name}", "", "", f"{phase.logins_a_second:.1f}, {phase.logins.refused}"),
        ]
    part = met[str(min(STORMS))].logins_a_second / ungated.logins_a_second
    least = percentile(ungated.looked[ME], 99)
    return [
        *found,
        Figure(
            f"logins: of those without a gate ({kind})",
            f">= {LEAST_LOGINS}",
            "1.00",
            f"{part:.2f}",
            part >= LEAST_LOGINS,
        ),
        Figure(f"me: p99, times idle, beside 16 without a gate ({kind})", "", f"{least / idle:.1f}", ""),
    ]


def measure_on(url: str, given: Given) -> list[Figure]:
    """Measure on one empty database."""
    met = measure(prepared(url), rounds=given.rounds, seconds=given.seconds)
    for name, phase in met.items():
        asking, storming = phase.looked[ME].processor / phase.seconds, phase.logins.processor / phase.seconds
        print(f"{given.kind}, {name}: the clients took {asking:.0%} and {storming:.0%} of a processor")
        for failure in phase.failures[:5]:
            print(f"FAILED: {failure}")
    return figures(met, given.kind)


if __name__ == "__main__":
    sys.exit(main_of(__doc__, measure_on, rounds=3, seconds=8))
