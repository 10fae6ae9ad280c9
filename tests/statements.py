"""The statements that an application sends to its database: count them, or act between two of them."""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

from flask import Flask
from sqlalchemy import Engine, event
from sqlalchemy.exc import OperationalError

from authapp.extensions import db


@contextmanager
def heard(app: Flask) -> Iterator[list[str]]:
    """Collect the statements that are sent meanwhile."""
    found: list[str] = []
    with _listening(app, found.append):
        yield found


@contextmanager
def just_before(app: Flask, beginning: str, act: Callable[[], object]) -> Iterator[None]:
    """Do something, once, just before the first statement that begins so: what another process might do there.

    It has a thread of its own: in this one a request would share our context, and so our session and transaction.
    """
    done: list[str] = []

    def hear(statement: str) -> None:
        if statement.startswith(beginning) and not done:
            done.append(statement)
            with ThreadPoolExecutor(1) as elsewhere:
                elsewhere.submit(act).result()

    with _listening(app, hear):
        yield
    assert done, f"no statement began with {beginning}"


@contextmanager
def failing(app: Flask, beginning: str, error: BaseException, *, times: int = 1) -> Iterator[None]:
    """Have the first statements that begin so fail with what SQLAlchemy makes of this error of the driver's."""
    left = [times]

    def hear(statement: str) -> None:
        if statement.startswith(beginning) and left[0]:
            left[0] -= 1
            raise OperationalError(statement, None, error)

    with _listening(app, hear):
        yield
    assert not left[0], f"no statement began with {beginning}"


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
