"""The pictures of the documents can be made, and are those that there are."""

from pathlib import Path

import pytest

from tests import pictures
from tests.browser.conftest import CHROMIUM
from tests.services import lacking


@pytest.mark.clients
def test_every_picture_of_the_documents_can_be_made_anew(root: Path, tmp_path: Path):
    if not CHROMIUM.exists():
        lacking(f"{CHROMIUM} is missing")
    pictures.main(tmp_path)
    assert {made.name for made in tmp_path.iterdir()} == {one.name for one in (root / "docs/images").iterdir()}
