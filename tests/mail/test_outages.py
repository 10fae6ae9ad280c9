"""Mail servers that are away, hang or come back, and workers that are killed, frozen and ended, as real processes."""

import os
import signal
import statistics
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from datetime import timedelta
from pathlib import Path

import flask_migrate
import httpx
import pytest
import time_machine
from flask import Flask
from sqlalchemy import func, select, update

from authapp import clock, database
from authapp.extensions import db
from authapp.mail.models import MailRequest, OutboxMessage
from authapp.testing import FAST_PASSWORD_HASH
from tests import services
from tests.conftest import Figure, MakeApp
from tests.factories import ALICE, OTHER_PASSWORD, PASSWORD, Api, mails, make_user
from tests.mail.conftest import NOON, PRODUCTION, MailingApp, deliver
from tests.mail.faulty import ABOUT_A_MAIL, DROP, SILENCE, TO_LET_US_IN, FaultyServer
from tests.server.conftest import starting
from tests.services import free_port
from tests.statements import heard

pytestmark = pytest.mark.server

PATIENCE_SECONDS = 120
WATCH = [sys.executable, "-m", "flask", "--app", "wsgi", "auth", "deliver-mail", "--watch"]

Start = Callable[..., "Worker"]


class Worker:
    """A process that delivers and does nothing else."""

    def __init__(self, process: "subprocess.Popen[bytes]", log: Path) -> None:
        self.process, self._log = process, log

    @property
    def log(self) -> str:
        return self._log.read_text()

    def send(self, number: int) -> None:
        self.process.send_signal(number)

    def freeze(self) -> None:
        """Stop it, and wait until each of its threads has."""
        self.send(signal.SIGSTOP)
        threads = Path(f"/proc/{self.process.pid}/task")
        until(lambda: all(") T " in (thread / "stat").read_text() for thread in threads.iterdir()), self)

    def end(self) -> None:
        """End it as an operator does."""
        self.process.terminate()
        assert self.process.wait(30) == 0, self.log


@pytest.fixture
def start_worker(root: Path, tmp_path: Path) -> Iterator[Start]:
    """Start a worker of an application's outbox; all are killed with the test."""
    with ExitStack() as stack:

        def start(app: Flask, port: int, **settings: object) -> Worker:
            server = {"MAIL_SERVER": "127.0.0.1", "MAIL_PORT": port, "DATABASE_URL": app.config["DATABASE_URL"]}
            given = {name: str(value) for name, value in {**PRODUCTION, **server, **settings}.items()}
            log = tmp_path / f"worker-{len(os.listdir(tmp_path))}.log"
            with log.open("wb") as output:
                process = subprocess.Popen(
                    WATCH, cwd=root, env={"PATH": os.environ["PATH"], **given}, stdout=output, stderr=output
                )
            stack.callback(process.wait)
            stack.callback(process.kill)
            return Worker(process, log)

        yield start


@pytest.fixture
def listen() -> Iterator[Callable[[int], FaultyServer]]:
    """Start mail servers on ports that workers know already."""
    with ExitStack() as stack:

        def start(port: int = 0) -> FaultyServer:
            server = FaultyServer(port=port)
            stack.callback(server.close)
            return server

        yield start


def until(is_true: Callable[[], object], worker: Worker | None = None) -> float:
    """Wait until this is true, and give the seconds that it took."""
    began = time.monotonic()
    while not is_true():
        assert time.monotonic() - began < PATIENCE_SECONDS, worker.log if worker else "it did not come to pass"
        time.sleep(0.02)
    return time.monotonic() - began


def fill(app: Flask, number: int, *, over: timedelta = timedelta(0)) -> list[str]:
    """Queue mails, the first of them due this long ago, and give whom they are for."""
    people = [f"person-{each:04d}@example.org" for each in range(number)]
    with app.app_context():
        now = clock.now()
        for each, to in enumerate(people):
            due_at = now - over * ((number - each) / number)
            parts = {"to": to, "subject": "Hello", "text": f"Hello, {to}", "html": f"<p>Hello, {to}"}
            db.session.add(OutboxMessage(**parts, created_at=due_at, due_at=due_at))
        database.commit()
    return people


