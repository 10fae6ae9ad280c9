"""The units under a real systemd, on a Debian installed as docs/deploy.md prints it: it starts, reloads, restarts and
stops the service, and keeps it in its sandbox.
"""

import secrets
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest

from authapp.testing import FAST_PASSWORD_HASH
from tests import documented
from tests.conftest import Figure
from tests.server import machines
from tests.server.booted import Debian, booted, debian
from tests.server.test_restarts import assert_all_go_on, people, report
from tests.test_metrics import TOKEN

pytestmark = [pytest.mark.server, pytest.mark.long, pytest.mark.any_database]

ROOT = Path(__file__).parents[2]
TIMEOUT_SECONDS = 90
# Fewer than the SQLite file has room for while the machine starts processes; tests/server/test_restarts.py has more.
CONNECTIONS = 8
# What anybody may write on a Debian, of which the unit has its own; the rest is the service's.
EVERYBODYS = {"/dev/shm", "/run/lock", "/tmp", "/var/tmp"}
DATA = "/opt/authapp/instance"


def printed(start: str) -> list[str]:
    """Give the commands of the page for a machine with systemd, from the block that begins with this one."""
    blocks = documented.blocks(ROOT, ROOT / "docs/deploy.md")
    (text,) = [
        block.text for block in blocks if block.heading.endswith("with systemd") and block.text.startswith(start)
    ]
    return text.splitlines()


@pytest.fixture(scope="module")
def machine() -> Iterator[Debian]:
    """A machine with systemd, on which an operator does what docs/deploy.md says."""
    with machines.network(1) as network, debian() as found:
        packages, user, clone, *rest = printed("apt install")
        assert (packages.split()[:2], clone.split()[:2]) == (["apt", "install"], ["git", "clone"])
        subprocess.run(["git", "clone", "-q", ROOT, found.directory / "opt/authapp"], check=True)
        found.install("\n".join([user, *rest]))
        settings(found, network.machines[0].address)
        with booted(found, network.machines[0]) as up:
            copy, load, enable, doctor, *_ = printed("cp deploy")
            up.run("/bin/bash", "-euc", "\n".join(["cd /opt/authapp", copy, load, enable]))
            told = up.run("/bin/bash", "-euc", f"cd /opt/authapp\n{doctor} || true")
            assert "The schema is the one of this version." in told
            assert f"{DATA}/authapp.db can be written, by this user only." in told
            yield up


def settings(found: Debian, address: str) -> None:
    """Fill in `.env`, as the page says, for a service that is alone on its machine and under many cheap logins."""
    file = found.directory / "opt/authapp/.env"
    text = file.read_text().replace("SECRET_KEY=\n", f"SECRET_KEY={secrets.token_urlsafe(48)}\n")
    more = {
        "BIND": f"{address}:8000",
        "METRICS_TOKEN": TOKEN,
        "RATELIMIT_ENABLED": "false",
        "AUTH_REQUIRE_VERIFIED_EMAIL": "false",
        "AUTH_PASSWORD_HASH": FAST_PASSWORD_HASH,
    }
    file.write_text(text + "".join(f"{name}={value}\n" for name, value in more.items()))


@pytest.fixture
def service(machine: Debian) -> str:
    """The address of the service, which runs."""
    machine.run("systemctl", "start", "authapp.service")
    address = f"http://{machine.address}:8000"
    wait_until(lambda: is_ready(address))
    return address


def is_ready(address: str) -> bool:
    try:
        return httpx.get(f"{address}/readyz", timeout=TIMEOUT_SECONDS).status_code == 200
    except httpx.TransportError:
        return False


def wait_until(happened: Callable[[], bool]) -> None:
    deadline = time.monotonic() + TIMEOUT_SECONDS
    while not happened():
        assert time.monotonic() < deadline
        time.sleep(0.2)


def arbiter(machine: Debian) -> str:
    return machine.property("authapp.service", "MainPID")


def workers(machine: Debian) -> set[str]:
    pid = arbiter(machine)
    return set(machine.run("cat", f"/proc/{pid}/task/{pid}/children").split())


