"""Every command that a document prints is run: here, page by page in a fresh clone, or by the test that is named."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests import documented, terminal
from tests.factories import PASSWORD
from tests.services import free_port

pytestmark = [pytest.mark.server, pytest.mark.any_database]

ROOT = Path(__file__).parents[2]
# Who runs what is not run here: a page, a heading of it or "" for all, and where the name of the page stands.
ELSEWHERE = {
    ("README.md", "Two commands"): ".ci/first-run",
    ("README.md", "The walk"): "tests/server/test_readme.py",
    ("README.md", "In your own application"): "tests/test_documents.py",
    ("docs/clients.md", "On another origin"): "tests/browser/test_spa.py",
    ("docs/commands.md", ""): "tests/test_commands.py",
    ("docs/embed.md", ""): "tests/test_embed.py",
    ("docs/openapi.md", ""): "tests/clients/test_clients.py",
    ("examples/notes/README.md", ""): "tests/test_examples.py",
}
# What needs another machine than this: packages, services, containers.
NEEDS_A_MACHINE = re.compile(
    r"#|$|(sudo )?(apt(-get)?|systemctl|docker|certbot|crontab|install|useradd|cp|nginx|journalctl|EOF)( |$)"
)


def here(page: Path) -> list[documented.Block]:
    """Give the blocks of a page that are run here."""
    found = [block for block in documented.blocks(ROOT, page) if block.language in ("sh", "bash", "shell")]
    return [block for block in found if not {(block.page, ""), (block.page, block.heading)} & set(ELSEWHERE)]


def test_whoever_is_said_to_run_a_page_does():
    for (page, _), runner in ELSEWHERE.items():
        assert Path(page).name in (ROOT / runner).read_text(), (page, runner)


def test_what_is_not_run_needs_another_machine():
    for page in documented.pages(ROOT):
        for block in documented.blocks(ROOT, page):
            # That page is the life of another machine from its first day; test_backup.py runs what can be run of it.
            is_here = block.language == "console" and block.page != "docs/deploy.md"
            for line in block.text.splitlines() if is_here else []:
                assert NEEDS_A_MACHINE.match(line.strip()), f"{block.page}: {line}"


@pytest.mark.long
@pytest.mark.parametrize(
    "page", [page for page in documented.pages(ROOT) if here(page)], ids=lambda page: str(page.relative_to(ROOT))
)
def test_the_commands_of_a_page_work_one_after_the_other(page: Path, tmp_path: Path):
    port, clone = free_port(), tmp_path / "authapp"
    subprocess.run(["git", "clone", "-q", ROOT, clone], check=True)
    commands = documented.script(here(page), port=port)
    if "-m venv .venv" not in commands:
        (clone / ".venv").symlink_to(Path(sys.prefix))
        (clone / ".env").write_text("APP_ENV=development\n")
        migrate = [".venv/bin/flask", "--app", "wsgi", "db", "upgrade"]
        subprocess.run(migrate, cwd=clone, env=environment(tmp_path, port), check=True, capture_output=True)
    status, screen = terminal.run(
        ["bash", "-eu", "-o", "pipefail", "-c", commands],
        cwd=clone,
        env=environment(tmp_path, port),
        answers={"assword: ": PASSWORD, "Repeat for confirmation: ": PASSWORD},
        seconds=600,
    )
    shutil.rmtree(clone)
    assert status == 0, screen


def environment(folder: Path, port: int) -> dict[str, str]:
    """Give what a newcomer's shell has, with our interpreter in it; the service is at this port."""
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    bind = f"127.0.0.1:{port}"
    return {"PATH": path, "HOME": str(folder), "LANG": "C.UTF-8", "HERE": str(folder), "PORT": str(port), "BIND": bind}
