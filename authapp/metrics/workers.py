"""Where the workers of a service count, and under which numbers: hooks for gunicorn.

gunicorn.conf.py runs this file by itself, in a process without the application: nothing of ours may be imported here.
"""

import fcntl
import itertools
import os
import shutil
import tempfile
from pathlib import Path
from typing import Any

# More than all that a worker ever counts.
_LEAST_FREE_BYTES = 8 * 2**20


def pre_fork(server: Any, worker: Any) -> None:
    """Give a worker the lowest number that no living one has: there are never more files than there were workers."""
    if not hasattr(server, "metrics"):
        _make_directory(server)
    # An arbiter that has taken on this version by a SIGHUP has older workers.
    taken = {getattr(other, "number", 0) for other in server.WORKERS.values()}
    worker.number = next(number for number in itertools.count(1) if number not in taken)


def _make_directory(server: Any) -> None:
    server.metrics = tempfile.mkdtemp(prefix="authapp-metrics-", dir=os.environ.get("RUNTIME_DIRECTORY"))
    # What tidies up /tmp leaves alone what is locked.
    server.metrics_lock = os.open(server.metrics, os.O_RDONLY)
    fcntl.flock(server.metrics_lock, fcntl.LOCK_SH)


def on_exit(server: Any) -> None:
    """Take the numbers away with the service."""
    if hasattr(server, "metrics"):
        shutil.rmtree(server.metrics, ignore_errors=True)


def post_fork(server: Any, worker: Any) -> None:
    """Tell the worker where to count, before it loads the application.

    The arbiter's own environment has none of this: a trial of the settings must not count along. On a disk that is full
    a worker counts by itself: its files are mapped, and a page that cannot be had would kill it (SIGBUS).
    """
    if shutil.disk_usage(server.metrics).free < _LEAST_FREE_BYTES:
        server.log.warning("There is no room in %s: a /metrics would have this worker's numbers only.", server.metrics)
        return
    os.environ["PROMETHEUS_MULTIPROC_DIR"] = server.metrics
    os.environ["AUTHAPP_WORKER"] = str(worker.number)


def child_exit(server: Any, worker: Any) -> None:
    """Forget what a dead worker had in hand; what it counted stays, and its successor counts on."""
    if not hasattr(server, "metrics"):
        # An arbiter that has just taken on this version by a SIGHUP.
        return
    for gauge in Path(server.metrics).glob(f"gauge_live*_{getattr(worker, 'number', 0)}.db"):
        gauge.unlink()