def next_mails(server: FaultyServer, number: int) -> float:
    """Wait until so many more mails were taken, and give the seconds that this took."""
    enough = len(server.taken) + number
    return until(lambda: len(server.taken) >= enough)


def expire_claims(app: Flask) -> None:
    """Let two minutes pass, by the rows."""
    with app.app_context():
        waiting = update(OutboxMessage).where(OutboxMessage.due_at.is_not(None))
        database.change(waiting.values(due_at=clock.now() - timedelta(seconds=1)))
        database.commit()


def unsent(app: Flask) -> int:
    with app.app_context():
        return db.session.scalar(select(func.count()).where(OutboxMessage.sent_at.is_(None))) or 0


def taken(server: FaultyServer) -> list[str]:
    return [to for to, _ in server.taken]


def count_doubles(server: FaultyServer, people: Sequence[str], figure: Figure) -> int:
    """Check that nobody's mail was lost, nor any blank, and give how many came more than once."""
    got = Counter(taken(server))
    lost, doubles = len(set(people) - set(got)), sum(times - 1 for times in got.values())
    figure("mails lost, of all", f"{lost} of {len(people)}")
    figure("mails delivered twice", doubles)
    assert not lost
    assert all(b"Hello, " + to.encode() in content for to, content in server.taken)
    return doubles


@pytest.mark.long
def test_thousand_mails_of_an_hour_without_a_mail_server_all_arrive_once_it_is_back(
    app: Flask, start_worker: Start, listen: Callable[[int], FaultyServer], figure: Figure
):
    people, port = fill(app, 1000, over=timedelta(hours=1)), free_port()
    worker = start_worker(app, port)
    until(lambda: "mail_server_unreachable" in worker.log)
    server = listen(port)
    figure("seconds from the mail server's return to the first mail", round(until(lambda: server.taken), 1))
    seconds = until(lambda: unsent(app) == 0)
    figure("seconds to deliver 1,000 mails", round(seconds, 1))
    doubles = count_doubles(server, people, figure)
    assert doubles == 0
    assert taken(server) == people, "the oldest first"
    assert {mail.attempts for mail in mails(app)} == {1}


@pytest.mark.long
def test_worker_that_is_killed_amid_the_backlog_doubles_one_mail_at_most(
    app: Flask, start_worker: Start, listen: Callable[[int], FaultyServer], figure: Figure
):
    people, server, kills = fill(app, 300), listen(0), 0
    while kills < 5:
        worker = start_worker(app, server.port)
        next_mails(server, 30)
        worker.send(signal.SIGKILL)
        worker.process.wait()
        kills += 1
    start_worker(app, server.port)
    # What was claimed by the dead ones is left for two minutes.
    until(lambda: unsent(app) <= kills)
    figure("mails that wait for the claim of a dead worker to expire", unsent(app))
    expire_claims(app)
    until(lambda: unsent(app) == 0)
    doubles = count_doubles(server, people, figure)
    figure("kills", kills)
    assert doubles <= kills


@pytest.mark.long
@pytest.mark.parametrize("processes", [2, 4])
def test_workers_and_a_service_on_one_outbox_send_each_mail_once(
    app: Flask,
    root: Path,
    tmp_path: Path,
    *,
    start_worker: Start,
    listen: Callable[[int], FaultyServer],
    figure: Figure,
    processes: int,
):
    server = listen(0)
    # Long enough for all to be at work, whenever each looks.
    server.watch = lambda moment, _: time.sleep(0.05) if moment == "CONTENT" else None
    workers = [start_worker(app, server.port) for _ in range(processes)]
    with starting(app, root, tmp_path) as start:
        start(workers=2, MAIL_SERVER="127.0.0.1", MAIL_PORT=server.port)
        people = fill(app, 500)
        until(lambda: server.taken)
        figure(f"seconds to deliver 500 mails by {processes} + 2 processes", round(until(lambda: unsent(app) == 0), 1))
    doubles = count_doubles(server, people, figure)
    assert doubles == 0
    assert {mail.attempts for mail in mails(app)} == {1}
    assert sum("mail_sent" in worker.log for worker in workers) > 1, "they did not work at the same time"
    assert not [worker.log for worker in workers if "mail_delivery_failed" in worker.log]


