"""`/metrics` of several workers that come and go: one sum, which loses nothing and does not grow."""

import os
import signal
import socket
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import httpx
import pytest
from flask import Flask

from tests.server.conftest import Service, production, serving
from tests.services import lacking
from tests.test_metrics import TOKEN, Numbers, parse

pytestmark = [pytest.mark.server, pytest.mark.long, pytest.mark.any_database]

TIMEOUT_SECONDS = 30
HEALTHZ = [("code", ""), ("method", "GET"), ("route", "/healthz"), ("status", "200")]


def scrape(service: Service) -> Numbers:
    answer = httpx.get(f"{service.address}/metrics", headers={"Authorization": f"Bearer {TOKEN}"}, timeout=20)
    assert answer.status_code == 200, answer.text
    return parse(answer.text)


def ask(service: Service, times: int) -> None:
    """Send requests, each over a connection of its own, so that every worker gets some."""
    for _ in range(times):
        assert httpx.get(f"{service.address}/healthz", timeout=20).status_code == 200


def healthy(service: Service) -> float:
    return scrape(service)[f"authapp_http_requests_total{HEALTHZ}"]


def wait_until(happened: Callable[[], bool]) -> None:
    deadline = time.monotonic() + TIMEOUT_SECONDS
    while not happened():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def replaced(service: Service, old: list[int], number: int) -> Callable[[], bool]:
    return lambda: len(service.workers()) == number and not set(old) & set(service.workers())


def files(directory: Path, worker: int | str = "*") -> list[str]:
    return sorted(file.name for file in directory.glob(f"*_{worker}.db"))


def test_sums_hold_over_workers_that_are_killed_reloaded_and_added(app: Flask, root: Path, tmp_path: Path):
    environment = production(app, workers=2, METRICS_TOKEN=TOKEN, RUNTIME_DIRECTORY=tmp_path)
    with serving(root, environment, tmp_path) as service:
        (directory,) = tmp_path.glob("authapp-metrics-*")
        ask(service, 40)
        assert healthy(service) == 40
        assert {name.rpartition("_")[2] for name in files(directory)} == {"1.db", "2.db"}

        for victim in service.workers():
            os.kill(victim, signal.SIGKILL)
            wait_until(replaced(service, [victim], 2))
            ask(service, 5)
        assert healthy(service) == 50
        assert {name.rpartition("_")[2] for name in files(directory)} == {"1.db", "2.db"}

        for _ in range(3):
            old = service.workers()
            service.arbiter.send_signal(signal.SIGHUP)
            wait_until(replaced(service, old, 2))
            ask(service, 5)
        assert healthy(service) == 65
        # The old ones serve until the new ones can: four at a time, however often.
        assert {name.rpartition("_")[2] for name in files(directory)} <= {f"{number}.db" for number in (1, 2, 3, 4)}

        service.arbiter.send_signal(signal.SIGTTIN)
        wait_until(lambda: len(service.workers()) == 3)
        ask(service, 15)
        service.arbiter.send_signal(signal.SIGTTOU)
        wait_until(lambda: len(service.workers()) == 2)
        found = scrape(service)
        assert found[f"authapp_http_requests_total{HEALTHZ}"] == 80
        assert found["authapp_http_request_duration_seconds_count[('route', '/healthz')]"] == 80
        assert found["authapp_password_hash_waiting"] == 0
        assert found["authapp_database_up"] == 1
    assert not directory.exists()


def test_a_worker_that_is_killed_leaves_nobody_waiting_for_a_hash(app: Flask, root: Path, tmp_path: Path):
    slow = {"AUTH_PASSWORD_HASH": "scrypt:262144:8:3", "AUTH_HASH_QUEUE": 5}
    environment = production(app, workers=1, METRICS_TOKEN=TOKEN, RUNTIME_DIRECTORY=tmp_path, **slow)
    body = b'{"email": "nobody@example.org", "password": "violet-tractor-19-sings"}'
    head = b"POST /api/auth/login HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n"
    with serving(root, environment, tmp_path) as service:
        url = httpx.URL(service.address)
        clients = [socket.create_connection((url.host, url.port), timeout=TIMEOUT_SECONDS) for _ in range(5)]
        for client in clients:
            client.sendall(head % len(body) + body)
        wait_until(lambda: scrape(service)["authapp_password_hash_waiting"] == 4)
        (victim,) = service.workers()
        os.kill(victim, signal.SIGKILL)
        wait_until(replaced(service, [victim], 1))
        for client in clients:
            client.close()
        assert scrape(service)["authapp_password_hash_waiting"] == 0


def test_service_serves_where_there_is_no_room_to_count(root: Path, app: Flask, tmp_path: Path):
    full = tmp_path / "full"
    full.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", full], check=False, capture_output=True
    )
    if mounted.returncode:
        lacking("no file system can be mounted here")
    try:
        (full / "ballast").write_bytes(bytes(56 * 1024))
        settings = production(app, workers=2, METRICS_TOKEN=TOKEN, RUNTIME_DIRECTORY=full)
        with serving(root, settings, tmp_path) as service:
            assert {httpx.get(f"{service.address}/healthz", timeout=20).status_code for _ in range(20)} == {200}
            assert "There is no room in" in service.log.read_text()
    finally:
        subprocess.run(["umount", full], check=True)
