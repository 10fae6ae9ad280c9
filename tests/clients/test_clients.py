"""Two public generators make clients of `/openapi.json`, without a warning, and the clients work."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import httpx
import pytest

from tests.factories import ALICE, PASSWORD

pytestmark = [pytest.mark.server, pytest.mark.clients]

HERE = Path(__file__).parent
INSTALL_SECONDS = 300


def run(*command: str | Path, cwd: Path, seconds: int = 120, **environ: str) -> "subprocess.CompletedProcess[str]":
    beside_python = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    done = subprocess.run(
        command,
        cwd=cwd,
        env={**os.environ, "PATH": beside_python, **environ},
        capture_output=True,
        text=True,
        check=False,
        timeout=seconds,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done


@pytest.fixture(scope="session")
def node_modules() -> Path:
    """The pinned npm packages, installed where they are not; without npm: skipped, or failed where it is required."""
    if shutil.which("npm") is None:
        if os.environ.get("REQUIRE_SERVICES") == "1":
            pytest.fail("npm is missing")
        pytest.skip("npm is missing")
    folder = HERE / "node_modules"
    installed, lock = folder / ".package-lock.json", HERE / "package-lock.json"
    if not installed.exists() or installed.stat().st_mtime < lock.stat().st_mtime:
        run("npm", "ci", "--no-audit", "--no-fund", cwd=HERE, seconds=INSTALL_SECONDS)
    return folder


def test_a_python_client_walks_through_the_api(address: str, tmp_path: Path):
    (tmp_path / "openapi.json").write_text(httpx.get(f"{address}/openapi.json").text)
    made = run(
        *("openapi-python-client", "generate", "--path", "openapi.json", "--meta", "none"),
        *("--output-path", "authapp_client", "--fail-on-warning"),
        cwd=tmp_path,
    )
    assert (made.stdout.strip(), made.stderr) == ("Generating authapp_client", "")
    walked = run(sys.executable, HERE / "walk.py", address, ALICE, PASSWORD, cwd=tmp_path, PYTHONPATH=str(tmp_path))
    assert (walked.stdout, walked.stderr) == ("walked\n", "")


def test_a_typescript_client_walks_through_the_api(address: str, tmp_path: Path, node_modules: Path):
    (tmp_path / "node_modules").symlink_to(node_modules)
    for name in ("package.json", "tsconfig.json", "walk.mts"):
        shutil.copy(HERE / name, tmp_path)
    tools = node_modules / ".bin"
    made = run(tools / "openapi-typescript", f"{address}/openapi.json", "-o", "schema.mts", cwd=tmp_path)
    assert made.stderr == ""
    assert "warn" not in made.stdout.lower()
    run(tools / "tsc", cwd=tmp_path)
    walked = run("node", "built/walk.mjs", address, ALICE, PASSWORD, cwd=tmp_path)
    assert walked.stdout == "walked\n"