@pytest.mark.long
def test_worker_that_was_frozen_past_its_claim_sends_nothing_when_it_goes_on(
    app: Flask, mailing_app: MailingApp, start_worker: Start, listen: Callable[[int], FaultyServer]
):
    """Stopped by its debugger, or its machine suspended, amid a mail that another worker then sends."""
    server, frozen, other = listen(0), threading.Event(), mailing_app(**PRODUCTION)
    other.config["MAIL_PORT"] = other.extensions["mail"].port = server.port
    worker = start_worker(app, server.port, MAIL_TIMEOUT=2)

    def freeze(moment: str, _said: bytes) -> None:
        if moment == "DATA" and not frozen.is_set():
            worker.freeze()
            frozen.set()

    server.watch = freeze
    (person,) = fill(app, 1)
    assert frozen.wait(PATIENCE_SECONDS)
    time.sleep(3)
    expire_claims(app)
    assert deliver(other) == 1
    worker.send(signal.SIGCONT)
    until(lambda: "mail_put_off" in worker.log, worker)
    (mail,) = mails(app)
    assert (mail.due_at, mail.attempts, mail.text) == (None, 2, "")
    assert taken(server) == [person]
    fill(app, 2)
    until(lambda: unsent(app) == 0)
    assert len(server.taken) == 3


@pytest.mark.long
@pytest.mark.any_database
@pytest.mark.parametrize("moment", ["CONNECT", "CONTENT"])
def test_service_that_is_told_to_stop_amid_a_hanging_delivery_does(
    app: Flask, root: Path, tmp_path: Path, *, listen: Callable[[int], FaultyServer], figure: Figure, moment: str
):
    server, said = listen(0), threading.Event()
    server.fail(moment, SILENCE)
    server.watch = lambda now, _: said.set() if now == moment else None
    fill(app, 1)
    with starting(app, root, tmp_path) as start:
        # Longer than it may take.
        start(workers=1, MAIL_SERVER="127.0.0.1", MAIL_PORT=server.port, MAIL_TIMEOUT=60)
        assert said.wait(PATIENCE_SECONDS)
        began = time.monotonic()
    seconds = time.monotonic() - began
    figure(f"seconds to stop amid a delivery that hangs at {moment}", round(seconds, 1))
    assert seconds < 14, "it was killed"


@pytest.mark.long
@pytest.mark.parametrize("kind", ["service", "worker"])
def test_process_that_is_told_to_stop_finishes_the_mail_at_hand(
    app: Flask,
    root: Path,
    tmp_path: Path,
    *,
    start_worker: Start,
    listen: Callable[[int], FaultyServer],
    kind: str,
):
    """A real mail server takes a second or two to say that it has taken a mail: a good time to be restarted in."""
    server, said = listen(0), threading.Event()

    def be_slow(moment: str, _said: bytes) -> None:
        if moment == "CONTENT":
            said.set()
            time.sleep(1.5)

    server.watch = be_slow
    first, *others = fill(app, 3)
    if kind == "worker":
        worker = start_worker(app, server.port)
        assert said.wait(PATIENCE_SECONDS)
        worker.end()
    else:
        with starting(app, root, tmp_path) as start:
            start(workers=1, MAIL_SERVER="127.0.0.1", MAIL_PORT=server.port)
            assert said.wait(PATIENCE_SECONDS)
    assert taken(server) == [first]
    assert [(mail.sent_at is not None, mail.attempts) for mail in mails(app)] == [(True, 1), (False, 0), (False, 0)]
    server.watch = lambda *_: None
    start_worker(app, server.port)
    until(lambda: unsent(app) == 0)
    assert sorted(taken(server)) == sorted([first, *others])


