"""gunicorn's settings: `gunicorn wsgi:app` reads this file by itself."""

import contextlib
import functools
import os
import select
import socket
import sys
import threading
import time
import traceback
from pathlib import Path

from dotenv import dotenv_values
from gunicorn.glogging import Logger
from gunicorn.workers.gthread import ThreadWorker

# From a request's first byte: until all of it has come, and until its answer has been taken.
_REQUEST_SECONDS = 10
_ANSWER_SECONDS = 30

_file = dotenv_values(Path(__file__).with_name(".env"))


def _setting(name, default):
    return os.environ.get(name) or _file.get(name) or default


bind = _setting("BIND", "127.0.0.1:8000")
workers = int(_setting("WEB_CONCURRENCY", "2"))
# More threads than requests can ever wait for a password hash (AUTH_HASH_QUEUE), so that those never take them all.
threads = 64
timeout = 30
graceful_timeout = 30
keepalive = 5
control_socket_disable = True
# gunicorn would take SCRIPT_NAME and PATH_INFO from a request's headers, and with them the path that a proxy checked.
forwarder_headers = ""
# The path alone: a query may hold the token of a mailed link.
accesslog = "-"
access_log_format = '%(t)s %({x-request-id}o)s %(h)s "%(m)s %(U)s" %(s)s %(b)s %(M)sms'


class AccessLogger(Logger):
    """gunicorn's logger; that one writes the decoded path as it is, line breaks and terminal codes included."""

    def atoms(self, resp, req, environ, request_time):
        """Give what a line is made of, what came from the client escaped."""
        found = super().atoms(resp, req, environ, request_time)
        return {name: _printable(value) if isinstance(value, str) else value for name, value in found.items()}


def _printable(text):
    return "".join(char if char.isprintable() else ascii(char)[1:-1] for char in text)


logger_class = AccessLogger


class Worker(ThreadWorker):
    """gunicorn's worker with threads; that one lets a client who is slow, or never hangs up, hold what others need.

    And whoever connects while it stops it lets wait, only to hang up on them at its end.
    """

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.since, self.lock = {}, threading.Lock()

    def handle(self, conn):
        """Serve a request on this connection, in a thread."""
        with self.lock:
            self.since[conn] = time.monotonic()
        try:
            return super().handle(conn)
        finally:
            with self.lock:
                del self.since[conn]

    def finish_request(self, conn, fs):
        """Wait for the client to hang up, two seconds at most, in a thread: gunicorn takes no connection meanwhile."""
        if fs.cancelled() or fs.exception() or fs.result():
            super().finish_request(conn, fs)
        else:
            self.nr_conns -= 1
            self.tpool.submit(conn.close, graceful=True)

    def notify(self):
        """Say that the worker is alive, as it does every second, and end what has taken too long."""
        super().notify()
        now = time.monotonic()
        with self.lock:
            begun = list(self.since.items())
        for conn, since in begun:
            # What reads a body that breaks off refuses it, and the refusal still goes out.
            with contextlib.suppress(OSError):
                if now - since > _ANSWER_SECONDS:
                    conn.sock.shutdown(socket.SHUT_RDWR)
                elif now - since > _REQUEST_SECONDS and _is_awaited(conn.parser):
                    conn.sock.shutdown(socket.SHUT_RD)

    def set_accept_enabled(self, enabled):
        """Stop accepting for good, when the worker is to end: take who is waiting, and close the socket at once.

        While other processes have it open they serve whoever connects, after the last one it is refused.
        """
        super().set_accept_enabled(enabled)
        if enabled or (self.alive and self.ppid == os.getppid()):
            return
        for listener in self.sockets:
            while self.nr_conns < self.worker_connections and select.select([listener], [], [], 0)[0]:
                self.accept(listener)
            listener.close()


worker_class = Worker


def _is_awaited(parser):
    """Say whether some of a request has yet to come; one that has come may wait for its answer, and another follow."""
    if not (parser and parser.mesg and parser.mesg.req_number == parser.req_count):
        return True
    body = parser.mesg.body.reader
    return bool(getattr(body, "length", 0) or getattr(body, "parser", None))


def _try_settings():
    """Load the application, which prints what is wrong, and give the exit status; nothing may escape into gunicorn."""
    try:
        import wsgi  # noqa: F401
    except SystemExit as error:
        return error.code
    except BaseException:
        traceback.print_exc()
        return 1
    return 0


def _trial():
    """Try the settings in a process of its own, because what the arbiter had imported no SIGHUP could reload."""
    trial = os.fork()
    if trial == 0:
        os._exit(_try_settings())
    _, status = os.waitpid(trial, 0)
    return os.waitstatus_to_exitcode(status)


def _reload(server, reload):
    """Have new workers with new settings, unless these do not work: gunicorn would end with the workers that fail.

    gunicorn dismisses the old workers while the new ones are still loading; here they serve until those can.
    """
    if _trial():
        server.log.error("These settings do not work: the workers stay as they are.")
        return
    youngest, dismiss_old = server.worker_age, server.manage_workers

    def dismiss_old_in_time():
        server.manage_workers = dismiss_old
        deadline = time.monotonic() + timeout
        while any(_is_loading(worker) for worker in server.WORKERS.values() if worker.age > youngest):
            if time.monotonic() > deadline:
                break
            server.reap_workers()
            time.sleep(0.05)
        dismiss_old()

    server.manage_workers = dismiss_old_in_time
    reload()


def _is_loading(worker):
    """Say whether a worker has given no sign of life yet, which it dates by the time since the machine started."""
    return worker.tmp.last_update() > time.monotonic()


def on_starting(server):
    """Try the settings before there is a socket or a worker: else every worker would fail at them, one by one.

    `make run` has just tried them by migrating, and need not wait twice.
    """
    server.handle_hup = functools.partial(_reload, server, server.handle_hup)
    status = 0 if os.environ.get("AUTHAPP_GREETING") else _trial()
    if status:
        sys.exit(status)


def when_ready(server):
    """Greet whoever typed `make run`, once it is true."""
    if os.environ.get("AUTHAPP_GREETING"):
        here = f"http://{bind}"
        print(f"authapp listens on {here}; Ctrl+C stops it.")
        print(f"  open  {here}/docs         every route, to try from the browser")
        print(f"  open  {here}/dev/mailbox  the mails it would have sent")
        print(f"  open  {here}/readyz       whether it can serve")
        print("  try   the walk in README.md, in a second terminal", flush=True)


def post_worker_init(worker):
    """Start the mail thread with the worker, for mails that an earlier process left."""
    from authapp.mail import worker as mail_worker

    with worker.wsgi.app_context():
        mail_worker.wake()


def worker_exit(server, worker):
    """Have the mail at hand finished: else it would wait for its claim to expire, or go twice."""
    app = getattr(worker, "wsgi", None)
    if app:
        app.extensions["authapp"].mail_worker.retire()
