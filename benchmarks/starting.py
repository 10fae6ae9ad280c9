"""A start, and what a worker takes of memory, against Flask with the same extensions and nothing else (`bare_app.py`).

    make bench-starting
    .venv/bin/python -m benchmarks.starting --rounds 3 --database sqlite

Each is started under gunicorn with one worker, by turns, and asked for `/healthz` until it answers. The time to load is
the processor's time of an interpreter that imports the application and ends. The memory is the worker's resident set
after a hundred answers.
"""

import http.client
import os
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from benchmarks.service import ROOT, free_port, process
from benchmarks.setting import Given, main_of, prepared
from benchmarks.table import Figure

MOST_START, MOST_MEMORY = 1.5, 1.4
START_SECONDS, ANSWERS = 30, 100


@dataclass(frozen=True)
class Start:
    """A start: seconds to the first answer, seconds of processor to load the application, and MiB of a worker."""

    seconds: float
    load: float
    memory: float


def start(module: str, environment: dict[str, str], config: Path | None) -> Start:
    """Start an application; without a `config` gunicorn takes ours."""
    port = free_port()
    command = [sys.executable, "-m", "gunicorn", "--workers", "1", "--log-level", "warning", f"{module}:app"]
    if config:
        command += ["--config", str(config), "--worker-class", "gthread", "--threads", "64"]
        command += ["--bind", f"127.0.0.1:{port}"]
    began = time.monotonic()
    with process(command, {**environment, "BIND": f"127.0.0.1:{port}"}) as pid:
        _ask(port, until=began + START_SECONDS)
        took = time.monotonic() - began
        for _ in range(ANSWERS):
            _ask(port, until=began + START_SECONDS)
        (worker,) = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
        pages = int(Path(f"/proc/{worker}/statm").read_text().split()[1])
    return Start(took, _load(module, environment), pages * os.sysconf("SC_PAGESIZE") / 2**20)


def _ask(port: int, *, until: float) -> None:
    while time.monotonic() < until:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=START_SECONDS)
        try:
            connection.request("GET", "/healthz")
            if connection.getresponse().read():
                return
        except OSError:
            time.sleep(0.005)
        finally:
            connection.close()
    raise SystemExit("It did not start.")


def _load(module: str, environment: dict[str, str]) -> float:
    """Give the seconds of processor that an interpreter takes to import this."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    command = [sys.executable, "-c", f"import {module}"]
    subprocess.run(command, cwd=ROOT, env={"PATH": os.environ["PATH"], **environment}, check=True)  # noqa: S603  # Ours.
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def measure(url: str, given: Given) -> list[Figure]:
    """Measure on one empty database."""
    # As `make run` starts it: else the settings are tried in a process of their own first.
    settings = prepared(url)
    with TemporaryDirectory() as directory:
        plain = Path(directory) / "gunicorn.conf.py"
        plain.touch()
        rounds = [
            (start("benchmarks.bare_app", settings, plain), start("wsgi", settings, None)) for _ in range(given.rounds)
        ]
    found = []
    told: tuple[tuple[str, str, float | None, Callable[[Start], float]], ...] = (
        ("start to the first answer, s", "{:.2f}", MOST_START, lambda one: one.seconds),
        ("processor to load it, s", "{:.2f}", None, lambda one: one.load),
        ("memory of a worker, MiB", "{:.0f}", MOST_MEMORY, lambda one: one.memory),
    )
    for name, form, most, of in told:
        bare, ours = (statistics.median(of(pair[place]) for pair in rounds) for place in (0, 1))
        times = statistics.median(of(second) / of(first) for first, second in rounds)
        goal = f"<= {most:g} times" if most else ""
        said = f"{form.format(ours)}: {times:.2f} times"
        found.append(
            Figure(f"{name} ({given.kind})", goal, form.format(bare), said, None if most is None else times <= most)
        )
    return found


if __name__ == "__main__":
    sys.exit(main_of(__doc__, measure, rounds=5, seconds=0))
