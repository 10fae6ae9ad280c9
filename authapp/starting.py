"""What whoever starts the service is told. `gunicorn.conf.py` has it told by processes that the arbiter has forked."""

import logging
import sys
import threading
from collections.abc import Callable
from typing import NoReturn

import click
from flask import Flask

from authapp import doctor, schema
from authapp.config import ConfigError
from authapp.mail import worker

# gunicorn's own status for this; a worker that exits with another is replaced, for ever. A command is just refused.
_BOOT_FAILED = 3
_REFUSED = 1

# Where a refusal is told, while there is a log to tell it in.
_log: logging.Logger | None = None


def refuse(error: ConfigError) -> NoReturn:
    """End the process, a command or a worker, and say in a line why: the settings cannot work."""
    said = f"authapp: {error.message}"
    if _log:
        _log.error(said)
    else:
        print(said, file=sys.stderr)  # noqa: T201  # There is no log yet.
    sys.exit(_REFUSED if click.get_current_context(silent=True) else _BOOT_FAILED)


def try_settings(load: Callable[[], Flask], *, log: logging.Logger) -> int:
    """Load the application, log in a line what is wrong or lacking, and give the exit status."""
    global _log  # noqa: PLW0603  # Whoever loads the application is called by gunicorn, and told nothing.
    _log = log
    try:
        app = load()
    except SystemExit as error:
        # `authapp.wsgi` has told why.
        return error.code if isinstance(error.code, int) else _BOOT_FAILED
    except ConfigError as error:
        # As `authapp:create_app()` refuses settings.
        log.error("authapp: %s", error.message)
        return _BOOT_FAILED
    finally:
        _log = None
    _warn_of_schema(app, log)
    return 0


def _warn_of_schema(app: Flask, log: logging.Logger) -> None:
    """Say that migrations have to be run. It is no reason not to start: they may run meanwhile, or elsewhere."""
    with app.app_context():
        problem = schema.trouble()
    if problem:
        log.warning("%s Until then requests are answered with 503.", problem)


def begin(app: Flask, *, greets: bool) -> None:
    """Deliver the mails that an earlier process left, and tell a developer what the doctor finds, while it serves."""
    with app.app_context():
        worker.wake()
    if greets and app.config["APP_ENV"] == "development":
        threading.Thread(target=_print_findings, args=(app,), daemon=True).start()


def _print_findings(app: Flask) -> None:
    with app.app_context():
        found = doctor.examine()
    wrong = [finding for finding in found if finding.level != doctor.OK]
    lines = [f"  {finding.level:<8} {finding.name:<12} {finding.says}" for finding in wrong]
    lines.append(f"flask auth doctor: {len(found)} checks, {len(wrong)} to look at.")
    print("\n".join(lines), flush=True)  # noqa: T201  # For a terminal.
