"""The service, for a WSGI server: `authapp.wsgi:app`. Settings that cannot work are one line, and no trace."""

from authapp import create_app, starting
from authapp.config import ConfigError

try:
    app = create_app()
except ConfigError as error:
    starting.refuse(error)
