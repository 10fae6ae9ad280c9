"""docs/clients.md shows the code of examples/clients as it is, and every file of it."""

import re
import textwrap
from pathlib import Path

import pytest

from tests import documented

INDENTS = ("", "  ", "    ")


@pytest.fixture
def shown(root: Path) -> list[documented.Block]:
    """The code of the page, but for the few lines of how to call it, which a browser runs in another test."""
    blocks = documented.blocks(root, root / "docs/clients.md")
    return [block for block in blocks if block.language != "sh" and not block.text.startswith("import ")]


@pytest.mark.any_database
def test_the_code_that_the_page_shows_is_in_the_files(root: Path, shown: list[documented.Block]):
    files = [path.read_text() for path in (root / "examples/clients").iterdir() if path.is_file()]
    assert len(shown) > 5
    for block in shown:
        cut = (textwrap.indent(block.text, indent) for indent in INDENTS)
        assert any(one in file for one in cut for file in files), block.text


@pytest.mark.any_database
def test_the_page_leads_to_every_client(root: Path):
    page = (root / "docs/clients.md").read_text()
    linked = set(re.findall(r"\(\.\./examples/clients/([\w.]+)\)", page))
    assert linked == {path.name for path in (root / "examples/clients").iterdir() if path.is_file()}
