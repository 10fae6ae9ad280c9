"""What an image and a systemd unit would run, run without an engine and without systemd: the same commands, in the same
order, in a copy of the checkout, by a user without rights, and with what may be written and used as limited as there.

What only they do themselves is not tried here: the layers and the file system of the image; and the sandbox of the
unit, which test_systemd.py has.
"""

import json
import os
import re
import secrets
import shlex
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

from tests.services import free_port, lacking

pytestmark = [pytest.mark.long, pytest.mark.skipif(os.geteuid() != 0, reason="another user is become by root only")]

ROOT = Path(__file__).parents[2]
HOME = "/opt/authapp"
NOBODY = 10001
AS_NOBODY = ["setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups", "--no-new-privs", "--"]
START_SECONDS = 60


@pytest.fixture(scope="module")
def python() -> str:
    """A Python that another user can run, of this version: the system's, where this one is in somebody's home."""
    ours = f"{sys.version_info.major}.{sys.version_info.minor}"
    for found in ("/usr/bin/python3", os.path.realpath(sys.executable)):
        program = "import sys; print('%d.%d' % sys.version_info[:2])"
        done = subprocess.run([*AS_NOBODY, found, "-c", program], capture_output=True, text=True, check=False, cwd="/")
        if done.stdout.strip() == ours:
            return found
    return lacking("no Python of this version can be run by another user")


def instructions(dockerfile: str) -> list[tuple[str, str]]:
    """Give the instructions of a Dockerfile, each on one line."""
    text = re.sub(r"^#.*\n", "", dockerfile, flags=re.MULTILINE).replace("\\\n", " ")
    return [(line.split()[0], line.split(maxsplit=1)[1]) for line in text.splitlines() if line.strip()]


@pytest.fixture(scope="module")
def steps() -> list[tuple[str, str]]:
    """The instructions of the image."""
    return instructions((ROOT / "Dockerfile").read_text())


@pytest.fixture(scope="module")
def place(python: str, steps: list[tuple[str, str]]) -> Iterator[Path]:
    """A directory in the stead of /opt/authapp, made by the steps of the image, with the pinned packages."""
    with tempfile.TemporaryDirectory() as folder:
        os.chmod(folder, 0o755)
        (Path(folder) / "bin").mkdir()
        (Path(folder) / "bin" / "python").symlink_to(python)
        place = Path(folder) / "opt"
        place.mkdir()
        environment = {"PATH": f"{folder}/bin:/usr/bin:/bin", "PIP_CACHE_DIR": f"{folder}/cache"}
        environment |= {name: text for name, text in os.environ.items() if name.startswith("PIP_")}
        for name, what in steps:
            if name == "RUN":
                subprocess.run(["/bin/sh", "-ec", what], cwd=place, env=environment, check=True, timeout=500)
            elif name == "COPY" and not what.startswith("--from"):
                *sources, target = what.split()
                for source in sources:
                    kind = "-rT" if (ROOT / source).is_dir() else "-r"
                    subprocess.run(["cp", kind, ROOT / source, place / target], check=True)
        yield place


def production(port: int) -> dict[str, str]:
    """Give the settings of a service that is alone on its machine."""
    return {
        "SECRET_KEY": secrets.token_urlsafe(48),
        "AUTH_PUBLIC_URL": "https://auth.example.org",
        "BIND": f"127.0.0.1:{port}",
    }


