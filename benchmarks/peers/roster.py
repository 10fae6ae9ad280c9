"""Who is compared: how each is installed, started and filled, and where it has its routes."""

import json
import os
import secrets
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from urllib.parse import urlencode

from sqlalchemy.engine import make_url

from benchmarks import people
from benchmarks.service import ROOT, free_port, process, wait_for, watched_service
from benchmarks.setting import prepared

WORKERS = 2
THREADS = ("--threads", "8")
"""The most that gunicorn's pages advise for two cores, and as many as there are connections."""
Asked = tuple[str, dict[str, str], bytes]
"""A request that posts something: path, headers and body."""
Steps = tuple[str, ...]
"""Where something stands in an answer: the names that lead to it."""


@dataclass(frozen=True)
class Peer:
    """Somebody who signs people in."""

    name: str
    me: str
    login: str
    access: Steps
    refresh: str = ""
    """Where tokens are refreshed; empty where there are no refresh tokens."""
    rotated: Steps = ()
    """Where the refresh token stands in the answers of login and refresh."""
    email_field: str = "email"
    refresh_field: str = "refresh_token"
    is_form: bool = False
    header: str = "Authorization"
    scheme: str = "Bearer "
    module: str = ""
    """The application beside this file; empty for authapp, which is the service itself."""
    packages: tuple[str, ...] = ()
    """What PyPI is asked for; the first is the peer."""
    options: tuple[str, ...] = THREADS
    drivers: tuple[str, str] = ("sqlite", "mysql+pymysql")
    """How its `DATABASE_URL` begins on SQLite and on MariaDB."""

    def to_log_in(self, email: str) -> Asked:
        """Give the request that logs in."""
        fields = {self.email_field: email, "password": people.PASSWORD}
        if self.is_form:
            return self.login, {"Content-Type": "application/x-www-form-urlencoded"}, urlencode(fields).encode()
        return self.login, {"Content-Type": "application/json"}, json.dumps(fields).encode()

    def to_refresh(self, token: str) -> Asked:
        """Give the request that changes this refresh token for another."""
        return self.refresh, {"Content-Type": "application/json"}, json.dumps({self.refresh_field: token}).encode()

    def signed(self, token: str) -> dict[str, str]:
        """Give the headers of a request by whoever has this access token."""
        return {self.header: self.scheme + token}


def found(answer: bytes, steps: Steps) -> str:
    """Give what stands there in an answer in JSON."""
    here = json.loads(answer)
    for step in steps:
        here = here[step]
    return str(here)


AUTHAPP = Peer(
    name="authapp",
    me=people.ME,
    login=f"{people.PREFIX}/login",
    access=("data", "access_token"),
    refresh=f"{people.PREFIX}/refresh",
    rotated=("data", "refresh_token"),
)
FLASK_SECURITY = Peer(
    name="flask-security",
    me="/me",
    login="/login?include_auth_token",
    access=("response", "user", "authentication_token"),
    refresh="/refresh-token",
    rotated=("response", "user", "refresh_token"),
    header="Authentication-Token",
    scheme="",
    module="flask_security_app",
    packages=("Flask-Security-Too[common,fsqla]", "PyMySQL", "gunicorn"),
)
FASTAPI_USERS = Peer(
    name="fastapi-users",
    me="/users/me",
    login="/login",
    access=("access_token",),
    email_field="username",
    is_form=True,
    module="fastapi_users_app",
    packages=(
        *("fastapi-users[sqlalchemy]", "aiosqlite", "asyncmy"),
        *("gunicorn", "uvicorn[standard]", "uvicorn-worker"),
    ),
    options=("--worker-class", "uvicorn_worker.UvicornWorker"),
    drivers=("sqlite+aiosqlite", "mysql+asyncmy"),
)
SIMPLEJWT = Peer(
    name="simplejwt",
    me="/me",
    login="/api/token/",
    access=("access",),
    refresh="/api/token/refresh/",
    rotated=("refresh",),
    email_field="username",
    refresh_field="refresh",
    module="simplejwt_app",
    packages=("djangorestframework-simplejwt", "Django", "PyMySQL", "gunicorn"),
    drivers=("sqlite", "mysql"),
)
PEERS = {peer.name: peer for peer in (AUTHAPP, FLASK_SECURITY, FASTAPI_USERS, SIMPLEJWT)}


def install(peer: Peer) -> None:
    """Make the peer's virtual environment, unless it has one with these packages."""
    if not peer.packages:
        return
    home, wanted = ROOT / f".venv-peers-{peer.name}", "\n".join(peer.packages)
    mark = home / "done"
    if not (mark.exists() and mark.read_text() == wanted):
        print(f"Installing {peer.name} into {home.name}.", flush=True)
        python, quiet = home / "bin/python", ("-q", "--disable-pip-version-check")
        subprocess.run([sys.executable, "-m", "venv", "--clear", home], check=True)  # noqa: S603  # Ours.
        subprocess.run([python, "-m", "pip", "install", *quiet, *peer.packages], check=True)  # noqa: S603  # Ours.
        mark.write_text(wanted)


def version(peer: Peer) -> str:
    """Say which version of a peer is compared."""
    if not peer.packages:
        return f"{peer.name}, of this checkout"
    package = peer.packages[0].partition("[")[0]
    code = f"from importlib.metadata import version; print(version({package!r}))"
    told = subprocess.run([_python(peer), "-c", code], check=True, capture_output=True, text=True)  # noqa: S603  # Ours.
    return f"{package} {told.stdout.strip()}"


@contextmanager
def serve(peer: Peer, address: str) -> Iterator[tuple[int, int]]:
    """Fill this empty database with accounts, and run the peer on it; give its port and the id of its first process."""
    if not peer.packages:
        with watched_service(prepared(address), workers=WORKERS) as running:
            yield running
        return
    url = make_url(address)
    if is_file := url.get_backend_name() == "sqlite":
        # That readers need not wait for writers is a property of the file, and authapp sees to it by itself.
        with closing(sqlite3.connect(str(url.database))) as connection:
            connection.execute("PRAGMA journal_mode = WAL")
    where = url.set(drivername=peer.drivers[not is_file]).render_as_string(hide_password=False)
    environment = {"SECRET_KEY": secrets.token_urlsafe(48), "DATABASE_URL": where}
    application, port = f"{__package__}.{peer.module}", free_port()
    emails = [people.address(number) for number in range(people.ACCOUNTS)]
    fill = [_python(peer), "-m", application, people.PASSWORD, *emails]
    subprocess.run(fill, check=True, cwd=ROOT, env={"PATH": os.environ["PATH"], **environment})  # noqa: S603  # Ours.
    # The package has no settings of gunicorn's; without it gunicorn would read those of authapp, which lie there.
    common = ["--config", f"python:{__package__}", "--log-level", "warning", "--keep-alive", "5"]
    bound = ["--bind", f"127.0.0.1:{port}", "--workers", str(WORKERS)]
    command = [_python(peer), "-m", "gunicorn", *common, *bound, *peer.options, f"{application}:app"]
    with process(command, environment) as pid:
        wait_for(port)
        yield port, pid


def _python(peer: Peer) -> str:
    return str(ROOT / f".venv-peers-{peer.name}" / "bin" / "python")
