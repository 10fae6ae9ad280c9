"""Servers of a test's own, as processes that it may stop, freeze and kill: what all tests share must not suffer so."""

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NoReturn

import pymysql
import pytest

_START_SECONDS = 30
_STOP_SECONDS = 20


class Server:
    """A process, with those that it starts, that can be ended, frozen and started again with what it had written."""

    def __init__(
        self,
        command: Sequence[str],
        *,
        port: int,
        log: Path,
        answers: Callable[[], bool],
        environment: Mapping[str, str] | None = None,
    ) -> None:
        self.port = port
        self._command, self._log, self._answers, self._environment = command, log, answers, environment
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it and wait until it answers."""
        with self._log.open("ab") as output:
            self._process = subprocess.Popen(
                self._command, env=self._environment, stdout=output, stderr=subprocess.STDOUT, start_new_session=True
            )
        deadline = time.monotonic() + _START_SECONDS
        while not self._answers():
            if self._process.poll() is not None or time.monotonic() > deadline:
                pytest.fail(f"{self._command[0]} did not start:\n{self._log.read_text()[-2000:]}")
            time.sleep(0.05)

    def stop(self) -> None:
        """End it as an operator does; a second time is no error."""
        if self._process is None:
            return
        self.thaw()
        self._process.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(_STOP_SECONDS)
        self.kill()

    def kill(self) -> None:
        """End it, and what it has started, as a power cut does."""
        if self._process is not None:
            self.send(signal.SIGKILL)
            self._process.wait()
            self._process = None

    def freeze(self) -> None:
        """Let it neither answer nor hang up."""
        self.send(signal.SIGSTOP)

    def thaw(self) -> None:
        """Let it go on."""
        self.send(signal.SIGCONT)

    def send(self, number: int) -> None:
        """Send a signal to it and to what it has started; once all of that is gone, it is no error."""
        assert self._process is not None
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, number)


def program(name: str) -> str:
    """Find a program; without it the test is skipped, or fails where services are required."""
    return shutil.which(name) or shutil.which(name, path="/usr/sbin:/usr/local/sbin") or lacking(f"no {name} here")


def lacking(reason: str) -> NoReturn:
    """Skip a test that this machine has not all for, or fail it where services are required."""
    if os.environ.get("REQUIRE_SERVICES") == "1":
        pytest.fail(reason)
    pytest.skip(reason)


@contextmanager
def mariadb(directory: Path, *options: str, host: str | None = None) -> Iterator[Server]:
    """Run a MariaDB server with an empty database `authapp`, which root may enter without a password.

    It listens at this address too, for machines that are not this one.
    """
    data, port = directory / "mariadb", free_port()
    options = ("--no-defaults", f"--datadir={data}", *([] if os.geteuid() else ["--user=root"]), *options)
    install = [program("mariadb-install-db"), *options, "--skip-test-db", "--auth-root-authentication-method=normal"]
    made = subprocess.run(install, capture_output=True, check=False)
    assert made.returncode == 0, made.stderr.decode()
    command = [
        program("mariadbd"),
        *options,
        f"--socket={data}/sock",
        f"--port={port}",
        "--innodb-buffer-pool-size=32M",
    ]
    command.append("--bind-address=" + ",".join(["127.0.0.1", *([host] if host else [])]))
    # The name of another machine nobody could tell it, and it would wait for that.
    command += ["--skip-name-resolve"] if host else []

    def answers() -> bool:
        with contextlib.suppress(pymysql.MySQLError):
            pymysql.connect(host="127.0.0.1", port=port, user="root", connect_timeout=1).close()
            return True
        return False

    server = Server(command, port=port, log=directory / "mariadb.log", answers=answers)
    with running(server):
        with pymysql.connect(host="127.0.0.1", port=port, user="root") as connection:
            cursor = connection.cursor()
            cursor.execute("CREATE DATABASE authapp CHARACTER SET utf8mb4")
            if host:
                cursor.execute("CREATE USER root@'%'")
                cursor.execute("GRANT ALL ON *.* TO root@'%'")
        yield server


def mariadb_url(server: Server, *, host: str = "127.0.0.1") -> str:
    """Give the address of the database `authapp` of this server."""
    return f"mysql+pymysql://root@{host}:{server.port}/authapp?charset=utf8mb4"


@contextmanager
def redis(directory: Path, *, host: str | None = None) -> Iterator[Server]:
    """Run a Redis server that keeps nothing on disk; it listens at this address too."""
    port = free_port()
    command = [program("redis-server"), "--port", str(port), "--save", "", "--dir", str(directory)]
    command += ["--bind", "127.0.0.1", *([host, "--protected-mode", "no"] if host else [])]
    server = Server(command, port=port, log=directory / "redis.log", answers=lambda: accepts(port))
    with running(server):
        yield server


def redis_url(server: Server) -> str:
    """Give the address of this server."""
    return f"redis://127.0.0.1:{server.port}/0"


@contextmanager
def running(server: Server) -> Iterator[Server]:
    """Run a server until the block is left, also where it does not come to answer."""
    try:
        server.start()
        yield server
    finally:
        server.stop()


def accepts(port: int, host: str = "127.0.0.1") -> bool:
    """Say whether somebody listens on this port."""
    with contextlib.suppress(OSError), socket.create_connection((host, port), timeout=1):
        return True
    return False


def free_port() -> int:
    """Find a port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
