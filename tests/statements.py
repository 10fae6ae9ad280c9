"""The statements that an application sends to its database: count them, or act between two of them."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from flask import Flask
from sqlalchemy import Engine, event

from authapp.extensions import db


@contextmanager
def heard(app: Flask) -> Iterator[list[str]]:
    """Collect the statements that are sent meanwhile."""
    found: list[str] = []
    with _listening(app, found.append):
        yield found


@contextmanager
def just_before(app: Flask, beginning: str, act: Callable[[], object]) -> Iterator[None]:
    """Do something, once, just before the first statement that begins so: what another process might do there."""
    done: list[str] = []

    def hear(statement: str) -> None:
        if statement.startswith(beginning) and not done:
            done.append(statement)
            act()

    with _listening(app, hear):
        yield
    assert done, f"no statement began with {beginning}"


@contextmanager
def _listening(app: Flask, hear: Callable[[str], object]) -> Iterator[None]:
    def listener(_connection: Any, _cursor: Any, statement: str, *_rest: Any) -> None:
        hear(statement)

    with app.app_context():
        engine: Engine = db.engine
    event.listen(engine, "before_cursor_execute", listener)
    try:
        yield
    finally:
        event.remove(engine, "before_cursor_execute", listener)
