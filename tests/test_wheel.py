"""The wheel, as somebody uses it who never saw the repository: installed, in an empty directory, with nothing set."""

import subprocess
import sys
import sysconfig
import zipfile
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest

import authapp
from tests.server.conftest import serving
from tests.services import free_port

pytestmark = pytest.mark.long

HOST = """
from flask import Flask

from authapp import init_app
from authapp.protect import current_user, login_required
from authapp.users import create_user

app = Flask(__name__)
init_app(app)


@app.get("/hello")
@login_required
def hello() -> str:
    return f"Hello {current_user.email}"


def robot() -> str:
    return create_user("robot@example.com", "copper-lantern-42-hums").email
"""


@dataclass(frozen=True)
class Installed:
    """A virtual environment with the wheel in it, and an empty directory to work in."""

    bin: Path
    here: Path
    wheel: Path

    def run(self, *command: str, **settings: str) -> "subprocess.CompletedProcess[str]":
        """Run a command of the environment, with these settings and no others."""
        return subprocess.run(
            command,
            cwd=self.here,
            env=self.environment(**settings),
            input="violet-tractor-19-sings\n",
            capture_output=True,
            text=True,
            check=False,
            timeout=120,
        )

    def environment(self, **settings: str) -> dict[str, str]:
        """Give the variables of a shell in which the environment is activated."""
        return {"PATH": f"{self.bin}:/usr/bin:/bin", **settings}


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Installed:
    """Build the source distribution, the wheel from that, and install it beside the packages of this environment."""
    root, folder = Path(__file__).parent.parent, tmp_path_factory.mktemp("wheel")
    subprocess.run(
        [sys.executable, "-m", "build", "--outdir", folder, root], check=True, timeout=300, capture_output=True
    )
    (wheel,) = folder.glob("authapp-*.whl")
    subprocess.run([sys.executable, "-m", "venv", folder / "venv"], check=True, timeout=120)
    scripts = folder / "venv" / "bin"
    subprocess.run([scripts / "pip", "install", "-q", "--no-deps", wheel], check=True, timeout=120)
    (packages,) = (folder / "venv" / "lib").glob("python*/site-packages")
    # What authapp needs was installed, by the same pins, for these tests.
    (packages / "others.pth").write_text(sysconfig.get_path("purelib"))
    for name in ("flask", "gunicorn"):
        program = f"#!{scripts / 'python'}\nfrom {name}.__main__ import *\n"
        (scripts / name).write_text(program + ("main()\n" if name == "flask" else "run(prog='gunicorn')\n"))
        (scripts / name).chmod(0o755)
    here = folder / "empty"
    here.mkdir()
    return Installed(scripts, here, wheel)


def test_nothing_that_git_knows_of_the_package_is_missing_from_the_wheel(installed: Installed, root: Path):
    known = subprocess.run(["git", "ls-files", "authapp"], cwd=root, capture_output=True, text=True, check=True)
    named = {name for name in known.stdout.splitlines() if name != "authapp/migrations"}
    migrations = {f"authapp/{file.relative_to(root)}" for file in (root / "migrations").rglob("*.*") if file.is_file()}
    packed = set(zipfile.ZipFile(installed.wheel).namelist())
    assert named | {name for name in migrations if not name.endswith(".pyc")} <= packed
    assert not [name for name in packed if not name.startswith(("authapp/", "authapp-")) or name.endswith(".pyc")]


def test_commands_work_in_an_empty_directory_and_keep_what_they_make_there(installed: Installed):
    done = installed.run("flask", "--app", "authapp", "db", "upgrade", APP_ENV="development")
    assert done.returncode == 0, done.stderr
    create = ("flask", "--app", "authapp", "auth", "create-user", "alice@example.org", "--password-stdin")
    done = installed.run(*create, APP_ENV="development")
    assert (done.returncode, done.stdout[:22]) == (0, "Made alice@example.org"), done.stderr
    assert sorted(path.name for path in installed.here.iterdir()) == ["instance"]
    assert {path.name for path in (installed.here / "instance").iterdir()} == {"authapp.db", "development-secret"}
    assert not list(installed.bin.parent.glob("var/*"))


@pytest.mark.parametrize("program", ["authapp", "gunicorn authapp:create_app()", "flask --app authapp run"])
def test_service_is_served_with_its_pages_and_files(installed: Installed, tmp_path: Path, program: str):
    """By gunicorn with the settings of the project, by a gunicorn of the operator's, and by Flask's own server."""
    port = free_port()
    how = {
        "authapp": ["-m", "authapp"],
        "gunicorn authapp:create_app()": ["-m", "gunicorn", "-b", f"127.0.0.1:{port}", "authapp:create_app()"],
        "flask --app authapp run": ["-m", "flask", "--app", "authapp", "run", "--port", str(port)],
    }
    environment = installed.environment(APP_ENV="development")
    assert installed.run("flask", "--app", "authapp", "db", "upgrade", APP_ENV="development").returncode == 0
    command = [str(installed.bin / "python"), *how[program]]
    with serving(installed.here, environment, tmp_path, command=command, port=port) as service:
        answers = [httpx.get(f"{service.address}{path}").status_code for path in ("/docs", "/dev/mailbox")]
        page = httpx.get(f"{service.address}/api/auth/verify-email?token=x")
        style = httpx.get(f"{service.address}/api/auth/static/page.css")
        version = httpx.get(f"{service.address}/openapi.json").json()["info"]["version"]
    assert answers == [200, 200]
    assert "<form" in page.text
    assert style.headers["Content-Type"].startswith("text/css")
    assert version == authapp.__version__
    # Only the project's own settings for gunicorn know of a greeting, and they are in the wheel.
    assert ("authapp listens on" in service.log.read_text()) is (program == "authapp")


def test_settings_stand_in_the_working_directory_and_a_wrong_one_is_one_line(installed: Installed, tmp_path: Path):
    here = Installed(installed.bin, tmp_path, installed.wheel)
    (tmp_path / ".env").write_text("APP_ENV=development\nBIND=127.0.0.1:1\nAUTH_URL_PREFIX=nowhere\n")
    for command in (
        ("python", "-m", "authapp"),
        ("python", "-m", "authapp", "--workers", "1"),
        ("flask", "--app", "authapp", "db", "upgrade"),
    ):
        done = here.run(*command)
        said = [line for line in done.stderr.splitlines() if "AUTH_URL_PREFIX is not valid" in line]
        assert (done.returncode != 0, len(said)) == (True, 1), done.stderr
        assert "Traceback" not in done.stderr


def test_a_strictly_typed_host_passes_mypy(installed: Installed):
    (installed.here / "host.py").write_text(HOST)
    python = str(installed.bin / "python")
    command = [
        sys.executable,
        "-m",
        "mypy",
        "--strict",
        "--python-executable",
        python,
        "--cache-dir=/dev/null",
        "host.py",
    ]
    done = subprocess.run(command, cwd=installed.here, capture_output=True, text=True, check=False, timeout=300)
    (installed.here / "host.py").unlink()
    assert done.returncode == 0, done.stdout + done.stderr
