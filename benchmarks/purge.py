"""While a million expired rows are purged, are those who are signed in still served? `GET me` within twice its time.

    make bench-purge
    .venv/bin/python -m benchmarks.purge --rows 100000 --seconds 5 --database sqlite

Starts the real service (gunicorn, two workers) on SQLite and, where one answers, on MariaDB, with a million rows past
their time: nine of ten are revoked tokens, the others sessions and the networks of their users. Ten connections ask for
`GET me` at a hundred a second: an answer's time counts from the moment its request was due. They do so while nothing
else happens, then until `flask auth purge`, a process of its own, is over, and once more while nothing else happens:
the quieter of the two is what counts as idle, since MariaDB may still have to do with what filled it, or with what was
deleted. The purge's resident memory is looked at all the while. Exits with 1 where a request failed, or where a goal is
missed.
"""

import json
import multiprocessing
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from benchmarks import filling, login_storm
from benchmarks.login_storm import Heard, Span, percentile
from benchmarks.people import ME
from benchmarks.service import ROOT, watched_service
from benchmarks.setting import Given, main_of, prepared
from benchmarks.table import Figure

SECONDS, WORKERS = 20.0, 2
MOST_TIMES_IDLE = 2.0
MOST_GROWTH = 1.10
"""How many times as much memory a purge may need at its peak as it had after the first tenth of its time."""
SLICE_SECONDS = 2.0
_SAMPLE_SECONDS = 0.1
# As long as it may take to start a process of Python's that imports all of it.
_UNDER_WAY_SECONDS = 1.5
_KIB = 1024


@dataclass
class Purged:
    """What was met on one database."""

    idle: Heard
    purging: Heard
    rows: int
    seconds: float
    resident: list[int]
    """Of the purge, in KiB, every tenth of a second."""

    @property
    def times_idle(self) -> float:
        """Say how many times as long as on the idle service the slowest hundredth of `GET me` took at least."""
        return percentile(self.purging, 99) / percentile(self.idle, 99)

    @property
    def first(self) -> int:
        """Give its resident memory after a tenth of its time: by then all is imported, and rows are deleted."""
        return self.resident[len(self.resident) // 10]

    @property
    def growth(self) -> float:
        """Say how many times as much memory the purge had at its peak as at first."""
        return max(self.resident) / self.first


def look(port: int, token: str, span: Span) -> Heard:
    """Ask for `GET me` at a fixed rate; a process of its own runs this."""
    return login_storm.look(port, token, span)[ME]


@contextmanager
def purge(settings: dict[str, str]) -> Iterator["subprocess.Popen[str]"]:
    """Start the command."""
    command = [sys.executable, "-m", "flask", "--app", "wsgi", "auth", "purge", "--json"]
    with subprocess.Popen(  # noqa: S603  # The command is ours.
        command, cwd=ROOT, env={"PATH": os.environ["PATH"], **settings}, stdout=subprocess.PIPE, text=True
    ) as process:
        try:
            yield process
        finally:
            process.kill()


def measure(url: str, given: Given) -> list[Figure]:
    """Measure on one empty database."""
    return figures(given.kind, met_on(url, rows=given.rows, seconds=given.seconds))


def met_on(url: str, *, rows: int, seconds: float) -> Purged:
    """Fill an empty database, and purge it while others ask; the service is idle for so many seconds, too."""
    settings = prepared(url)
    filling.fill(url, users=rows // 20, tokens=rows - 2 * (rows // 20), expired=True)
    os.sync()
    context = multiprocessing.get_context("spawn")
    with (
        watched_service(settings, workers=WORKERS) as (port, _),
        ProcessPoolExecutor(1, mp_context=context) as clients,
    ):
        token = login_storm.token_of(port)
        # What is not counted starts the threads of the service, and the client's process.
        clients.submit(look, port, token, _span(2.0)).result()
        before = clients.submit(look, port, token, _span(seconds / 2)).result()
        with purge(settings) as process:
            met = _watch(process, clients, port, token)
        after = clients.submit(look, port, token, _span(seconds / 2)).result()
        met.idle = min(before, after, key=lambda heard: percentile(heard, 99))
        met.idle.failures = before.failures + after.failures
        return met


def _watch(process: "subprocess.Popen[str]", clients: ProcessPoolExecutor, port: int, token: str) -> Purged:
    """Ask, slice by slice, until the purge is over; only whole slices within it count."""
    began, met, resident = time.monotonic(), Heard(), []
    time.sleep(_UNDER_WAY_SECONDS)
    while process.poll() is None:
        asked = clients.submit(look, port, token, _span(SLICE_SECONDS, start=0.2))
        while process.poll() is None and not asked.done():
            resident += _resident(process.pid)
            ended = time.monotonic()
            time.sleep(_SAMPLE_SECONDS)
        if process.poll() is None or not met.milliseconds:
            met.add(asked.result())
    out, _ = process.communicate()
    if process.returncode:
        raise SystemExit("The purge failed.")
    return Purged(Heard(), met, sum(json.loads(out).values()), ended - began, resident)


def _span(seconds: float, *, start: float = 1.5) -> Span:
    begin = time.monotonic() + start
    return Span(begin, begin + seconds)


def _resident(pid: int) -> list[int]:
    """Give a process's resident memory in KiB; nothing once it has ended."""
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except OSError:
        return []
    return [int(line.split()[1]) for line in lines if line.startswith("VmRSS:")]


def figures(database: str, met: Purged) -> list[Figure]:
    """Say what was met on one kind of database."""
    idle, purging = percentile(met.idle, 99), percentile(met.purging, 99)
    failed = len(met.idle.failures) + len(met.purging.failures)
    for failure in (met.idle.failures + met.purging.failures)[:5]:
        print(f"  FAILED: {failure}")
    mib = [size / _KIB for size in (met.first, max(met.resident))]
    name = f"purge of {met.rows:,} rows, {database}"
    return [
        Figure(
            f"{name}: p99 of GET me",
            f"<= {MOST_TIMES_IDLE:.1f}x idle",
            f"{idle:.1f} ms",
            f"{met.times_idle:.1f}x ({purging:.1f} ms, {failed} of {len(met.purging.milliseconds)} failed)",
            met.times_idle <= MOST_TIMES_IDLE and not failed,
        ),
        Figure(
            f"{name}: resident memory",
            f"<= {MOST_GROWTH:.2f}x",
            f"{mib[0]:.0f} MiB at first",
            f"{met.growth:.2f}x ({mib[1]:.0f} MiB)",
            met.growth <= MOST_GROWTH,
        ),
        Figure(f"{name}: rows a second", "", "", f"{met.rows / met.seconds:,.0f}"),
    ]


if __name__ == "__main__":
    sys.exit(main_of(__doc__, measure, rounds=1, seconds=SECONDS))
