"""The applications in examples/, as somebody who has just cloned them uses them."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.any_database


@pytest.fixture
def notes(root: Path) -> Path:
    """The folder of the notes application."""
    return root / "examples" / "notes"


def environment(root: Path) -> dict[str, str]:
    """Give an environment in which `flask` and `pytest` are this interpreter's, and nothing is set."""
    return {
        "PYTHONPATH": str(root),
        "PYTHONDONTWRITEBYTECODE": "1",
        "PATH": f"{Path(sys.executable).parent}:/usr/bin:/bin",
    }


def test_notes_pass_their_own_tests_with_nothing_but_pytest(root: Path, notes: Path):
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider"],
        cwd=notes,
        env=environment(root) | {"PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"},
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert " passed" in done.stdout


def test_notes_start_as_their_readme_says(root: Path, notes: Path, tmp_path: Path):
    (commands,) = re.findall(r"^```sh\n(.*?)^```$", (notes / "README.md").read_text(), re.MULTILINE | re.DOTALL)
    (admin,) = re.findall(r"`(APP_ENV.*create-user.*)`", (notes / "README.md").read_text())
    make_tables, run = commands.splitlines()
    # A copy, whose instance folder is its own.
    here = tmp_path / "notes"
    here.mkdir()
    for name in ("notes.py", "templates", "static"):
        os.symlink(notes / name, here / name)
    look = "python -c \"import notes; print(notes.create_app().test_client().get('/').status_code)\""
    assert "flask --app notes run" in run
    for step in (
        make_tables,
        f"echo violet-tractor-19-sings | {admin} --password-stdin",
        f"APP_ENV=development {look}",
    ):
        done = subprocess.run(
            ["/bin/sh", "-c", step],
            cwd=here,
            env=environment(root),
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )
        assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "200"
    assert (here / "instance" / "notes.db").exists()
