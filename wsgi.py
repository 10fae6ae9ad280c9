"""The service, for gunicorn: `gunicorn wsgi:app`. `flask` finds it here too."""

import sys

from authapp import create_app
from authapp.config import ConfigError

# gunicorn gives up at this exit status of a worker; at any other it would start the next one, for ever.
_BOOT_FAILED = 3

try:
    app = create_app()
except ConfigError as error:
    print(f"authapp: {error.message}", file=sys.stderr)  # noqa: T201  # There is no log yet.
    sys.exit(_BOOT_FAILED)
