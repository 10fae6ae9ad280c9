"""Backup and restore as docs/deploy.md prints them, while somebody is signed in, and what comes back with them."""

import os
import re
import secrets
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import httpx
import pytest

from tests.factories import ALICE, BOB, PASSWORD
from tests.server.conftest import serving
from tests.services import lacking

pytestmark = pytest.mark.long

REGISTER = "/api/auth/register"


def commands(root: Path, section: str, kind: str) -> list[str]:
    """Give the lines of a section's blocks of this kind."""
    text = (root / "docs/deploy.md").read_text().partition(f"\n## {section}\n")[2].partition("\n## ")[0]
    blocks = re.findall(rf"^```{kind}\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    return [line for block in blocks for line in block.splitlines()]


@pytest.fixture
def here(root: Path, tmp_path: Path) -> Path:
    """A checkout of its own."""
    for name in ("authapp", "migrations"):
        shutil.copytree(root / name, tmp_path / name, symlinks=True, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("wsgi.py", "gunicorn.conf.py"):
        shutil.copy(root / name, tmp_path)
    (tmp_path / ".venv").symlink_to(Path(sys.executable).parent.parent)
    (tmp_path / "instance").mkdir()
    return tmp_path


def walk(
    here: Path, settings: dict[str, str], run: Callable[[str], None], backup: list[str], restore: list[str]
) -> None:
    """Back up between two registrations and before a logout, restore, and see who is there and who is signed in."""
    run(".venv/bin/flask --app wsgi db upgrade")
    with serving(here, settings, here) as service, httpx.Client(base_url=service.address) as client:
        tokens = client.post(REGISTER, json={"email": ALICE, "password": PASSWORD}).json()["data"]
        signed_in = {"Authorization": f"Bearer {tokens['access_token']}"}
        for line in backup:
            run(line)
        assert client.post(REGISTER, json={"email": BOB, "password": PASSWORD}).status_code == 201
        assert client.post("/api/auth/logout", headers=signed_in).status_code == 200
        assert client.get("/api/auth/me", headers=signed_in).status_code == 401
    for line in restore:
        run(line)
    with serving(here, settings, here) as service, httpx.Client(base_url=service.address) as client:
        assert client.get("/api/auth/me", headers=signed_in).status_code == 200
        login = {"password": PASSWORD}
        assert client.post("/api/auth/login", json={"email": BOB, **login}).status_code == 401
        assert client.post("/api/auth/login", json={"email": ALICE, **login}).status_code == 200
    new_secret = {**settings, "SECRET_KEY": secrets.token_urlsafe(48)}
    with serving(here, new_secret, here) as service, httpx.Client(base_url=service.address) as client:
        assert client.get("/api/auth/me", headers=signed_in).status_code == 401
        assert client.post("/api/auth/login", json={"email": ALICE, **login}).status_code == 200


def settings_of(**others: str) -> dict[str, str]:
    return {
        "APP_ENV": "production",
        "SECRET_KEY": secrets.token_urlsafe(48),
        "AUTH_PUBLIC_URL": "https://auth.example.org",
        "AUTH_REQUIRE_VERIFIED_EMAIL": "false",
        **others,
    }


def runner(here: Path, settings: dict[str, str]) -> Callable[[str], None]:
    def run(line: str) -> None:
        environment = {"PATH": os.environ["PATH"], "HOME": str(here), **settings}
        subprocess.run(["bash", "-euc", line], cwd=here, env=environment, check=True, timeout=120)

    return run


def test_backup_of_sqlite_brings_back_what_was_there(root: Path, here: Path):
    settings = settings_of()
    walk(here, settings, runner(here, settings), commands(root, "Backup", "sh"), commands(root, "Restore", "sh"))
    assert (here / "instance" / "authapp.db").stat().st_mode & 0o777 == 0o600


def test_backup_of_mariadb_brings_back_what_was_there(root: Path, here: Path, mysql_url: str):
    if not shutil.which("mariadb-dump"):
        lacking("there is no mariadb-dump")
    # As printed but for the name of the database, and how its server is reached.
    name = mysql_url.rpartition("/")[2].partition("?")[0]
    (here / ".my.cnf").write_text("[client]\nhost=127.0.0.1\nuser=root\n")
    settings = settings_of(DATABASE_URL=mysql_url)
    run = runner(here, settings)
    backup, restore = (
        [re.sub(r"\bauth\b(?!/)", name, line) for line in lines]
        for lines in (commands(root, "Backup", "console"), commands(root, "Restore", "console"))
    )
    walk(here, settings, run, backup, [f"mariadb -e 'DROP DATABASE {name}'", *restore])
