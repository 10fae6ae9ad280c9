"""The running service while MariaDB restarts, is away, hangs, or has many quarrel over one user; minutes of it."""

import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from itertools import cycle
from pathlib import Path
from typing import Any

import flask_migrate
import httpx
import pymysql
import pytest
from aiosmtpd.controller import Controller
from flask import Flask

from authapp import clock, create_app, database
from authapp.extensions import db
from authapp.mail.models import OutboxMessage
from authapp.testing import FAST_PASSWORD_HASH, TEST_SETTINGS, add_user
from tests.conftest import Figure
from tests.factories import OTHER_PASSWORD, PASSWORD
from tests.mail.conftest import PRODUCTION
from tests.server.conftest import Mailbox, running
from tests.services import Server, free_port, mariadb, mariadb_url

pytestmark = [pytest.mark.server, pytest.mark.long]

AWAY_SECONDS, FROZEN_SECONDS, STORM_SECONDS = 10, 30, 10
CLIENTS = 40
UNAVAILABLE = (503, "SERVICE_UNAVAILABLE")
BUSY = (503, "SERVER_BUSY")

Probe = Callable[[httpx.Client], httpx.Response]


@dataclass(frozen=True)
class Answer:
    """What a probe got, and when."""

    probe: str
    began: float
    ended: float
    status: int
    code: str | None
    retry_after: str | None

    @property
    def seconds(self) -> float:
        return self.ended - self.began


@dataclass(frozen=True)
class Service:
    """The service on a server of its own, and the application that stands on the same database."""

    app: Flask
    server: Server
    address: str
    mailbox: Mailbox
    logs: Path

    @contextmanager
    def client(self) -> Iterator[httpx.Client]:
        with httpx.Client(base_url=f"{self.address}/api/auth", timeout=60) as http:
            yield http

    def log(self) -> str:
        """Read what the service has printed so far."""
        (file,) = self.logs.glob("gunicorn-*.log")
        return file.read_text()

    def query(self, statement: str) -> Any:
        """Ask the server itself for the first row."""
        with pymysql.connect(host="127.0.0.1", port=self.server.port, user="root", database="authapp") as connection:
            cursor = connection.cursor()
            cursor.execute(statement)
            return cursor.fetchone()


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """The service with its two processes, on a MariaDB that may be stopped and frozen."""
    directory, root = tmp_path_factory.mktemp("outage"), Path(__file__).parents[2]
    mailbox = Mailbox()
    mails = Controller(mailbox, hostname="127.0.0.1", port=free_port())
    mails.start()
    with mariadb(directory) as server:
        app = create_app({**TEST_SETTINGS, "DATABASE_URL": mariadb_url(server)}, environ={})
        with app.app_context():
            flask_migrate.upgrade()
        settings = {
            **PRODUCTION,
            "DATABASE_URL": mariadb_url(server),
            "AUTH_PASSWORD_HASH": FAST_PASSWORD_HASH,
            "MAIL_SERVER": "127.0.0.1",
            "MAIL_PORT": str(mails.port),
            "WEB_CONCURRENCY": "2",
        }
        with running(root, settings, directory) as address:
            yield Service(app, server, address, mailbox, directory)
        with app.app_context():
            db.engine.dispose()
    mails.stop()


def account(email: str, password: str = PASSWORD) -> dict[str, str]:
    return {"email": email, "password": password}


def probes_of(service: Service, email: str) -> dict[str, Probe]:
    """Give requests of one account, with good, dead and wrong credentials; none changes what another needs."""
    add_user(service.app, email)
    with service.client() as http:
        pair, ended = (http.post("/login", json=account(email)).json()["data"] for _ in range(2))
        assert http.post("/logout", json={"refresh_token": ended["refresh_token"]}).status_code == 200
    good = {"Authorization": f"Bearer {pair['access_token']}"}
    revoked = {"Authorization": f"Bearer {ended['access_token']}"}
    form = {"username": email, "password": OTHER_PASSWORD}
    post, get = httpx.Client.post, httpx.Client.get
    return {
        "me": partial(get, url="/me", headers=good),
        "revoked": partial(get, url="/me", headers=revoked),
        "sessions": partial(get, url="/sessions", headers=good),
        "profile": partial(httpx.Client.patch, url="/me", json={"name": "A"}, headers=good),
        "login": partial(post, url="/login", json=account(email)),
        "wrong": partial(post, url="/login", json=account(email, OTHER_PASSWORD)),
        "form": partial(post, url="/login", data=form),
        "nobody": partial(post, url="/login", json=account("nobody@example.org")),
        "dead refresh": partial(post, url="/refresh", json={"refresh_token": ended["refresh_token"]}),
        "forgot": partial(post, url="/forgot-password", json={"email": "nobody@example.org"}),
    }


# What each gets when all is well; a form is refused in OAuth2's words.
WELL = {
    "me": (200, None),
    "revoked": (401, "TOKEN_REVOKED"),
    "sessions": (200, None),
    "profile": (200, None),
    "login": (200, None),
    "wrong": (401, "INVALID_CREDENTIALS"),
    "form": (400, "invalid_grant"),
    "nobody": (401, "INVALID_CREDENTIALS"),
    "dead refresh": (401, "TOKEN_REVOKED"),
    "forgot": (202, None),
}


