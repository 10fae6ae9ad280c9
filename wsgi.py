"""The service, where it runs from a checkout: `gunicorn wsgi:app`. `flask --app wsgi` finds it here too."""

from authapp.wsgi import app

__all__ = ["app"]
