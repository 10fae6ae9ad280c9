"""What is counted: each metric once, with its labels, whose values are names of ours and never what somebody sent."""

import os

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, disable_created_metrics, values


def directory() -> str | None:
    """Give the directory in which the workers of one service keep their numbers; a process alone has none."""
    return os.environ.get("PROMETHEUS_MULTIPROC_DIR")


def _count_as_worker() -> None:
    """Count under the worker's number, not its process id: whoever replaces a dead worker counts on in its files.

    gunicorn gives it the number (`authapp.metrics.workers`).
    """
    worker = os.environ.get("AUTHAPP_WORKER")
    if directory() and worker:
        values.ValueClass = values.MultiProcessValue(lambda: worker)  # type: ignore[no-untyped-call]  # It has no types.


# Before any metric is made.
_count_as_worker()
# A line more of each, of which nothing is made.
disable_created_metrics()  # type: ignore[no-untyped-call]  # It has no types.

REGISTRY = CollectorRegistry()

REQUESTS = Counter(
    "authapp_http_requests",
    "Requests answered; code is the error code, empty for a success.",
    ["method", "route", "status", "code"],
    registry=REGISTRY,
)
REQUEST_SECONDS = Histogram(
    "authapp_http_request_duration_seconds",
    "Time from a request's arrival at the application to its answer.",
    ["route"],
    registry=REGISTRY,
    buckets=(0.01, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10),
)
HASH_WAITING = Gauge(
    "authapp_password_hash_waiting",
    "Requests that wait for a password hash.",
    registry=REGISTRY,
    multiprocess_mode="livesum",
)
HASH_WAIT_SECONDS = Histogram(
    "authapp_password_hash_wait_seconds",
    "Time that a request waited for its password hash to begin.",
    registry=REGISTRY,
    buckets=(0.01, 0.1, 0.25, 0.5, 1, 2.5, 5, 10),
)
HASHES_REFUSED = Counter(
    "authapp_password_hashes_refused", "Requests refused with SERVER_BUSY.", ["reason"], registry=REGISTRY
)
RATE_LIMITED = Counter("authapp_rate_limited", "Tries past a limit.", ["limit"], registry=REGISTRY)
TOKENS_REFUSED = Counter("authapp_tokens_refused", "Tokens that were refused.", ["code"], registry=REGISTRY)
LOGINS = Counter(
    "authapp_logins", "Sessions started (success), and logins refused, by error code.", ["result"], registry=REGISTRY
)
SESSIONS_ENDED = Counter("authapp_sessions_ended", "Sessions ended before their time.", ["reason"], registry=REGISTRY)
EVENTS = Counter("authapp_events", "Lines of the log, by event.", ["event"], registry=REGISTRY)