def ask(http: httpx.Client, name: str, probe: Probe) -> Answer:
    began = time.monotonic()
    answer = probe(http)
    error = answer.json().get("error")
    code = error["code"] if isinstance(error, dict) else error
    if code == "temporarily_unavailable":
        code = "SERVICE_UNAVAILABLE"
    return Answer(name, began, time.monotonic(), answer.status_code, code, answer.headers.get("Retry-After"))


def assert_well(service: Service, probes: dict[str, Probe]) -> None:
    """Check that every probe is answered as on any other day."""
    with service.client() as http:
        found = {name: ask(http, name, probe) for name, probe in probes.items()}
    assert {name: (answer.status, answer.code) for name, answer in found.items()} == WELL


def good_again_after(service: Service, me: Probe) -> float:
    """Wait until a request succeeds, and give the seconds that took."""
    began = time.monotonic()
    with service.client() as http:
        while ask(http, "me", me).status != 200:
            assert time.monotonic() < began + 20
            time.sleep(0.02)
    return time.monotonic() - began


def test_idle_connections_that_a_restart_has_cut_fail_no_request(service: Service, figure: Figure):
    probes = probes_of(service, "restart@example.org")

    def one(number: int) -> Answer:
        name = list(probes)[number % len(probes)]
        with service.client() as http:
            return ask(http, name, probes[name])

    with ThreadPoolExecutor(20) as threads:
        list(threads.map(one, range(60)))
        service.server.stop()
        service.server.start()
        answers = list(threads.map(one, range(100)))
    failed = [answer for answer in answers if (answer.status, answer.code) != WELL[answer.probe]]
    figure("of 100 requests after a restart of MariaDB failed", len(failed))
    assert failed == []


def test_requests_are_refused_at_once_while_the_database_is_away_and_mails_come_later(service: Service, figure: Figure):
    probes = probes_of(service, "away@example.org")
    queue_mails(service.app, 3, due_in_seconds=3)
    logged = len(service.log())
    service.server.stop()
    stopped, answers = time.monotonic(), list[Answer]()
    with service.client() as http:
        while time.monotonic() < stopped + AWAY_SECONDS:
            for name, probe in probes.items():
                answers.append(ask(http, name, probe))
            began = time.monotonic()
            assert http.get(f"{service.address}/healthz").status_code == 200
            assert http.get(f"{service.address}/readyz").status_code == 503
            assert time.monotonic() < began + 2
            time.sleep(0.2)
    assert {(answer.status, answer.code) for answer in answers} == {UNAVAILABLE}
    assert all(answer.retry_after for answer in answers)
    slowest = max(answer.seconds for answer in answers)
    assert service.mailbox.received.empty()
    # A line each says it; a trace every few seconds would bury that.
    assert "database_unavailable" in service.log()[logged:]
    assert "Traceback" not in service.log()[logged:]

    service.server.start()
    took = good_again_after(service, probes["me"])
    assert_well(service, probes)
    assert httpx.get(f"{service.address}/readyz").status_code == 200
    subjects = {service.mailbox.received.get(timeout=30)["Subject"] for _ in range(3)}
    assert subjects == {"mail 0", "mail 1", "mail 2"}
    figure(f"answers while MariaDB was away for {AWAY_SECONDS} s, all 503", len(answers))
    figure("the slowest of them, in seconds", round(slowest, 2))
    figure("good again after its return, in seconds", round(took, 2))
    assert slowest < 2
    assert took < 2


def queue_mails(app: Flask, number: int, *, due_in_seconds: int) -> None:
    """Write mails that come due only when the database is away already."""
    with app.app_context():
        for which in range(number):
            due_at = clock.now() + timedelta(seconds=due_in_seconds)
            mail = OutboxMessage(to="a@example.org", subject=f"mail {which}", text="a", html="a", due_at=due_at)
            db.session.add(mail)
        database.commit()
        db.engine.dispose()


