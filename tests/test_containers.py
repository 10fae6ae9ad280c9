"""`Dockerfile`, `compose.yaml` and the systemd units, as their own linters and the code see them; nothing runs here."""

import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml  # type: ignore[import-untyped]  # It ships no types, and its stubs would be for this one call.

from authapp import settings
from tests import services

BIN = Path(sys.executable).parent
UNITS = ("authapp.service", "authapp-purge.service", "authapp-purge.timer")
MOST_EXPOSED = 2.0


@pytest.fixture
def compose(root: Path) -> dict[str, Any]:
    """The services of `compose.yaml`."""
    found: dict[str, Any] = yaml.safe_load((root / "compose.yaml").read_text())["services"]
    return found


@pytest.mark.parametrize(
    "command",
    [
        ["hadolint", "Dockerfile"],
        ["check-jsonschema", "--builtin-schema", "vendor.compose-spec", "compose.yaml"],
    ],
    ids=lambda command: command[0],
)
def test_linter_finds_nothing(root: Path, command: list[str]):
    done = subprocess.run([BIN / command[0], *command[1:]], cwd=root, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_what_the_image_copies_is_there_and_nothing_else_gets_to_the_engine(root: Path):
    copied = re.findall(r"^COPY (?!--from)(.+) \S+$", (root / "Dockerfile").read_text(), re.MULTILINE)
    names = {name for line in copied for name in line.split()}
    assert all((root / name).exists() for name in names)
    rules = (root / ".dockerignore").read_text().splitlines()
    assert "*" in rules
    assert {rule[1:] for rule in rules if rule.startswith("!")} == names


def test_nothing_of_compose_is_reachable_from_other_machines(compose: dict[str, Any]):
    published = [port for service in compose.values() for port in service.get("ports", [])]
    assert published
    assert all(port.startswith("127.0.0.1:") for port in published)


def test_service_of_compose_is_set_by_settings_that_exist_and_speaks_to_those_beside_it(compose: dict[str, Any]):
    service = compose["authapp"]
    given = service["environment"]
    assert set(given) <= {setting.name for setting in settings.SETTINGS}
    assert "@database/" in given["DATABASE_URL"]
    assert given["REDIS_URL"].split("//")[1].split(":")[0] in compose
    assert given["MAIL_SERVER"] in compose
    assert set(service["depends_on"]) | set(compose["migrate"]["depends_on"]) <= set(compose)
    assert compose["migrate"]["environment"] == given
    # Those who want the database alone do not get the service.
    assert [name for name, found in compose.items() if "profiles" not in found] == ["database", "redis", "mail"]


def test_systemd_understands_the_units_and_finds_them_closed(root: Path, tmp_path: Path):
    if not shutil.which("systemd-analyze"):
        services.lacking("there is no systemd-analyze")
    for name in UNITS:
        # It wants programs and folders that are there.
        text = re.sub(r"/opt/authapp/\.venv/bin/\w+", "/bin/true", (root / "deploy" / name).read_text())
        (tmp_path / name).write_text(text.replace("/opt/authapp", str(tmp_path)))
    verify = ["systemd-analyze", "verify", *(f"./{name}" for name in UNITS)]
    done = subprocess.run(verify, cwd=tmp_path, capture_output=True, text=True, check=False, timeout=30)
    assert (done.returncode, done.stderr) == (0, "")
    judge = ["systemd-analyze", "security", "--offline=true", "./authapp.service", "./authapp-purge.service"]
    judged = subprocess.run(judge, cwd=tmp_path, capture_output=True, text=True, check=False, timeout=30)
    levels = [float(level) for level in re.findall(r"Overall exposure level .*: ([0-9.]+)", judged.stdout)]
    assert len(levels) == 2
    assert max(levels) <= MOST_EXPOSED