def test_systemd_starts_the_service_with_migrations_and_metrics(machine: Debian, service: str):
    assert machine.property("authapp.service", "NRestarts") == "0"
    status = machine.run("cat", f"/proc/{arbiter(machine)}/status")
    assert "\nNoNewPrivs:\t1\n" in status
    assert "\nSeccomp:\t2\n" in status
    answer = httpx.get(f"{service}/metrics", headers={"Authorization": f"Bearer {TOKEN}"}, timeout=TIMEOUT_SECONDS)
    assert answer.status_code == 200
    assert machine.run("ls", "/run/authapp").startswith("authapp-metrics-")


def test_a_reload_by_systemd_fails_no_request(machine: Debian, service: str, figure: Figure):
    with people(service, connections=CONNECTIONS) as (everybody, finish):
        time.sleep(2)
        before, old = arbiter(machine), workers(machine)
        machine.run("systemctl", "reload", "authapp.service")
        wait_until(lambda: len(workers(machine)) == len(old) and not old & workers(machine))
        finish()
        report(everybody, figure)
        assert_all_go_on(everybody)
    assert arbiter(machine) == before
    used = int(machine.property("authapp.service", "MemoryCurrent"))
    allowed = int(machine.property("authapp.service", "MemoryMax"))
    figure("MiB of memory, by systemd's count", used // 2**20)
    assert used < allowed


def test_a_service_that_is_killed_is_started_again(machine: Debian, service: str, figure: Figure):
    before = arbiter(machine)
    machine.run("systemctl", "kill", "--kill-whom=main", "--signal=KILL", "authapp.service")
    began = time.monotonic()
    wait_until(lambda: arbiter(machine) not in (before, "0") and is_ready(service))
    figure("seconds until a killed service was ready again", round(time.monotonic() - began, 1))
    assert len(machine.run("ls", "/run/authapp").split()) == 1


def test_the_service_can_write_its_data_and_nothing_else(machine: Debian, service: str):
    uid, gid = (machine.run("id", kind, "authapp").strip() for kind in ("-u", "-g"))
    see = ["nsenter", f"--target={arbiter(machine)}", "--mount", "--user", f"--setuid={uid}", f"--setgid={gid}"]
    what = ["-writable", "-not", "-type", "c,l,s", "-print"]
    found = machine.run(*see, "find", "/", "-path", "/proc", "-prune", "-o", *what, status=1).splitlines()
    paths = {line for line in found if line.startswith("/")}
    assert {path for path in paths if not path.startswith((DATA, "/run/authapp"))} == EVERYBODYS
    assert DATA in paths


def test_the_purge_runs_under_systemd_once_a_day(machine: Debian, service: str):
    machine.run("systemctl", "start", "authapp-purge.service")
    assert machine.property("authapp-purge.service", "Result") == "success"
    assert "sent mails: 0" in machine.run("journalctl", "--unit=authapp-purge")
    assert "authapp-purge.timer" in machine.run("systemctl", "list-timers")


def test_a_stop_is_clean_and_settings_that_do_not_work_are_named(machine: Debian, service: str):
    machine.run("systemctl", "stop", "authapp.service")
    assert machine.property("authapp.service", "ActiveState") == "inactive"
    assert machine.property("authapp.service", "Result") == "success"
    machine.run("ls", "/run/authapp", status=2)
    file = machine.directory / "opt/authapp/.env"
    text = file.read_text()
    file.write_text(text + "SECRET_KEY=short\n")
    try:
        machine.run("systemctl", "start", "authapp.service", status=1)
        assert "authapp: SECRET_KEY is shorter than 32 bytes" in machine.run("journalctl", "--unit=authapp")
        wait_until(lambda: int(machine.property("authapp.service", "NRestarts")) > 0)
    finally:
        file.write_text(text)
        machine.run("systemctl", "stop", "authapp.service")
    machine.run("systemctl", "start", "authapp.service")
    assert machine.property("authapp.service", "ActiveState") == "active"