def test_nobody_waits_long_while_the_database_hangs(service: Service, figure: Figure):
    probes = probes_of(service, "frozen@example.org")
    over, answers, health = threading.Event(), list[Answer](), list[Answer]()

    def be_a_client(number: int) -> None:
        mine = cycle(list(probes.items())[number % len(probes) :] + list(probes.items())[: number % len(probes)])
        with service.client() as http:
            while not over.wait(0.1):
                answers.append(ask(http, *next(mine)))

    def watch_health() -> None:
        with service.client() as http:
            while not over.wait(0.1):
                health.append(ask(http, "healthz", partial(httpx.Client.get, url=f"{service.address}/healthz")))

    with ThreadPoolExecutor(CLIENTS + 1) as threads:
        running = [threads.submit(be_a_client, number) for number in range(CLIENTS)]
        running.append(threads.submit(watch_health))
        time.sleep(2)
        service.server.freeze()
        frozen = time.monotonic()
        time.sleep(FROZEN_SECONDS)
        service.server.thaw()
        thawed = time.monotonic()
        time.sleep(5)
        over.set()
        for each in running:
            each.result()

    wrong_yes = [a for a in answers if (a.status, a.code) not in {WELL[a.probe], UNAVAILABLE, BUSY}]
    meanwhile = [a for a in answers if a.ended > frozen and a.began < thawed]
    # An answer may have been on its way already.
    refused = [a for a in meanwhile if a.began > frozen and a.ended < thawed]
    late = [a.ended - thawed for a in answers if a.began > thawed and a.status == 503]
    healthy = [a for a in health if a.ended > frozen and a.began < thawed]
    figure(f"answers to {CLIENTS} clients while MariaDB hung for {FROZEN_SECONDS} s", len(meanwhile))
    slowest = max(meanwhile, key=lambda answer: answer.seconds)
    when = f"{slowest.probe}, {slowest.began - frozen:+.2f} s from then"
    figure("the slowest of them, in seconds", f"{slowest.seconds:.2f} ({when})")
    figure("the slowest answer of /healthz meanwhile, in seconds", round(max(a.seconds for a in healthy), 2))
    figure("the last refusal after it went on, in seconds", round(max(late, default=0), 2))
    assert wrong_yes == []
    assert {a.status for a in refused} == {503}
    assert all(a.retry_after for a in refused)
    assert slowest.seconds < 5, when
    assert {a.status for a in health} == {200}
    assert max(a.seconds for a in healthy) < 1
    assert max(late, default=0) < 2
    assert_well(service, probes)


def test_many_who_change_one_user_at_once_get_no_error_of_ours(service: Service, figure: Figure):
    """Somebody else takes the same rows in another order meanwhile, so that real deadlocks come of it."""
    before = int(service.query("SHOW GLOBAL STATUS LIKE 'Innodb_deadlocks'")[1])
    seen, over = Counter[tuple[str, int, str | None]](), threading.Event()
    with ThreadPoolExecutor(16) as threads, service.client() as http:
        rivals = [threads.submit(quarrel, service, over) for _ in range(2)]
        deadline, number = time.monotonic() + STORM_SECONDS, 0
        while time.monotonic() < deadline:
            number += 1
            changes = changes_of(service, http, f"storm{number}@example.org")
            storm = list(threads.map(lambda change: ask(http, *change), changes))
            seen.update((answer.probe, answer.status, answer.code) for answer in storm)
        over.set()
        for rival in rivals:
            rival.result()
    deadlocks = int(service.query("SHOW GLOBAL STATUS LIKE 'Innodb_deadlocks'")[1]) - before
    statuses = Counter[int]()
    for (_, status, _), times in seen.items():
        statuses[status] += times
    figure("deadlocks in the storm", deadlocks)
    figure("answers in the storm, by status", dict(statuses))
    assert deadlocks
    assert {(status, code) for _, status, code in seen} <= {
        (200, None),
        (401, "INVALID_CREDENTIALS"),
        (401, "TOKEN_INVALID"),
        (401, "TOKEN_REVOKED"),
        (404, "NOT_FOUND"),
        UNAVAILABLE,
    }


def changes_of(service: Service, http: httpx.Client, email: str) -> list[tuple[str, Probe]]:
    """Make a user with sign-ins, and give what all happens to both at once."""
    add_user(service.app, email)
    pairs = [http.post("/login", json=account(email)).json()["data"] for _ in range(6)]
    bearers = [{"Authorization": f"Bearer {pair['access_token']}"} for pair in pairs]
    refreshes = [{"refresh_token": pair["refresh_token"]} for pair in pairs]
    changed = {"current_password": PASSWORD, "new_password": OTHER_PASSWORD}
    post, delete = httpx.Client.post, partial(httpx.Client.request, method="DELETE")
    return [
        *(("change-password", partial(post, url="/change-password", json=changed, headers=bearers[n])) for n in (0, 1)),
        *(("refresh", partial(post, url="/refresh", json=refreshes[n])) for n in (1, 2, 3, 4)),
        *(("logout", partial(post, url="/logout", json=refreshes[n])) for n in (4, 5)),
        ("end others", partial(delete, url="/sessions", headers=bearers[2])),
        ("profile", partial(httpx.Client.patch, url="/me", json={"name": "A"}, headers=bearers[3])),
        ("delete", partial(delete, url="/me", json={"password": PASSWORD}, headers=bearers[3])),
    ]


def quarrel(service: Service, over: threading.Event) -> None:
    """Take the rows of sessions first and of their user after that, again and again."""
    with pymysql.connect(host="127.0.0.1", port=service.server.port, user="root", database="authapp") as connection:
        cursor = connection.cursor()
        while not over.wait(0.02):
            try:
                cursor.execute("UPDATE auth_session SET user_agent = 'rival' ORDER BY id DESC LIMIT 6")
                time.sleep(0.01)
                cursor.execute("UPDATE auth_user SET name = UUID() ORDER BY id DESC LIMIT 1")
                connection.commit()
            except pymysql.err.OperationalError:
                connection.rollback()
