"""Do answers tell who has an account? Their bytes must be the same for all, and their times within ten per cent.

    make bench-probing
    .venv/bin/python -m benchmarks.account_probing --rounds 200 --only login

Starts the real service (gunicorn, one worker, hashes at their default cost) on SQLite and, where one answers, on
MariaDB, and asks the same question about four addresses: one with an account, one without, one that waits for
verification, one that is disabled. The questions are asked in random order over one connection. Exits with 1 where
an answer differs, or where the median time of a kind is not within ten per cent of the median of all, nor within five
of its own round's: its own time, that of the next request, and, where mails are written after the answer, that of
five small ones.
"""

import argparse
import http.client
import json
import random
import re
import secrets
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

import flask_migrate
import pymysql

from authapp import create_app, database, users
from authapp.extensions import db
from benchmarks.service import MYSQL_URL, free_port, mysql, process, service, wait_for

PREFIX = "/api/auth"
KINDS = ("known", "unknown", "unverified", "disabled")
PASSWORD = "violet-tractor-19-sings"  # noqa: S105  # Of accounts that live as long as this runs.
# All of one length, so that an answer which repeats the address is of one length too.
CALLER = "caller-0000@example.org"
MOST_APART = 0.10
# Where the machine's moods are taken out, half of that is no chance any more.
MOST_APART_IN_A_ROUND = 0.05
WARM_UP_ROUNDS = 10
# How many small requests are sent in a row to see whether the service is busy, and the time that it then gets to
# finish whatever it does.
LOOKS = 5
PAUSE_SECONDS = 0.05
SEED = 20261121
# What is another one in every answer, or repeats what was asked.
VARYING_HEADERS = {"x-request-id", "date"}
VARYING_VALUES = re.compile(rb'("(?:id|email|created_at|updated_at)":\s*")[^"]*"')

Body = dict[str, str]


@dataclass(frozen=True)
class Question:
    """A request that names an address, and must not tell by its answer what is known of that address."""

    name: str
    path: str
    body: Callable[[str], Body]
    status: int
    settings: tuple[tuple[str, str], ...] = ()
    """Of the service that is asked."""
    is_used_up: bool = False
    """Whether asking about an address without an account makes one, so that the next time needs another address."""
    needs_login: bool = False
    is_answered_later: bool = False
    """Whether the service looks into it after the answer: then it is also watched after each answer."""


GENERIC = (("AUTH_GENERIC_RESPONSES", "true"),)
QUESTIONS = (
    Question("login", "/login", lambda email: {"email": email, "password": "wrong-" + PASSWORD}, 401),
    Question("forgot-password", "/forgot-password", lambda email: {"email": email}, 202, is_answered_later=True),
    Question(
        "resend-verification", "/resend-verification", lambda email: {"email": email}, 202, is_answered_later=True
    ),
    Question(
        "register", "/register", lambda email: {"email": email, "password": PASSWORD}, 201, GENERIC, is_used_up=True
    ),
    Question(
        "change-email",
        "/change-email",
        lambda email: {"new_email": email, "password": PASSWORD},
        202,
        GENERIC,
        needs_login=True,
    ),
)


@dataclass(frozen=True)
class Sample:
    """One answer: in which round, about what, what was asked about just before, the time in ms, and what it said."""

    round: int
    kind: str
    before: str | None
    milliseconds: float
    answer: bytes


def address(kind: str, number: int = 0) -> str:
    """Give the address of a kind, in as many characters as each other one."""
    return f"{kind[:6]:-<6}-{number:04d}@example.org"


