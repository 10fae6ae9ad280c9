"""Redis, which counts tries for all processes and machines. Loaded only where `REDIS_URL` is set."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import cast

import redis
from limits.storage import RedisStorage
from redis.backoff import NoBackoff
from redis.retry import Retry

from authapp import clock
from authapp.limiter import AwayError, Limit

# A request waits for Redis no longer than this, twice: once more on a new connection.
_SECONDS = 0.25


class RedisCounts:
    """The counts in one Redis; see `limiter.Shared`."""

    def __init__(self, url: str) -> None:
        pool = redis.ConnectionPool.from_url(
            url,
            socket_timeout=_SECONDS,
            socket_connect_timeout=_SECONDS,
            # Once: a connection that a restart of Redis has cut shows only when it is used.
            retry=Retry(NoBackoff(), 1),
        )
        self._redis = redis.Redis(connection_pool=pool)
        self._storage = RedisStorage(url, connection_pool=pool, key_prefix="authapp")

    def take(self, limit: Limit, key: str) -> float:
        """Count one try and give 0, or give the seconds until there may be another."""
        with _asking():
            if self._storage.acquire_entry(key, limit.most, limit.seconds):
                return 0
            oldest, _ = self._storage.get_moving_window(key, limit.most, limit.seconds)
        return max(1.0, oldest + limit.seconds - clock.now().timestamp())

    def give_back(self, key: str) -> None:
        """Forget the latest try."""
        with _asking():
            self._redis.lpop(self._storage.prefixed_key(key))

    def eviction(self) -> str:
        """Say what is done with keys when its memory is full."""
        with _asking():
            # Its types cover asyncio too.
            told = cast("dict[str, str]", self._redis.info("memory"))
        return told["maxmemory_policy"]


@contextmanager
def _asking() -> Iterator[None]:
    try:
        yield
    except redis.RedisError as error:
        raise AwayError(type(error).__name__) from error
