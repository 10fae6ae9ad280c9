"""Two public generators make clients as docs/openapi.md says, without a warning, and the clients work."""

import re
import shlex
import shutil
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from authapp.auth import fields
from tests import npm
from tests.factories import ALICE, PASSWORD
from tests.npm import run

pytestmark = [pytest.mark.server, pytest.mark.clients]

HERE = Path(__file__).parent


@pytest.fixture(scope="session")
def node_modules() -> Path:
    """The pinned npm packages."""
    return npm.packages()


@dataclass
class Manual:
    """What docs/openapi.md says, for the service that runs here and for Alice."""

    text: str

    def command(self, first: str) -> list[str]:
        """Give the one command of the page that starts so, in words."""
        (line,) = re.findall(rf"^{first} .*$", self.text, re.MULTILINE)
        return shlex.split(line)

    def program(self, language: str) -> str:
        (found,) = re.findall(rf"^```{language}\n(.*?)^```$", self.text, re.MULTILINE | re.DOTALL)
        return str(found)


@pytest.fixture
def manual(address: str, root: Path, tmp_path: Path) -> Manual:
    text = (root / "docs/openapi.md").read_text()
    for told, here in (("http://127.0.0.1:8000", address), (fields.EMAIL, ALICE), (fields.PASSWORD, PASSWORD)):
        assert told in text
        text = text.replace(told, here)
    found = Manual(text)
    run(*found.command("curl"), cwd=tmp_path)
    return found


def test_a_python_client_walks_through_the_api(address: str, tmp_path: Path, manual: Manual):
    made = run(*manual.command("openapi-python-client"), "--fail-on-warning", cwd=tmp_path)
    assert (made.stdout.strip(), made.stderr) == ("Generating authapp_client", "")
    walked = run(sys.executable, HERE / "walk.py", address, ALICE, PASSWORD, cwd=tmp_path, PYTHONPATH=str(tmp_path))
    assert (walked.stdout, walked.stderr) == ("walked\n", "")
    (tmp_path / "program.py").write_text(manual.program("python"))
    assert run(sys.executable, "program.py", cwd=tmp_path).stdout == f"{ALICE}\n"


def test_a_typescript_client_walks_through_the_api(address: str, tmp_path: Path, node_modules: Path, manual: Manual):
    (tmp_path / "node_modules").symlink_to(node_modules)
    for name in ("package.json", "tsconfig.json", "walk.mts"):
        shutil.copy(HERE / name, tmp_path)
    (tmp_path / "program.mts").write_text(manual.program("ts"))
    # It must find the pinned one, not fetch another; npm tells of the settings of whoever runs this.
    made = run(*manual.command("npx"), cwd=tmp_path, npm_config_offline="true", npm_config_loglevel="error")
    assert made.stderr == ""
    assert "warn" not in made.stdout.lower()
    run(node_modules / ".bin" / "tsc", cwd=tmp_path)
    walked = run("node", "built/walk.mjs", address, ALICE, PASSWORD, cwd=tmp_path)
    assert walked.stdout == "walked\n"
    assert run("node", "built/program.mjs", cwd=tmp_path).stdout == f"{ALICE}\n"
