"""gunicorn's settings: `gunicorn wsgi:app` in a checkout reads this file by itself, `python -m authapp` anywhere."""

import functools
import logging
import os
import runpy
import socket
import sys
import time
from pathlib import Path

from dotenv import dotenv_values
from gunicorn.glogging import Logger

# As `authapp.config.home` has it, which must not be imported here: in a checkout this file stands beside the package.
_here = Path(__file__).resolve().parent
_package, _home = (_here / "authapp", _here) if (_here / "authapp").is_dir() else (_here, Path.cwd())


def _read_env_file(file):
    """Read the `.env` that the application will read."""
    logging.getLogger("dotenv.main").disabled = True  # The application refuses a line that is no setting.
    try:
        return dotenv_values(file)
    except (OSError, UnicodeError) as error:
        sys.exit(f"authapp: {file} cannot be read ({type(error).__name__}): make it UTF-8 that this user may read.")


_file = _read_env_file(_home / ".env")


def _setting(name, default):
    return os.environ.get(name) or _file.get(name) or default


bind = _setting("BIND", "127.0.0.1:8000")
workers = _setting("WEB_CONCURRENCY", "2")
# More threads than requests can ever wait for a password hash (AUTH_HASH_QUEUE), so that those never take them all.
threads = 64
timeout = 30
graceful_timeout = 30
keepalive = 5
control_socket_disable = True
# gunicorn would take SCRIPT_NAME and PATH_INFO from a request's headers, and with them the path that a proxy checked.
forwarder_headers = ""
accesslog = "-"


def _run(name):
    """Run a file of authapp: what was imported no SIGHUP could reload."""
    return runpy.run_path(_package / name)


_lines, _workers = _run("lines.py"), _run("metrics/workers.py")
pre_fork, post_fork, child_exit, on_exit = map(_workers.get, ("pre_fork", "post_fork", "child_exit", "on_exit"))
_log_format = _setting("LOG_FORMAT", "text" if _setting("APP_ENV", "production") == "development" else "json")


class EventLogger(Logger):
    """gunicorn's logger, whose lines are written as authapp's, and with them those of whoever has no handler."""

    formatter = _lines["FORMATTERS"].get(_log_format, _lines["JsonFormatter"])()

    def setup(self, cfg):
        """Set up the handlers, at the start and at every SIGHUP: then by the class that this file made anew."""
        super().setup(cfg)
        # Other libraries' warnings, which Python would write as they are.
        logging.lastResort = logging.StreamHandler()
        for handler in (*self.error_log.handlers, *self.access_log.handlers, logging.lastResort):
            handler.setFormatter(cfg.logger_class.formatter)
        logging.captureWarnings(True)
        logging.getLogger("py.warnings").handlers = [logging.lastResort]

    def access(self, resp, req, environ, request_time):
        """Log a request that was answered."""
        if self.access_log_enabled:
            seconds = request_time.total_seconds()
            fields = _lines["of_request"](environ, status=resp.status, sent=resp.sent, seconds=seconds)
            self.access_log.info("request", extra=fields)


logger_class = EventLogger
worker_class = _run("gthread.py")["Worker"]


def _trial(server):
    """Try the settings in a process of its own, because what the arbiter had imported no SIGHUP could reload."""
    trial, status = os.fork(), 1
    if trial == 0:
        # Nothing may escape into gunicorn.
        try:
            from authapp import starting

            status = starting.try_settings(server.app.wsgi, log=server.log.error_log)
        except BaseException:
            server.log.exception("The application cannot be loaded.")
        os._exit(status)
    return os.waitstatus_to_exitcode(os.waitpid(trial, 0)[1])


def _reload(server, reload):
    """Have new workers with new settings, unless these do not work: gunicorn would end with the workers that fail.

    gunicorn dismisses the old workers while the new ones are still loading; here they serve until those can.
    """
    if _trial(server):
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


def _try_address(server):
    """Refuse in one line an address that cannot be had: gunicorn would try five times, and say so in ten."""
    inherits = {"GUNICORN_FD", "LISTEN_FDS"} & set(os.environ) or server.cfg.reuse_port
    for address in [] if inherits else [bound for bound in server.cfg.address if isinstance(bound, tuple)]:
        with socket.socket(socket.AF_INET6 if ":" in address[0] else socket.AF_INET) as tried:
            tried.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                tried.bind(address)
            except OSError as error:
                mend = "end what listens there, or set another BIND, such as 127.0.0.1:8001."
                server.log.error("authapp: cannot listen at %s:%s (%s): %s", *address[:2], error.strerror, mend)
                sys.exit(1)


def on_starting(server):
    """Have the first worker try the settings before there is a second: else all would fail at them, one by one."""
    _try_address(server)
    server.handle_hup = functools.partial(_reload, server, server.handle_hup)
    if not _greets():
        server.spawn_worker = functools.partial(_spawn_first, server, server.spawn_worker)


def _spawn_first(server, spawn):
    """Begin the first worker, and end with it where it cannot load the application."""
    server.spawn_worker = spawn
    pid, deadline = spawn(), time.monotonic() + timeout
    while _is_loading(server.WORKERS[pid]) and time.monotonic() < deadline:
        gone, status = os.waitpid(pid, os.WNOHANG)
        if gone:
            sys.exit(os.waitstatus_to_exitcode(status))
        time.sleep(0.01)
    return pid


def _greets():
    """Say whether `make run` starts this, which has just tried the settings by migrating."""
    return bool(os.environ.get("AUTHAPP_GREETING"))


def when_ready(server):
    """Greet whoever typed `make run`, once it is true."""
    if _greets():
        here = f"http://{bind}"
        print(f"authapp listens on {here}; Ctrl+C stops it.")
        print(f"  open  {here}/docs         every route, to try from the browser")
        print(f"  open  {here}/dev/mailbox  the mails it would have sent")
        print(f"  open  {here}/readyz       whether it can serve")
        print("  try   the walk in README.md, in a second terminal", flush=True)


def post_worker_init(worker):
    """Start what runs beside the requests of a worker; the first one has also loaded what the greeting wants."""
    from authapp import starting

    starting.begin(worker.wsgi, greets=worker.age == 1 and _greets())


def worker_exit(server, worker):
    """Have the mail at hand finished: else it would wait for its claim to expire, or go twice."""
    if app := getattr(worker, "wsgi", None):
        app.extensions["authapp"].mail_worker.retire()
