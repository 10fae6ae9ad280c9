"""The limits of a service of several processes, in a Redis that it shares, and that dies."""

from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest
from flask import Flask

from authapp.testing import FAST_PASSWORD_HASH
from tests import services
from tests.conftest import Figure
from tests.factories import ALICE, BOB, make_user
from tests.server.conftest import StartNode

# Whatever the database: the counts are elsewhere.
pytestmark = [pytest.mark.server, pytest.mark.any_database]

WORKERS = 4
ATTEMPTS = 50
# With a hash that takes its time, a busy machine would have some of them wait too long at the gate.
LIMITED = {"RATELIMIT_ENABLED": "true", "AUTH_PASSWORD_HASH": FAST_PASSWORD_HASH}


def wrong_logins(address: str, email: str, number: int = ATTEMPTS) -> Counter[int]:
    """Send wrong passwords, all at once, each on a connection of its own, so that every worker gets some."""
    body = {"email": email, "password": "wrong"}

    def send(_: int) -> int:
        return httpx.post(f"{address}/api/auth/login", json=body, timeout=60).status_code

    with ThreadPoolExecutor(number) as threads:
        return Counter(threads.map(send, range(number)))


@pytest.mark.long
def test_of_fifty_wrong_logins_at_once_ten_are_checked_over_four_processes_and_a_restart(
    app: Flask, start_node: StartNode, tmp_path: Path, figure: Figure
):
    make_user(app)
    with services.redis(tmp_path) as redis:
        settings = {**LIMITED, "REDIS_URL": services.redis_url(redis)}
        tried = wrong_logins(start_node(workers=WORKERS, **settings), ALICE)
        figure(f"wrong logins checked of {ATTEMPTS} at once, {WORKERS} processes", tried[401])
        assert tried == {401: 10, 429: ATTEMPTS - 10}
        # Another start of the service, as after a restart or on another machine.
        again = start_node(workers=WORKERS, **settings)
        tried = wrong_logins(again, ALICE)
        figure("of as many more after a restart", tried[401])
        assert tried == {429: ATTEMPTS}
        redis.kill()
        # Nothing is unlimited, and nothing fails: each process counts by itself, afresh.
        tried = wrong_logins(again, ALICE, 100)
        figure(f"of 100 with Redis dead, {WORKERS} processes", tried[401])
        assert set(tried) == {401, 429}
        assert tried[401] <= 10 * WORKERS


def test_service_starts_without_its_redis_and_is_limited(app: Flask, start_node: StartNode, figure: Figure):
    settings = {**LIMITED, "REDIS_URL": f"redis://127.0.0.1:{services.free_port()}/0"}
    tried = wrong_logins(start_node(workers=2, **settings), BOB)
    figure("wrong logins checked of 50, Redis never there, 2 processes", tried[401])
    assert set(tried) == {401, 429}
    assert tried[401] <= 20
