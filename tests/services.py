"""Servers of a test's own, as processes that it may stop, freeze and kill: what all tests share must not suffer so."""

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pymysql
import pytest

_START_SECONDS = 30
_STOP_SECONDS = 20


class Server:
    """A process that can be ended, frozen and started again with what it had written."""

    def __init__(self, command: Sequence[str], *, port: int, log: Path, answers: Callable[[], bool]) -> None:
        self.port = port
        self._command, self._log, self._answers = command, log, answers
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it and wait until it answers."""
        with self._log.open("ab") as output:
            self._process = subprocess.Popen(self._command, stdout=output, stderr=subprocess.STDOUT)
        deadline = time.monotonic() + _START_SECONDS
        while not self._answers():
            if self._process.poll() is not None or time.monotonic() > deadline:
                pytest.fail(f"{self._command[0]} did not start:\n{self._log.read_text()[-2000:]}")
            time.sleep(0.05)

    def stop(self) -> None:
        """End it as an operator does; a second time is no error."""
        self._end(signal.SIGTERM)

    def kill(self) -> None:
        """End it as a power cut does."""
        self._end(signal.SIGKILL)

    def freeze(self) -> None:
        """Let it neither answer nor hang up."""
        self.send(signal.SIGSTOP)

    def thaw(self) -> None:
        """Let it go on."""
        self.send(signal.SIGCONT)

    def send(self, number: int) -> None:
        """Send it a signal."""
        assert self._process is not None
        self._process.send_signal(number)

    def _end(self, number: int) -> None:
        if self._process is None or self._process.poll() is not None:
            return
        self.thaw()
        self.send(number)
        try:
            self._process.wait(_STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()


def program(name: str) -> str:
    """Find a program; without it the test is skipped, or fails where services are required."""
    found = shutil.which(name) or shutil.which(name, path="/usr/sbin:/usr/local/sbin")
    if found:
        return found
    reason = f"{name} is not installed"
    if os.environ.get("REQUIRE_SERVICES") == "1":
        pytest.fail(reason)
    pytest.skip(reason)


@contextmanager
def mariadb(directory: Path, *options: str) -> Iterator[Server]:
    """Run a MariaDB server with an empty database `authapp`, which root may enter without a password."""
    data, port = directory / "mariadb", free_port()
    options = ("--no-defaults", f"--datadir={data}", *([] if os.geteuid() else ["--user=root"]), *options)
    install = [program("mariadb-install-db"), *options, "--skip-test-db", "--auth-root-authentication-method=normal"]
    made = subprocess.run(install, capture_output=True, check=False)
    assert made.returncode == 0, made.stderr.decode()
    command = [program("mariadbd"), *options, f"--socket={data}/sock", f"--port={port}", "--bind-address=127.0.0.1"]
    command.append("--innodb-buffer-pool-size=32M")

    def answers() -> bool:
        with contextlib.suppress(pymysql.MySQLError):
            pymysql.connect(host="127.0.0.1", port=port, user="root", connect_timeout=1).close()
            return True
        return False

    server = Server(command, port=port, log=directory / "mariadb.log", answers=answers)
    with _running(server):
        with pymysql.connect(host="127.0.0.1", port=port, user="root") as connection:
            connection.cursor().execute("CREATE DATABASE authapp CHARACTER SET utf8mb4")
        yield server


def mariadb_url(server: Server) -> str:
    """Give the address of the database `authapp` of this server."""
    return f"mysql+pymysql://root@127.0.0.1:{server.port}/authapp?charset=utf8mb4"


@contextmanager
def redis(directory: Path) -> Iterator[Server]:
    """Run a Redis server that keeps nothing on disk."""
    port = free_port()
    command = [program("redis-server"), "--port", str(port), "--bind", "127.0.0.1", "--save", "", "--dir"]
    with _running(
        Server([*command, str(directory)], port=port, log=directory / "redis.log", answers=lambda: _accepts(port))
    ) as server:
        yield server


@contextmanager
def _running(server: Server) -> Iterator[Server]:
    server.start()
    try:
        yield server
    finally:
        server.stop()


def _accepts(port: int) -> bool:
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
        return True
    return False


def free_port() -> int:
    """Find a port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