@pytest.mark.long
@pytest.mark.any_database
def test_database_that_is_killed_amid_a_backlog_comes_back_to_a_worker_that_goes_on(
    make_app: MakeApp, tmp_path: Path, start_worker: Start, listen: Callable[[int], FaultyServer], figure: Figure
):
    with services.mariadb(tmp_path) as private:
        app = make_app(DATABASE_URL=services.mariadb_url(private))
        with app.app_context():
            flask_migrate.upgrade()
        people, server = fill(app, 300), listen(0)
        worker = start_worker(app, server.port)
        until(lambda: len(server.taken) >= 100)
        private.kill()
        time.sleep(3)
        private.start()
        figure("seconds from the database's return to the next mail", round(next_mails(server, 1), 1))
        until(lambda: unsent(app) <= 1)
        expire_claims(app)
        until(lambda: unsent(app) == 0)
        doubles = count_doubles(server, people, figure)
        assert doubles <= 1
        assert worker.process.poll() is None
        worker.end()
        with app.app_context():
            db.engine.dispose()


@pytest.mark.long
@pytest.mark.any_database
def test_mails_that_were_refused_for_an_hour_arrive_within_half_an_hour_after(
    mailing_app: MailingApp, faulty: FaultyServer, figure: Figure
):
    """By a mail server that is there, and says 'not now' to each."""
    app = mailing_app(**PRODUCTION, MAIL_PORT=faulty.port)
    with time_machine.travel(NOON, tick=False) as traveller:
        people = fill(app, 60)
        faulty.fail("RCPT", b"451 not now")
        while clock.now() < NOON + timedelta(hours=1):
            look(app, traveller)
        assert faulty.taken == []
        faulty.mend()
        figure("attempts for a mail within the hour", Counter(mail.attempts for mail in mails(app)))
        while unsent(app):
            look(app, traveller)
        figure("minutes from the mail server's return to the last mail", (clock.now() - NOON).seconds / 60 - 60)
        assert clock.now() <= NOON + timedelta(minutes=90, seconds=60)
    assert count_doubles(faulty, people, figure) == 0


def look(app: Flask, traveller: time_machine.Traveller) -> None:
    """Deliver what is due, as a worker does, and go to when something will be next."""
    while deliver(app):
        pass
    with app.app_context():
        due_at = db.session.scalar(select(func.min(OutboxMessage.due_at)))
    traveller.move_to(max(due_at or NOON, clock.now() + timedelta(seconds=5)))


@pytest.mark.long
@pytest.mark.any_database
def test_two_hundred_deliveries_that_fail_leave_no_thread_and_no_socket_behind(
    mailing_app: MailingApp, faulty: FaultyServer, figure: Figure
):
    login = {"MAIL_USE_TLS": True, "MAIL_USERNAME": "mailer", "MAIL_PASSWORD": "heron-88-lantern-mails"}
    app = mailing_app(**login, MAIL_PORT=faulty.port)
    moments = [*TO_LET_US_IN, *ABOUT_A_MAIL]
    before = fail_to_deliver(app, faulty, moments, times=20)
    after = fail_to_deliver(app, faulty, moments, times=200)
    figure("files and sockets, threads before 200 failures", before)
    figure("files and sockets, threads after 200 failures", after)
    assert after == before


