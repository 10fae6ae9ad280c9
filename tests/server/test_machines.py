"""The service on two machines: what one of them ends is over on the other, and when one dies the other goes on."""

import contextlib
import secrets
import subprocess
import threading
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from operator import attrgetter
from typing import Any, NamedTuple

import flask_migrate
import httpx
import pytest

from authapp import create_app
from authapp.extensions import db
from authapp.testing import FAST_PASSWORD_HASH, TEST_SETTINGS
from tests import services
from tests.conftest import Figure
from tests.factories import OTHER_PASSWORD, PASSWORD
from tests.server import machines
from tests.server.machines import Machine
from tests.server.proxy import Proxy, nginx

pytestmark = [pytest.mark.server, pytest.mark.long]

CLIENTS = 8
ROUNDS = 20
TIMEOUT_SECONDS = 40
# How long nginx keeps an idle connection, and with it the belief that there is somebody at its other end.
IDLE_SECONDS = 1
# How long it waits for an answer.
NGINX_SECONDS = 20
RECOVERY_SECONDS = 30
# How long a node may refuse by itself when its database is there again.
SEARCH_SECONDS = 2
REVOKED = (401, "TOKEN_REVOKED")


@dataclass
class Cluster:
    """Two nodes on machines of their own, nginx before them, and clients of the one, the other and nginx."""

    machines: list[Machine]
    nodes: list[services.Server]
    proxy: Proxy
    clients: list[httpx.Client]

    def client(self) -> httpx.Client:
        """Make a client of nginx."""
        base = f"{self.proxy.address}/api/auth"
        return httpx.Client(base_url=base, verify=self.proxy.trust, timeout=TIMEOUT_SECONDS)


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """Run all of it: a network, MariaDB and Redis on this machine, and the two nodes."""
    directory = tmp_path_factory.mktemp("machines")
    with ExitStack() as running:
        net = running.enter_context(machines.network(2))
        mariadb = running.enter_context(services.mariadb(directory, host=net.host))
        redis = running.enter_context(services.redis(directory, host=net.host))
        migrate(services.mariadb_url(mariadb))
        environment = {
            "APP_ENV": "production",
            "SECRET_KEY": secrets.token_urlsafe(48),
            "AUTH_PUBLIC_URL": "https://auth.example.org",
            "DATABASE_URL": services.mariadb_url(mariadb, host=net.host),
            "REDIS_URL": f"redis://{net.host}:{redis.port}/0",
            "TRUSTED_PROXIES": "1",
            "AUTH_REQUIRE_VERIFIED_EMAIL": "false",
            "AUTH_PASSWORD_HASH": FAST_PASSWORD_HASH,
        }
        nodes = [machines.node(machine, environment, directory) for machine in net.machines]
        for node in nodes:
            running.enter_context(services.running(node))
        addresses = [f"{machine.address}:8000" for machine in net.machines]
        proxy = running.enter_context(nginx(directory / "nginx", addresses, host=net.host))
        clients = [
            running.enter_context(httpx.Client(base_url=f"http://{address}/api/auth", timeout=TIMEOUT_SECONDS))
            for address in addresses
        ]
        yield Cluster(net.machines, nodes, proxy, clients)


def migrate(url: str) -> None:
    """Make the tables."""
    with create_app({**TEST_SETTINGS, "DATABASE_URL": url}, environ={}).app_context():
        flask_migrate.upgrade()
        db.engine.dispose()


@pytest.fixture(params=[(0, 1), (1, 0)], ids=["first to second", "second to first"])
def here_and_there(cluster: Cluster, request: pytest.FixtureRequest) -> tuple[httpx.Client, httpx.Client]:
    """A client of the node that ends something, and one of the other."""
    here, there = request.param
    return cluster.clients[here], cluster.clients[there]


@pytest.fixture
def account(request: pytest.FixtureRequest) -> dict[str, str]:
    """An account of this test's own, for the database is not emptied."""
    number = abs(hash(request.node.name))
    return {"email": f"alice-{number}@example.org", "password": PASSWORD}


def register(client: httpx.Client, account: dict[str, str]) -> dict[str, Any]:
    """Make the account, and give the tokens of its first session."""
    return data(client.post("/register", json=account))


def data(answer: httpx.Response) -> dict[str, Any]:
    assert answer.is_success, answer.text
    found: dict[str, Any] = answer.json()["data"]
    return found


def bearer(tokens: dict[str, Any]) -> dict[str, str]:
    return {"Authorization": f"Bearer {tokens['access_token']}"}


def me(client: httpx.Client, tokens: dict[str, Any]) -> tuple[int, str | None]:
    """Ask who one is; gives the status, and the code of a refusal."""
    return outcome(client.get("/me", headers=bearer(tokens)))


