"""gunicorn's settings: `gunicorn wsgi:app` reads this file by itself."""

import os
import sys
import traceback

bind = os.environ.get("BIND", "127.0.0.1:8000")
workers = int(os.environ.get("WEB_CONCURRENCY", "2"))
# More threads than requests can ever wait for a password hash (AUTH_HASH_QUEUE), so that those never take them all.
worker_class = "gthread"
threads = 32
timeout = 30
graceful_timeout = 30
keepalive = 5
control_socket_disable = True
# The path alone: a query may hold the token of a mailed link.
accesslog = "-"
access_log_format = '%(t)s %({x-request-id}o)s %(h)s "%(m)s %(U)s" %(s)s %(b)s %(M)sms'


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


def on_starting(server):
    """Try the settings before there is a socket or a worker: else every worker would fail at them, one by one.

    In a process of its own, because what the arbiter had imported no SIGHUP could reload.
    """
    trial = os.fork()
    if trial == 0:
        os._exit(_try_settings())
    _, status = os.waitpid(trial, 0)
    if status:
        sys.exit(os.waitstatus_to_exitcode(status))


def post_worker_init(worker):
    """Start the mail thread with the worker, for mails that an earlier process left."""
    from authapp.mail import delivery

    with worker.wsgi.app_context():
        delivery.wake()
