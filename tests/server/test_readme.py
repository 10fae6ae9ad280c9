"""The README's walk, run as printed against a development server."""

import json
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.server.conftest import StartNode

pytestmark = [pytest.mark.server, pytest.mark.any_database]

END_OF_BLOCK = "--- end of block ---"
# What differs from run to run: ids, times, the client's version.
VARIES = re.compile(r"[0-9a-f]{8}-[0-9a-f-]{27}|\d{4}-\d\d-\d\dT[0-9:.]+Z|curl/[0-9.]+")


def test_every_command_of_the_walk_answers_as_printed(start_node: StartNode, root: Path):
    address = start_node(workers=2, APP_ENV="development")
    blocks = walk(root / "README.md")
    assert len(blocks) >= 8
    script = "".join(f"{command}\necho; echo '{END_OF_BLOCK}'\n" for command, _ in blocks)
    # As printed but for the port: the developer's own server may be listening on 8000.
    done = subprocess.run(
        ["bash", "-eu", "-o", "pipefail", "-c", script.replace("http://127.0.0.1:8000", address)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    outputs = done.stdout.split(END_OF_BLOCK)
    for (command, expected), output in zip(blocks, outputs, strict=False):
        if expected is not None:
            assert readable(output) == readable(expected), command


def walk(readme: Path) -> list[tuple[str, str | None]]:
    """Give the commands of the walk, each with the answer that is printed below it, if one is."""
    section = readme.read_text().partition("\n## The walk\n")[2].partition("\n## ")[0]
    fences = re.findall(r"^```(\w+)\n(.*?)^```$", section, re.MULTILINE | re.DOTALL)
    blocks: list[tuple[str, str | None]] = []
    for language, content in fences:
        if language == "sh":
            blocks.append((content, None))
        else:
            blocks[-1] = (blocks[-1][0], content)
    return blocks


def readable(answer: str) -> Any:
    """Read an answer for comparison: JSON whatever its layout, without what varies."""
    text = VARIES.sub("*", answer.strip())
    try:
        return json.loads(text)
    except ValueError:
        return text.splitlines()
