"""Starting the service where something is wrong or missing: it is said in a line, with the mend."""

import json
import os
import secrets
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import httpx
import pytest
from flask import Flask

from tests.server.conftest import START_SECONDS, production, serving

pytestmark = pytest.mark.server


def test_gunicorn_stops_at_once_and_says_which_setting_is_wrong(root: Path):
    done = subprocess.run(
        [sys.executable, "-m", "gunicorn", "wsgi:app"],
        cwd=root,
        # A developer's `.env` beside wsgi.py may have a good secret; the environment comes before it.
        env={"PATH": os.environ["PATH"], "BIND": "127.0.0.1:0", "APP_ENV": "production", "SECRET_KEY": "short"},
        capture_output=True,
        text=True,
        check=False,
        timeout=30,
    )
    assert done.returncode == 3
    lines = [json.loads(line) for line in done.stderr.splitlines()]
    # Of one worker: there was no second one yet.
    (said,) = [line for line in lines if line["level"] != "INFO"]
    assert said["level"] == "ERROR"
    assert said["message"].startswith("authapp: SECRET_KEY is shorter than 32 bytes: make one with:")
    assert sum(line["message"].startswith("Booting worker") for line in lines) == 1


def test_service_loads_nothing_that_its_requests_do_not_need(root: Path):
    """A worker has 85 MB so, and 102 with what migrations, Redis, metrics, imports and the list of browsers bring."""
    others = {"alembic", "mako", "pygments", "redis", "limits", "prometheus_client", "argon2", "ua_parser"}
    program = f"import wsgi, sys; print(sorted({others} & set(sys.modules)))"
    environment = {"PATH": os.environ["PATH"], "SECRET_KEY": secrets.token_urlsafe(48), "APP_ENV": "development"}
    found = subprocess.check_output([sys.executable, "-c", program], cwd=root, env=environment, text=True)
    assert found == "[]\n"


@pytest.mark.any_database
def test_garbage_is_looked_for_in_what_requests_leave_and_not_in_what_was_loaded(
    app: Flask, root: Path, tmp_path: Path
):
    with serving(root, production(app, workers=2), tmp_path, wsgi="tests.server.collecting:app") as service:
        found = [httpx.get(f"{service.address}/collector").json() for _ in range(10)]
    assert all(one["is_on"] and one["frozen"] > 100_000 for one in found)


@pytest.mark.parametrize(
    ("words", "status", "beginning"),
    [
        (["doctor"], 1, "authapp: doctor is no option; if you mean a command: flask --app authapp auth doctor\n"),
        (["db", "upgrade"], 1, "authapp: db is no option; if you mean a command: flask --app authapp db upgrade\n"),
        (
            ["--workers", "2", "--help"],
            0,
            "usage: python -m authapp [OPTIONS OF GUNICORN]\n\nThe authentication service",
        ),
    ],
)
def test_module_helps_whoever_looks_for_its_commands(root: Path, words: list[str], status: int, beginning: str):
    command = [sys.executable, "-m", "authapp", *words]
    done = subprocess.run(command, cwd=root, capture_output=True, text=True, check=False, timeout=30)
    said = done.stderr if status else done.stdout
    assert (done.returncode, said[: len(beginning)]) == (status, beginning)
    assert len(said.splitlines()) < 20


def test_address_that_is_taken_is_told_at_once(root: Path):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        done = subprocess.run(
            [sys.executable, "-m", "gunicorn", "wsgi:app"],
            cwd=root,
            # Not what a developer's `.env` says.
            env={
                "PATH": os.environ["PATH"],
                "BIND": f"127.0.0.1:{port}",
                "APP_ENV": "production",
                "SECRET_KEY": secrets.token_urlsafe(48),
                "AUTH_PUBLIC_URL": "https://auth.example.org",
            },
            capture_output=True,
            text=True,
            check=False,
            timeout=30,
        )
    assert done.returncode == 1
    _starting, said = [json.loads(line) for line in done.stderr.splitlines()]
    assert said["message"].startswith(f"authapp: cannot listen at 127.0.0.1:{port} (Address already in use): end what")


@pytest.mark.parametrize(
    "greeting", [pytest.param(True, id="make run"), pytest.param(False, marks=pytest.mark.long, id="gunicorn")]
)
def test_migrations_that_were_not_run_are_told_and_the_service_starts(root: Path, tmp_path: Path, greeting: bool):
    """In development, where `make run` greets, by the doctor; else by the trial of the settings."""
    log = tmp_path / "log"
    environment = {
        "PATH": os.environ["PATH"],
        "BIND": "127.0.0.1:0",
        "WEB_CONCURRENCY": "1",
        "APP_ENV": "development",
        "SECRET_KEY": secrets.token_urlsafe(48),
        "DATABASE_URL": f"sqlite:///{tmp_path / 'empty.db'}",
        **({"AUTHAPP_GREETING": "1"} if greeting else {}),
    }
    said = " to look at." if greeting else "Booting worker"
    with log.open("wb") as output:
        command = [sys.executable, "-m", "gunicorn", "wsgi:app"]
        process = subprocess.Popen(command, cwd=root, env=environment, stdout=output, stderr=subprocess.STDOUT)
    try:
        deadline = time.monotonic() + START_SECONDS
        while said not in log.read_text() and process.poll() is None and time.monotonic() < deadline:
            time.sleep(0.05)
    finally:
        process.send_signal(signal.SIGINT)
        process.wait(START_SECONDS)
    assert "The database has no schema yet: run flask db upgrade." in log.read_text()
    assert said in log.read_text()
