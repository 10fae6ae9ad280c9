"""docs/embed.md: its blocks are one application, and this builds and runs it as printed."""

import re
import secrets
import subprocess
import sys
from pathlib import Path

import pytest
from blinker import NamedSignal

from authapp import signals

pytestmark = pytest.mark.any_database


@pytest.fixture(scope="module")
def page(pytestconfig: pytest.Config) -> str:
    """The document."""
    return (pytestconfig.rootpath / "docs" / "embed.md").read_text()


@pytest.fixture
def folder(page: str, tmp_path: Path) -> Path:
    """A folder with the files that the blocks say they are part of."""
    files: dict[str, list[str]] = {}
    for name, program in re.findall(r"^```python\n# (\S+)\n(.*?)^```$", page, re.MULTILINE | re.DOTALL):
        files.setdefault(name, []).append(program)
    assert page.count("```python") == sum(map(len, files.values())), "every block names its file"
    for name, programs in files.items():
        (tmp_path / name).write_text("\n\n".join(programs))
    return tmp_path


def run(folder: Path, command: str) -> str:
    root = Path(__file__).parent.parent
    done = subprocess.run(
        ["/bin/sh", "-ec", command],
        cwd=folder,
        env={
            "PATH": f"{Path(sys.executable).parent}:/usr/bin:/bin",
            "PYTHONPATH": str(root),
            "SECRET_KEY": secrets.token_urlsafe(48),
        },
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_migrations_and_the_script_run_as_printed(page: str, folder: Path):
    (commands,) = re.findall(r"^```sh\n(.*?)^```$", page, re.MULTILINE | re.DOTALL)
    run(folder, commands)
    said = run(folder, "python make_accounts.py")
    assert said.splitlines() == [
        "INVALID_CREDENTIALS",
        "robot@example.com example.com 3",
        "VALIDATION_ERROR Use at least 8 characters.",
    ]
    assert "No new upgrade operations" in run(folder, "flask --app app db check 2>&1")


def test_tests_pass_as_printed(folder: Path):
    assert "3 passed" in run(folder, "python -m pytest -q -W error -p no:cacheprovider")


def test_tests_refuse_a_database_that_somebody_works_with(folder: Path):
    """Bob's notes are in the file that his application names, whatever `conftest.py` says."""
    program = (folder / "app.py").read_text()
    (folder / "app.py").write_text(
        program.replace('os.environ.get("DATABASE_URL", "sqlite:///app.db")', '"sqlite:///app.db"')
    )
    fill = "from app import *; db.create_all(); db.session.add(Note(text='mine')); db.session.commit()"
    count = "from app import *; print(db.session.query(Note).count())"
    environment = "APP_ENV=development python -c"
    run(folder, f'{environment} "{_in_context(fill)}"')
    said = run(folder, "python -m pytest -q -p no:cacheprovider || true")
    assert "would delete every row of sqlite:///" in said
    assert "passed" not in said
    assert run(folder, f'{environment} "{_in_context(count)}"').strip() == "1"


def _in_context(program: str) -> str:
    begin, _, rest = program.partition("; ")
    return f"{begin}; app.app_context().push(); {rest}"


@pytest.mark.long
def test_table_with_rows_gets_its_owner(page: str, folder: Path):
    (commands,) = re.findall(r"^```sh\n(.*?)^```$", page, re.MULTILINE | re.DOTALL)
    program = (folder / "app.py").read_text()
    without = re.sub(r"^    owner_id = .*\n", "", program, flags=re.MULTILINE)
    assert without != program
    (folder / "app.py").write_text(without)
    run(folder, commands)
    fill = "from app import *; db.session.add(Note(text='mine')); db.session.commit()"
    run(folder, f'python -c "{_in_context(fill)}"')
    (folder / "app.py").write_text(program)
    run(folder, 'flask --app app db migrate -m "notes belong to somebody" && flask --app app db upgrade')
    count = "from app import *; print(db.session.query(Note).filter_by(owner_id=None).count())"
    assert run(folder, f'python -c "{_in_context(count)}"').strip() == "1"


def test_every_signal_is_in_the_table_with_its_fields(page: str):
    table = dict(re.findall(r"^\| `([a-z_]+)` \| (.*) \|$", page, re.MULTILINE))
    assert table == {name: value.__doc__ for name, value in vars(signals).items() if isinstance(value, NamedSignal)}
