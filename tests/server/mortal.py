"""The service, whose worker kills itself at the moment that a request names: for tests, in place of `wsgi:app`.

A request's moments are those just before and just after each of its statements and commits, and the one in which its
answer is ready and not yet sent. `X-Die-At: 3` is the third of them; an answer says in `X-Moments` how many there were.
"""

import os
import signal
import threading
from collections.abc import Callable, Iterable
from typing import Any

from sqlalchemy import Engine, event

from authapp.extensions import db
from wsgi import app

WSGI = Callable[[dict[str, Any], Callable[..., Any]], Iterable[bytes]]


class _Request(threading.local):
    """How far this thread's request has come; the thread that delivers mails has none."""

    passed = 0
    die_at = 0


_request = _Request()


def _moment(*_: object) -> None:
    _request.passed += 1
    if _request.passed == _request.die_at:
        os.kill(os.getpid(), signal.SIGKILL)


def _watched(application: WSGI) -> WSGI:
    def call(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        _request.passed, _request.die_at = 0, int(environ.get("HTTP_X_DIE_AT", "0"))

        def start(status: str, headers: list[tuple[str, str]], *rest: object) -> Any:
            _moment()
            return start_response(status, [*headers, ("X-Moments", str(_request.passed))], *rest)

        return application(environ, start)

    return call


def _between(commit: Callable[[Any], None]) -> Callable[[Any], None]:
    def watched(connection: object) -> None:
        _moment()
        commit(connection)
        _moment()

    return watched


event.listen(Engine, "before_cursor_execute", _moment)
event.listen(Engine, "after_cursor_execute", _moment)
with app.app_context():
    db.engine.dialect.do_commit = _between(db.engine.dialect.do_commit)  # type: ignore[method-assign,assignment]  # It is put between.
app.wsgi_app = _watched(app.wsgi_app)  # type: ignore[method-assign,assignment]  # It is put between.
