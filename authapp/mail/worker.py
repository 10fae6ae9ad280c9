"""The thread of a process that has what is due delivered, for as long as that process lives."""

import logging
import os
import threading
import time

from flask import Flask, current_app
from sqlalchemy.exc import DBAPIError

from authapp import database, extensions, schema, traces
from authapp.mail import delivery, requests

log = logging.getLogger(__name__)

_POLL_SECONDS = 5.0
_LONGEST_POLL_SECONDS = 60.0
# For the mail at hand when the process is to end: less than what a service or a container is given for that.
_FINISH_SECONDS = 8.0


def wake() -> None:
    """Have this process's delivery thread look now; it is started if there is none (a fork has none)."""
    if not current_app.testing:
        _worker().wake(extensions.app_at_hand())


def answer() -> None:
    """Have requests for mails answered: by the delivery thread, when it next looks by itself.

    It is not woken: busy right after the answer with a mail, or with none, it would tell by how slow it makes what is
    sent next whether there is an account. A developer, who has no thread in tests, need not wait.
    """
    if current_app.testing or current_app.config["APP_ENV"] == "development":
        requests.answer_all()
    else:
        _worker().start(extensions.app_at_hand())


def _worker() -> "Worker":
    worker: Worker = current_app.extensions["authapp"].mail_worker
    return worker


class Worker:
    """The thread of one process that delivers mails."""

    def __init__(self) -> None:
        self._process = 0
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None
        self._due, self._over = threading.Event(), threading.Event()

    def start(self, app: Flask) -> None:
        """Start the thread if this process has none; it looks at the outbox every few seconds."""
        with self._lock:
            if self._process != os.getpid():
                self._due, self._over = threading.Event(), threading.Event()
                self._thread = threading.Thread(
                    target=watch, args=(app, self._due, self._over), name="authapp-mail", daemon=True
                )
                self._thread.start()
                self._process = os.getpid()

    def wake(self, app: Flask) -> None:
        """Make the thread look at the outbox now."""
        self.start(app)
        self._due.set()

    def retire(self) -> None:
        """End the thread, which is given a while for the mail at hand, and start none in this process: it ends soon.

        A mail that it took along would stay claimed for a while, or be sent twice.
        """
        with self._lock:
            thread = self._thread if self._process == os.getpid() else None
            self._process, self._thread = os.getpid(), None
        self._over.set()
        self._due.set()
        if thread:
            thread.join(_FINISH_SECONDS)


def watch(app: Flask, woken: threading.Event, over: threading.Event) -> None:
    """Deliver what is due, whenever `woken` is set and every few seconds, whatever goes wrong, until `over` is set.

    Requests for mails are answered every few seconds only: nobody chooses the moment by waking the thread.
    """
    failures, next_look, trouble = 0, 0.0, None
    while not over.is_set():
        woken.clear()
        is_time = time.monotonic() >= next_look
        if is_time:
            next_look = time.monotonic() + _POLL_SECONDS
        try:
            with app.app_context():
                sent, failures = delivery.deliver_due(answer=is_time, over=over), 0
            # Without a mail server, a thread that is woken asks the database nothing.
            trouble = None if is_time else trouble
        except delivery.UnreachableError as error:
            sent, failures = 0, failures + 1
            where = {"host": app.config["MAIL_SERVER"], "port": app.config["MAIL_PORT"]}
            log.warning("mail_server_unreachable", extra={**where, "error": error})
        except Exception as error:
            sent, trouble = 0, _report(app, error, trouble)
        if failures:
            # Not to be woken: a server that refuses our password would soon refuse us for good.
            over.wait(pause(failures))
        elif not sent and not over.is_set():
            woken.wait(max(0.0, next_look - time.monotonic()))


def _report(app: Flask, error: Exception, told: str | None) -> str | None:
    """Log why nothing was delivered, and give what is wrong with the schema: that is told once, until it is another."""
    if database.is_away(error):
        log.warning("database_unavailable", extra={"error": type(error).__name__})
        return told
    with app.app_context():
        trouble = schema.trouble() if isinstance(error, DBAPIError) else None
    if trouble is None:
        log.error("mail_delivery_failed", exc_info=traces.to_log(error))
    elif trouble != told:
        log.error("schema_of_another_version", extra={"problem": trouble})
    return trouble


def pause(failures: int) -> float:
    """Give the seconds to wait before a mail server is looked for that was not there so many times in a row."""
    wait: float = _POLL_SECONDS * 2 ** min(failures, 16)
    return min(wait, _LONGEST_POLL_SECONDS)