def fail_to_deliver(app: Flask, server: FaultyServer, moments: Sequence[str], *, times: int) -> tuple[int, int]:
    """Give the numbers of open files and of threads afterwards, once the server's own are gone."""
    with time_machine.travel(NOON, tick=False) as traveller:
        fill(app, 1)
        for number in range(times):
            server.fail(moments[number % len(moments)], (DROP, b"451 not now")[number // len(moments) % 2], times=1)
            assert deliver(app) == 0
            server.mend()
            traveller.shift(timedelta(hours=1))
        assert deliver(app) == 1
    time.sleep(1)
    return len(os.listdir("/proc/self/fd")), threading.active_count()


@pytest.mark.long
def test_no_request_waits_for_a_mail_server(
    app: Flask, root: Path, tmp_path: Path, listen: Callable[[int], FaultyServer], figure: Figure
):
    medians = {}
    for mood in ("good", "silent"):
        server = listen(0)
        if mood == "silent":
            server.fail("CONNECT", SILENCE)
        with starting(app, root, tmp_path) as start:
            address = start(
                workers=1, MAIL_SERVER="127.0.0.1", MAIL_PORT=server.port, AUTH_PASSWORD_HASH=FAST_PASSWORD_HASH
            )
            medians[mood] = ask_for_mails(app, f"{address}/api/auth", mood)
    for what, seconds in medians["good"].items():
        figure(f"{what}: time with a silent mail server / with a good one", round(medians["silent"][what] / seconds, 2))


def ask_for_mails(app: Flask, address: str, mood: str, times: int = 15) -> dict[str, float]:
    """Give the median seconds of each request that has a mail written."""
    took: dict[str, list[float]] = {"register": [], "forgot-password": [], "resend": [], "change-password": []}
    with httpx.Client(base_url=address, timeout=30) as client:

        def post(what: str, path: str, status: int, body: dict[str, str], token: str = "") -> httpx.Response:
            began = time.monotonic()
            answer = client.post(path, json=body, headers={"Authorization": f"Bearer {token}"} if token else {})
            took[what].append(time.monotonic() - began)
            assert answer.status_code == status, answer.text
            return answer

        person = f"person-{mood}@example.org"
        make_user(app, person)
        token = client.post("/login", json={"email": person, "password": PASSWORD}).json()["data"]["access_token"]
        passwords = (PASSWORD, OTHER_PASSWORD)
        for number in range(times):
            new = f"new-{mood}-{number}@example.org"
            post("register", "/register", 201, {"email": new, "password": PASSWORD})
            post("forgot-password", "/forgot-password", 202, {"email": person})
            post("resend", "/resend-verification", 202, {"email": new})
            old, other = passwords[number % 2], passwords[(number + 1) % 2]
            body = {"current_password": old, "new_password": other}
            token = post("change-password", "/change-password", 200, body, token).json()["data"]["access_token"]
    assert max(seconds for times in took.values() for seconds in times) < 10, "it waited for the mail server"
    return {what: statistics.median(seconds) for what, seconds in took.items()}


@pytest.mark.long
def test_request_for_a_mail_tells_nothing_of_an_account_all_along_an_outage(
    mailing_app: MailingApp, faulty: FaultyServer
):
    """The same status, bytes, statements and rows; what it leads to happens where nobody can watch."""
    app = mailing_app(**PRODUCTION, MAIL_PORT=faulty.port, MAIL_TIMEOUT=1)
    # Elsewhere a test need not wait for the worker: here nobody but the test delivers, and answers.
    app.testing = False
    app.extensions["authapp"].mail_worker.retire()
    make_user(app)
    faulty.fail("CONNECT", b"421 not now")
    for _ in range(3):
        known, unknown = (asked(app, email) for email in (ALICE, "nobody@example.org"))
        assert known == unknown
        assert known[-1] == 1
        assert deliver(app) == 0
    assert len(mails(app)) == 3
    faulty.mend()
    assert deliver(app) == 3


def asked(app: Flask, email: str) -> tuple[int, bytes, list[str], int]:
    """Ask for a new password, and give what a stranger sees of it, and what the database does."""
    before = requests(app)
    with heard(app) as statements:
        answer = Api(app).post("/forgot-password", {"email": email})
    return answer.status_code, answer.data, statements, requests(app) - before


def requests(app: Flask) -> int:
    with app.app_context():
        return db.session.scalar(select(func.count()).select_from(MailRequest)) or 0