class Client:
    """One connection that is kept open."""

    def __init__(self, port: int, headers: dict[str, str]) -> None:
        self._connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
        self._headers = {"Content-Type": "application/json", **headers}

    def ask(self, question: Question, email: str) -> tuple[float, bytes]:
        """Give the time in ms and the answer without what varies."""
        body = json.dumps(question.body(email)).encode()
        began = time.perf_counter()
        self._connection.request("POST", PREFIX + question.path, body, self._headers)
        response = self._connection.getresponse()
        content = response.read()
        took = (time.perf_counter() - began) * 1000
        if response.status != question.status:
            raise SystemExit(f"{question.name} answered {response.status}: {content.decode()}")
        kept = sorted(
            f"{name}: {value}" for name, value in response.getheaders() if name.lower() not in VARYING_HEADERS
        )
        said = VARYING_VALUES.sub(rb'\1"', content)
        return took, "\n".join([str(response.status), *kept, ""]).encode() + said

    def look(self) -> float:
        """Ask for something small that is nobody's, and give the time in ms."""
        began = time.perf_counter()
        self._connection.request("GET", "/healthz")
        self._connection.getresponse().read()
        return (time.perf_counter() - began) * 1000

    def close(self) -> None:
        """Hang up."""
        self._connection.close()


def sample(client: Client, question: Question, rounds: int) -> list[Sample]:
    """Ask about each kind `rounds` times, in random order; the first rounds are not counted."""
    order, before, samples = random.Random(SEED), None, []  # noqa: S311  # It shuffles.
    for number in range(rounds + WARM_UP_ROUNDS):
        for kind in order.sample(KINDS, len(KINDS)):
            is_new = question.is_used_up and kind == "unknown"
            took, answer = client.ask(question, address(kind, number if is_new else 0))
            if number >= WARM_UP_ROUNDS:
                samples.append(Sample(number, kind, before, took, answer))
            before = kind
    return samples


def sample_aftermath(client: Client, question: Question, rounds: int) -> list[Sample]:
    """Ask about each kind, and time what a stranger would send right after to see whether the service is busy."""
    order, samples = random.Random(SEED), []  # noqa: S311  # It shuffles.
    for number in range(rounds):
        for kind in order.sample(KINDS, len(KINDS)):
            client.ask(question, address(kind))
            took = sum(client.look() for _ in range(LOOKS))
            samples.append(Sample(number, kind, kind, took, b""))
            time.sleep(PAUSE_SECONDS)
    return samples


def is_level(what: str, samples: Sequence[Sample], kind_of: Callable[[Sample], str | None]) -> bool:
    """Print the median of each kind beside that of all; say whether each is near enough.

    The last column is the median of what a request took beside the others of its own round, which were sent in the same
    moment: a machine that is fast now and slow then, as one with other work is, does not show there. What tells of a
    kind shows in both columns; `noise` says how much of the first is chance.
    """
    middle, rounds = statistics.median(one.milliseconds for one in samples), _medians_of_rounds(samples)
    print(f"  {what:30}{'all':>12}{middle:10.2f} ms    noise {_noise(samples):.1%}")
    good = True
    for kind in KINDS:
        mine = [one for one in samples if kind_of(one) == kind]
        median = statistics.median(one.milliseconds for one in mine)
        beside = statistics.median(one.milliseconds / rounds[one.round] for one in mine)
        good = good and (abs(median / middle - 1) <= MOST_APART or abs(beside - 1) <= MOST_APART_IN_A_ROUND)
        print(f"  {'':30}{kind:>12}{median:10.2f} ms    {median / middle:.3f}    {beside:.3f}")
    return good


def _medians_of_rounds(samples: Sequence[Sample]) -> dict[int, float]:
    rounds: dict[int, list[float]] = {}
    for one in samples:
        rounds.setdefault(one.round, []).append(one.milliseconds)
    return {number: statistics.median(times) for number, times in rounds.items()}


def report(question: Question, samples: Sequence[Sample], aftermath: Sequence[Sample]) -> bool:
    """Print the medians of a question; say whether they tell nothing."""
    answers = {one.answer for one in samples}
    print(f"\n{question.name}: {len(samples)} requests in random order")
    good = [
        len(answers) == 1,
        is_level("requests about a kind", samples, lambda one: one.kind),
        is_level("requests after such a one", samples, lambda one: one.before),
        not aftermath or is_level(f"{LOOKS} x /healthz after such a one", aftermath, lambda one: one.kind),
    ]
    if len(answers) > 1:
        print("  THE ANSWERS DIFFER:")
        for answer in answers:
            print(f"    {answer!r}")
    return all(good)


