"""`flask auth …`: the operator's commands, one file a topic; `docs/commands.md` has them all."""

from flask import Flask

from authapp.cli import accounts, imports, sessions, upkeep
from authapp.cli.base import group
from authapp.config import ConfigError

__all__ = ["accounts", "group", "imports", "init_app", "sessions", "upkeep"]


def init_app(app: Flask) -> None:
    """Add the commands. Raises `ConfigError` where the host has a group of that name."""
    if group.name in app.cli.commands:
        raise ConfigError("This application has commands called 'auth' itself: give its group another name.")
    app.cli.add_command(group)
