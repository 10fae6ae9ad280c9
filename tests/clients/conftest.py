"""A service in development, which shows its mails, for programs that are made from its document."""

import secrets
from collections.abc import Iterator
from pathlib import Path

import flask_migrate
import pytest

from authapp import create_app
from authapp.extensions import db
from authapp.testing import FAST_PASSWORD_HASH, TEST_SETTINGS
from tests.server.conftest import running


@pytest.fixture
def address(tmp_path: Path, root: Path) -> Iterator[str]:
    """The address of a running service."""
    url = f"sqlite:///{tmp_path / 'service.db'}"
    with create_app({**TEST_SETTINGS, "DATABASE_URL": url}, environ={}).app_context():
        flask_migrate.upgrade()
        db.engine.dispose()
    environment = {
        "APP_ENV": "development",
        "SECRET_KEY": secrets.token_urlsafe(48),
        "DATABASE_URL": url,
        "AUTH_PASSWORD_HASH": FAST_PASSWORD_HASH,
        "WEB_CONCURRENCY": "1",
    }
    with running(root, environment, tmp_path) as found:
        yield found