def _noise(samples: Sequence[Sample]) -> float:
    """Give how far apart the medians of two random quarters are, for nothing but chance and this machine."""
    shuffled = random.Random(SEED).sample(samples, len(samples))  # noqa: S311  # It shuffles.
    quarter = len(samples) // len(KINDS)
    one, other = (statistics.median(s.milliseconds for s in part) for part in (shuffled[:quarter], shuffled[-quarter:]))
    return abs(one / other - 1)


def fill(settings: dict[str, str]) -> None:
    """Migrate the database and make the accounts."""
    app = create_app(settings, environ={})
    with app.app_context():
        flask_migrate.upgrade()
        for kind in KINDS:
            if kind != "unknown":
                user = users.create_user(address(kind), PASSWORD, is_verified=kind != "unverified")
                user.is_active = kind != "disabled"
        users.create_user(CALLER, PASSWORD, is_verified=True)
        database.commit()
        db.engine.dispose()


@contextmanager
def silent_mail_server() -> Iterator[int]:
    """Run a mail server that takes everything and keeps nothing, as a process of its own, and give its port."""
    port = free_port()
    command = [sys.executable, "-m", "aiosmtpd", "-n", "-l", f"127.0.0.1:{port}", "-c", "aiosmtpd.handlers.Sink"]
    with process(command, {}):
        wait_for(port)
        yield port


def log_in(port: int) -> str:
    """Give an access token of the caller's."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    body = json.dumps({"email": CALLER, "password": PASSWORD})
    connection.request("POST", f"{PREFIX}/login", body, {"Content-Type": "application/json"})
    token: str = json.loads(connection.getresponse().read())["data"]["access_token"]
    connection.close()
    return token


def ask_all(url: str, questions: Sequence[Question], rounds: int) -> bool:
    """Ask every question on one database, each of a service of its own; say whether no answer told anything."""
    with ExitStack() as stack:
        settings = {
            "APP_ENV": "production",
            "SECRET_KEY": secrets.token_urlsafe(48),
            "AUTH_PUBLIC_URL": "https://auth.example.org",
            "DATABASE_URL": url,
            "MAIL_SERVER": "127.0.0.1",
            "MAIL_PORT": str(stack.enter_context(silent_mail_server())),
            # The limits would answer for the rules; what they do is measured elsewhere.
            "RATELIMIT_ENABLED": "false",
        }
        fill(settings)
        good = True
        for question in questions:
            with service({**settings, **dict(question.settings)}, workers=1) as port:
                headers = {"Authorization": f"Bearer {log_in(port)}"} if question.needs_login else {}
                client = Client(port, headers)
                samples = sample(client, question, rounds)
                aftermath = sample_aftermath(client, question, rounds) if question.is_answered_later else []
                good = report(question, samples, aftermath) and good
                client.close()
    return good


def main() -> int:
    """Ask everything on each database and give the exit status."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=200, help="requests for each kind of account (200)")
    parser.add_argument("--only", choices=[question.name for question in QUESTIONS], action="append")
    parser.add_argument("--database", choices=["sqlite", "mariadb"], help="one of them only")
    given = parser.parse_args()
    questions = [question for question in QUESTIONS if not given.only or question.name in given.only]
    good = True
    if given.database != "mariadb":
        with tempfile.TemporaryDirectory() as directory:
            print("SQLite")
            good = ask_all(f"sqlite:///{directory}/bench.db", questions, given.rounds)
    if given.database != "sqlite":
        try:
            with mysql() as url:
                print("\nMariaDB")
                good = ask_all(url.render_as_string(hide_password=False), questions, given.rounds) and good
        except pymysql.OperationalError as error:
            print(f"\nNo MariaDB answers at {MYSQL_URL.host}: left out ({error.args[0]}).")
    print("\nNo answer tells." if good else "\nSOME ANSWER TELLS.")
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
