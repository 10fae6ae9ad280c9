"""The service, for gunicorn: `gunicorn wsgi:app`. `flask` finds it here too."""

import sys

import click

from authapp import create_app
from authapp.config import ConfigError

# gunicorn's own status for this; a worker that exits with another is replaced, for ever. A command is just refused.
_BOOT_FAILED = 3
_REFUSED = 1

try:
    app = create_app()
except ConfigError as error:
    print(f"authapp: {error.message}", file=sys.stderr)  # noqa: T201  # There is no log yet.
    sys.exit(_REFUSED if click.get_current_context(silent=True) else _BOOT_FAILED)
