"""The service, for gunicorn: `gunicorn wsgi:app`. `flask` finds it here too."""

import sys

from authapp import create_app
from authapp.config import ConfigError

try:
    app = create_app()
except ConfigError as error:
    sys.exit(f"authapp: {error.message}")
