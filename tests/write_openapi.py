"""Print the API's document as the default settings make it: `make openapi` keeps it in docs/openapi.json."""

import json
import sys

from authapp import create_app
from authapp.openapi import complete

SETTINGS = {
    "APP_ENV": "development",
    "SECRET_KEY": "no secret: nothing is ever signed with it",
    "DATABASE_URL": "sqlite://",
    "AUTH_PUBLIC_URL": "http://127.0.0.1:8000",
}


def text() -> str:
    """Give the document as the file has it."""
    return json.dumps(complete.make(create_app(SETTINGS, environ={})), indent=2, ensure_ascii=False) + "\n"


if __name__ == "__main__":
    sys.stdout.write(text())
