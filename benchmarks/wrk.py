"""A light client: wrk (Debian's package), which takes a fraction of what the service takes."""

import re
import shutil
import subprocess
from dataclasses import dataclass

CONNECTIONS = 8
_UNITS = {"us": 0.001, "ms": 1.0, "s": 1000.0, "m": 60_000.0}


@dataclass(frozen=True)
class Heard:
    """What wrk met: answers, those that were no success or none at all, the 99th percentile in ms, and how long."""

    answers: int
    failures: int
    p99: float
    seconds: float

    @property
    def rate(self) -> float:
        """Answers a second."""
        return self.answers / self.seconds


def ask(
    url: str, token: str, seconds: float, *, connections: int = CONNECTIONS, header: str = "Authorization: Bearer "
) -> Heard:
    """Ask for this again and again, over several connections, as fast as it is answered; the token follows `header`."""
    program = shutil.which("wrk")
    if program is None:
        raise SystemExit("wrk is not here, which asks for `GET me`: apt-get install wrk.")
    command = [program, "-t1", f"-c{connections}", f"-d{seconds:g}s", "--latency", "--timeout", "10s"]
    if token:
        command += ["-H", header + token]
    done = subprocess.run([*command, url], capture_output=True, text=True, check=True)  # noqa: S603  # It is ours.
    return read(done.stdout)


def read(text: str) -> Heard:
    """Read what wrk printed."""
    total = re.search(r"(\d+) requests in ([\d.]+)(us|ms|s|m)", text)
    slowest = re.search(r"99%\s+([\d.]+)(us|ms|s|m)", text)
    if not total or not slowest:
        raise ValueError(f"wrk printed something else: {text}")
    refused = re.search(r"Non-2xx or 3xx responses: (\d+)", text)
    broken = re.search(r"Socket errors: connect (\d+), read (\d+), write (\d+), timeout (\d+)", text)
    failures = int(refused[1]) if refused else 0
    failures += sum(map(int, broken.groups())) if broken else 0
    seconds = float(total[2]) * _UNITS[total[3]] / 1000
    return Heard(int(total[1]), failures, float(slowest[1]) * _UNITS[slowest[2]], seconds)
