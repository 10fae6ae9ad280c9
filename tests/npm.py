"""The npm packages that tests use, pinned in tests/clients."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

from tests.services import lacking

FOLDER = Path(__file__).parent / "clients"
INSTALL_SECONDS = 300


def run(*command: str | Path, cwd: Path, seconds: int = 120, **environ: str) -> "subprocess.CompletedProcess[str]":
    """Run a command that must succeed, with this interpreter's programs found first."""
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


def packages() -> Path:
    """Give the folder of the pinned packages, installed where they are not; without npm: skip, or fail."""
    if shutil.which("npm") is None:
        lacking("npm is missing")
    folder = FOLDER / "node_modules"
    installed, lock = folder / ".package-lock.json", FOLDER / "package-lock.json"
    if not installed.exists() or installed.stat().st_mtime < lock.stat().st_mtime:
        run("npm", "ci", "--no-audit", "--no-fund", cwd=FOLDER, seconds=INSTALL_SECONDS)
    return folder
