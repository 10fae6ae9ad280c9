"""Where tries are counted: in Redis, for all processes and machines; without it, and while it is away, in memory."""

import logging
import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from threading import Lock
from typing import Protocol

from authapp import clock
from authapp.errors import RateLimitedError

log = logging.getLogger(__name__)

# So long nobody asks a Redis that did not answer.
_AWAY_SECONDS = 5.0
_SWEEP_SECONDS = 60.0
# Of each limit, as much of this process's memory as a flood of clients may take: some tens of megabytes.
_MOST_KEYS = 200_000


@dataclass(frozen=True)
class Limit:
    """At most `most` tries within any `seconds`."""

    name: str
    most: int
    seconds: int


class AwayError(Exception):
    """What counts for all cannot be asked now; its text is the name of what went wrong."""


class Store(Protocol):
    """Where tries are counted."""

    def take(self, limit: Limit, key: str) -> float:
        """Count one try and give 0, or give the seconds until there may be another."""

    def give_back(self, key: str) -> None:
        """Forget the latest try."""


class Shared(Store, Protocol):
    """What counts for all processes; each of its methods may raise `AwayError`."""

    def eviction(self) -> str:
        """Say what is done with keys when its memory is full, as Redis names it."""


class Limiter:
    """The counts of one application."""

    def __init__(self, shared: Shared | None = None) -> None:
        # By the limit's name: a flood of what is cheap to try must not push out the count of what is not.
        self._memory: dict[str, _Memory] = {}
        self._shared = shared
        self._lock = Lock()
        self._away_until: float | None = None

    def take(self, limit: Limit, key: str) -> Callable[[], None]:
        """Count one try, and give what takes it back. Raises `RateLimitedError` where it is one too many."""
        store, wait_seconds = self._take(limit, key)
        if wait_seconds:
            log.info("rate_limited", extra={"limit": limit.name})
            raise RateLimitedError(retry_after_seconds=math.ceil(wait_seconds))
        return partial(self._give_back, store, key)

    def eviction(self) -> str | None:
        """Ask Redis what it does with keys when its memory is full; `None` without a Redis. Raises `AwayError`."""
        return self._shared.eviction() if self._shared else None

    def _take(self, limit: Limit, key: str) -> tuple[Store, float]:
        if self._shared and self._may_ask():
            try:
                wait_seconds = self._shared.take(limit, key)
            except AwayError as error:
                self._leave(error)
            else:
                self._return()
                return self._shared, wait_seconds
        memory = self._memory.setdefault(limit.name, _Memory())
        return memory, memory.take(limit, key)

    def _give_back(self, store: Store, key: str) -> None:
        try:
            store.give_back(key)
        except AwayError as error:
            self._leave(error)

    def _may_ask(self) -> bool:
        """Say whether to ask Redis: while it is away one request does, now and then, and the others need not wait."""
        with self._lock:
            if self._away_until is None:
                return True
            if time.monotonic() < self._away_until:
                return False
            self._away_until = time.monotonic() + _AWAY_SECONDS
            return True

    def _leave(self, error: AwayError) -> None:
        with self._lock:
            is_news, self._away_until = self._away_until is None, time.monotonic() + _AWAY_SECONDS
        if is_news:
            log.warning("limits_not_shared", extra={"error": str(error)})

    def _return(self) -> None:
        with self._lock:
            is_news, self._away_until = self._away_until is not None, None
        if is_news:
            log.info("limits_shared_again")


class _Memory:
    """This process's own memory of one limit. The one of `limits` looks through every key at every try."""

    def __init__(self) -> None:
        self._lock = Lock()
        # By key, in the order of their latest tries: when to forget it, and the times of those tries.
        self._tries: dict[str, tuple[float, list[float]]] = {}
        self._next_sweep = 0.0

    def take(self, limit: Limit, key: str) -> float:
        now = clock.now().timestamp()
        with self._lock:
            self._sweep(now)
            _, times = self._tries.get(key, (0.0, []))
            recent = [tried for tried in times if tried > now - limit.seconds]
            if len(recent) >= limit.most:
                return max(1.0, recent[0] + limit.seconds - now)
            self._tries.pop(key, None)
            self._tries[key] = (now + limit.seconds, [*recent, now])
            return 0

    def give_back(self, key: str) -> None:
        with self._lock:
            _, times = self._tries.get(key, (0.0, []))
            if times:
                times.pop()
            if not times:
                # Else tries that are refused would push out those that count.
                self._tries.pop(key, None)

    def _sweep(self, now: float) -> None:
        if now >= self._next_sweep:
            self._next_sweep = now + _SWEEP_SECONDS
            self._tries = {key: kept for key, kept in self._tries.items() if kept[0] > now}
        while len(self._tries) >= _MOST_KEYS:
            del self._tries[next(iter(self._tries))]