@contextmanager
def started(command: list[str], place: Path, environment: dict[str, str]) -> Iterator["subprocess.Popen[str]"]:
    """Start a service, and end it whatever becomes of the test."""
    service = subprocess.Popen(
        command, cwd=place, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    try:
        yield service
    finally:
        service.kill()
        service.communicate()


def workers(service: "subprocess.Popen[str]") -> set[str]:
    """Give the process ids of the workers, as they are now."""
    return set(Path(f"/proc/{service.pid}/task/{service.pid}/children").read_text().split())


def wait_until_ready(port: int, process: "subprocess.Popen[str]") -> None:
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline and process.poll() is None:
        try:
            if httpx.get(f"http://127.0.0.1:{port}/readyz").status_code == 200:
                return
        except httpx.TransportError:
            pass
        time.sleep(0.1)
    process.kill()
    pytest.fail(f"it did not become ready: {process.communicate()[0]}")


def test_unit_starts_reloads_and_stops_the_service(root: Path, place: Path):
    home = place
    port = free_port()
    (home / ".env").write_text("".join(f"{name}={text}\n" for name, text in production(port).items()))
    os.chown(home / ".env", 0, NOBODY)
    (home / ".env").chmod(0o640)
    unit = dict(re.findall(r"^(\w+)=(.*)$", (root / "deploy/authapp.service").read_text(), re.MULTILINE))
    os.chown(home / unit["ReadWritePaths"].removeprefix(f"{HOME}/"), NOBODY, NOBODY)
    limits = ["prlimit", f"--nofile={unit['LimitNOFILE']}", *AS_NOBODY]

    def run(line: str) -> list[str]:
        return [*limits, *shlex.split(unit[line].replace(HOME, str(home)))]

    environment = {"PATH": "/usr/bin:/bin", "PYTHONDONTWRITEBYTECODE": "1"}
    subprocess.run(run("ExecStartPre"), cwd=home, env=environment, check=True, timeout=120)
    with started(run("ExecStart"), home, environment) as service:
        wait_until_ready(port, service)
        status = Path(f"/proc/{service.pid}/status").read_text()
        assert re.search(rf"^Uid:\t{NOBODY}\t{NOBODY}\t", status, re.MULTILINE)
        assert "NoNewPrivs:\t1" in status
        before = workers(service)
        reload = unit["ExecReload"].replace("$MAINPID", str(service.pid))
        subprocess.run([*AS_NOBODY, *shlex.split(reload)], check=True)
        deadline = time.monotonic() + START_SECONDS
        while (workers(service) & before or not workers(service)) and time.monotonic() < deadline:
            time.sleep(0.1)
        assert not workers(service) & before
        wait_until_ready(port, service)
        service.send_signal(signal.SIGTERM)
        said, _ = service.communicate(timeout=float(unit["TimeoutStopSec"]))
    assert service.returncode == 0, said
    purge = (root / "deploy/authapp-purge.service").read_text()
    (line,) = re.findall(r"^ExecStart=(.*)$", purge, re.MULTILINE)
    subprocess.run([*AS_NOBODY, *line.replace(HOME, str(home)).split()], cwd=home, env=environment, check=True)


def test_image_serves_on_a_file_system_that_it_cannot_write(place: Path, steps: list[tuple[str, str]]):
    given = dict(pair.split("=", 1) for name, what in steps if name == "ENV" for pair in what.split())
    port = free_port()
    serving = {**given, **production(port), "PATH": f"{place}/.venv/bin:/usr/bin:/bin"}
    (user,) = [what for name, what in steps if name == "USER"]
    assert user == f"{NOBODY}:{NOBODY}"
    (command,) = [json.loads(what) for name, what in steps if name == "CMD"]
    assert not (place / ".venv/bin/pip").exists()

    def writable() -> set[Path]:
        found = subprocess.run([*AS_NOBODY, "find", place, "-writable"], capture_output=True, text=True, check=False)
        return {Path(line) for line in found.stdout.splitlines() if not Path(line).is_symlink()}

    # What the other test may have left there: a database, and settings, which the environment's come before.
    assert {path for path in writable() if place / "instance" not in path.parents} == {place / "instance"}
    migrate = ["flask", "--app", "wsgi", "db", "upgrade"]
    subprocess.run([*AS_NOBODY, *migrate], cwd=place, env=serving, check=True, timeout=120)
    with started([*AS_NOBODY, *command], place, serving) as service:
        wait_until_ready(port, service)
        (health,) = [json.loads(what.partition(" CMD ")[2]) for name, what in steps if name == "HEALTHCHECK"]
        health = [part.replace(":8000", f":{port}") for part in health]
        assert subprocess.run(health, env=serving, check=False, cwd=place).returncode == 0
        service.send_signal(signal.SIGTERM)
        said, _ = service.communicate(timeout=40)
    assert service.returncode == 0, said
    assert subprocess.run(health, env=serving, check=False, cwd=place, capture_output=True).returncode == 1