def refresh(client: httpx.Client, tokens: dict[str, Any]) -> tuple[int, str | None]:
    return outcome(client.post("/refresh", json={"refresh_token": tokens["refresh_token"]}))


def outcome(answer: httpx.Response) -> tuple[int, str | None]:
    return answer.status_code, answer.json().get("error", {}).get("code")


def test_a_logout_on_one_machine_is_one_on_the_other(
    here_and_there: tuple[httpx.Client, httpx.Client], account: dict[str, str]
):
    here, there = here_and_there
    tokens = register(here, account)
    assert me(there, tokens) == (200, None)
    here.post("/logout", json={"refresh_token": tokens["refresh_token"]})
    assert me(there, tokens) == REVOKED
    assert refresh(there, tokens) == REVOKED


def test_a_new_password_on_one_machine_ends_what_there_was_on_the_other(
    here_and_there: tuple[httpx.Client, httpx.Client], account: dict[str, str]
):
    here, there = here_and_there
    before = register(here, account)
    elsewhere = data(there.post("/login", json=account))
    change = {"current_password": PASSWORD, "new_password": OTHER_PASSWORD}
    after = data(here.post("/change-password", json=change, headers=bearer(before)))
    assert [me(there, tokens) for tokens in (before, elsewhere)] == [REVOKED, REVOKED]
    assert me(there, after) == (200, None)
    assert outcome(there.post("/login", json=account)) == (401, "INVALID_CREDENTIALS")


def test_a_session_that_is_ended_on_one_machine_is_over_on_the_other(
    here_and_there: tuple[httpx.Client, httpx.Client], account: dict[str, str]
):
    here, there = here_and_there
    lost = register(there, account)
    kept = data(here.post("/login", json=account))
    assert me(there, lost) == (200, None)
    sessions = data(here.get("/sessions", headers=bearer(kept)))["sessions"]
    (other,) = [session["id"] for session in sessions if not session["current"]]
    assert here.delete(f"/sessions/{other}", headers=bearer(kept)).status_code == 200
    assert me(there, lost) == REVOKED
    assert refresh(there, lost) == REVOKED
    assert me(there, kept) == (200, None)


def test_clients_on_both_machines_that_refresh_one_token_at_once_get_the_one_successor(
    cluster: Cluster, account: dict[str, str], figure: Figure
):
    oldest = token = register(cluster.clients[0], account)["refresh_token"]
    start = threading.Barrier(2 * CLIENTS)

    def send(client: httpx.Client) -> httpx.Response:
        start.wait()
        return client.post("/refresh", json={"refresh_token": token})

    with ThreadPoolExecutor(2 * CLIENTS) as threads:
        for _ in range(ROUNDS):
            answers = list(threads.map(send, cluster.clients * CLIENTS))
            assert Counter(answer.status_code for answer in answers) == {200: 2 * CLIENTS}
            (token,) = {data(answer)["refresh_token"] for answer in answers}
    figure("rounds of so many refreshes over two machines, each with one successor", f"{ROUNDS} of {2 * CLIENTS}")
    assert refresh(cluster.clients[1], {"refresh_token": oldest}) == (401, "TOKEN_REUSED")
    assert refresh(cluster.clients[0], {"refresh_token": token}) == REVOKED


def test_wrong_passwords_on_both_machines_are_counted_together(cluster: Cluster, account: dict[str, str]):
    register(cluster.clients[0], account)
    wrong = {**account, "password": OTHER_PASSWORD}
    tries = [outcome(cluster.clients[number % 2].post("/login", json=wrong)) for number in range(10)]
    assert tries == [(401, "INVALID_CREDENTIALS")] * 10
    assert [outcome(client.post("/login", json=account))[1] for client in cluster.clients] == ["RATE_LIMITED"] * 2


class Met(NamedTuple):
    """What became of one request."""

    method: str
    begun: float
    ended: float
    status: int
    code: str | None


@dataclass
class Load:
    """What clients of nginx met, and what each of them got for its refresh token in the end."""

    met: list[Met] = field(default_factory=list)
    ends: list[tuple[int, str | None]] = field(default_factory=list)

    def failed(self) -> list[Met]:
        """Give the requests that did not succeed."""
        return [one for one in self.met if one.status != 200]

    def longest(self, *, begun_after: float) -> float:
        """Give how long one of these requests took at most, in seconds."""
        return round(max(one.ended - one.begun for one in self.met if one.begun > begun_after), 2)


