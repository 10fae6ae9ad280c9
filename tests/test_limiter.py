"""Where tries are counted: in Redis, which may be away at any time, and then in this process's memory."""

import logging
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import redis
import time_machine

from authapp import limiter
from authapp.errors import RateLimitedError
from authapp.limiter import Limit, Limiter
from authapp.redis_counts import RedisCounts
from tests import services
from tests.services import Server

LIMIT = Limit("trials", 5, 60)
AWAY_SECONDS = 0.2


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    """A Redis of the test's own."""
    with services.redis(tmp_path) as running:
        yield running


@pytest.fixture(autouse=True)
def _soon_asked_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have a Redis that was away asked again after a moment."""
    monkeypatch.setattr(limiter, "_AWAY_SECONDS", AWAY_SECONDS)


def limiter_of(redis_url: str | None) -> Limiter:
    """A limiter of one process, which counts there, or by itself."""
    return Limiter(RedisCounts(redis_url) if redis_url else None)


def taken(*limiters: Limiter, times: int = 20, key: str = "somebody") -> int:
    """Try this often, by turns, and count the tries that were allowed."""
    allowed = 0
    for number in range(times):
        try:
            limiters[number % len(limiters)].take(LIMIT, key)
            allowed += 1
        except RateLimitedError:
            pass
    return allowed


@pytest.mark.parametrize("shared", [False, True])
def test_limit_holds_for_any_window_of_time(shared: bool, request: pytest.FixtureRequest):
    own = limiter_of(services.redis_url(request.getfixturevalue("server")) if shared else None)
    with time_machine.travel(1_900_000_000, tick=False) as now:
        for _ in range(5):
            assert taken(own, times=1) == 1
            now.shift(10)
        assert taken(own) == 0
        with pytest.raises(RateLimitedError) as refused:
            own.take(LIMIT, "somebody")
        assert refused.value.headers["Retry-After"] == "10"
        now.shift(11)
        assert taken(own) == 1
        now.shift(600)
        assert taken(own) == 5


@pytest.mark.parametrize("shared", [False, True])
def test_try_that_is_given_back_was_none(shared: bool, request: pytest.FixtureRequest):
    own = limiter_of(services.redis_url(request.getfixturevalue("server")) if shared else None)
    for _ in range(20):
        own.take(LIMIT, "somebody")()
    assert taken(own) == 5
    assert taken(own, key="somebody else") == 5


@pytest.mark.parametrize("shared", [False, True])
def test_of_many_at_once_the_limit_is_allowed(shared: bool, request: pytest.FixtureRequest):
    url = services.redis_url(request.getfixturevalue("server")) if shared else None
    limiters = [limiter_of(url) for _ in range(4 if shared else 1)]
    with ThreadPoolExecutor(32) as threads:
        assert sum(threads.map(lambda number: taken(limiters[number % len(limiters)], times=5), range(32))) == 5


def test_processes_share_a_count_that_outlives_them(server: Server):
    url = services.redis_url(server)
    assert taken(*(limiter_of(url) for _ in range(4))) == 5
    assert taken(limiter_of(url)) == 0


def test_key_in_redis_expires_with_its_limit(server: Server):
    taken(limiter_of(services.redis_url(server)))
    with redis.Redis(port=server.port) as connection:
        (key,) = connection.keys()
        assert 0 < connection.ttl(key) <= LIMIT.seconds


def test_redis_that_is_away_at_the_start_means_memory_until_it_is_there(
    server: Server, caplog: pytest.LogCaptureFixture
):
    server.stop()
    caplog.set_level(logging.INFO, "authapp.limiter")
    own, other = (limiter_of(services.redis_url(server)) for _ in range(2))
    assert taken(own) == 5
    server.start()
    time.sleep(AWAY_SECONDS)
    # Redis knows of none yet.
    assert taken(own, other) == 5
    assert taken(other) == 0
    assert [record.message for record in caplog.records if "shared" in record.message] == [
        "limits_not_shared",
        "limits_shared_again",
    ]


def test_redis_that_dies_means_memory_until_it_is_back(server: Server):
    own, other = (limiter_of(services.redis_url(server)) for _ in range(2))
    assert taken(own, other) == 5
    server.kill()
    assert (taken(own), taken(other)) == (5, 5)
    assert taken(own, other) == 0
    server.start()
    time.sleep(AWAY_SECONDS)
    assert taken(own, other) == 5
    assert taken(own, other) == 0


def test_connection_that_a_restart_has_cut_is_replaced_at_once(server: Server, caplog: pytest.LogCaptureFixture):
    own, other = (limiter_of(services.redis_url(server)) for _ in range(2))
    assert taken(own, other, times=2) == 2
    server.stop()
    server.start()
    assert taken(own, other) == 5
    assert "limits_not_shared" not in caplog.messages


def test_redis_that_hangs_delays_one_try_and_no_other(server: Server, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(limiter, "_AWAY_SECONDS", 60.0)
    own = limiter_of(services.redis_url(server))
    taken(own, times=1)
    server.freeze()
    try:
        began = time.monotonic()
        assert taken(own) == 5
        # Twice a quarter of a second, once: twenty tries that each waited would take ten.
        assert time.monotonic() - began < 5
    finally:
        server.thaw()


@pytest.mark.parametrize(
    "trouble",
    [("CONFIG", "SET", "maxmemory", "1"), ("REPLICAOF", "127.0.0.1", "1"), ("CONFIG", "SET", "requirepass", "x")],
)
def test_redis_that_refuses_to_write_means_memory(server: Server, trouble: tuple[str, ...]):
    url = services.redis_url(server)
    with redis.Redis(port=server.port) as connection:
        connection.execute_command(*trouble)
    assert taken(limiter_of(url)) == 5


def test_try_is_given_back_where_it_was_counted_though_redis_has_died_since(server: Server):
    own = limiter_of(services.redis_url(server))
    give_back = own.take(LIMIT, "somebody")
    server.kill()
    assert taken(own, times=3) == 3
    give_back()
    assert taken(own) == 2


def test_memory_forgets_what_is_past_and_does_not_grow_without_end(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(limiter, "_MOST_KEYS", 1000)
    own = Limiter(None)
    with time_machine.travel(1_900_000_000, tick=False) as now:
        for number in range(3000):
            own.take(LIMIT, f"key {number}")
        assert len(own._memory[LIMIT.name]._tries) == 1000
        # The latest are kept.
        assert taken(own, key="key 2999") == 4
        now.shift(LIMIT.seconds + 1)
        taken(own, key="another")
        assert len(own._memory[LIMIT.name]._tries) == 1


@pytest.mark.parametrize("flood", ["tries that are refused", "tries of another kind"])
def test_flood_does_not_make_memory_forget_what_was_counted(monkeypatch: pytest.MonkeyPatch, flood: str):
    monkeypatch.setattr(limiter, "_MOST_KEYS", 1000)
    own = Limiter(None)
    assert taken(own) == 5
    for number in range(3000):
        if flood == "tries that are refused":
            # As of a client that has used up its own limit, with ever new addresses.
            own.take(LIMIT, f"key {number}")()
        else:
            own.take(Limit("others", 5, 60), f"key {number}")
    assert taken(own) == 0