@contextmanager
def load(cluster: Cluster, account: dict[str, str]) -> Iterator[Load]:
    """Have clients ask who they are and refresh, in turn and all the time, until the block is left.

    A refresh that fails is tried again with the same token, as an honest client would.
    """
    found, stop = Load(), threading.Event()
    with cluster.client() as client:
        sessions = [register(client, account), *(data(client.post("/login", json=account)) for _ in range(CLIENTS - 1))]

    def go_on(tokens: dict[str, Any]) -> None:
        with cluster.client() as client:

            def ask(method: str, path: str, **more: Any) -> httpx.Response:
                begun = time.monotonic()
                answer = client.request(method, path, **more)
                found.met.append(Met(method, begun, time.monotonic(), *outcome(answer)))
                return answer

            while not stop.is_set():
                ask("GET", "/me", headers=bearer(tokens))
                answer = ask("POST", "/refresh", json={"refresh_token": tokens["refresh_token"]})
                tokens = data(answer) if answer.is_success else tokens
            found.ends.append(refresh(client, tokens))

    with ThreadPoolExecutor(CLIENTS) as threads:
        ended = [threads.submit(go_on, tokens) for tokens in sessions]
        try:
            yield found
        finally:
            stop.set()
    for thread in ended:
        thread.result()


def wait_until_used(cluster: Cluster, machine: Machine) -> None:
    """Wait until nginx has requests answered by this machine."""
    deadline = time.monotonic() + RECOVERY_SECONDS
    answered = f"node={machine.address}:8000 said=200\n"
    before = cluster.proxy.log().count(answered)
    while cluster.proxy.log().count(answered) == before:
        assert time.monotonic() < deadline, cluster.proxy.log()[-2000:]
        time.sleep(0.1)


_begun = attrgetter("begun")


def check(load: Load, *, served_from: float, back: float) -> None:
    """Check that the death of a machine cost no more than what it had in hand, and nobody the session.

    Once it is back it may refuse some by itself: its processes look for the database again, one request at a time.
    """
    failed = [one._replace(begun=one.begun - served_from, ended=one.ended - served_from) for one in load.failed()]
    away, later = [[one for one in failed if (one.begun > back - served_from) == is_late] for is_late in (False, True)]
    assert [one for one in away if one.begun > 0] == []
    assert {(one.status, one.code) for one in failed} <= {(503, "SERVICE_UNAVAILABLE")}
    # A GET is sent again.
    assert {one.method for one in away} <= {"POST"}
    assert not later or max(later, key=_begun).begun - min(later, key=_begun).begun < SEARCH_SECONDS
    assert load.ends == [(200, None)] * CLIENTS


def test_when_a_node_is_killed_only_what_it_has_in_hand_fails(
    cluster: Cluster, account: dict[str, str], figure: Figure
):
    node, machine = cluster.nodes[1], cluster.machines[1]
    with load(cluster, account) as found:
        wait_until_used(cluster, machine)
        node.kill()
        # Its workers take their time to die, too.
        while services.accepts(node.port, machine.address):
            time.sleep(0.01)
        killed = time.monotonic()
        time.sleep(3)
        back = time.monotonic()
        node.start()
        wait_until_used(cluster, machine)
        time.sleep(SEARCH_SECONDS)
    figure("requests beside the death of one of two nodes", len(found.met))
    figure("of these failed", len(found.failed()))
    figure("longest of those begun after it, seconds", found.longest(begun_after=killed))
    check(found, served_from=killed, back=back)


def test_when_a_machine_is_cut_off_only_what_it_has_in_hand_fails(
    cluster: Cluster, account: dict[str, str], figure: Figure
):
    machine = cluster.machines[0]
    with load(cluster, account) as found:
        wait_until_used(cluster, machine)
        machine.unplug()
        cut = time.monotonic()
        try:
            assert not services.accepts(cluster.nodes[0].port, machine.address)
            time.sleep(NGINX_SECONDS + 1)
        finally:
            back = time.monotonic()
            machine.plug_in()
        wait_until_used(cluster, machine)
        time.sleep(SEARCH_SECONDS)
    served_from = cut + IDLE_SECONDS
    figure("requests beside a machine that was cut off", len(found.met))
    figure("of these failed", len(found.failed()))
    figure("longest of those begun a second after it or later, seconds", found.longest(begun_after=served_from))
    check(found, served_from=served_from, back=back)
    # They are given to it only until it does not take them, not to wait for an answer.
    assert found.longest(begun_after=served_from) < NGINX_SECONDS / 2


def test_nothing_is_left_of_a_network_whose_test_failed():
    def names() -> str:
        commands = (["netns", "list"], ["-brief", "link"])
        return "".join(
            subprocess.run([services.program("ip"), *command], capture_output=True, text=True, check=True).stdout
            for command in commands
        )

    with contextlib.suppress(ZeroDivisionError), machines.network(2) as net:
        made = [name for machine in net.machines for name in (machine.name, machine.cable)]
        assert all(name in names() for name in made)
        sleeper = subprocess.Popen([services.program("ip"), "netns", "exec", net.machines[0].name, "sleep", "600"])
        raise ZeroDivisionError
    assert not any(name in names() for name in [*made, made[1][:-1]])
    assert sleeper.wait(timeout=10) == -9
